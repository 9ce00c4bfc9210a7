//! Flash cells, the counter beside them, and what a power cut does to both.

use super::defects::{Defects, Worn};
use super::file::Mirror;
use super::power_fault::{Cells, FaultMode, Op, OpKind, PlannedFault, modelled_ns, tear};
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
    defects: Defects,
    draws: SplitMix,
    ops: u64,
    trace: Vec<Op>,
    fault: Option<PlannedFault>,
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
            defects: Defects::default(),
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

    /// What the counter answers when it is read.
    pub(super) fn read_counter(&mut self) -> Result<u64, ErrorKind> {
        self.check(0, 0)?;
        if self.defects.counter_mute() {
            Err(ErrorKind::Unavailable)
        } else {
            Ok(self.counter)
        }
    }

    /// Lets the counter take `steps` more steps and no further.
    pub fn wear_out_counter(&mut self, steps: u64) {
        self.defects.counter_end = Some(self.counter + steps);
    }

    /// What is wrong with the part, to add to it.
    pub fn defects(&mut self) -> &mut Defects {
        &mut self.defects
    }

    /// Makes the bits of `mask` in the byte at `at` hold 1 (`high`) or 0
    /// whatever is done to them.
    pub fn stick(&mut self, at: u32, mask: u8, high: bool) {
        self.defects.stick(at, mask, high);
        let at = at as usize;
        self.defects
            .force(&mut self.cells, &mut self.unstable, at..at + 1);
    }

    /// Flips the bits of `mask` in the byte at `at`: charge that was lost or
    /// gained over the years.
    pub fn rot(&mut self, at: u32, mask: u8) {
        self.cells[at as usize] ^= mask;
    }

    /// Makes the bits of `mask` in the byte at `at` read differently at every
    /// read, until the next completed erase.
    pub fn unsettle(&mut self, at: u32, mask: u8) {
        self.unstable[at as usize] |= mask;
    }

    /// Everything that later reads and operations may depend on: cells,
    /// unstable bits, what is programmed, wear, counter, faults, draws. Not the
    /// tallies.
    pub fn hash_into(&self, h: &mut impl Hasher) {
        (&self.cells, &self.unstable, &self.programmed).hash(h);
        (&self.wear, self.counter, &self.defects).hash(h);
        (self.fault, self.off, self.draws).hash(h);
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
    pub fn plan(&mut self, fault: Option<PlannedFault>) {
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

    fn check(&mut self, at: u32, len: usize) -> Result<(), ErrorKind> {
        if self.off || self.defects.is_silent(self.ops) {
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
        self.defects.readable(at, out.len())?;
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
        let takes = self.defects.takes_programs(at, bytes.len(), self.ops);
        let target: Vec<u8> = self.cells[from..to]
            .iter()
            .zip(bytes)
            .map(|(c, b)| if takes { c & b } else { *c })
            .collect();
        let done = self.apply(op, from, &target);
        self.keep(from, bytes.len());
        self.answer(done)
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
        let (a, b) = (from as usize, to as usize);
        let worn = self.defects.erases(from, to, self.ops);
        let mut target = vec![0xFF; len as usize];
        match worn {
            None => {}
            Some(Worn::Half) => {
                for (t, c) in target.iter_mut().zip(&self.cells[a..b]) {
                    *t = c | self.draws.draw() as u8;
                }
            }
            Some(Worn::Silent | Worn::Fails) => target.copy_from_slice(&self.cells[a..b]),
        }
        let done = self.apply(op, a, &target);
        let w = self.spec.geometry.write_size;
        let units = (from / w) as usize..(to / w) as usize;
        if done == Ok(true) && worn.is_none() {
            self.unstable[a..b].fill(0);
            self.programmed[units].fill(false);
            self.defects.erased(from, to);
        } else if self.struck_by(FaultMode::Preprogram) {
            self.programmed[units].fill(true);
        }
        self.keep(a, len as usize);
        match worn {
            Some(Worn::Fails) if done.is_ok() => Err(ErrorKind::OperationFailed),
            _ => self.answer(done),
        }
    }

    /// True when the planned fault struck the last operation with this tear.
    fn struck_by(&self, tear: FaultMode) -> bool {
        self.fault
            .is_some_and(|f| f.at + 1 == self.ops && f.tear == tear)
    }

    /// What the software hears of an operation: nothing any more when the
    /// power has gone.
    fn answer(&self, done: Result<bool, ErrorKind>) -> Result<(), ErrorKind> {
        if self.off {
            Err(ErrorKind::Unavailable)
        } else {
            done.map(|_| ())
        }
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
        self.defects.counter_steps(self.counter)?;
        match fault {
            None => {
                self.counter += 1;
                self.keep_counter();
            }
            Some(f) => {
                let stepped = match f.tear {
                    FaultMode::Nothing | FaultMode::NoOp | FaultMode::Weak => false,
                    FaultMode::Random | FaultMode::Half | FaultMode::Preprogram => {
                        self.draws.draw() & 1 == 1
                    }
                    FaultMode::Prefix
                    | FaultMode::Suffix
                    | FaultMode::AllButOne
                    | FaultMode::Complete => true,
                };
                self.counter += u64::from(stepped);
                self.keep_counter();
                if !f.tear.is_silent() {
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

    fn strike(&mut self, op: Op) -> Option<PlannedFault> {
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

    /// Takes the cells from `at` on to `target`, unless a fault strikes. True
    /// when the operation ran to its end.
    fn apply(&mut self, op: Op, at: usize, target: &[u8]) -> Result<bool, ErrorKind> {
        let range = at..at + target.len();
        let Some(fault) = self.strike(op) else {
            self.cells[range.clone()].copy_from_slice(target);
            self.defects
                .force(&mut self.cells, &mut self.unstable, range);
            return Ok(true);
        };
        let cells = Cells {
            cells: &mut self.cells[range.clone()],
            unstable: &mut self.unstable[range.clone()],
        };
        tear(cells, target, op.kind, fault, &mut self.draws);
        self.defects
            .force(&mut self.cells, &mut self.unstable, range);
        if fault.tear.is_silent() {
            return Ok(false);
        }
        self.off = true;
        match fault.tear {
            FaultMode::Complete => Ok(true),
            _ => Err(ErrorKind::Unavailable),
        }
    }
}

/// What outlives a process.
pub(super) struct Kept {
    pub(super) cells: Vec<u8>,
    pub(super) unstable: Vec<u8>,
    pub(super) wear: Vec<u32>,
    pub(super) counter: u64,
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
