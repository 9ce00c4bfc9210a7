//! Looks at the physical cells after a wipe.

use super::life::{Violation, World};
use nrd_agent::wire::{MakerCertificate, Method, Receipt, Subject, WipeReason, decode_signed};
use nrd_hal::layout::Layout;
use nrd_sim_forensics::inspect::{Image, InspectReport, Search, inspect};
use nrd_sim_hw::AuditedCrypto;

/// Judges a device that says it is clean: every bit of both slots and of the
/// vault erased and stable, no secret anywhere, and a receipt that says so.
pub(super) fn clean(world: &mut World) -> Result<(), Violation> {
    let chip = world.chip();
    let layout = Layout::plan(&chip.spec().geometry).map_err(|e| format!("{e:?}"))?;
    let ranges = [
        ("slot A", layout.slot_start, layout.slot_size),
        (
            "slot B",
            layout.slot_start + layout.slot_size,
            layout.slot_size,
        ),
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
    drop(chip);
    let report = adversary(world, true)?;
    if let Some(hit) = report.plaintext_hits.first() {
        return Err(format!(
            "clean, but an account value stands on flash ({}) at {}",
            hit.encoding, hit.offset
        ));
    }
    if let Some(o) = report.opened.first() {
        return Err(format!(
            "clean, but a record of class {} opens at {}",
            o.class, o.offset
        ));
    }
    receipt(world)
}

/// Looks at the cells with the root key in hand; with `spied`, with every key
/// slot ever seen as well.
fn adversary(world: &mut World, spied: bool) -> Result<InspectReport, Violation> {
    let chip = world.chip();
    let image = Image {
        cells: chip.cells(),
        geometry: chip.spec().geometry,
    };
    let search = Search {
        root: Some(world.bench.root),
        epochs: (0..=chip.counter() + 1).collect(),
        slots: if spied {
            world.slots.clone()
        } else {
            Vec::new()
        },
        keys: if spied {
            world.keys.clone()
        } else {
            Vec::new()
        },
        // Tokens and activation secrets must be gone as well, once they are known.
        secrets: if spied {
            [&world.secrets[..], &world.key_texts].concat()
        } else {
            world.secrets.clone()
        },
        deep: false,
    };
    let report = inspect(&image, &search).map_err(|e| format!("{e:?}"))?;
    drop(chip);
    world.trials += report.trial_opens;
    Ok(report)
}

/// The control: while the account is there, the same search finds every value
/// that was acknowledged, and none in plain. Returns how many.
pub(super) fn control(world: &mut World) -> Result<u64, Violation> {
    let report = adversary(world, false)?;
    if let Some(hit) = report.plaintext_hits.first() {
        return Err(format!(
            "an account value stands in plain at {}",
            hit.offset
        ));
    }
    let mut found = 0;
    for ((class, id), value) in &world.model.data {
        let name = nrd_sim_forensics::inspect::class_name(*class);
        let newest = report
            .opened
            .iter()
            .filter(|o| o.class == name && o.id == *id)
            .max_by_key(|o| o.seq);
        match newest {
            Some(o) if !o.deletes && o.length == value.len() => found += 1,
            _ => {
                return Err(format!(
                    "control: the search does not find {name} {id}, so it proves nothing"
                ));
            }
        }
    }
    Ok(found)
}

fn receipt(world: &World) -> Result<(), Violation> {
    let Some(frame) = world.bench.service.receipts.last() else {
        return Err("no receipt was delivered".into());
    };
    let unchecked: Receipt<'_> =
        nrd_agent::wire::peek(frame).map_err(|e| format!("the receipt is malformed: {e}"))?;
    let maker = world.bench.service.maker_key();
    let certificate: MakerCertificate =
        decode_signed::<_, AuditedCrypto>(unchecked.certificate, &maker)
            .map_err(|e| format!("the receipt's certificate: {e}"))?;
    let receipt: Receipt<'_> = decode_signed::<_, AuditedCrypto>(frame, &certificate.public_key)
        .map_err(|e| format!("the receipt: {e}"))?;
    let whole = receipt.sectors.erased == receipt.sectors.total && receipt.sectors.failed == 0;
    let reasons = [WipeReason::Local, WipeReason::Order];
    for (reason, acknowledged) in reasons.into_iter().zip(world.model.acknowledged) {
        let proven = world.bench.service.receipts.iter().filter(|r| {
            let receipt = nrd_agent::wire::peek::<Receipt<'_>>(r);
            matches!(receipt, Ok(Receipt { subject: Subject::Wipe { reason: r, .. }, .. }) if r == reason)
        });
        if proven.count() < acknowledged {
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
pub(super) fn check_flash_contract(world: &World) -> Result<(), Violation> {
    match world.chip().abuses().first() {
        None => Ok(()),
        Some(abuse) => Err(format!("the part was abused: {abuse}")),
    }
}
