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
pub(crate) fn on(mutant: u32) -> bool {
    match ON.load(Relaxed) {
        UNKNOWN => {
            let named = std::env::var("NRD_MUTANT").unwrap_or_default();
            let on = match named.as_str() {
                "reach" => REACH,
                number => number.parse().unwrap_or(NONE),
            };
            ON.store(on, Relaxed);
            self::on(mutant)
        }
        REACH => {
            note(mutant);
            false
        }
        on => on == mutant,
    }
}

fn note(mutant: u32) {
    let first = ASKED
        .get(mutant as usize)
        .is_some_and(|asked| !asked.swap(true, Relaxed));
    let file = std::env::var("NRD_MUTANTS_REACHED").ok().filter(|_| first);
    if let Some(path) = file
        && let Ok(mut file) = std::fs::File::options().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "{mutant}");
    }
}
