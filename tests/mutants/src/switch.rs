//! Which mutant is on: copied into the agent, whose every mutant asks.
//!
//! `NRD_MUTANT` holds a number; or nothing, and then all are off; or `reach`,
//! and then they are off and each that is asked for is noted, once, in the
//! file that `NRD_MUTANTS_REACHED` names.

extern crate std;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::io::Write as _;

const UNKNOWN: u32 = u32::MAX;
const REACH: u32 = u32::MAX - 1;
const NONE: u32 = u32::MAX - 2;

static ON: AtomicU32 = AtomicU32::new(UNKNOWN);
static ASKED: [AtomicBool; 8192] = [const { AtomicBool::new(false) }; 8192];

/// True when this mutant is on.
#[inline(always)]
pub(crate) fn on(mutant: u32) -> bool {
    let on = ON.load(Relaxed);
    on == mutant || (on >= REACH && asked(on, mutant))
}

#[cold]
#[inline(never)]
fn asked(on: u32, mutant: u32) -> bool {
    if on == REACH {
        note(mutant);
        return false;
    }
    let named = std::env::var("NRD_MUTANT").unwrap_or_default();
    let on = match named.as_str() {
        "reach" => REACH,
        number => number.parse().unwrap_or(NONE),
    };
    ON.store(on, Relaxed);
    self::on(mutant)
}

fn note(mutant: u32) {
    let Some(asked) = ASKED.get(mutant as usize) else {
        return;
    };
    if asked.load(Relaxed) || asked.swap(true, Relaxed) {
        return;
    }
    if let Ok(path) = std::env::var("NRD_MUTANTS_REACHED")
        && let Ok(mut file) = std::fs::File::options().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "{mutant}");
    }
}
