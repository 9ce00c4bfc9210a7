//! Reads and writes the body of frames: postcard 1.x, byte for byte, in little
//! code.
//!
//! A struct is its fields in order, an enum the number of its variant and then
//! its fields; unsigned integers wider than a byte are varints (LEB128) in their
//! shortest form; byte strings and text carry their length. What is read has one
//! encoding, and no other is taken. With the feature `serde` the same types
//! can be read and written by `serde` and postcard itself.
//!
//! Each type lists its fields once ([`Code`]): the same pass writes a value, or
//! reads one into a blank. `fields!` and `variants!` derive it from a list of
//! names. A pass that met an error leaves the rest as it is, and says so at the
//! end: nothing that it read is used then.

use crate::error::Error;
use heapless::String;
use heapless::string::StringView;

/// One pass over a value: reads it from bytes, or writes it to a buffer.
pub struct Coder<'i, 'o> {
    /// What is still to be read.
    input: &'i [u8],
    /// Where there is still room.
    output: &'o mut [u8],
    reads: bool,
    ok: bool,
}

impl<'i, 'o> Coder<'i, 'o> {
    /// Reads from the start of `bytes`.
    pub fn reader(bytes: &'i [u8]) -> Self {
        Coder {
            input: bytes,
            output: &mut [],
            reads: true,
            ok: true,
        }
    }

    /// Writes from the start of `out`.
    pub fn writer(out: &'o mut [u8]) -> Self {
        Coder {
            input: &[],
            output: out,
            reads: false,
            ok: true,
        }
    }

    /// True when this pass reads.
    pub fn reads(&self) -> bool {
        self.reads
    }

    /// Notes that what was read makes no sense, or that what was to be written
    /// cannot be.
    #[inline(never)]
    pub fn fail(&mut self) {
        self.ok = false;
        self.input = &[];
        self.output = &mut [];
    }

    /// The next `n` bytes to read; nothing after an error.
    #[inline(never)]
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

    /// All that is left to read.
    pub fn rest(&mut self) -> &'i [u8] {
        self.next(self.input.len())
    }

    /// Appends bytes as they are.
    #[inline(never)]
    pub fn write(&mut self, bytes: &[u8]) {
        match core::mem::take(&mut self.output).split_at_mut_checked(bytes.len()) {
            Some((to, rest)) => {
                copy(to, bytes);
                self.output = rest;
            }
            None => self.fail(),
        }
    }

    /// Bytes as they are.
    #[inline(never)]
    pub fn bytes(&mut self, bytes: &mut [u8]) {
        if self.reads {
            // Fewer only after an error.
            copy(bytes, self.next(bytes.len()));
        } else {
            self.write(bytes);
        }
    }

    /// A varint: `value` itself where it is written.
    #[inline(never)]
    pub fn varint(&mut self, value: u64) -> u64 {
        if !self.reads {
            let mut rest = value;
            while rest > 0x7F {
                self.write(&[rest as u8 | 0x80]);
                rest >>= 7;
            }
            self.write(&[rest as u8]);
            return value;
        }
        let mut more = 0;
        while self.input.get(more).is_some_and(|b| b & 0x80 != 0) {
            more += 1;
        }
        let bytes = self.next(more + 1);
        // A last byte of zero: there is a shorter form.
        if more > 0 && bytes.last() == Some(&0) {
            self.fail();
        }
        let mut value = 0u64;
        for byte in bytes.iter().rev() {
            // Of an eleventh byte at the latest: the last is not zero.
            if value >> 57 != 0 {
                self.fail();
            }
            value = (value << 7) | u64::from(byte & 0x7F);
        }
        value
    }

    /// The number of a variant, of `count`.
    #[inline(never)]
    pub fn variant(&mut self, number: u8, count: u8) -> u8 {
        let mut number = [number];
        self.bytes(&mut number);
        let [number] = number;
        if number < count {
            return number;
        }
        self.fail();
        0
    }

    /// A byte string with its length.
    #[inline(never)]
    pub fn block(&mut self, bytes: &'i [u8]) -> &'i [u8] {
        if !self.reads {
            self.write_block(bytes);
            return bytes;
        }
        let mut n = 0u32;
        n.code(self);
        self.next(n as usize)
    }

    /// Writes a byte string with its length.
    #[inline(never)]
    pub(crate) fn write_block(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.write(bytes);
    }

    /// Text with its length.
    #[inline(never)]
    fn text(&mut self, text: &mut StringView) {
        if !self.reads {
            return self.write_block(text.as_bytes());
        }
        let read = core::str::from_utf8(self.block(&[])).map(|t| text.push_str(t));
        if !matches!(read, Ok(Ok(()))) {
            self.fail();
        }
    }

    /// Four bytes, the lowest first.
    pub fn fixed_u32(&mut self, value: &mut u32) {
        let mut bytes = value.to_le_bytes();
        self.bytes(&mut bytes);
        *value = u32::from_le_bytes(bytes);
    }

    /// Eight bytes, the lowest first.
    pub fn fixed_u64(&mut self, value: &mut u64) {
        let mut bytes = value.to_le_bytes();
        self.bytes(&mut bytes);
        *value = u64::from_le_bytes(bytes);
    }

    /// True when everything made sense and nothing is left to read.
    pub fn is_done(&self) -> bool {
        self.ok && self.input.is_empty()
    }
}

