//! A device that is lost or broken, and comes back all the same.

mod common;

use common::{World, activate, click_remove};
use nrd_sim::demo::Browser;

/// FINDINGS S24: a dead device could never be taken off the list.
#[test]
fn a_dead_device_goes_off_the_list_and_is_told_to_wipe_should_it_come_back() {
    let world = World::new();
    let browser = Browser::new(&world.running.pages_url());
    browser
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    let mut tv = world.device("tv", "stb");
    tv.start(false).unwrap();
    activate(&mut tv, &browser);
    tv.pull_the_plug();
    click_remove(&browser);
    let entry = browser.wait_state("/hide\"", "Removal ordered").unwrap();
    let hide = entry
        .split("action=\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|action| action.ends_with("/hide"))
        .unwrap()
        .to_owned();
    let list = browser.submit("/account/devices", &hide, &[]).unwrap();
    assert_eq!(list.status, 200);
    assert!(list.text().contains("No device is activated"));
    // Found again in a drawer.
    tv.start(false).unwrap();
    tv.wait_state("clean").unwrap();
    common::eventually("the proof in the activity", || {
        let activity = browser.get("/account/activity").unwrap().text();
        activity.contains("A device proved that it is wiped")
    });
    assert!(browser.entry("Virtual set-top box").is_err());
}
