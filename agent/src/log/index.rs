//! Where each record lies: a sorted table lent by the caller.

use super::Key;
use super::format::{Place, RECORD_OVERHEAD, padded};

/// One record; 16 bytes of RAM. A deleted key keeps its entry while an older
/// version of it may still stand on flash.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub(crate) key: Key,
    pub(crate) len: u16,
    pub(crate) deleted: bool,
    pub(crate) place: Place,
    pub(crate) seq: u32,
}

impl Default for Entry {
    fn default() -> Self {
        Entry {
            key: Key { class: 0, id: 0 },
            len: 0,
            deleted: false,
            place: Place::NONE,
            seq: 0,
        }
    }
}

impl Entry {
    /// Padded size of the record in bytes.
    pub(crate) fn size(&self, unit: u32) -> u32 {
        padded(RECORD_OVERHEAD as u32 + u32::from(self.len), unit)
    }
}

pub(crate) struct Index<'m> {
    entries: &'m mut [Entry],
    used: usize,
    unit: u32,
    /// Padded bytes of all entries.
    bytes: u32,
    /// Entries of deleted keys.
    deleted: u32,
}

impl<'m> Index<'m> {
    pub(crate) fn new(entries: &'m mut [Entry], unit: u32) -> Self {
        Index {
            entries,
            used: 0,
            unit,
            bytes: 0,
            deleted: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.bytes = 0;
        self.deleted = 0;
    }

    fn all(&self) -> &[Entry] {
        self.entries.get(..self.used).unwrap_or(&[])
    }

    /// Entries of keys that exist.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Entry> {
        self.all().iter().filter(|e| !e.deleted)
    }

    /// Padded bytes of all entries, deleted keys' markers included.
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Entries of deleted keys.
    pub(crate) fn deleted(&self) -> u32 {
        self.deleted
    }

    /// Padded bytes that must move when `sector` is emptied.
    pub(crate) fn bytes_in(&self, sector: u32) -> u32 {
        let there = self.all().iter().filter(|e| e.place.sector() == sector);
        there.map(|e| e.size(self.unit)).sum()
    }

    pub(crate) fn nth(&self, i: usize) -> Option<Entry> {
        self.all().get(i).copied()
    }

    fn find(&self, key: Key) -> Result<usize, usize> {
        self.all().binary_search_by_key(&key, |e| e.key)
    }

    pub(crate) fn get(&self, key: Key) -> Option<Entry> {
        self.nth(self.find(key).ok()?)
    }

    pub(crate) fn has_room_for(&self, key: Key) -> bool {
        self.used < self.entries.len() || self.find(key).is_ok()
    }

    fn count(&mut self, e: &Entry, add: bool) {
        let (bytes, one) = (e.size(self.unit), u32::from(e.deleted));
        if add {
            self.bytes += bytes;
            self.deleted += one;
        } else {
            self.bytes -= bytes;
            self.deleted -= one;
        }
    }

    /// Inserts, or replaces an older version; false when the table is full.
    pub(crate) fn set(&mut self, entry: Entry) -> bool {
        match self.find(entry.key) {
            Ok(at) => {
                if let Some(old) = self.nth(at).filter(|old| old.seq <= entry.seq) {
                    self.count(&old, false);
                    self.count(&entry, true);
                    if let Some(e) = self.entries.get_mut(at) {
                        *e = entry;
                    }
                }
                true
            }
            Err(at) => {
                if self.used >= self.entries.len() {
                    return false;
                }
                self.used += 1;
                self.count(&entry, true);
                let mut moved = entry;
                for slot in self.entries.iter_mut().take(self.used).skip(at) {
                    core::mem::swap(slot, &mut moved);
                }
                true
            }
        }
    }

