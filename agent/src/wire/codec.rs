//! Reads and writes the body of frames: postcard 1.x, byte for byte, in little
//! code.
//!
//! A struct is its fields in order, an enum the number of its variant and then
//! its fields; unsigned integers wider than a byte are varints (LEB128); byte
//! strings and text carry their length. With the feature `serde` the same types
//! can be read and written by `serde` and postcard itself.
//!
//! `fields!` and `variants!` derive both directions from a list of names.
//! A reader that met an error reads zeros from then on, and says so at the end:
//! nothing that it gave is used then.

use heapless::String;

/// Writes into a buffer.
pub struct Writer<'b> {
    out: &'b mut [u8],
    at: usize,
    ok: bool,
}

impl<'b> Writer<'b> {
    /// Writes from the start of `out`.
    pub fn new(out: &'b mut [u8]) -> Self {
        Writer {
            out,
            at: 0,
            ok: true,
        }
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        match self
            .out
            .get_mut(self.at..)
            .and_then(|o| o.get_mut(..bytes.len()))
        {
            Some(to) if self.ok => {
                for (to, from) in to.iter_mut().zip(bytes) {
                    *to = *from;
                }
                self.at += bytes.len();
            }
            _ => self.ok = false,
        }
    }

    /// Appends one byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    /// Appends a varint.
    pub fn varint(&mut self, mut value: u64) {
        while value > 0x7F {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// Notes that what was to be written cannot be.
    pub fn fail(&mut self) {
        self.ok = false;
    }

    /// How many bytes were written; `None` when they did not fit.
    pub fn end(self) -> Option<usize> {
        self.ok.then_some(self.at)
    }
}

/// Reads from a buffer.
pub struct Reader<'a> {
    rest: &'a [u8],
    ok: bool,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader {
            rest: bytes,
            ok: true,
        }
    }

    /// Notes that what was read makes no sense.
    pub fn fail(&mut self) {
        self.ok = false;
    }

    /// The next `n` bytes; nothing after an error.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        match self.rest.split_at_checked(n) {
            Some((bytes, rest)) if self.ok => {
                self.rest = rest;
                bytes
            }
            _ => {
                self.ok = false;
                &[]
            }
        }
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(self.rest.len())
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A varint of at most `max`.
    pub fn varint(&mut self, max: u64) -> u64 {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            let part = u64::from(byte & 0x7F);
            value |= part << shift;
            if byte & 0x80 == 0 {
                if value > max || part << shift >> shift != part {
                    break;
                }
                return value;
            }
        }
        self.ok = false;
        0
    }

    /// The number of a variant, of `count`.
    pub fn variant(&mut self, count: u8) -> u8 {
        let n = self.byte();
        if n >= count {
            self.ok = false;
            return 0;
        }
        n
    }

    /// True when everything made sense and nothing is left.
    pub fn is_done(&self) -> bool {
        self.ok && self.rest.is_empty()
    }
}

/// A type with a place in a frame.
pub trait Code<'a>: Sized {
    /// Writes it.
    fn put(&self, w: &mut Writer<'_>);
    /// Reads it; zeros after an error.
    fn take(r: &mut Reader<'a>) -> Self;
}

/// Reads `bytes`, all of them.
pub fn read<'a, T: Code<'a>>(bytes: &'a [u8]) -> Option<T> {
    let mut r = Reader::new(bytes);
    let value = T::take(&mut r);
    r.is_done().then_some(value)
}

/// Writes `value` to the start of `out`; returns its length, `None` when it
/// does not fit.
pub fn write<'a, T: Code<'a>>(value: &T, out: &mut [u8]) -> Option<usize> {
    let mut w = Writer::new(out);
    value.put(&mut w);
    w.end()
}

impl Code<'_> for u8 {
    fn put(&self, w: &mut Writer<'_>) {
        w.byte(*self);
    }
    fn take(r: &mut Reader<'_>) -> Self {
        r.byte()
    }
}

impl Code<'_> for bool {
    fn put(&self, w: &mut Writer<'_>) {
        w.byte(u8::from(*self));
    }
    fn take(r: &mut Reader<'_>) -> Self {
        r.variant(2) == 1
    }
}

