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
use codec::Code;
use nrd_hal::Crypto;

/// Length of an Ed25519 signature in bytes (RFC 8032).
pub const SIGNATURE_LEN: usize = 64;
/// Largest frame of any type, in bytes.
pub const MAX_FRAME: usize = 1536;

/// A body that travels in a frame of its own type.
pub trait Body<'a>: Code<'a> {
    /// The opening bytes, `b"nrd/1/<type>\0"`.
    const CONTEXT: &'static [u8];
    /// Largest frame of this type in bytes, signature included.
    const MAX: usize;
}

/// Writes the unsigned part of a frame (context and body) into `out`; returns
/// its length. Append a signature over exactly these bytes to sign it.
pub fn encode<'a, B: Body<'a>>(body: &B, out: &mut [u8]) -> Result<usize, Error> {
    let mut w = codec::Writer::new(out);
    w.bytes(B::CONTEXT);
    body.put(&mut w);
    w.end().ok_or(Error::BufferTooSmall)
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
    codec::read(body(frame, B::CONTEXT, B::MAX)?).ok_or(Error::Malformed)
}

/// Reads a signed frame: checks the signature first, then parses.
pub fn decode_signed<'a, B: Body<'a>, C: Crypto>(
    frame: &'a [u8],
    public_key: &[u8; 32],
) -> Result<B, Error> {
    let signed = verified::<C>(frame, B::CONTEXT, B::MAX, public_key)?;
    codec::read(signed).ok_or(Error::Malformed)
}

/// Reads the body of a signed frame **without** checking its signature, to
/// learn which key must check it. Never act on what this returns.
pub fn peek<'a, B: Body<'a>>(frame: &'a [u8]) -> Result<B, Error> {
    let (signed, _) = frame
        .split_last_chunk::<SIGNATURE_LEN>()
        .ok_or(Error::WrongType)?;
    decode(signed)
}

/// The body of a frame of this type.
fn body<'a>(frame: &'a [u8], context: &[u8], max: usize) -> Result<&'a [u8], Error> {
    if frame.len() > max {
        return Err(Error::TooLong);
    }
    frame.strip_prefix(context).ok_or(Error::WrongType)
}

/// The body of a signed frame of this type whose signature verifies.
fn verified<'a, C: Crypto>(
    frame: &'a [u8],
    context: &[u8],
    max: usize,
    public_key: &[u8; 32],
) -> Result<&'a [u8], Error> {
    body(frame, context, max)?;
    let (signed, signature) = frame
        .split_last_chunk::<SIGNATURE_LEN>()
        .ok_or(Error::WrongType)?;
    C::verify(public_key, signed, signature).map_err(|_| Error::BadSignature)?;
    body(signed, context, max)
}
