//! What the fuzzers feed: one function a parser. Each must return, whatever the
//! bytes; what it asserts beyond that must hold for any.
//!
//! `cargo test -p nrd-tests --test fuzz_corpus` replays the kept corpora and
//! mutations of them; `tests/fuzz` has the coverage-guided fuzzers.

use crate::bench::{Bench, activate};
use crate::part;
use nrd_agent::keypad::{MenuSequence, RemoteKey};
use nrd_agent::tls::read_answer;
use nrd_agent::wire::{
    Body, Delegation, Grant, Lease, MAX_FRAME, MakerCertificate, Order, OrderKind, OrderOutcome,
    OrderResult, Receipt, Reply, Request, Statement, decode, decode_signed, encode, peek,
};
use nrd_agent::{Agent, Class, State, Step};
use nrd_hal::crypto::RingCrypto;
use nrd_sim::device::{TestBench, settle, talk};
use nrd_sim::forensics::inspect::{Image, Search, Secret, inspect};
use nrd_sim::hw::{Board, Chip, Hardware};
use nrd_sim::world::read::read;
use nrd_sim::world::room::replay::{Recording, is_recording};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A target: its name, and what is fed.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("frame", frame),
    ("receipt", receipt),
    ("http_answer", http_answer),
    ("keypad", keypad),
    ("flash_image", flash_image),
    ("inspect_image", inspect_image),
    ("service_request", service_request),
    ("device_reply", device_reply),
    ("device_order", device_order),
    ("scenario", scenario),
];

/// Frames of every type: what decodes encodes to the same bytes again.
pub fn frame(data: &[u8]) {
    fn one<'a, B: Body<'a>>(data: &'a [u8]) {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "any answer will do: it must not panic"
        )]
        let _ = peek::<B>(data);
        #[expect(
            clippy::let_underscore_must_use,
            reason = "any answer will do: it must not panic"
        )]
        let _ = decode_signed::<B, RingCrypto>(data, &[7; 32]);
        if let Ok(body) = decode::<B>(data) {
            let mut out = [0; MAX_FRAME];
            let n = encode(&body, &mut out).expect("what was decoded fits");
            assert_eq!(&out[..n], data, "two encodings of one body");
        }
    }
    one::<MakerCertificate>(data);
    one::<Delegation>(data);
    one::<Order>(data);
    one::<OrderOutcome>(data);
    one::<Grant>(data);
    one::<Lease>(data);
    one::<Statement>(data);
    one::<Receipt<'_>>(data);
    one::<Request<'_>>(data);
    one::<Reply<'_>>(data);
}

/// Receipts, verified offline.
pub fn receipt(data: &[u8]) {
    #[expect(
        clippy::let_underscore_must_use,
        reason = "any answer will do: it must not panic"
    )]
    let _ = nrd_sim::forensics::verify::verify(data, &[9; 32], None);
}

/// HTTP answers, in pieces of any size.
pub fn http_answer(data: &[u8]) {
    let Some((piece, answer)) = data.split_first() else {
        return;
    };
    let (mut a, mut b) = ([0; MAX_FRAME], [0; MAX_FRAME]);
    let whole = read_answer([answer], &mut a);
    let parts = read_answer(answer.chunks(usize::from(*piece).max(1)), &mut b);
    // How the bytes arrive says nothing about what they are.
    assert_eq!(whole, parts);
    if let Ok(n) = whole {
        assert_eq!(a[..n], b[..n]);
    }
}

/// Keys of the remote: the menu opens only after the whole sequence.
pub fn keypad(data: &[u8]) {
    let mut menu = MenuSequence::default();
    let (mut now, mut keys) = (0u64, 0);
    for b in data {
        let key = match b & 7 {
            0 => RemoteKey::Up,
            1 => RemoteKey::Down,
            2 => RemoteKey::Left,
            3 => RemoteKey::Right,
            4 => RemoteKey::Other,
            _ => {
                now = now.wrapping_add(u64::from(*b) * 100);
                continue;
            }
        };
        keys += 1;
        assert!(
            !menu.press(key, now) || keys >= 12,
            "opened after {keys} keys"
        );
    }
}

/// Overwrites `bytes` as `patches` say: offset (2), length (1), bytes; offsets
/// are spread over the whole.
fn patched(mut bytes: Vec<u8>, mut patches: &[u8]) -> Vec<u8> {
    while let [a, b, n, rest @ ..] = patches {
        let at = usize::from(u16::from_le_bytes([*a, *b])) * bytes.len() / 65536;
        let n = usize::from(*n).min(rest.len()).min(bytes.len() - at);
        bytes[at..at + n].copy_from_slice(&rest[..n]);
        patches = &rest[n..];
    }
    bytes
}

/// A device with an account, to be damaged.
fn victim() -> TestBench {
    static KEPT: OnceLock<Mutex<TestBench>> = OnceLock::new();
    let kept = KEPT.get_or_init(|| {
        let mut bench = TestBench::new(Hardware::new(Chip::new(part(4, 2048, 9), 5)), 5);
        bench.boot(|service, agent| {
            agent.start_activation().expect("a fresh device");
            talk(service, agent).expect("a good service");
            for id in 0..5 {
                agent
                    .put(Class::Email, id, b"alexandra@example.com")
                    .expect("room");
                settle(agent).expect("rest");
            }
        });
        Mutex::new(bench)
    });
    kept.lock().unwrap_or_else(PoisonError::into_inner).fork()
}

