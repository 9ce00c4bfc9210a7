//! A port made from nothing, and its conformance run.
//!
//! `port.rs` implements each trait of `nrd-hal` over RAM, in the order of
//! `docs/PORTING.md`; this file does what a port does first on its board: it
//! holds every part against its contract, and prints what was checked.
//!
//! ```text
//! cargo run -p nrd-hal --example ram_port
//! ```

mod port;

use nrd_hal::conformance::{self, Failure};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{Clock, Parts, Platform, Region};
use port::{Board, RamPort};
use std::error::Error;
use std::io::{self, Write};

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout().lock())
}

/// Checks a good port part by part, then as a whole and over a power cycle,
/// and shows how a wrong one is told.
pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let board = Board::new();
    let mut port = RamPort::power_on(&board).ok_or("the chip is too small")?;

    let Parts {
        journal,
        vault,
        slot,
        counter,
        root_key,
        rng,
        identity,
        clock,
    } = port.parts();
    for (name, size) in [
        ("journal", journal.geometry().size),
        ("vault", vault.geometry().size),
    ] {
        writeln!(out, "{name}: {} KiB of flash", size / 1024)?;
    }
    let mut checked = |what: &str, result: Result<(), Failure>| -> Result<(), Box<dyn Error>> {
        // A failure names the part, the promise that is broken, and where.
        result?;
        Ok(writeln!(out, "ok  {what}")?)
    };
    checked(
        "Crypto: published vectors of AES-256-GCM, HMAC, HKDF, SHA-256 and Ed25519",
        conformance::crypto::<RingCrypto>(),
    )?;
    checked(
        "Region (journal): erase, program, read, bounds",
        conformance::region(journal),
    )?;
    checked(
        "Region (vault): erase, program, read, bounds",
        conformance::region(vault),
    )?;
    checked(
        "Effaceable: both key slots die and are independent",
        conformance::slot(slot),
    )?;
    checked(
        "MonotonicCounter: two steps of exactly one",
        conformance::counter(counter, 2),
    )?;
    checked(
        "RootKey: labels, epochs, and past epochs are refused",
        conformance::root_key(root_key, counter),
    )?;
    checked(
        "Rng: health tests of NIST SP 800-90B",
        conformance::rng(rng),
    )?;
    checked(
        "DeviceIdentity: certificate and signatures",
        conformance::identity::<_, RingCrypto>(identity),
    )?;
    checked("Clock: uptime never goes back", conformance::clock(clock))?;
    checked(
        "Platform: all of them, and that they share no flash",
        conformance::platform(&mut port),
    )?;

    let before = conformance::before_power_cycle(&mut port)?;
    // Power off and on: the port, which is RAM, is made anew. The board stays.
    let mut port = RamPort::power_on(&board).ok_or("the chip is too small")?;
    checked(
        "Power cycle: flash, slots, counter and keys are the same",
        conformance::after_power_cycle(&mut port, &before),
    )?;

    // And this is how a mistake is told: a tick counter of 16 bits.
    let wrong = conformance::clock(&mut ShortTicks(0xFF00));
    let told = wrong
        .err()
        .ok_or("the suite passed a clock that goes back")?;
    writeln!(out, "A wrong clock:\n    {told}")?;
    Ok(())
}

/// A clock that starts over when its counter overflows.
struct ShortTicks(u16);

impl Clock for ShortTicks {
    fn uptime_ms(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        u64::from(self.0)
    }
}
