//! The returns desk in a real Chromium, with a device that is a process: good,
//! forged and replayed proofs; a file, text, and a photo of a code.

mod common;

use common::chromium::{Cdp, Driver, Person, Window};
use common::{World, with_browser};
use nrd_sim::demo::Child;
use nrd_sim::service::desk::{answer_text, qr_svg};
use serde_json::json;

/// A clean set-top box on the desk.
fn device(world: &World) -> (Child, String) {
    let mut tv = world.device("tv", "stb");
    tv.start(true).unwrap();
    let boot = tv.wait("boot", |_| true).unwrap();
    (tv, boot["device_id"].as_str().unwrap().to_owned())
}

/// Does what the page says to type into the device's terminal; returns the
/// answer's file.
async fn ask(p: &Person, tv: &mut Child, name: &str) -> std::path::PathBuf {
    p.click("main summary").await;
    let line = p.find("main details code").await.text().await.unwrap();
    let file = tv.dir.join(name);
    tv.type_line(&line.replace("answer.bin", &file.display().to_string()))
        .unwrap();
    tv.wait("written", |_| true).unwrap();
    file
}

async fn begin(p: &Person, id: &str) {
    p.go("/desk").await;
    p.type_into("#device", id).await;
    p.click("main form button").await;
    p.wait_for("Ask the device").await;
}

/// An answer read by itself.
async fn read_alone(p: &mut Person, first: &std::path::Path) {
    p.go("/desk/read").await;
    p.find("#file")
        .await
        .send_keys(&first.display().to_string())
        .await
        .unwrap();
    p.click("main form .actions button").await;
    p.wait_for("it tells of the past").await;
    p.look("desk-read").await;
}

/// A photo of an answer’s code on a screen.
async fn photo_of(p: &Person, tv: &Child, good: &std::path::Path) -> std::path::PathBuf {
    let svg = qr_svg(&answer_text(&std::fs::read(good).unwrap()), "x").unwrap();
    let svg = svg.replace(
        "<svg ",
        "<svg xmlns='http://www.w3.org/2000/svg' width='340' ",
    );
    let svg = svg.replace('#', "%23").replace('"', "'");
    p.client
        .goto(&format!("data:image/svg+xml,{svg}"))
        .await
        .unwrap();
    let photo = tv.dir.join("photo.png");
    std::fs::write(&photo, p.client.screenshot().await.unwrap()).unwrap();
    photo
}

async fn desk(world: &World, driver: &Driver, name: &str, window: Window) {
    let (mut tv, id) = device(world);
    let base = world.running.pages_url();
    let mut p = Person::at(driver, &base, name, window).await;

    // A good answer, as the file that the device wrote.
    p.go("/desk").await;
    p.type_into("#clerk", "Dana Łęcka").await;
    p.type_into("#shop", "Second Screen").await;
    p.click("form[action='/desk/names'] button").await;
    p.wait_for("Checks at this desk").await;
    p.look("desk").await;
    begin(&p, &id).await;
    p.look("desk-ask").await;
    let first = ask(&p, &mut tv, "first.bin").await;
    p.find("#file")
        .await
        .send_keys(&first.display().to_string())
        .await
        .unwrap();
    p.click("main form .actions button").await;
    p.wait_for("Proven clean").await;
    p.wait_for("Revocation not checked").await;
    p.look("desk-good").await;
    // No state that a reload changes the meaning of.
    p.client.refresh().await.unwrap();
    p.wait_for("Proven clean").await;
    p.click("a[href$='/certificate']").await;
    p.wait_for("Certificate of sanitization").await;
    p.wait_for("Dana Łęcka").await;
    p.look("desk-certificate").await;
    for (width, height) in [(8.27, 11.69), (8.5, 11.0)] {
        let print = |pages| {
            let paper = json!({
                "paperWidth": width, "paperHeight": height,
                "pageRanges": pages, "preferCSSPageSize": true,
            });
            Cdp("Page.printToPDF", paper)
        };
        let pdf = p.client.issue_cmd(print("1")).await.unwrap();
        assert!(pdf["data"].as_str().unwrap().len() > 10_000);
        let second = p.client.issue_cmd(print("2")).await;
        assert!(second.is_err(), "a second page of {width} by {height}");
    }

    // The same again for another check: an earlier answer. Then forged: one digit of a
    // good answer is another one.
    begin(&p, &id).await;
    let text = answer_text(&std::fs::read(&first).unwrap());
    p.type_into("#text", &text).await;
    p.click("main form .actions button").await;
    p.wait_for("The answer to an earlier question").await;
    p.look("desk-earlier").await;
    let good = ask(&p, &mut tv, "second.bin").await;
    let mut forged = std::fs::read(&good).unwrap();
    let middle = forged.len() - 100;
    forged[middle] ^= 1;
    p.type_into("#text", &answer_text(&forged)).await;
    p.click("main form .actions button").await;
    p.wait_for("something in it was changed").await;
    p.look("desk-forged").await;
    p.type_into("#text", "what is this?").await;
    p.click("main form .actions button").await;
    p.wait_for("not a device’s answer").await;

    // The good one, as a photo of the code on a screen.
    let page = p.client.current_url().await.unwrap();
    let photo = photo_of(&p, &tv, &good).await;
    p.client.goto(page.as_str()).await.unwrap();
    p.find("#photo")
        .await
        .send_keys(&photo.display().to_string())
        .await
        .unwrap();
    p.click("main form .actions button").await;
    p.wait_for("Proven clean").await;

    read_alone(&mut p, &first).await;
    p.client.close().await.unwrap();
}

#[test]
fn the_desk_judges_proofs_on_a_desktop() {
    with_browser(async |w, d| desk(w, d, "desk-desktop", Window::DESKTOP).await);
}

#[test]
fn the_desk_judges_proofs_on_a_phone() {
    with_browser(async |w, d| desk(w, d, "desk-phone", Window::PHONE).await);
}

#[test]
fn the_desk_judges_proofs_without_scripts() {
    // ChromeDriver's taps on an emulated phone need scripts; a narrow window
    // does not.
    let window = Window {
        script: false,
        width: 520,
        ..Window::DESKTOP
    };
    with_browser(async |w, d| desk(w, d, "desk-no-script", window).await);
}
