//! Runs of the power-cut explorer that must find nothing.

use nrd_sim::explorer::{ExplorerReport, NAMED, Options, explore};
use nrd_sim::hw::FaultMode;

/// Cuts power at each operation of a device's life, in each of the tear modes.
pub(crate) fn cut_everywhere(
    name: &str,
    depth: u8,
    stride: u64,
    tears: &[FaultMode],
) -> ExplorerReport {
    cut_with(name, depth, stride, tears, false)
}

/// The same; with `same_draws` the generator gives the same at each boot.
pub(crate) fn cut_with(
    name: &str,
    depth: u8,
    stride: u64,
    tears: &[FaultMode],
    same_draws: bool,
) -> ExplorerReport {
    let seed = std::env::var("NRD_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261_124);
    let part = NAMED.iter().find(|n| n.name == name).expect("a named part");
    let options = Options {
        seed,
        depth,
        chip: part.chip,
        start: part.start,
        tears: tears.to_vec(),
        stride,
        third: 17,
        same_draws,
        threads: 1,
    };
    let report = explore(&options, |_, _| {}).expect("the geometry is accepted");
    println!(
        "{name}: seed {seed}, {} operations, {} cuts, {} second, {} third, {} states, {} pruned",
        report.operations,
        report.cuts,
        report.second_cuts,
        report.third_cuts,
        report.states,
        report.pruned
    );
    assert_eq!(report.details, Vec::<String>::new(), "{name}: seed {seed}");
    assert_eq!(report.violations, 0);
    assert_eq!(report.nonces_reused, 0, "{} nonces", report.nonces);
    assert!(report.nonces > 1000, "{}", report.nonces);
    assert_eq!(
        report.missed_phases,
        Vec::<String>::new(),
        "nothing struck these"
    );
    // Only erases program first.
    let preprogram = tears.contains(&FaultMode::Preprogram);
    let struck = report.tears.get("preprogram").copied().unwrap_or(0);
    assert_eq!(struck > 0, preprogram);
    let others = tears.len() as u64 - u64::from(preprogram);
    assert_eq!(report.cuts - struck, report.operations * others);
    assert!(report.operations > 100, "{}", report.operations);
    report
}