/// Copies as much as both hold.
#[inline(never)]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    // No `copy_from_slice`: the compiler would keep its check, and a panic.
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// A type with a place in a frame.
pub trait Code<'a> {
    /// Passes over its fields, in order.
    fn code(&mut self, c: &mut Coder<'a, '_>);
}

/// A type that has a blank, to read into.
pub trait Blank {
    /// Zeros, nothing, the first variant.
    const BLANK: Self;
}

/// Reads all of `bytes` into a blank `value`; false when they make no sense.
#[inline(never)]
pub fn read_into<'a>(bytes: &'a [u8], value: &mut dyn Code<'a>) -> bool {
    let mut c = Coder::reader(bytes);
    value.code(&mut c);
    c.is_done()
}

/// Reads `bytes`, all of them.
pub fn read<'a, T: Code<'a> + Blank>(bytes: &'a [u8]) -> Option<T> {
    let mut value = T::BLANK;
    read_into(bytes, &mut value).then_some(value)
}

/// Writes `context` and then `value` to the start of `out`; returns the length.
/// The value stays as it is.
#[inline(never)]
pub fn write<'a>(context: &[u8], value: &mut dyn Code<'a>, out: &mut [u8]) -> Result<usize, Error> {
    let room = out.len();
    let mut c = Coder::writer(out);
    c.write(context);
    value.code(&mut c);
    match c.ok {
        true => Ok(room - c.output.len()),
        false => Err(Error::BufferTooSmall),
    }
}

macro_rules! integers {
    ($($t:ident)*) => {$(
        impl Code<'_> for $t {
            #[inline(never)]
            fn code(&mut self, c: &mut Coder<'_, '_>) {
                match $t::try_from(c.varint(u64::from(*self))) {
                    Ok(value) => *self = value,
                    Err(_) => c.fail(),
                }
            }
        }
        impl Blank for $t {
            const BLANK: Self = 0;
        }
    )*};
}
integers!(u16 u32 u64);

impl Code<'_> for u8 {
    fn code(&mut self, c: &mut Coder<'_, '_>) {
        c.bytes(core::slice::from_mut(self));
    }
}
impl Blank for u8 {
    const BLANK: Self = 0;
}

impl Code<'_> for bool {
    #[inline(never)]
    fn code(&mut self, c: &mut Coder<'_, '_>) {
        *self = c.variant(u8::from(*self), 2) == 1;
    }
}
impl Blank for bool {
    const BLANK: Self = false;
}

impl<const N: usize> Code<'_> for [u8; N] {
    fn code(&mut self, c: &mut Coder<'_, '_>) {
        c.bytes(self);
    }
}
impl<const N: usize> Blank for [u8; N] {
    const BLANK: Self = [0; N];
}

impl<'a> Code<'a> for &'a [u8] {
    #[inline(never)]
    fn code(&mut self, c: &mut Coder<'a, '_>) {
        *self = c.block(self);
    }
}
impl Blank for &[u8] {
    const BLANK: Self = &[];
}

impl<const N: usize> Code<'_> for String<N> {
    fn code(&mut self, c: &mut Coder<'_, '_>) {
        c.text(self);
    }
}
impl<const N: usize> Blank for String<N> {
    const BLANK: Self = String::new();
}

