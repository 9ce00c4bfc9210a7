//! Flash reads for an update and for a get.

use super::Context;
use super::erases::peers;
use super::runs::{VALUES, Whose, plan};
use crate::report::{Row, Section};
use nrd_tests::measure::workload::Pattern;

const ABOUT: &str = "\
Read calls for each update (reclaiming included, spread over the updates) and for \
each get, uniform workload. A read wholly inside what the last program or erase \
touched is read-back and counted apart: *read-back* and *bytes* are ours.";

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("reads", "Flash reads", ABOUT);
    for value in VALUES {
        let plan = plan(c.quick, c.seed, value, Pattern::Uniform, 4);
        let Some(ours) = c.runs.half_full(Whose::Ours, plan, 4) else {
            continue;
        };
        let with = peers(|peer| {
            let found = c.runs.half_full(Whose::Sealed(peer), plan, 4)?;
            Some(found.per(found.counts.reads))
        });
        s.rows.push(
            Row::new(
                format!("reads an update, {value} B"),
                "reads",
                ours.per(ours.counts.reads),
            )
            .peers(with, crate::report::Target::None)
            .at_most(1.0)
            .more("bytes", ours.per(ours.counts.read))
            .more("read-back", ours.per(ours.counts.back_reads))
            .more("read-back bytes", ours.per(ours.counts.back)),
        );
        let with = peers(|peer| {
            let found = c.runs.half_full(Whose::Sealed(peer), plan, 4)?;
            Some(found.get_reads)
        });
        s.rows.push(
            Row::new(format!("reads a get, {value} B"), "reads", ours.get_reads)
                .peers(with, crate::report::Target::None)
                .at_most(1.0)
                .more("bytes", ours.get_bytes),
        );
    }
    s
}
