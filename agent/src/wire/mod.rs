//! Signed objects, requests and replies: everything that device and service
//! send each other.
//!
//! Every object is a *frame*:
//!
//! ```text
//! | "nrd/1/<type>" 0x00 | body (postcard 1.x) | Ed25519 signature, 64 B (signed types only) |
//! ```
//!
//! The signature covers every byte before it, so the type name that opens the
//! frame separates signatures of one purpose from those of another. A frame
//! has no length field: its carrier (an HTTP body, a file) delimits it.
//!
//! A frame is always read in this order: size bound, type name, signature,
//! body, no trailing bytes. Bytes are verified before they are parsed.
//!
//! [`codec`] reads and writes bodies, [`types`] holds the small types,
//! [`object`] the signed objects, [`message`] the request and the reply,
//! [`storage`] what a desk and a device say over a cable.
//!
//! # Examples
//!
//! An unsigned frame, written and read:
//!
//! ```
//! use nrd_agent::wire::{self, Answer, MAX_FRAME, Reply};
//!
//! let reply = Reply { challenge: [7; 32], root: None, delegation: None, answer: Answer::Noted };
//! let mut out = [0; MAX_FRAME];
//! let n = wire::encode(&reply, &mut out)?;
//! assert_eq!(n, "nrd/1/reply\0".len() + 32 + 1 + 1 + 1);
//!
//! let read: Reply = wire::decode(&out[..n])?;
//! assert_eq!(read.challenge, [7; 32]);
//! assert!(matches!(read.answer, Answer::Noted));
//! # Ok::<(), nrd_agent::Error>(())
//! ```
//!
//! A frame with a byte too many is refused, as is one of another type:
//!
//! ```
//! use nrd_agent::{Error, wire::{self, Answer, MAX_FRAME, Reply, Request}};
//!
//! let reply = Reply { challenge: [7; 32], root: None, delegation: None, answer: Answer::Noted };
//! let mut out = [0; MAX_FRAME];
//! let n = wire::encode(&reply, &mut out)?;
//! assert_eq!(wire::decode::<Reply>(&out[..n + 1]).err(), Some(Error::Malformed));
//! assert_eq!(wire::decode::<Request>(&out[..n]).err(), Some(Error::WrongType));
//! # Ok::<(), nrd_agent::Error>(())
//! ```

pub mod codec;
pub mod message;
pub mod object;
pub mod storage;
pub mod types;

pub use message::*;
pub use object::*;
pub use types::*;

use crate::error::Error;
use codec::{Blank, Code};
use nrd_hal::Crypto;

/// Length of an Ed25519 signature in bytes (RFC 8032).
pub const SIGNATURE_LEN: usize = 64;
/// Largest frame of any type, in bytes.
pub const MAX_FRAME: usize = 1536;

/// The opening bytes and the size limit of one type of frame.
pub struct Kind {
    /// The opening bytes, `b"nrd/1/<type>\0"`.
    pub context: &'static [u8],
    /// Largest frame in bytes, signature included.
    pub max: usize,
}

/// A body that travels in a frame of its own type.
///
/// `#[derive(Wire)]` with `#[wire(frame = "nrd/1/<type>", max = N)]` makes it,
/// and proves at compile time that the longest body fits into `MAX`, and `MAX`
/// into [`MAX_FRAME`].
pub trait Body<'a>: Code<'a> + Blank {
    /// The opening bytes, `b"nrd/1/<type>\0"`.
    const CONTEXT: &'static [u8];
    /// Largest frame of this type in bytes, signature included. Part of the
    /// format: a longer frame is refused before anything else is looked at.
    const MAX: usize;
    /// Both, for functions that serve every type.
    const KIND: &'static Kind = &Kind {
        context: Self::CONTEXT,
        max: Self::MAX,
    };
}

/// Writes the unsigned part of a frame (context and body) into `out`; returns
/// its length in bytes. Append a signature over exactly these bytes to sign it.
///
/// # Errors
///
/// [`Error::BufferTooSmall`] when `out` is too short; [`MAX_FRAME`] bytes are
/// enough for every frame of the protocol.
///
/// ```
/// use nrd_agent::{Error, wire::{self, Answer, Reply}};
///
/// let reply = Reply { challenge: [0; 32], root: None, delegation: None, answer: Answer::Noted };
/// assert_eq!(wire::encode(&reply, &mut [0; 46]), Err(Error::BufferTooSmall));
/// assert_eq!(wire::encode(&reply, &mut [0; 47]), Ok(47));
/// ```
pub fn encode<'a, B: Body<'a>>(body: &B, out: &mut [u8]) -> Result<usize, Error> {
    codec::write(B::CONTEXT, body, out)
}

