//! What runs under callgrind: each case prepares, then is counted once.

use super::boot::small;
use super::runs::Whose;
use crate::callgrind::counted;
use crate::peers::Peer;
use nrd_agent::State;
use nrd_agent::wire::{Order, OrderResult, decode_signed, peek};
use nrd_hal::Crypto;
use nrd_hal::crypto::RingCrypto;
use nrd_tests::measure::device::{Device, Root, to_session};
use nrd_tests::measure::engine::{Aead, Engine};
use nrd_tests::measure::ours::Ours;
use nrd_tests::measure::steady::{Plan, geometry, prepare};
use nrd_tests::measure::workload::{Pattern, value};
use std::hint::black_box;

/// How many updates or gets a storage case counts.
pub(crate) const TIMES: u64 = 500;
/// Size of its values in bytes.
pub(crate) const VALUE: usize = 256;

/// Runs a case; false when there is none of this name.
pub(crate) fn run(name: &str) -> bool {
    if let Some((what, whose)) = name.split_once(':') {
        return storage(what, whose);
    }
    match name {
        "explore" => super::explorer::case(),
        "boot" => boot(false),
        "boot-aged" => boot(true),
        "boot-floor" => boot_floor(),
        "order" => order(),
        "order-floor" => order_floor(),
        "order-applied" => order_applied(),
        _ => return false,
    }
    true
}

fn boot(aged: bool) {
    let mut device = Device::new(small(), 5);
    device.activate(64, VALUE);
    if aged {
        for _ in 0..6 {
            device.update(64, VALUE, 100);
        }
    }
    let (_, state) = device.boot_by(
        |agent| counted(|| to_session(agent)),
        |_, agent, _| agent.state(),
    );
    assert_eq!(state, State::Active, "the session is restored");
}

/// The derivations, checks, opens and the seal that a boot into a session needs,
/// called bare: see `instructions.rs` for the list.
fn boot_floor() {
    let key = [7u8; 32];
    let slot = [9u8; 256];
    let header = [3u8; 40];
    let aad = [5u8; 25];
    let sealed = |len: usize| {
        let mut text = vec![1u8; len];
        let tag = RingCrypto::seal(&key, &[2; 12], &aad, &mut text).expect("short");
        (text, tag)
    };
    let mut records = [sealed(SNAPSHOT), sealed(DELEGATION), sealed(SESSION)];
    let mut next = vec![1u8; SNAPSHOT];
    counted(|| {
        black_box(Root::derive(b"nrd/1/slot", None));
        let journal = Root::derive(b"nrd/1/journal", None);
        let vault = Root::derive(b"nrd/1/vault", Some(1));
        for label in [&b"nrd/1/sector"[..], b"nrd/1/nonce", b"nrd/1/class"] {
            black_box(RingCrypto::hkdf(&[], &journal, &[label]));
        }
        let mut ikm = [0u8; 64];
        ikm[..32].copy_from_slice(&vault);
        let activation = RingCrypto::hkdf(&[4; 16], &ikm, &[b"nrd/1/activation"]);
        black_box(RingCrypto::hkdf(&[], &activation, &[b"nrd/1/sector"]));
        let class = [&b"nrd/1/class"[..], &[0], &[0; 4]];
        black_box(RingCrypto::hkdf(&[6; 16], &activation, &class));
        black_box(RingCrypto::hmac(&key, &[b"nrd/1/slot\0", &slot[..224]]));
        for _ in 0..2 {
            black_box(RingCrypto::hmac(&key, &[b"nrd/1/sector\0", &[1], &header]));
        }
        for (text, tag) in &mut records {
            RingCrypto::open(&key, &[2; 12], &aad, text, tag).expect("just sealed");
        }
        black_box(RingCrypto::hmac(
            &key,
            &[b"nrd/1/nonce\0", &[0; 40], &aad, &next],
        ));
        black_box(RingCrypto::seal(&key, &[2; 12], &aad, &mut next).expect("short"));
    });
}

/// Typical sizes of the records that a boot opens, in bytes.
const SNAPSHOT: usize = 140;
const DELEGATION: usize = 160;
const SESSION: usize = 49;

/// An activated device's order, and the key that verifies it.
fn signed() -> (Vec<u8>, [u8; 32]) {
    let mut device = Device::new(small(), 5);
    device.activate(1, 32);
    let order = device.order(device.service.activation_id());
    let delegation = device.service.delegation().to_vec();
    let root = device.service.root_key();
    let body: nrd_agent::wire::Delegation =
        decode_signed::<_, RingCrypto>(&delegation, &root).expect("a good delegation");
    (order, body.order_key)
}

