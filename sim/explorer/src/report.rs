//! What was explored and found.

use super::phase::REQUIRED;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What was explored and found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ExplorerReport {
    /// The seed.
    pub seed: u64,
    /// Operations of the script's uncut run.
    pub operations: u64,
    /// First cuts (and silent no-ops).
    pub cuts: u64,
    /// Second cuts.
    pub second_cuts: u64,
    /// Third cuts, sampled.
    pub third_cuts: u64,
    /// Different states that cuts led to.
    pub states: u64,
    /// States that had been reached before, and were not judged again.
    pub pruned: u64,
    /// First cuts by what they struck.
    pub struck: BTreeMap<String, u64>,
    /// First cuts by the phase of the design that they struck.
    pub phases: BTreeMap<String, u64>,
    /// First cuts by tear mode.
    pub tears: BTreeMap<String, u64>,
    /// First cuts by tear mode whose image no other mode left there.
    pub distinct: BTreeMap<String, u64>,
    /// Phases of the design that no cut struck, and tear modes that made no
    /// image of their own.
    pub missed_phases: Vec<String>,
    /// Values that the search for readable records found before a wipe: the
    /// control without which finding none after it means nothing.
    pub control_records: u64,
    /// (Offset, key) pairs that were tried on wiped devices.
    pub trial_opens: u64,
    /// Seals, those of states that were reached again included.
    pub seals: u64,
    /// Different pairs of key and nonce among them.
    pub nonces: u64,
    /// Seals whose nonce had been used before, under the same key, over other
    /// contents.
    pub nonces_reused: u64,
    /// Broken promises, the first twenty with how to see them again.
    pub violations: u64,
    /// Their descriptions.
    pub details: Vec<String>,
}

impl ExplorerReport {
    /// Adds what another worker, or another part, has found.
    pub fn add(&mut self, other: &ExplorerReport) {
        self.operations += other.operations;
        self.cuts += other.cuts;
        self.second_cuts += other.second_cuts;
        self.third_cuts += other.third_cuts;
        self.states += other.states;
        self.pruned += other.pruned;
        self.control_records += other.control_records;
        self.trial_opens += other.trial_opens;
        self.seals += other.seals;
        self.nonces += other.nonces;
        self.nonces_reused += other.nonces_reused;
        self.violations += other.violations;
        for (mine, theirs) in [
            (&mut self.struck, &other.struck),
            (&mut self.phases, &other.phases),
            (&mut self.tears, &other.tears),
            (&mut self.distinct, &other.distinct),
        ] {
            for (what, n) in theirs {
                *mine.entry(what.clone()).or_default() += n;
            }
        }
        self.details.extend_from_slice(&other.details);
        self.details.truncate(20);
        let all: BTreeSet<String> = self
            .missed_phases
            .iter()
            .chain(&other.missed_phases)
            .cloned()
            .collect();
        self.missed_phases = all.into_iter().collect();
    }

    /// What no cut struck: the run then means less than it says.
    pub(super) fn note_missed(&mut self, first_boot: bool) {
        let parts = [
            "counter step",
            "slot A program",
            "slot A erase",
            "slot B program",
            "slot B erase",
            "journal program",
            "journal erase",
            "vault program",
            "vault erase",
        ];
        let parts = parts.iter().filter(|p| !self.struck.contains_key(**p));
        let phases = REQUIRED
            .iter()
            .filter(|p| first_boot || **p != "format")
            .filter(|p| !self.phases.contains_key(**p));
        let tears = self
            .tears
            .keys()
            .filter(|t| !self.distinct.contains_key(*t));
        self.missed_phases = parts
            .chain(phases)
            .map(|p| (*p).to_owned())
            .chain(tears.map(|t| format!("an image of its own by tear {t}")))
            .collect();
    }
}
