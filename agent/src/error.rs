//! The agent's errors: one small enum with stable numbers, each saying what
//! to do.

/// Why a call was refused.
///
/// ```
/// use nrd_agent::{Class, Error};
/// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
/// # let mut service = StubService::new(1);
/// # let device = TestPlatform::builder().build(&service);
/// # let mut memory = TestMemory::default();
/// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// # service.serve(&mut agent).unwrap();
/// // Nobody is signed in.
/// let refused = agent.put(Class::Email, 1, b"alex@example.org").unwrap_err();
/// assert_eq!(refused, Error::WrongState);
/// assert_eq!(refused.code(), 2); // the same in the C interface
/// assert_eq!(refused.to_string(), "the device's state does not allow this");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// Call `step` until it answers `Idle`, then again.
    Busy = 1,
    /// The state does not allow this call; ask `status`.
    WrongState = 2,
    /// No such record.
    NotFound = 3,
    /// The record does not authenticate, or a lost one may have replaced it;
    /// write or remove it.
    Corrupt = 4,
    /// The live records, this one included, would not fit: remove something
    /// first.
    Full = 5,
    /// Longer than a record can hold, or than a frame of its type may be.
    TooLong = 6,
    /// The caller's buffer is too short.
    BufferTooSmall = 7,
    /// The flash, or the counter, is worn out.
    WornOut = 8,
    /// A part did not answer; try again.
    Hardware = 9,
    /// The random generator fails its health test: no activation with it.
    RandomGenerator = 10,
    /// The cipher refused.
    Crypto = 11,
    /// The frame's body is not what its type prescribes, or bytes follow it; or a
    /// value that was to be written has no encoding.
    /// Nothing was changed, as with all errors of a frame.
    Malformed = 12,
    /// The frame is for another device, activation or request.
    NotForUs = 13,
    /// The device key could not sign; try again.
    Signing = 14,
    /// The bytes are too short for a frame, or one of another type.
    WrongType = 15,
    /// The frame's signature does not verify under the expected key.
    BadSignature = 16,
    /// The order is signed by an order key that is not in force here; the service
    /// signs it anew. It was not verified, so nothing answers it.
    KeyRetired = 17,
}

impl Error {
    /// A stable number for logs and the C interface.
    pub const fn code(self) -> u16 {
        self as u16
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Error::Busy => "busy: step the agent until it is idle, then try again",
            Error::WrongState => "the device's state does not allow this",
            Error::NotFound => "no such record",
            Error::Corrupt => "the record does not authenticate",
            Error::Full => "the cache is full",
            Error::TooLong => "longer than a record can hold, or than a frame of its type may be",
            Error::BufferTooSmall => "the buffer is too small",
            Error::WornOut => "the flash or the counter is worn out",
            Error::Hardware => "a hardware part did not answer",
            Error::RandomGenerator => "the random generator fails its health test",
            Error::Crypto => "the cipher refused",
            Error::Malformed => "the frame's body is malformed",
            Error::NotForUs => "the frame is not for this device, activation or request",
            Error::Signing => "the device key could not sign",
            Error::WrongType => "the bytes are not a frame of the expected type",
            Error::BadSignature => "the signature does not verify",
            Error::KeyRetired => "the order is signed by an order key that is not in force",
        })
    }
}

impl core::error::Error for Error {}
