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

    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    fn all(&self) -> &[Entry] {
        self.entries.get(..self.used).unwrap_or(&[])
    }

    /// Entries of keys that exist.
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
