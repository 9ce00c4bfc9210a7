//! [`MonotonicCounter`] and [`RootKey`].

use super::{Failure, keep, must};
use crate::counter::{Epoch, MonotonicCounter};
use crate::error::{Error, ErrorKind};
use crate::root_key::RootKey;

const COUNTER: &str = "MonotonicCounter";
const ROOT: &str = "RootKey";

/// Checks a counter; uses up `steps` of its steps.
pub fn counter<C: MonotonicCounter>(counter: &mut C, steps: u32) -> Result<(), Failure> {
    keep(
        COUNTER,
        "its endurance is declared",
        None,
        counter.endurance() > 0,
    )?;
    let mut now = read(counter)?;
    for step in 0..steps {
        keep(
            COUNTER,
            "it reads the same until it is stepped",
            Some(step),
            read(counter)? == now,
        )?;
        must(COUNTER, "increment answers", counter.increment())?;
        let next = read(counter)?;
        keep(COUNTER, "it never goes back", Some(step), next >= now)?;
        keep(
            COUNTER,
            "a step is exactly one",
            Some(step),
            Some(next) == now.next(),
        )?;
        now = next;
    }
    keep(
        COUNTER,
        "it reads the same until it is stepped",
        None,
        read(counter)? == now,
    )
}

fn read<C: MonotonicCounter>(counter: &mut C) -> Result<Epoch, Failure> {
    must(COUNTER, "read answers", counter.read())
}

/// Checks a root key against its counter; uses up one counter step.
pub fn root_key<K: RootKey, C: MonotonicCounter>(
    root: &mut K,
    counter: &mut C,
) -> Result<(), Failure> {
    const DERIVES: &str = "derivation answers";
    let label = b"nrd/1/conformance/longest label";
    let mut fixed = |l: &[u8]| must(ROOT, DERIVES, root.derive_fixed(l));
    let key = fixed(label)?;
    keep(
        ROOT,
        "the same label gives the same key",
        None,
        *key == *fixed(label)?,
    )?;
    keep(
        ROOT,
        "a key is not blank",
        None,
        *key != [0; 32] && *key != [0xFF; 32],
    )?;
    for i in 0..label.len() {
        let mut other = *label;
        if let Some(b) = other.get_mut(i) {
            *b ^= 1;
        }
        keep(
            ROOT,
            "every byte of the label matters",
            Some(i as u32),
            *fixed(&other)? != *key,
        )?;
        let shorter = label.get(..i).unwrap_or_default();
        keep(
            ROOT,
            "the label's length matters",
            Some(i as u32),
            *fixed(shorter)? != *key,
        )?;
    }
    let now = must(COUNTER, "read answers", counter.read())?;
    let of_now = must(ROOT, DERIVES, root.derive_epoch(label, now))?;
    let again = must(ROOT, DERIVES, root.derive_epoch(label, now))?;
    keep(
        ROOT,
        "the same epoch gives the same key",
        None,
        *of_now == *again,
    )?;
    keep(
        ROOT,
        "an epoch's key is not the fixed one",
        None,
        *of_now != *key,
    )?;
    must(COUNTER, "increment answers", counter.increment())?;
    let next = must(COUNTER, "read answers", counter.read())?;
    let of_next = must(ROOT, DERIVES, root.derive_epoch(label, next))?;
    keep(
        ROOT,
        "every epoch has a key of its own",
        None,
        *of_now != *of_next,
    )?;
    let still = must(ROOT, DERIVES, root.derive_fixed(label))?;
    keep(ROOT, "fixed keys survive the counter", None, *still == *key)?;
    let past = root.derive_epoch(label, now);
    match (root.refuses_past_epochs(), past) {
        (true, Ok(_)) => keep(ROOT, "past epochs are refused, as it claims", None, false),
        (true, Err(e)) => {
            let refused = e.kind() == ErrorKind::Refused;
            keep(ROOT, "a past epoch's refusal says Refused", None, refused)
        }
        (false, _) => Ok(()),
    }
}
