//! Writes and reads the body of a frame, in the format of postcard 1.x.
//!
//! Why a codec of the agent's own, and not serde with postcard (measured on the
//! Cortex-M33; the first line by `cargo run -p nrd-tests --bin codec_cost`):
//!
//! | bytes of text (panic sites) | own | postcard | postcard, one encoding |
//! |---|---|---|---|
//! | every frame and record, nothing else | 6,084 (0) | 15,702 (4) | 18,688 (4) |
//! | product image, limit 73,728 | 60,408 (0) | 70,940 (3) | 74,428 (3) |
//!
//! The agent must hold no panic path, and a signed body must have one encoding;
//! postcard accepts several. `docs/DEPENDENCIES.md` tells how this was measured.
//!
//! # Format
//!
//! A struct is its fields in order. An enum is the number of its variant, one
//! byte, and then that variant's fields. Unsigned integers wider than a byte are
//! varints (LEB128). Byte strings and text carry their length as a varint.
//!
//! Each value has one encoding: a varint must have its shortest form, and no
//! byte may follow a body. postcard's own reader is not that strict.
//!
//! # Types
//!
//! `#[derive(Wire)]` makes a type's codec from its declaration:
//!
//! ```
//! use nrd_agent::wire::codec::{self, Bounded, Wire};
//!
//! #[derive(Debug, PartialEq, Wire)]
//! struct Reading {
//!     sensor: [u8; 2],
//!     value: u32,
//! }
//!
//! let reading = Reading { sensor: *b"t1", value: 300 };
//! let mut out = [0; Reading::MAX_LEN];
//! let n = codec::write(b"", &reading, &mut out)?;
//! assert_eq!(out[..n], [b't', b'1', 0xAC, 0x02]);
//! assert_eq!(codec::read(&out[..n]), Some(reading));
//! // 300 in three bytes: a second encoding, so refused.
//! assert_eq!(codec::read::<Reading>(&[b't', b'1', 0xAC, 0x82, 0x00]), None);
//! # Ok::<(), nrd_agent::Error>(())
//! ```
//!
//! After an error a pass goes on, does nothing more, and reports the error at
//! its end. So a field needs no error branch of its own, and the code of a type
//! is a row of calls.

use crate::error::Error;
use heapless::String;

pub use nrd_agent_derive::{Named, Wire};

/// A type with an encoding. `'a` is the lifetime of the bytes that it borrows
/// from.
pub trait Code<'a> {
    /// Writes the value: its fields in order.
    fn write(&self, writer: &mut Writer<'_>);

    /// Replaces the value by the one that is read. After an error it is of no
    /// use: some fields are read, others are not.
    fn read(&mut self, reader: &mut Reader<'a>);
}

/// A type with a blank value, to be read into.
///
/// Values are read in place, because the largest (a receipt, a snapshot) would
/// otherwise be moved through several stack frames on their way.
pub trait Blank {
    /// Zeros, empty strings, `None`, the first variant.
    const BLANK: Self;
}

/// A type whose encoding has a longest form.
pub trait Bounded {
    /// Length of the longest encoding, in bytes.
    const MAX_LEN: usize;
}

/// Reads a body, from its first byte to its last.
pub struct Reader<'i> {
    /// The bytes that are still to be read; empty after an error.
    input: &'i [u8],
    ok: bool,
}

impl<'i> Reader<'i> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'i [u8]) -> Self {
        Reader {
            input: bytes,
            ok: true,
        }
    }

    /// Notes that the bytes are no valid encoding. Nothing more is read.
    pub fn fail(&mut self) {
        self.ok = false;
        self.input = &[];
    }

    /// The next `n` bytes. Fewer remain: an error, and none.
    pub fn next(&mut self, n: usize) -> &'i [u8] {
        match self.input.split_at_checked(n) {
            Some((bytes, rest)) => {
                self.input = rest;
                bytes
            }
            None => {
                self.fail();
                &[]
            }
        }
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'i [u8] {
        self.next(self.input.len())
    }

    /// Fills `bytes`, which has no length prefix.
    pub fn bytes(&mut self, bytes: &mut [u8]) {
        copy(bytes, self.next(bytes.len()));
    }

    /// The number of an enum's variant.
    pub fn variant(&mut self) -> u8 {
        let mut number = 0;
        self.bytes(core::slice::from_mut(&mut number));
        number
    }

    /// A varint: seven bits a byte, the lowest first, in the shortest form.
    pub fn varint(&mut self) -> u64 {
        let mut more = 0;
        while self.input.get(more).is_some_and(|b| b & 0x80 != 0) {
            more += 1;
        }
        let bytes = self.next(more + 1);
        // A last byte of zero adds nothing to the value: a shorter form exists.
        if more > 0 && bytes.last() == Some(&0) {
            self.fail();
        }
        let mut value = 0u64;
        for byte in bytes.iter().rev() {
            // The next shift would push bits out: the value exceeds 64 bits. A
            // long varint cannot hide behind zeros, for its last byte, which is
            // first here, is not zero.
            if value >> 57 != 0 {
                self.fail();
            }
            value = (value << 7) | u64::from(byte & 0x7F);
        }
        value
    }

    /// A byte string with its length.
    pub fn block(&mut self) -> &'i [u8] {
        let mut n = 0u32;
        n.read(self);
        self.next(n as usize)
    }

    /// Four bytes, the lowest first.
    pub fn fixed_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Eight bytes, the lowest first.
    pub fn fixed_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// True when there was no error and no byte is left.
    pub fn is_done(&self) -> bool {
        self.ok && self.input.is_empty()
    }
}

