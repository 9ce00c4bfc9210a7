//! Opening a sector: the one way a log gains room.
//!
//! # Choice of the sector
//!
//! Unidentified sectors are erased first, one after the other. Then the next
//! sector is taken, going round from the head, that is neither a member nor a
//! member of the fallback head (`mount.rs`). At most all but two sectors are
//! members, so there always is one.
//!
//! # Order of writes
//!
//! 1. Erase the sector and read it back.
//! 2. Copy live records. The first opening of a boot *replaces* the last head:
//!    every record in it that counts moves. Where the members are at their
//!    limit, garbage collection: one member is emptied as well. Copies are
//!    verbatim, but for records that may read differently each time.
//! 3. Program the header, which names the members, and read it back.
//! 4. Program the first commit word and read it back, then the second. Now this
//!    sector is the head.
//!
//! So every member was written in one power cycle and read back there, and only
//! the end of the head can be in doubt at a boot.

use super::format::{FlashAddr, SectorHeader, padded};
use super::index::Entry;
use super::record::{reads_back, reads_blank, reseal_record};
use super::sectors::{GENERATION_LIMIT, MEMBER, each};
use super::{Head, Log, LogContext, PINNED_RECORD, Progress};
use crate::error::Error;
use crate::wire::codec::copy;
use nrd_hal::{Crypto, Region};
use rand_core::TryCryptoRng;

/// Reads of an unconfirmed record before it is given up: its cells may read
/// differently each time, and one reading that authenticates is enough.
const UNCONFIRMED_READS: u32 = 32;
/// Erases of one sector that may fail in a boot before it is retired.
const ERASE_TRIES: u8 = 3;

/// A sector that is being opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Opening {
    /// To be erased.
    Erase {
        sector: u32,
        /// Erases that failed so far.
        failed: u8,
    },
    /// Erased and read back; to be written.
    Write { sector: u32 },
}

/// Why an opening came to nothing.
pub(crate) enum OpenFailure {
    /// The cells did not take a program.
    NotReadBack,
    /// A record that was unconfirmed at the mount does not authenticate any
    /// more. The next mount finds it so, and does not count it.
    Faded,
    /// Trying again does not help.
    Fatal(Error),
}

impl From<Error> for OpenFailure {
    fn from(error: Error) -> Self {
        OpenFailure::Fatal(error)
    }
}

