//! Which phase of the design a cut struck.

use super::life::ScriptAct;
use nrd_hal::layout::Layout;
use nrd_sim_hw::{Op, OpKind};

/// Every phase that a run must strike to mean anything.
pub(super) const REQUIRED: [&str; 8] = [
    "format",
    "recovery at boot",
    "journal compaction",
    "slot rotation",
    "wipe: tombstone",
    "wipe: keys",
    "wipe: vault",
    "wipe: receipt and clean mark",
];

/// What was going on when an operation was struck.
pub(super) struct Moment<'a> {
    /// The device had never been started before.
    pub(super) first_boot: bool,
    /// The boot had not come to rest yet.
    pub(super) booting: bool,
    /// The act under way.
    pub(super) act: Option<ScriptAct>,
    /// The operations of that act before the struck one.
    pub(super) before: &'a [Op],
}

/// The phase of a struck operation; "" for the ordinary.
pub(super) fn phase(layout: &Layout, op: Op, now: &Moment<'_>) -> &'static str {
    if now.booting {
        return if now.first_boot {
            "format"
        } else {
            "recovery at boot"
        };
    }
    let journal = layout.journal().contains(&op.at);
    let slot = op.at >= layout.slot_start;
    let wiping = matches!(
        now.act,
        Some(ScriptAct::DeactivateHere | ScriptAct::DeactivateByOrder)
    );
    match op.kind {
        OpKind::Count => "wipe: keys",
        _ if slot && wiping => "wipe: keys",
        _ if slot => match now.act {
            Some(ScriptAct::Forget(_)) => "slot rotation",
            _ => "",
        },
        OpKind::Erase if journal => "journal compaction",
        OpKind::Program if journal && wiping => {
            let counted = now.before.iter().any(|o| o.kind == OpKind::Count);
            if !counted {
                "wipe: tombstone"
            } else {
                "wipe: receipt and clean mark"
            }
        }
        _ if wiping => "wipe: vault",
        _ => "",
    }
}
