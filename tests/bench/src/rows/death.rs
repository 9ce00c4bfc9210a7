//! Key death on a deactivation order, in operations.

use super::Context;
use crate::report::{Row, Section};
use nrd_hal::Geometry;
use nrd_tests::measure::device::Device;

const ABOUT: &str = "\
Programs, erases and counter steps from the moment the order arrives until no key \
is left, on multi-write NOR with 64 records cached. The journal is found in every \
state that 48 records of powered time bring it through; *most* is the worst of \
them. The floor is the tombstone's program, one program for each valid slot (one \
is), and one counter step: 3.";

/// A part of so many sectors of 4 KiB.
pub(crate) fn part(sectors: u32) -> Geometry {
    Geometry {
        size: sectors * 4096,
        write_size: 4,
        erase_size: 4096,
        best_erase: 65_536,
    }
}

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("death", "Key death on a deactivation order", ABOUT);
    for sectors in [16, 256, 4096] {
        let states = match (c.quick, sectors) {
            (_, 4096) | (true, _) => 6,
            _ => 48,
        };
        let mut all = Vec::new();
        let mut times = Vec::new();
        for commits in 0..states {
            let mut device = Device::new(part(sectors), 9);
            device.activate(64, 256);
            let (dead, _) = device.deactivate(commits * 48 / states);
            all.push(dead);
            times.push(dead.ns() as f64 / 1e6);
        }
        all.sort_by_key(|d| d.operations());
        let median = all[all.len() / 2];
        let most = all[all.len() - 1];
        times.sort_by(f64::total_cmp);
        s.rows.push(
            Row::new(
                format!("key death, {sectors} sectors"),
                "operations",
                median.operations() as f64,
            )
            .at_most(3.0)
            .more("most", most.operations() as f64)
            .more("programs", median.flash.programs as f64)
            .more("erases", median.flash.erases as f64)
            .more("steps", median.steps as f64)
            .more("time, ms", times[times.len() / 2])
            .more("longest, ms", times[times.len() - 1]),
        );
    }
    s
}
