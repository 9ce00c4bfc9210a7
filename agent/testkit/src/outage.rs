//! A part that stops answering, for as long as a test likes.

use crate::lock;
use nrd_hal::ErrorKind;
use std::sync::{Arc, Mutex};

/// How a part is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It answers nothing at all: every read, draw, signature and operation ends
    /// with [`ErrorKind::Unavailable`].
    Silent,
    /// Reads are answered. Whatever would change the part ends with this error
    /// and changes nothing: [`ErrorKind::OperationFailed`] for a part that is
    /// worn out.
    NoWrites(ErrorKind),
    /// Reads are answered. Whatever would change the part is acknowledged and
    /// changes nothing: NOR flash whose write-protect pin is pulled.
    Protected,
}

/// Puts one part out of order, and in order again. Clones are handles to the same
/// switch.
///
/// ```
/// use nrd_agent_testkit::{Failure, RamFlash};
/// use nrd_hal::{ErrorKind, Region};
///
/// let mut flash = RamFlash::sized(1, 4096, 2);
/// flash.outage.set(Failure::Protected);
/// assert_eq!(flash.program(0, &[0]), Ok(()));
/// assert_eq!(flash.image()[0], 0xFF); // acknowledged, and not done
/// flash.outage.set(Failure::Silent);
/// assert_eq!(flash.read(0, &mut [0]), Err(ErrorKind::Unavailable));
/// flash.outage.end();
/// assert_eq!(flash.read(0, &mut [0]), Ok(()));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Outage(Arc<Mutex<Option<Failure>>>);

impl Outage {
    /// The part is out of order from now on.
    pub fn set(&self, failure: Failure) {
        *lock(&self.0) = Some(failure);
    }

    /// The part answers again.
    pub fn end(&self) {
        *lock(&self.0) = None;
    }

    /// How the part is out of order, if it is.
    pub fn failure(&self) -> Option<Failure> {
        *lock(&self.0)
    }

    /// A read may take place.
    pub(crate) fn read(&self) -> Result<(), ErrorKind> {
        match self.failure() {
            Some(Failure::Silent) => Err(ErrorKind::Unavailable),
            Some(Failure::NoWrites(_) | Failure::Protected) | None => Ok(()),
        }
    }

    /// Whether an operation takes place (false: it is acknowledged all the same).
    pub(crate) fn operation(&self) -> Result<bool, ErrorKind> {
        match self.failure() {
            Some(Failure::Silent) => Err(ErrorKind::Unavailable),
            Some(Failure::NoWrites(kind)) => Err(kind),
            Some(Failure::Protected) => Ok(false),
            None => Ok(true),
        }
    }
}
