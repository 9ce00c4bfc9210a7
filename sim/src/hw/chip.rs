//! Flash cells, the counter beside them, and what a power cut does to both.

use super::file::Mirror;
use super::rng::SplitMix;
use nrd_hal::{ErrorKind, Geometry};
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A flash part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChipSpec {
    /// Sizes in bytes.
    pub geometry: Geometry,
    /// A unit may be programmed more than once (multi-write NOR).
    pub can_overwrite: bool,
}

/// How much of a cut operation happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tear {
    /// Nothing: the cut came just before.
    Nothing,
    /// The first part of the bytes.
    Prefix,
    /// The last part of the bytes.
    Suffix,
    /// Any subset of the bits.
    Random,
    /// All bits but one.
    AllButOne,
    /// Everything; the cut came before the operation could answer.
    Complete,
    /// Nothing, and every bit is left unstable: the pulse was too short.
    Weak,
    /// No cut: the operation does nothing and answers `Ok`.
    NoOp,
}

impl Tear {
    /// Every tear.
    pub const ALL: [Tear; 8] = [
        Tear::Nothing,
        Tear::Prefix,
        Tear::Suffix,
        Tear::Random,
        Tear::AllButOne,
        Tear::Complete,
        Tear::Weak,
        Tear::NoOp,
    ];

    /// A short name, as the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Tear::Nothing => "nothing",
            Tear::Prefix => "prefix",
            Tear::Suffix => "suffix",
            Tear::Random => "random",
            Tear::AllButOne => "all-but-one",
            Tear::Complete => "complete",
            Tear::Weak => "weak",
            Tear::NoOp => "no-op",
        }
    }
}

/// One planned fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Index of the operation it strikes, counted from the chip's first.
    pub at: u64,
    /// What happens to it.
    pub tear: Tear,
    /// Some of the bits that were not completed are left unstable.
    pub unstable: bool,
}

/// What kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// A program of `len` bytes.
    Program,
    /// An erase of `len` bytes.
    Erase,
    /// A counter step.
    Count,
}

/// One operation that changed, or was to change, the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Op {
    /// What.
    pub kind: OpKind,
    /// Where on the chip.
    pub at: u32,
    /// How many bytes.
    pub len: u32,
}

/// The chip and the counter: everything that outlives a power cut.
#[derive(Debug, Clone)]
pub struct Chip {
    spec: ChipSpec,
    cells: Vec<u8>,
    /// Bits that read differently at every read.
    unstable: Vec<u8>,
    programmed: Vec<bool>,
    wear: Vec<u32>,
    counter: u64,
    counter_end: u64,
    /// Erases of these ranges silently do nothing.
    dead: Vec<(u32, u32)>,
    draws: SplitMix,
    ops: u64,
    trace: Vec<Op>,
    fault: Option<Fault>,
    struck: Option<Op>,
    off: bool,
    /// Write-once or alignment rules broken by the software.
    abuses: Vec<String>,
    read_bytes: u64,
    programmed_bytes: u64,
    busy_ns: u64,
    /// Where the cells are kept as well, for a device that is a process.
    mirror: Option<Arc<Mirror>>,
}

/// Typical page program time in nanoseconds, for 256 bytes.
const PAGE_NS: u64 = 400_000;
/// Typical erase time of 4 KiB in nanoseconds.
const SECTOR_NS: u64 = 45_000_000;
/// Typical erase time of 64 KiB in nanoseconds.
const BLOCK_NS: u64 = 150_000_000;
/// A counter step, in nanoseconds: modelled as one page program, since parts
/// keep such counters in flash of their own.
const COUNT_NS: u64 = PAGE_NS;
/// Read time of one byte in nanoseconds.
const READ_NS: u64 = 20;

impl Chip {
    /// A new part. Its cells hold anything: a part is not delivered blank.
    pub fn new(spec: ChipSpec, seed: u64) -> Self {
        let n = spec.geometry.size as usize;
        let mut draws = SplitMix(seed);
        Chip {
            spec,
            cells: (0..n).map(|_| draws.draw() as u8).collect(),
            unstable: vec![0; n],
            programmed: vec![true; n / spec.geometry.write_size as usize],
            wear: vec![0; n / spec.geometry.erase_size as usize],
            counter: 0,
            counter_end: u64::MAX,
            dead: Vec::new(),
            draws,
            ops: 0,
            trace: Vec::new(),
            fault: None,
            struck: None,
            off: false,
            abuses: Vec::new(),
            read_bytes: 0,
            programmed_bytes: 0,
            busy_ns: 0,
            mirror: None,
        }
    }

