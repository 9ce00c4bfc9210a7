//! A counter that only goes up: the device's *epoch*.

use crate::error::ErrorType;

/// The value of the monotonic counter. One epoch lasts from one wipe to the
/// next; everything sealed in an epoch is dead once the counter has passed it.
///
/// ```
/// use nrd_hal::Epoch;
///
/// assert_eq!(Epoch(4).next(), Some(Epoch(5)));
/// assert_eq!(Epoch(u64::MAX).next(), None);
/// ```
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
///
/// A bank of 64 fuses, of which the blown ones are counted:
///
/// ```
/// use nrd_hal::{Epoch, ErrorKind, ErrorType, MonotonicCounter, conformance};
///
/// struct FuseBank(u64);
///
/// impl ErrorType for FuseBank {
///     type Error = ErrorKind;
/// }
///
/// impl MonotonicCounter for FuseBank {
///     fn read(&mut self) -> Result<Epoch, ErrorKind> {
///         Ok(Epoch(self.0.count_ones().into()))
///     }
///     fn increment(&mut self) -> Result<(), ErrorKind> {
///         let blown = self.0.trailing_ones();
///         let next = 1u64.checked_shl(blown).ok_or(ErrorKind::WornOut)?;
///         self.0 |= next; // blows one more
///         Ok(())
///     }
///     fn endurance(&self) -> u64 {
///         64
///     }
/// }
///
/// let mut fuses = FuseBank(0);
/// assert_eq!(conformance::counter(&mut fuses, 64), Ok(()));
/// assert_eq!(fuses.increment(), Err(ErrorKind::WornOut));
/// ```
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
