//! Mounting: a boot reads generations, then the head, then the other members.
//!
//! # Which sector is the head
//!
//! A sector is opened by three programs: header, first commit word, second
//! commit word. Each is read back before the next, and the sector is served
//! only after all three. So the last of the three that reads well may have been cut,
//! and may read differently at the next boot; those before it read well at every
//! boot. The head is the sector of the highest generation
//! that is one of these:
//!
//! - *Committed*: it shows both words, or a record of its own. It may have been
//!   served, and every boot will find it. If nothing follows the second word, a
//!   later boot may find the first word alone.
//! - *Half-committed*: it shows the first word alone, and every copy is
//!   authentic (otherwise its erase has begun). It may be a committed sector
//!   whose second word no longer reads, or one that was never served. A
//!   successor takes over all it holds before anything is served.
//!
//! A sector that shows its header alone was never served, and is ignored.
//!
//! If nothing follows the commit words, a later boot may read them differently
//! and reject this head. So until this boot has committed a sector of its own,
//! the members of the *fallback head*, the next committed sector below, are
//! kept as well: they hold the same records.
//!
//! An *unidentified* sector holds something but has no authentic header. Its
//! erase may have been cut, and its header may read well again at a later boot,
//! with a generation above those given in the meantime. It is erased before a
//! new head is written.
//!
//! # Which record is unconfirmed
//!
//! The last record of the head, when only blank cells follow: it reads well
//! now, but nothing shows that it always will.

use super::format::{
    FlashAddr, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, SectorHeader, is_blank,
};
use super::index::Entry;
use super::record::{open_record, reads_back};
use super::sectors::{FALLBACK, MEMBER, UNIDENTIFIED, contains, each};
use super::{Head, Log, LogContext, PINNED_RECORD};
use crate::error::Error;
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;

/// The content of cells where a record may begin.
enum Found {
    /// Blank cells, or the sector's end.
    Blank,
    Record {
        record: Entry,
        /// Offset where it ends.
        next: u32,
    },
    Unreadable {
        /// Offset of the next readable record, or the sector's end.
        next: u32,
    },
}

/// Progress of a sector's opening, as its cells show it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CommitState {
    HalfCommitted,
    Committed {
        /// Something follows the copies, so the second commit word was complete
        /// and every boot will find it so.
        followed: bool,
    },
}

/// Reads that the first commit word of a half-committed sector must pass. A cell
/// that a cut left half-way may pass once by chance.
const COMMIT_WORD_READS: u32 = 8;

