//! Holds a receipt against itself, its model, and what the caller knows.
//! Each rule follows from what an honest agent writes: `agent/src/core/wipe.rs`
//! and `agent/src/agent/receipt.rs`.

use crate::{Contradictions, ModelData, Question, Rule};
use nrd_agent::wire::{
    ActivationId, MakerCertificate, Method, Receipt, ReceiptFlags, SectorCounts, Subject,
    WipeReason,
};

/// A log needs three sectors.
const MIN_SECTORS: u32 = 3;
/// No flash has a smaller erase unit, in bytes.
const MIN_SECTOR_BYTES: u32 = 256;

/// Rules 1 to 9 and 16 to 19.
pub(crate) fn contradictions(receipt: &Receipt<'_>, question: &Question<'_>) -> Contradictions {
    // Every field has a name here: one that is added does not compile before it
    // is judged.
    let Receipt {
        certificate: _,
        subject,
        epoch,
        counter,
        method,
        sectors: SectorCounts {
            total,
            erased,
            failed,
        },
        flags:
            ReceiptFlags {
                slots_blank,
                // The model's, or nobody's.
                slots_outside_image: _,
                root_refuses_past: _,
                counter_worn_out,
                tombstone_failed,
                // What a device may have lived through cannot be told from here.
                dropped: _,
            },
        agent_version: _,
        powered_s: _,
        wall_s: _,
    } = receipt;
    let mut broken = Contradictions::default();
    broken.unless(
        erased.checked_add(*failed) == Some(*total),
        Rule::SectorsAddUp,
    );
    broken.unless(*total >= MIN_SECTORS, Rule::SectorsTooFew);
    let clean = *slots_blank && *failed == 0 && erased == total;
    broken.unless(
        (*method != Method::Failed) == clean,
        Rule::MethodAndFindings,
    );
    // A worn counter may stand still, may not answer, or may have taken its
    // last step all the same: it never stands below the epoch.
    let stood_still = *counter_worn_out && counter >= epoch;
    match subject {
        Subject::Wipe {
            reason,
            order,
            activation_id,
            previous: _,
        } => {
            let raised = epoch.checked_add(1) == Some(*counter);
            broken.unless(raised || stood_still, Rule::CounterAfterWipe);
            broken.unless(
                order.is_some() == (*reason == WipeReason::Order),
                Rule::ReasonAndOrder,
            );
            broken.unless(
                !ends_an_activation(*reason) || *activation_id != ActivationId::default(),
                Rule::ReasonAndActivation,
            );
        }
        Subject::Clean { .. } | Subject::Stored { .. } => {
            broken.unless(counter == epoch || stood_still, Rule::CounterAtProof);
            broken.unless(!tombstone_failed, Rule::TombstoneOfProof);
        }
    }
    if let Subject::Stored { bytes, .. } = subject {
        broken.unless(
            total
                .checked_mul(MIN_SECTOR_BYTES)
                .is_some_and(|least| *bytes >= least),
            Rule::StoredBytes,
        );
    }
    against_known(receipt, question, &mut broken);
    broken
}

fn ends_an_activation(reason: WipeReason) -> bool {
    match reason {
        WipeReason::Order | WipeReason::DeadMan | WipeReason::VisitEnded => true,
        // A person may wipe a device that is on no account, and a device may
        // have lost which activation it was.
        WipeReason::Local | WipeReason::Abandoned | WipeReason::Recovered => false,
    }
}

fn against_known(receipt: &Receipt<'_>, question: &Question<'_>, broken: &mut Contradictions) {
    let worn = receipt.flags.counter_worn_out;
    if let Some(before) = question.previous_counter {
        let moved = match receipt.subject {
            Subject::Wipe { .. } => receipt.counter > before || worn,
            Subject::Clean { .. } | Subject::Stored { .. } => true,
        };
        broken.unless(receipt.counter >= before && moved, Rule::KnownCounter);
    }
    let Some(known) = &question.known else {
        return;
    };
    let Subject::Wipe {
        reason,
        order,
        activation_id,
        ..
    } = &receipt.subject
    else {
        broken.unless(false, Rule::KnownActivation);
        return;
    };
    broken.unless(*activation_id == known.activation_id, Rule::KnownActivation);
    // A wipe of which only the raised counter was left is found an epoch later;
    // a counter that never answered leaves the epoch a guess.
    let later = *reason == WipeReason::Recovered && receipt.epoch > known.epoch;
    broken.unless(
        receipt.epoch == known.epoch || later || worn,
        Rule::KnownEpoch,
    );
    if let (Some(digest), Some(given)) = (order, known.orders) {
        broken.unless(given.contains(digest), Rule::KnownOrder);
    }
}

/// Rules 10 to 15.
pub(crate) fn against_model(
    certificate: &MakerCertificate,
    receipt: &Receipt<'_>,
    model: &ModelData,
    broken: &mut Contradictions,
) {
    broken.unless(certificate.kind == model.kind, Rule::ModelKind);
    broken.unless(receipt.sectors.total == model.sectors, Rule::ModelSectors);
    if let Subject::Stored { bytes, .. } = receipt.subject {
        broken.unless(bytes == model.vault_bytes, Rule::ModelBytes);
    }
    let allowed = match receipt.method {
        Method::Purge => model.physical,
        Method::Clear => !model.physical,
        Method::Failed => true,
    };
    broken.unless(allowed, Rule::ModelMethod);
    let flags = &receipt.flags;
    broken.unless(
        flags.slots_outside_image == model.slots_outside_image,
        Rule::ModelSlots,
    );
    broken.unless(
        flags.root_refuses_past == model.root_refuses_past,
        Rule::ModelRoot,
    );
}
