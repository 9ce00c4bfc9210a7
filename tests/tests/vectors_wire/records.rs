//! Every record of the journal, with its values.

use crate::accepted::{ID, TERMS};
use crate::make::Vectors;
use nrd_agent::lease::StoredLease;
use nrd_agent::order::SeenOrders;
use nrd_agent::state::{
    Activation, Attempt, PersistedState, SignedOut, Snapshot, Tombstone, WipePhase,
};
use nrd_agent::wire::*;

pub(crate) fn records(v: &mut Vectors) {
    let mut seen = SeenOrders::default();
    seen.note(KeyVersion(1), OrderSeq(9));
    seen.note(KeyVersion(2), OrderSeq(300));
    let states = [
        ("clean", PersistedState::Clean),
        (
            "activating",
            PersistedState::Activating(Attempt {
                id: ID,
                epoch: 3,
                before: Some(ActivationId([0x22; 16])),
                storing: true,
            }),
        ),
        (
            "active, locked",
            PersistedState::Active(Activation {
                id: ID,
                epoch: 3,
                slot_generation: 2,
                remember: true,
                lease: StoredLease {
                    terms: TERMS,
                    stored_at_s: 1000,
                    stored_used_s: 900,
                    stored_in_boot: 7,
                    issued_at: 1_795_478_400,
                },
                policy: PolicyVersion(1),
                lock: Some(LockReason::ConsentDue),
                seen,
            }),
        ),
        ("failed", PersistedState::Failed),
        (
            "signed out",
            PersistedState::SignedOut(SignedOut {
                id: ID,
                epoch: 3,
                service_notified: false,
                seen: SeenOrders::default(),
            }),
        ),
        ("filling", PersistedState::Filling),
    ];
    for (name, state) in states {
        let snapshot = Snapshot {
            state,
            last_receipt: Some([0xAF; 32]),
            ..Snapshot::fresh(3)
        };
        v.record(&format!("snapshot: {name}"), "Snapshot", &snapshot);
    }
    for (name, phase) in [
        ("keys", WipePhase::Keys),
        ("vault", WipePhase::Vault(8192)),
        ("receipt", WipePhase::Receipt),
    ] {
        let tombstone = Tombstone {
            reason: WipeReason::Order,
            order: Some([0xDE; 32]),
            activation_id: ID,
            wipe: 4,
            epoch: 3,
            target_epoch: 4,
            phase,
            sectors: SectorCounts::default(),
            slot_stuck: false,
            counter_worn_out: false,
            tombstone_failed: true,
        };
        v.record(&format!("tombstone: {name}"), "Tombstone", &tombstone);
    }
}
