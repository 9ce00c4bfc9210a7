//! The device's own reader and writer of frames against serde and postcard,
//! on every kind of frame: what one writes the other reads, and what the
//! device accepts means the same to both.

use nrd_agent::lease::StoredLease;
use nrd_agent::order::SeenOrders;
use nrd_agent::state::{Activation, Snapshot, Stored, Tombstone, WipePhase};
use nrd_agent::wire::codec::{self, Blank, Code};
use nrd_agent::wire::*;
use nrd_sim::base::hex;
use nrd_sim::hw::SplitMix;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const TRIES: u64 = 4_000;

fn seed() -> u64 {
    let seed = std::env::var("NRD_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0xC0DEC);
    println!("seed {seed}");
    seed
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

fn postcard_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = [0; 2048];
    postcard::to_slice(value, &mut out).unwrap().to_vec()
}

fn codec_bytes<'a, T: Code<'a> + Clone>(value: &T) -> Vec<u8> {
    let mut out = [0; 2048];
    let n = codec::write(&[], &mut value.clone(), &mut out).unwrap();
    out[..n].to_vec()
}

/// Both on `body`; true when the device accepts it.
fn both<'a, T: Code<'a> + Blank + Clone + Serialize + Deserialize<'a>>(body: &'a [u8]) -> bool {
    let theirs = match postcard::take_from_bytes::<T>(body) {
        Ok((value, [])) => Some(postcard_bytes(&value)),
        _ => None,
    };
    let Some(ours) = codec::read::<T>(body) else {
        return false;
    };
    let again = codec_bytes(&ours);
    assert_eq!(postcard_bytes(&ours), again, "written differently");
    let theirs = theirs.unwrap_or_else(|| panic!("postcard refuses {}", hex(body)));
    assert_eq!(theirs, again, "read differently: {}", hex(body));
    assert_eq!(hex(body), hex(&again), "a second encoding");
    true
}

/// The body as it is, and many altered ones.
fn around<T: for<'a> Same<'a>>(body: &[u8], draws: &mut SplitMix) {
    assert!(T::same(body), "a good body is refused: {}", hex(body));
    let mut accepted = 0;
    for _ in 0..TRIES {
        let mut altered = body.to_vec();
        for _ in 0..=draws.below(2) {
            let at = draws.below(altered.len() as u64) as usize;
            match draws.below(4) {
                0 => altered[at] = draws.draw() as u8,
                1 => altered[at] ^= 1 << draws.below(8),
                2 => altered.truncate(at.max(1)),
                _ => altered.insert(at, draws.draw() as u8),
            }
        }
        accepted += u32::from(T::same(&altered));
    }
    println!("{} of {TRIES} altered bodies accepted by both", accepted);
    assert!(accepted > 0, "nothing altered was ever accepted");
}

trait Same<'a> {
    fn same(body: &'a [u8]) -> bool;
}

macro_rules! types {
    ($($name:literal $type:ty;)*) => {
        $(impl<'a> Same<'a> for $type {
            fn same(body: &'a [u8]) -> bool {
                both::<$type>(body)
            }
        })*
        fn by_name(name: &str, body: &[u8], draws: &mut SplitMix) {
            match name {
                $($name => around::<$type>(body, draws),)*
                other => panic!("no such type: {other}"),
            }
        }
    };
}

macro_rules! borrowing {
    ($($marker:ident $type:ident;)*) => {$(
        struct $marker;
        impl<'a> Same<'a> for $marker {
            fn same(body: &'a [u8]) -> bool {
                both::<$type<'a>>(body)
            }
        }
    )*};
}
borrowing! { AReceipt Receipt; ARequest Request; AReply Reply; }

types! {
    "certificate" MakerCertificate;
    "delegation" Delegation;
    "order" Order;
    "outcome" OrderOutcome;
    "grant" Grant;
    "lease" Lease;
    "statement" Statement;
    "snapshot" Snapshot;
    "tombstone" Tombstone;
}

#[test]
fn the_device_reads_and_writes_what_postcard_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/frames.json");
    let frames: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut draws = SplitMix(seed());
    let mut kinds = 0;
    for frame in frames.as_object().unwrap() {
        let all = bytes(frame.1.as_str().unwrap());
        if !all.starts_with(b"nrd/1/") {
            continue;
        }
        println!("{}", frame.0);
        let end = all.iter().position(|&b| b == 0).unwrap() + 1;
        let context = std::str::from_utf8(&all[..end - 1]).unwrap();
        let kind = context.strip_prefix("nrd/1/").unwrap();
        let body = match kind {
            "reply" => &all[end..],
            _ => &all[end..all.len() - SIGNATURE_LEN],
        };
        match kind {
            "receipt" => around::<AReceipt>(body, &mut draws),
            "request" => around::<ARequest>(body, &mut draws),
            "reply" => around::<AReply>(body, &mut draws),
            kind => by_name(kind, body, &mut draws),
        }
        kinds += 1;
    }
    assert!(kinds >= 9, "only {kinds} frames were tried");
}

