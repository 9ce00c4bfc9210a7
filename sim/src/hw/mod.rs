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

mod board;
mod chip;
mod defects;
mod emmc;
mod file;
mod ledger;
mod rng;
mod tear;

pub(crate) use board::MODEL;
pub use board::{
    Board, Counter, FlashRegion, Identity, RootKey, VirtualClock, device_key, maker_certificate,
};
pub use chip::{Chip, ChipSpec, Hardware, Pace};
pub use defects::{Defects, Worn};
pub use emmc::{Emmc, EmmcBoard, RpmbWrite, SharedEmmc};
pub use file::{Fault as FolderFault, Folder, Made};
pub use ledger::{Ledger, NotedCrypto, Noting};
pub use rng::{SplitMix, VirtualRng};
pub use tear::{Fault, Op, OpKind, Tear, modelled_ns};