fn order() {
    let (frame, key) = signed();
    counted(|| {
        let claimed: Order = peek(&frame).expect("an order");
        black_box(RingCrypto::sha256(&frame));
        let order: Order = decode_signed::<_, RingCrypto>(&frame, &key).expect("a good order");
        black_box((claimed, order));
    });
}

fn order_floor() {
    let (frame, key) = signed();
    let (message, signature) = frame.split_last_chunk::<64>().expect("a signature");
    counted(|| RingCrypto::verify(&key, message, signature).expect("a good order"));
}

/// The whole call, for an order that another device was meant by: verified,
/// judged, and answered with a signed outcome; no flash is written.
fn order_applied() {
    let mut device = Device::new(small(), 5);
    device.activate(1, 32);
    let order = device.order(nrd_agent::wire::ActivationId([1; 16]));
    device.boot(|_, agent, _| {
        let mut out = [0u8; 192];
        let (result, _) = counted(|| agent.apply_order(&order, &mut out)).expect("a good order");
        assert_eq!(result, OrderResult::NotApplicable);
    });
}

/// Names of the engines in storage cases.
pub(crate) fn engines() -> Vec<(&'static str, Whose)> {
    let mut all = vec![("ours", Whose::Ours)];
    all.extend(Peer::ALL.iter().map(|&p| {
        let name = match p {
            Peer::Sequential => "sequential",
            Peer::SequentialCached => "sequential-cached",
            Peer::Wasefire => "wasefire",
            Peer::Ekv => "ekv",
            #[cfg(feature = "littlefs")]
            Peer::Littlefs => "littlefs",
        };
        (name, Whose::Sealed(p))
    }));
    all
}

/// The plan of the storage cases: sixteen keys, which every engine takes.
pub(crate) fn plan() -> Plan {
    Plan {
        warm: 500,
        pattern: Pattern::Uniform,
        ..Plan::sixteen(VALUE)
    }
}

/// `put:NAME`, `get:NAME`; and the AEAD alone as that engine calls it:
/// `seal:NAME`, `open:NAME`.
fn storage(what: &str, name: &str) -> bool {
    let Some((_, whose)) = engines().into_iter().find(|e| e.0 == name) else {
        return false;
    };
    match (what, whose) {
        ("seal" | "open", Whose::Ours) => aead_ours(what == "seal"),
        ("seal" | "open", Whose::Sealed(_)) => aead_peer(what == "seal"),
        ("put" | "get", _) => return engine(what == "put", whose),
        _ => return false,
    }
    true
}

fn engine(put: bool, whose: Whose) -> bool {
    let plan = plan();
    let mut engine: Box<dyn Engine> = match whose {
        Whose::Ours => Box::new(Ours::new(geometry(4))),
        Whose::Sealed(peer) => match peer.build_sealed(geometry(4), plan.keys) {
            Some(engine) => engine,
            None => return false,
        },
    };
    let mut stream = prepare(&mut *engine, &plan).expect("sixteen keys fit");
    let keys: Vec<u16> = (0..TIMES).map(|_| stream.key()).collect();
    let mut buf = vec![0; plan.value];
    value(1, 1, &mut buf);
    counted(|| {
        for key in &keys {
            if put {
                engine.put(*key, &buf).expect("room");
            } else {
                black_box(engine.get(*key, &mut buf).expect("it is there"));
            }
        }
    });
    true
}

fn aead_ours(seal: bool) {
    let (key, nonce, aad) = ([7u8; 32], [2u8; 12], [5u8; 25]);
    let mut text = vec![1u8; VALUE];
    let tag = RingCrypto::seal(&key, &nonce, &aad, &mut text).expect("short");
    let sealed = text.clone();
    counted(|| {
        for _ in 0..TIMES {
            if seal {
                black_box(RingCrypto::seal(&key, &nonce, &aad, &mut text).expect("short"));
            } else {
                text.copy_from_slice(&sealed);
                RingCrypto::open(&key, &nonce, &aad, &mut text, &tag).expect("just sealed");
            }
        }
    });
}

fn aead_peer(seal: bool) {
    let mut aead = Aead::new(7);
    let text = vec![1u8; VALUE];
    let mut sealed = Vec::with_capacity(8192);
    aead.seal(1, &text, &mut sealed);
    let once = sealed.clone();
    counted(|| {
        for _ in 0..TIMES {
            if seal {
                aead.seal(1, &text, &mut sealed);
            } else {
                sealed.clone_from(&once);
                black_box(aead.open(1, &mut sealed).expect("just sealed"));
            }
        }
    });
}
