//! Erases of each workload, against the peers that carry the same sealed
//! values.

use super::Context;
use super::runs::{VALUES, Whose, measure, peer_name, plan};
use super::updates::Ideal;
use crate::peers::Peer;
use crate::report::{Row, Section, Target};
use nrd_tests::measure::steady::{Plan, record};
use nrd_tests::measure::workload::Pattern;

const ABOUT: &str = "\
Erases of 4 KiB for 1000 updates, each engine carrying the same values sealed with \
AES-256-GCM, on the same part (write unit 4), the same keys in the same order. \
*sixteen keys* is the workload of 16 keys and 10,000 updates. *ring* is the \
simulated order-preserving ring of whole records of ours; *our wear* the erases of \
the most erased sector over the mean (1 is even).";

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("erases", "Erases", ABOUT);
    for value in VALUES {
        for pattern in Pattern::ALL {
            let plan = plan(c.quick, c.seed, value, pattern, 4);
            let Some(ours) = c.runs.half_full(Whose::Ours, plan, 4) else {
                continue;
            };
            let peers = peers(|peer| {
                let found = c.runs.half_full(Whose::Sealed(peer), plan, 4)?;
                Some(found.per(found.counts.erases) * 1000.0)
            });
            let ideal = Ideal::of(&plan, record(value, 4));
            s.rows.push(
                Row::new(
                    format!("erases, {value} B, {}", pattern.name()),
                    "per 1000 updates",
                    ours.per(ours.counts.erases) * 1000.0,
                )
                .peers(peers, target(value))
                .more("ring", ideal.ring.erases * 1000.0)
                .more("our wear", ours.wear),
            );
        }
    }
    for value in [32, 256] {
        let plan = Plan::sixteen(value);
        let Some(ours) = measure(Whose::Ours, &plan, 4) else {
            continue;
        };
        let peers = peers(|peer| {
            let found = measure(Whose::Sealed(peer), &plan, 4)?;
            Some(found.per(found.counts.erases) * 1000.0)
        });
        s.rows.push(
            Row::new(
                format!("erases, {value} B, sixteen keys"),
                "per 1000 updates",
                ours.per(ours.counts.erases) * 1000.0,
            )
            .peers(peers, target(value))
            .more("our wear", ours.wear),
        );
    }
    s
}

fn target(value: usize) -> Target {
    match value {
        256.. => Target::Ahead,
        _ => Target::Times(1.1),
    }
}

/// The figure of every peer.
pub(super) fn peers(mut figure: impl FnMut(Peer) -> Option<f64>) -> Vec<(String, Option<f64>)> {
    Peer::ALL
        .iter()
        .map(|&p| (peer_name(p), figure(p)))
        .collect()
}
