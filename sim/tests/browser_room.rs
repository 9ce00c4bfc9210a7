//! The living room beside the account pages, in a real Chromium: activate,
//! remember after the power went, remove and watch, pull the plug in the middle
//! of a wipe, the key sequence, the desk by cable.

mod common;

use common::chromium::{Driver, Person, Window};
use common::{World, with_browser};
use nrd_sim::base::sample::Samples;
use nrd_sim::world::room::Room;

const SEED: u64 = 7;

fn furnish(world: &World) {
    println!("seed {SEED}");
    let samples = Samples::read(None).unwrap().accounts;
    let room = Room::new(&world.running.service, &samples, SEED);
    assert!(world.room.furnish(room));
}

/// Waits until the screen of a device says `text`.
async fn screen(p: &Person, n: usize, text: &str) {
    let script = format!("return document.querySelector('#set-{n} .screen').innerText");
    p.wait_until(
        &script,
        |v| v.as_str().is_some_and(|t| t.contains(text)),
        text,
    )
    .await;
}

async fn key(p: &Person, n: usize, name: &str) {
    p.click(&format!("#set-{n} .remote .{name}")).await;
}

async fn activate(p: &Person, holder: &Person, n: usize) {
    screen(p, n, "Clean").await;
    key(p, n, "ok").await;
    screen(p, n, "Type this code").await;
    let code = p
        .find(&format!("#set-{n} .screen .code"))
        .await
        .text()
        .await
        .unwrap();
    holder.go("/activate").await;
    holder.type_into("#code", &code).await;
    holder.click("main button").await;
    holder.wait_for("Is this your device?").await;
    holder.click("button[value=allow]").await;
    holder.arrive("/account/devices").await;
    screen(p, n, "Welcome back, Alexandra.").await;
}

async fn story(world: &World, driver: &Driver, name: &str, window: Window) {
    furnish(world);
    let base = world.running.pages_url();
    let mut p = Person::at(driver, &base, name, window).await;
    let mut holder = Person::at(driver, &base, &format!("{name}-account"), window).await;
    holder
        .sign_in("alexandra@example.com", "correct horse battery")
        .await;
    p.go("/room").await;
    screen(&p, 1, "No power").await;
    p.look("room-off").await;

    // Activated by code; remembered when the power was gone.
    p.click("#set-1 .plugs button[value=in]").await;
    activate(&p, &holder, 1).await;
    p.click("#set-1 .plugs button[value=out]").await;
    screen(&p, 1, "No power").await;
    p.click("#set-1 .plugs button[value=in]").await;
    screen(&p, 1, "Welcome back, Alexandra.").await;
    let whole = "return document.querySelectorAll('#set-1 rect.torn').length";
    p.wait_until(whole, |n| n == 0, "no torn sector").await;
    // With the root key in hand, what is cached can be read now.
    p.click(".time button[name=root]").await;
    p.wait_for("account bytes can be read").await;
    p.look("room-active").await;

    // Removed on the account page: wiping, and the plug is pulled in it.
    p.click(".time button[name=slow][value='16']").await;
    holder.click("a.danger").await;
    holder.click("main button.danger").await;
    holder.arrive("/account/devices").await;
    screen(&p, 1, "Wiping").await;
    p.wait_until(
        "return document.querySelector('#set-1 progress')?.value",
        |v| v.as_f64().is_some_and(|n| n >= 3.0),
        "some progress",
    )
    .await;
    p.look("room-wiping").await;
    p.click("#set-1 .plugs button[value=out]").await;
    screen(&p, 1, "No power").await;
    p.look("room-cut").await;
    let torn = p
        .run("return document.querySelectorAll('#set-1 rect.torn').length")
        .await;
    assert!(torn.as_u64() >= Some(1), "the cut tore nothing: {torn}");
    let list = holder.text().await;
    assert!(!list.contains("Proven wiped"), "nothing is proven yet");
    p.click(".time button[name=slow][value='1']").await;
    p.click("#set-1 .plugs button[value=in]").await;
    screen(&p, 1, "Clean").await;
    p.wait_for("no account byte can be read").await;
    p.wait_until(whole, |n| n == 0, "no torn sector").await;
    holder.wait_for("Proven wiped").await;
    holder.look("room-proven").await;
    p.look("room-clean").await;

    // The menu behind the keys, and a key that is held.
    p.click("#set-2 .plugs button[value=in]").await;
    activate(&p, &holder, 2).await;
    let sequence = ["up", "up", "down", "down", "left", "right", "left", "right"];
    for name in sequence.into_iter().chain(["up"; 4]) {
        key(&p, 2, name).await;
    }
    screen(&p, 2, "Deactivate and wipe").await;
    p.look("room-menu").await;
    key(&p, 2, "down").await;
    p.wait_until(
        "return document.querySelector('#set-2 .menu .at')?.textContent",
        |v| v == "Deactivate and wipe",
        "the choice",
    )
    .await;
    key(&p, 2, "ok").await;
    screen(&p, 2, "Hold OK to wipe").await;
    key(&p, 2, "hold").await;
    screen(&p, 2, "Clean").await;

    // Two days later, off the network: the page says so.
    activate(&p, &holder, 1).await;
    p.click("#set-1 .plugs button[aria-pressed]").await;
    p.click(".time button[value='86400']").await;
    holder.client.refresh().await.unwrap();
    holder.wait_for("Offline").await;
    p.click("#set-1 .plugs button[aria-pressed]").await;
    holder.client.refresh().await.unwrap();
    holder.wait_for("It can use your account").await;

    // The desk asks the console by cable.
    holder.go("/desk").await;
    holder.type_into("#device", "NRD-CON-ROOM2").await;
    holder.click("main form button").await;
    holder.wait_for("Ask it by cable").await;
    holder.click("form[action^='/room/ask'] button").await;
    holder.wait_for("Proven clean").await;
    screen(&p, 2, "Answered the desk").await;
    p.look("room-answered").await;
    p.client.close().await.unwrap();
    holder.client.close().await.unwrap();
}

#[test]
fn the_living_room_tells_the_story_on_a_desktop() {
    let window = Window {
        width: 1280,
        ..Window::DESKTOP
    };
    with_browser(async |w, d| story(w, d, "room", window).await);
}

#[test]
fn the_living_room_tells_the_story_on_a_phone() {
    with_browser(async |w, d| story(w, d, "room-phone", Window::PHONE).await);
}

#[test]
fn the_living_room_works_without_scripts() {
    with_browser(async |world, driver| {
        furnish(world);
        let window = Window {
            script: false,
            ..Window::DESKTOP
        };
        let base = world.running.pages_url();
        let mut p = Person::at(driver, &base, "room-no-script", window).await;
        p.go("/room").await;
        p.click("#set-3 .plugs button[value=in]").await;
        p.wait_for("No account here").await;
        key(&p, 3, "ok").await;
        p.wait_for("Type this code").await;
        p.type_into("#sector-3", "60").await;
        p.click("#set-3 .sector button").await;
        p.wait_for("00000").await;
        p.look("room").await;
        p.client.close().await.unwrap();
    });
}
