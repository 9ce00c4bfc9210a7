//! Virtual hardware.
//!
//! The flash is modelled on the Winbond W25Q128JV, with typical figures of its
//! datasheet: 256 B page program 0.4 ms, 4 KiB sector erase 45 ms, 64 KiB block
//! erase 150 ms, 100,000 erase cycles a sector, reads modelled at 50 MB/s (quad
//! output at 104 MHz). Geometry is free, so that other parts can be modelled;
//! the figures then scale with it.
//!
//! A second port keeps everything on an eMMC, where erasing proves nothing
//! (`emmc.rs`).
//!
//! A device that is a process of its own keeps its parts in a folder (`file.rs`).
//!
//! Its physics are harsher than the part's: a cut operation may leave any of
//! the bits that it would have changed undone, and any of them *unstable*, read
//! differently at every read until the next completed erase.
//!
//! ```
//! use nrd_hal::Geometry;
//! use nrd_sim_hw::{Chip, ChipSpec, Hardware};
//!
//! let geometry = Geometry { size: 65536, write_size: 1, erase_size: 4096, best_erase: 4096 };
//! let hw = Hardware::new(Chip::blank(ChipSpec { geometry, can_overwrite: true }, 7));
//! assert!(hw.chip().cells().iter().all(|cell| *cell == 0xFF));
//! assert_eq!(hw.chip().counter(), 0);
//! ```
//!
//! | file | what |
//! |---|---|
//! | `chip.rs` | the cells, their rules, wear and time |
//! | `power_fault.rs` | operations, planned cuts, and what a cut leaves |
//! | `defects.rs` | stuck cells, dying sectors, rot, a counter that ends |
//! | `board.rs` | a device of one chip: regions, slots, counter, root key, identity |
//! | `emmc.rs` | a device on an eMMC |
//! | `file.rs` | a device's parts in a folder |
//! | `nonce_audit.rs` | the nonce audit: a crypto provider that remembers what it sealed |
//! | `rng.rs` | seeded generators |
//!
//! It may use `nrd-hal` and `nrd-agent` (certificates) and `nrd-sim-base`; it
//! knows no device that runs and no service.
#![forbid(unsafe_code)]

mod board;
mod chip;
mod defects;
mod emmc;
mod file;
mod nonce_audit;
mod power_fault;
mod rng;

pub use board::{
    Board, Counter, FlashRegion, Identity, MODEL, RootKey, VirtualClock, device_key,
    maker_certificate,
};
pub use chip::{Chip, ChipSpec, Hardware, Pace};
pub use defects::{Defects, Worn};
pub use emmc::{Emmc, EmmcBoard, RpmbWrite, SharedEmmc};
pub use file::{DeviceDirError, Folder, Made};
pub use nonce_audit::{AuditScope, AuditedCrypto, NonceAudit};
pub use power_fault::{FaultMode, Op, OpKind, PlannedFault, modelled_ns};
pub use rng::{SplitMix, VirtualRng};

/// A platform whose power can be cut.
pub trait PowerCut: nrd_hal::Platform {
    /// True after a cut, until the next power-on.
    fn is_off(&self) -> bool;
}
