//! Opening a sector: the one way a log gains room.
//!
//! # Which sector
//!
//! The sector table holds each sector's generation and two flags: `IN`, its
//! records count (it is in the chain of the head), and `OLD`, they counted for
//! the head before. Only a sector with neither flag is erased. So when the cut
//! leaves the new header in doubt, the data of both answers is intact: if the
//! header counts, the chain `IN` is whole; if not, the chain of the former
//! head is. A sector released by one opening is erased at the next but one,
//! when the header that released it has a successor.
//!
//! # In what order
//!
//! 1. Erase and read back.
//! 2. Copy, verbatim, the live records of the oldest sector where the limit
//!    asks for it; at boot also the record in doubt, or the whole former head
//!    when little in it is alive (then the new sector takes its place).
//! 3. Program the header and read it back.
//!
//! When the oldest sector and the record in doubt do not fit into one sector
//! together, the latter goes alone and the chain is one sector longer than its
//! limit; then the openings go on, oldest sector by oldest sector, until two
//! fit into one. That is when the former head's turn comes at the latest, since
//! it held the record itself. Nothing else is written before.
//!
//! A head without any record of its own after its copies is *dropped* at boot:
//! the former head counts again, and nothing is lost, since copies have
//! originals. A head that decides, because it carries a record which was in
//! doubt or refuses one that was torn, is not dropped; found at boot as the last
//! thing written, its decision is made again in another sector before anything
//! is served.
//! One that is to get a successor without having got a record is given a
//! *mark* first, a delete marker of no key: so two are never dropped in a row.

use super::format::{CARRIES, RECORD_OVERHEAD, REFUSES, RecordHeader, SectorHeader, padded};
use super::index::Entry;
use super::record::{reads_back, reads_blank};
use super::{Doubt, Head, Io, Log, LogError, Progress};
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;

/// In the chain of the head.
pub(crate) const IN: u32 = 1 << 31;
/// In the chain of the former head.
pub(crate) const OLD: u32 = 1 << 30;
/// Dropped at this boot: erased only when nothing else is free, since a torn
/// header of an earlier boot may still link to it.
pub(crate) const SPARE: u32 = 1 << 29;
/// The generation.
pub(crate) const GENERATION: u32 = SPARE - 1;
/// How often a record in doubt is read for a reading that authenticates.
const DOUBT_READS: u32 = 32;
/// Would not erase since boot.
pub(crate) const BAD: u32 = GENERATION;

/// A sector being opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    sector: u32,
    erased: bool,
    /// Erase attempts that failed so far.
    tries: u8,
}

