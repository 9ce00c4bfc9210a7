//! Opening a sector: the one way a log gains room.
//!
//! # Which sector
//!
//! The sector table holds each sector's generation and flags: `IN`, it is a
//! member (its records count); `KEPT`, it is a member of the firm head below
//! the head; `STRANGE`, it holds something but no header. What is strange is
//! erased first; then the first sector with no flag is opened: at most all but
//! two are members, so there always is one.
//!
//! # In what order
//!
//! 1. Erase and read back.
//! 2. Copy what must move. The first opening of a boot *replaces* the last head:
//!    everything in it that counts moves, the record in doubt as it was
//!    authenticated. Where the members are at their limit, the one with the
//!    least to move is emptied as well. Copies are verbatim.
//! 3. Program the header, which names the members, and read it back.
//! 4. Program the first commit word and read it back, then the second. Now this
//!    is the head.
//!
//! So every member was written in one power cycle and read back there; only the
//! head's end can be in doubt at a boot.

use super::format::{Place, SectorHeader, ones, padded};
use super::index::Entry;
use super::record::{reads_back, reads_blank, reseal};
use super::{Head, Io, Log, PIN, Progress};
use crate::error::Error;
use crate::wire::codec::copy;
use nrd_hal::{Crypto, Region};
use rand_core::TryCryptoRng;

/// A member: its records count.
pub(crate) const IN: u32 = 1 << 31;
/// A member of the firm head below the head.
pub(crate) const KEPT: u32 = 1 << 30;
/// Holds something, but no authentic header.
pub(crate) const STRANGE: u32 = 1 << 28;
/// The generation.
pub(crate) const GENERATION: u32 = STRANGE - 1;
/// Would not erase since boot.
pub(crate) const BAD: u32 = GENERATION;
/// How often a record in doubt is read for a reading that authenticates.
const DOUBT_READS: u32 = 32;
/// Every so many generations the oldest member is emptied whatever it holds, so
/// that sectors with cold data wear as the others do.
const LEVEL: u32 = 16;

/// A sector being opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    sector: u32,
    erased: bool,
    /// Erase attempts that failed so far.
    tries: u8,
}

