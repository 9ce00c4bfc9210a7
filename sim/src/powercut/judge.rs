//! Looks at the physical cells after a wipe.

use super::life::{Violation, World};
use nrd_agent::wire::{MakerCertificate, Method, Receipt, Subject, WipeReason, decode_signed};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::Layout;

/// Judges a device that says it is clean: every bit of both slots and of the
/// vault erased and stable, no secret anywhere, and a receipt that says so.
pub(super) fn clean(world: &World) -> Result<(), Violation> {
    let chip = world.chip();
    let layout = Layout::plan(&chip.spec().geometry).map_err(|e| format!("{e:?}"))?;
    let ranges = [
        ("slot A", 0, layout.slot_size),
        ("slot B", layout.slot_size, layout.slot_size),
        ("vault", layout.vault_start, layout.vault_size),
    ];
    for (name, start, size) in ranges {
        let range = start as usize..(start + size) as usize;
        if let Some(at) = chip.cells()[range.clone()].iter().position(|&c| c != 0xFF) {
            return Err(format!("clean, but {name} is not erased at {at}"));
        }
        if let Some(at) = chip.unstable()[range].iter().position(|&u| u != 0) {
            return Err(format!("clean, but {name} reads unstably at {at}"));
        }
    }
    for secret in &world.secrets {
        let found = chip
            .cells()
            .windows(secret.len())
            .any(|w| w == secret.as_slice());
        if found {
            return Err("clean, but an account value stands on flash in plain".into());
        }
    }
    drop(chip);
    receipt(world)
}

fn receipt(world: &World) -> Result<(), Violation> {
    let Some(frame) = world.rig.authority.receipts.last() else {
        return Err("no receipt was delivered".into());
    };
    let unchecked: Receipt<'_> =
        nrd_agent::wire::peek(frame).map_err(|e| format!("the receipt is malformed: {e}"))?;
    let maker = world.rig.authority.maker_key();
    let certificate: MakerCertificate =
        decode_signed::<_, RingCrypto>(unchecked.certificate, &maker)
            .map_err(|e| format!("the receipt's certificate: {e}"))?;
    let receipt: Receipt<'_> = decode_signed::<_, RingCrypto>(frame, &certificate.public_key)
        .map_err(|e| format!("the receipt: {e}"))?;
    let whole = receipt.sectors.erased == receipt.sectors.total && receipt.sectors.failed == 0;
    for reason in [WipeReason::Local, WipeReason::Order] {
        let acknowledged = world.model.acknowledged.iter().filter(|r| **r == reason);
        let proven = world.rig.authority.receipts.iter().filter(|r| {
            let receipt = nrd_agent::wire::peek::<Receipt<'_>>(r);
            matches!(receipt, Ok(Receipt { subject: Subject::Wipe { reason: r, .. }, .. }) if r == reason)
        });
        if proven.count() < acknowledged.count() {
            return Err(format!(
                "an acknowledged wipe ({reason:?}) has no receipt of its own"
            ));
        }
    }
    match receipt.method {
        Method::Purge if whole && receipt.flags.slots_blank => Ok(()),
        method => Err(format!(
            "the receipt says {method:?}, {:?}",
            receipt.sectors
        )),
    }
}

/// The software kept the part's rules: alignment, write-once, no program over
/// cells that a cut left unstable.
pub(super) fn manners(world: &World) -> Result<(), Violation> {
    match world.chip().abuses().first() {
        None => Ok(()),
        Some(abuse) => Err(format!("the part was abused: {abuse}")),
    }
}
