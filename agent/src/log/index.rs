//! Where each live record lies: a sorted table lent by the caller.

use super::Key;
use super::format::{RECORD_OVERHEAD, padded};

/// One live record; 24 bytes of RAM.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    pub(crate) key: Key,
    pub(crate) len: u16,
    pub(crate) sector: u32,
    pub(crate) offset: u32,
    pub(crate) seq: u64,
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
}

impl<'m> Index<'m> {
    pub(crate) fn new(entries: &'m mut [Entry]) -> Self {
        Index { entries, used: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    fn live(&self) -> &[Entry] {
        self.entries.get(..self.used).unwrap_or(&[])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.live().iter()
    }

    pub(crate) fn nth(&self, i: usize) -> Option<Entry> {
        self.live().get(i).copied()
    }

    pub(crate) fn get(&self, key: Key) -> Option<Entry> {
        let at = self.live().binary_search_by_key(&key, |e| e.key).ok()?;
        self.nth(at)
    }

    /// True when `key` is present or there is room for it.
    pub(crate) fn has_room_for(&self, key: Key) -> bool {
        self.used < self.entries.len() || self.get(key).is_some()
    }

    /// Inserts or replaces; false when the table is full.
    pub(crate) fn set(&mut self, entry: Entry) -> bool {
        match self.live().binary_search_by_key(&entry.key, |e| e.key) {
            Ok(at) => {
                if let Some(e) = self.entries.get_mut(at) {
                    *e = entry;
                }
                true
            }
            Err(at) => {
                if self.used >= self.entries.len() {
                    return false;
                }
                self.used += 1;
                let mut moved = entry;
                for slot in self.entries.iter_mut().take(self.used).skip(at) {
                    core::mem::swap(slot, &mut moved);
                }
                true
            }
        }
    }

    pub(crate) fn remove(&mut self, key: Key) {
        if let Ok(at) = self.live().binary_search_by_key(&key, |e| e.key) {
            let mut moved = Entry::default();
            for slot in self.entries.iter_mut().take(self.used).skip(at).rev() {
                core::mem::swap(slot, &mut moved);
            }
            self.used -= 1;
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let mut to = 0;
        for from in 0..self.used {
            if let Some(e) = self.nth(from).filter(|e| keep(e)) {
                if let Some(slot) = self.entries.get_mut(to) {
                    *slot = e;
                }
                to += 1;
            }
        }
        self.used = to;
    }

    pub(crate) fn live_bytes(&self, unit: u32) -> u32 {
        self.iter().map(|e| e.size(unit)).sum()
    }

    /// Live bytes in one sector.
    pub(crate) fn live_in(&self, sector: u32, unit: u32) -> u32 {
        self.iter()
            .filter(|e| e.sector == sector)
            .map(|e| e.size(unit))
            .sum()
    }
}
