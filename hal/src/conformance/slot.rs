//! [`Effaceable`]: the two key slots.

use super::{Failure, keep, must};
use crate::slot::Effaceable;

const PART: &str = "Effaceable";
const SIZE: usize = 256;

/// Checks both slots.
pub fn slot<S: Effaceable>(slots: &mut S) -> Result<(), Failure> {
    keep(PART, "a slot holds 256 bytes", None, S::SLOT_BYTES >= SIZE)?;
    for n in [0, 1] {
        let other = 1 - n;
        for s in [0, 1] {
            must(PART, "erase answers", slots.erase(s))?;
            is(slots, s, |_| 0xFF, "after erase every byte reads 0xFF")?;
        }
        let mut bytes = [0u8; SIZE];
        fill(n, &mut bytes);
        must(PART, "write answers", slots.write(n, &bytes))?;
        is(slots, n, |i| mark(n, i), "what was written is read")?;
        is(slots, other, |_| 0xFF, "the slots are independent")?;
        let mut first = [0u8; 5];
        must(PART, "short reads answer", slots.read(n, &mut first))?;
        let begins = first.iter().zip(0..).all(|(&b, i)| b == mark(n, i));
        keep(PART, "short reads give the beginning", None, begins)?;

        fill(other, &mut bytes);
        must(PART, "write answers", slots.write(other, &bytes))?;
        is(slots, n, |i| mark(n, i), "the slots are independent")?;
        if must(PART, "zero answers", slots.zero(n))? {
            is(slots, n, |_| 0, "after zero every byte reads 0")?;
            is(slots, n, |_| 0, "after zero every byte stays 0")?;
        }
        must(PART, "erase answers", slots.erase(n))?;
        is(slots, n, |_| 0xFF, "after erase every byte reads 0xFF")?;
        is(
            slots,
            other,
            |i| mark(other, i),
            "the slots are independent",
        )?;
        must(PART, "erase answers", slots.erase(other))?;
    }
    Ok(())
}

fn mark(slot: u8, i: usize) -> u8 {
    (i as u8).wrapping_mul(7) ^ slot.wrapping_mul(0x55) ^ 0x3C
}

fn fill(slot: u8, out: &mut [u8; SIZE]) {
    for (i, b) in out.iter_mut().enumerate() {
        *b = mark(slot, i);
    }
}

fn is<S: Effaceable>(
    slots: &mut S,
    slot: u8,
    want: impl Fn(usize) -> u8,
    promise: &'static str,
) -> Result<(), Failure> {
    let mut got = [0u8; SIZE];
    for (i, b) in got.iter_mut().enumerate() {
        *b = !want(i);
    }
    must(PART, "read answers", slots.read(slot, &mut got))?;
    match got.iter().enumerate().find(|(i, b)| **b != want(*i)) {
        Some((i, _)) => keep(PART, promise, Some(i as u32), false),
        None => Ok(()),
    }
}
