//! One error vocabulary for every port, after the manner of `embedded-hal`:
//! each trait has its own error type, and [`Error::kind`] says what a caller
//! can do about it.

use core::fmt::Debug;

/// What went wrong, in terms a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The range lies outside the part. A programming error: do not retry.
    OutOfBounds,
    /// Offset or length is not a multiple of the part's write or erase size.
    NotAligned,
    /// The part reported bits that its error correction could not mend. For
    /// the agent this is a torn or rotten record, never a failed boot.
    Ecc,
    /// A program or erase operation ended with the part's own failure flag.
    OperationFailed,
    /// A counter or sector has no write cycles left.
    WornOut,
    /// The part refuses on principle, for example a root key asked for a past
    /// epoch. Retrying gives the same answer.
    Refused,
    /// The part did not answer (a bus fault, a busy secure world). Try later.
    Unavailable,
    /// Anything else.
    Other,
}

/// An error of a port.
///
/// ```
/// use nrd_hal::{Error, ErrorKind};
///
/// /// What this SPI NOR driver reports.
/// #[derive(Debug)]
/// enum SpiNorError {
///     Bus,
///     ProgramFailed,
///     PastTheEnd { at: u32 },
/// }
///
/// impl Error for SpiNorError {
///     fn kind(&self) -> ErrorKind {
///         match self {
///             SpiNorError::Bus => ErrorKind::Unavailable,
///             SpiNorError::ProgramFailed => ErrorKind::OperationFailed,
///             SpiNorError::PastTheEnd { .. } => ErrorKind::OutOfBounds,
///         }
///     }
/// }
///
/// assert_eq!(SpiNorError::Bus.kind(), ErrorKind::Unavailable);
/// ```
pub trait Error: Debug {
    /// The kind that generic code acts on.
    fn kind(&self) -> ErrorKind;
}

impl Error for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

impl Error for core::convert::Infallible {
    fn kind(&self) -> ErrorKind {
        match *self {}
    }
}

/// Names the error type of a trait's implementor; blanket-implemented for
/// `&mut T`.
pub trait ErrorType {
    /// The error every fallible method returns.
    type Error: Error;
}

impl<T: ErrorType + ?Sized> ErrorType for &mut T {
    type Error = T::Error;
}