impl Log<'_> {
    /// Does one bounded piece of pending work: the erase of one sector, or one
    /// sector's copy with its header.
    pub fn step<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Result<Progress, LogError> {
        if !self.mounted {
            self.mount(io)?;
            return Ok(Progress::Working);
        }
        match self.opening {
            None if self.must_open() => {
                if let Some(h) = self.head.filter(|h| h.droppable && h.copies_only) {
                    // It must stay the head whatever becomes of its successor.
                    if h.writable {
                        self.mark_head(io, h)?;
                        return Ok(Progress::Working);
                    }
                }
                let sector = self.choose().ok_or(LogError::WornOut)?;
                self.opening = Some(Opening {
                    sector,
                    erased: false,
                    tries: 0,
                });
                Ok(Progress::Working)
            }
            None => {
                self.wanted = 0;
                Ok(Progress::Idle)
            }
            Some(o) if !o.erased => {
                self.erase(io, o);
                Ok(Progress::Working)
            }
            Some(o) => {
                self.opening = None;
                if let Err(e) = self.fill_and_commit(io, o.sector) {
                    // The index may point into the sector that failed.
                    let wanted = self.wanted;
                    self.unmount();
                    self.wanted = wanted.max(1);
                    match e {
                        // Once may be chance, and a full log can spare none.
                        LogError::Flash(ErrorKind::OperationFailed)
                            if self.suspect != Some(o.sector) =>
                        {
                            self.suspect = Some(o.sector);
                        }
                        LogError::Flash(ErrorKind::OperationFailed) => self.shun(o.sector),
                        LogError::Flash(ErrorKind::Ecc) => {}
                        e => return Err(e),
                    }
                }
                Ok(Progress::Working)
            }
        }
    }

    fn must_open(&self) -> bool {
        let writable = self.head.is_some_and(|h| h.writable);
        (!writable && (self.wanted > 0 || self.torn || self.doubtful.is_some()))
            || (writable && (self.wanted > self.room() || self.too_long()))
    }

    /// True while this boot's openings must go on until the chain is back
    /// within its limit; with too many bad sectors that may be never, so it is
    /// tried twice round.
    pub(crate) fn too_long(&self) -> bool {
        self.head.is_some_and(|h| h.writable)
            && self.rotations < 2 * self.shape.sectors
            && self.count(IN) > self.data_limit()
    }

    /// The next sector, going round from the head, whose content no reading of
    /// the past needs.
    fn choose(&self) -> Option<u32> {
        let n = self.shape.sectors;
        let after = self.head.map_or(n - 1, |h| h.sector);
        let free = |mask: u32| {
            (1..=n)
                .filter_map(move |d| (after + d).checked_rem(n))
                .find(|&s| {
                    let t = self.table.get(s as usize).copied().unwrap_or(IN);
                    t & mask == 0 && t & GENERATION != BAD
                })
        };
        free(IN | OLD | SPARE)
            .or_else(|| free(IN | OLD))
            .or_else(|| {
                // With so many bad sectors that none is spare, a sector of the
                // former chain is the last resort; still right unless the cut that
                // follows also leaves the head's header unreadable.
                free(IN)
            })
    }

    fn erase<R: Region, G, C>(&mut self, io: &mut Io<'_, R, G, C>, mut o: Opening) {
        let from = o.sector * self.shape.sector;
        let to = from + self.shape.sector;
        // Without a header this may be a sector whose erase was torn: erased
        // twice, so that one erase that silently does nothing cannot pass for
        // done because the torn cells happen to read blank.
        let mut buf = [0u8; super::SECTOR_HEADER];
        let torn = io.region.read(from, &mut buf).is_err() || SectorHeader::parse(&buf).is_none();
        if torn && o.tries == 0 {
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

    /// Copies what must move into the erased `sector`, then programs its
    /// header: from then on it is the head.
    fn fill_and_commit<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
    ) -> Result<(), LogError> {
        let generation = self.next_generation;
        if generation >= BAD {
            return Err(LogError::WornOut);
        }
        self.next_generation += 1;
        let mut end = self.shape.first();
        let former = self.head;
        let unit = self.shape.unit;
        let doubt = self.doubtful;
        let doubt_size = doubt.map_or(0, |d| d.entry.size(unit));
        let payload = self.shape.payload();

        // Fold the former head when this boot has not written to it and little
        // of it is alive, or when it holds only copies: its place in the chain
        // is taken, not added to. So a chain over its limit never grows, and a
        // header that is the last thing written, and may not read well
        // tomorrow, never becomes a link: what it committed fits once more.
        let limit = self.data_limit();
        let mut fold = former.filter(|h| limit == 1 || !h.writable);
        if let Some(h) = fold {
            // A value in doubt is live in the head itself; a marker is not.
            let marker = doubt.filter(|d| d.deleted).map_or(0, |_| doubt_size);
            let live = self.index.live_in(h.sector, unit) + marker;
            let markers = self.markers(io, h, None)?.saturating_sub(end);
            let whole = limit == 1 || h.copies_only;
            if live + markers > if whole { payload } else { payload / 2 } {
                fold = None;
            }
        }
        let mut chain = self.count(IN) + 1;
        let mut released = [None; 4];
        if let Some(h) = fold {
            end = self.markers(io, h, Some(sector))?;
            end = self.copy_sector(io, h.sector, sector, end)?;
            chain -= 1;
            released = [Some(h.sector), None, None, None];
        }
        // Then the oldest sectors, as far as the limit asks and room allows.
        for slot in released.iter_mut().skip(1) {
            let done = [fold.map(|h| h.sector), *slot];
            let Some(tail) = self.oldest_but(&done).filter(|_| chain > limit) else {
                break;
            };
            let live = self.index.live_in(tail, unit);
            if end + live + doubt_size > self.shape.limit() {
                break;
            }
            end = self.copy_sector(io, tail, sector, end)?;
            if let Some(t) = self.table.get_mut(tail as usize) {
                *t &= !IN;
            }
            chain -= 1;
            *slot = Some(tail);
        }
        // The record in doubt goes last: what it says holds from here on.
        if let Some(d) = doubt {
            end = self.copy_doubt(io, d, sector, end)?;
        }
        let carries = doubt.is_some();

        let prev = match former {
            Some(h) if fold.is_some() => {
                let before = self.before(h.generation);
                before.map(|(s, g)| match h.prev == g {
                    true => (s, g, h.prev_end),
                    false => (s, g, self.shape.sector),
                })
            }
            Some(h) => Some((h.sector, h.generation, h.end)),
            None => None,
        };
        let (prev_sector, prev, prev_end) = prev.unwrap_or_default();
        let tail = self
            .table
            .iter()
            .enumerate()
            .filter(|&(s, &t)| t & IN != 0 && !released.contains(&Some(s as u32)))
            .map(|(_, &t)| t & GENERATION)
            .min()
            .unwrap_or(generation);
        let header = SectorHeader {
            generation,
            tail,
            prev,
            prev_end,
            former: former.map_or(0, |h| h.generation),
            prev_sector: prev_sector as u16,
            former_sector: former.map_or(0, |h| h.sector as u16),
            fresh_start: end
                | if carries { CARRIES } else { 0 }
                | if self.torn { REFUSES } else { 0 },
            base_seq: self.next_seq,
        };
        let first = self.shape.first() as usize;
        let buf = io.scratch.get_mut(..first).ok_or(LogError::TooLong)?;
        buf.fill(0xFF);
        for (o, b) in buf.iter_mut().zip(header.encode::<C>(io.keys)) {
            *o = b;
        }
        let at = sector * self.shape.sector;
        io.region
            .program(at, buf)
            .map_err(|e| LogError::Flash(e.kind()))?;
        if !reads_back(io.region, at, buf) {
            return Err(LogError::Flash(ErrorKind::OperationFailed));
        }

        // Committed.
        for (s, t) in self.table.iter_mut().enumerate() {
            if *t & GENERATION == BAD {
                continue;
            }
            let gone = released.contains(&Some(s as u32));
            *t = match *t & IN != 0 {
                true if !gone => *t & GENERATION | IN | OLD,
                false if !gone => *t & GENERATION,
                _ => *t & GENERATION | OLD,
            };
        }
        if let Some(t) = self.table.get_mut(sector as usize) {
            *t = generation | IN | OLD;
        }
        self.head = Some(Head {
            sector,
            generation,
            end,
            writable: true,
            copies_only: true,
            droppable: !header.decides(),
            prev,
            prev_end,
        });
        self.doubtful = None;
        self.suspect = None;
        self.torn = false;
        self.rotations = match chain > limit {
            true => self.rotations + 1,
            false => 0,
        };
        Ok(())
    }

    /// Sectors with `flag`.
    fn count(&self, flag: u32) -> u32 {
        self.table.iter().filter(|&&t| t & flag != 0).count() as u32
    }

    /// The data sector of the lowest generation that is not in `but`.
    fn oldest_but(&self, but: &[Option<u32>]) -> Option<u32> {
        (0u32..)
            .zip(self.table.iter())
            .filter(|(s, t)| **t & IN != 0 && !but.contains(&Some(*s)))
            .min_by_key(|(_, t)| **t & GENERATION)
            .map(|(s, _)| s)
    }

    /// The data sector before `generation` in the chain, and its generation.
    fn before(&self, generation: u32) -> Option<(u32, u32)> {
        (0u32..)
            .zip(self.table.iter())
            .filter(|(_, t)| **t & IN != 0)
            .map(|(s, t)| (s, t & GENERATION))
            .filter(|&(_, g)| g < generation)
            .max_by_key(|&(_, g)| g)
    }

    /// Reads and authenticates the header of `sector`.
    pub(crate) fn read_header<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
    ) -> Option<SectorHeader> {
        let mut buf = [0u8; super::SECTOR_HEADER];
        io.region.read(sector * self.shape.sector, &mut buf).ok()?;
        let h = SectorHeader::open::<C>(&buf, io.keys)?;
        let sane = h.generation != 0
            && h.generation < BAD
            && h.tail <= h.generation
            && h.prev < h.generation
            && h.former < h.generation
            && h.prev_end <= self.shape.sector
            && (self.shape.first()..=self.shape.sector).contains(&h.fresh());
        sane.then_some(h)
    }

    /// Copies every live record of `from` but the one in doubt; returns the
    /// new end.
    fn copy_sector<R: Region, G, C>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        from: u32,
        to: u32,
        mut end: u32,
    ) -> Result<u32, LogError> {
        let mut i = 0;
        while let Some(e) = self.index.nth(i) {
            let doubtful = self.doubtful.is_some_and(|d| d.entry.key == e.key);
            if e.sector == from && !doubtful {
                end = self.copy_record(io, e, false, to, end)?;
            }
            i += 1;
        }
        Ok(end)
    }

    /// Copies the delete markers of the former head that still hide something
    /// in an older sector to the start of `to`; with `None` only counts.
    /// Returns where they end.
    fn markers<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        head: Head,
        to: Option<u32>,
    ) -> Result<u32, LogError> {
        let mut end = self.shape.first();
        if self.before(head.generation).is_none() {
            return Ok(end);
        }
        let mut at = self.shape.first();
        while let Some((e, deleted)) = self.next_record(io, head.sector, &mut at, head.end) {
            let doubtful = self.doubtful.is_some_and(|d| d.entry.key == e.key);
            if !deleted || doubtful || self.index.get(e.key).is_some() {
                continue;
            }
            end = match to {
                Some(to) => self.copy_record(io, e, true, to, end)?,
                None => end + e.size(self.shape.unit),
            };
        }
        Ok(end)
    }

    /// Copies one record verbatim to `to` at `end`; returns the new end.
    fn copy_record<R: Region, G, C>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        e: Entry,
        deleted: bool,
        to: u32,
        end: u32,
    ) -> Result<u32, LogError> {
        let size = e.size(self.shape.unit);
        if end + size > self.shape.limit() {
            return Err(LogError::Full);
        }
        let len = RECORD_OVERHEAD + usize::from(e.len);
        let buf = io
            .scratch
            .get_mut(..padded(len as u32, self.shape.unit) as usize)
            .ok_or(LogError::TooLong)?;
        buf.fill(0xFF);
        let (record, _) = buf.split_at_mut(len.min(buf.len()));
        let header_ok = io
            .region
            .read(e.sector * self.shape.sector + e.offset, record)
            .is_ok();
        // A record with rotten check bits, or one that cannot be read at all,
        // keeps its place under a mended header: its tag still tells.
        let header = RecordHeader {
            deleted,
            key: e.key,
            len: e.len,
            salt_generation: io
                .keys
                .classes
                .get(usize::from(e.key.class))
                .map_or(0, |c| c.salt_generation),
            seq: e.seq,
        };
        if !header_ok {
            record.fill(0);
        }
        for (o, b) in record.iter_mut().zip(header.encode()) {
            *o = b;
        }
        self.place(io, e, deleted, to, end)
    }

    /// Copies the record in doubt. Its cells may read differently each time, so
    /// what is written is what was authenticated: opened, and sealed again with
    /// the same nonce, which gives the same bytes.
    fn copy_doubt<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        d: Doubt,
        to: u32,
        end: u32,
    ) -> Result<u32, LogError> {
        let e = d.entry;
        if end + e.size(self.shape.unit) > self.shape.limit() {
            return Err(LogError::Full);
        }
        let at = e.sector * self.shape.sector + e.offset;
        let len = RECORD_OVERHEAD + usize::from(e.len);
        for _ in 0..DOUBT_READS {
            let buf = io
                .scratch
                .get_mut(..e.size(self.shape.unit) as usize)
                .ok_or(LogError::TooLong)?;
            buf.fill(0xFF);
            let (record, _) = buf.split_at_mut(len.min(buf.len()));
            let read = io.region.read(at, record).is_ok();
            let header = RecordHeader {
                deleted: d.deleted,
                key: e.key,
                len: e.len,
                salt_generation: io
                    .keys
                    .classes
                    .get(usize::from(e.key.class))
                    .map_or(0, |c| c.salt_generation),
                seq: e.seq,
            };
            if read && super::record::reseal::<C>(record, io.keys, &header).is_ok() {
                return self.place(io, e, d.deleted, to, end);
            }
        }
        // It reads well no more: at the next mount it does not count.
        Err(LogError::Flash(ErrorKind::Ecc))
    }

    /// Programs the record that stands in the scratch buffer at `end` of `to`;
    /// returns the new end.
    fn place<R: Region, G, C>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        e: Entry,
        deleted: bool,
        to: u32,
        end: u32,
    ) -> Result<u32, LogError> {
        let size = e.size(self.shape.unit);
        let buf = io.scratch.get(..size as usize).ok_or(LogError::TooLong)?;
        let at = to * self.shape.sector + end;
        io.region
            .program(at, buf)
            .map_err(|e| LogError::Flash(e.kind()))?;
        if !reads_back(io.region, at, buf) {
            return Err(LogError::Flash(ErrorKind::OperationFailed));
        }
        if !deleted {
            self.index.set(Entry {
                sector: to,
                offset: end,
                ..e
            });
        }
        Ok(end + size)
    }
}