impl<'a, T: Code<'a> + Blank> Code<'a> for Option<T> {
    fn code(&mut self, c: &mut Coder<'a, '_>) {
        // What is read into is blank: nothing.
        if c.variant(u8::from(self.is_some()), 2) == 1 {
            self.get_or_insert(T::BLANK).code(c);
        }
    }
}
impl<T> Blank for Option<T> {
    const BLANK: Self = None;
}

impl<'a, A: Code<'a>, B: Code<'a>> Code<'a> for (A, B) {
    fn code(&mut self, c: &mut Coder<'a, '_>) {
        self.0.code(c);
        self.1.code(c);
    }
}
impl<A: Blank, B: Blank> Blank for (A, B) {
    const BLANK: Self = (A::BLANK, B::BLANK);
}

/// Derives [`Code`] and [`Blank`] for structs from the list of their fields.
macro_rules! fields {
    ($($name:ident $(<$life:lifetime>)? { $($field:tt),* $(,)? })*) => {$(
        impl<'a> $crate::wire::codec::Code<'a> for $name $(<$life>)? {
            fn code(&mut self, c: &mut $crate::wire::codec::Coder<'a, '_>) {
                $($crate::wire::codec::Code::code(&mut self.$field, c);)*
            }
        }
        impl $(<$life>)? $crate::wire::codec::Blank for $name $(<$life>)? {
            const BLANK: Self = $name { $($field: $crate::wire::codec::Blank::BLANK),* };
        }
    )*};
}
pub(crate) use fields;

/// Derives [`Code`] and [`Blank`] for enums from their number of variants and
/// the list of these, each with its number and its fields.
macro_rules! variants {
    ($($name:ident $(<$life:lifetime>)? [$count:literal] {
        $first:ident $({ $($f:ident),* $(,)? })?,
        $($n:literal $variant:ident $({ $($field:ident),* $(,)? })? $(($inner:ident))?),* $(,)?
    })*) => {$(
        impl<'a> $crate::wire::codec::Code<'a> for $name $(<$life>)? {
            fn code(&mut self, c: &mut $crate::wire::codec::Coder<'a, '_>) {
                let number = match self {
                    $name::$first { .. } => 0,
                    $($name::$variant { .. } => $n,)*
                };
                let number = c.variant(number, $count);
                if c.reads() {
                    match number {
                        $($n => *self = $name::$variant
                            $({ $($field: $crate::wire::codec::Blank::BLANK),* })?
                            $(({ let $inner = $crate::wire::codec::Blank::BLANK; $inner }))?,)*
                        _ => *self = $crate::wire::codec::Blank::BLANK,
                    }
                }
                match self {
                    $name::$first $({ $($f),* })? => {
                        $($($crate::wire::codec::Code::code($f, c);)*)?
                    }
                    $($name::$variant $({ $($field),* })? $(($inner))? => {
                        $($($crate::wire::codec::Code::code($field, c);)*)?
                        $($crate::wire::codec::Code::code($inner, c);)?
                    })*
                }
                // Without this each arm ends in a tail call with an epilogue of
                // its own.
                core::hint::black_box(());
            }
        }
        impl $(<$life>)? $crate::wire::codec::Blank for $name $(<$life>)? {
            const BLANK: Self = $name::$first $({ $($f: $crate::wire::codec::Blank::BLANK),* })?;
        }
    )*};
}
pub(crate) use variants;

/// Derives [`Code`] and [`Blank`] for enums without fields from their number of
/// variants and the list of these.
macro_rules! units {
    ($($name:ident[$count:literal] { $first:ident $(, $n:literal $variant:ident)* $(,)? })*) => {$(
        impl $crate::wire::codec::Code<'_> for $name {
            #[inline(never)]
            fn code(&mut self, c: &mut $crate::wire::codec::Coder<'_, '_>) {
                *self = match c.variant(*self as u8, $count) {
                    $($n => $name::$variant,)*
                    _ => $name::$first,
                };
            }
        }
        impl $crate::wire::codec::Blank for $name {
            const BLANK: Self = $name::$first;
        }
        $(const _: () = assert!($name::$variant as u8 == $n);)*
    )*};
}
pub(crate) use units;
