//! The parts that the default run explores.

use super::life::Start;
use crate::hw::ChipSpec;
use nrd_hal::Geometry;

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
        chip: ChipSpec {
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
        },
        start,
    }
}

impl Named {
    /// Parts of at most 32 KiB are explored with second cuts.
    pub fn is_small(&self) -> bool {
        self.chip.geometry.size <= 32 * 1024
    }
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
