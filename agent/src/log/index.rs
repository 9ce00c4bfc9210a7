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
