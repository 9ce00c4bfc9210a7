//! The parts that the default run explores, and the full matrix of parts.

use super::life::Start;
use nrd_hal::Geometry;
use nrd_hal::layout::{Layout, LayoutError, logical_sector};
use nrd_sim_hw::ChipSpec;

/// A part with a name.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// What it is like.
    pub name: &'static str,
    /// Its sizes.
    pub chip: ChipSpec,
    /// What it has lived through.
    pub start: Start,
}

const fn part(
    name: &'static str,
    write_size: u32,
    erase_size: u32,
    sectors: u32,
    can_overwrite: bool,
    start: Start,
) -> Named {
    Named {
        name,
        chip: chip(write_size, erase_size, sectors, can_overwrite),
        start,
    }
}

const fn chip(write_size: u32, erase_size: u32, sectors: u32, can_overwrite: bool) -> ChipSpec {
    ChipSpec {
        geometry: Geometry {
            size: erase_size * sectors,
            write_size,
            erase_size,
            best_erase: if can_overwrite {
                erase_size * 2
            } else {
                erase_size
            },
        },
        can_overwrite,
    }
}

/// Parts of at most 32 KiB are explored with second cuts.
pub fn is_small(chip: &ChipSpec) -> bool {
    chip.geometry.size <= 32 * 1024
}

/// Write sizes 1 to 256, erase sizes 256 B to 64 KiB, the fewest sectors to
/// many, from every start.
pub const NAMED: [Named; 14] = [
    part("bytes-256", 1, 256, 66, false, Start::Dirty),
    part("bytes-256-aged", 1, 256, 74, true, Start::Aged),
    part("halfwords-512", 2, 512, 36, false, Start::Aged),
    part("words-1k", 4, 1024, 16, false, Start::Blank),
    part("words-2k", 4, 2048, 9, false, Start::Dirty),
    part("words-2k-full", 4, 2048, 10, false, Start::NearlyFull),
    part("ecc-2k-smallest", 8, 2048, 8, false, Start::Dirty),
    part("quadwords-2k-full", 16, 2048, 10, false, Start::NearlyFull),
    part("lines-2k", 32, 2048, 16, false, Start::Blank),
    part("spi-nor-4k", 1, 4096, 8, true, Start::Dirty),
    part("pages-4k", 256, 4096, 16, false, Start::Dirty),
    part("lines-8k-aged", 32, 8192, 8, false, Start::Aged),
    part("spi-nor-many", 1, 4096, 64, true, Start::NearlyFull),
    part("blocks-64k", 1, 65536, 8, false, Start::Blank),
];

/// Every write size from 1 to 256 with every erase size from 256 B to 64 KiB,
/// single-write and multi-write, each with the fewest sectors that hold the
/// script and from every start: 648 parts.
pub fn matrix() -> impl Iterator<Item = (ChipSpec, Start)> {
    let starts = [Start::Blank, Start::Dirty, Start::Aged, Start::NearlyFull];
    let powers = |from: u32, to: u32| (from..=to).map(|n| 1 << n);
    powers(8, 16).flat_map(move |erase_size| {
        powers(0, 8).flat_map(move |write_size| {
            [false, true].into_iter().flat_map(move |can_overwrite| {
                let sectors = fewest(write_size, erase_size);
                let chip = chip(write_size, erase_size, sectors, can_overwrite);
                starts.map(|start| (chip, start))
            })
        })
    })
}

/// The fewest sectors; twice as many where a sector holds few records.
fn fewest(write_size: u32, erase_size: u32) -> u32 {
    let chip = chip(write_size, erase_size, 1, false);
    let sectors = match Layout::plan(&chip.geometry) {
        Err(LayoutError::TooSmall { needed }) => needed / erase_size,
        _ => 1,
    };
    match logical_sector(&chip.geometry) / write_size {
        ..32 => 2 * sectors,
        _ => sectors,
    }
}

#[test]
fn every_part_of_the_matrix_can_be_planned_and_is_there_once() {
    let parts: Vec<_> = matrix().collect();
    assert_eq!(parts.len(), 9 * 9 * 2 * 4);
    for (n, (chip, start)) in parts.iter().enumerate() {
        assert!(Layout::plan(&chip.geometry).is_ok(), "{:?}", chip.geometry);
        let same = |(c, s): &&(ChipSpec, Start)| {
            c.geometry == chip.geometry && c.can_overwrite == chip.can_overwrite && s == start
        };
        assert_eq!(parts.iter().position(|p| same(&p)), Some(n));
    }
}
