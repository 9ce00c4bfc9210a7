//! The frames and records that a device reads, writes, or both.

use core::hint::black_box;
use nrd_agent::state::{Snapshot, Tombstone};
use nrd_agent::wire::codec::{Blank, Code};
use nrd_agent::wire::{
    Delegation, Grant, Lease, MAX_FRAME, Order, OrderOutcome, Receipt, Reply, Request, Statement,
};
use serde::{Deserialize, Serialize};

/// One way to read and write a body.
pub trait Format {
    /// Reads all of `bytes`; false when they are no valid encoding.
    fn read<'a, T: Code<'a> + Serialize + Deserialize<'a>>(bytes: &'a [u8], value: &mut T) -> bool;

    /// Writes to the start of `out`; returns the length.
    fn write<'a, T: Code<'a> + Serialize>(value: &T, out: &mut [u8]) -> Option<usize>;
}

fn read<'a, F, T>(bytes: &'a [u8])
where
    F: Format,
    T: Code<'a> + Blank + Serialize + Deserialize<'a>,
{
    let mut value = T::BLANK;
    if F::read(bytes, &mut value) {
        black_box(&value);
    }
}

fn write<'a, F: Format, T: Code<'a> + Blank + Serialize>(out: &mut [u8]) {
    let mut value = T::BLANK;
    black_box(&mut value);
    black_box(F::write(&value, out));
}

/// Everything that the agent reads and writes, by a number that the compiler
/// does not know.
pub fn run<F: Format>() -> ! {
    let mut out = [0; MAX_FRAME];
    let bytes: &[u8] = black_box(&[]);
    loop {
        match black_box(0) {
            0 => read::<F, Delegation>(bytes),
            1 => read::<F, Order>(bytes),
            2 => read::<F, Grant>(bytes),
            3 => read::<F, Lease>(bytes),
            4 => read::<F, Statement>(bytes),
            5 => read::<F, Reply<'_>>(bytes),
            6 => read::<F, Snapshot>(bytes),
            7 => read::<F, Tombstone>(bytes),
            8 => write::<F, Snapshot>(&mut out),
            9 => write::<F, Tombstone>(&mut out),
            10 => write::<F, Request<'_>>(&mut out),
            11 => write::<F, Receipt<'_>>(&mut out),
            _ => write::<F, OrderOutcome>(&mut out),
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
