//! A session in the living room, saved and played again: the same flash to the
//! last bit.

mod common;

use common::{EXE, World};
use nrd_sim::base::sample::Samples;
use nrd_sim::demo::Browser;
use nrd_sim::world::room::replay::{Recording, is_recording};
use nrd_sim::world::room::{Key, Room};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEED: u64 = 21;

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn shows(room: &Arc<Room>, n: usize, state: &str) {
    until(state, || room.set(n).unwrap().face().state == state);
}

/// Activated, removed, and the plug pulled in the middle of the wipe; another
/// one off the network, through the menu.
fn session(world: &World) -> String {
    println!("seed {SEED}");
    let samples = Samples::read(None).unwrap().accounts;
    let room = Room::new(&world.running.service, &samples, SEED);
    assert!(world.room.furnish(room.clone()));
    let browser = Browser::new(&world.running.pages_url());
    browser
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    for (n, name) in [(1, "Virtual set-top box"), (2, "Virtual game console")] {
        room.plug(n, true);
        shows(&room, n, "clean");
        room.press(n, Key::Ok);
        until("code", || room.set(n).unwrap().face().code.is_some());
        let (code, _) = room.set(n).unwrap().face().code.unwrap();
        browser.activate(&code, name, true).unwrap();
        shows(&room, n, "active");
    }
    room.advance(90_000);
    room.network(2, false);
    room.plug(1, false);
    shows(&room, 1, "off");
    room.plug(1, true);
    shows(&room, 1, "active");
    room.set_slow(16);
    let service = &world.running.service;
    let account = service
        .check_password(
            "alexandra@example.com",
            "correct horse battery",
            "127.0.0.1",
        )
        .unwrap();
    let devices = service.devices(account).unwrap();
    let of_one = devices
        .iter()
        .find(|d| d.row.model == "Virtual set-top box");
    let id = of_one.unwrap().row.id;
    service.remove(account, &id, "127.0.0.1").unwrap();
    shows(&room, 1, "wiping");
    until("progress", || {
        let face = room.set(1).unwrap().face();
        face.progress.is_some_and(|p| p.done >= 2)
    });
    room.plug(1, false);
    shows(&room, 1, "off");
    room.set_slow(1);
    room.plug(1, true);
    shows(&room, 1, "clean");
    use Key::{Down, Hold, Left, Ok, Right, Up};
    let menu = [Up, Up, Down, Down, Left, Right, Left, Right, Up, Up, Up, Up];
    for key in menu.into_iter().chain([Down, Ok, Hold]) {
        room.press(2, key);
    }
    shows(&room, 2, "clean");
    // A key that no remote has, a speed that no room has: said, not "not here".
    for (path, field, says) in [
        ("/room/2/key", ("key", "sideways"), "has no such key"),
        ("/room/speed", ("slow", "7777"), "has no such speed"),
    ] {
        let refused = browser.submit("/room", path, &[field]).unwrap();
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.text().contains(says), "{path}");
    }
    let room = browser.get("/room").unwrap().text();
    assert!(room.contains("href=\"/room/session.toml\""));
    let saved = browser.get("/room/session.toml").unwrap();
    assert_eq!(saved.status, 200);
    saved.text()
}

#[test]
fn a_session_of_the_living_room_is_played_again_to_the_last_bit() {
    let world = World::new();
    let text = session(&world);
    assert!(is_recording(&text));
    let struck = text.lines().filter(|l| l.starts_with("cut ")).count();
    assert!(struck >= 1, "the plug struck no operation");
    let report = Recording::read(&text).unwrap().play().unwrap();
    assert_eq!(report.failures, []);
    assert_eq!(report.expectations, 3);
    assert!(report.steps > 100, "{} events", report.steps);

    // It is the tape that makes the flash: with one reply less it is another.
    let at = text.find("\nreply ").unwrap();
    let end = at + 1 + text[at + 1..].find('\n').unwrap();
    let without = format!("{}\nlost{}", &text[..at], &text[end..]);
    let report = Recording::read(&without).unwrap().play().unwrap();
    assert!(!report.failures.is_empty());

    // And on the command line.
    let path = world.dir.path().join("session.toml");
    std::fs::write(&path, &text).unwrap();
    let out = Command::new(EXE).arg("run").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}");
    assert!(
        said.starts_with("ok     A session in the living room, seed 21"),
        "{said}"
    );
    for (from, to) in [("recording = 1", "recording = 9"), ("tape = ", "tpae = ")] {
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let out = Command::new(EXE).arg("run").arg(&path).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{to}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("try: "));
    }
}
