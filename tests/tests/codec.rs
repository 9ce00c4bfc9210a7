//! The device's own reader and writer of frames against serde and postcard,
//! on every kind of frame: what one writes the other reads, and what the
//! device accepts means the same to both.

use nrd_agent::Error;
use nrd_agent::lease::StoredLease;
use nrd_agent::order::SeenOrders;
use nrd_agent::state::{
    Activation, Attempt, PersistedState, SignedOut, Snapshot, Tombstone, WipePhase,
};
use nrd_agent::wire::codec::{self, Blank, Bounded, Code, Wire};
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

fn codec_bytes<'a, T: Code<'a>>(value: &T) -> Vec<u8> {
    let mut out = [0; 2048];
    let n = codec::write(&[], value, &mut out).unwrap();
    out[..n].to_vec()
}

/// Both on `body`; true when the device accepts it.
fn both<'a, T: Code<'a> + Blank + Serialize + Deserialize<'a>>(body: &'a [u8]) -> bool {
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
    "root" RootChange;
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
    assert!(kinds >= 10, "only {kinds} frames were tried");
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
        PersistedState::Clean,
        PersistedState::Failed,
        PersistedState::Filling,
        PersistedState::Activating(Attempt {
            id: ActivationId([1; 16]),
            epoch: 130,
            before: Some(ActivationId([2; 16])),
            storing: true,
        }),
        PersistedState::SignedOut(SignedOut {
            id: ActivationId([3; 16]),
            epoch: 1,
            service_notified: true,
            seen,
        }),
        PersistedState::Active(Activation {
            id: ActivationId([4; 16]),
            epoch: 9,
            slot_generation: 128,
            remember: true,
            lease: StoredLease {
                terms,
                stored_at_s: 1_000_000,
                stored_used_s: 900_000,
                stored_in_boot: 17,
                issued_at: 1_800_000_000,
            },
            policy: PolicyVersion(2),
            lock: Some(LockReason::ConsentDue),
            seen,
        }),
    ] {
        snapshot.state = stored;
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
            wipe: 3,
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
            tombstone_failed: false,
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

/// The words are a format: databases, metrics and files hold them.
#[test]
fn the_words_of_the_enums_are_stable() {
    macro_rules! words {
        ($($kind:ident: $($word:literal)*;)*) => {$(
            let words: Vec<&str> = $kind::ALL.iter().map(|v| v.name()).collect();
            assert_eq!(words, [$($word),*]);
            for value in $kind::ALL {
                assert_eq!($kind::from_name(value.name()), Some(*value));
            }
            for unknown in ["", "x", "unknown", concat!($($word),*)] {
                assert_eq!($kind::from_name(unknown), None);
            }
            let upper = words[0].to_uppercase();
            assert_eq!($kind::from_name(&upper), None);
        )*};
    }
    words! {
        DeviceKind: "set-top-box" "console" "computer";
        OrderKind: "deactivate" "sign-out";
        OrderResult: "applied" "already applied" "not applicable" "stale";
        LockReason: "lease-expired" "revoked" "consent-due" "theft-suspected" "journal-lost"
            "session-lost" "not-stored" "not-answering";
        WipeReason: "order" "local" "dead-man" "visit-ended" "abandoned" "recovered";
        Method: "purge" "clear" "failed";
        EndReason: "denied" "expired" "cancelled";
        RefusalCode: "stale-challenge" "unknown-device" "bad-request" "unknown-activation"
            "slow-down" "unavailable" "unknown-maker";
    }
}

#[test]
fn an_unknown_variant_number_is_refused() {
    fn numbers<'a, T: Code<'a> + Blank>(bodies: &'a [[u8; 128]], variants: usize) {
        for (number, body) in bodies.iter().enumerate() {
            // Some prefix of a body of zeros is a valid encoding, if any is.
            let known = (1..=body.len()).any(|n| codec::read::<T>(&body[..n]).is_some());
            assert_eq!(known, number < variants, "variant {number}");
        }
    }
    let mut bodies = [[0; 128]; 256];
    for (number, body) in bodies.iter_mut().enumerate() {
        body[0] = number as u8;
    }
    numbers::<bool>(&bodies, 2);
    numbers::<Option<u32>>(&bodies, 2);
    numbers::<DeviceKind>(&bodies, DeviceKind::ALL.len());
    numbers::<RefusalCode>(&bodies, RefusalCode::ALL.len());
    numbers::<Subject>(&bodies, 3);
    numbers::<Ask<'_>>(&bodies, 8);
    numbers::<PersistedState>(&bodies, 6);
    numbers::<WipePhase>(&bodies, 3);
}

/// A bound is the length of a real value: not exceeded, and not generous.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_longest_value_of_a_type_is_as_long_as_its_bound() {
    fn longest<'a, T: Code<'a> + Bounded>(value: &T) {
        assert_eq!(codec_bytes(value).len(), T::MAX_LEN);
        let mut out = vec![0; T::MAX_LEN];
        assert_eq!(codec::write(&[], value, &mut out), Ok(T::MAX_LEN));
    }
    for (value, bytes) in [
        (0, 1),
        (127, 1),
        (128, 2),
        (u64::MAX >> 1, 9),
        (u64::MAX, 10),
    ] {
        assert_eq!(codec::varint_len(value), bytes, "{value}");
        assert_eq!(codec_bytes(&value).len(), bytes, "{value}");
    }
    longest(&u16::MAX);
    longest(&u32::MAX);
    longest(&u64::MAX);
    let device_id = DeviceId::new(&"X".repeat(32)).unwrap();
    let terms = LeaseTerms {
        renew_after_s: u32::MAX,
        expires_after_s: u32::MAX,
        max_boots: u16::MAX,
        dead_man_s: u32::MAX,
    };
    longest(&Grant {
        device_id,
        activation_id: ActivationId([1; 16]),
        epoch: u64::MAX,
        series: Series([2; 16]),
        token: TokenSecret([3; 32]),
        remember: true,
        policy: PolicyVersion(u32::MAX),
        display_name: "A".repeat(32).as_str().try_into().unwrap(),
        terms,
    });
    longest(&Lease {
        device_id,
        activation_id: ActivationId([1; 16]),
        nonce: [2; 16],
        issued_at: u64::MAX,
        terms,
        policy: PolicyVersion(u32::MAX),
        next: Some(NextToken {
            generation: Generation(u32::MAX),
            token: TokenSecret([3; 32]),
        }),
    });
    // A wipe is the longest subject.
    longest(&Receipt {
        certificate: &[0; MakerCertificate::MAX],
        subject: Subject::Wipe {
            reason: WipeReason::Order,
            order: Some([1; 32]),
            activation_id: ActivationId([2; 16]),
            previous: Some([3; 32]),
        },
        epoch: u64::MAX,
        counter: u64::MAX,
        method: Method::Purge,
        sectors: SectorCounts {
            total: u32::MAX,
            erased: u32::MAX,
            failed: u32::MAX,
        },
        flags: ReceiptFlags {
            dropped: u16::MAX,
            ..ReceiptFlags::default()
        },
        agent_version: [0; 3],
        powered_s: u32::MAX,
        wall_s: Some(u64::MAX),
    });
    // A check-in is the longest answer.
    longest(&Reply {
        challenge: [0; 32],
        root: Some(&[0; RootChange::MAX]),
        delegation: Some(&[0; Delegation::MAX]),
        answer: Answer::CheckedIn {
            lease: Some(&[0; Lease::MAX]),
            statement: Some(&[0; Statement::MAX]),
            order: Some(&[0; Order::MAX]),
            interval_s: u32::MAX,
        },
    });
}

