//! The pages in a real Chromium: by script and without, wide and narrow.
//! Screenshots go to the folder that is printed.

mod common;

use common::chromium::{Driver, Person, Window};
use common::{World, activate, with_browser};
use nrd_sim::demo::Browser;
use serde_json::json;

/// The whole story of one person with a set-top box, as they see it.
async fn story(world: &World, driver: &Driver, name: &str, window: Window) {
    let mut p = Person::at(driver, &world.running.pages_url(), name, window).await;

    // Signing in: first wrongly. The password is in no answer.
    p.go("/").await;
    p.look("login").await;
    p.type_into("#email", "alexandra@example.com").await;
    p.type_into("#password", "not this one").await;
    p.click("main button").await;
    p.wait_for("password is wrong").await;
    assert!(!p.client.source().await.unwrap().contains("not this one"));
    p.look("login-wrong").await;
    p.type_into("#password", "correct horse battery").await;
    p.click("main button").await;
    p.wait_for("Your Account").await;
    p.go("/account").await;
    p.wait_for("ending in 8861").await;
    assert!(
        !p.text().await.contains("4929"),
        "the whole card number on a page"
    );
    p.look("account").await;

    // Activation.
    let mut tv = world.device("tv", "stb");
    tv.start(false).unwrap();
    let shown = tv.wait("code", |_| true).unwrap();
    p.go("/activate").await;
    p.look("activate").await;
    p.type_into("#code", "BBBB-BBBB").await;
    p.click("main button").await;
    p.wait_for("No screen shows this code now").await;
    p.look("activate-wrong").await;
    p.type_into("#code", &shown["code"].as_str().unwrap().to_lowercase())
        .await;
    p.click("main button").await;
    p.wait_for("Is this your device?").await;
    p.wait_for(shown["pictogram"].as_str().unwrap()).await;
    p.look("confirm").await;
    p.click("button[value=allow]").await;
    p.arrive("/account/devices").await;
    p.wait_for("Active").await;
    tv.wait_state("active").unwrap();
    p.look("devices").await;

    // A name of one's own, hostile to careless templates.
    p.click("summary").await;
    p.type_into("input[name=name]", "Bed <b>& \"TV\"</b>").await;
    p.click("details button").await;
    p.wait_for("Bed <b>& \"TV\"</b>").await;

    // Removal while the box is offline, then its plug comes back.
    tv.type_line("network off").unwrap();
    p.click("a.danger").await;
    p.wait_for("This cannot be undone").await;
    p.look("remove").await;
    p.click("main button.danger").await;
    p.arrive("/account/devices").await;
    p.wait_for("Removal ordered").await;
    p.look("removal-ordered").await;
    p.run("window.sameDocument = true").await;
    tv.type_line("network on").unwrap();
    p.wait_for("Proven wiped").await;
    assert_eq!(
        p.run("return window.sameDocument === true").await,
        json!(window.script),
        "live with a script, by loading again without"
    );
    p.look("proven-wiped").await;
    p.click("a[href$='/receipt']").await;
    p.wait_for("Receipt of a wipe").await;
    p.look("receipt").await;
    p.go("/account/activity").await;
    p.wait_for("A device proved that it is wiped").await;
    p.look("activity").await;

    // A new policy, and consent.
    world.running.service.store.raise_policy(2).unwrap();
    p.go("/account").await;
    p.wait_for("privacy policy has changed").await;
    p.go("/policy").await;
    p.look("policy").await;
    p.click("main button").await;
    p.arrive("/account").await;
    p.wait_for("version 2").await;

    // The computer is on the list; signing out takes it off.
    p.go("/account/devices").await;
    p.wait_for("this computer").await;
    p.click("header form button").await;
    p.arrive("/login").await;
    p.wait_for("On a public or shared computer").await;
    let account = world.running.service.check_password(
        "alexandra@example.com",
        "correct horse battery",
        "127.0.0.1",
    );
    let computers = world
        .running
        .service
        .store
        .computers(account.unwrap())
        .unwrap();
    assert!(computers.is_empty());
    p.go("/nothing/here").await;
    p.look("nothing-here").await;
    p.client.close().await.unwrap();
}

#[test]
fn the_pages_tell_the_story_on_a_desktop() {
    with_browser(async |w, d| story(w, d, "desktop", Window::DESKTOP).await);
}

#[test]
fn the_pages_tell_the_story_on_a_phone() {
    with_browser(async |w, d| story(w, d, "phone", Window::PHONE).await);
}

