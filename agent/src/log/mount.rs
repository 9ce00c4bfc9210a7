//! What a boot reads: generations, the head, then the other members.
//!
//! # Which sector is the head
//!
//! The authentic header of the highest generation, if it counts. What stands
//! after its copies tells:
//!
//! - *nothing*: whether the header itself was completed is not known, and
//!   nothing was ever done in its name. It does not count.
//! - *an authentic record*: the header was completed before. It counts, and will
//!   at every boot: a record that reads well once never reads blank.
//! - *anything else*: the header was completed, but what shows it may be a few
//!   cells that read blank tomorrow. It counts if every copy that it commits is
//!   authentic (else an erase has begun here), and before anything is served a
//!   successor takes over all it holds. Until then the sectors of the next head
//!   below are kept too.
//!
//! # Which record is in doubt
//!
//! The last one of the head, when only blank cells follow: it reads well now,
//! but nothing shows that it always will.

use super::format::{
    CLAIM, NONCE, Place, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, SectorHeader, TAG, is_blank,
    padded,
};
use super::index::Entry;
use super::open::{BAD, GENERATION, IN, KEPT};
use super::record::NO_KEY;
use super::{Head, Io, Log, LogError, PIN};
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;

/// One record found by a scan.
#[derive(Debug, Clone, Copy)]
struct Found {
    header: RecordHeader,
    offset: u32,
    end: u32,
}

/// What follows a header's copies.
enum Follows {
    Nothing,
    Record,
    Something,
}