/// Want of room and a value without an encoding are two errors: a wrong list in
/// a type once looked like a short buffer.
#[test]
fn only_a_short_buffer_is_too_small() {
    #[derive(Wire)]
    struct Odd {
        first: u8,
        value: NoEncoding,
    }
    struct NoEncoding;
    impl Code<'_> for NoEncoding {
        fn write(&self, writer: &mut codec::Writer<'_>) {
            writer.fail();
        }
        fn read(&mut self, reader: &mut codec::Reader<'_>) {
            reader.fail();
        }
    }
    impl Blank for NoEncoding {
        const BLANK: Self = NoEncoding;
    }
    impl Bounded for NoEncoding {
        const MAX_LEN: usize = 0;
    }
    let odd = Odd {
        first: 1,
        value: NoEncoding,
    };
    assert_eq!(codec::write(&[], &odd, &mut [0; 8]), Err(Error::Malformed));
    assert_eq!(codec::write(&[], &odd, &mut []), Err(Error::BufferTooSmall));
    assert!(codec::read::<Odd>(&[1]).is_none());

    let statement = Statement {
        device_id: DeviceId::new("NRD-1").unwrap(),
        activation_id: ActivationId([1; 16]),
        nonce: [2; 16],
        reason: LockReason::Revoked,
    };
    let whole = codec_bytes(&statement).len();
    for room in 0..whole {
        let written = codec::write(&[], &statement, &mut vec![0; room]);
        assert_eq!(written, Err(Error::BufferTooSmall), "{room} bytes");
    }
}

/// The reason for a codec of the agent's own (docs/DEPENDENCIES.md). When it is
/// gone, so should the codec be.
#[test]
fn the_own_codec_is_smaller_than_postcard_and_has_no_panic_site() {
    use nrd_tests::footprint::{measure, panic_sites};
    let Some(images) = nrd_tests::m33::build_in("codec", "the codec's cost") else {
        return;
    };
    let text = |name: &str| measure(&images.join(name)).text;
    let (own, postcard) = (text("own"), text("postcard"));
    println!("own {own} bytes, postcard {postcard} bytes");
    assert!(own * 3 < postcard * 2, "{own} bytes against {postcard}");
    assert_eq!(panic_sites(&images.join("own")), []);
    assert!(!panic_sites(&images.join("postcard")).is_empty());
    // A second encoding of 0, which postcard takes.
    assert_eq!(
        postcard::take_from_bytes(&[0x80, 0x00]),
        Ok((0u32, &[][..]))
    );
    assert_eq!(codec::read::<u32>(&[0x80, 0x00]), None);
}

/// Nothing of the value before may be left: ids are compared byte by byte.
#[test]
fn a_value_is_read_over_another_as_into_a_blank() {
    let (long, short) = (
        DeviceId::new("NRD-LONGER").unwrap(),
        DeviceId::new("NRD").unwrap(),
    );
    let mut id = long;
    assert!(codec::read_into(&codec_bytes(&short), &mut id));
    assert_eq!(id, short);
    let mut certificate = MakerCertificate {
        device_id: long,
        public_key: [1; 32],
        model: "before".try_into().unwrap(),
        kind: DeviceKind::Console,
    };
    let other = MakerCertificate {
        device_id: short,
        model: "ok".try_into().unwrap(),
        ..certificate.clone()
    };
    assert!(codec::read_into(&codec_bytes(&other), &mut certificate));
    assert_eq!(certificate, other);
    let mut option = Some(7u16);
    assert!(codec::read_into(&[0], &mut option));
    assert_eq!(option, None);
}
