//! With the agent's own codec, called as the agent calls it.
#![no_std]
#![no_main]

mod frames;

use nrd_agent::wire::codec::{self, Code};
use serde::{Deserialize, Serialize};

struct Own;

impl frames::Format for Own {
    fn read<'a, T: Code<'a> + Serialize + Deserialize<'a>>(bytes: &'a [u8], value: &mut T) -> bool {
        codec::read_into(bytes, value)
    }

    fn write<'a, T: Code<'a> + Serialize>(value: &T, out: &mut [u8]) -> Option<usize> {
        codec::write(&[], value, out).ok()
    }
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    frames::run::<Own>()
}
