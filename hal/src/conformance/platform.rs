//! Everything, on a whole port.

use super::{Failure, clock, counter, crypto, identity, keep, must, region, rng, root_key, slot};
use crate::counter::{Epoch, MonotonicCounter};
use crate::platform::{Parts, Platform};
use crate::region::Region;
use crate::root_key::RootKey;
use crate::slot::Effaceable;
use crate::{DeviceIdentity, layout};
use zeroize::Zeroizing;

/// Runs every check. Destroys what is on flash and in the slots; uses up three
/// counter steps.
///
/// ```
/// # mod port { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ram_port/port.rs")); }
/// # use port::{Board, RamPort};
/// use nrd_hal::{Epoch, MonotonicCounter, Platform, conformance};
///
/// let board = Board::new();
/// let mut port = RamPort::power_on(&board).unwrap();
/// assert_eq!(conformance::platform(&mut port), Ok(()));
/// assert_eq!(port.parts().counter.read(), Ok(Epoch(3)));
/// ```
pub fn platform<P: Platform>(port: &mut P) -> Result<(), Failure> {
    crypto::<P::Crypto>()?;
    let Parts {
        journal,
        vault,
        slot: slots,
        counter: count,
        root_key: root,
        rng: random,
        identity: who,
        clock: time,
    } = port.parts();
    region(journal)?;
    region(vault)?;
    apart(journal, vault)?;
    slot(slots)?;
    apart_from_slots(journal, vault, slots)?;
    counter(count, 2)?;
    root_key(root, count)?;
    rng(random)?;
    identity::<_, P::Crypto>(who)?;
    clock(time)
}

/// Journal and vault are large enough, and are not the same flash.
fn apart<J: Region, V: Region>(journal: &mut J, vault: &mut V) -> Result<(), Failure> {
    for (n, g) in [(0, journal.geometry()), (1, vault.geometry())] {
        let sectors = g.size / layout::logical_sector(&g).max(1);
        let enough = sectors >= layout::MIN_SECTORS;
        keep(
            "Platform",
            "journal and vault have three logical sectors each",
            Some(n),
            enough,
        )?;
    }
    let n = journal.geometry().write_size.max(16) as usize;
    let zeros = [0u8; 256];
    let bytes = zeros.get(..n).unwrap_or_default();
    must("Region", "program answers", journal.program(0, bytes))?;
    blank(vault, "journal and vault are different flash")?;
    let size = journal.geometry().size;
    must("Region", "erase answers", journal.erase(0, size))
}

fn blank<R: Region>(flash: &mut R, promise: &'static str) -> Result<(), Failure> {
    let mut buf = [0u8; 64];
    for at in (0..flash.geometry().size).step_by(buf.len()) {
        must("Region", "read answers", flash.read(at, &mut buf))?;
        keep(
            "Platform",
            promise,
            Some(at),
            buf.iter().all(|&b| b == 0xFF),
        )?;
    }
    Ok(())
}

fn apart_from_slots<J: Region, V: Region, S: Effaceable>(
    journal: &mut J,
    vault: &mut V,
    slots: &mut S,
) -> Result<(), Failure> {
    const PROMISE: &str = "the slots are no part of journal or vault";
    for n in [0, 1] {
        must("Effaceable", "write answers", slots.write(n, &[0u8; 256]))?;
    }
    blank(journal, PROMISE)?;
    blank(vault, PROMISE)?;
    for n in [0, 1] {
        must("Effaceable", "erase answers", slots.erase(n))?;
    }
    Ok(())
}

/// What must be the same after a power cycle.
pub struct Before {
    epoch: Epoch,
    fixed: Zeroizing<[u8; 32]>,
    of_epoch: Zeroizing<[u8; 32]>,
    public_key: [u8; 32],
}

const LABEL: &[u8] = b"nrd/1/conformance";
const KEPT: [u8; 256] = [0xA5; 256];

/// Notes what must outlive the power, and writes a slot and a record of flash.
///
/// ```
/// # mod port { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ram_port/port.rs")); }
/// # use port::{Board, RamPort};
/// use nrd_hal::conformance;
///
/// let board = Board::new();
/// let mut port = RamPort::power_on(&board).unwrap();
/// let before = conformance::before_power_cycle(&mut port).unwrap();
///
/// // Switch off and on: what was in RAM is made anew.
/// let mut port = RamPort::power_on(&board).unwrap();
/// assert_eq!(conformance::after_power_cycle(&mut port, &before), Ok(()));
///
/// // A counter that a firmware update sets back would be found.
/// board.fuses.set(7);
/// let failure = conformance::after_power_cycle(&mut port, &before).unwrap_err();
/// assert_eq!(failure.part, "MonotonicCounter");
/// ```
pub fn before_power_cycle<P: Platform>(port: &mut P) -> Result<Before, Failure> {
    let parts = port.parts();
    let size = parts.journal.geometry().size;
    must("Region", "erase answers", parts.journal.erase(0, size))?;
    must("Region", "program answers", parts.journal.program(0, &KEPT))?;
    must("Effaceable", "erase answers", parts.slot.erase(0))?;
    must("Effaceable", "write answers", parts.slot.write(0, &KEPT))?;
    let epoch = must("MonotonicCounter", "read answers", parts.counter.read())?;
    let fixed = parts.root_key.derive_fixed(LABEL);
    let of_epoch = parts.root_key.derive_epoch(LABEL, epoch);
    Ok(Before {
        epoch,
        fixed: must("RootKey", "derivation answers", fixed)?,
        of_epoch: must("RootKey", "derivation answers", of_epoch)?,
        public_key: parts.identity.public_key(),
    })
}

/// Holds the port, after the power was off, against what was noted.
pub fn after_power_cycle<P: Platform>(port: &mut P, before: &Before) -> Result<(), Failure> {
    let parts = port.parts();
    let mut got = [0u8; 256];
    must("Region", "read answers", parts.journal.read(0, &mut got))?;
    keep("Region", "flash outlives the power", None, got == KEPT)?;
    got = [0; 256];
    must("Effaceable", "read answers", parts.slot.read(0, &mut got))?;
    keep("Effaceable", "slots outlive the power", None, got == KEPT)?;
    let epoch = must("MonotonicCounter", "read answers", parts.counter.read())?;
    keep(
        "MonotonicCounter",
        "it outlives the power",
        None,
        epoch == before.epoch,
    )?;
    let fixed = must(
        "RootKey",
        "derivation answers",
        parts.root_key.derive_fixed(LABEL),
    )?;
    keep(
        "RootKey",
        "keys outlive the power",
        None,
        *fixed == *before.fixed,
    )?;
    let of_epoch = parts.root_key.derive_epoch(LABEL, epoch);
    let of_epoch = must("RootKey", "derivation answers", of_epoch)?;
    keep(
        "RootKey",
        "keys outlive the power",
        None,
        *of_epoch == *before.of_epoch,
    )?;
    let same = parts.identity.public_key() == before.public_key;
    keep("DeviceIdentity", "the key outlives the power", None, same)
}
