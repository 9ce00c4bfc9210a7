//! The table of records in RAM, sorted by id, lent by the caller.

use super::RecordId;
use super::format::{FlashAddr, RecordHeader, padded};
use super::sectors::contains;

/// One record of a log's index; 16 bytes of RAM.
///
/// A deleted record keeps its entry while an older version of it may still be on
/// flash, so an index needs some entries more than there are records alive at
/// once.
///
/// ```
/// use nrd_agent::log::Entry;
///
/// // The index of a log that holds up to 64 records.
/// let mut index = [Entry::default(); 64];
/// assert_eq!(size_of_val(&index), 64 * 16);
/// # let _ = &mut index;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    pub(crate) header: RecordHeader,
    pub(crate) addr: FlashAddr,
}

const _: () = assert!(size_of::<Entry>() == 16);

impl Entry {
    pub(crate) fn id(&self) -> RecordId {
        self.header.id
    }

    /// Padded size of the record in bytes.
    pub(crate) fn size(&self, unit: u32) -> u32 {
        padded(self.header.size(), unit)
    }
}

pub(crate) struct Index<'m> {
    entries: &'m mut [Entry],
    used: usize,
    unit: u32,
}

impl<'m> Index<'m> {
    pub(crate) fn new(entries: &'m mut [Entry], unit: u32) -> Self {
        Index {
            entries,
            used: 0,
            unit,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    fn all(&self) -> &[Entry] {
        self.entries.get(..self.used).unwrap_or_default()
    }

    /// Entries of records that are not deleted.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Entry> {
        self.all().iter().filter(|e| !e.header.deleted())
    }

    /// True when a deleted record has an entry.
    pub(crate) fn has_deleted(&self) -> bool {
        self.all().iter().any(|e| e.header.deleted())
    }

    /// Padded bytes of the entries in these sectors (a bit each), delete markers
    /// included.
    pub(crate) fn bytes_in(&self, sectors: u32) -> u32 {
        let there = |e: &&Entry| contains(sectors, e.addr.sector());
        let sizes = self.all().iter().filter(there).map(|e| e.size(self.unit));
        sizes.sum()
    }

    pub(crate) fn nth(&self, i: usize) -> Option<&Entry> {
        self.all().get(i)
    }

    /// The position of the entry of `id`, or the one where it belongs.
    fn find(&self, id: RecordId) -> usize {
        self.all().partition_point(|e| e.id() < id)
    }

    pub(crate) fn get(&self, id: RecordId) -> Option<&Entry> {
        self.nth(self.find(id)).filter(|e| e.id() == id)
    }

    pub(crate) fn has_room_for(&self, id: RecordId) -> bool {
        self.used < self.entries.len() || self.get(id).is_some()
    }

    /// Inserts an entry, or replaces that of an older version; false when the
    /// table is full.
    pub(crate) fn set(&mut self, entry: &Entry) -> bool {
        let at = self.find(entry.id());
        let used = self.entries.get_mut(..self.used).unwrap_or_default();
        if let Some(old) = used.get_mut(at).filter(|old| old.id() == entry.id()) {
            // Members are read in any order, so an older version may come later. An
            // equal sequence number is the same record, read again.
            if old.header.seq <= entry.header.seq {
                *old = *entry;
            }
            return true;
        }
        let Some(from_here) = self.entries.get_mut(at..self.used + 1) else {
            return false;
        };
        self.used += 1;
        // Shifts by swaps: `rotate_right` would keep a panic path.
        let mut moved = *entry;
        for slot in from_here {
            core::mem::swap(slot, &mut moved);
        }
        true
    }

    /// Notes that the record of entry `i` was moved.
    pub(crate) fn set_addr(&mut self, i: usize, addr: FlashAddr) {
        if let Some(e) = self.entries.get_mut(i) {
            e.addr = addr;
        }
    }

    /// Keeps the entries for which `keep` answers true.
    pub(crate) fn retain(&mut self, keep: &dyn Fn(&Entry) -> bool) {
        let mut to = 0;
        for from in 0..self.used {
            if let Some(&e) = self.nth(from)
                && keep(&e)
                && let Some(slot) = self.entries.get_mut(to)
            {
                *slot = e;
                to += 1;
            }
        }
        self.used = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn of(id: u16, len: Option<u16>, seq: u32) -> Entry {
        Entry {
            header: RecordHeader::new(RecordId { class: 1, id }, len, 0, seq),
            addr: FlashAddr::new(seq % 4, 0),
        }
    }

    fn entry(id: u16, len: u16, seq: u32) -> Entry {
        of(id, Some(len), seq)
    }

    fn marker(id: u16, seq: u32) -> Entry {
        of(id, None, seq)
    }

    fn ids(index: &Index<'_>) -> Vec<u16> {
        index.live().map(|e| e.id().id).collect()
    }

    /// Asserts padded bytes, whether there are delete markers, and live ids.
    fn assert_holds(index: &Index<'_>, bytes: u32, deleted: bool, live: &[u16]) {
        let found = (index.bytes_in(u32::MAX), index.has_deleted());
        assert_eq!(found, (bytes, deleted));
        assert_eq!(ids(index), live);
    }

    #[test]
    fn records_are_kept_in_order_each_once_in_its_newest_version() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 8);
        for e in [entry(7, 1, 1), entry(3, 4, 2), entry(5, 5, 3)] {
            assert!(index.set(&e));
        }
        // 36 and the value, padded to 8.
        assert_holds(&index, 40 + 40 + 48, false, &[3, 5, 7]);
        assert!(index.set(&entry(5, 100, 4)), "a newer version");
        assert_holds(&index, 40 + 40 + 136, false, &[3, 5, 7]);
        assert!(index.set(&entry(5, 1, 3)), "an older one is passed over");
        assert_holds(&index, 40 + 40 + 136, false, &[3, 5, 7]);
        assert!(index.set(&entry(5, 5, 4)), "the same one, read again");
        assert_holds(&index, 40 + 40 + 48, false, &[3, 5, 7]);
        assert_eq!(
            index
                .get(RecordId { class: 1, id: 5 })
                .map(|e| e.header.seq),
            Some(4)
        );
        assert!(index.get(RecordId { class: 1, id: 4 }).is_none());
        assert!(index.get(RecordId { class: 2, id: 5 }).is_none());
        assert_eq!(index.nth(2).map(|e| e.id().id), Some(7));
        assert!(index.nth(3).is_none());
    }

