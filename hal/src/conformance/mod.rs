//! Checks that any port can run on its own hardware.
//!
//! **They destroy what is on the flash and in the slots, and use up counter
//! steps.** Run them on a device without an account, before the agent is first
//! started.
//!
//! | function | checks | uses up |
//! |---|---|---|
//! | [`region`](fn@region) | erase, program, read, neighbours, addresses, bounds | three erases a unit |
//! | [`slot`](fn@slot) | both key slots: write, zero, erase, independence | six erases a slot |
//! | [`counter`](fn@counter) | steady reads, steps of exactly one | `steps` steps |
//! | [`root_key`](fn@root_key) | derivation, labels, epochs, the claim to refuse past ones | one counter step |
//! | [`rng`](fn@rng) | health tests of NIST SP 800-90B §4.4 | |
//! | [`identity`](fn@identity) | id, certificate, signatures | |
//! | [`clock`](fn@clock) | uptime never goes back | |
//! | [`crypto`](fn@crypto) | published vectors, and refusals | |
//! | [`platform`](fn@platform) | all of them, on a whole port | |
//!
//! What spans a power cycle comes in two halves: note [`Before`], cut the
//! power, and hold [`after_power_cycle`] against it.
//!
//! A failure names the promise that was broken; see the trait's contract.

mod crypto;
mod keys;
mod misc;
mod platform;
mod region;
mod slot;

pub use crypto::crypto;
pub use keys::{counter, root_key};
pub use misc::{clock, identity, rng};
pub use platform::{Before, after_power_cycle, before_power_cycle, platform};
pub use region::region;
pub use slot::slot;

use crate::error::{Error, ErrorKind};

/// A promise that a port does not keep.
///
/// ```
/// use nrd_hal::{Clock, conformance};
///
/// /// A tick counter of 16 bits.
/// struct ShortTicks(u16);
///
/// impl Clock for ShortTicks {
///     fn uptime_ms(&mut self) -> u64 {
///         self.0 = self.0.wrapping_add(1);
///         u64::from(self.0)
///     }
/// }
///
/// let failure = conformance::clock(&mut ShortTicks(0xFF00)).unwrap_err();
/// assert_eq!(failure.promise, "uptime never goes back");
/// assert_eq!(failure.to_string(), "Clock: uptime never goes back (at 255)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The trait.
    pub part: &'static str,
    /// The promise.
    pub promise: &'static str,
    /// Where, for what has places: an offset in bytes, or a number.
    pub at: Option<u32>,
    /// The port's own error, where a call failed that must not.
    pub kind: Option<ErrorKind>,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.part, self.promise)?;
        if let Some(at) = self.at {
            write!(f, " (at {at})")?;
        }
        match self.kind {
            Some(kind) => write!(f, " ({kind:?})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Failure {}

/// Passes, or names the promise.
fn keep(
    part: &'static str,
    promise: &'static str,
    at: Option<u32>,
    ok: bool,
) -> Result<(), Failure> {
    match ok {
        true => Ok(()),
        false => Err(Failure {
            part,
            promise,
            at,
            kind: None,
        }),
    }
}

/// A call that must succeed.
fn must<T, E: Error>(
    part: &'static str,
    promise: &'static str,
    result: Result<T, E>,
) -> Result<T, Failure> {
    result.map_err(|e| Failure {
        part,
        promise,
        at: None,
        kind: Some(e.kind()),
    })
}
