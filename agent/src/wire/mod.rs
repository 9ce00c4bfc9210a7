//! What crosses the border of the device: signed objects, requests, replies.
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
//! Reading a frame always goes in this order: size bound, type name,
//! signature, postcard, no trailing bytes. Bytes are verified before they are
//! parsed.
//!
//! [`codec`] reads and writes bodies, [`types`] holds the small types, [`object`] the signed objects, [`message`]
//! the request and the reply.

pub mod codec;
pub mod message;
pub mod object;
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

/// What a frame of one type opens with, and how long it may be.
pub struct Kind {
    /// The opening bytes, `b"nrd/1/<type>\0"`.
    pub context: &'static [u8],
    /// Largest frame in bytes, signature included.
    pub max: usize,
}

/// A body that travels in a frame of its own type.
pub trait Body<'a>: Code<'a> + Blank + Clone {
    /// The opening bytes, `b"nrd/1/<type>\0"`.
    const CONTEXT: &'static [u8];
    /// Largest frame of this type in bytes, signature included.
    const MAX: usize;
    /// Both.
    const KIND: &'static Kind = &Kind {
        context: Self::CONTEXT,
        max: Self::MAX,
    };
}

/// Writes the unsigned part of a frame (context and body) into `out`; returns
/// its length. Append a signature over exactly these bytes to sign it.
pub fn encode<'a, B: Body<'a>>(body: &B, out: &mut [u8]) -> Result<usize, Error> {
    codec::write(B::CONTEXT, &mut body.clone(), out)
}

/// Writes a signed frame into `out`; returns its length. `sign` is given the
/// bytes to sign.
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
pub fn decode<'a, B: Body<'a>>(frame: &'a [u8]) -> Result<B, Error> {
    let mut value = B::BLANK;
    read(frame, B::KIND, &mut value)?;
    Ok(value)
}

/// Reads a signed frame: checks the signature first, then parses.
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
pub fn peek<'a, B: Body<'a>>(frame: &'a [u8]) -> Result<B, Error> {
    let mut value = B::BLANK;
    peek_into(frame, B::KIND, &mut value)?;
    Ok(value)
}

/// As [`peek`], into a blank body.
#[inline(never)]
pub(crate) fn peek_into<'a>(
    frame: &'a [u8],
    kind: &Kind,
    body: &mut dyn Code<'a>,
) -> Result<(), Error> {
    let (signed, _) = signature(frame)?;
    read(signed, kind, body)
}

/// As [`decode`], into a blank body.
#[inline(never)]
pub(crate) fn read<'a>(frame: &'a [u8], kind: &Kind, body: &mut dyn Code<'a>) -> Result<(), Error> {
    if frame.len() > kind.max {
        return Err(Error::TooLong);
    }
    let bytes = frame.strip_prefix(kind.context).ok_or(Error::WrongType)?;
    match codec::read_into(bytes, body) {
        true => Ok(()),
        false => Err(Error::Malformed),
    }
}

/// As [`decode_signed`], into a blank body.
#[inline(never)]
pub(crate) fn read_signed<'a, C: Crypto>(
    frame: &'a [u8],
    kind: &Kind,
    public_key: &[u8; 32],
    body: &mut dyn Code<'a>,
) -> Result<(), Error> {
    if frame.len() > kind.max {
        return Err(Error::TooLong);
    }
    if !frame.starts_with(kind.context) {
        return Err(Error::WrongType);
    }
    let (signed, signature) = signature(frame)?;
    C::verify(public_key, signed, signature).map_err(|_| Error::BadSignature)?;
    read(signed, kind, body)
}

/// What a frame's signature covers, and the signature.
fn signature(frame: &[u8]) -> Result<(&[u8], &[u8; SIGNATURE_LEN]), Error> {
    frame
        .split_last_chunk::<SIGNATURE_LEN>()
        .ok_or(Error::WrongType)
}
