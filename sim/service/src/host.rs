//! What the service takes from the machine it runs on: time and randomness.
//!
//! A virtual world gives its own, so that a whole life repeats exactly.

use super::error::{Error, Result};
use std::time::{SystemTime, UNIX_EPOCH};

/// Time and randomness.
pub trait Host: Send + Sync {
    /// Now, Unix seconds.
    fn now_s(&self) -> u64;

    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]) -> Result<()>;
}

/// The machine itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Host for System {
    fn now_s(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |d| d.as_secs())
    }

    fn fill(&self, out: &mut [u8]) -> Result<()> {
        getrandom::fill(out).map_err(|_| Error::Random)
    }
}
