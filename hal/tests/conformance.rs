//! The conformance suite passes a good port and fails each wrong one, with the
//! promise that it breaks.

use core::cell::{Cell, RefCell};
use nrd_hal::conformance::{self, Failure};
use nrd_hal::crypto::{AeadError, Crypto, RingCrypto, RustCrypto, SignatureError};
use nrd_hal::rand_core::{TryCryptoRng, TryRng};
use nrd_hal::slot::NorSlots;
use nrd_hal::{
    Clock, DeviceIdentity, Effaceable, Epoch, ErrorKind, ErrorType, Geometry, Guarantee,
    MonotonicCounter, Partition, Region, RootKey,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::path::Path;
use zeroize::Zeroizing;

/// What is wrong with a flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    EraseDoesNothing,
    EraseStopsHalfWay,
    EraseClearsTheNeighbour,
    ProgramDoesNothing,
    ProgramStopsAfterAUnit,
    ProgramSpills,
    AddressesWrap,
    TakesUnaligned,
    TakesOutside,
    OverwriteDoesNothing,
    ReadForgetsToFill,
    RefusedStillErases,
}
use Wrong::*;

/// Flash in RAM.
struct Flash {
    cells: Vec<u8>,
    g: Geometry,
    overwrite: bool,
    wrong: Wrong,
}

fn flash(write_size: u32, erase_size: u32, units: u32, wrong: Wrong) -> Flash {
    let size = erase_size * units;
    Flash {
        cells: vec![0x5A; size as usize],
        g: Geometry {
            size,
            write_size,
            erase_size,
            best_erase: erase_size,
        },
        overwrite: wrong == OverwriteDoesNothing,
        wrong,
    }
}

impl Flash {
    fn check(&self, from: u32, to: u32, unit: u32) -> Result<(), ErrorKind> {
        if to > self.g.size && self.wrong != TakesOutside {
            return Err(ErrorKind::OutOfBounds);
        }
        let aligned = from.is_multiple_of(unit) && to.is_multiple_of(unit);
        if aligned || self.wrong == TakesUnaligned {
            Ok(())
        } else {
            Err(ErrorKind::NotAligned)
        }
    }
    fn cell(&mut self, at: u32) -> &mut u8 {
        let wrap = match self.wrong {
            AddressesWrap => self.g.size / 2,
            _ => self.g.size,
        };
        &mut self.cells[(at % wrap) as usize]
    }
}

impl ErrorType for Flash {
    type Error = ErrorKind;
}

impl Region for Flash {
    fn geometry(&self) -> Geometry {
        self.g
    }
    fn can_overwrite(&self) -> bool {
        self.overwrite
    }
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        let to = offset
            .checked_add(bytes.len() as u32)
            .ok_or(ErrorKind::OutOfBounds)?;
        self.check(offset, to, 1)?;
        for (i, b) in bytes.iter_mut().enumerate() {
            if self.wrong == ReadForgetsToFill && i > 8 {
                break;
            }
            *b = *self.cell(offset + i as u32);
        }
        Ok(())
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.check(offset, offset + bytes.len() as u32, self.g.write_size)?;
        let n = match self.wrong {
            ProgramDoesNothing => 0,
            ProgramStopsAfterAUnit => self.g.write_size as usize,
            OverwriteDoesNothing if bytes.iter().all(|&b| b == 0) => 0,
            _ => bytes.len(),
        };
        for (i, b) in bytes.iter().take(n).enumerate() {
            *self.cell(offset + i as u32) &= b;
        }
        if self.wrong == ProgramSpills {
            *self.cell(offset + bytes.len() as u32) &= 0x7F;
        }
        Ok(())
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let checked = self.check(from, to, self.g.erase_size);
        if self.wrong == RefusedStillErases && checked.is_err() {
            self.cells.fill(0xFF);
        }
        checked?;
        let to = match self.wrong {
            EraseDoesNothing => from,
            EraseStopsHalfWay => from + (to - from) / 2,
            EraseClearsTheNeighbour => (to + self.g.erase_size).min(self.g.size),
            _ => to,
        };
        for at in from..to {
            *self.cell(at) = 0xFF;
        }
        Ok(())
    }
}