/// Writes a body to the start of a buffer.
pub struct Writer<'o> {
    /// The room that is left; empty after an error.
    output: &'o mut [u8],
    result: Result<(), Error>,
}

impl<'o> Writer<'o> {
    /// Writes to the start of `out`.
    pub fn new(out: &'o mut [u8]) -> Self {
        Writer {
            output: out,
            result: Ok(()),
        }
    }

    fn stop(&mut self, error: Error) {
        // The first error is the cause.
        self.result = self.result.and(Err(error));
        self.output = &mut [];
    }

    /// Notes that the value has no encoding: [`Error::Malformed`]. A derived
    /// type always has one.
    pub fn fail(&mut self) {
        self.stop(Error::Malformed);
    }

    /// Bytes as they are, without their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        match core::mem::take(&mut self.output).split_at_mut_checked(bytes.len()) {
            Some((to, rest)) => {
                copy(to, bytes);
                self.output = rest;
            }
            None => self.stop(Error::BufferTooSmall),
        }
    }

    /// The number of an enum's variant.
    pub fn variant(&mut self, number: u8) {
        match core::mem::take(&mut self.output).split_first_mut() {
            Some((to, rest)) => {
                *to = number;
                self.output = rest;
            }
            None => self.stop(Error::BufferTooSmall),
        }
    }

    /// A varint: seven bits a byte, the lowest first, in the shortest form.
    pub fn varint(&mut self, value: u64) {
        let mut rest = value;
        while rest > 0x7F {
            self.variant(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.variant(rest as u8);
    }

    /// A byte string with its length.
    pub fn block(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes(bytes);
    }
}

/// Copies as many bytes as both hold.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    // `copy_from_slice` panics on unequal lengths, and the compiler keeps that
    // check: the image would hold a panic path.
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Reads all of `bytes` into `value`; false when they are no valid encoding of
/// it, or when some are left over. `value` is of no use then.
///
/// `dyn`, so that one copy of this function serves all types.
pub fn read_into<'a>(bytes: &'a [u8], value: &mut dyn Code<'a>) -> bool {
    let mut reader = Reader::new(bytes);
    value.read(&mut reader);
    reader.is_done()
}

/// Reads a value of `T` from `bytes`, all of them; `None` when they are no valid
/// encoding.
pub fn read<'a, T: Code<'a> + Blank>(bytes: &'a [u8]) -> Option<T> {
    let mut value = T::BLANK;
    read_into(bytes, &mut value).then_some(value)
}

/// Writes `context` as it is and then `value` to the start of `out`; returns the
/// length in bytes.
///
/// # Errors
///
/// [`Error::BufferTooSmall`] when `out` is too short; [`Error::Malformed`] when
/// the value has no encoding, which no derived type answers.
///
/// ```
/// use nrd_agent::{Error, wire::codec};
///
/// let mut out = [0; 2];
/// assert_eq!(codec::write(b"", &300u16, &mut out), Ok(2));
/// assert_eq!(codec::write(b"v", &300u16, &mut out), Err(Error::BufferTooSmall));
/// ```
pub fn write<'a>(context: &[u8], value: &dyn Code<'a>, out: &mut [u8]) -> Result<usize, Error> {
    let room = out.len();
    let mut writer = Writer::new(out);
    writer.bytes(context);
    value.write(&mut writer);
    writer.result.map(|()| room - writer.output.len())
}