macro_rules! integers {
    ($($t:ident)*) => {$(
        impl Code<'_> for $t {
            fn put(&self, w: &mut Writer<'_>) {
                w.varint(u64::from(*self));
            }
            fn take(r: &mut Reader<'_>) -> Self {
                r.varint(u64::from($t::MAX)) as $t
            }
        }
    )*};
}
integers!(u16 u32 u64);

impl<const N: usize> Code<'_> for [u8; N] {
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(self);
    }
    fn take(r: &mut Reader<'_>) -> Self {
        let mut out = [0; N];
        // Shorter only after an error.
        for (o, b) in out.iter_mut().zip(r.bytes(N)) {
            *o = *b;
        }
        out
    }
}

impl<'a> Code<'a> for &'a [u8] {
    fn put(&self, w: &mut Writer<'_>) {
        w.varint(self.len() as u64);
        w.bytes(self);
    }
    fn take(r: &mut Reader<'a>) -> Self {
        let n = r.varint(u64::from(u16::MAX));
        r.bytes(n as usize)
    }
}

impl<const N: usize> Code<'_> for String<N> {
    fn put(&self, w: &mut Writer<'_>) {
        self.as_bytes().put(w);
    }
    fn take(r: &mut Reader<'_>) -> Self {
        let text = core::str::from_utf8(Code::take(r));
        match text.ok().and_then(|t| String::try_from(t).ok()) {
            Some(text) => text,
            None => {
                r.fail();
                String::new()
            }
        }
    }
}

impl<'a, T: Code<'a>> Code<'a> for Option<T> {
    fn put(&self, w: &mut Writer<'_>) {
        self.is_some().put(w);
        if let Some(value) = self {
            value.put(w);
        }
    }
    fn take(r: &mut Reader<'a>) -> Self {
        bool::take(r).then(|| T::take(r))
    }
}

impl<'a, A: Code<'a>, B: Code<'a>> Code<'a> for (A, B) {
    fn put(&self, w: &mut Writer<'_>) {
        self.0.put(w);
        self.1.put(w);
    }
    fn take(r: &mut Reader<'a>) -> Self {
        (A::take(r), B::take(r))
    }
}

/// Derives [`Code`] for structs from the list of their fields.
macro_rules! fields {
    ($($name:ident $(<$life:lifetime>)? { $($field:tt),* $(,)? })*) => {$(
        impl<'a> $crate::wire::codec::Code<'a> for $name $(<$life>)? {
            fn put(&self, w: &mut $crate::wire::codec::Writer<'_>) {
                $($crate::wire::codec::Code::put(&self.$field, w);)*
            }
            fn take(r: &mut $crate::wire::codec::Reader<'a>) -> Self {
                $name { $($field: $crate::wire::codec::Code::take(r)),* }
            }
        }
    )*};
}
pub(crate) use fields;

/// Derives [`Code`] for enums from their number of variants and the list of
/// these, each with its fields.
macro_rules! variants {
    ($($name:ident $(<$life:lifetime>)? [$count:literal] {
        $first:ident $({ $($f:ident),* $(,)? })? $(($i:ident))?,
        $($n:literal $variant:ident $({ $($field:ident),* $(,)? })? $(($inner:ident))?),* $(,)?
    })*) => {$(
        impl<'a> $crate::wire::codec::Code<'a> for $name $(<$life>)? {
            fn put(&self, w: &mut $crate::wire::codec::Writer<'_>) {
                match self {
                    $name::$first $({ $($f),* })? $(($i))? => {
                        w.byte(0);
                        $($($crate::wire::codec::Code::put($f, w);)*)?
                        $($crate::wire::codec::Code::put($i, w);)?
                    }
                    $($name::$variant $({ $($field),* })? $(($inner))? => {
                        w.byte($n);
                        $($($crate::wire::codec::Code::put($field, w);)*)?
                        $($crate::wire::codec::Code::put($inner, w);)?
                    })*
                }
            }
            fn take(r: &mut $crate::wire::codec::Reader<'a>) -> Self {
                match r.variant($count) {
                    $($n => $name::$variant
                        $({ $($field: $crate::wire::codec::Code::take(r)),* })?
                        $(({ let $inner = $crate::wire::codec::Code::take(r); $inner }))?,)*
                    _ => $name::$first
                        $({ $($f: $crate::wire::codec::Code::take(r)),* })?
                        $(({ let $i = $crate::wire::codec::Code::take(r); $i }))?,
                }
            }
        }
    )*};
}
pub(crate) use variants;