#[test]
fn a_good_region_passes_in_every_size() {
    let sizes = [
        (1, 256, 8),
        (4, 4096, 4),
        (32, 1024, 5),
        (256, 256, 16),
        (256, 65536, 2),
        (8, 2048, 2),
    ];
    for (w, e, n) in sizes {
        for overwrite in [false, true] {
            let mut f = flash(w, e, n, Nothing);
            f.overwrite = overwrite;
            assert_eq!(conformance::region(&mut f), Ok(()), "{w} {e} {n}");
        }
    }
    let chip = RefCell::new(flash(4, 512, 12, Nothing));
    let mut part = Partition::new(&chip, 1024, 2048).unwrap();
    assert_eq!(conformance::region(&mut part), Ok(()));
}

#[test]
fn every_wrong_region_is_caught_by_the_promise_it_breaks() {
    let blank = "after erase every byte reads 0xFF";
    let cases = [
        (EraseDoesNothing, blank),
        (EraseStopsHalfWay, blank),
        (ReadForgetsToFill, blank),
        (
            EraseClearsTheNeighbour,
            "erase touches nothing outside its range",
        ),
        (ProgramDoesNothing, "what was programmed is read"),
        (ProgramStopsAfterAUnit, "what was programmed is read"),
        (ProgramSpills, "program touches nothing outside its range"),
        (AddressesWrap, "every address is a place of its own"),
        (TakesUnaligned, "what is not aligned is refused"),
        (TakesOutside, "what lies outside is refused"),
        (
            OverwriteDoesNothing,
            "a part that can overwrite programs to zero",
        ),
        (RefusedStillErases, "what is refused changes nothing"),
    ];
    for (wrong, promise) in cases {
        let failure = conformance::region(&mut flash(8, 1024, 6, wrong)).unwrap_err();
        assert_eq!(
            (failure.part, failure.promise),
            ("Region", promise),
            "{wrong:?}"
        );
        assert!(failure.to_string().starts_with("Region: "));
    }
    let mut odd = flash(4, 1024, 4, Nothing);
    odd.g.best_erase = 1000;
    assert!(conformance::region(&mut odd).is_err());
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BadSlot {
    Good,
    LeavesBytes,
    Shared,
    ZeroClaims,
    WriteDoesNothing,
}

struct Slots([[u8; 256]; 2], BadSlot);

impl Slots {
    fn place(&mut self, slot: u8) -> &mut [u8; 256] {
        match self.1 {
            BadSlot::Shared => &mut self.0[0],
            _ => &mut self.0[usize::from(slot)],
        }
    }
}

impl ErrorType for Slots {
    type Error = ErrorKind;
}

impl Effaceable for Slots {
    fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        let n = bytes.len();
        bytes.copy_from_slice(&self.place(slot)[..n]);
        Ok(())
    }
    fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), ErrorKind> {
        if self.1 != BadSlot::WriteDoesNothing {
            self.place(slot)[..bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }
    fn zero(&mut self, slot: u8) -> Result<bool, ErrorKind> {
        if self.1 != BadSlot::ZeroClaims {
            self.place(slot).fill(0);
        }
        Ok(true)
    }
    fn erase(&mut self, slot: u8) -> Result<(), ErrorKind> {
        let n = 256 - usize::from(self.1 == BadSlot::LeavesBytes);
        self.place(slot)[..n].fill(0xFF);
        Ok(())
    }
    fn guarantee(&self) -> Guarantee {
        Guarantee::Physical
    }
}

#[test]
fn slots_are_checked() {
    let check = |bad| conformance::slot(&mut Slots([[0; 256]; 2], bad));
    assert_eq!(check(BadSlot::Good), Ok(()));
    for (bad, promise) in [
        (BadSlot::LeavesBytes, "after erase every byte reads 0xFF"),
        (BadSlot::Shared, "the slots are independent"),
        (BadSlot::ZeroClaims, "after zero every byte reads 0"),
        (BadSlot::WriteDoesNothing, "what was written is read"),
    ] {
        assert_eq!(check(bad).unwrap_err().promise, promise, "{bad:?}");
    }
    for overwrite in [false, true] {
        let one = || {
            let mut f = flash(4, 512, 1, Nothing);
            f.overwrite = overwrite;
            f
        };
        assert_eq!(conformance::slot(&mut NorSlots::new(one(), one())), Ok(()));
    }
}

/// A counter that steps by a function of its value.
struct Counter(u64, fn(u64) -> u64);

impl ErrorType for Counter {
    type Error = ErrorKind;
}

impl MonotonicCounter for Counter {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        Ok(Epoch(self.0))
    }
    fn increment(&mut self) -> Result<(), ErrorKind> {
        self.0 = (self.1)(self.0);
        Ok(())
    }
    fn endurance(&self) -> u64 {
        1000
    }
}

