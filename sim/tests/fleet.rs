//! Small fleets: every removal ends proven, or is shown as what it is.

use nrd_sim::world::fleet::{FleetPlan, FleetReport, live};
use std::process::Command;

fn fleet(devices: usize, threads: usize) -> FleetReport {
    let plan = FleetPlan {
        devices,
        days: 4,
        seed: 11,
        check_in_s: 14_400,
        threads,
    };
    println!("seed {}", plan.seed);
    live(&plan, |_| {}).unwrap()
}

#[test]
fn every_device_of_a_fleet_is_proven_wiped_or_shown_as_waiting() {
    let r = fleet(400, 2);
    assert_eq!(r.wrong, 0, "{r:?}");
    assert_eq!(r.removed, 400, "{r:?}");
    assert_eq!(r.proven_wiped + r.pending, 400, "{r:?}");
    assert!(r.pending > 0 && r.proven_wiped > r.pending, "{r:?}");
    assert!(r.boots > 400 && r.updates > 4 * 400, "{r:?}");
    // Whoever is on hears of it at the next check-in.
    assert!(
        0 < r.p50_s && r.p50_s <= r.p99_s && r.p99_s <= r.max_s,
        "{r:?}"
    );
    assert!(r.max_s <= 14_400 + 60, "{r:?}");
}

#[test]
fn a_fleet_is_the_same_on_any_number_of_threads() {
    assert_eq!(fleet(510, 1), fleet(510, 2));
}

#[test]
fn the_command_prints_one_object_and_its_seed() {
    let out = Command::new(env!("CARGO_BIN_EXE_nrd-sim"))
        .args([
            "fleet",
            "--devices",
            "12",
            "--days",
            "2",
            "--seed",
            "4",
            "--json",
        ])
        .output()
        .unwrap();
    assert!(out.status.success());
    let r: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&r["devices"], &r["seed"]), (&12.into(), &4.into()));
    assert_eq!(r["wrong"], 0);
    assert!(String::from_utf8_lossy(&out.stderr).contains("seed 4"));
}
