//! Honest people and devices among hostile clients, for a short time: a small version
//! of `nrd-sim load hostile`. What was done and how much memory it took is asserted, no
//! time.

mod common;

use common::EXE;
use common::chromium::{Driver, Person, Window};
use nrd_sim::load::device::Device;
use nrd_sim::load::hostile::{HostilePlan, Siege, run};
use std::path::Path;

const PLAN: HostilePlan = HostilePlan {
    seconds: 10,
    crowd: 300,
    seed: 22,
};

#[test]
fn among_hostile_clients_every_removal_and_check_in_succeeds_in_300_mb() {
    let report = run(Path::new(EXE), &PLAN).unwrap();
    println!("{report:#?}");
    assert!(report.good(), "{report:#?}");
    assert!(report.refused_of_all > 0.0, "the crowd was too small");
}

#[test]
fn among_hostile_clients_a_person_removes_a_device_in_a_real_browser() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let siege = Siege::begin(Path::new(EXE), &PLAN).unwrap();
    let mut tv = siege.device(&siege.browser(0).unwrap(), 7, 20).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = format!("http://localhost:{}/", siege.service.pages_port);
        let p = Person::at(&driver, &url, "hostile", Window::DESKTOP).await;
        p.go("/login").await;
        p.type_into("#email", "p0@example.com").await;
        p.type_into("#password", "click after click").await;
        p.click("main button").await;
        p.arrive("/account/devices").await;
        siege.attack();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        // The page follows by itself: an event stream among others.
        let wiped = async { tv.until(Device::is_done).await.unwrap() };
        let person = async {
            p.click("a.danger").await;
            p.wait_for("This cannot be undone").await;
            p.click("main button.danger").await;
            p.arrive("/account/devices").await;
            p.wait_for("Proven wiped").await;
        };
        tokio::join!(wiped, person);
        p.client.clone().close().await.unwrap();
    });
    let tried = siege.tried();
    assert!(tried.values().all(|n| *n > 0), "{tried:?}");
}