impl Log<'_> {
    /// Finds the head and reads it. The other members are read by
    /// [`Log::step`], one a call. Safe to call again.
    pub fn mount<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Result<(), LogError> {
        let wanted = self.wanted;
        self.unmount();
        self.wanted = wanted;
        self.read_claims(io)?;
        let mut found: Option<(u32, SectorHeader, bool)> = None;
        loop {
            // The highest claim that was not looked at yet.
            let besides = found.map(|(s, ..)| s);
            let highest = (0u32..)
                .zip(self.table.iter())
                .filter(|(s, t)| **t != 0 && **t != BAD && Some(*s) != besides)
                .max_by_key(|(_, t)| **t);
            let Some((sector, claim)) = highest.map(|(s, t)| (s, *t)) else {
                break;
            };
            let header = self
                .read_header(io, sector)
                .filter(|h| h.generation == claim);
            let Some(header) = header else {
                self.set(sector, 0);
                continue;
            };
            self.next_generation = self.next_generation.max(claim + 1);
            match (self.follows(io, sector, &header), found) {
                (Follows::Record, None) => {
                    found = Some((sector, header, true));
                    break;
                }
                (Follows::Something, None) if self.is_whole(io, sector, &header) => {
                    found = Some((sector, header, false));
                }
                (Follows::Record, Some(_)) => {
                    self.flag(header.members, KEPT);
                    break;
                }
                _ => self.set(sector, 0),
            }
        }
        if let Some((sector, header, firm)) = found {
            self.flag(header.members, IN);
            self.unread = header.members & !(1u64 << sector);
            self.pin = header.pin;
            self.read_head(io, sector, &header, firm)?;
        }
        self.mounted = true;
        Ok(())
    }

    fn read_claims<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Result<(), LogError> {
        for s in 0..self.shape.sectors {
            let mut buf = [0u8; CLAIM];
            match io.region.read(s * self.shape.sector, &mut buf) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Ecc => continue,
                Err(e) => return Err(LogError::Flash(e.kind())),
            }
            let claim = SectorHeader::claim(&buf);
            if claim < GENERATION {
                self.set(s, claim);
            }
        }
        Ok(())
    }

    /// Sets a sector's entry, unless it was found bad.
    fn set(&mut self, sector: u32, value: u32) {
        if let Some(t) = self.table.get_mut(sector as usize).filter(|t| **t != BAD) {
            *t = value;
        }
    }

    fn flag(&mut self, members: u64, flag: u32) {
        for (s, t) in self.table.iter_mut().enumerate() {
            if members >> s & 1 == 1 && *t != BAD {
                *t |= flag;
            }
        }
    }

    /// Reads and authenticates the header of `sector`.
    pub(crate) fn read_header<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
    ) -> Option<SectorHeader> {
        let mut buf = [0u8; super::SECTOR_HEADER];
        io.region.read(sector * self.shape.sector, &mut buf).ok()?;
        SectorHeader::open::<C>(&buf, io.keys)
            .filter(|h| h.copies_end >= self.shape.first() && h.copies_end <= self.shape.sector)
    }

    fn follows<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        header: &SectorHeader,
    ) -> Follows {
        if self.blank_at(io, sector, header.copies_end) {
            return Follows::Nothing;
        }
        let first = self.record_at(io, sector, header.copies_end);
        let good = first.is_some_and(|f| self.authentic(io, sector, &f));
        match good || self.resync(io, sector, header.copies_end) < self.shape.sector {
            true => Follows::Record,
            false => Follows::Something,
        }
    }

    /// True when every copy that the header commits is there and authentic.
    fn is_whole<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        header: &SectorHeader,
    ) -> bool {
        let mut at = self.shape.first();
        while at < header.copies_end {
            match self.record_at(io, sector, at) {
                Some(f) if self.authentic(io, sector, &f) => at = f.end,
                _ => return false,
            }
        }
        at == header.copies_end
    }

    /// The head: records until the first that is blank or torn.
    fn read_head<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        header: &SectorHeader,
        firm: bool,
    ) -> Result<(), LogError> {
        self.next_seq = header.base_seq;
        let mut last: Option<Found> = None;
        let mut at = self.shape.first();
        while let Some(next) = self.past(io, sector, at) {
            match next {
                Ok(f) => {
                    if let Some(done) = last.replace(f) {
                        self.apply(io, sector, &done)?;
                    }
                    at = f.end;
                }
                Err(next) => {
                    self.torn = next >= self.shape.sector;
                    if !self.torn || at < header.copies_end {
                        // Records follow the unreadable one: rot, not a cut.
                        self.damaged_before = u32::MAX;
                    }
                    at = next;
                }
            }
        }
        let mut end = last.map_or(self.shape.first(), |f| f.end);
        if let Some(f) = last {
            let copied = f.end <= header.copies_end;
            if copied || self.authentic(io, sector, &f) {
                self.apply(io, sector, &f)?;
                let says = f.header.key != NO_KEY && !self.forgotten(io, &f.header);
                if says && !copied && !self.torn {
                    self.doubt = Some(entry(sector, &f));
                }
            } else {
                end = f.offset;
                self.torn = true;
            }
        }
        if self.damaged_before == u32::MAX {
            self.damaged_before = self.next_seq;
        }
        self.torn |= !firm;
        self.head = Some(Head {
            sector,
            end,
            writable: false,
            firm,
            base_seq: header.base_seq,
        });
        Ok(())
    }

    /// Reads one more member into the index.
    pub(crate) fn read_member<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
    ) -> Result<(), LogError> {
        // Without a generation that reads, every record must show by itself
        // that it belongs here.
        let known = self.generation(sector) != 0;
        let mut at = self.shape.first();
        while let Some(next) = self.past(io, sector, at) {
            at = match next {
                Ok(f) if known || self.authentic(io, sector, &f) => {
                    self.apply(io, sector, &f)?;
                    f.end
                }
                // Something stood here and is unreadable: whose, we cannot
                // know, so nothing older is served.
                Ok(f) => {
                    self.damage(io, sector);
                    f.offset + self.shape.unit
                }
                Err(next) => {
                    self.damage(io, sector);
                    next
                }
            };
        }
        self.unread &= !(1u64 << sector);
        Ok(())
    }

    /// What was lost in `sector` was written before the next one was opened.
    fn damage<R: Region, G, C: Crypto>(&mut self, io: &mut Io<'_, R, G, C>, sector: u32) {
        let generation = self.generation(sector);
        let next = (0u32..)
            .zip(self.table.iter())
            .filter(|(_, t)| **t & IN != 0 && **t & GENERATION > generation)
            .min_by_key(|(_, t)| **t & GENERATION);
        let bound = next
            .filter(|_| generation != 0)
            .and_then(|(s, _)| self.read_header(io, s))
            .map(|h| h.base_seq)
            .or(self.head.map(|h| h.base_seq))
            .unwrap_or(u32::MAX);
        self.damaged_before = self.damaged_before.max(bound);
    }

    /// The pinned record, where the head's header says it lay.
    pub(crate) fn pinned<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
    ) -> Option<Entry> {
        let sector = self.pin.sector();
        let f = self.record_at(io, sector, self.pin.offset())?;
        (self.unread >> sector & 1 == 1 && f.header.key == PIN && !f.header.deleted)
            .then(|| entry(sector, &f))
    }

    pub(crate) fn generation(&self, sector: u32) -> u32 {
        self.table
            .get(sector as usize)
            .map_or(0, |t| t & GENERATION)
    }

    /// What stands at `at`: `None` for blank cells and at the end, else a
    /// record, or where to go on after something unreadable.
    #[allow(clippy::type_complexity)]
    fn past<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        at: u32,
    ) -> Option<Result<Found, u32>> {
        if at >= self.shape.sector || self.blank_at(io, sector, at) {
            return None;
        }
        match self.record_at(io, sector, at) {
            Some(f) => Some(Ok(f)),
            None => Some(Err(self.resync(io, sector, at))),
        }
    }

    fn blank_at<R: Region, G, C>(&self, io: &mut Io<'_, R, G, C>, sector: u32, at: u32) -> bool {
        let mut buf = [0u8; RECORD_HEADER];
        let n = self.shape.sector.saturating_sub(at) as usize;
        let Some(buf) = buf.get_mut(..n.min(RECORD_HEADER)) else {
            return false;
        };
        io.region.read(sector * self.shape.sector + at, buf).is_ok() && is_blank(buf)
    }

    /// The record whose header stands at `at`, if one does and it fits.
    fn record_at<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        at: u32,
    ) -> Option<Found> {
        if at.checked_add(RECORD_OVERHEAD as u32)? > self.shape.sector {
            return None;
        }
        let mut buf = [0u8; RECORD_HEADER];
        io.region
            .read(sector * self.shape.sector + at, &mut buf)
            .ok()?;
        let found = |header: RecordHeader| {
            let end = at + padded(header.size(), self.shape.unit);
            (end <= self.shape.sector).then_some(Found {
                header,
                offset: at,
                end,
            })
        };
        if is_blank(&buf) {
            return None;
        }
        match RecordHeader::parse(&buf) {
            Some(h) => found(h),
            None => RecordHeader::parse_mended(&buf)
                .and_then(found)
                .filter(|f| self.sealed(io, sector, f)),
        }
    }

    /// True when the record's tag verifies. Records of a forgotten salt count
    /// as authentic: nobody can tell any more.
    fn authentic<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        f: &Found,
    ) -> bool {
        self.forgotten(io, &f.header) || self.sealed(io, sector, f)
    }

    /// True when the record's tag verifies under a key that is still there.
    fn sealed<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        f: &Found,
    ) -> bool {
        if self.forgotten(io, &f.header) {
            return false;
        }
        let len = NONCE + TAG + RECORD_HEADER + usize::from(f.header.len);
        let Some(record) = io.scratch.get_mut(..len) else {
            return false;
        };
        let at = sector * self.shape.sector + f.offset;
        let ok = io.region.read(at, record).is_ok()
            && super::record::open::<C>(record, io.keys, &f.header).is_ok();
        zeroize::Zeroize::zeroize(record);
        ok
    }

    fn forgotten<R, G, C>(&self, io: &Io<'_, R, G, C>, h: &RecordHeader) -> bool {
        io.keys
            .classes
            .get(usize::from(h.key.class))
            .is_none_or(|c| c.salt_generation != h.salt_generation)
    }

    fn apply<R, G, C>(
        &mut self,
        io: &Io<'_, R, G, C>,
        sector: u32,
        f: &Found,
    ) -> Result<(), LogError> {
        self.next_seq = self.next_seq.max(f.header.seq.saturating_add(1));
        let counts = f.header.key != NO_KEY && !self.forgotten(io, &f.header);
        match !counts || self.index.set(entry(sector, f)) {
            true => Ok(()),
            false => Err(LogError::Full),
        }
    }

    /// The next offset after `at` where an authentic record stands, or the
    /// sector's end.
    fn resync<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        at: u32,
    ) -> u32 {
        let mut at = at + self.shape.unit;
        while at < self.shape.sector {
            if self
                .record_at(io, sector, at)
                .is_some_and(|f| self.sealed(io, sector, &f))
            {
                return at;
            }
            at += self.shape.unit;
        }
        self.shape.sector
    }
}

fn entry(sector: u32, f: &Found) -> Entry {
    Entry {
        key: f.header.key,
        len: f.header.len,
        deleted: f.header.deleted,
        place: Place::new(sector, f.offset),
        seq: f.header.seq,
    }
}
