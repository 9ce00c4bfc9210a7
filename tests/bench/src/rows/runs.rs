//! Steady-state runs, each made once.

use crate::peers::Peer;
use nrd_tests::measure::engine::{Engine, Refusal};
use nrd_tests::measure::flash::Counts;
use nrd_tests::measure::ours::Ours;
use nrd_tests::measure::steady::{Plan, geometry, run};
use nrd_tests::measure::workload::Pattern;
use std::collections::HashMap;

/// Whose run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// The log.
    Ours,
    /// A peer, its values sealed.
    Sealed(Peer),
}

/// The sizes of values.
pub(crate) const VALUES: [usize; 3] = [32, 256, 1024];

/// What a run found, for each update, and reads for each get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Totals of the updates.
    pub(crate) counts: Counts,
    /// Erases of the most erased sector over the mean.
    pub(crate) wear: f64,
    /// How many updates.
    pub(crate) updates: u64,
    /// Read calls for each get.
    pub(crate) get_reads: f64,
    /// Bytes read for each get.
    pub(crate) get_bytes: f64,
}

impl Found {
    /// For each update.
    pub(crate) fn per(&self, total: u64) -> f64 {
        total as f64 / self.updates as f64
    }
}

type Case = (Whose, usize, Pattern, u32);

/// The runs made so far.
#[derive(Default)]
pub(crate) struct Runs {
    made: HashMap<Case, Option<Found>>,
}

/// The plan of a half-full flash.
pub(crate) fn plan(quick: bool, seed: u64, value: usize, pattern: Pattern, write: u32) -> Plan {
    let turns = if quick { 8 } else { 40 };
    Plan::half_full(geometry(write), value, pattern, seed, turns)
}

impl Runs {
    /// The run of `whose` on a half-full flash; `None` where the values do not
    /// fit or the part is not taken.
    pub(crate) fn half_full(&mut self, whose: Whose, plan: Plan, write: u32) -> Option<Found> {
        let case = (whose, plan.value, plan.pattern, write);
        if let Some(found) = self.made.get(&case) {
            return *found;
        }
        let found = measure(whose, &plan, write);
        self.made.insert(case, found);
        found
    }
}

/// Runs `plan`.
pub(crate) fn measure(whose: Whose, plan: &Plan, write: u32) -> Option<Found> {
    let g = geometry(write);
    let mut engine: Box<dyn Engine> = match whose {
        Whose::Ours => Box::new(Ours::new(g)),
        Whose::Sealed(peer) => peer.build_sealed(g, plan.keys)?,
    };
    let steady = match run(&mut *engine, plan) {
        Ok(steady) => steady,
        Err(Refusal::Full) => return None,
        Err(Refusal::Failed(why)) => {
            eprintln!("{} does not take {plan:?}: {why}", engine.name());
            return None;
        }
    };
    let tally = engine.tally();
    let before = tally.now();
    let mut buf = vec![0; plan.value];
    for key in 0..plan.keys {
        engine.get(key, &mut buf)?;
    }
    let gets = tally.now() - before;
    // A get that finds the last program under its eyes is a read all the same.
    let n = f64::from(plan.keys);
    Some(Found {
        counts: steady.counts,
        wear: steady.wear,
        updates: plan.updates,
        get_reads: (gets.reads + gets.back_reads) as f64 / n,
        get_bytes: (gets.read + gets.back) as f64 / n,
    })
}

/// Name of a peer in reports.
pub(crate) fn peer_name(peer: Peer) -> String {
    match peer {
        Peer::Sequential => "sequential-storage",
        Peer::SequentialCached => "sequential-storage, all caches",
        Peer::Wasefire => "wasefire-store",
        Peer::Ekv => "ekv",
        #[cfg(feature = "littlefs")]
        Peer::Littlefs => "littlefs2",
    }
    .to_owned()
}
