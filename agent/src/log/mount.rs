//! What a boot reads: generations, the head, then the other members.
//!
//! # Which sector is the head
//!
//! A sector is opened by three programs, each read back before the next: header,
//! first commit word, second. It is served only after all three. So of the three
//! the last that reads well may be what a cut left, and read otherwise tomorrow;
//! those before it read well at every boot. The head is the sector of the
//! highest generation that shows
//!
//! - both words, or a record of its own: *firm*. It may have been served, and
//!   will be found at every boot. Where nothing follows the second word, a later
//!   boot may find only the first;
//! - the first word alone, and every copy authentic (else its erase has begun):
//!   an *edge*. It may be a firm one whose second word reads no more, or one that
//!   was never served. A successor takes over all it holds before anything is
//!   served.
//!
//! With the header alone nothing was ever done in its name.
//!
//! A head with nothing after its words might yet prove to be none. So until this
//! boot has completed one of its own, the members of the firm head below it are
//! kept as well: they hold the same records.
//!
//! A sector that holds something but has no authentic header may be one whose
//! erase was cut, and read well again tomorrow, with a generation above those
//! given in the meantime. It is erased before a new head is written.
//!
//! # Which record is in doubt
//!
//! The last one of the head, when only blank cells follow: it reads well now,
//! but nothing shows that it always will.

use super::format::{
    NONCE, Place, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, SectorHeader, TAG, Words, is_blank,
    padded,
};
use super::index::Entry;
use super::open::{BAD, EDGE, GENERATION, IN, KEPT, STRANGE};
use super::record::reads_back;
use super::{Head, Io, Log, PIN};
use crate::error::Error;
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;

/// One record found by a scan.
#[derive(Debug, Clone, Copy)]
struct Found {
    header: RecordHeader,
    offset: u32,
    end: u32,
}

/// How much of a sector's opening reads well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Edge,
    Firm {
        /// Something follows the second commit word.
        followed: bool,
    },
}

/// How often the first commit word of an edge must read well: a cell that a cut
/// left half-way may pass once.
const EDGE_READS: u32 = 8;