#[test]
fn counters_are_checked() {
    let check =
        |step| conformance::counter(&mut Counter(5, step), 4).map_err(|f: Failure| f.promise);
    assert_eq!(check(|n| n + 1), Ok(()));
    assert_eq!(check(|n| n - 1), Err("it never goes back"));
    assert_eq!(
        check(|n| if n < 7 { n + 1 } else { 0 }),
        Err("it never goes back")
    );
    assert_eq!(check(|n| n + 2), Err("a step is exactly one"));
    assert_eq!(check(|n| n), Err("a step is exactly one"));
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BadRoot {
    Good,
    AnswersForThePast,
    IgnoresTheEpoch,
    IgnoresTheEnd,
    FixedIsEpoch,
    WrongRefusal,
}

/// A root key, and a counter beside it.
struct Root<'c>(&'c Cell<u64>, BadRoot);
struct Beside<'c>(&'c Cell<u64>);

impl ErrorType for Beside<'_> {
    type Error = ErrorKind;
}

impl MonotonicCounter for Beside<'_> {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        Ok(Epoch(self.0.get()))
    }
    fn increment(&mut self) -> Result<(), ErrorKind> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
    fn endurance(&self) -> u64 {
        1000
    }
}

impl ErrorType for Root<'_> {
    type Error = ErrorKind;
}

impl RootKey for Root<'_> {
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        let label = match self.1 {
            BadRoot::IgnoresTheEnd => &label[..label.len().min(8)],
            _ => label,
        };
        let length = [label.len() as u8];
        Ok(Zeroizing::new(RingCrypto::hkdf(
            b"f",
            b"root",
            &[&length, label],
        )))
    }
    fn derive_epoch(&mut self, label: &[u8], e: Epoch) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        let past = e.0 < self.0.get();
        let e = match self.1 {
            BadRoot::FixedIsEpoch => return self.derive_fixed(label),
            BadRoot::WrongRefusal if past => return Err(ErrorKind::Other),
            BadRoot::AnswersForThePast => e.0,
            _ if past => return Err(ErrorKind::Refused),
            BadRoot::IgnoresTheEpoch => 0,
            _ => e.0,
        };
        let e = e.to_le_bytes();
        Ok(Zeroizing::new(RingCrypto::hkdf(
            b"e",
            b"root",
            &[&e, label],
        )))
    }
    fn refuses_past_epochs(&self) -> bool {
        true
    }
}