    /// A part whose cells, unstable bits, wear and counter were kept in files,
    /// and go on being kept there.
    pub(super) fn kept(spec: ChipSpec, state: Kept, mirror: Arc<Mirror>, seed: u64) -> Self {
        let mut chip = Chip::new(spec, seed);
        let units = state.cells.chunks(spec.geometry.write_size as usize);
        chip.programmed = units.map(|u| u.iter().any(|&b| b != 0xFF)).collect();
        chip.cells = state.cells;
        chip.unstable = state.unstable;
        chip.wear = state.wear;
        chip.counter = state.counter;
        chip.mirror = Some(mirror);
        chip
    }

    /// Why the files could not be written; the part is then off.
    pub fn mirror_failure(&self) -> Option<String> {
        self.mirror.as_ref().and_then(|m| m.failure())
    }

    /// Keeps what an operation changed.
    fn keep(&mut self, at: usize, len: usize) {
        let Some(mirror) = &self.mirror else { return };
        let cells = &self.cells[at..at + len];
        let unstable = &self.unstable[at..at + len];
        let e = self.spec.geometry.erase_size as usize;
        let units = at / e..(at + len).div_ceil(e);
        if !mirror.keep(at, cells, unstable, units.start, &self.wear[units]) {
            self.off = true;
        }
    }

    /// Sizes.
    pub fn spec(&self) -> ChipSpec {
        self.spec
    }

    /// The physical cells; unstable bits in the state they were left in.
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// Per byte the bits that read differently at every read.
    pub fn unstable(&self) -> &[u8] {
        &self.unstable
    }

    /// Completed and torn erases per erase unit.
    pub fn wear(&self) -> &[u32] {
        &self.wear
    }

    /// The counter.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Lets the counter take `steps` more steps and no further.
    pub fn wear_out_counter(&mut self, steps: u64) {
        self.counter_end = self.counter + steps;
    }

    /// Makes every erase that touches `from..to` silently do nothing.
    pub fn kill_range(&mut self, from: u32, to: u32) {
        self.dead.push((from, to));
    }

    /// Everything that later reads and operations may depend on: cells,
    /// unstable bits, what is programmed, wear, counter, faults, draws. Not the
    /// tallies.
    pub fn hash_into(&self, h: &mut impl Hasher) {
        (&self.cells, &self.unstable, &self.programmed).hash(h);
        (&self.wear, self.counter, self.counter_end).hash(h);
        (&self.dead, self.fault, self.off, self.draws).hash(h);
        self.abuses.hash(h);
    }

    /// Cells, unstable bits and counter: what a cut left.
    pub fn image_hash(&self) -> u64 {
        let mut h = DefaultHasher::new();
        (&self.cells, &self.unstable, self.counter).hash(&mut h);
        h.finish()
    }

    /// Adds erases to every block.
    pub fn age(&mut self, erases: u32) {
        for w in &mut self.wear {
            *w += erases;
        }
    }

    /// A part that its factory erased.
    pub fn blank(spec: ChipSpec, seed: u64) -> Self {
        let mut chip = Chip::new(spec, seed);
        chip.cells.fill(0xFF);
        chip.programmed.fill(false);
        chip
    }

    /// Operations so far.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// Every operation so far.
    pub fn trace(&self) -> &[Op] {
        &self.trace
    }

