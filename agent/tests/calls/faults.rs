//! Parts that do not answer.

use crate::common::Bench;
use crate::phases::NO_WRITES;
use nrd_agent_testkit::Failure::Silent;

/// A part out of order: the name of its column, and how it comes to that.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) set: fn(&Bench),
}

macro_rules! faults {
    ($($name:literal, $set:expr;)*) => {
        pub(crate) const FAULTS: &[Fault] = &[$(Fault { name: $name, set: $set },)*];
    };
}

faults! {
    "journal silent", |b| b.port.journal.outage.set(Silent);
    "journal takes no writes", |b| b.port.journal.outage.set(NO_WRITES);
    "vault silent", |b| b.port.vault.outage.set(Silent);
    "vault takes no writes", |b| b.port.vault.outage.set(NO_WRITES);
    "slots silent", |b| b.port.slots.outage.set(Silent);
    "slots take no writes", |b| b.port.slots.outage.set(NO_WRITES);
    "counter silent", |b| b.port.counter.outage.set(Silent);
    "generator silent", |b| b.port.rng.outage.set(Silent);
    "device key silent", |b| b.port.identity.outage.set(Silent);
}

/// The phase in which each call is made with a part out of order: one in which it
/// does something.
pub(crate) const HOMES: &[(&str, &str)] = &[
    ("`deactivate`", "boot"),
    ("`deactivate`", "active"),
    ("`start_activation`", "fresh"),
    ("`cancel_activation`", "activating"),
    ("`cancel_activation`", "half stored"),
    ("`sign_out`", "active"),
    ("`apply_order` (deactivate)", "active"),
    ("`apply_order` (sign out)", "active"),
    ("`put`", "active"),
    ("`get`", "active"),
    ("`remove`", "active"),
    ("`forget`", "active"),
    ("`display_name`", "active"),
    ("`prove_clean`", "clean"),
    ("`storage_check` (open)", "fresh"),
    ("`end_storage_check`", "filling"),
    ("`newest_receipt`", "clean"),
    ("`is_clean`", "clean"),
    ("`poll_request`, `handle_reply`", "activating"),
    ("`poll_request`, `handle_reply`", "lease expired"),
    ("`exchange_failed`", "active"),
    ("`network_up`, `try_again`", "active"),
    ("`spread_first_contact`", "active"),
    ("`state`, `status`, `signed_time`, `next_due_ms`", "active"),
];
