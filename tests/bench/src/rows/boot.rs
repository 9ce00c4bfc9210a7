//! Flash bytes read between power-on and the restored session.

use super::Context;
use crate::report::{Row, Section, Target};
use nrd_agent::log::{RECORD_OVERHEAD, SECTOR_HEADER};
use nrd_hal::Geometry;
use nrd_tests::measure::device::{Device, Spent};

/// Bytes of a sector header that tell its generation.
const CLAIM: u64 = 8;
/// Bytes of a session's postcard: series, generation, token.
const SESSION: u64 = 16 + 1 + 32;

const ABOUT: &str = "\
The whole agent on a part of 16 sectors of 4 KiB (ten of vault, four of journal, two \
slots), 64 records cached, from power-on to the open session. *Fresh*: just \
filled. *Aged*: 600 updates later, over several boots. *Floor*: in each log the \
generations that a binary search for the head reads (⌈log₂ n⌉ + 1 of 8 bytes) and \
the head's header (44), the last record of each log, the snapshot (it is the \
journal's last), and the session record. Everything read counts, read-back \
included; *read-back* says how much of it that was. *erases*, *programmed* and \
*time* are what else the boot cost (time modelled). *at rest*: until every cached \
record is in the index as well.";

/// The part of the issue: 64 KiB.
pub(crate) fn small() -> Geometry {
    Geometry {
        size: 65_536,
        write_size: 4,
        erase_size: 4096,
        best_erase: 65_536,
    }
}

/// The floor in bytes, with values of `len` bytes cached.
pub(crate) fn floor(device: &mut Device, len: u64) -> u64 {
    let l = device.layout();
    let path = |size: u32| u64::from((size / 4096).next_power_of_two().ilog2() + 1);
    let headers = |size: u32| path(size) * CLAIM + SECTOR_HEADER as u64;
    let record = |len: u64| (RECORD_OVERHEAD as u64 + len).next_multiple_of(4);
    headers(l.journal_size)
        + headers(l.vault_size)
        + device.snapshot_bytes()
        + record(len + 4)
        + record(SESSION)
}

pub(super) fn section(_: &mut Context) -> Section {
    let mut s = Section::new("boot", "Boot: flash bytes read", ABOUT);
    for len in [32u16, 256] {
        let mut device = Device::new(small(), 5);
        device.activate(64, usize::from(len));
        let fresh = device.restore();
        for _ in 0..6 {
            device.update(64, usize::from(len), 100);
        }
        let aged = device.restore();
        let floor = floor(&mut device, u64::from(len));
        for (age, (open, rest)) in [("fresh", fresh), ("aged", aged)] {
            let row = |name: String, spent: Spent| {
                let f = spent.flash;
                Row::new(name, "B read", (f.read + f.back) as f64)
                    .more("reads", (f.reads + f.back_reads) as f64)
                    .more("read-back", f.back as f64)
                    .more("programmed", f.programmed as f64)
                    .more("erases", f.erases as f64)
                    .more("time, ms", spent.ns() as f64 / 1e6)
            };
            let name = format!("boot, 64 records of {len} B, {age}");
            s.rows
                .push(row(name.clone(), open).floor(floor as f64, Target::Times(1.25)));
            s.rows
                .push(row(format!("{name}, in all"), open).at_most(4096.0));
            s.rows.push(row(format!("{name}, at rest"), rest));
        }
    }
    s
}
