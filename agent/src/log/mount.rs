//! What a boot reads: sector headers, then record headers, then the tail.

use super::format::{
    NONCE, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, SectorHeader, TAG, is_blank,
};
use super::index::Entry;
use super::open::{BAD, GENERATION, IN, OLD, SPARE};
use super::{Doubt, Head, Io, Log, LogError};
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;

/// One record found by a scan.
#[derive(Debug, Clone, Copy)]
struct Found {
    header: RecordHeader,
    offset: u32,
    end: u32,
}

impl Log<'_> {
    /// Reads the log into RAM. Called by [`Log::step`]; safe to call again.
    pub fn mount<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Result<(), LogError> {
        let wanted = self.wanted;
        self.unmount();
        self.wanted = wanted;
        self.read_generations(io)?;
        if let Some((sector, header)) = self.find_head(io) {
            self.mark_chain(io, sector, header, IN);
            self.mark_former(io, header);
            self.forget_unmarked();
            self.scan_chain(io, sector, header)?;
        }
        self.mounted = true;
        Ok(())
    }

    fn read_generations<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Result<(), LogError> {
        for s in 0..self.shape.sectors {
            let mut buf = [0u8; super::SECTOR_HEADER];
            match io.region.read(s * self.shape.sector, &mut buf) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Ecc => continue,
                Err(e) => return Err(LogError::Flash(e.kind())),
            }
            let generation = SectorHeader::parse(&buf)
                .map(|h| h.generation)
                .filter(|&g| g < BAD)
                .unwrap_or(0);
            if let Some(t) = self.table.get_mut(s as usize).filter(|t| **t != BAD) {
                *t = generation;
            }
        }
        Ok(())
    }

    /// The head: the highest authentic generation, unless it has no record of
    /// its own; then the head before it.
    fn find_head<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
    ) -> Option<(u32, SectorHeader)> {
        let top = self.next_highest(io, u32::MAX)?;
        self.next_generation = top.1.generation + 1;
        if self.has_record(io, &top) {
            return Some(top);
        }
        // Cuts can leave two headers of one generation; the one with records of
        // its own is the one that history went on from.
        for s in 0..self.shape.sectors {
            let rival = s != top.0 && self.generation(s) == top.1.generation;
            if rival
                && let Some(h) = self.read_header(io, s)
                && self.has_record(io, &(s, h))
            {
                return Some((s, h));
            }
        }
        if top.1.decides() && self.is_whole(io, &top) {
            return Some(top);
        }
        self.next_generation = top.1.generation + 2;
        if top.1.former == 0 && !self.blank_at(io, top.0, self.shape.first()) {
            // The very first record, torn: it may read well at another boot, so
            // that it does not count is decided before anything is served.
            return Some(top);
        }
        if top.1.former == 0 {
            // The very first sector, with nothing in it: an empty log. It may
            // be erased again.
            self.forget_unmarked();
            return None;
        }
        // If the former head has rotted away, the copies are what is left.
        match self.find(io, top.1.former, top.1.former_sector) {
            Some(former) => {
                self.set(top.0, top.1.generation | SPARE);
                Some(former)
            }
            None => Some(top),
        }
    }

    /// Highest generation below `limit` whose header authenticates.
    fn next_highest<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        limit: u32,
    ) -> Option<(u32, SectorHeader)> {
        loop {
            let (s, _) = (0u32..)
                .zip(self.table.iter())
                .filter(|(_, t)| **t != 0 && **t < limit.min(BAD))
                .max_by_key(|(_, t)| **t)?;
            match self.read_header(io, s) {
                // The first reading may have been another one.
                Some(h) if self.generation(s) != h.generation => self.set(s, h.generation),
                Some(h) => return Some((s, h)),
                None => self.set(s, 0),
            }
        }
    }

    fn generation(&self, sector: u32) -> u32 {
        self.table
            .get(sector as usize)
            .map_or(0, |t| t & GENERATION)
    }

    fn set(&mut self, sector: u32, value: u32) {
        if let Some(t) = self.table.get_mut(sector as usize) {
            *t = value;
        }
    }

    /// The header of `sector`, if it is authentic and of `generation`.
    fn find<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        generation: u32,
        sector: u16,
    ) -> Option<(u32, SectorHeader)> {
        let sector = u32::from(sector);
        if generation == 0 || sector >= self.shape.sectors {
            return None;
        }
        let h = self.read_header(io, sector)?;
        (h.generation == generation).then_some((sector, h))
    }

    /// True when the sector has an authentic record after its copies.
    fn has_record<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        (sector, header): &(u32, SectorHeader),
    ) -> bool {
        self.record_at(io, *sector, header.fresh(), self.shape.sector)
            .is_some_and(|f| self.authentic(io, *sector, &f))
    }

    /// True when every copy that the header commits is there. A header that
    /// read badly at one boot, whose sector was then to be erased, may read well
    /// again over copies that a torn erase has taken.
    fn is_whole<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        (sector, header): &(u32, SectorHeader),
    ) -> bool {
        let mut at = self.shape.first();
        while at < header.fresh() {
            match self.record_at(io, *sector, at, header.fresh()) {
                Some(f) if self.authentic(io, *sector, &f) => at = f.end,
                _ => return false,
            }
        }
        true
    }

    /// Flags the chain of `header` from head to tail. A missing link means a
    /// rotten sector header: all that may have been in it is in doubt.
    fn mark_chain<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        mut sector: u32,
        mut header: SectorHeader,
        flag: u32,
    ) {
        let tail = header.tail;
        loop {
            let flags = self
                .table
                .get(sector as usize)
                .map_or(0, |t| t & (IN | OLD));
            self.set(sector, header.generation | flags | flag);
            if header.generation <= tail || header.prev < tail || header.prev == 0 {
                return;
            }
            match self.find(io, header.prev, header.prev_sector) {
                Some((s, h)) => (sector, header) = (s, h),
                None => {
                    if flag == IN {
                        self.damaged_before = self.damaged_before.max(header.base_seq);
                    }
                    // Go on below the gap with what authenticates.
                    match self.below(io, header.prev, tail) {
                        Some((s, h)) => (sector, header) = (s, h),
                        None => return,
                    }
                }
            }
        }
    }

    fn below<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        limit: u32,
        tail: u32,
    ) -> Option<(u32, SectorHeader)> {
        (0..self.shape.sectors)
            .filter_map(|s| {
                let g = self.generation(s);
                (g >= tail && g < limit).then(|| Some((s, self.read_header(io, s)?)))?
            })
            .max_by_key(|(_, h)| h.generation)
    }

    fn mark_former<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        head: SectorHeader,
    ) {
        if let Some((s, h)) = self.find(io, head.former, head.former_sector) {
            self.mark_chain(io, s, h, OLD);
        }
    }

    fn forget_unmarked(&mut self) {
        for t in self.table.iter_mut() {
            if *t & (IN | OLD | SPARE) == 0 && *t != BAD {
                *t = 0;
            }
        }
    }

    /// Reads the chain from its oldest sector to its head into the index.
    fn scan_chain<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        head: u32,
        head_header: SectorHeader,
    ) -> Result<(), LogError> {
        let mut at = self.next_in(0);
        while let Some(sector) = at {
            let generation = self.generation(sector);
            let next = self.next_in(generation);
            if sector == head {
                break;
            }
            let successor = match next {
                Some(n) if n == head => Some(head_header),
                next => next.and_then(|n| self.read_header(io, n)),
            };
            let (end, bound) = match successor {
                Some(h) if h.prev == generation => (h.prev_end, h.base_seq),
                Some(h) => (self.shape.sector, h.base_seq),
                None => (self.shape.sector, 0),
            };
            self.scan(io, sector, end, bound)?;
            at = next;
        }
        self.scan_head(io, head, head_header)
    }

    fn next_in(&self, after: u32) -> Option<u32> {
        (0u32..)
            .zip(self.table.iter())
            .filter(|(_, t)| **t & IN != 0 && **t & GENERATION > after)
            .min_by_key(|(_, t)| **t & GENERATION)
            .map(|(s, _)| s)
    }

    /// A sector that has a successor: its records end at `end`.
    fn scan<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        end: u32,
        bound: u64,
    ) -> Result<(), LogError> {
        let mut at = self.shape.first();
        while at < end {
            match self.record_at(io, sector, at, end) {
                Some(f) => {
                    self.apply(io, sector, &f)?;
                    at = f.end;
                }
                None if end == self.shape.sector && self.blank_at(io, sector, at) => return Ok(()),
                None => {
                    // Something stood here and is unreadable: whose, we cannot
                    // know, so nothing older is served.
                    self.damaged_before = self.damaged_before.max(bound);
                    at = self.resync(io, sector, at, end);
                }
            }
        }
        Ok(())
    }

    /// The head: records until the first that is blank or torn.
    fn scan_head<R: Region, G, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        header: SectorHeader,
    ) -> Result<(), LogError> {
        let limit = self.shape.sector;
        self.next_seq = self.next_seq.max(header.base_seq);
        let mut last: Option<Found> = None;
        let mut at = self.shape.first();
        let mut solid = false;
        while at < limit {
            match self.record_at(io, sector, at, limit) {
                Some(f) => {
                    if let Some(done) = last.replace(f) {
                        self.apply(io, sector, &done)?;
                    }
                    at = f.end;
                }
                None => {
                    let torn = !self.blank_at(io, sector, at);
                    if at < header.fresh() {
                        self.damaged_before = u64::MAX >> 16;
                    }
                    let next = if torn || at < header.fresh() {
                        self.resync(io, sector, at, limit)
                    } else {
                        limit
                    };
                    if next < limit {
                        // Records follow the unreadable one: rot, not a cut.
                        self.damaged_before = u64::MAX >> 16;
                        at = next;
                    } else {
                        solid = torn;
                        break;
                    }
                }
            }
        }
        let mut end = last.map_or(self.shape.first(), |f| f.end);
        if let Some(f) = last {
            // The last record: after its own write, or after the header that
            // carried it, nothing shows that the last operation completed.
            let copied = f.end <= header.fresh();
            if copied || self.authentic(io, sector, &f) {
                self.apply(io, sector, &f)?;
                if (!copied || header.carries()) && !solid && !self.forgotten(io, &f.header) {
                    self.doubtful = Some(Doubt {
                        entry: entry(sector, &f),
                        deleted: f.header.deleted,
                    });
                    // It will count by its copy alone.
                    end = f.offset;
                }
            } else {
                end = f.offset;
                solid = true;
            }
        }
        // A decision that is the last thing written is made again.
        let copies_only = last.is_none_or(|f| f.end <= header.fresh());
        self.torn = solid || (copies_only && header.decides());
        if self.damaged_before == u64::MAX >> 16 {
            self.damaged_before = self.next_seq;
        }
        self.head = Some(Head {
            sector,
            generation: header.generation,
            end,
            writable: false,
            copies_only,
            droppable: false,
            prev: header.prev,
            prev_end: header.prev_end,
        });
        Ok(())
    }

    fn blank_at<R: Region, G, C>(&self, io: &mut Io<'_, R, G, C>, sector: u32, at: u32) -> bool {
        let mut buf = [0u8; RECORD_HEADER];
        let n = (self.shape.sector - at).min(RECORD_HEADER as u32) as usize;
        let Some(buf) = buf.get_mut(..n) else {
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
        limit: u32,
    ) -> Option<Found> {
        if at.checked_add(RECORD_OVERHEAD as u32)? > limit {
            return None;
        }
        let mut buf = [0u8; RECORD_HEADER];
        io.region
            .read(sector * self.shape.sector + at, &mut buf)
            .ok()?;
        let found = |header: RecordHeader| {
            let end = at + super::format::padded(header.size(), self.shape.unit);
            (end <= limit).then_some(Found {
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
        self.next_seq = self.next_seq.max(f.header.seq + 1);
        if self.forgotten(io, &f.header) {
            return Ok(());
        }
        if f.header.deleted {
            self.index.remove(f.header.key);
            return Ok(());
        }
        if self.index.set(entry(sector, f)) {
            Ok(())
        } else {
            Err(LogError::Full)
        }
    }

    /// The record at or after `at`, and whether it is a delete marker; moves
    /// `at` past it.
    pub(crate) fn next_record<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        at: &mut u32,
        end: u32,
    ) -> Option<(Entry, bool)> {
        while *at < end {
            if let Some(f) = self.record_at(io, sector, *at, end) {
                *at = f.end;
                return Some((entry(sector, &f), f.header.deleted));
            }
            *at = self.resync(io, sector, *at, end);
        }
        None
    }

    /// The next offset after `at` where an authentic record stands, or `end`.
    fn resync<R: Region, G, C: Crypto>(
        &self,
        io: &mut Io<'_, R, G, C>,
        sector: u32,
        at: u32,
        end: u32,
    ) -> u32 {
        let mut at = at + self.shape.unit;
        while at < end {
            if self
                .record_at(io, sector, at, end)
                .is_some_and(|f| self.sealed(io, sector, &f))
            {
                return at;
            }
            at += self.shape.unit;
        }
        end
    }
}

fn entry(sector: u32, f: &Found) -> Entry {
    Entry {
        key: f.header.key,
        len: f.header.len,
        sector,
        offset: f.offset,
        seq: f.header.seq,
    }
}
