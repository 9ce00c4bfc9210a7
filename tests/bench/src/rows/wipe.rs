//! The full wipe, in modelled time.

use super::Context;
use super::death::part;
use crate::report::{Row, Section, Target};
use nrd_tests::measure::device::Device;
use nrd_tests::measure::flash::{READ_NS, erase_ns};

const ABOUT: &str = "\
Modelled time from the order to `Clean`, every sector read back. The floor is the \
part's best erase commands for the vault's place on it (64 KiB where an aligned \
block lies in it, 4 KiB at its edges), one small erase for each key slot, and one \
read of all that at 50 MB/s. An \
erase is charged for its place: 64 KiB that does not start on a 64 KiB boundary is \
sixteen erases of 4 KiB, since no part has a command for it. *aligned* is the \
floor if the vault began on such a boundary.";

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("wipe", "The full wipe", ABOUT);
    let sizes: &[u32] = if c.quick {
        &[16, 256]
    } else {
        &[16, 256, 4096]
    };
    for &sectors in sizes {
        let mut device = Device::new(part(sectors), 9);
        device.activate(64, 256);
        let l = device.layout();
        let (_, all) = device.deactivate(0);
        assert!(
            device.vault().iter().all(|&b| b == 0xFF),
            "the vault reads blank after the wipe"
        );
        let slots = 2 * (erase_ns(0, l.slot_size) + 256 * READ_NS);
        let read = u64::from(l.vault_size) * READ_NS;
        let floor = erase_ns(l.vault_start, l.vault_start + l.vault_size) + slots + read;
        let aligned = erase_ns(0, l.vault_size) + slots + read;
        s.rows.push(
            Row::new(
                format!("wipe, {sectors} sectors"),
                "ms",
                all.ns() as f64 / 1e6,
            )
            .floor(floor as f64 / 1e6, Target::Times(1.05))
            .more("aligned", aligned as f64 / 1e6)
            .more("erases of 4 KiB", all.flash.erases as f64)
            .more("programs", all.flash.programs as f64)
            .more(
                "KiB read",
                (all.flash.read + all.flash.back) as f64 / 1024.0,
            )
            .more("vault, KiB", f64::from(l.vault_size) / 1024.0),
        );
    }
    s
}
