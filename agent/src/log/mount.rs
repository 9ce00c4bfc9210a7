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

use super::format::{Place, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, SectorHeader, is_blank};
use super::index::Entry;
use super::open::{BAD, GENERATION, IN, KEPT, STRANGE};
use super::record::reads_back;
use super::{Head, Io, Log, PIN};
use crate::error::Error;
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;

/// What stands at a place where a record may begin.
enum Found {
    /// Blank cells, or the sector's end.
    Nothing,
    /// A record.
    Record,
    /// Something unreadable; where to go on after it.
    Torn(u32),
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
        let mut left = self.sectors_with(0, 0);
        // From the highest claim down.
        let height = |log: &Self, s| u64::from(log.generation(s)) << 32 | u64::from(s);
        while let Some(sector) = self.least(left, &|s| !height(self, s)) {
            left &= !(1 << sector);
            let claim = self.generation(sector);
            if claim == 0 {
                break;
            }
            let mut header = SectorHeader::BLANK;
            if !self.read_header(io, sector, &mut header) || header.generation != claim {
                self.set(sector, STRANGE);
                continue;
            }
            self.next_generation = self.next_generation.max(claim + 1);
            let Some(rank) = self.rank(io, sector, &header) else {
                continue;
            };
            match (self.head, rank) {
                (None, _) if !self.read_head(io, sector, &header, rank)? => {}
                (None, Rank::Firm { followed: true }) => break,
                // Going round from the head, an edge below it is opened last.
                (None, _) | (Some(_), Rank::Edge) => {}
                (Some(_), Rank::Firm { .. }) => {
                    self.flag(header.members, KEPT);
                    break;
                }
            }
        }
        if let Some(h) = self.head {
            let mut strange = self.sectors_with(IN | STRANGE, STRANGE);
            while strange != 0 {
                self.look_for_newer(io, strange.trailing_zeros());
                strange &= strange - 1;
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
            let mut header = SectorHeader::BLANK;
            let claim = match io.region.read(s * self.shape.sector, &mut buf) {
                Err(e) if e.kind() != ErrorKind::Ecc => return Err(Error::Hardware),
                Ok(()) if is_blank(&buf) => continue,
                Ok(()) if header.claim(&mut buf) => header.generation.min(STRANGE),
                _ => STRANGE,
            };
            self.set(s, claim);
        }
        Ok(())
    }

    /// A sector whose header is unreadable, and no member: if it holds a second
    /// record that is newer than all that the head knows, it was the head, and
    /// whatever it held may have replaced anything. One such record alone may
    /// be what a cut opening left.
    fn look_for_newer<R: Region, G, C: Crypto>(&mut self, io: &mut Io<'_, R, G, C>, sector: u32) {
        let mut f = Entry::default();
        let mut at = self.resync(io, sector, self.shape.first);
        while self.record_at(io, sector, at, &mut f) {
            if f.header.seq > self.next_seq {
                self.next_seq = f.header.seq.saturating_add(1);
                self.damaged_before = self.next_seq;
            }
            at = self.resync(io, sector, self.end(&f));
        }
    }

    /// Sets a sector's entry, unless it was found bad.
    #[inline(never)]
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

