//! What the tests that cross crates share.

pub mod bench;
pub mod external_tools;
pub mod footprint;
pub mod fuzz;
pub mod hard;
pub mod header;
pub mod m33;
pub mod measure;
pub mod model;
pub mod token_pattern;
pub mod wire_tables;
pub mod worktree_copy;

use nrd_hal::Geometry;
use nrd_sim::device::TestBench;
use nrd_sim::hw::{Chip, ChipSpec, Hardware};

/// A part of `sectors` erase units.
pub fn part(write_size: u32, erase_size: u32, sectors: u32) -> ChipSpec {
    ChipSpec {
        geometry: Geometry {
            size: erase_size * sectors,
            write_size,
            erase_size,
            best_erase: erase_size,
        },
        can_overwrite: false,
    }
}

/// A device over a part of 16 sectors of 4 KiB.
pub fn test_bench(seed: u64) -> TestBench {
    println!("seed {seed}");
    TestBench::new(Hardware::new(Chip::new(part(4, 4096, 16), seed)), seed)
}

/// The Rust of README and PORTING: `cargo test --doc -p nrd-tests` compiles it.
#[cfg(doctest)]
mod code_in_docs {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/PORTING.md")]
    struct Porting;
}