    #[test]
    fn a_full_table_takes_new_versions_but_no_new_record() {
        let mut room = [Entry::default(); 2];
        let mut index = Index::new(&mut room, 4);
        assert!(index.set(&entry(1, 0, 1)));
        assert!(index.has_room_for(RecordId { class: 1, id: 2 }));
        assert!(index.set(&entry(2, 0, 2)));
        assert!(index.has_room_for(RecordId { class: 1, id: 2 }));
        assert!(!index.has_room_for(RecordId { class: 1, id: 3 }));
        assert!(!index.set(&entry(3, 0, 3)));
        assert!(index.set(&entry(2, 4, 4)));
        assert_holds(&index, 36 + 40, false, &[1, 2]);
    }

    #[test]
    fn a_deleted_record_keeps_its_entry_and_room_until_it_is_dropped() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 4);
        for e in [entry(1, 8, 1), entry(2, 8, 2), entry(3, 8, 3)] {
            assert!(index.set(&e));
        }
        assert!(index.set(&marker(2, 4)));
        assert!(index.set(&marker(3, 5)));
        assert_holds(&index, 44 + 36 + 36, true, &[1]);
        assert_eq!(
            index
                .get(RecordId { class: 1, id: 2 })
                .map(|e| e.header.deleted()),
            Some(true)
        );
        assert!(index.set(&entry(3, 8, 6)), "and may be written again");
        assert_holds(&index, 44 + 36 + 44, true, &[1, 3]);
        index.retain(&|e| !e.header.deleted());
        assert_holds(&index, 44 + 44, false, &[1, 3]);
        index.retain(&|e| e.id().id == 3);
        assert_holds(&index, 44, false, &[3]);
        index.clear();
        assert_holds(&index, 0, false, &[]);
    }

    #[test]
    fn bytes_to_move_out_of_a_sector_are_those_of_its_entries() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 4);
        // Sectors 1, 1 and 2.
        for e in [entry(1, 8, 1), entry(2, 0, 5), entry(3, 4, 2)] {
            assert!(index.set(&e));
        }
        assert_eq!([0, 1, 2].map(|s| index.bytes_in(1 << s)), [0, 80, 40]);
        index.set_addr(0, FlashAddr::new(2, 64));
        assert_eq!([0, 1, 2].map(|s| index.bytes_in(1 << s)), [0, 36, 84]);
        assert_eq!(index.nth(0).map(|e| e.addr.offset()), Some(64));
    }
}
