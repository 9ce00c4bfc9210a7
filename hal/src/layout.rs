//! Splits one flash part into key slots, journal and vault.
//!
//! ```text
//! | slot A | slot B | journal: 3 or 4 logical sectors | vault: the rest, at least 3 |
//! ```
//!
//! A *logical sector* is the smallest multiple of the erase size that is at
//! least 2 KiB and at least 8 write units. A slot is the smallest multiple of
//! the erase size that holds 256 bytes.

use crate::region::Geometry;

/// Where things lie on one flash part, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Size of each of the two key slots; slot A starts at 0.
    pub slot_size: u32,
    /// Start of the journal.
    pub journal_start: u32,
    /// Size of the journal.
    pub journal_size: u32,
    /// Start of the vault.
    pub vault_start: u32,
    /// Size of the vault.
    pub vault_size: u32,
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

/// Size of a logical sector in bytes.
pub fn logical_sector(write_size: u32, erase_size: u32) -> u32 {
    let least = write_size.saturating_mul(8).max(2048);
    least.div_ceil(erase_size.max(1)).saturating_mul(erase_size)
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
        let sector = logical_sector(g.write_size, g.erase_size);
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
        let vault_start = slots.saturating_add(journal_size);
        Ok(Layout {
            slot_size,
            journal_start: slots,
            journal_size,
            vault_start,
            vault_size: sectors.saturating_sub(journal).saturating_mul(sector),
        })
    }
}
