//! What is measured: a function a group.

mod boot;
mod cases;
mod death;
mod erases;
mod explorer;
mod fleet;
mod growth;
mod host;
mod instructions;
mod reads;
mod remains;
mod runs;
mod service;
mod updates;
mod wipe;

pub(crate) use boot::small;
pub(crate) use cases::run as run_case;
pub(crate) use runs::Runs;

use crate::report::Section;
use std::path::PathBuf;

/// What every group is given.
pub(crate) struct Context {
    /// Fewer turns, smaller parts.
    pub(crate) quick: bool,
    /// Seed of every workload.
    pub(crate) seed: u64,
    /// Where plots go, if anywhere.
    pub(crate) plots: Option<PathBuf>,
    /// Runs that more than one group reads.
    pub(crate) runs: Runs,
}

/// A group: the word that selects it, and what measures it.
pub(crate) type Group = (&'static str, fn(&mut Context) -> Section);

/// Every group, machine-independent counts first, modelled time second.
pub(crate) const GROUPS: &[Group] = &[
    ("updates", updates::section),
    ("erases", erases::section),
    ("reads", reads::section),
    ("boot", boot::section),
    ("instructions", instructions::section),
    ("death", death::section),
    ("remains", remains::section),
    ("wipe", wipe::section),
    ("growth", growth::section),
    ("explorer", explorer::section),
    ("service", service::section),
    ("fleet", fleet::section),
    ("host", host::section),
];
