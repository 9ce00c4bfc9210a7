//! Cuts the power, or lets a part fail, after a number of operations.

use crate::lock;
use nrd_hal::ErrorKind;
use std::sync::{Arc, Mutex};

/// The power supply that the parts of one device share. Clones are handles to
/// the same supply.
///
/// An *operation* is whatever changes a part: a program or an erase of flash,
/// a write, zero or erase of a key slot, a step of the counter. Reads are not
/// counted, but answer [`ErrorKind::Unavailable`] while the power is off.
///
/// ```
/// use nrd_agent_testkit::{Power, RamFlash};
/// use nrd_hal::{ErrorKind, Region};
///
/// let power = Power::default();
/// let mut flash = RamFlash::sized(1, 4096, 2).with_power(&power);
/// power.cut_after(1);
/// flash.program(0, &[0; 8]).unwrap();
/// // The second operation is cut half way, and then nothing answers.
/// assert_eq!(flash.program(8, &[0; 8]), Err(ErrorKind::Unavailable));
/// assert!(power.is_off());
///
/// power.restore();
/// let mut bytes = [0; 8];
/// flash.read(8, &mut bytes).unwrap();
/// assert_eq!(bytes, [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Power(Arc<Mutex<Supply>>);

#[derive(Debug, Default)]
struct Supply {
    operations: u64,
    cut_at: Option<u64>,
    fail_at: Option<(u64, ErrorKind)>,
    off: bool,
}

/// How much of an operation takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// Its first half; then the power is off.
    Half,
}

impl Extent {
    /// How many of `n` bytes (or blocks) change.
    pub(crate) fn of(self, n: usize) -> usize {
        match self {
            Extent::Whole => n,
            Extent::Half => n / 2,
        }
    }

    /// The operation's answer, once it has taken place that far.
    pub(crate) fn answer(self) -> Result<(), ErrorKind> {
        match self {
            Extent::Whole => Ok(()),
            Extent::Half => Err(ErrorKind::Unavailable),
        }
    }
}

impl Power {
    /// Lets `n` more operations complete and cuts the next one half way. Until
    /// [`Power::restore`] every part answers [`ErrorKind::Unavailable`].
    pub fn cut_after(&self, n: u64) {
        let mut supply = lock(&self.0);
        supply.cut_at = Some(supply.operations + n);
    }

    /// Lets `n` more operations complete; the next one answers `kind` and
    /// changes nothing. The one after it works again.
    pub fn fail_after(&self, n: u64, kind: ErrorKind) {
        let mut supply = lock(&self.0);
        supply.fail_at = Some((supply.operations + n, kind));
    }

    /// True after a cut, until [`Power::restore`].
    pub fn is_off(&self) -> bool {
        lock(&self.0).off
    }

    /// Switches on again, and forgets what was planned.
    pub fn restore(&self) {
        let mut supply = lock(&self.0);
        supply.off = false;
        supply.cut_at = None;
        supply.fail_at = None;
    }

    /// Operations begun so far, cut and failed ones included. Run a script
    /// once to learn how many it takes, then once for every place to cut it.
    pub fn operations(&self) -> u64 {
        lock(&self.0).operations
    }

    /// A read may take place.
    pub(crate) fn read(&self) -> Result<(), ErrorKind> {
        match lock(&self.0).off {
            true => Err(ErrorKind::Unavailable),
            false => Ok(()),
        }
    }

    /// Counts an operation; says how much of it takes place.
    pub(crate) fn operation(&self) -> Result<Extent, ErrorKind> {
        let mut supply = lock(&self.0);
        if supply.off {
            return Err(ErrorKind::Unavailable);
        }
        let number = supply.operations;
        supply.operations += 1;
        if let Some((at, kind)) = supply.fail_at
            && at == number
        {
            supply.fail_at = None;
            return Err(kind);
        }
        if supply.cut_at == Some(number) {
            supply.off = true;
            return Ok(Extent::Half);
        }
        Ok(Extent::Whole)
    }
}
