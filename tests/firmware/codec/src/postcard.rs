//! With serde and postcard as they are: a body may have several encodings.
#![no_std]
#![no_main]

mod frames;

use nrd_agent::wire::codec::Code;
use serde::{Deserialize, Serialize};

struct Postcard;

impl frames::Format for Postcard {
    fn read<'a, T: Code<'a> + Serialize + Deserialize<'a>>(bytes: &'a [u8], value: &mut T) -> bool {
        match postcard::take_from_bytes(bytes) {
            Ok((read, [])) => {
                *value = read;
                true
            }
            _ => false,
        }
    }

    fn write<'a, T: Code<'a> + Serialize>(value: &T, out: &mut [u8]) -> Option<usize> {
        Some(postcard::to_slice(value, out).ok()?.len())
    }
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    frames::run::<Postcard>()
}
