//! A log over a flash in RAM whose operations can fail silently or be cut.

use nrd_agent::Error;
use nrd_agent::log::{Entry, Log, LogContext, LogKeys, Progress, RECORD_OVERHEAD, RecordId};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::rand_core::{TryCryptoRng, TryRng, utils};
use nrd_hal::{ErrorKind, ErrorType, Geometry, Region};
use std::ops::Range;

/// Randomness does not matter here.
pub(crate) struct Zeros;

impl TryRng for Zeros {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        utils::next_word_via_fill(self)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        utils::next_word_via_fill(self)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.fill(0);
        Ok(())
    }
}
impl TryCryptoRng for Zeros {}

/// Flash with sectors of 2 KiB, some of whose operations silently do nothing.
#[derive(Clone)]
pub(crate) struct Flash {
    pub(crate) cells: Vec<u8>,
    /// Programs from now on that silently do nothing.
    pub(crate) idle_programs: u32,
    /// Erases from now on that silently do nothing.
    pub(crate) idle_erases: u32,
    /// Every read answers this error.
    pub(crate) read_error: Option<ErrorKind>,
    /// Operations so far.
    pub(crate) ops: u32,
    /// Where each program so far began, by the number of its operation.
    pub(crate) programs: Vec<(u32, u32)>,
    /// The sector of each erase so far.
    pub(crate) erases: Vec<u32>,
    /// Programs of this sector silently do nothing.
    pub(crate) dead: Option<u32>,
    /// The power goes before the operation of this number.
    pub(crate) cut_at: u32,
    /// Operations of these numbers silently do nothing.
    pub(crate) idle: Range<u32>,
}

pub(crate) const SECTOR: u32 = 2048;

impl Flash {
    pub(crate) fn new(sectors: u32) -> Flash {
        Flash {
            cells: vec![0xA5; (sectors * SECTOR) as usize],
            idle_programs: 0,
            idle_erases: 0,
            read_error: None,
            ops: 0,
            programs: Vec::new(),
            erases: Vec::new(),
            dead: None,
            cut_at: u32::MAX,
            idle: 0..0,
        }
    }

    /// Counts one operation; an error once the power has gone. True when the
    /// operation is to do nothing.
    pub(crate) fn operate(&mut self) -> Result<bool, ErrorKind> {
        if self.ops == self.cut_at {
            return Err(ErrorKind::Unavailable);
        }
        self.ops += 1;
        Ok(self.idle.contains(&(self.ops - 1)))
    }

    /// The power comes back.
    pub(crate) fn power_on(&mut self) {
        self.cut_at = u32::MAX;
        self.idle_erases = 0;
    }
}

/// Counts one down; true while there was one.
pub(crate) fn one_of(n: &mut u32) -> bool {
    let was = *n;
    *n = was.saturating_sub(1);
    was > 0
}

impl ErrorType for Flash {
    type Error = ErrorKind;
}

impl Region for Flash {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.cells.len() as u32,
            write_size: 4,
            erase_size: SECTOR,
            best_erase: SECTOR,
        }
    }
    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        bytes.copy_from_slice(&self.cells[at as usize..at as usize + bytes.len()]);
        self.read_error.map_or(Ok(()), Err)
    }
    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.programs.push((self.ops, at));
        let idle = self.operate()?;
        let cells = &mut self.cells[at as usize..at as usize + bytes.len()];
        assert!(
            cells.iter().all(|&c| c == 0xFF),
            "a program over cells that are not blank"
        );
        let dead = self.dead == Some(at / SECTOR);
        if !one_of(&mut self.idle_programs) && !idle && !dead {
            cells.copy_from_slice(bytes);
        }
        Ok(())
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        self.erases.push(from / SECTOR);
        let idle = self.operate()?;
        if !one_of(&mut self.idle_erases) && !idle {
            self.cells[from as usize..to as usize].fill(0xFF);
        }
        Ok(())
    }
}

/// One boot of a log over `flash`.
pub(crate) struct Boot<'b> {
    pub(crate) log: Log<'b>,
    pub(crate) flash: &'b mut Flash,
    pub(crate) keys: LogKeys,
    pub(crate) scratch: Vec<u8>,
    /// Calls so far: a boot that goes on for ever fails its test.
    pub(crate) calls: u32,
}

/// What a boot lends its log.
#[derive(Default)]
pub(crate) struct Ram(Vec<u32>, Vec<Entry>);

