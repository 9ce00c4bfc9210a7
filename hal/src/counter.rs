//! A counter that only goes up: the device's *epoch*.

use crate::error::ErrorType;

/// The value of the monotonic counter. One epoch lasts from one wipe to the
/// next; everything sealed in an epoch is dead once the counter has passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that a wipe begun in this one brings, or `None` at the end of
    /// the 64-bit range.
    pub fn next(self) -> Option<Epoch> {
        self.0.checked_add(1).map(Epoch)
    }
}

/// A hardware monotonic counter (fuses, RPMB write counter, a secure element).
///
/// Contract, checked by the conformance suite:
/// - `read` returns the same value until `increment` returns `Ok`, across
///   power cycles;
/// - `increment` raises the value by exactly one. A power cut during
///   `increment` leaves the old or the new value, never anything else;
/// - the value never decreases, whatever is written to the flash.
pub trait MonotonicCounter: ErrorType {
    /// The current value.
    fn read(&mut self) -> Result<Epoch, Self::Error>;

    /// Raises the value by one. [`crate::ErrorKind::WornOut`] when no step is
    /// left: the agent then still destroys the keys, says so in the receipt,
    /// and does not activate again.
    fn increment(&mut self) -> Result<(), Self::Error>;

    /// How many increments the part is rated for over its life (a datasheet
    /// figure; a fuse bank of 64 bits has 64).
    fn endurance(&self) -> u64;
}

impl<T: MonotonicCounter + ?Sized> MonotonicCounter for &mut T {
    fn read(&mut self) -> Result<Epoch, Self::Error> {
        T::read(self)
    }
    fn increment(&mut self) -> Result<(), Self::Error> {
        T::increment(self)
    }
    fn endurance(&self) -> u64 {
        T::endurance(self)
    }
}
