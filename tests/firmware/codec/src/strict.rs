//! With serde and postcard, and what a signed format needs: a body is refused
//! that is not the one encoding of its value. What was read is written again,
//! and compared byte by byte.
#![no_std]
#![no_main]

mod frames;

use nrd_agent::wire::codec::Code;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

struct Strict;

/// Takes the bytes that are written only as long as they are these.
struct Expect<'a>(&'a [u8]);

impl Flavor for Expect<'_> {
    type Output = bool;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.0.split_first() {
            Some((expected, rest)) if *expected == byte => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(postcard::Error::SerializeBufferFull),
        }
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.0.is_empty())
    }
}

impl frames::Format for Strict {
    fn read<'a, T: Code<'a> + Serialize + Deserialize<'a>>(bytes: &'a [u8], value: &mut T) -> bool {
        match postcard::take_from_bytes(bytes) {
            Ok((read, [])) => *value = read,
            _ => return false,
        }
        postcard::serialize_with_flavor(value, Expect(bytes)) == Ok(true)
    }

    fn write<'a, T: Code<'a> + Serialize>(value: &T, out: &mut [u8]) -> Option<usize> {
        Some(postcard::to_slice(value, out).ok()?.len())
    }
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    frames::run::<Strict>()
}