    /// Bytes read, bytes programmed, and modelled nanoseconds so far.
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.read_bytes, self.programmed_bytes, self.busy_ns)
    }

    /// Rules of the part that the software broke.
    pub fn abuses(&self) -> &[String] {
        &self.abuses
    }

    /// Plans a fault.
    pub fn plan(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        self.struck = None;
    }

    /// The operation that the planned fault struck.
    pub fn struck(&self) -> Option<Op> {
        self.struck
    }

    /// Switches off: every operation fails until [`Chip::power_on`].
    pub fn power_off(&mut self) {
        self.off = true;
    }

    /// True after a cut.
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Switches on; unstable bits are drawn anew from `seed`.
    pub fn power_on(&mut self, seed: u64) {
        self.off = false;
        self.draws = SplitMix(seed);
    }

    /// Replaces cells and counter-independent state by those of an older
    /// image: what an attacker with a programmer does.
    pub fn restore_image(&mut self, cells: &[u8]) {
        if cells.len() == self.cells.len() {
            self.cells.copy_from_slice(cells);
            self.unstable.fill(0);
            self.programmed.fill(true);
        }
    }

    fn check(&self, at: u32, len: usize) -> Result<(), ErrorKind> {
        if self.off {
            return Err(ErrorKind::Unavailable);
        }
        let end = u64::from(at) + len as u64;
        if end > u64::from(self.spec.geometry.size) {
            return Err(ErrorKind::OutOfBounds);
        }
        Ok(())
    }

    pub(super) fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), ErrorKind> {
        self.check(at, out.len())?;
        let at = at as usize;
        for (o, (c, u)) in out
            .iter_mut()
            .zip(self.cells[at..].iter().zip(&self.unstable[at..]))
        {
            *o = match *u {
                0 => *c,
                u => *c ^ (u & self.draws.draw() as u8),
            };
        }
        self.read_bytes += out.len() as u64;
        self.busy_ns += out.len() as u64 * READ_NS;
        Ok(())
    }

    pub(super) fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.check(at, bytes.len())?;
        let w = self.spec.geometry.write_size;
        if !at.is_multiple_of(w) || !(bytes.len() as u32).is_multiple_of(w) {
            self.abuse(format!("unaligned program of {} at {at}", bytes.len()));
            return Err(ErrorKind::NotAligned);
        }
        let units = (at / w) as usize..((at + bytes.len() as u32) / w) as usize;
        let (from, to) = (at as usize, at as usize + bytes.len());
        let zeros = bytes.iter().all(|&b| b == 0);
        if self.programmed[units.clone()].iter().any(|&p| p) && !(self.spec.can_overwrite && zeros)
        {
            self.abuse(format!("unit programmed twice at {at}"));
        }
        if self.unstable[from..to].iter().any(|&u| u != 0) && !zeros {
            self.abuse(format!("programmed over unstable cells at {at}"));
        }
        self.programmed[units].fill(true);
        let op = Op {
            kind: OpKind::Program,
            at,
            len: bytes.len() as u32,
        };
        self.programmed_bytes += bytes.len() as u64;
        self.busy_ns += modelled_ns(&op);
        let target: Vec<u8> = self.cells[from..to]
            .iter()
            .zip(bytes)
            .map(|(c, b)| c & b)
            .collect();
        let done = self.apply(op, from, &target);
        self.keep(from, bytes.len());
        done
    }

    pub(super) fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let len = to.checked_sub(from).ok_or(ErrorKind::OutOfBounds)?;
        self.check(from, len as usize)?;
        let e = self.spec.geometry.erase_size;
        if !from.is_multiple_of(e) || !to.is_multiple_of(e) {
            self.abuse(format!("unaligned erase {from}..{to}"));
            return Err(ErrorKind::NotAligned);
        }
        for w in &mut self.wear[(from / e) as usize..(to / e) as usize] {
            *w += 1;
        }
        let op = Op {
            kind: OpKind::Erase,
            at: from,
            len,
        };
        self.busy_ns += modelled_ns(&op);
        let dead = self.dead.iter().any(|&(a, b)| from < b && a < to);
        let target = match dead {
            true => self.cells[from as usize..to as usize].to_vec(),
            false => vec![0xFF; len as usize],
        };
        let before = self.ops;
        let done = self.apply(op, from as usize, &target);
        let noop = self
            .fault
            .is_some_and(|f| f.at == before && f.tear == Tear::NoOp);
        let complete = self
            .fault
            .is_some_and(|f| f.at == before && f.tear == Tear::Complete);
        if (done.is_ok() || complete) && !dead && !noop {
            let w = self.spec.geometry.write_size;
            self.unstable[from as usize..to as usize].fill(0);
            self.programmed[(from / w) as usize..(to / w) as usize].fill(false);
        }
        self.keep(from as usize, len as usize);
        done
    }

    pub(super) fn count(&mut self) -> Result<(), ErrorKind> {
        self.check(0, 0)?;
        let op = Op {
            kind: OpKind::Count,
            at: 0,
            len: 0,
        };
        self.busy_ns += modelled_ns(&op);
        let fault = self.strike(op);
        if self.counter >= self.counter_end {
            return Err(ErrorKind::WornOut);
        }
        match fault {
            None => {
                self.counter += 1;
                self.keep_counter();
            }
            Some(f) => {
                let half = !matches!(f.tear, Tear::Nothing | Tear::NoOp | Tear::Weak);
                let stepped = match f.tear {
                    Tear::Random => self.draws.draw() & 1 == 1,
                    _ => half,
                };
                self.counter += u64::from(stepped);
                self.keep_counter();
                if f.tear != Tear::NoOp {
                    self.off = true;
                    return Err(ErrorKind::Unavailable);
                }
            }
        }
        Ok(())
    }

    fn keep_counter(&mut self) {
        if let Some(mirror) = &self.mirror
            && !mirror.keep_counter(self.counter)
        {
            self.off = true;
        }
    }

    fn strike(&mut self, op: Op) -> Option<Fault> {
        let now = self.ops;
        self.ops += 1;
        self.trace.push(op);
        let fault = self.fault.filter(|f| f.at == now)?;
        self.struck = Some(op);
        Some(fault)
    }

    fn abuse(&mut self, what: String) {
        self.abuses.push(what);
    }

    /// Takes the cells from `at` on to `target`, unless a fault strikes.
    fn apply(&mut self, op: Op, at: usize, target: &[u8]) -> Result<(), ErrorKind> {
        let Some(fault) = self.strike(op) else {
            self.cells[at..at + target.len()].copy_from_slice(target);
            return Ok(());
        };
        if fault.tear == Tear::NoOp {
            return Ok(());
        }
        let changing: Vec<usize> = (0..target.len() * 8)
            .filter(|b| (self.cells[at + b / 8] ^ target[b / 8]) >> (b % 8) & 1 == 1)
            .collect();
        let split = self.draws.below(target.len() as u64 + 1) as usize;
        let spared = changing
            .get(self.draws.below(changing.len() as u64) as usize)
            .copied();
        for &b in &changing {
            let done = match fault.tear {
                Tear::Nothing | Tear::NoOp | Tear::Weak => false,
                Tear::Prefix => b / 8 < split,
                Tear::Suffix => b / 8 >= split,
                Tear::Random => self.draws.draw() & 1 == 1,
                Tear::AllButOne => Some(b) != spared,
                Tear::Complete => true,
            };
            if done {
                self.cells[at + b / 8] ^= 1 << (b % 8);
            }
            // The one spared bit alone is the nastiest: what was written reads
            // well at every other read.
            let shaky = match fault.tear {
                Tear::Nothing | Tear::Complete | Tear::NoOp => false,
                Tear::Weak => true,
                Tear::AllButOne => fault.unstable && !done,
                _ => fault.unstable && self.draws.draw() & 1 == 1,
            };
            if shaky {
                self.unstable[at + b / 8] |= 1 << (b % 8);
            }
        }
        self.off = true;
        Err(ErrorKind::Unavailable)
    }
}