/// Writes a signed frame into `out`; returns its length in bytes. `sign` is
/// given the bytes to sign.
///
/// # Errors
///
/// As [`encode`], and those of `sign`.
///
/// ```
/// use nrd_agent::Error;
/// use nrd_agent::wire::{self, Delegation, KeyVersion, TermBounds, TrustVersion};
/// use nrd_hal::crypto::RingCrypto;
/// use ring::signature::{Ed25519KeyPair, KeyPair as _};
///
/// let root = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
/// let public: [u8; 32] = root.public_key().as_ref().try_into().unwrap();
/// let delegation = Delegation {
///     version: TrustVersion { root: 0, delegation: 1 },
///     order_key_version: KeyVersion(1),
///     order_key: [2; 32],
///     session_key: [3; 32],
///     time_version: 0,
///     time_floor: 1_800_000_000,
///     bounds: TermBounds {
///         expires_min_s: 86_400,
///         expires_max_s: 5_184_000,
///         boots_min: 50,
///         dead_man_min_s: 2_592_000,
///     },
/// };
/// let mut frame = [0; 256];
/// let n = wire::encode_signed(&delegation, &mut frame, |bytes| {
///     root.sign(bytes).as_ref().try_into().map_err(|_| Error::Signing)
/// })?;
///
/// let read = wire::decode_signed::<Delegation, RingCrypto>(&frame[..n], &public);
/// assert_eq!(read, Ok(delegation));
///
/// // One bit of the body flipped: the signature no longer covers it.
/// frame[20] ^= 1;
/// let read = wire::decode_signed::<Delegation, RingCrypto>(&frame[..n], &public);
/// assert_eq!(read, Err(Error::BadSignature));
/// # Ok::<(), Error>(())
/// ```
pub fn encode_signed<'a, B: Body<'a>, E: From<Error>>(
    body: &B,
    out: &mut [u8],
    sign: impl FnOnce(&[u8]) -> Result<[u8; SIGNATURE_LEN], E>,
) -> Result<usize, E> {
    let n = encode(body, out)?;
    let (signed, rest) = out.split_at_mut_checked(n).ok_or(Error::BufferTooSmall)?;
    let end = rest
        .first_chunk_mut::<SIGNATURE_LEN>()
        .ok_or(Error::BufferTooSmall)?;
    *end = sign(signed)?;
    Ok(n + SIGNATURE_LEN)
}

/// Reads an unsigned frame.
///
/// # Errors
///
/// [`Error::TooLong`], [`Error::WrongType`], [`Error::Malformed`], looked for in
/// this order.
pub fn decode<'a, B: Body<'a>>(frame: &'a [u8]) -> Result<B, Error> {
    let mut value = B::BLANK;
    read(frame, B::KIND, &mut value)?;
    Ok(value)
}

/// Reads a signed frame: checks the signature first, then parses.
///
/// # Errors
///
/// [`Error::TooLong`], [`Error::WrongType`], [`Error::BadSignature`],
/// [`Error::Malformed`], looked for in this order.
pub fn decode_signed<'a, B: Body<'a>, C: Crypto>(
    frame: &'a [u8],
    public_key: &[u8; 32],
) -> Result<B, Error> {
    let mut value = B::BLANK;
    read_signed::<C>(frame, B::KIND, public_key, &mut value)?;
    Ok(value)
}

/// Reads the body of a signed frame **without** checking its signature, to
/// learn which key must check it. Never act on what this returns.
///
/// # Errors
///
/// As [`decode`].
///
/// ```
/// use nrd_agent::wire::{self, Order};
///
/// // Too short to hold a signature.
/// let refused = wire::peek::<Order>(b"nrd/1/order\0");
/// assert_eq!(refused.err(), Some(nrd_agent::Error::WrongType));
/// ```
pub fn peek<'a, B: Body<'a>>(frame: &'a [u8]) -> Result<B, Error> {
    let mut value = B::BLANK;
    peek_into(frame, B::KIND, &mut value)?;
    Ok(value)
}

/// As [`peek`], into a blank body.
pub(crate) fn peek_into<'a>(
    frame: &'a [u8],
    kind: &Kind,
    body: &mut dyn Code<'a>,
) -> Result<(), Error> {
    let (signed, _) = signature(frame)?;
    read(signed, kind, body)
}

/// Refuses what cannot be a frame of this kind.
fn check(frame: &[u8], kind: &Kind) -> Result<(), Error> {
    if frame.len() > kind.max {
        Err(Error::TooLong)
    } else if frame.starts_with(kind.context) {
        Ok(())
    } else {
        Err(Error::WrongType)
    }
}

/// As [`decode`], into a blank body.
pub(crate) fn read<'a>(frame: &'a [u8], kind: &Kind, body: &mut dyn Code<'a>) -> Result<(), Error> {
    check(frame, kind)?;
    let bytes = frame.get(kind.context.len()..).unwrap_or_default();
    if codec::read_into(bytes, body) {
        Ok(())
    } else {
        Err(Error::Malformed)
    }
}

/// As [`decode_signed`], into a blank body.
pub(crate) fn read_signed<'a, C: Crypto>(
    frame: &'a [u8],
    kind: &Kind,
    public_key: &[u8; 32],
    body: &mut dyn Code<'a>,
) -> Result<(), Error> {
    check(frame, kind)?;
    let (signed, signature) = signature(frame)?;
    C::verify(public_key, signed, signature).map_err(|_| Error::BadSignature)?;
    read(signed, kind, body)
}

/// The bytes of the body of a signed frame, which was read before.
pub(crate) fn signed_body<'a>(frame: &'a [u8], kind: &Kind) -> Result<&'a [u8], Error> {
    let (signed, _) = signature(frame)?;
    signed.get(kind.context.len()..).ok_or(Error::WrongType)
}

/// Splits a frame into the bytes that its signature covers and the signature.
fn signature(frame: &[u8]) -> Result<(&[u8], &[u8; SIGNATURE_LEN]), Error> {
    frame
        .split_last_chunk::<SIGNATURE_LEN>()
        .ok_or(Error::WrongType)
}
