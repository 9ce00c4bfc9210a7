//! The reference service's core: what a check-in costs beside the one signature
//! that it cannot do without.

use super::Context;
use crate::report::{Row, Section, Target};
use nrd_sim::load::check_ins::{CheckInReport, core};

const ABOUT: &str = "\
Processor time of one check-in in the service's core on SQLite (`synchronous=FULL`, grouped \
commits), 64 at once, as a multiple of one bare Ed25519 verify measured in the same round; \
the median of the rounds. At most 2 is at least half as many check-ins as verifies a second. \
*p50* and *p99* are the time to an answer with 64 waiting, on this host. More in \
[SCALE](SCALE.md).";

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("service", "Check-ins", ABOUT);
    let (rounds, each) = if c.quick { (1, 200) } else { (5, 1000) };
    for renews in [false, true] {
        let name = match renews {
            false => "check-in",
            true => "check-in that renews its token and lease",
        };
        match median(rounds, each, renews) {
            Ok(r) => s.rows.push(row(name, &r, renews)),
            Err(why) => s.skipped = Some(why),
        }
    }
    s
}

fn row(name: &str, r: &CheckInReport, renews: bool) -> Row {
    let row = Row::new(name, "verifies", 1.0 / r.ratio);
    let row = match renews {
        // It signs a lease as well: no target was set for it.
        true => row.floor(1.0, Target::None),
        false => row.floor(1.0, Target::Times(2.0)),
    };
    row.more("per verify", r.ratio)
        .more("check-ins", r.check_ins as f64)
        .more("p50, ms", r.latency.p50_ms)
        .more("p99, ms", r.latency.p99_ms)
}

/// The round whose ratio is the middle one.
fn median(rounds: usize, each: u32, renews: bool) -> Result<CheckInReport, String> {
    let runs: Result<Vec<CheckInReport>, String> =
        (0..rounds).map(|_| core(64, each, renews)).collect();
    let mut runs = runs?;
    runs.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    Ok(runs.swap_remove(rounds / 2))
}
