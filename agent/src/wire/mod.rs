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

use codec::Code;
use nrd_hal::Crypto;

/// Length of an Ed25519 signature in bytes (RFC 8032).
pub const SIGNATURE_LEN: usize = 64;
/// Largest frame of any type, in bytes.
pub const MAX_FRAME: usize = 1536;

/// Why a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than the bound of its type.
    TooLong,
    /// Too short, or it does not open with the expected type name.
    WrongType,
    /// The signature does not verify under the expected key.
    BadSignature,
    /// The body is not what its type prescribes, or bytes follow it.
    Malformed,
    /// The output buffer is too small for the frame.
    NoSpace,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            FrameError::TooLong => "the frame is longer than its type allows",
            FrameError::WrongType => "the bytes are not a frame of the expected type",
            FrameError::BadSignature => "the signature does not verify",
            FrameError::Malformed => "the frame's body is malformed",
            FrameError::NoSpace => "the buffer is too small for the frame",
        })
    }
}

impl core::error::Error for FrameError {}

/// A body that travels in a frame of its own type.
pub trait Body<'a>: Code<'a> {
    /// The opening bytes, `b"nrd/1/<type>\0"`.
    const CONTEXT: &'static [u8];
    /// Largest frame of this type in bytes, signature included.
    const MAX: usize;
}

/// Writes the unsigned part of a frame (context and body) into `out`; returns
/// its length. Append a signature over exactly these bytes to sign it.
pub fn encode<'a, B: Body<'a>>(body: &B, out: &mut [u8]) -> Result<usize, FrameError> {
    let n = B::CONTEXT.len();
    let (context, rest) = out.split_at_mut_checked(n).ok_or(FrameError::NoSpace)?;
    for (to, from) in context.iter_mut().zip(B::CONTEXT) {
        *to = *from;
    }
    let body = codec::write(body, rest).ok_or(FrameError::NoSpace)?;
    Ok(n + body)
}

/// Writes a signed frame into `out`; returns its length. `sign` is given the
/// bytes to sign.
pub fn encode_signed<'a, B: Body<'a>, E: From<FrameError>>(
    body: &B,
    out: &mut [u8],
    sign: impl FnOnce(&[u8]) -> Result<[u8; SIGNATURE_LEN], E>,
) -> Result<usize, E> {
    let n = encode(body, out)?;
    let (signed, rest) = out.split_at_mut_checked(n).ok_or(FrameError::NoSpace)?;
    let end = rest
        .first_chunk_mut::<SIGNATURE_LEN>()
        .ok_or(FrameError::NoSpace)?;
    *end = sign(signed)?;
    Ok(n + SIGNATURE_LEN)
}

/// Reads an unsigned frame.
pub fn decode<'a, B: Body<'a>>(frame: &'a [u8]) -> Result<B, FrameError> {
    if frame.len() > B::MAX {
        return Err(FrameError::TooLong);
    }
    let body = frame
        .strip_prefix(B::CONTEXT)
        .ok_or(FrameError::WrongType)?;
    codec::read(body).ok_or(FrameError::Malformed)
}

/// Reads a signed frame: checks the signature first, then parses.
pub fn decode_signed<'a, B: Body<'a>, C: Crypto>(
    frame: &'a [u8],
    public_key: &[u8; 32],
) -> Result<B, FrameError> {
    if frame.len() > B::MAX {
        return Err(FrameError::TooLong);
    }
    if !frame.starts_with(B::CONTEXT) {
        return Err(FrameError::WrongType);
    }
    let (signed, signature) = frame
        .split_last_chunk::<SIGNATURE_LEN>()
        .ok_or(FrameError::WrongType)?;
    C::verify(public_key, signed, signature).map_err(|_| FrameError::BadSignature)?;
    decode(signed)
}

/// Reads the body of a signed frame **without** checking its signature, to
/// learn which key must check it. Never act on what this returns.
pub fn peek<'a, B: Body<'a>>(frame: &'a [u8]) -> Result<B, FrameError> {
    let (signed, _) = frame
        .split_last_chunk::<SIGNATURE_LEN>()
        .ok_or(FrameError::WrongType)?;
    decode(signed)
}