impl Log<'_> {
    /// Finds the head and reads it. The other members are read by
    /// [`Log::step`], one a call. Safe to call again.
    pub fn mount<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
    ) -> Result<(), Error> {
        let bytes_needed = self.bytes_needed;
        self.unmount();
        self.bytes_needed = bytes_needed;
        self.read_generations(io)?;
        self.find_head(io)?;
        if let Some(head) = self.head {
            let unidentified = self.sectors_with(MEMBER | UNIDENTIFIED, UNIDENTIFIED);
            for sector in each(unidentified) {
                self.look_for_lost_head(io, sector);
            }
            self.unindexed = self.members() & !(1 << head.sector);
        }
        self.mounted = true;
        Ok(())
    }

    /// Reads the generation that each sector claims, not yet authenticated.
    fn read_generations<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
    ) -> Result<(), Error> {
        for sector in 0..self.geometry.sectors {
            let mut bytes = [0u8; super::SECTOR_HEADER];
            let entry = match io.region.read(self.geometry.start(sector), &mut bytes) {
                Ok(()) if is_blank(&bytes) => continue,
                // A generation as high as this flag is none that was ever given.
                Ok(()) => SectorHeader::parse(bytes)
                    .map_or(UNIDENTIFIED, |header| header.generation.min(UNIDENTIFIED)),
                Err(e) if e.kind() == ErrorKind::Ecc => UNIDENTIFIED,
                Err(_e) => return Err(Error::Hardware),
            };
            self.set(sector, entry);
        }
        Ok(())
    }

    /// Looks for the head and the fallback head, from the highest generation
    /// down.
    fn find_head<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
    ) -> Result<(), Error> {
        let mut left = self.sectors_with(0, 0);
        while let Some(sector) = each(left).max_by_key(|&s| self.generation(s)) {
            left &= !(1 << sector);
            let generation = self.generation(sector);
            if generation == 0 {
                break;
            }
            let header = self.read_header(io, sector);
            let Some(header) = header.filter(|h| h.generation == generation) else {
                self.set(sector, UNIDENTIFIED);
                continue;
            };
            // Even a sector that does not become the head uses up its generation:
            // its commit words may read well at a later boot.
            self.next_generation = self.next_generation.max(generation + 1);
            let Some(state) = self.commit_state(io, sector, &header) else {
                continue;
            };
            if self.head.is_none() {
                let is_head = self.read_head(io, sector, &header, state)?;
                if is_head && state == (CommitState::Committed { followed: true }) {
                    // No later boot can reject this head: it needs no fallback.
                    break;
                }
            } else if state != CommitState::HalfCommitted {
                self.flag(header.members, FALLBACK);
                break;
            }
            // A half-committed sector below the head needs no flag: free sectors
            // are taken going round from the head, so it comes last.
        }
        Ok(())
    }

    /// Searches an unidentified sector that is no member. If it holds two
    /// records newer than all that the head knows, it was the head itself, and
    /// whatever it held may have replaced any record. One such record alone
    /// may be a copy from an opening that was cut.
    fn look_for_lost_head<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
    ) {
        let mut at = self.geometry.first_record;
        loop {
            at = self.find_next_record(io, sector, at);
            let Some(record) = self.record_at(io, sector, at) else {
                return;
            };
            if record.header.seq > self.next_seq {
                self.next_seq = record.header.seq.saturating_add(1);
                self.lost_before = self.next_seq;
            }
            at = self.end(&record);
        }
    }

    /// Reads and authenticates the header of `sector`.
    fn read_header<R: Region, G, C: Crypto>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
    ) -> Option<SectorHeader> {
        let mut bytes = [0u8; super::SECTOR_HEADER];
        let read = io.region.read(self.geometry.start(sector), &mut bytes);
        let header = read
            .ok()
            .and_then(|()| SectorHeader::parse_authentic::<C>(bytes, io.keys))?;
        let records = self.geometry.first_record..=self.geometry.sector;
        records.contains(&header.copies_end).then_some(header)
    }

    /// Reads the progress of a sector's opening; `None` if it was not even
    /// half-committed.
    fn commit_state<R: Region, G, C: Crypto>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
        header: &SectorHeader,
    ) -> Option<CommitState> {
        let [first_word, second_word] = header.commit_words();
        let first_record = self.geometry.start(sector) + self.geometry.first_record;
        let word = self.geometry.commit_word;
        let own = header.copies_end;
        let followed = !self.blank_at(io, sector, own);
        // A record of its own shows as well that the opening was completed: both
        // words were read back before it was written.
        let reads_second = reads_back(io.region, first_record - word, &second_word);
        if reads_second
            || (followed && self.find_next_record(io, sector, own) < self.geometry.sector)
        {
            return Some(CommitState::Committed { followed });
        }
        (0..COMMIT_WORD_READS)
            .all(|_| reads_back(io.region, first_record - 2 * word, &first_word))
            .then_some(CommitState::HalfCommitted)
    }

    /// Reads the records of a candidate for the head, and makes it the head.
    /// False when it is half-committed and not whole: then it does not count.
    fn read_head<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
        header: &SectorHeader,
        state: CommitState,
    ) -> Result<bool, Error> {
        self.next_seq = header.base_seq;
        self.lost_before = header.lost_before;
        let committed = state != CommitState::HalfCommitted;
        let mut lost_own = false;
        let mut last: Option<Entry> = None;
        let mut last_end = 0;
        let mut at = self.geometry.first_record;
        // Every copy of a half-committed sector must be there and authentic. A
        // copy that is missing or altered shows that its erase has begun.
        let limit = if committed {
            self.geometry.sector
        } else {
            header.copies_end
        };
        while at < limit {
            match self.read_at(io, sector, at) {
                Found::Record { record, next } if committed || self.authentic(io, &record) => {
                    if let Some(done) = &last {
                        self.index_record(io, done)?;
                    }
                    last = Some(record);
                    last_end = next;
                    at = next;
                }
                Found::Unreadable { next } if committed => {
                    self.needs_new_sector = next >= self.geometry.sector;
                    // Every write is read back before the next. So if records
                    // follow an unreadable one, it failed later: no power cut.
                    lost_own |= !self.needs_new_sector || at < header.copies_end;
                    at = next;
                }
                _ => break,
            }
        }
        if !committed && at != limit {
            self.index.clear();
            return Ok(false);
        }
        let mut end = at;
        // Every record but the last was read back before the next was written.
        // The last may be torn in its value: only its tag shows that.
        if let Some(record) = &last {
            end = last_end;
            let copied = end <= header.copies_end;
            if copied || self.authentic(io, record) {
                self.index_record(io, record)?;
                // Copies were read back before the commit words were written.
                if !copied && !self.needs_new_sector && !self.forgotten(io, record) {
                    self.unconfirmed = last;
                }
            } else {
                end = record.addr.offset();
                self.needs_new_sector = true;
            }
        }
        if lost_own {
            self.lost_before = self.next_seq;
        }
        self.needs_new_sector |= !committed;
        self.pinned_at = header.pinned_at;
        self.flag(header.members, MEMBER);
        self.head = Some(Head {
            sector,
            end,
            writable: false,
            committed,
            base_seq: header.base_seq,
        });
        Ok(true)
    }

    /// Reads one more member into the index.
    pub(crate) fn read_member<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
    ) -> Result<(), Error> {
        // Without a readable header, the sector may hold anything: each record
        // must authenticate before it counts.
        let identified = self.generation(sector) != 0;
        let mut at = self.geometry.first_record;
        loop {
            at = match self.read_at(io, sector, at) {
                Found::Blank => break,
                Found::Record { record, next } if identified || self.authentic(io, &record) => {
                    self.index_record(io, &record)?;
                    next
                }
                Found::Record { .. } => {
                    self.mark_lost(io, sector);
                    at + self.geometry.unit
                }
                Found::Unreadable { next } => {
                    self.mark_lost(io, sector);
                    next
                }
            };
        }
        self.unindexed &= !(1 << sector);
        Ok(())
    }

    /// Notes that a record of `sector` was lost. Its id is unknown, so every
    /// record that it may have replaced is reported as corrupt: those written
    /// before the next sector was opened.
    fn mark_lost<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
    ) {
        let generation = self.generation(sector);
        let next = each(self.members())
            .filter(|&s| generation != 0 && self.generation(s) > generation)
            .min_by_key(|&s| self.generation(s));
        let header = next.and_then(|s| self.read_header(io, s));
        let bound = match (header, self.head) {
            (Some(next), _) => next.base_seq,
            (None, Some(head)) => head.base_seq,
            (None, None) => u32::MAX,
        };
        self.lost_before = self.lost_before.max(bound);
    }

    /// The pinned record, where the head's header says it lay. Only while that
    /// sector is not in the index: afterwards the index knows better.
    pub(crate) fn pinned<R: Region, G, C: Crypto>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
    ) -> Option<Entry> {
        let sector = self.pinned_at.sector();
        if !contains(self.unindexed, sector) {
            return None;
        }
        self.record_at(io, sector, self.pinned_at.offset())
            .filter(|record| record.id() == PINNED_RECORD && !record.header.deleted())
    }

    /// Offset in its sector where a record ends.
    fn end(&self, record: &Entry) -> u32 {
        record.addr.offset() + record.size(self.geometry.unit)
    }

    /// Reads the cells at offset `at` of `sector`, where a record may begin.
    fn read_at<R: Region, G, C: Crypto>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
        at: u32,
    ) -> Found {
        if at >= self.geometry.sector || self.blank_at(io, sector, at) {
            return Found::Blank;
        }
        match self.record_at(io, sector, at) {
            Some(record) => Found::Record {
                record,
                next: self.end(&record),
            },
            None => Found::Unreadable {
                next: self.find_next_record(io, sector, at),
            },
        }
    }

    /// True when no record header begins at offset `at`: its cells read blank.
    fn blank_at<R: Region, G, C>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
        at: u32,
    ) -> bool {
        let mut buf = [0u8; RECORD_HEADER];
        let n = self.geometry.sector.saturating_sub(at) as usize;
        let Some(buf) = buf.get_mut(..n.min(RECORD_HEADER)) else {
            return false;
        };
        let start = self.geometry.start(sector) + at;
        io.region.read(start, buf).is_ok() && is_blank(buf)
    }

    /// The record whose header is at offset `at`, if it fits in the sector.
    /// A corrected header counts only with an authentic record behind it.
    fn record_at<R: Region, G, C: Crypto>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
        at: u32,
    ) -> Option<Entry> {
        if at + RECORD_OVERHEAD as u32 > self.geometry.sector {
            return None;
        }
        let addr = FlashAddr::new(sector, at);
        let mut bytes = [0u8; RECORD_HEADER];
        io.region
            .read(self.geometry.offset_of(addr), &mut bytes)
            .ok()?;
        let parsed = RecordHeader::parse(bytes)?;
        let record = Entry {
            header: parsed.header,
            addr,
        };
        if self.end(&record) > self.geometry.sector {
            return None;
        }
        if parsed.corrected && !self.sealed(io, &record) {
            return None;
        }
        Some(record)
    }

    /// True when the record's tag verifies. A record of a forgotten salt counts
    /// as authentic: its key is gone, so its tag cannot be verified any more.
    fn authentic<R: Region, G, C: Crypto>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        record: &Entry,
    ) -> bool {
        self.forgotten(io, record) || self.sealed(io, record)
    }

    /// True when the record's tag verifies under a key that still exists.
    fn sealed<R: Region, G, C: Crypto>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        record: &Entry,
    ) -> bool {
        if self.forgotten(io, record) {
            return false;
        }
        let Some(bytes) = io.scratch.get_mut(..record.header.size() as usize) else {
            return false;
        };
        io.region
            .read(self.geometry.offset_of(record.addr), bytes)
            .is_ok()
            && open_record::<C>(bytes, io.keys, &record.header).is_ok()
    }

    /// True for a record whose class was forgotten since.
    fn forgotten<R, G, C>(&self, io: &LogContext<'_, R, G, C>, record: &Entry) -> bool {
        io.keys.salt_generation(record.id().class) != record.header.salt_generation
    }

    /// Enters a record in the index, unless its class was forgotten.
    fn index_record<R, G, C>(
        &mut self,
        io: &LogContext<'_, R, G, C>,
        record: &Entry,
    ) -> Result<(), Error> {
        self.next_seq = self.next_seq.max(record.header.seq.saturating_add(1));
        if self.forgotten(io, record) || self.index.set(record) {
            Ok(())
        } else {
            Err(Error::Full)
        }
    }

    /// The first offset from `at` with an authentic record and an intact header,
    /// or the sector's end.
    fn find_next_record<R: Region, G, C: Crypto>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
        mut at: u32,
    ) -> u32 {
        let mut bytes = [0u8; RECORD_HEADER];
        while at + RECORD_OVERHEAD as u32 <= self.geometry.sector {
            let start = self.geometry.start(sector) + at;
            // The check bits come first: correcting a bit and verifying a tag at
            // each unit of a sector would take too long.
            if io.region.read(start, &mut bytes).is_ok()
                && RecordHeader::check_bits_fit(&bytes)
                && let Some(record) = self.record_at(io, sector, at)
                && self.sealed(io, &record)
            {
                return at;
            }
            at += self.geometry.unit;
        }
        self.geometry.sector
    }
}
