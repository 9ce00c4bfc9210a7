//! Makes the screenshots of every page in `docs/screenshots/`:
//! `cargo run -p nrd-sim --example screenshots [FOLDER]`. Needs Chromium and
//! ChromeDriver; uses pngquant, and pdftoppm for the certificate as PDF, where they
//! are installed.

#[path = "../tests/common/mod.rs"]
mod common;

use common::World;
use common::chromium::{Driver, Person, Window};
use common::stage;
use nrd_agent::wire::DeviceKind;
use nrd_sim::base::sample::Samples;
use nrd_sim::service::certificate::{Certificate, Names, Paper};
use nrd_sim::service::desk::answer_text;
use nrd_sim::world::room::Room;
use std::path::{Path, PathBuf};
use std::process::Command;

const EMAIL: &str = "alexandra@example.com";
const PASSWORD: &str = "correct horse battery";

fn main() {
    let folder = std::env::args().nth(1).map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/screenshots"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let Some(driver) = Driver::start() else {
        std::process::exit(2);
    };
    let world = World::new();
    let service = &world.running.service;
    let account = service
        .check_password(EMAIL, PASSWORD, "127.0.0.1")
        .unwrap();
    stage::fill(service, account);
    let samples = Samples::read(None).unwrap().accounts;
    assert!(world.room.furnish(Room::new(service, &samples, 7)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dark = Window {
        dark: true,
        ..Window::DESKTOP
    };
    let windows = [
        ("desktop", Window::DESKTOP),
        ("phone", Window::PHONE),
        ("dark", dark),
    ];
    for (name, window) in windows {
        runtime.block_on(pages(&world, &driver, name, window, &folder));
    }
}

/// Every page that a signed-in person can see.
async fn pages(world: &World, driver: &Driver, name: &str, window: Window, folder: &Path) {
    let p = Person::at(driver, &world.running.pages_url(), name, window).await;
    let shoot = async |what: &str| {
        // Dark is the same page in other colours: a few will do.
        if window.dark && !["devices", "room", "desk-good"].contains(&what) {
            return;
        }
        let long = ["nothing-here", "policy", "certificate", "desk-certificate"];
        if name == "phone" && long.contains(&what) {
            return;
        }
        let file = folder.join(format!("{what}-{name}.png"));
        std::fs::write(&file, p.picture().await).unwrap();
        shrink(&file);
        println!("{}", file.display());
    };
    p.go("/login").await;
    shoot("login").await;
    p.sign_in(EMAIL, PASSWORD).await;
    shoot("devices").await;
    let receipt = p.run("return document.querySelector('.device.good a[href$=\"/receipt\"]').getAttribute('href')").await;
    let receipt = receipt.as_str().unwrap().to_owned();
    for (what, path) in [
        ("account", "/account"),
        ("activate", "/activate"),
        ("activity", "/account/activity"),
        ("policy", "/policy"),
        ("remove-all", "/account/devices/remove-all"),
        ("receipt", receipt.as_str()),
        ("certificate", &receipt.replace("/receipt", "/certificate")),
        ("nothing-here", "/nothing"),
    ] {
        p.go(path).await;
        shoot(what).await;
    }
    desk(world, &p, &shoot, folder).await;
    room(world, &p, &shoot).await;
    p.client.clone().close().await.unwrap();
}

/// The returns desk: waiting, green, red.
async fn desk(world: &World, p: &Person, shoot: &impl AsyncFn(&str), folder: &Path) {
    let mut tv = stage::Actor::new(
        &world.running.service,
        "NRD-STB-A90C11",
        "Lumen Box 3",
        DeviceKind::SetTopBox,
    );
    let desk = &world.running.desk;
    let mut old = Vec::new();
    for what in ["desk-good", "desk-earlier"] {
        p.go("/desk").await;
        p.type_into("#device", "NRD-STB-A90C11").await;
        p.click("main form button").await;
        p.wait_for("Ask the device").await;
        let path = p.client.current_url().await.unwrap().path().to_owned();
        let id = path.rsplit('/').next().unwrap();
        if old.is_empty() {
            shoot("desk-ask").await;
            old = tv.prove(desk.check(id).unwrap().nonce);
        }
        p.type_into("#text", &answer_text(&old)).await;
        p.click("main form .actions button").await;
        p.wait_for("Judged").await;
        shoot(what).await;
        if what == "desk-good" {
            if p.name == "desktop" {
                certificates(world, id, folder);
            }
            p.go(&format!("{path}/certificate")).await;
            shoot("desk-certificate").await;
        }
    }
    // A device that cannot answer, and many at once.
    p.go("/desk").await;
    p.type_into("#device", "NRD-STB-77D0E2").await;
    p.click("main form button").await;
    p.wait_for("Ask the device").await;
    p.type_into("#text", "NRD:1:STATE:ACTIVE").await;
    p.click("main form .actions button").await;
    p.wait_for("Still on an account").await;
    shoot("desk-state").await;
    batch(world, p, shoot).await;
    p.go("/desk").await;
    shoot("desk").await;
    p.go("/desk/read").await;
    p.type_into("#text", &answer_text(&old)).await;
    p.click("main form .actions button").await;
    p.wait_for("tells of the past").await;
    shoot("desk-read").await;
}

/// The certificate of a check as PDF, both papers, as poppler shows them.
fn certificates(world: &World, check: &str, folder: &Path) {
    let verdict = world.running.desk.check(check).unwrap().verdict.unwrap();
    let names = Names::new("Dana Łęcka", "Second Screen").unwrap();
    let now = world.running.service.now_s();
    let made = Certificate::new(&verdict.signed.unwrap(), &verdict.frame, &names, now);
    for (paper, name) in [(Paper::A4, "a4"), (Paper::Letter, "letter")] {
        let pdf = world.dir.path().join(format!("{name}.pdf"));
        std::fs::write(&pdf, made.pdf(paper).unwrap()).unwrap();
        let picture = folder.join(format!("certificate-pdf-{name}"));
        let done = Command::new("pdftoppm")
            .args(["-r", "80", "-png", "-singlefile"])
            .args([&pdf, &picture])
            .status();
        if done.is_ok_and(|status| status.success()) {
            shrink(&picture.with_extension("png"));
        } else {
            println!("no pdftoppm here: the certificates’ pictures stay as they were");
        }
    }
}

/// Answers of several devices, handed in together.
async fn batch(world: &World, p: &Person, shoot: &impl AsyncFn(&str)) {
    let ids = [
        "NRD-STB-A90C11",
        "NRD-STB-1F20B7",
        "NRD-CON-C0FFEE",
        "NRD-STB-5E11ED",
    ];
    p.go("/desk/batches").await;
    p.type_into(
        "#labels",
        &[&ids[..], &["NRD-PC-0DDBA1"]].concat().join("\n"),
    )
    .await;
    shoot("desk-batches").await;
    p.click("main form button").await;
    p.wait_for("Hand in their answers").await;
    let path = p.client.current_url().await.unwrap().path().to_owned();
    let batch = path.rsplit('/').next().unwrap();
    let nonce = world.running.desk.batch(batch).unwrap().nonce.unwrap();
    let answer = |(id, nonce): (&str, _)| {
        let service = &world.running.service;
        let mut device = stage::Actor::new(service, id, "Lumen Box 3", DeviceKind::SetTopBox);
        answer_text(&device.prove(nonce))
    };
    let mut lines: Vec<String> = ids[..3].iter().map(|id| answer((id, nonce))).collect();
    lines.push(answer((ids[3], [7; 32])));
    lines.push("NRD:1:STATE:WIPING".to_owned());
    p.type_into("#text", &lines.join("\n")).await;
    p.click("main form[enctype] button").await;
    p.wait_for("3 of 6 proven clean").await;
    shoot("desk-batch").await;
}

/// The living room: a set-top box with a code, a clean console, and one off.
async fn room(world: &World, p: &Person, shoot: &impl AsyncFn(&str)) {
    p.go("/room").await;
    for n in [1, 2] {
        // The plug is in already in the next window.
        let off = format!(
            "return !!document.querySelector('#set-{n} button[value=in].x, #set-{n} .dim')"
        );
        if p.run(&off).await == true {
            p.click(&format!("#set-{n} .plugs button[value=in]")).await;
            p.wait_until(
                &format!("return document.querySelector('#set-{n} .screen').innerText"),
                |t| t.as_str().is_some_and(|t| t.contains("OK: activate")),
                "clean",
            )
            .await;
        }
    }
    if p.run("return !document.querySelector('#set-1 .screen .code')")
        .await
        == true
    {
        p.click("#set-1 .remote .ok").await;
    }
    p.wait_for("Type this code").await;
    shoot("room").await;
    if p.name != "desktop" {
        return;
    }
    // Activated, then removed: the wipe in slow motion.
    let code = p.find("#set-1 .screen .code").await.text().await.unwrap();
    p.go("/activate").await;
    p.type_into("#code", &code).await;
    p.click("main button").await;
    p.wait_for("Is this your device?").await;
    p.click("button[value=allow]").await;
    p.arrive("/account/devices").await;
    p.go("/room?root=on").await;
    p.wait_for("account bytes can be read").await;
    shoot("room-active").await;
    p.click(".time button[name=slow][value='16']").await;
    let service = &world.running.service;
    let account = service
        .check_password(EMAIL, PASSWORD, "127.0.0.1")
        .unwrap();
    let devices = service.devices(account).unwrap();
    let tv = devices
        .iter()
        .find(|d| d.row.device == "NRD-STB-ROOM1")
        .unwrap();
    service.remove(account, &tv.row.id, "127.0.0.1").unwrap();
    let progress = "return document.querySelector('#set-1 progress')?.value";
    let some = |v: &serde_json::Value| v.as_f64().is_some_and(|n| n >= 1.0);
    p.wait_until(progress, some, "progress").await;
    shoot("room-wiping").await;
    p.click(".time button[name=slow][value='1']").await;
    p.wait_for("no account byte can be read").await;
    p.click("#set-1 .plugs button[value=out]").await;
    p.wait_for("No power").await;
}

/// Fewer colours: a third of the bytes.
fn shrink(file: &Path) {
    let done = Command::new("pngquant")
        .args([
            "--force",
            "--skip-if-larger",
            "--strip",
            "--ext",
            ".png",
            "64",
        ])
        .arg(file)
        .status();
    if done.is_err() {
        println!("no pngquant here: {} stays large", file.display());
    }
}
