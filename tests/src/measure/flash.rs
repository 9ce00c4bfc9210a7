//! A NOR part in RAM that counts what it is asked to do.
//!
//! Figures are those of a W25Q128JV: 256-byte page program 0.4 ms, 4 KiB erase
//! 45 ms, 64 KiB erase 150 ms (typical), reads at 50 MB/s. A program costs one
//! page time for each page it touches. An erase costs what the best commands
//! for its *place* cost: 64 KiB only where the range covers an aligned block.

use nrd_hal::{ErrorKind, ErrorType, Geometry, Region};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Page program, in nanoseconds.
pub const PAGE_NS: u64 = 400_000;
/// Erase of 4 KiB, in nanoseconds.
pub const SECTOR_NS: u64 = 45_000_000;
/// Erase of 64 KiB, in nanoseconds.
pub const BLOCK_NS: u64 = 150_000_000;
/// Read of one byte, in nanoseconds.
pub const READ_NS: u64 = 20;
/// Size of a program page in bytes.
pub const PAGE: u32 = 256;
/// Size of the large erase block in bytes.
pub const BLOCK: u32 = 65_536;

/// What was counted between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Program calls.
    pub programs: u64,
    /// Bytes programmed.
    pub programmed: u64,
    /// Pages touched by programs.
    pub pages: u64,
    /// Erase units erased.
    pub erases: u64,
    /// Read calls, read-back apart.
    pub reads: u64,
    /// Bytes read, read-back apart.
    pub read: u64,
    /// Read calls wholly inside what the last program or erase touched.
    pub back_reads: u64,
    /// Bytes of those.
    pub back: u64,
    /// Programs that met a unit already programmed since its erase.
    pub overwrites: u64,
    /// Modelled time of all of it, in nanoseconds.
    pub ns: u64,
}

impl std::ops::Sub for Counts {
    type Output = Counts;
    fn sub(self, o: Counts) -> Counts {
        Counts {
            programs: self.programs - o.programs,
            programmed: self.programmed - o.programmed,
            pages: self.pages - o.pages,
            erases: self.erases - o.erases,
            reads: self.reads - o.reads,
            read: self.read - o.read,
            back_reads: self.back_reads - o.back_reads,
            back: self.back - o.back,
            overwrites: self.overwrites - o.overwrites,
            ns: self.ns - o.ns,
        }
    }
}

/// What was done to the flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A read, read-back apart.
    Read,
    /// A read wholly inside what the last program or erase touched.
    ReadBack,
    /// A program.
    Program,
    /// An erase.
    Erase,
}

/// One operation, or several of a kind that follow one another without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// What.
    pub kind: Kind,
    /// Where it begins.
    pub at: u32,
    /// How many bytes.
    pub len: u32,
    /// How many operations.
    pub times: u32,
}

/// The running tally of one part, shared with whoever reads it.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Cell<Counts>,
    /// What the last program or erase touched.
    last: Cell<(u32, u32)>,
    /// Erases of each erase unit.
    wear: RefCell<Vec<u32>>,
    /// Operations, while they are recorded.
    trace: RefCell<Option<Vec<Op>>>,
}

impl Tally {
    /// The counts so far.
    pub fn now(&self) -> Counts {
        self.counts.get()
    }

    /// Records operations from here on.
    pub fn record(&self) {
        *self.trace.borrow_mut() = Some(Vec::new());
    }

    /// What was recorded; recording ends.
    pub fn recorded(&self) -> Vec<Op> {
        self.trace.borrow_mut().take().unwrap_or_default()
    }

    fn note(&self, kind: Kind, at: u32, len: u32) {
        let mut trace = self.trace.borrow_mut();
        let Some(trace) = trace.as_mut() else { return };
        if let Some(last) = trace.last_mut()
            && last.kind == kind
            && last.at + last.len == at
        {
            last.len += len;
            last.times += 1;
            return;
        }
        let times = 1;
        trace.push(Op {
            kind,
            at,
            len,
            times,
        });
    }

    /// Erases of each erase unit so far.
    pub fn wear(&self) -> Vec<u32> {
        self.wear.borrow().clone()
    }

    /// What the last program or erase touched: from, to.
    pub fn last(&self) -> (u32, u32) {
        self.last.get()
    }

    fn add(&self, more: impl FnOnce(&mut Counts)) {
        let mut c = self.counts.get();
        more(&mut c);
        self.counts.set(c);
    }
}

/// The part.
#[derive(Debug, Clone)]
pub struct Nor {
    geometry: Geometry,
    overwritable: bool,
    cells: Vec<u8>,
    tally: Rc<Tally>,
}

impl Nor {
    /// A blank part.
    pub fn new(geometry: Geometry) -> Nor {
        Nor {
            geometry,
            overwritable: false,
            cells: vec![0xFF; geometry.size as usize],
            tally: Rc::new(Tally {
                wear: vec![0; (geometry.size / geometry.erase_size) as usize].into(),
                ..Tally::default()
            }),
        }
    }

    /// A blank part whose units may be programmed more than once.
    pub fn multiwrite(geometry: Geometry) -> Nor {
        Nor {
            overwritable: true,
            ..Nor::new(geometry)
        }
    }

    /// The tally; stays readable wherever the part goes.
    pub fn tally(&self) -> Rc<Tally> {
        self.tally.clone()
    }

    /// The cells.
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// Reads without copying; counted like any read.
    ///
    /// # Panics
    /// Outside the part.
    pub fn slice(&self, at: u32, len: usize) -> &[u8] {
        self.note_read(at, len);
        &self.cells[at as usize..at as usize + len]
    }

