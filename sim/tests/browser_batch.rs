//! Many answers at once, as a clerk hands them in: in a real Chromium, on a
//! desktop, on a phone, and without scripts.

mod common;

use common::chromium::{Driver, Person, Window};
use common::stage::Actor;
use common::{World, with_browser};
use nrd_agent::wire::DeviceKind;
use nrd_sim::service::desk::{Challenge, answer_text};
use std::path::Path;

fn id(n: usize) -> String {
    format!("NRD-STB-{n:04}")
}

fn answer(world: &World, id: &str, nonce: [u8; 32]) -> Vec<u8> {
    let service = &world.running.service;
    Actor::new(service, id, "Lumen Box 3", DeviceKind::SetTopBox).prove(nonce)
}

/// The question as the clerk saves it, and as it stands on the page.
async fn question(world: &World, p: &Person) -> [u8; 32] {
    let link = p.find("a[href$='/question.txt']").await;
    let path = link.attr("href").await.unwrap().unwrap();
    let url = world.running.pages_url();
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let file = tokio::task::spawn_blocking(move || {
        let mut page = ureq::get(url).call().unwrap();
        page.body_mut().read_to_string().unwrap()
    });
    let file = file.await.unwrap();
    let shown = p.find("#question").await.attr("value").await.unwrap();
    assert_eq!(shown.as_deref(), Some(&*file), "every space of it");
    Challenge::parse(&file).unwrap().nonce
}

async fn batch(world: &World, driver: &Driver, name: &str, window: Window) {
    let base = world.running.pages_url();
    let mut p = Person::at(driver, &base, name, window).await;
    p.go("/desk").await;
    p.type_into("#clerk", "Dana Łęcka").await;
    p.type_into("#shop", "Second Screen").await;
    p.click("form[action='/desk/names'] button").await;
    p.wait_for("Checks at this desk").await;
    p.click("nav a[href='/desk/batches']").await;
    p.wait_for("Many devices at once").await;
    p.look("batches").await;
    // Labels that are none are told; nothing typed is lost.
    p.type_into("#labels", "NRD-STB-0000 ä").await;
    p.click("main form button").await;
    p.wait_for("ä is no device id").await;
    let labels: Vec<String> = (0..50).map(id).collect();
    p.type_into("#labels", &labels.join("\n")).await;
    p.click("main form button").await;
    p.wait_for("Hand in their answers").await;
    p.look("batch-asked").await;
    let nonce = question(world, &p).await;

    // 47 files; two pasted, with a state and a stranger between; one stays silent.
    let folder = world.dir.path().join("answers");
    std::fs::create_dir(&folder).unwrap();
    let mut files = Vec::new();
    for n in 0..47 {
        let file = folder.join(format!("{}.bin", id(n)));
        std::fs::write(&file, answer(world, &id(n), nonce)).unwrap();
        files.push(file.display().to_string());
    }
    let bad = folder.join("holiday.jpg");
    std::fs::write(&bad, b"\xFF\xD8\xFF no picture").unwrap();
    files.push(bad.display().to_string());
    p.find("#files")
        .await
        .send_keys(&files.join("\n"))
        .await
        .unwrap();
    let pasted = [
        answer_text(&answer(world, &id(47), nonce)),
        "NRD:1:STATE:ACTIVE".to_owned(),
        answer_text(&answer(world, "NRD-STB-STRANGE", nonce)),
        answer_text(&answer(world, &id(48), [7; 32])),
        answer_text(&answer(world, &id(48), nonce)),
    ];
    p.type_into("#text", &pasted.join("\n")).await;
    p.click("main form[enctype] button").await;
    p.wait_for("49 of 54 proven clean.").await;
    for text in [
        "Still on an account",
        "Do not take it back like this",
        "Not on the list",
        "Replayed",
        "This is no picture that can be read",
        "No answer yet",
        "Table and certificates name Dana Łęcka, Second Screen.",
    ] {
        p.wait_for(text).await;
    }
    p.look("batch-judged").await;
    let long = p.picture().await;
    let whole = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../target/tmp/screenshots/{name}-whole.png"));
    std::fs::write(whole, long).unwrap();

    // A row leads to its check, and to a certificate with the names on it.
    p.click("a[href$='/certificate']").await;
    p.wait_for("Certificate of sanitization").await;
    p.wait_for("NRD-STB-0000").await;
    p.wait_for("Dana Łęcka").await;
    p.wait_for("Second Screen").await;
    p.client.back().await.unwrap();
    p.wait_for("49 of 54 proven clean.").await;
    p.click("#main li a[href^='/desk/checks/']").await;
    p.wait_for("Check of NRD-STB-0000").await;
    p.wait_for("Proven clean").await;
    p.client.close().await.unwrap();
}

#[test]
fn fifty_answers_are_judged_on_a_desktop() {
    with_browser(async |w, d| batch(w, d, "batch-desktop", Window::DESKTOP).await);
}

#[test]
fn fifty_answers_are_judged_at_390_pixels() {
    let window = Window {
        width: 390,
        height: 844,
        ..Window::DESKTOP
    };
    with_browser(async |w, d| batch(w, d, "batch-phone", window).await);
}

#[test]
fn fifty_answers_are_judged_without_scripts() {
    let window = Window {
        script: false,
        width: 520,
        ..Window::DESKTOP
    };
    with_browser(async |w, d| batch(w, d, "batch-no-script", window).await);
}
