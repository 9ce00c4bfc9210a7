//! The random generator, [`DeviceIdentity`] and [`Clock`].

use super::{Failure, keep, must};
use crate::clock::Clock;
use crate::crypto::Crypto;
use crate::identity::DeviceIdentity;
use rand_core::TryCryptoRng;

const RNG: &str = "Rng";
const IDENTITY: &str = "DeviceIdentity";
const CLOCK: &str = "Clock";

/// Bytes drawn for the health tests.
const SAMPLE: usize = 1024;

/// Checks a generator with the health tests of NIST SP 800-90B §4.4, for a
/// claim of four bits of entropy a byte and 2⁻³⁰ false alarms; and that two
/// draws differ.
pub fn rng<G: TryCryptoRng>(rng: &mut G) -> Result<(), Failure> {
    let mut draw = |out: &mut [u8]| {
        let drawn = rng.try_fill_bytes(out);
        keep(RNG, "it answers", None, drawn.is_ok())
    };
    let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
    draw(&mut a)?;
    draw(&mut b)?;
    keep(RNG, "two draws differ", None, a != b)?;
    let mut sample = [0u8; SAMPLE];
    draw(&mut sample)?;
    // §4.4.1, cutoff 1 + ⌈30 / 4⌉.
    let repeats = sample
        .windows(9)
        .any(|w| w.iter().all(|v| Some(v) == w.first()));
    keep(
        RNG,
        "it is not stuck (repetition count test)",
        None,
        !repeats,
    )?;
    // §4.4.2, window 512, for every value: with four bits a byte one is expected
    // 32 times.
    let window = sample.get(..512).unwrap_or_default();
    let most = (0..=255u8)
        .map(|v| window.iter().filter(|&&w| w == v).count())
        .max();
    let promise = "it is not biased (adaptive proportion test)";
    keep(RNG, promise, None, most.unwrap_or_default() < 77)?;
    // A counter passes both; its differences do not.
    let steps = sample
        .windows(3)
        .filter(|w| matches!(w, [x, y, z] if y.wrapping_sub(*x) == z.wrapping_sub(*y)))
        .count();
    keep(RNG, "it is no counter", None, steps < SAMPLE / 8)
}

/// Checks device id, certificate and signatures.
pub fn identity<I: DeviceIdentity, C: Crypto>(identity: &mut I) -> Result<(), Failure> {
    let id = identity.device_id();
    let good = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    keep(
        IDENTITY,
        "the id is 1 to 32 printable ASCII characters",
        None,
        good,
    )?;
    let n = identity.certificate().len();
    keep(
        IDENTITY,
        "the certificate has 1 to 256 bytes",
        Some(n as u32),
        (1..=256).contains(&n),
    )?;
    let key = identity.public_key();
    let named = identity.certificate().windows(32).any(|w| w == key);
    keep(
        IDENTITY,
        "the certificate names the public key",
        None,
        named,
    )?;
    for message in [&b"conformance"[..], &[0u8; 200], b""] {
        let signature = must(IDENTITY, "sign answers", identity.sign(message))?;
        let good = C::verify(&key, message, &signature).is_ok();
        keep(
            IDENTITY,
            "signatures verify under the public key",
            None,
            good,
        )?;
        let again = must(IDENTITY, "sign answers", identity.sign(message))?;
        keep(
            IDENTITY,
            "signatures are deterministic (RFC 8032)",
            None,
            again == signature,
        )?;
    }
    Ok(())
}

/// Checks that uptime never goes back, over many reads.
pub fn clock<C: Clock>(clock: &mut C) -> Result<(), Failure> {
    let mut last = 0;
    for i in 0..1000 {
        let now = clock.uptime_ms();
        keep(CLOCK, "uptime never goes back", Some(i), now >= last)?;
        last = now;
    }
    // 2020-01-01: a clock that was never set says None instead.
    let set = clock.wall_s().is_none_or(|w| w > 1_577_836_800);
    keep(CLOCK, "a clock that was never set says so", None, set)
}