/// Flash, key slots included, with anything on it: the boot ends, and a wipe
/// ends clean.
pub fn flash_image(data: &[u8]) {
    let bench = victim();
    let cells = bench.hw.chip().cells().to_vec();
    let cells = match data.split_first() {
        // All of it, from the bytes alone.
        Some((0xFF, all)) if !all.is_empty() => {
            all.iter().copied().cycle().take(cells.len()).collect()
        }
        _ => patched(cells, data),
    };
    bench.hw.chip().restore_image(&cells);
    let mut bench = bench;
    let board = bench.board();
    let mut ram = nrd_sim::device::AgentBuffers::default();
    let mut agent = Agent::new(board, bench.config(), ram.lend()).expect("a good geometry");
    rest(&mut agent);
    let mut out = [0; 1024];
    for id in 0..6 {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "any answer will do: it must not panic"
        )]
        let _ = agent.get(Class::Email, id, &mut out);
    }
    agent.deactivate().expect("a person may always wipe");
    rest(&mut agent);
    assert_eq!(agent.state(), State::Clean);
    assert!(agent.is_clean());
}

fn rest(agent: &mut Agent<'_, Board>) {
    for _ in 0..20_000 {
        if agent.step() == Ok(Step::Idle) {
            return;
        }
    }
    panic!("the agent does not come to rest");
}

/// The forensic reader, on anything.
pub fn inspect_image(data: &[u8]) {
    let bench = victim();
    let cells = patched(bench.hw.chip().cells().to_vec(), data);
    let image = Image {
        cells: &cells,
        geometry: part(4, 2048, 9).geometry,
    };
    let search = Search {
        root: Some(bench.root),
        epochs: vec![0, 1],
        secrets: vec![Secret::new("alexandra@example.com")],
        ..Search::default()
    };
    let report = inspect(&image, &search).expect("a good geometry");
    assert!(
        report
            .opened
            .iter()
            .all(|o| (o.offset as usize) < cells.len())
    );
}

fn bench() -> &'static Mutex<(Bench, Vec<u8>)> {
    static KEPT: OnceLock<Mutex<(Bench, Vec<u8>)>> = OnceLock::new();
    KEPT.get_or_init(|| {
        let bench = Bench::new();
        let mut device = bench.device("NRD-FUZZ-1", 3);
        let request = device.boot(|service, agent| {
            activate(service, agent, bench.account(0), true);
            let ms = agent.next_due_ms().expect("a check-in is due some time");
            agent.platform().clock().advance_ms(ms);
            let mut out = [0; MAX_FRAME];
            let n = agent
                .poll_request(&mut out)
                .expect("a request")
                .expect("due");
            out[..n].to_vec()
        });
        Mutex::new((bench, request))
    })
}

/// The service, on anything and on a damaged check-in: it answers or refuses.
pub fn service_request(data: &[u8]) {
    let kept = bench().lock().unwrap_or_else(PoisonError::into_inner);
    let (bench, request) = &*kept;
    #[expect(
        clippy::let_underscore_must_use,
        reason = "any answer will do: it must not panic"
    )]
    let _ = bench.service.answer(data, "192.0.2.9");
    let damaged = patched(request.clone(), data);
    if damaged != *request {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "any answer will do: it must not panic"
        )]
        let _ = bench.service.answer(&damaged, "192.0.2.9");
    }
}

/// A device and an order, damaged, over any channel: only the order itself
/// destroys anything (promise 4).
pub fn device_order(data: &[u8]) {
    let mut bench = victim();
    bench.boot(|service, agent| {
        let epoch = agent.platform().with_chip(|c| c.counter());
        let (id, device) = (service.activation_id(), *agent.device_id());
        let order = service.order(&device, epoch, id, 1, OrderKind::Deactivate);
        let given = match data.split_first() {
            Some((0xFF, whole)) => whole.to_vec(),
            _ => patched(order.clone(), data),
        };
        let mut out = [0; 192];
        // One of another key version is answered unread: that key is retired.
        let answer = agent.apply_order(&given, &mut out).map(|a| a.0);
        assert_eq!(answer == Ok(OrderResult::Applied), given == order);
        let wipes = matches!(agent.state(), State::Wiping);
        assert_eq!(wipes, given == order, "{:?}", agent.state());
    });
}

/// Scenario files, and saved sessions: read, or refused with words.
pub fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if is_recording(text) {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "any answer will do: it must not panic"
        )]
        let _ = Recording::read(text);
    }
    match read(text) {
        Ok(story) => assert!(!story.title.is_empty()),
        Err(e) => {
            assert!(e.line <= text.lines().count() + 1, "{e}");
            assert!(!e.what.is_empty() && !e.hint.is_empty(), "{e}");
        }
    }
}

/// A device that waits for an answer and gets anything: it stays what it was.
pub fn device_reply(data: &[u8]) {
    let mut bench = victim();
    bench.boot(|service, agent| {
        agent.platform().clock().advance_ms(25 * 3_600_000);
        let mut out = [0; MAX_FRAME];
        let n = agent
            .poll_request(&mut out)
            .expect("a request")
            .expect("due");
        let reply = service.answer(&out[..n]);
        let damaged = patched(reply.clone(), data);
        let given = match data.first() {
            Some(0xFF) => &data[1..],
            _ => &damaged,
        };
        // The envelope is not signed; what it carries is.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "any answer will do: it must not panic"
        )]
        let _ = agent.handle_reply(given);
        assert!(
            matches!(agent.state(), State::Active),
            "{:?}",
            agent.state()
        );
    });
}
