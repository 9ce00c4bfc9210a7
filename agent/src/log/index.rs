//! Where each record lies: a sorted table lent by the caller.

use super::Key;
use super::format::{Place, RecordHeader, padded};

/// One record; 16 bytes of RAM. A deleted key keeps its entry while an older
/// version of it may still stand on flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    pub(crate) header: RecordHeader,
    pub(crate) place: Place,
}

impl Entry {
    pub(crate) fn key(&self) -> Key {
        self.header.key
    }

    /// Padded size of the record in bytes.
    #[inline(never)]
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

    #[inline(never)]
    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    fn all(&self) -> &[Entry] {
        self.entries.get(..self.used).unwrap_or(&[])
    }

    /// Entries of keys that exist.
    #[inline(never)]
    pub(crate) fn live(&self) -> impl Iterator<Item = &Entry> {
        self.all().iter().filter(|e| !e.header.deleted())
    }

    /// True when deleted keys have entries.
    #[inline(never)]
    pub(crate) fn has_deleted(&self) -> bool {
        self.all().iter().any(|e| e.header.deleted())
    }

    /// Padded bytes of the entries in these sectors (a bit each), deleted keys'
    /// markers included.
    #[inline(never)]
    pub(crate) fn bytes_in(&self, sectors: u32) -> u32 {
        let there = |e: &&Entry| sectors >> (e.place.sector() & 31) & 1 == 1;
        let sizes = self.all().iter().filter(there).map(|e| e.size(self.unit));
        sizes.sum()
    }

    pub(crate) fn nth(&self, i: usize) -> Option<&Entry> {
        self.all().get(i)
    }

    /// Where the entry of `key` is, or where it belongs.
    #[inline(never)]
    fn find(&self, key: Key) -> usize {
        let smaller = |e: &&Entry| e.key().number() < key.number();
        self.all().iter().take_while(smaller).count()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Entry> {
        self.nth(self.find(key)).filter(|e| e.key() == key)
    }

    pub(crate) fn has_room_for(&self, key: Key) -> bool {
        self.used < self.entries.len() || self.get(key).is_some()
    }

    /// Inserts, or replaces an older version; false when the table is full.
    pub(crate) fn set(&mut self, entry: &Entry) -> bool {
        let at = self.find(entry.key());
        if self.get(entry.key()).is_none() {
            if self.used >= self.entries.len() {
                return false;
            }
            self.used += 1;
            let mut moved = *entry;
            for slot in self.entries.iter_mut().take(self.used).skip(at) {
                core::mem::swap(slot, &mut moved);
            }
            return true;
        }
        let old = self.entries.get_mut(at);
        if let Some(old) = old.filter(|old| old.header.seq <= entry.header.seq) {
            *old = *entry;
        }
        true
    }

    /// Moves entry `i` to another place.
    pub(crate) fn place(&mut self, i: usize, place: Place) {
        if let Some(e) = self.entries.get_mut(i) {
            e.place = place;
        }
    }

    /// Drops the entries that are `gone`.
    #[inline(never)]
    pub(crate) fn drop_if(&mut self, gone: &dyn Fn(&Entry) -> bool) {
        let mut to = 0;
        for from in 0..self.used {
            if let Some(&e) = self.nth(from)
                && !gone(&e)
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
            header: RecordHeader::new(Key { class: 1, id }, len, 0, seq),
            place: Place::new(seq % 4, 0),
        }
    }

    fn entry(id: u16, len: u16, seq: u32) -> Entry {
        of(id, Some(len), seq)
    }

    fn marker(id: u16, seq: u32) -> Entry {
        of(id, None, seq)
    }

    fn ids(index: &Index<'_>) -> Vec<u16> {
        index.live().map(|e| e.key().id).collect()
    }

    /// Bytes, whether there are markers, and ids of what is alive.
    fn looks(index: &Index<'_>, bytes: u32, deleted: bool, live: &[u16]) {
        let found = (index.bytes_in(u32::MAX), index.has_deleted());
        assert_eq!(found, (bytes, deleted));
        assert_eq!(ids(index), live);
    }

    #[test]
    fn keys_are_kept_in_order_each_once_in_its_newest_version() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 8);
        for e in [entry(7, 1, 1), entry(3, 4, 2), entry(5, 5, 3)] {
            assert!(index.set(&e));
        }
        // 36 and the value, padded to 8.
        looks(&index, 40 + 40 + 48, false, &[3, 5, 7]);
        assert!(index.set(&entry(5, 100, 4)), "a newer version");
        looks(&index, 40 + 40 + 136, false, &[3, 5, 7]);
        assert!(index.set(&entry(5, 1, 3)), "an older one is passed over");
        looks(&index, 40 + 40 + 136, false, &[3, 5, 7]);
        assert!(index.set(&entry(5, 5, 4)), "the same one, read again");
        looks(&index, 40 + 40 + 48, false, &[3, 5, 7]);
        assert_eq!(
            index.get(Key { class: 1, id: 5 }).map(|e| e.header.seq),
            Some(4)
        );
        assert!(index.get(Key { class: 1, id: 4 }).is_none());
        assert!(index.get(Key { class: 2, id: 5 }).is_none());
        assert_eq!(index.nth(2).map(|e| e.key().id), Some(7));
        assert!(index.nth(3).is_none());
    }

    #[test]
    fn a_full_table_takes_new_versions_but_no_new_key() {
        let mut room = [Entry::default(); 2];
        let mut index = Index::new(&mut room, 4);
        assert!(index.set(&entry(1, 0, 1)));
        assert!(index.has_room_for(Key { class: 1, id: 2 }));
        assert!(index.set(&entry(2, 0, 2)));
        assert!(index.has_room_for(Key { class: 1, id: 2 }));
        assert!(!index.has_room_for(Key { class: 1, id: 3 }));
        assert!(!index.set(&entry(3, 0, 3)));
        assert!(index.set(&entry(2, 4, 4)));
        looks(&index, 36 + 40, false, &[1, 2]);
    }

    #[test]
    fn a_deleted_key_keeps_its_place_and_room_until_it_is_dropped() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 4);
        for e in [entry(1, 8, 1), entry(2, 8, 2), entry(3, 8, 3)] {
            assert!(index.set(&e));
        }
        assert!(index.set(&marker(2, 4)));
        assert!(index.set(&marker(3, 5)));
        looks(&index, 44 + 36 + 36, true, &[1]);
        assert_eq!(
            index
                .get(Key { class: 1, id: 2 })
                .map(|e| e.header.deleted()),
            Some(true)
        );
        assert!(index.set(&entry(3, 8, 6)), "and may be written again");
        looks(&index, 44 + 36 + 44, true, &[1, 3]);
        index.drop_if(&|e| e.header.deleted());
        looks(&index, 44 + 44, false, &[1, 3]);
        index.drop_if(&|e| e.key().id != 3);
        looks(&index, 44, false, &[3]);
        index.clear();
        looks(&index, 0, false, &[]);
    }

    #[test]
    fn what_must_move_out_of_a_sector_is_what_lies_there() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 4);
        // Sectors 1, 1 and 2.
        for e in [entry(1, 8, 1), entry(2, 0, 5), entry(3, 4, 2)] {
            assert!(index.set(&e));
        }
        assert_eq!([0, 1, 2].map(|s| index.bytes_in(1 << s)), [0, 80, 40]);
        index.place(0, Place::new(2, 64));
        assert_eq!([0, 1, 2].map(|s| index.bytes_in(1 << s)), [0, 36, 84]);
        assert_eq!(index.nth(0).map(|e| e.place.offset()), Some(64));
    }
}
