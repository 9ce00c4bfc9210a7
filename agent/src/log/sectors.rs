//! Sets of sectors, a bit each, and the table of generations and flags.
//!
//! An entry of the table is a sector's generation (28 bits, 0 for none) and its
//! flags. A retired sector has a value of its own instead.

use super::Log;
use nrd_hal::layout::MAX_SECTORS;

/// A member: the head's header names it, and its records count.
pub(crate) const MEMBER: u32 = 1 << 31;
/// A member of the fallback head: see `mount.rs`.
pub(crate) const FALLBACK: u32 = 1 << 30;
/// Holds something, but no authentic header.
pub(crate) const UNIDENTIFIED: u32 = 1 << 28;
/// The bits of the generation.
pub(crate) const GENERATION: u32 = UNIDENTIFIED - 1;
/// Did not erase or take its content in this boot; not used again before the
/// next.
pub(crate) const RETIRED: u32 = GENERATION;
/// Above every generation that is ever given.
pub(crate) const GENERATION_LIMIT: u32 = RETIRED;

// Flags and generation share a word without overlap.
const _: () = assert!(MEMBER & FALLBACK == 0 && (MEMBER | FALLBACK) & UNIDENTIFIED == 0);
const _: () = assert!((MEMBER | FALLBACK | UNIDENTIFIED) & GENERATION == 0);
// A set holds every sector that a region can have.
const _: () = assert!(MAX_SECTORS <= u32::BITS);

/// At every 16th generation the oldest member is the victim, however much it
/// holds, so that sectors with cold data wear as the others do.
const WEAR_LEVEL_EVERY: u32 = 16;

/// True when `sector` is in the set.
pub(crate) fn contains(sectors: u32, sector: u32) -> bool {
    sectors.checked_shr(sector).unwrap_or(0) & 1 == 1
}

/// The sectors of a set, from the lowest number up.
pub(crate) fn each(sectors: u32) -> impl Iterator<Item = u32> {
    let mut left = sectors;
    core::iter::from_fn(move || {
        let sector = left.trailing_zeros();
        // Drops the lowest one; of none, nothing is left.
        left &= left.wrapping_sub(1);
        (sector < u32::BITS).then_some(sector)
    })
}

impl Log<'_> {
    /// Sets a sector's entry, unless the sector is retired.
    pub(crate) fn set(&mut self, sector: u32, value: u32) {
        let entry = self.table.get_mut(sector as usize);
        if let Some(entry) = entry.filter(|e| **e != RETIRED) {
            *entry = value;
        }
    }

    /// Adds a flag to these sectors.
    pub(crate) fn flag(&mut self, sectors: u32, flag: u32) {
        for (sector, entry) in (0u32..).zip(self.table.iter_mut()) {
            if contains(sectors, sector) && *entry != RETIRED {
                *entry |= flag;
            }
        }
    }

    /// Makes these sectors the members, and ends the fallback.
    pub(crate) fn set_members(&mut self, members: u32) {
        for entry in self.table.iter_mut().filter(|e| **e != RETIRED) {
            *entry &= GENERATION | UNIDENTIFIED;
        }
        self.flag(members, MEMBER);
    }

    /// The generation of a sector; 0 when it has none that reads.
    pub(crate) fn generation(&self, sector: u32) -> u32 {
        let entry = self.table.get(sector as usize).copied();
        entry.unwrap_or_default() & GENERATION
    }

    /// The sectors of whose entry these bits have this value; no retired one.
    pub(crate) fn sectors_with(&self, bits: u32, value: u32) -> u32 {
        let table = (0u32..).zip(self.table.iter());
        table
            .filter(|(_, entry)| **entry & bits == value && **entry != RETIRED)
            .fold(0, |found, (sector, _)| found | 1 << sector)
    }

    /// The sectors whose records count.
    pub(crate) fn members(&self) -> u32 {
        self.sectors_with(MEMBER, MEMBER)
    }

    /// Most sectors that may be members between two openings. Two more are
    /// needed: one to open, and one whose cut opening may yet be the head.
    pub(crate) fn member_limit(&self) -> u32 {
        let unusable = self.retired + 2;
        self.geometry.sectors.saturating_sub(unusable).max(1)
    }

    /// Uses `sector` no more in this boot.
    pub(crate) fn retire_sector(&mut self, sector: u32) {
        let entry = self.table.get_mut(sector as usize);
        if let Some(entry) = entry.filter(|e| **e != RETIRED) {
            *entry = RETIRED;
            self.retired += 1;
        }
    }

    /// The last sector that holds something unidentified and that nothing needs.
    pub(crate) fn next_unidentified(&self) -> Option<u32> {
        each(self.sectors_with(MEMBER | FALLBACK | UNIDENTIFIED, UNIDENTIFIED)).last()
    }

    /// The next sector that nothing needs, going round from the head.
    pub(crate) fn pick_free_sector(&self) -> Option<u32> {
        let mut free = self.sectors_with(MEMBER | FALLBACK, 0);
        if free == 0 {
            // So many sectors are retired that only members of the fallback head
            // are left. Taking one is still right, unless the power is cut in
            // this opening and the present head is unreadable afterwards.
            free = self.sectors_with(MEMBER, 0);
        }
        let after_head = |&sector: &u32| self.head.is_some_and(|h| sector > h.sector);
        each(free).find(after_head).or_else(|| each(free).next())
    }

    /// The member to empty: the one with the fewest bytes to move, or the
    /// oldest.
    pub(crate) fn pick_victim(&self, members: u32, oldest: bool) -> Option<u32> {
        let mut victim = None;
        let mut least = (u32::MAX, u32::MAX);
        for sector in each(members) {
            let to_move = if oldest {
                0
            } else {
                self.index.bytes_in(1 << sector)
            };
            let cost = (to_move, self.generation(sector));
            if cost < least {
                (victim, least) = (Some(sector), cost);
            }
        }
        victim
    }

    /// True when the oldest member is to be emptied in the opening that gives
    /// this generation: to let delete markers go, or to level wear.
    pub(crate) fn empties_oldest(&self, generation: u32) -> bool {
        self.index.has_deleted() || generation.is_multiple_of(WEAR_LEVEL_EVERY)
    }
}
