//! A small version of `nrd-sim load crowd`: two service processes on one
//! PostgreSQL, one of them killed half way.

mod common;

use common::{EXE, skip};
use nrd_sim::load::crowd::{CrowdPlan, run};
use nrd_sim::load::postgres::programs;
use nrd_sim::load::removals;
use std::path::Path;
use std::time::Duration;

#[test]
fn two_hundred_waiting_devices_are_removed_once_each_though_a_process_dies() {
    if programs().is_none() {
        return skip("PostgreSQL", "a crowd of waiting devices");
    }
    let plan = CrowdPlan {
        devices: 200,
        processes: 2,
        kill: true,
        wait_s: 60,
        limit: Duration::from_secs(240),
    };
    let report = run(Path::new(EXE), &plan, |text| println!("{text}")).unwrap();
    println!("{report:?}");
    assert!(report.good(), "{report:?}");
    assert!(report.waiting.iter().all(|n| *n > 0.0), "{report:?}");
}

#[test]
fn a_click_on_a_device_that_waits_ends_proven_wiped_every_time() {
    let report = removals::run(Path::new(EXE), 6, 2, false, |_| {}).unwrap();
    println!("{report:?}");
    assert_eq!(report.removals, 6);
    assert!(report.flash.p50_ms > 0.0);
}
