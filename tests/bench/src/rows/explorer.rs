//! The power-cut explorer: states a second, and who spends the instructions.

use super::Context;
use crate::callgrind::{missing, program};
use crate::report::{Row, Section};
use nrd_sim::explorer::{NAMED, Options, explore};
use nrd_sim::hw::FaultMode;
use std::time::Instant;

const ABOUT: &str = "\
`nrd-sim powercut` on the part words-2k. *States a second*: depth 1, every tear, two \
threads, wall time on this host. *Share of the agent*: instructions by callgrind, of \
calls into the agent and everything they call (its cryptography too) but the \
simulated hardware; the rest is the hardware model, the judge and the service.";

/// What is explored.
fn options(tears: &[FaultMode], threads: usize) -> Options {
    let part = NAMED
        .iter()
        .find(|n| n.name == "words-2k")
        .unwrap_or(&NAMED[0]);
    Options {
        seed: 7,
        depth: 1,
        chip: part.chip,
        start: part.start,
        tears: tears.to_vec(),
        stride: 1,
        third: 0,
        same_draws: false,
        threads,
    }
}

/// The case for callgrind.
pub(crate) fn case() {
    let report = explore(&options(&[FaultMode::Random], 1), |_, _| {}).expect("a part that fits");
    assert_eq!(report.violations, 0, "{:?}", report.details);
}

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("explorer", "The power-cut explorer", ABOUT);
    let from = Instant::now();
    let report = explore(&options(&FaultMode::ALL, 2), |_, _| {}).expect("a part that fits");
    let seconds = from.elapsed().as_secs_f64();
    s.rows.push(
        Row::new(
            "states a second",
            "states/s",
            report.states as f64 / seconds,
        )
        .more("cuts", report.cuts as f64)
        .more("states", report.states as f64)
        .more("cuts a second", report.cuts as f64 / seconds)
        .more("violations", report.violations as f64),
    );
    if c.quick {
        return s;
    }
    s.skipped = missing();
    if s.skipped.is_some() {
        return s;
    }
    match share() {
        Ok(share) => s
            .rows
            .push(Row::new("share of the agent", "%", share * 100.0)),
        Err(why) => s.skipped = Some(why),
    }
    s
}

/// Instructions of the agent over all.
fn share() -> Result<f64, String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let profile = program(&me, &["--case", "explore"], None)?;
    let agent = |name: &str| name.contains("nrd_agent::");
    // The service in process encodes with the agent's wire module.
    let others = |name: &str| name.contains("authority") || name.contains("::sign::");
    let hardware = |name: &str| name.contains("nrd_sim_hw::");
    let sum = |keep: &dyn Fn(&str, &str) -> bool| -> u64 {
        let calls = profile.calls.iter().filter(|(a, b, _)| keep(a, b));
        calls.map(|c| c.2).sum()
    };
    let into = sum(&|from, to| !agent(from) && !others(from) && agent(to));
    let out = sum(&|from, to| agent(from) && hardware(to));
    Ok(into.saturating_sub(out) as f64 / (profile.total + profile.model) as f64)
}
