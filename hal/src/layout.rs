//! Splits one flash part into vault, journal and key slots.
//!
//! ```text
//! | vault: all but the rest, at least 3 logical sectors | journal: 3 or 4 | slot A | slot B |
//! ```
//!
//! The vault comes first: it then begins where the part's largest erase blocks
//! begin, and a wipe can use them.
//!
//! A *logical sector* is the smallest multiple of the erase size that is at
//! least 2 KiB, at least 16 write units, and at least a 32nd of its region. A
//! slot is the smallest multiple of the erase size that holds 256 bytes.

use crate::region::Geometry;
use core::ops::Range;

/// Where things lie on one flash part, in bytes from its start.
///
/// ```
/// use nrd_hal::Geometry;
/// use nrd_hal::layout::{Layout, LayoutError};
///
/// let part = |kib: u32| Geometry {
///     size: kib * 1024,
///     write_size: 1,
///     erase_size: 4096,
///     best_erase: 65536,
/// };
/// let layout = Layout::plan(&part(128)).unwrap();
/// assert_eq!(layout.vault(), 0..104 * 1024);
/// assert_eq!(layout.journal(), 104 * 1024..120 * 1024);
/// assert_eq!(layout.slot(0), 120 * 1024..124 * 1024);
/// assert_eq!(layout.slot(1), 124 * 1024..128 * 1024);
///
/// // A part that is too small is told how much would do.
/// let needed = 32 * 1024;
/// assert_eq!(Layout::plan(&part(16)), Err(LayoutError::TooSmall { needed }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Start of the vault.
    pub vault_start: u32,
    /// Size of the vault.
    pub vault_size: u32,
    /// Start of the journal.
    pub journal_start: u32,
    /// Size of the journal.
    pub journal_size: u32,
    /// Start of slot A; slot B follows it.
    pub slot_start: u32,
    /// Size of each of the two key slots.
    pub slot_size: u32,
}

/// Why a geometry was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayoutError {
    /// The write size is not a power of two from 1 to 256.
    WriteSize,
    /// The erase size is not a power of two from 256 B to 64 KiB, or smaller
    /// than the write size.
    EraseSize,
    /// The size is not a multiple of the erase size.
    Size,
    /// The flash cannot hold two key slots, three journal sectors and three
    /// vault sectors; it needs at least this many bytes.
    TooSmall {
        /// Smallest sufficient size, in bytes.
        needed: u32,
    },
}

/// Fewest logical sectors of a journal or vault.
pub const MIN_SECTORS: u32 = 3;
/// Fewest logical sectors that survive one bad sector.
pub const MIN_SECTORS_WITH_BAD: u32 = 4;

/// Most logical sectors of a region: membership is a bit each of a word.
pub const MAX_SECTORS: u32 = 32;

/// Size in bytes of a logical sector of a region of geometry `g`.
///
/// ```
/// use nrd_hal::Geometry;
/// use nrd_hal::layout::{MAX_SECTORS, logical_sector};
///
/// let small = Geometry { size: 64 << 10, write_size: 1, erase_size: 256, best_erase: 256 };
/// assert_eq!(logical_sector(&small), 2048);
/// // A region has at most 32 of them, so those of a large one are larger.
/// let large = Geometry { size: 16 << 20, ..small };
/// assert_eq!(logical_sector(&large), (16 << 20) / MAX_SECTORS);
/// ```
pub fn logical_sector(g: &Geometry) -> u32 {
    let unit = least_sector(g);
    let part = g.size.div_ceil(MAX_SECTORS).max(1);
    part.wrapping_add(unit - 1) & !(unit - 1)
}

/// The smallest that a logical sector may be on a part of this kind, in bytes.
fn least_sector(g: &Geometry) -> u32 {
    // All powers of two: the largest is a multiple of the others.
    g.write_size.wrapping_mul(16).max(2048).max(g.erase_size)
}

/// Checks the sizes of a geometry on their own.
pub fn check(g: &Geometry) -> Result<(), LayoutError> {
    if !g.write_size.is_power_of_two() || g.write_size > 256 {
        return Err(LayoutError::WriteSize);
    }
    if !g.erase_size.is_power_of_two()
        || !(256..=65536).contains(&g.erase_size)
        || g.erase_size < g.write_size
    {
        return Err(LayoutError::EraseSize);
    }
    if g.size.checked_rem(g.erase_size) != Some(0) {
        return Err(LayoutError::Size);
    }
    Ok(())
}

impl Layout {
    /// Plans a flash of geometry `g`. The journal gets four logical sectors
    /// when the vault can still have four, else three.
    pub fn plan(g: &Geometry) -> Result<Layout, LayoutError> {
        check(g)?;
        let sector = least_sector(g);
        // 256 B is a multiple of no larger erase size, so a slot is one block.
        let slot_size = g.erase_size;
        let slots = slot_size.saturating_mul(2);
        let sectors = g
            .size
            .saturating_sub(slots)
            .checked_div(sector)
            .unwrap_or(0);
        if sectors < MIN_SECTORS.saturating_mul(2) {
            let needed = sector
                .saturating_mul(MIN_SECTORS.saturating_mul(2))
                .saturating_add(slots);
            return Err(LayoutError::TooSmall { needed });
        }
        let journal = if sectors >= MIN_SECTORS_WITH_BAD.saturating_mul(2) {
            MIN_SECTORS_WITH_BAD
        } else {
            MIN_SECTORS
        };
        let journal_size = journal.saturating_mul(sector);
        let vault_size = sectors.saturating_sub(journal).saturating_mul(sector);
        Ok(Layout {
            vault_start: 0,
            vault_size,
            journal_start: vault_size,
            journal_size,
            slot_start: vault_size.saturating_add(journal_size),
            slot_size,
        })
    }

    /// Where the vault lies.
    pub fn vault(&self) -> Range<u32> {
        self.vault_start..self.vault_start.saturating_add(self.vault_size)
    }

    /// Where the journal lies.
    pub fn journal(&self) -> Range<u32> {
        self.journal_start..self.journal_start.saturating_add(self.journal_size)
    }

    /// Where slot `n` (0 for A, 1 for B) lies.
    pub fn slot(&self, n: u32) -> Range<u32> {
        let start = self
            .slot_start
            .saturating_add(self.slot_size.saturating_mul(n));
        start..start.saturating_add(self.slot_size)
    }
}