impl<'b> Boot<'b> {
    pub(crate) fn new(flash: &'b mut Flash, ram: &'b mut Ram) -> Boot<'b> {
        *ram = Ram(vec![0; 32], vec![Entry::default(); 64]);
        Boot {
            log: Log::new(flash.geometry(), &mut ram.0, &mut ram.1, 0).unwrap(),
            flash,
            keys: LogKeys::new::<RingCrypto>(1, 7, &[1; 32]),
            scratch: vec![0; 8192],
            calls: 0,
        }
    }
    pub(crate) fn run<T>(
        &mut self,
        f: impl FnOnce(&mut Log<'b>, &mut LogContext<'_, Flash, Zeros, RingCrypto>) -> T,
    ) -> T {
        self.calls += 1;
        assert!(self.calls < 20_000, "the log does not come to rest");
        let mut zeros = Zeros;
        let mut io = LogContext::new(self.flash, &mut zeros, &mut self.keys, &mut self.scratch);
        f(&mut self.log, &mut io)
    }
    pub(crate) fn step(&mut self) -> Progress {
        let needed = self.log.needs_step();
        let progress = self.run(|log, io| log.step(io)).unwrap();
        assert!(
            needed || progress == Progress::Done,
            "a step that was not needed"
        );
        progress
    }
    pub(crate) fn settle(&mut self) {
        while self.step() == Progress::More {}
    }
    pub(crate) fn try_put(&mut self, id: u16, value: &[u8]) -> Result<(), Error> {
        self.run(|log, io| log.put(io, record(id), value))
    }
    pub(crate) fn put(&mut self, id: u16, value: &[u8]) {
        while let Err(e) = self.try_put(id, value) {
            assert_eq!(e, Error::Busy);
            self.settle();
        }
    }
    pub(crate) fn remove(&mut self, id: u16) -> Result<(), Error> {
        self.run(|log, io| log.remove(io, record(id)))
    }
    pub(crate) fn get(&mut self, id: u16) -> Result<Vec<u8>, Error> {
        let mut out = [0; 2048];
        let n = self.run(|log, io| log.get(io, record(id), &mut out))?;
        Ok(out[..n].to_vec())
    }
}

pub(crate) fn record(id: u16) -> RecordId {
    RecordId { class: 1, id }
}

/// A value that is 500 bytes of its id.
pub(crate) fn value(id: u16) -> Vec<u8> {
    vec![id as u8; 500]
}

/// Fills several sectors with values 1 to 12.
pub(crate) fn filled() -> Flash {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    for id in 1..=12 {
        boot.put(id, &value(id));
    }
    flash
}

/// A well-formed record that was sealed for another epoch.
pub(crate) fn foreign(id: u16, value: &[u8]) -> Vec<u8> {
    let mut flash = Flash::new(9);
    let mut ram = Ram::default();
    let mut boot = Boot::new(&mut flash, &mut ram);
    boot.keys = LogKeys::new::<RingCrypto>(1, 8, &[1; 32]);
    boot.put(id, value);
    let at = flash.programs.last().unwrap().1 as usize;
    flash.cells[at..at + RECORD_OVERHEAD + value.len()].to_vec()
}

/// Boots, and writes value 1 anew; the power may go.
pub(crate) fn written(flash: &mut Flash) -> bool {
    let mut ram = Ram::default();
    let mut boot = Boot::new(flash, &mut ram);
    loop {
        match boot.try_put(1, &value(99)) {
            Ok(()) => return true,
            Err(Error::Busy) => {}
            Err(_) => return false,
        }
        loop {
            match boot.run(|log, io| log.step(io)) {
                Ok(Progress::Done) => break,
                Ok(Progress::More) => {}
                Err(_) => return false,
            }
        }
    }
}

/// The first opening of the next boot that writes: its header's operation and
/// its sector.
pub(crate) fn opening(flash: &Flash) -> (u32, u32) {
    let mut probe = flash.clone();
    assert!(written(&mut probe));
    let new = probe.programs[flash.programs.len()..].iter();
    let (op, at) = new
        .copied()
        .find(|(_, at)| at % SECTOR == 0)
        .expect("a boot that writes opens a sector");
    (op, at / SECTOR)
}

pub(crate) fn all_there(flash: &mut Flash, first: &[u8], why: &str) {
    let mut ram = Ram::default();
    let mut boot = Boot::new(flash, &mut ram);
    boot.settle();
    assert!(boot.get(1).as_deref() == Ok(first), "{why}: value 1");
    for id in 2..=12 {
        assert!(boot.get(id) == Ok(value(id)), "{why}: value {id}");
    }
}