/// What outlives a process.
pub(super) struct Kept {
    pub(super) cells: Vec<u8>,
    pub(super) unstable: Vec<u8>,
    pub(super) wear: Vec<u32>,
    pub(super) counter: u64,
}

/// Modelled time of an operation in nanoseconds, typical figures.
pub fn modelled_ns(op: &Op) -> u64 {
    match (op.kind, op.len) {
        (OpKind::Program, len) => u64::from(len.div_ceil(256)) * PAGE_NS,
        (OpKind::Erase, len @ 0x1_0000..) => u64::from(len / 0x1_0000) * BLOCK_NS,
        (OpKind::Erase, len) => u64::from(len.div_ceil(4096)) * SECTOR_NS,
        (OpKind::Count, _) => COUNT_NS,
    }
}

/// Called before each operation, with the chip unlocked: may let its modelled
/// time pass, and may plan the fault that strikes it.
pub type Pace = Arc<dyn Fn(&Hardware, &Op) + Send + Sync>;

/// A shared handle on a chip.
#[derive(Clone)]
pub struct Hardware {
    chip: Arc<Mutex<Chip>>,
    pace: Option<Pace>,
}

impl std::fmt::Debug for Hardware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.chip.fmt(f)
    }
}

impl Hardware {
    /// Takes the chip.
    pub fn new(chip: Chip) -> Self {
        Hardware {
            chip: Arc::new(Mutex::new(chip)),
            pace: None,
        }
    }

    /// Takes the chip; `pace` is called before each operation.
    pub fn paced(chip: Chip, pace: Pace) -> Self {
        Hardware {
            pace: Some(pace),
            ..Hardware::new(chip)
        }
    }

    /// The chip, locked. A panic elsewhere does not spoil the cells.
    pub fn chip(&self) -> MutexGuard<'_, Chip> {
        self.chip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn before(&self, kind: OpKind, at: u32, len: usize) {
        if let Some(pace) = &self.pace {
            let len = len as u32;
            pace(self, &Op { kind, at, len });
        }
    }
}