    fn note_read(&self, at: u32, len: usize) {
        let (from, to) = self.tally.last.get();
        let back = at >= from && at + len as u32 <= to;
        let kind = if back { Kind::ReadBack } else { Kind::Read };
        self.tally.note(kind, at, len as u32);
        self.tally.add(|c| {
            c.ns += len as u64 * READ_NS;
            if back {
                c.back_reads += 1;
                c.back += len as u64;
            } else {
                c.reads += 1;
                c.read += len as u64;
            }
        });
    }

    fn inside(&self, at: u32, len: usize) -> Result<(usize, usize), ErrorKind> {
        let from = at as usize;
        match from.checked_add(len) {
            Some(to) if to <= self.cells.len() => Ok((from, to)),
            _ => Err(ErrorKind::OutOfBounds),
        }
    }

    /// Reads. Kept out of line, so that its instructions can be left out of a
    /// count.
    ///
    /// # Errors
    /// Outside the part.
    #[inline(never)]
    pub fn nor_read(&self, at: u32, out: &mut [u8]) -> Result<(), ErrorKind> {
        let (from, to) = self.inside(at, out.len())?;
        out.copy_from_slice(&self.cells[from..to]);
        self.note_read(at, out.len());
        Ok(())
    }

    /// Programs: bits only go from 1 to 0.
    ///
    /// # Errors
    /// Outside the part, or not on its write unit.
    #[inline(never)]
    pub fn nor_program(&mut self, at: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        let (from, to) = self.inside(at, bytes.len())?;
        let w = self.geometry.write_size;
        if !at.is_multiple_of(w) || !(bytes.len() as u32).is_multiple_of(w) {
            return Err(ErrorKind::NotAligned);
        }
        let mut again = false;
        for (cell, byte) in self.cells[from..to].iter_mut().zip(bytes) {
            again |= *cell != 0xFF;
            *cell &= byte;
        }
        let pages = match bytes.len() {
            0 => 0,
            n => (at + n as u32 - 1) / PAGE - at / PAGE + 1,
        };
        self.tally.add(|c| {
            c.programs += 1;
            c.programmed += bytes.len() as u64;
            c.pages += u64::from(pages);
            c.overwrites += u64::from(again);
            c.ns += u64::from(pages) * PAGE_NS;
        });
        self.tally.note(Kind::Program, at, bytes.len() as u32);
        self.tally.last.set((at, at + bytes.len() as u32));
        Ok(())
    }

    /// Erases.
    ///
    /// # Errors
    /// Outside the part, or not on its erase unit.
    #[inline(never)]
    pub fn nor_erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let len = to.checked_sub(from).ok_or(ErrorKind::OutOfBounds)?;
        let (a, b) = self.inside(from, len as usize)?;
        let e = self.geometry.erase_size;
        if !from.is_multiple_of(e) || !to.is_multiple_of(e) {
            return Err(ErrorKind::NotAligned);
        }
        self.cells[a..b].fill(0xFF);
        let units = (from / e) as usize..(to / e) as usize;
        for w in &mut self.tally.wear.borrow_mut()[units.clone()] {
            *w += 1;
        }
        self.tally.add(|c| {
            c.erases += units.len() as u64;
            c.ns += erase_ns(from, to);
        });
        self.tally.note(Kind::Erase, from, len);
        self.tally.last.set((from, to));
        Ok(())
    }
}

/// Modelled time of erasing `from..to` with the best commands for that place,
/// in nanoseconds.
pub fn erase_ns(from: u32, to: u32) -> u64 {
    let first = from.next_multiple_of(BLOCK);
    let last = to / BLOCK * BLOCK;
    let small = |bytes: u32| u64::from(bytes.div_ceil(4096)) * SECTOR_NS;
    if first >= last {
        return small(to - from);
    }
    small(first - from) + u64::from((last - first) / BLOCK) * BLOCK_NS + small(to - last)
}

impl ErrorType for Nor {
    type Error = ErrorKind;
}

impl Region for Nor {
    fn geometry(&self) -> Geometry {
        self.geometry
    }
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        self.nor_read(offset, bytes)
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.nor_program(offset, bytes)
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        self.nor_erase(from, to)
    }
    fn can_overwrite(&self) -> bool {
        self.overwritable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erase_is_charged_for_its_place() {
        assert_eq!(erase_ns(0, BLOCK), BLOCK_NS);
        // The same length, off the block's edge: sixteen small erases.
        assert_eq!(erase_ns(4096, BLOCK + 4096), 16 * SECTOR_NS);
        assert_eq!(erase_ns(4096, 3 * BLOCK), 15 * SECTOR_NS + 2 * BLOCK_NS);
    }

    #[test]
    fn a_read_of_what_was_just_written_is_counted_apart() {
        let mut nor = Nor::new(Geometry {
            size: 8192,
            write_size: 1,
            erase_size: 4096,
            best_erase: 4096,
        });
        nor.nor_program(250, &[0; 10]).unwrap();
        let mut buf = [0; 10];
        nor.nor_read(250, &mut buf).unwrap();
        nor.nor_read(251, &mut buf).unwrap();
        let c = nor.tally().now();
        assert_eq!(
            (c.back_reads, c.reads, c.pages, c.programmed),
            (1, 1, 2, 10)
        );
        assert_eq!(c.ns, 2 * PAGE_NS + 20 * READ_NS);
    }
}