#[test]
fn root_keys_are_checked() {
    let check = |bad| {
        let cell = Cell::new(3);
        conformance::root_key(&mut Root(&cell, bad), &mut Beside(&cell)).map_err(|f| f.promise)
    };
    assert_eq!(check(BadRoot::Good), Ok(()));
    for (bad, promise) in [
        (
            BadRoot::AnswersForThePast,
            "past epochs are refused, as it claims",
        ),
        (BadRoot::IgnoresTheEpoch, "every epoch has a key of its own"),
        (BadRoot::IgnoresTheEnd, "every byte of the label matters"),
        (BadRoot::FixedIsEpoch, "an epoch's key is not the fixed one"),
        (BadRoot::WrongRefusal, "a past epoch's refusal says Refused"),
    ] {
        assert_eq!(check(bad), Err(promise), "{bad:?}");
    }
}

/// A generator whose bytes are a function of how many came before.
struct Rng(u64, fn(u64) -> u8);

impl TryRng for Rng {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut b = [0; 4];
        self.try_fill_bytes(&mut b)?;
        Ok(u32::from_le_bytes(b))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut b = [0; 8];
        self.try_fill_bytes(&mut b)?;
        Ok(u64::from_le_bytes(b))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for b in out {
            *b = (self.1)(self.0);
            self.0 += 1;
        }
        Ok(())
    }
}
impl TryCryptoRng for Rng {}

fn good_byte(n: u64) -> u8 {
    RingCrypto::sha256(&n.to_le_bytes())[0]
}

#[test]
fn random_generators_are_checked() {
    let check = |f| conformance::rng(&mut Rng(0, f)).map_err(|f| f.promise);
    assert_eq!(check(good_byte), Ok(()));
    assert_eq!(check(|_| 7), Err("two draws differ"));
    assert_eq!(check(|n| good_byte(n % 32)), Err("two draws differ"));
    assert_eq!(
        check(|n| if n < 100 { good_byte(n) } else { 0 }),
        Err("it is not stuck (repetition count test)")
    );
    assert_eq!(
        check(|n| match good_byte(n) {
            ..100 => 5,
            _ => good_byte(n + 100_000),
        }),
        Err("it is not biased (adaptive proportion test)")
    );
    assert_eq!(check(|n| n as u8), Err("it is no counter"));
}

struct Who(Ed25519KeyPair, [u8; 32], Vec<u8>, &'static str);

impl ErrorType for Who {
    type Error = ErrorKind;
}

impl DeviceIdentity for Who {
    fn device_id(&self) -> &str {
        self.3
    }
    fn public_key(&self) -> [u8; 32] {
        self.1
    }
    fn certificate(&self) -> &[u8] {
        &self.2
    }
    fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], ErrorKind> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

#[test]
fn identities_are_checked() {
    let pair = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = |seed: u8| -> [u8; 32] { pair(seed).public_key().as_ref().try_into().unwrap() };
    let check = |key, cert: Vec<u8>, id| {
        let mut who = Who(pair(1), key, cert, id);
        conformance::identity::<_, RingCrypto>(&mut who).map_err(|f| f.promise)
    };
    let cert = |seed| [&b"certificate "[..], &public(seed)].concat();
    assert_eq!(check(public(1), cert(1), "NRD-1"), Ok(()));
    assert_eq!(
        check(public(2), cert(2), "NRD-1"),
        Err("signatures verify under the public key")
    );
    assert_eq!(
        check(public(1), cert(2), "NRD-1"),
        Err("the certificate names the public key")
    );
    assert_eq!(
        check(public(1), vec![0; 257], "NRD-1"),
        Err("the certificate has 1 to 256 bytes")
    );
    for id in ["", "a space", "123456789012345678901234567890123", "é"] {
        assert_eq!(
            check(public(1), cert(1), id),
            Err("the id is 1 to 32 printable ASCII characters")
        );
    }
}

struct Time(u64, fn(u64) -> u64, Option<u64>);

impl Clock for Time {
    fn uptime_ms(&mut self) -> u64 {
        self.0 += 1;
        (self.1)(self.0)
    }
    fn wall_s(&mut self) -> Option<u64> {
        self.2
    }
}

#[test]
fn clocks_are_checked() {
    let check = |f, wall| conformance::clock(&mut Time(0, f, wall)).map_err(|f| f.promise);
    assert_eq!(check(|n| n / 3, None), Ok(()));
    assert_eq!(check(|n| n, Some(1_795_000_000)), Ok(()));
    assert_eq!(check(|n| n % 500, None), Err("uptime never goes back"));
    assert_eq!(
        check(|n| n, Some(42)),
        Err("a clock that was never set says so")
    );
}

/// Providers with one thing wrong each: 0 takes any tag, 1 any signature, 2
/// forgets all but the first part of a MAC, 3 gives a text away it refuses.
#[derive(Debug)]
struct Bad<const HOW: u8>;

impl<const HOW: u8> Crypto for Bad<HOW> {
    type Sha256 = <RingCrypto as Crypto>::Sha256;
    fn seal(k: &[u8; 32], n: &[u8; 12], a: &[u8], text: &mut [u8]) -> Result<[u8; 16], AeadError> {
        RingCrypto::seal(k, n, a, text)
    }
    fn open(
        k: &[u8; 32],
        n: &[u8; 12],
        a: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), AeadError> {
        match HOW {
            // GCM's keystream opens what it sealed, tag or no tag.
            0 => RingCrypto::seal(k, n, b"", text).map(drop),
            3 => {
                let copy = text.to_vec();
                let opened = RingCrypto::open(k, n, a, text, tag);
                if opened.is_err() {
                    text.copy_from_slice(&copy);
                    RingCrypto::seal(k, n, b"", text)?;
                }
                opened
            }
            _ => RingCrypto::open(k, n, a, text, tag),
        }
    }
    fn hmac(k: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        match HOW {
            2 => RingCrypto::hmac(k, &parts[..1]),
            _ => RingCrypto::hmac(k, parts),
        }
    }
    fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 32] {
        RingCrypto::hkdf(salt, ikm, info)
    }
    fn verify(k: &[u8; 32], m: &[u8], s: &[u8; 64]) -> Result<(), SignatureError> {
        match HOW {
            1 => Ok(()),
            _ => RustCrypto::verify(k, m, s),
        }
    }
}