impl Log<'_> {
    /// Does one bounded piece of pending work: the erase of one sector, one
    /// sector's copy with its header, one member's reading, or one program.
    pub fn step<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Result<Progress, Error> {
        if !self.mounted {
            self.mount(io)?;
            return Ok(Progress::Working);
        }
        if let Some(o) = self.opening {
            if !o.erased {
                self.erase(io, o);
                return Ok(Progress::Working);
            }
            self.set(o.sector, 0);
            match self.strange() {
                Some(_) => self.opening = None,
                None => self.fill(io, o.sector)?,
            }
            return Ok(Progress::Working);
        }
        let writable = self.head.is_some_and(|h| h.writable);
        if self.must_open() && (!writable || self.unread == 0) {
            let sector = self.strange().or_else(|| self.choose());
            let sector = sector.ok_or(Error::WornOut)?;
            self.opening = Some(Opening {
                sector,
                erased: false,
                tries: 0,
            });
            return Ok(Progress::Working);
        }
        if self.unread != 0 {
            self.read_member(io, self.unread.trailing_zeros())?;
            return Ok(Progress::Working);
        }
        self.wanted = 0;
        Ok(Progress::Idle)
    }

    fn must_open(&self) -> bool {
        match self.head.is_some_and(|h| h.writable) {
            false => self.wanted > 0 || self.torn || self.doubt.is_some(),
            true => {
                (self.wanted > self.room() && self.gives_room())
                    || (self.sweep > 0 && self.index.has_deleted())
            }
        }
    }

    /// True when an opening gives the room that is wanted. It does for all that
    /// fits ([`Log::fits`]), unless a sector went bad since it was wanted.
    pub(crate) fn gives_room(&self) -> bool {
        let members = self.members();
        let least = self.least_to_move(members, false);
        let moved = least.map_or(0, |s| self.index.bytes_in(1 << s));
        ones(members) < self.member_limit() || moved + self.wanted <= self.shape.payload()
    }

    /// The sectors of whose entry these bits have this value, a bit each; none
    /// that was found bad.
    #[inline(never)]
    pub(crate) fn sectors_with(&self, bits: u32, value: u32) -> u32 {
        let table = (0u32..).zip(self.table.iter());
        table
            .filter(|(_, t)| **t & bits == value && **t != BAD)
            .fold(0, |found, (s, _)| found | 1 << s)
    }

    pub(crate) fn members(&self) -> u32 {
        self.sectors_with(IN, IN)
    }

    /// Of `sectors`, the first of those that cost the least.
    #[inline(never)]
    pub(crate) fn least(&self, sectors: u32, cost: &dyn Fn(u32) -> u64) -> Option<u32> {
        let (mut left, mut lowest, mut found) = (sectors, u64::MAX, None);
        while left != 0 {
            let sector = left.trailing_zeros();
            left &= left - 1;
            let cost = cost(sector);
            if cost < lowest {
                (lowest, found) = (cost, Some(sector));
            }
        }
        found
    }

    /// The last sector that holds something nobody needs or knows: may be one
    /// whose erase was cut.
    fn strange(&self) -> Option<u32> {
        let strange = self.sectors_with(IN | KEPT | STRANGE, STRANGE);
        31u32.checked_sub(strange.leading_zeros())
    }

    /// The next sector, going round from the head, that nothing needs.
    fn choose(&self) -> Option<u32> {
        let upto = self.head.map_or(0, |h| 2 << h.sector);
        // With so many bad sectors that none is free, one of the head below is
        // the last resort: still right unless the cut that follows also leaves
        // this head unreadable.
        let mut free = self.sectors_with(IN | KEPT, 0);
        if free == 0 {
            free = self.sectors_with(IN, 0);
        }
        // After the head, else from the start.
        let after = free & !u32::wrapping_sub(upto, 1);
        let next = if after != 0 { after } else { free };
        (next != 0).then(|| next.trailing_zeros())
    }

    fn erase<R: Region, G, C>(&mut self, io: &mut Io<'_, R, G, C>, mut o: Opening) {
        let from = o.sector * self.shape.sector;
        let to = from + self.shape.sector;
        // Without a header this may be a sector whose erase was torn: erased
        // twice, so that one erase that silently does nothing cannot pass for
        // done because the torn cells happen to read blank.
        if o.tries == 0 && self.generation(o.sector) == 0 {
            let _ = io.region.erase(from, to);
        }
        let ok = io.region.erase(from, to).is_ok() && reads_blank(io.region, from, to);
        if ok {
            o.erased = true;
            self.opening = Some(o);
        } else if o.tries < 2 {
            o.tries += 1;
            self.opening = Some(o);
        } else {
            self.shun(o.sector);
            self.opening = None;
        }
    }

    /// Uses `sector` no more in this boot.
    fn shun(&mut self, sector: u32) {
        if let Some(t) = self.table.get_mut(sector as usize).filter(|t| **t != BAD) {
            *t = BAD;
            self.bad += 1;
        }
    }

    fn fill<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
    ) -> Result<(), Error> {
        self.opening = None;
        let Err(e) = self.fill_and_commit(io, sector) else {
            return Ok(());
        };
        // The index may point into the sector that failed.
        let wanted = self.wanted;
        self.unmount();
        self.wanted = wanted.max(1);
        match e {
            // Once may be chance, and a full log can spare none.
            Error::WornOut if self.suspect != Some(sector) => {
                self.suspect = Some(sector);
            }
            Error::WornOut => self.shun(sector),
            Error::Corrupt => {}
            e => return Err(e),
        }
        Ok(())
    }

    /// Copies what must move into the erased `sector`, then programs its
    /// header: from then on it is the head.
    fn fill_and_commit<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
    ) -> Result<(), Error> {
        let generation = self.next_generation;
        if generation >= BAD {
            return Err(Error::WornOut);
        }
        self.next_generation += 1;
        let mut members = self.members();
        let mut end = self.shape.first;
        let replaced = self.head.filter(|h| !h.writable);
        if let Some(h) = replaced {
            members &= !(1 << h.sector);
            end = self.empty(io, h.sector, members, sector, end)?;
        }
        let mut swept = self.sweep == 0;
        while ones(members) >= self.member_limit() || !swept {
            swept = true;
            let oldest = self.index.has_deleted() || generation.is_multiple_of(LEVEL);
            // What is not read yet would be lost.
            let Some(from) = self.least_to_move(members & !self.unread, oldest) else {
                break;
            };
            if end + self.index.bytes_in(1 << from) > self.shape.sector {
                break;
            }
            members &= !(1 << from);
            end = self.empty(io, from, members, sector, end)?;
        }
        members |= 1 << sector;
        let pin = match self.index.get(PIN) {
            Some(e) if e.header.deleted() => Place::NONE,
            Some(e) => e.place,
            None => self.pin,
        };
        let mut header = SectorHeader {
            generation,
            members,
            base_seq: self.next_seq,
            copies_end: end,
            pin,
            lost: self.damaged_before,
            ..SectorHeader::BLANK
        };
        let base_seq = self.next_seq;
        let bytes = header.encode::<C>(io.keys);
        let at = sector * self.shape.sector;
        self.program_padded(io, at, &bytes)?;
        let mut at = at + self.shape.first - 2 * self.shape.word;
        for word in header.words() {
            self.program_padded(io, at, word)?;
            at += self.shape.word;
        }

        // Committed.
        for (s, t) in self.table.iter_mut().enumerate() {
            if *t != BAD {
                *t = (*t & (GENERATION | STRANGE)) | ((members >> s & 1) * IN);
            }
        }
        self.set(sector, generation | IN);
        self.head = Some(Head {
            sector,
            end,
            writable: true,
            firm: true,
            base_seq,
        });
        self.pin = pin;
        self.doubt = None;
        self.torn = false;
        self.suspect = None;
        self.sweep = self.sweep.saturating_sub(1);
        Ok(())
    }

    /// Programs `bytes`, padded to the unit, and reads them back.
    fn program_padded<R: Region, G, C>(
        &self,
        io: &mut Io<'_, R, G, C>,
        at: u32,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let size = padded(bytes.len() as u32, self.shape.unit) as usize;
        let buf = io.scratch.get_mut(..size).ok_or(Error::TooLong)?;
        buf.fill(0xFF);
        copy(buf, bytes);
        program(io.region, at, buf)
    }

    /// The member to empty: the one with the fewest bytes to move, or the
    /// oldest.
    fn least_to_move(&self, members: u32, oldest: bool) -> Option<u32> {
        self.least(members, &|s| {
            let bytes = match oldest {
                true => 0,
                false => self.index.bytes_in(1 << s),
            };
            u64::from(bytes) << 32 | u64::from(self.generation(s))
        })
    }

    /// Moves all that counts from the sector `from`, which is no member any
    /// more, to `to` at `end`; returns the new end.
    fn empty<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        from: u32,
        members: u32,
        to: u32,
        mut end: u32,
    ) -> Result<u32, Error> {
        let age = self.generation(from);
        let oldest = self.least(members, &|s| self.generation(s).into());
        let older = oldest.is_some_and(|s| self.generation(s) <= age);
        if age != 0 && !older {
            // No older version of what is deleted here stands anywhere else.
            self.index
                .drop_if(&|e| e.header.deleted() && e.place.sector() == from);
        }
        let careful = self.head.is_some_and(|h| h.sector == from && !h.firm);
        let mut i = 0;
        while let Some(&e) = self.index.nth(i) {
            if e.place.sector() == from {
                let careful = careful || self.doubt.is_some_and(|d| d.key() == e.key());
                self.copy(io, &e, careful, to, end)?;
                self.index.place(i, Place::new(to, end));
                end += e.size(self.shape.unit);
            }
            i += 1;
        }
        Ok(end)
    }

    /// Copies one record to `to` at `end`: verbatim, so that a rotten one stays
    /// what it is. With `careful`, what is written is what was authenticated:
    /// opened, and sealed again with the same nonce, which gives the same
    /// bytes. Cells in doubt may read differently each time.
    fn copy<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        e: &Entry,
        careful: bool,
        to: u32,
        end: u32,
    ) -> Result<(), Error> {
        let size = e.size(self.shape.unit);
        if end + size > self.shape.sector {
            return Err(Error::Full);
        }
        let len = e.header.size() as usize;
        let buf = io.scratch.get_mut(..size as usize).ok_or(Error::TooLong)?;
        for _ in 0..DOUBT_READS {
            buf.fill(0xFF);
            let record = buf.get_mut(..len).unwrap_or_default();
            let read = io.region.read(self.shape.at(e.place), record).is_ok();
            if careful && !(read && reseal::<C>(record, io.keys, &e.header).is_ok()) {
                continue;
            }
            if !read {
                record.fill(0);
            }
            // A record with rotten check bits, or one that cannot be read at
            // all, keeps its place under a mended header: its tag still tells.
            copy(record, &e.header.encode());
            return program(io.region, to * self.shape.sector + end, buf);
        }
        // It reads well no more: at the next mount it does not count.
        Err(Error::Corrupt)
    }
}

/// Programs and reads back.
fn program<R: Region>(region: &mut R, at: u32, bytes: &[u8]) -> Result<(), Error> {
    region.program(at, bytes).map_err(|_e| Error::Hardware)?;
    match reads_back(region, at, bytes) {
        true => Ok(()),
        false => Err(Error::WornOut),
    }
}