/// Length of a varint of `value`, in bytes.
pub const fn varint_len(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    if bits == 0 {
        1
    } else {
        bits.div_ceil(7) as usize
    }
}

/// Length of a byte string of at most `max` bytes with its length prefix, in
/// bytes.
pub const fn block_len(max: usize) -> usize {
    varint_len(max as u64) + max
}

/// The largest of `lengths`: the bound of an enum, from those of its variants.
pub const fn longest(lengths: &[usize]) -> usize {
    match lengths {
        [] => 0,
        [first, rest @ ..] => {
            let rest = longest(rest);
            if *first > rest { *first } else { rest }
        }
    }
}

macro_rules! integers {
    ($($t:ident)*) => {$(
        impl Code<'_> for $t {
            fn write(&self, writer: &mut Writer<'_>) {
                writer.varint(u64::from(*self));
            }
            fn read(&mut self, reader: &mut Reader<'_>) {
                match $t::try_from(reader.varint()) {
                    Ok(value) => *self = value,
                    Err(_) => reader.fail(),
                }
            }
        }
        impl Blank for $t {
            const BLANK: Self = 0;
        }
        impl Bounded for $t {
            const MAX_LEN: usize = varint_len($t::MAX as u64);
        }
    )*};
}
integers!(u16 u32 u64);

impl Code<'_> for u8 {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.variant(*self);
    }
    fn read(&mut self, reader: &mut Reader<'_>) {
        reader.bytes(core::slice::from_mut(self));
    }
}
impl Blank for u8 {
    const BLANK: Self = 0;
}
impl Bounded for u8 {
    const MAX_LEN: usize = 1;
}

impl Code<'_> for bool {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.variant(u8::from(*self));
    }
    fn read(&mut self, reader: &mut Reader<'_>) {
        match reader.variant() {
            0 => *self = false,
            1 => *self = true,
            _ => reader.fail(),
        }
    }
}
impl Blank for bool {
    const BLANK: Self = false;
}
impl Bounded for bool {
    const MAX_LEN: usize = 1;
}

impl<const N: usize> Code<'_> for [u8; N] {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(self);
    }
    fn read(&mut self, reader: &mut Reader<'_>) {
        reader.bytes(self);
    }
}
impl<const N: usize> Blank for [u8; N] {
    const BLANK: Self = [0; N];
}
impl<const N: usize> Bounded for [u8; N] {
    const MAX_LEN: usize = N;
}

/// Not [`Bounded`]: a field of this type states its bound.
impl<'a> Code<'a> for &'a [u8] {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.block(self);
    }
    fn read(&mut self, reader: &mut Reader<'a>) {
        *self = reader.block();
    }
}
impl Blank for &[u8] {
    const BLANK: Self = &[];
}

impl<const N: usize> Code<'_> for String<N> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.block(self.as_bytes());
    }
    fn read(&mut self, reader: &mut Reader<'_>) {
        self.clear();
        let read = core::str::from_utf8(reader.block()).map(|text| self.push_str(text));
        if !matches!(read, Ok(Ok(()))) {
            reader.fail();
        }
    }
}
impl<const N: usize> Blank for String<N> {
    const BLANK: Self = String::new();
}
impl<const N: usize> Bounded for String<N> {
    const MAX_LEN: usize = block_len(N);
}

impl<'a, T: Code<'a> + Blank> Code<'a> for Option<T> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.variant(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(writer);
        }
    }
    fn read(&mut self, reader: &mut Reader<'a>) {
        match reader.variant() {
            0 => *self = None,
            1 => self.insert(T::BLANK).read(reader),
            _ => reader.fail(),
        }
    }
}
impl<T> Blank for Option<T> {
    const BLANK: Self = None;
}
impl<T: Bounded> Bounded for Option<T> {
    const MAX_LEN: usize = 1 + T::MAX_LEN;
}

impl<'a, A: Code<'a>, B: Code<'a>> Code<'a> for (A, B) {
    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
        self.1.write(writer);
    }
    fn read(&mut self, reader: &mut Reader<'a>) {
        self.0.read(reader);
        self.1.read(reader);
    }
}
impl<A: Blank, B: Blank> Blank for (A, B) {
    const BLANK: Self = (A::BLANK, B::BLANK);
}
impl<A: Bounded, B: Bounded> Bounded for (A, B) {
    const MAX_LEN: usize = A::MAX_LEN + B::MAX_LEN;
}