impl Log<'_> {
    /// Does one bounded piece of pending work: the erase of one sector, one
    /// sector's copy with its header, or one member's reading.
    ///
    /// # Errors
    ///
    /// [`Error::Hardware`] when the flash does not answer, [`Error::WornOut`]
    /// when no sector is left to open, [`Error::Full`] when the index is too
    /// small for the records on flash, [`Error::TooLong`] when the scratch
    /// buffer is too short for a record on flash.
    pub fn step<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
    ) -> Result<Progress, Error> {
        io.need_keys()?;
        if !self.mounted {
            self.mount(io)?;
            return Ok(Progress::More);
        }
        match self.opening {
            Some(Opening::Erase { sector, failed }) => {
                self.opening = self.erase_sector(io, sector, failed);
                return Ok(Progress::More);
            }
            Some(Opening::Write { sector }) => {
                self.opening = None;
                self.set(sector, 0);
                // As long as another sector is unidentified, that one is erased
                // first; this one is blank now, and waits.
                if self.next_unidentified().is_none() {
                    self.open_sector(io, sector)?;
                }
                return Ok(Progress::More);
            }
            None => {}
        }
        // A boot opens its first sector before it reads the members, so that the
        // pinned record is served early. Later openings want all of them in the
        // index, to choose the victim.
        let writable = self.head.is_some_and(|h| h.writable);
        if self.must_open_sector() && (!writable || self.unindexed == 0) {
            let sector = self.next_unidentified().or_else(|| self.pick_free_sector());
            let sector = sector.ok_or(Error::WornOut)?;
            self.opening = Some(Opening::Erase { sector, failed: 0 });
            return Ok(Progress::More);
        }
        if self.unindexed != 0 {
            self.read_member(io, self.unindexed.trailing_zeros())?;
            return Ok(Progress::More);
        }
        self.bytes_needed = 0;
        Ok(Progress::Done)
    }

    fn must_open_sector(&self) -> bool {
        if self.head.is_some_and(|h| h.writable) {
            (self.bytes_needed > self.room() && self.opening_makes_room())
                || (self.gc_rounds > 0 && self.index.has_deleted())
        } else {
            self.bytes_needed > 0 || self.needs_new_sector || self.unconfirmed.is_some()
        }
    }

    /// True when an opening gives the room that is needed. It does for all that
    /// fits ([`Log::fits`]), unless a sector was retired since.
    pub(crate) fn opening_makes_room(&self) -> bool {
        let members = self.members();
        let victim = self.pick_victim(members, false);
        let to_move = victim.map_or(0, |s| self.index.bytes_in(1 << s));
        members.count_ones() < self.member_limit()
            || to_move + self.bytes_needed <= self.geometry.payload()
    }

    /// Erases a sector once and reads it back; returns the next step of
    /// its opening.
    fn erase_sector<R: Region, G, C>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
        failed: u8,
    ) -> Option<Opening> {
        let from = self.geometry.start(sector);
        let to = from + self.geometry.sector;
        // A sector without a header may be one whose erase was torn. It is
        // erased twice: one erase that silently does nothing must not pass for
        // done because the torn cells happen to read blank.
        if failed == 0 && self.generation(sector) == 0 {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "its result does not matter: the second one is checked"
            )]
            let _ = io.region.erase(from, to);
        }
        if io.region.erase(from, to).is_ok() && reads_blank(io.region, from, to) {
            return Some(Opening::Write { sector });
        }
        let failed = failed + 1;
        if failed < ERASE_TRIES {
            return Some(Opening::Erase { sector, failed });
        }
        self.retire_sector(sector);
        None
    }

    /// Writes the erased `sector`, which then is the head. If that fails, the log
    /// is to be mounted again.
    // Not inlined: its copies and headers would stand on the stack of every step, and
    // cost 102 bytes.
    #[inline(never)]
    fn open_sector<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
    ) -> Result<(), Error> {
        let Err(failure) = self.copy_and_commit(io, sector) else {
            return Ok(());
        };
        // The index may point into the sector that failed.
        let bytes_needed = self.bytes_needed;
        self.unmount();
        self.bytes_needed = bytes_needed.max(1);
        match failure {
            // One silent fault may be chance, and a full log has no sector to
            // spare: retired at the second in a row only.
            OpenFailure::NotReadBack if self.retry_sector != Some(sector) => {
                self.retry_sector = Some(sector);
            }
            OpenFailure::NotReadBack => self.retire_sector(sector),
            OpenFailure::Faded => {}
            OpenFailure::Fatal(e) => return Err(e),
        }
        Ok(())
    }

    /// Copies live records into the erased `sector`, then programs its header and
    /// commit words.
    fn copy_and_commit<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
    ) -> Result<(), OpenFailure> {
        let generation = self.next_generation;
        if generation >= GENERATION_LIMIT {
            return Err(OpenFailure::Fatal(Error::WornOut));
        }
        self.next_generation += 1;
        let mut members = self.members();
        let mut end = self.geometry.first_record;
        // A head of an earlier boot, or one whose cells did not take a program, is
        // not written to again. It is no member any more.
        let mut replaced = self.head.filter(|h| !h.writable).map(|h| h.sector);
        let mut collected = self.gc_rounds == 0;
        let limit = self.member_limit();
        loop {
            let victim = match replaced.take() {
                Some(head) => head,
                None if collected && members.count_ones() < limit => break,
                None => {
                    collected = true;
                    let oldest = self.empties_oldest(generation);
                    // A member that is not in the index yet would be lost: rather
                    // stay over the limit.
                    match self.pick_victim(members & !self.unindexed, oldest) {
                        Some(s) if end + self.index.bytes_in(1 << s) <= self.geometry.sector => s,
                        _ => break,
                    }
                }
            };
            members &= !(1 << victim);
            end = self.move_live_records(io, victim, members, sector, end)?;
        }
        members |= 1 << sector;
        self.commit(io, sector, generation, members, end)?;
        self.become_head(sector, generation, members, end);
        Ok(())
    }

    /// Programs header and commit words, each read back before the next.
    fn commit<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        sector: u32,
        generation: u32,
        members: u32,
        copies_end: u32,
    ) -> Result<(), OpenFailure> {
        let mut header = SectorHeader {
            generation,
            members,
            base_seq: self.next_seq,
            copies_end,
            pinned_at: self.pinned_addr(),
            lost_before: self.lost_before,
            mac: Default::default(),
        };
        let start = self.geometry.start(sector);
        let bytes = header.encode::<C>(io.keys);
        self.program_padded(io, start, &bytes)?;
        let mut at = start + self.geometry.first_record - 2 * self.geometry.commit_word;
        for word in header.commit_words() {
            self.program_padded(io, at, &word)?;
            at += self.geometry.commit_word;
        }
        Ok(())
    }

    /// Address of the pinned record now.
    fn pinned_addr(&self) -> FlashAddr {
        match self.index.get(PINNED_RECORD) {
            Some(e) if e.header.deleted() => FlashAddr::NONE,
            Some(e) => e.addr,
            // Not in the index: its member may not have been read yet.
            None => self.pinned_at,
        }
    }

    /// Takes note that `sector` is committed.
    fn become_head(&mut self, sector: u32, generation: u32, members: u32, end: u32) {
        self.set_members(members);
        self.set(sector, generation | MEMBER);
        self.pinned_at = self.pinned_addr();
        self.head = Some(Head {
            sector,
            end,
            writable: true,
            committed: true,
            base_seq: self.next_seq,
        });
        self.unconfirmed = None;
        self.needs_new_sector = false;
        self.retry_sector = None;
        self.gc_rounds = self.gc_rounds.saturating_sub(1);
    }

    /// Programs `bytes`, padded to the unit, and reads them back.
    fn program_padded<R: Region, G, C>(
        &self,
        io: &mut LogContext<'_, R, G, C>,
        at: u32,
        bytes: &[u8],
    ) -> Result<(), OpenFailure> {
        let size = padded(bytes.len() as u32, self.geometry.unit) as usize;
        let buf = io.scratch.get_mut(..size).ok_or(Error::TooLong)?;
        buf.fill(0xFF);
        copy(buf, bytes);
        program(io.region, at, buf)
    }

    /// Moves the records that count from sector `from`, which is no member any
    /// more, to sector `to` at `end`; returns the new end.
    fn move_live_records<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        from: u32,
        members: u32,
        to: u32,
        mut end: u32,
    ) -> Result<u32, OpenFailure> {
        let age = self.generation(from);
        let older = each(members).any(|s| self.generation(s) <= age);
        if age != 0 && !older {
            // In the oldest sector a delete marker hides nothing any more: no
            // older version of its record is left on flash.
            self.index
                .retain(&|e| !(e.header.deleted() && e.addr.sector() == from));
        }
        let half_committed = self.head.is_some_and(|h| h.sector == from && !h.committed);
        let mut i = 0;
        while let Some(&record) = self.index.nth(i) {
            if record.addr.sector() == from {
                let unconfirmed =
                    half_committed || self.unconfirmed.is_some_and(|u| u.id() == record.id());
                self.copy_record(io, &record, unconfirmed, to, end)?;
                self.index.set_addr(i, FlashAddr::new(to, end));
                end += record.size(self.geometry.unit);
            }
            i += 1;
        }
        Ok(end)
    }

    /// Copies one record to sector `to` at `end`: verbatim, so that one that
    /// rotted stays recognisable as such.
    ///
    /// The cells of an unconfirmed record may read differently each time. It is
    /// opened and sealed again with its own nonce: that gives the same bytes,
    /// but those that were authenticated.
    fn copy_record<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        record: &Entry,
        unconfirmed: bool,
        to: u32,
        end: u32,
    ) -> Result<(), OpenFailure> {
        let size = record.size(self.geometry.unit);
        if end + size > self.geometry.sector {
            return Err(OpenFailure::Fatal(Error::Full));
        }
        let len = record.header.size() as usize;
        let buf = io.scratch.get_mut(..size as usize).ok_or(Error::TooLong)?;
        for _ in 0..UNCONFIRMED_READS {
            buf.fill(0xFF);
            let bytes = buf.get_mut(..len).unwrap_or_default();
            let read = io
                .region
                .read(self.geometry.offset_of(record.addr), bytes)
                .is_ok();
            if unconfirmed && !(read && reseal_record::<C>(bytes, io.keys, &record.header).is_ok())
            {
                continue;
            }
            if !read {
                bytes.fill(0);
            }
            // A record with rotten check bits, or one that cannot be read at
            // all, gets an intact header: it stays in its place among the
            // others, and its tag still fails: it is reported as corrupt.
            copy(bytes, &record.header.encode());
            return program(io.region, self.geometry.start(to) + end, buf);
        }
        Err(OpenFailure::Faded)
    }
}

/// Programs and reads back.
pub(crate) fn program<R: Region>(region: &mut R, at: u32, bytes: &[u8]) -> Result<(), OpenFailure> {
    region.program(at, bytes).map_err(|_e| Error::Hardware)?;
    if reads_back(region, at, bytes) {
        Ok(())
    } else {
        Err(OpenFailure::NotReadBack)
    }
}