    /// Moves entry `i` to another place.
    pub(crate) fn place(&mut self, i: usize, place: Place) {
        if let Some(e) = self.entries.get_mut(i) {
            e.place = place;
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let mut to = 0;
        for from in 0..self.used {
            let Some(e) = self.nth(from) else { break };
            if !keep(&e) {
                self.count(&e, false);
                continue;
            }
            if let Some(slot) = self.entries.get_mut(to) {
                *slot = e;
            }
            to += 1;
        }
        self.used = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn entry(id: u16, len: u16, seq: u32) -> Entry {
        Entry {
            key: Key { class: 1, id },
            len,
            seq,
            deleted: false,
            place: Place::new(seq % 4, 0),
        }
    }

    fn marker(id: u16, seq: u32) -> Entry {
        Entry {
            deleted: true,
            ..entry(id, 0, seq)
        }
    }

    fn ids(index: &Index<'_>) -> Vec<u16> {
        index.live().map(|e| e.key.id).collect()
    }

    /// Bytes, markers, and ids of what is alive.
    fn looks(index: &Index<'_>, bytes: u32, deleted: u32, live: &[u16]) {
        assert_eq!((index.bytes(), index.deleted()), (bytes, deleted));
        assert_eq!(ids(index), live);
    }

    #[test]
    fn keys_are_kept_in_order_each_once_in_its_newest_version() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 8);
        for e in [entry(7, 1, 1), entry(3, 4, 2), entry(5, 5, 3)] {
            assert!(index.set(e));
        }
        // 36 and the value, padded to 8.
        looks(&index, 40 + 40 + 48, 0, &[3, 5, 7]);
        assert!(index.set(entry(5, 100, 4)), "a newer version");
        looks(&index, 40 + 40 + 136, 0, &[3, 5, 7]);
        assert!(index.set(entry(5, 1, 3)), "an older one is passed over");
        looks(&index, 40 + 40 + 136, 0, &[3, 5, 7]);
        assert!(index.set(entry(5, 5, 4)), "the same one, read again");
        looks(&index, 40 + 40 + 48, 0, &[3, 5, 7]);
        assert_eq!(index.get(Key { class: 1, id: 5 }).map(|e| e.seq), Some(4));
        assert!(index.get(Key { class: 1, id: 4 }).is_none());
        assert!(index.get(Key { class: 2, id: 5 }).is_none());
        assert_eq!(index.nth(2).map(|e| e.key.id), Some(7));
        assert!(index.nth(3).is_none());
    }

    #[test]
    fn a_full_table_takes_new_versions_but_no_new_key() {
        let mut room = [Entry::default(); 2];
        let mut index = Index::new(&mut room, 4);
        assert!(index.set(entry(1, 0, 1)));
        assert!(index.has_room_for(Key { class: 1, id: 2 }));
        assert!(index.set(entry(2, 0, 2)));
        assert!(index.has_room_for(Key { class: 1, id: 2 }));
        assert!(!index.has_room_for(Key { class: 1, id: 3 }));
        assert!(!index.set(entry(3, 0, 3)));
        assert!(index.set(entry(2, 4, 4)));
        looks(&index, 36 + 40, 0, &[1, 2]);
    }

    #[test]
    fn a_deleted_key_keeps_its_place_and_room_until_it_is_dropped() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 4);
        for e in [entry(1, 8, 1), entry(2, 8, 2), entry(3, 8, 3)] {
            assert!(index.set(e));
        }
        assert!(index.set(marker(2, 4)));
        assert!(index.set(marker(3, 5)));
        looks(&index, 44 + 36 + 36, 2, &[1]);
        assert_eq!(
            index.get(Key { class: 1, id: 2 }).map(|e| e.deleted),
            Some(true)
        );
        assert!(index.set(entry(3, 8, 6)), "and may be written again");
        looks(&index, 44 + 36 + 44, 1, &[1, 3]);
        index.retain(|e| !e.deleted);
        looks(&index, 44 + 44, 0, &[1, 3]);
        index.retain(|e| e.key.id == 3);
        looks(&index, 44, 0, &[3]);
        index.clear();
        looks(&index, 0, 0, &[]);
    }

    #[test]
    fn what_must_move_out_of_a_sector_is_what_lies_there() {
        let mut room = [Entry::default(); 4];
        let mut index = Index::new(&mut room, 4);
        // Sectors 1, 1 and 2.
        for e in [entry(1, 8, 1), entry(2, 0, 5), entry(3, 4, 2)] {
            assert!(index.set(e));
        }
        assert_eq!([0, 1, 2].map(|s| index.bytes_in(s)), [0, 80, 40]);
        index.place(0, Place::new(2, 64));
        assert_eq!([0, 1, 2].map(|s| index.bytes_in(s)), [0, 36, 84]);
        assert_eq!(index.nth(0).map(|e| e.place.offset()), Some(64));
    }
}