impl Log<'_> {
    /// Finds the head and reads it. The other members are read by
    /// [`Log::step`], one a call. Safe to call again.
    pub fn mount<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Result<(), Error> {
        let wanted = self.wanted;
        self.unmount();
        self.wanted = wanted;
        self.read_claims(io)?;
        let mut below = (GENERATION, 0);
        while let Some((claim, sector)) = self.highest_claim(below) {
            below = (claim, sector);
            let header = self.read_header(io, sector);
            let Some((header, words)) = header.filter(|(h, _)| h.generation == claim) else {
                self.set(sector, STRANGE);
                continue;
            };
            self.next_generation = self.next_generation.max(claim + 1);
            let Some(rank) = self.rank(io, sector, &header, &words) else {
                continue;
            };
            match (self.head, rank) {
                (None, _) if !self.read_head(io, sector, &header, rank)? => {}
                (None, Rank::Firm { followed: true }) => break,
                (None, _) => {}
                (Some(_), Rank::Edge) => self.flag(1 << sector, EDGE),
                (Some(_), Rank::Firm { .. }) => {
                    self.flag(header.members, KEPT);
                    break;
                }
            }
        }
        if let Some(h) = self.head {
            for s in 0..self.shape.sectors {
                let flags = self.table.get(s as usize).map_or(0, |t| t & (IN | STRANGE));
                if flags == STRANGE {
                    self.look_for_newer(io, s);
                }
            }
            self.unread = self.members() & !(1 << h.sector);
        }
        self.mounted = true;
        Ok(())
    }

    /// Reads what each sector claims to be.
    fn read_claims<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Result<(), Error> {
        for s in 0..self.shape.sectors {
            let mut buf = [0u8; super::SECTOR_HEADER];
            let claim = match io.region.read(s * self.shape.sector, &mut buf) {
                Err(e) if e.kind() != ErrorKind::Ecc => return Err(Error::Hardware),
                Ok(()) if is_blank(&buf) => continue,
                Ok(()) => SectorHeader::claim(&buf).map_or(STRANGE, |h| h.generation),
                Err(_) => STRANGE,
            };
            self.set(s, claim.min(STRANGE));
        }
        Ok(())
    }

    /// The highest claim below one, and the sector that makes it.
    fn highest_claim(&self, below: (u32, u32)) -> Option<(u32, u32)> {
        (0u32..)
            .zip(self.table.iter())
            .filter(|(_, t)| **t != BAD)
            .map(|(s, t)| (t & GENERATION, s))
            .filter(|&claim| claim.0 != 0 && claim < below)
            .max()
    }

    /// A sector whose header is unreadable, and no member: if it holds a second
    /// record that is newer than all that the head knows, it was the head, and
    /// whatever it held may have replaced anything. One such record alone may
    /// be what a cut opening left.
    fn look_for_newer<R: Region, G, C: Crypto>(&mut self, io: &mut Io<'_, R, G, C>, sector: u32) {
        let mut at = self.resync(io, sector, self.shape.first());
        while let Some(f) = self.record_at(io, sector, at) {
            if f.header.seq > self.next_seq {
                self.next_seq = f.header.seq.saturating_add(1);
                self.damaged_before = self.next_seq;
            }
            at = self.resync(io, sector, f.end);
        }
    }

    /// Sets a sector's entry, unless it was found bad.
    pub(crate) fn set(&mut self, sector: u32, value: u32) {
        if let Some(t) = self.table.get_mut(sector as usize).filter(|t| **t != BAD) {
            *t = value;
        }
    }

    fn flag(&mut self, members: u32, flag: u32) {
        for (s, t) in self.table.iter_mut().enumerate() {
            if members >> s & 1 == 1 && *t != BAD {
                *t |= flag;
            }
        }
    }

    /// Reads and authenticates the header of `sector`; also gives the commit words
    /// that belong to it.
    pub(crate) fn read_header<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
    ) -> Option<(SectorHeader, Words)> {
        let mut buf = [0u8; super::SECTOR_HEADER];
        io.region.read(sector * self.shape.sector, &mut buf).ok()?;
        SectorHeader::open::<C>(&buf, io.keys).filter(|(h, _)| {
            h.copies_end >= self.shape.first() && h.copies_end <= self.shape.sector
        })
    }

    fn rank<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        header: &SectorHeader,
        words: &Words,
    ) -> Option<Rank> {
        let [first, second] = self.shape.commit();
        let [first_word, second_word] = words;
        let at = sector * self.shape.sector;
        let own = header.copies_end;
        let followed = !self.blank_at(io, sector, own);
        let read_well = reads_back(io.region, at + second, second_word);
        if read_well || (followed && self.resync(io, sector, own) < self.shape.sector) {
            return Some(Rank::Firm { followed });
        }
        (0..EDGE_READS)
            .all(|_| reads_back(io.region, at + first, first_word))
            .then_some(Rank::Edge)
    }

    /// The head: records until the first that is blank or torn. False when the
    /// sector is an edge that does not count.
    fn read_head<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        header: &SectorHeader,
        rank: Rank,
    ) -> Result<bool, Error> {
        self.next_seq = header.base_seq;
        self.damaged_before = header.lost;
        let firm = rank != Rank::Edge;
        let mut last: Option<Found> = None;
        let mut at = self.shape.first();
        // Of an edge everything that it commits must be there and authentic.
        let limit = match firm {
            true => self.shape.sector,
            false => header.copies_end,
        };
        while at < limit
            && let Some(next) = self.past(io, sector, at)
        {
            if !firm && !next.is_ok_and(|f| self.authentic(io, sector, &f)) {
                break;
            }
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
        if !firm && at != limit {
            self.index.clear();
            return Ok(false);
        }
        let mut end = last.map_or(at, |f| f.end);
        if let Some(f) = last {
            let copied = f.end <= header.copies_end;
            if copied || self.authentic(io, sector, &f) {
                self.apply(io, sector, &f)?;
                if !copied && !self.torn && !self.forgotten(io, &f.header) {
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
        self.pin = header.pin;
        self.flag(header.members, IN);
        self.head = Some(Head {
            sector,
            end,
            writable: false,
            firm,
            base_seq: header.base_seq,
        });
        Ok(true)
    }

    /// Reads one more member into the index.
    pub(crate) fn read_member<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
    ) -> Result<(), Error> {
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
        self.unread &= !(1 << sector);
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
            .map(|(h, _)| h.base_seq)
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
        if at + RECORD_OVERHEAD as u32 > self.shape.sector {
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
        let f = RecordHeader::parse_mended(&buf).and_then(found)?;
        (f.header.encode() == buf || self.sealed(io, sector, &f)).then_some(f)
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
        io.region.read(at, record).is_ok()
            && super::record::open::<C>(record, io.keys, &f.header).is_ok()
    }

    fn forgotten<R, G, C>(&self, io: &Io<'_, R, G, C>, h: &RecordHeader) -> bool {
        io.salt_generation(h.key.class) != h.salt_generation
    }

    fn apply<R, G, C>(
        &mut self,
        io: &Io<'_, R, G, C>,
        sector: u32,
        f: &Found,
    ) -> Result<(), Error> {
        self.next_seq = self.next_seq.max(f.header.seq.saturating_add(1));
        match self.forgotten(io, &f.header) || self.index.set(entry(sector, f)) {
            true => Ok(()),
            false => Err(Error::Full),
        }
    }

    /// The first offset from `at` where an authentic record stands, its header
    /// without a fault, or the sector's end.
    fn resync<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        mut at: u32,
    ) -> u32 {
        let mut buf = [0u8; RECORD_HEADER];
        while at + RECORD_OVERHEAD as u32 <= self.shape.sector {
            let start = sector * self.shape.sector + at;
            if io.region.read(start, &mut buf).is_ok()
                && RecordHeader::parse(&buf).is_some()
                && let Some(f) = self.record_at(io, sector, at)
                && self.sealed(io, sector, &f)
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
