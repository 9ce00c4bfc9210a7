//! Power cuts during recovery from power cuts: the long ring's part of
//! `powercut.rs`.

#[path = "shared/power_cuts.rs"]
mod power_cuts;

use nrd_sim::hw::FaultMode;
use power_cuts::cut_everywhere;

#[test]
fn cuts_during_recovery_from_cuts() {
    let report = cut_everywhere("ecc-2k-smallest", 2, 9, &FaultMode::ALL);
    assert!(report.second_cuts > report.cuts, "{}", report.second_cuts);
    assert!(report.third_cuts > 100, "{}", report.third_cuts);
    assert!(report.pruned > 1000, "{}", report.pruned);
}