#[test]
fn what_the_journal_keeps_is_postcard_too() {
    let mut draws = SplitMix(seed());
    let mut seen = SeenOrders::default();
    seen.note(KeyVersion(3), OrderSeq(u64::MAX));
    seen.note(KeyVersion(300), OrderSeq(1));
    let terms = LeaseTerms {
        renew_after_s: 86_400,
        expires_after_s: u32::MAX,
        max_boots: 500,
        dead_man_s: 0,
    };
    let mut snapshot = Snapshot::fresh(7);
    for stored in [
        Stored::Clean,
        Stored::Failed,
        Stored::Activating {
            id: ActivationId([1; 16]),
            epoch: 130,
            signed_out: Some(ActivationId([2; 16])),
        },
        Stored::SignedOut {
            id: ActivationId([3; 16]),
            epoch: 1,
            told: true,
            seen,
        },
        Stored::Active(Activation {
            id: ActivationId([4; 16]),
            epoch: 9,
            slot_generation: 128,
            remember: true,
            lease: StoredLease {
                terms,
                stored_at_s: 1_000_000,
                stored_in_boot: 17,
                issued_at: 1_800_000_000,
            },
            policy: PolicyVersion(2),
            lock: Some(LockReason::ConsentDue),
            seen,
        }),
    ] {
        snapshot.stored = stored;
        snapshot.last_receipt = Some([5; 32]);
        around::<Snapshot>(&codec_bytes(&snapshot), &mut draws);
    }
    for phase in [
        WipePhase::Keys,
        WipePhase::Vault(65_536),
        WipePhase::Receipt,
    ] {
        let tombstone = Tombstone {
            reason: WipeReason::Order,
            order: Some([6; 32]),
            activation_id: ActivationId([7; 16]),
            receipt: 3,
            epoch: 4,
            target_epoch: 5,
            phase,
            sectors: SectorCounts {
                total: 4096,
                erased: 127,
                failed: 128,
            },
            slot_stuck: false,
            counter_worn_out: true,
            late: false,
        };
        around::<Tombstone>(&codec_bytes(&tombstone), &mut draws);
    }
}

#[test]
fn an_integer_is_taken_in_its_shortest_form_only() {
    for (bytes, value) in [
        (&[0][..], Some(0)),
        (&[0x7F], Some(127)),
        (&[0x80, 0x01], Some(128)),
        (&[0x80, 0x00], None),
        (&[0xFF, 0x80, 0x00], None),
        (&[0x80, 0x80, 0x01], Some(16_384)),
    ] {
        assert_eq!(codec::read::<u64>(bytes), value, "{bytes:02x?}");
        assert_eq!(codec::read::<u32>(bytes).map(u64::from), value);
    }
    let most = codec_bytes(&u64::MAX);
    assert_eq!(codec::read(&most), Some(u64::MAX));
    assert_eq!(codec::read::<u64>(&[&most[..9], &[2]].concat()), None);
    assert_eq!(codec::read::<u32>(&most), None);
}

#[test]
fn a_frame_longer_than_its_kind_allows_is_too_long_whatever_it_holds() {
    use nrd_agent::Error;
    use nrd_hal::crypto::RingCrypto;
    fn junk<'a, B: Body<'a>>(length: usize) -> Vec<u8> {
        let mut frame = B::CONTEXT.to_vec();
        frame.resize(length, 0xFF);
        frame
    }
    fn plain<B: for<'a> Body<'a>>() {
        for (longer, answer) in [
            (0, Error::Malformed),
            (1, Error::TooLong),
            (2, Error::TooLong),
        ] {
            let frame = junk::<B>(B::MAX + longer);
            assert_eq!(decode::<B>(&frame).err(), Some(answer), "{longer}");
        }
    }
    fn signed<B: for<'a> Body<'a>>() {
        for (longer, answer) in [
            (0, Error::BadSignature),
            (1, Error::TooLong),
            (2, Error::TooLong),
        ] {
            let frame = junk::<B>(B::MAX + longer);
            let read = decode_signed::<B, RingCrypto>(&frame, &[7; 32]);
            assert_eq!(read.err(), Some(answer), "{longer}");
        }
    }
    plain::<Delegation>();
    plain::<Lease>();
    signed::<Delegation>();
    signed::<Order>();
    signed::<Grant>();
    signed::<Statement>();
}