    /// Reads and authenticates the header of `sector`; false when it has none.
    pub(crate) fn read_header<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        header: &mut SectorHeader,
    ) -> bool {
        let mut buf = [0u8; super::SECTOR_HEADER];
        io.region.read(sector * self.shape.sector, &mut buf).is_ok()
            && header.open::<C>(&mut buf, io.keys)
            && (self.shape.first..=self.shape.sector).contains(&header.copies_end)
    }

    fn rank<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        header: &SectorHeader,
    ) -> Option<Rank> {
        let [first_word, second_word] = header.words() else {
            return None;
        };
        let at = sector * self.shape.sector + self.shape.first;
        let own = header.copies_end;
        let followed = !self.blank_at(io, sector, own);
        let read_well = reads_back(io.region, at - self.shape.word, second_word);
        if read_well || (followed && self.resync(io, sector, own) < self.shape.sector) {
            return Some(Rank::Firm { followed });
        }
        (0..EDGE_READS)
            .all(|_| reads_back(io.region, at - 2 * self.shape.word, first_word))
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
        let mut last: Option<Entry> = None;
        let mut at = self.shape.first;
        // Of an edge everything that it commits must be there and authentic.
        let limit = match firm {
            true => self.shape.sector,
            false => header.copies_end,
        };
        while at < limit {
            let mut f = Entry::default();
            match self.past(io, sector, at, &mut f) {
                Found::Record if firm || self.authentic(io, &f) => {
                    if let Some(done) = &last {
                        self.apply(io, done)?;
                    }
                    at = self.end(&f);
                    last = Some(f);
                }
                Found::Torn(next) if firm => {
                    self.torn = next >= self.shape.sector;
                    if !self.torn || at < header.copies_end {
                        // Records follow the unreadable one: rot, not a cut.
                        self.damaged_before = u32::MAX;
                    }
                    at = next;
                }
                _ => break,
            }
        }
        if !firm && at != limit {
            self.index.clear();
            return Ok(false);
        }
        let mut end = at;
        if let Some(f) = &last {
            end = self.end(f);
            let copied = end <= header.copies_end;
            if copied || self.authentic(io, f) {
                self.apply(io, f)?;
                if !copied && !self.torn && !self.forgotten(io, f) {
                    self.doubt = last;
                }
            } else {
                end = f.place.offset();
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
        let mut at = self.shape.first;
        loop {
            let mut f = Entry::default();
            at = match self.past(io, sector, at, &mut f) {
                Found::Nothing => break,
                Found::Record if known || self.authentic(io, &f) => {
                    self.apply(io, &f)?;
                    self.end(&f)
                }
                // Something stood here and is unreadable: whose, we cannot
                // know, so nothing older is served.
                Found::Record => {
                    self.damage(io, sector);
                    at + self.shape.unit
                }
                Found::Torn(next) => {
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
        let above = |s| u64::from(self.generation(s).wrapping_sub(generation + 1));
        let next = self.least(self.members(), &above);
        let mut header = SectorHeader::BLANK;
        let bound = match (next, self.head) {
            (Some(s), _)
                if generation != 0
                    && self.generation(s) > generation
                    && self.read_header(io, s, &mut header) =>
            {
                header.base_seq
            }
            (_, Some(h)) => h.base_seq,
            (_, None) => u32::MAX,
        };
        self.damaged_before = self.damaged_before.max(bound);
    }

    /// The pinned record, where the head's header says it lay.
    pub(crate) fn pinned<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
    ) -> Option<Entry> {
        let sector = self.pin.sector();
        let mut f = Entry::default();
        let there = self.record_at(io, sector, self.pin.offset(), &mut f)
            && self.unread >> (sector & 31) & 1 == 1;
        (there && f.key() == PIN && !f.header.deleted()).then_some(f)
    }

    #[inline(never)]
    pub(crate) fn generation(&self, sector: u32) -> u32 {
        let entry = self.table.get(sector as usize).copied();
        entry.unwrap_or_default() & GENERATION
    }

    /// Where a record ends in its sector.
    fn end(&self, e: &Entry) -> u32 {
        e.place.offset() + e.size(self.shape.unit)
    }

    /// What stands at `at`, a record in `f`.
    fn past<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        at: u32,
        f: &mut Entry,
    ) -> Found {
        if at >= self.shape.sector || self.blank_at(io, sector, at) {
            return Found::Nothing;
        }
        match self.record_at(io, sector, at, f) {
            true => Found::Record,
            false => Found::Torn(self.resync(io, sector, at)),
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

    /// True when a record's header stands at `at` and it fits: puts it into `f`.
    fn record_at<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        at: u32,
        f: &mut Entry,
    ) -> bool {
        let mut buf = [0u8; RECORD_HEADER];
        f.place = Place::new(sector, at);
        if at + RECORD_OVERHEAD as u32 > self.shape.sector
            || io.region.read(self.shape.at(f.place), &mut buf).is_err()
        {
            return false;
        }
        let Some(mended) = f.header.parse_mended(&mut buf) else {
            return false;
        };
        self.end(f) <= self.shape.sector && (!mended || self.sealed(io, f))
    }

    /// True when the record's tag verifies. Records of a forgotten salt count
    /// as authentic: nobody can tell any more.
    fn authentic<R: Region, G, C: Crypto>(&self, io: &mut Io<'_, R, G, C>, f: &Entry) -> bool {
        self.forgotten(io, f) || self.sealed(io, f)
    }

    /// True when the record's tag verifies under a key that is still there.
    fn sealed<R: Region, G, C: Crypto>(&self, io: &mut Io<'_, R, G, C>, f: &Entry) -> bool {
        if self.forgotten(io, f) {
            return false;
        }
        let Some(record) = io.scratch.get_mut(..f.header.size() as usize) else {
            return false;
        };
        io.region.read(self.shape.at(f.place), record).is_ok()
            && super::record::open::<C>(record, io.keys, &f.header).is_ok()
    }

    /// True for a record of a salt that is no more.
    fn forgotten<R, G, C>(&self, io: &Io<'_, R, G, C>, f: &Entry) -> bool {
        io.salt_generation(f.key().class) != f.header.salt_generation
    }

    fn apply<R, G, C>(&mut self, io: &Io<'_, R, G, C>, f: &Entry) -> Result<(), Error> {
        self.next_seq = self.next_seq.max(f.header.seq.saturating_add(1));
        match self.forgotten(io, f) || self.index.set(f) {
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
        let mut f = Entry::default();
        while at + RECORD_OVERHEAD as u32 <= self.shape.sector {
            let start = sector * self.shape.sector + at;
            if io.region.read(start, &mut buf).is_ok()
                && RecordHeader::is_faultless(&buf)
                && self.record_at(io, sector, at, &mut f)
                && self.sealed(io, &f)
            {
                return at;
            }
            at += self.shape.unit;
        }
        self.shape.sector
    }
}
