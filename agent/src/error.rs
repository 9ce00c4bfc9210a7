//! The agent's errors: few, with stable codes, each saying what to do.

use crate::log::{Key, LogError};
use crate::wire::FrameError;
use nrd_hal::ErrorKind;

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// Call `step` until it answers `Idle`, then again.
    Busy,
    /// The state does not allow this call; ask `status`.
    WrongState,
    /// No such record.
    NotFound,
    /// This record does not authenticate; write or remove it.
    Corrupt(Key),
    /// The cache is full: remove something first.
    Full,
    /// The value is longer than a record can hold.
    TooLong,
    /// The caller's buffer is too short.
    BufferTooSmall,
    /// The flash is worn out.
    WornOut,
    /// A part did not answer; try again.
    Hardware(ErrorKind),
    /// The random generator fails its health test: no activation with it.
    RandomGenerator,
    /// The cipher refused.
    Crypto,
    /// A frame was refused; nothing was changed.
    Frame(FrameError),
    /// A frame is for another device, activation or request.
    NotForUs,
    /// The device key could not sign; try again.
    Signing,
}

impl Error {
    /// A stable number for logs and the C interface.
    pub fn code(&self) -> u16 {
        match self {
            Error::Busy => 1,
            Error::WrongState => 2,
            Error::NotFound => 3,
            Error::Corrupt(_) => 4,
            Error::Full => 5,
            Error::TooLong => 6,
            Error::BufferTooSmall => 7,
            Error::WornOut => 8,
            Error::Hardware(_) => 9,
            Error::RandomGenerator => 10,
            Error::Crypto => 11,
            Error::Frame(_) => 12,
            Error::NotForUs => 13,
            Error::Signing => 14,
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Error::Busy => "busy: step the agent until it is idle, then try again",
            Error::WrongState => "the device's state does not allow this",
            Error::NotFound => "no such record",
            Error::Corrupt(_) => "the record does not authenticate",
            Error::Full => "the cache is full",
            Error::TooLong => "the value is too long",
            Error::BufferTooSmall => "the buffer is too small",
            Error::WornOut => "the flash is worn out",
            Error::Hardware(_) => "a hardware part did not answer",
            Error::RandomGenerator => "the random generator fails its health test",
            Error::Crypto => "the cipher refused",
            Error::Frame(_) => "the frame was refused",
            Error::NotForUs => "the frame is not for this device, activation or request",
            Error::Signing => "the device key could not sign",
        })
    }
}

impl core::error::Error for Error {}

impl From<LogError> for Error {
    fn from(e: LogError) -> Self {
        match e {
            LogError::Busy => Error::Busy,
            LogError::Full => Error::Full,
            LogError::NotFound => Error::NotFound,
            LogError::Corrupt(key) => Error::Corrupt(key),
            LogError::TooLong => Error::TooLong,
            LogError::BufferTooSmall => Error::BufferTooSmall,
            LogError::WornOut => Error::WornOut,
            LogError::Flash(kind) => Error::Hardware(kind),
            LogError::Crypto => Error::Crypto,
        }
    }
}

impl From<FrameError> for Error {
    fn from(e: FrameError) -> Self {
        match e {
            FrameError::NoSpace => Error::BufferTooSmall,
            e => Error::Frame(e),
        }
    }
}