/// Runs the suite over each provider, and keeps their names.
macro_rules! providers {
    ($($provider:ident),*) => {
        const PROVIDERS: &[&str] = &[$(stringify!($provider)),*];

        #[test]
        fn every_crypto_provider_passes() {
            $(assert_eq!(conformance::crypto::<$provider>(), Ok(()), stringify!($provider));)*
        }
    };
}
providers!(RingCrypto, RustCrypto);

/// A provider that nobody runs the suite over would be published unchecked.
#[test]
fn no_crypto_provider_goes_without_the_suite_and_the_published_vectors() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let vectors = std::fs::read_to_string(here.join("tests/wycheproof.rs")).unwrap();
    let mut found = Vec::new();
    for file in std::fs::read_dir(here.join("src/crypto")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines() {
            if let Some(rest) = line.trim_start().strip_prefix("impl Crypto for ") {
                let name = rest.trim_end_matches(" {").to_owned();
                assert!(
                    vectors.contains(&format!("all::<{name}>()")),
                    "{name} is missing in tests/wycheproof.rs"
                );
                found.push(name);
            }
        }
    }
    found.sort_unstable();
    assert_eq!(found, PROVIDERS, "providers of src/crypto, by name");
}

#[test]
fn a_wrong_crypto_provider_fails_by_the_promise_it_breaks() {
    let promise = |r: Result<(), Failure>| r.unwrap_err().promise;
    assert_eq!(
        promise(conformance::crypto::<Bad<0>>()),
        "a wrong tag is refused"
    );
    assert_eq!(
        promise(conformance::crypto::<Bad<1>>()),
        "a signature of another message is refused"
    );
    assert_eq!(
        promise(conformance::crypto::<Bad<2>>()),
        "HMAC-SHA-256 (RFC 4231)"
    );
    assert_eq!(
        promise(conformance::crypto::<Bad<3>>()),
        "a refused text is not given away"
    );
}