#[test]
fn the_pages_tell_the_story_without_scripts() {
    let window = Window {
        script: false,
        ..Window::DESKTOP
    };
    with_browser(async |w, d| story(w, d, "no-script", window).await);
}

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// Goes on with the Tab key until `is_it` holds for what has the focus, then
/// types `keys`.
async fn tab_to(p: &Person, what: &str, keys: &str) {
    p.find("body").await.send_keys(TAB).await.unwrap();
    for _ in 0..80 {
        let at = p.client.active_element().await.unwrap();
        let id = at.attr("id").await.unwrap().unwrap_or_default();
        if id == what || at.text().await.unwrap().contains(what) {
            at.send_keys(keys).await.unwrap();
            return;
        }
        at.send_keys(TAB).await.unwrap();
    }
    panic!("the Tab key does not lead to {what:?}");
}

#[test]
fn the_pages_can_be_used_by_keyboard_alone() {
    with_browser(async |world, driver| {
        let base = world.running.pages_url();
        let p = Person::at(driver, &base, "keyboard", Window::DESKTOP).await;
        p.go("/login").await;
        p.find("body").await.send_keys(TAB).await.unwrap();
        let first = p.client.active_element().await.unwrap();
        assert_eq!(first.text().await.unwrap(), "Skip to content");
        tab_to(&p, "email", "alexandra@example.com").await;
        let at = p.client.active_element().await.unwrap();
        at.send_keys(TAB).await.unwrap();
        let at = p.client.active_element().await.unwrap();
        let password = format!("correct horse battery{ENTER}");
        at.send_keys(&password).await.unwrap();
        p.arrive("/account/devices").await;

        // A device is activated, and removed, with no other tool.
        let mut tv = world.device("tv", "stb");
        tv.start(false).unwrap();
        let code = tv.wait("code", |_| true).unwrap();
        let code = code["code"].as_str().unwrap().to_owned();
        tab_to(&p, "Activate", ENTER).await;
        p.arrive("/activate").await;
        tab_to(&p, "code", &format!("{code}{ENTER}")).await;
        p.wait_for("Is this your device?").await;
        tab_to(&p, "Allow", ENTER).await;
        p.arrive("/account/devices").await;
        tv.wait_state("active").unwrap();
        p.go("/account/devices").await;
        tab_to(&p, "Remove", ENTER).await;
        p.wait_for("This cannot be undone").await;
        tab_to(&p, "Remove", ENTER).await;
        p.arrive("/account/devices").await;
        p.wait_for("Proven wiped").await;
        p.client.close().await.unwrap();
    });
}

/// FINDINGS S20: the seventh tab waited for ever, because six event streams use up a
/// browser's connections.
#[test]
fn any_number_of_tabs_follow_one_event_stream() {
    with_browser(async |world, driver| {
        let service = &world.running.service;
        let email = "alexandra@example.com";
        let account = service.check_password(email, "correct horse battery", "127.0.0.1");
        let account = account.unwrap();
        let url = world.running.pages_url();
        let p = Person::at(driver, &url, "tabs", Window::DESKTOP).await;
        p.sign_in(email, "correct horse battery").await;
        let mut tv = world.device("tv", "stb");
        tv.start(false).unwrap();
        activate(&mut tv, &{
            let other = Browser::new(url.trim_end_matches('/'));
            other
                .sign_in(email, "correct horse battery", false)
                .unwrap();
            other
        });
        let mut tabs = vec![p.client.window().await.unwrap()];
        for _ in 0..8 {
            let tab = p.client.new_window(true).await.unwrap().handle;
            p.client.switch_to_window(tab.clone()).await.unwrap();
            p.go("/account/devices").await;
            p.wait_for("Virtual set-top box").await;
            tabs.push(tab);
        }
        let one = || service.metrics().contains("nrd_event_streams 1\n");
        common::eventually("one event stream", one);
        let rename = |name: &str| {
            let id = service.devices(account).unwrap()[0].row.id;
            service.store.rename(account, &id, name).unwrap();
            // What a form does: tell the open pages.
            service.consent(account, 1, "127.0.0.1").unwrap();
        };
        rename("Kitchen");
        for tab in &tabs {
            p.client.switch_to_window(tab.clone()).await.unwrap();
            p.wait_for("Kitchen").await;
        }
        // The tab that listens is closed: the next one takes its place. Whoever
        // waited for the minute's own refresh would not say so in time.
        p.client.switch_to_window(tabs[0].clone()).await.unwrap();
        p.client.close_window().await.unwrap();
        p.client.switch_to_window(tabs[1].clone()).await.unwrap();
        common::eventually("one event stream again", one);
        rename("Attic");
        for tab in &tabs[1..] {
            p.client.switch_to_window(tab.clone()).await.unwrap();
            p.wait_for("Attic").await;
        }
        p.client.close().await.unwrap();
    });
}
