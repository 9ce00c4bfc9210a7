//! The storage check (SPEC §9), message by message.

use nrd_agent::agent::CheckStep;
use nrd_agent::wire::codec;
use nrd_agent::wire::storage::{CheckRefusal, DeskMessage, DeviceMessage, MAX_MESSAGE, VERSION};
use nrd_agent::wire::{Receipt, Subject, peek};
use nrd_agent::{Agent, State, Step};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim::device::{TestBench, say, settle};
use nrd_sim::hw::Board;
use nrd_sim::hw::{Chip, FaultMode, Hardware, PlannedFault};

const KEY: [u8; 32] = [0xA5; 32];
const BLOCK: u32 = 4096;
const CHUNK: usize = 256;

fn clean(seed: u64) -> TestBench {
    let mut bench = nrd_tests::test_bench(seed);
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert!(agent.is_clean());
    });
    bench
}

fn vault(agent: &mut Agent<'_, Board>) -> Vec<u8> {
    let layout = agent.platform().layout();
    let from = layout.vault_start as usize;
    let to = from + layout.vault_size as usize;
    agent.platform().with_chip(|c| c.cells()[from..to].to_vec())
}

fn encoded(message: &DeskMessage<'_>) -> Vec<u8> {
    let mut out = [0; MAX_MESSAGE];
    let n = codec::write(b"", message, &mut out).unwrap();
    out[..n].to_vec()
}

/// What the device answers to a message, where that is one message.
fn answer(agent: &mut Agent<'_, Board>, message: &DeskMessage<'_>) -> Vec<u8> {
    let mut answers = say(agent, &encoded(message));
    assert_eq!(answers.len(), 1, "{message:?}");
    answers.remove(0)
}

fn refusal(agent: &mut Agent<'_, Board>, message: &DeskMessage<'_>) -> CheckRefusal {
    match codec::read(&answer(agent, message)) {
        Some(DeviceMessage::Refused { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

fn open(agent: &mut Agent<'_, Board>) {
    match codec::read(&answer(agent, &DeskMessage::Open { version: VERSION })) {
        Some(DeviceMessage::Here { vault, chunk, .. }) => {
            let layout = agent.platform().layout();
            assert_eq!((vault, usize::from(chunk)), (layout.vault_size, CHUNK));
        }
        other => panic!("{other:?}"),
    }
}

/// A desk's bytes; any will do here.
fn stream(size: usize) -> Vec<u8> {
    (0..size as u32)
        .step_by(32)
        .flat_map(|n| RingCrypto::sha256(&n.to_le_bytes()))
        .collect()
}

fn store(agent: &mut Agent<'_, Board>, stream: &[u8]) {
    for (n, bytes) in stream.chunks(CHUNK).enumerate() {
        let said = answer(agent, &DeskMessage::Chunk { bytes });
        let chunks = n as u32 + 1;
        assert_eq!(codec::read(&said), Some(DeviceMessage::Stored { chunks }));
    }
}

/// SPEC's digest, made here a second time, the order from its formula.
fn digest(key: &[u8; 32], stream: &[u8]) -> [u8; 32] {
    let n = stream.len() / CHUNK;
    let places = (0..).map(|b| 1 << b).find(|p| *p >= n).unwrap();
    let mask = u32::from_le_bytes(key[..4].try_into().unwrap()) as usize % places;
    let order = (0..places).map(|i| i ^ mask).filter(|block| *block < n);
    order.fold([0; 32], |digest, block| {
        let bytes = &stream[block * CHUNK..][..CHUNK];
        RingCrypto::hmac(key, &[&digest, &(block as u32).to_le_bytes(), bytes])
    })
}

#[test]
fn what_is_stored_is_read_back_under_the_key_then_erased_a_block_a_step_and_signed() {
    let mut bench = clean(701);
    bench.boot(|_, agent| {
        let size = vault(agent).len() as u32;
        let stream = stream(size as usize);
        open(agent);
        store(agent, &stream);
        assert_eq!(agent.status().fill, Some((size, 3 * size)));
        assert_eq!(vault(agent), stream);

        // The answer comes before anything is erased.
        let mut out = [0; MAX_MESSAGE];
        let mut message = encoded(&DeskMessage::Key { key: KEY });
        let n = loop {
            match agent.storage_check(&message, &mut out) {
                CheckStep::Send(n) => break n,
                CheckStep::Again => assert_eq!(agent.step(), Ok(Step::Idle)),
                CheckStep::Wait => panic!("no answer"),
            }
            message.clear();
        };
        let digest = digest(&KEY, &stream);
        let answer = codec::read(&out[..n]);
        assert_eq!(answer, Some(DeviceMessage::Answer { digest }));
        assert_eq!(vault(agent), stream);

        for n in 0..size / BLOCK {
            let progress = (2 * size + n * BLOCK, 3 * size);
            assert_eq!(agent.status().fill, Some(progress));
            assert!(vault(agent).ends_with(&stream[(n * BLOCK) as usize..]));
            assert_eq!(agent.storage_check(&[], &mut out), CheckStep::Again);
            assert_eq!(agent.step(), Ok(Step::Working));
        }
        assert_eq!(agent.state(), State::Filling);
        assert_eq!(agent.step(), Ok(Step::Working), "it is said to be clean");
        assert_eq!(agent.step(), Ok(Step::Idle));
        assert!(vault(agent).iter().all(|&b| b == 0xFF));
        let CheckStep::Send(n) = agent.storage_check(&[], &mut out) else {
            panic!("no receipt");
        };
        let Some(DeviceMessage::Receipt { frame }) = codec::read(&out[..n]) else {
            panic!("no receipt");
        };
        let stored = Subject::Stored {
            key: KEY,
            digest,
            bytes: size,
        };
        assert_eq!(peek::<Receipt<'_>>(frame).unwrap().subject, stored);
        assert_eq!(agent.storage_check(&[], &mut out), CheckStep::Wait);
        assert_eq!((agent.state(), agent.status().fill), (State::Clean, None));
    });
}

#[test]
fn a_check_that_an_activation_overtook_is_not_signed() {
    let mut bench = clean(704);
    bench.boot(|_, agent| {
        open(agent);
        let stream = stream(vault(agent).len());
        store(agent, &stream);
        let mut out = [0; MAX_MESSAGE];
        let mut message = encoded(&DeskMessage::Key { key: KEY });
        while let CheckStep::Again = agent.storage_check(&message, &mut out) {
            message.clear();
        }
        settle(agent).unwrap();
        agent.start_activation().unwrap();
        assert_eq!(agent.storage_check(&[], &mut out), CheckStep::Wait);
    });
}

#[test]
fn messages_out_of_turn_are_refused_and_change_nothing() {
    let mut bench = clean(702);
    bench.boot(|_, agent| {
        use CheckRefusal::{OutOfTurn, Version};
        let chunk = DeskMessage::Chunk { bytes: &[7; CHUNK] };
        let short = DeskMessage::Chunk {
            bytes: &[7; CHUNK - 1],
        };
        let key = DeskMessage::Key { key: KEY };
        let before = vault(agent);
        let foreign = DeskMessage::Open {
            version: VERSION + 1,
        };
        for (message, reason) in [(chunk, OutOfTurn), (key, OutOfTurn), (foreign, Version)] {
            assert_eq!(refusal(agent, &message), reason);
        }
        assert_eq!((agent.state(), vault(agent)), (State::Clean, before));

        open(agent);
        for message in [short, key] {
            assert_eq!(refusal(agent, &message), OutOfTurn);
        }
        let said = say(agent, b"\xFFnoise");
        let refused = DeviceMessage::Refused { reason: OutOfTurn };
        assert_eq!(codec::read(&said[0]), Some(refused));
        // All is stored: one chunk more has no place, and opened again it starts over.
        let stream = stream(vault(agent).len());
        store(agent, &stream);
        assert_eq!(refusal(agent, &chunk), OutOfTurn);
        assert_eq!(vault(agent), stream);
        open(agent);
        assert_eq!(refusal(agent, &key), OutOfTurn);
    });
}

#[test]
fn an_activation_waits_for_the_end_of_a_check_and_a_device_in_use_is_not_filled() {
    let mut bench = clean(703);
    bench.boot(|_, agent| {
        open(agent);
        store(agent, &[7; CHUNK]);
        assert!(agent.start_activation().is_err(), "its vault is not blank");
        assert_eq!(agent.state(), State::Filling);
        // The desk goes: what it stored is erased, and nothing is proven.
        assert!(say(agent, &encoded(&DeskMessage::Close)).is_empty());
        let opened = DeskMessage::Open { version: VERSION };
        assert_eq!(refusal(agent, &opened), CheckRefusal::Busy);
        settle(agent).unwrap();
        assert!(agent.is_clean());
        agent.start_activation().unwrap();
        assert_eq!(refusal(agent, &opened), CheckRefusal::NotClean);
        assert_eq!(agent.state(), State::Activating);
    });
}

#[test]
fn a_person_s_wipe_ends_a_check() {
    let mut bench = clean(704);
    bench.boot(|_, agent| {
        open(agent);
        store(agent, &[7; CHUNK]);
        agent.deactivate().unwrap();
        let chunk = DeskMessage::Chunk { bytes: &[7; CHUNK] };
        assert_eq!(refusal(agent, &chunk), CheckRefusal::OutOfTurn);
        settle(agent).unwrap();
        assert!(agent.is_clean());
    });
}

/// At any point, and between answer and receipt too.
#[test]
fn a_check_that_loses_power_is_erased_at_the_next_boot_and_proves_nothing() {
    for stored in [0, 1, 17] {
        let mut bench = clean(705);
        bench.boot(|_, agent| {
            open(agent);
            store(agent, &stream(stored * CHUNK));
        });
        bench.boot(|_, agent| {
            settle(agent).unwrap();
            assert!(agent.is_clean());
            let chunk = DeskMessage::Chunk { bytes: &[7; CHUNK] };
            assert_eq!(refusal(agent, &chunk), CheckRefusal::OutOfTurn);
        });
    }
    let mut bench = clean(706);
    bench.boot(|_, agent| {
        let stream = stream(vault(agent).len());
        open(agent);
        store(agent, &stream);
        let mut out = [0; MAX_MESSAGE];
        let mut message = encoded(&DeskMessage::Key { key: KEY });
        while !matches!(agent.storage_check(&message, &mut out), CheckStep::Send(_)) {
            message.clear();
        }
    });
    bench.boot(|_, agent| {
        settle(agent).unwrap();
        let mut out = [0; MAX_MESSAGE];
        assert_eq!(agent.storage_check(&[], &mut out), CheckStep::Wait);
        assert!(agent.is_clean());
    });
}

/// A whole check, as far as the power lasts.
fn whole_check(agent: &mut Agent<'_, Board>) {
    let stream = stream(agent.platform().layout().vault_size as usize);
    let open = DeskMessage::Open { version: VERSION };
    let chunks = stream
        .chunks(CHUNK)
        .map(|bytes| DeskMessage::Chunk { bytes });
    let key = DeskMessage::Key { key: KEY };
    for message in std::iter::once(open).chain(chunks).chain([key]) {
        drop(say(agent, &encoded(&message)));
    }
}

/// A clean device with a small vault, and how many operations a whole check is.
fn small(seed: u64) -> (TestBench, u64) {
    let chip = Chip::new(nrd_tests::part(4, 2048, 9), seed);
    let mut bench = TestBench::new(Hardware::new(chip), seed);
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert!(agent.is_clean());
    });
    let from = bench.fork().hw.chip().ops();
    let mut other = bench.fork();
    let all = other.boot(|_, agent| {
        let from = agent.platform().with_chip(|c| c.ops());
        whole_check(agent);
        assert!(agent.is_clean());
        agent.platform().with_chip(|c| c.ops()) - from
    });
    assert_eq!(bench.hw.chip().ops(), from, "a fork is a device of its own");
    (bench, all)
}

/// Cuts a whole check at its operation `n`.
fn cut_at(bench: &mut TestBench, n: u64, tear: FaultMode) {
    bench.boot(|_, agent| {
        agent.platform().with_chip(|c| {
            let at = c.ops() + n;
            let unstable = true;
            c.plan(Some(PlannedFault { at, tear, unstable }));
        });
        whole_check(agent);
        let off = agent.platform().with_chip(|c| c.is_off());
        assert!(off, "operation {n}");
    });
}

#[test]
fn a_check_cut_at_any_operation_leaves_a_clean_device_at_the_next_boot() {
    let (bench, all) = small(707);
    for n in 0..all {
        for tear in [FaultMode::AllButOne, FaultMode::Weak, FaultMode::Random] {
            let mut bench = bench.fork();
            cut_at(&mut bench, n, tear);
            for salt in 0..3 {
                bench.power_on(salt);
                bench.boot(|_, agent| {
                    let is = format!("seed 707, operation {n}, {tear:?}: {:?}", agent.state());
                    assert!(agent.is_clean(), "{is}");
                });
            }
        }
    }
    println!("{all} operations, each cut in three ways");
}

/// A cut erase leaves cells that read blank now and otherwise later; an erase of the
/// next boot that silently does nothing must not leave them so.
#[test]
fn a_cut_check_is_clean_for_good_though_an_erase_of_the_next_boot_does_nothing() {
    let (bench, all) = small(708);
    let mut struck = 0;
    for n in 0..all {
        let mut bench = bench.fork();
        cut_at(&mut bench, n, FaultMode::AllButOne);
        for nothing in 0..30 {
            let mut bench = bench.fork();
            bench.power_on(nothing);
            let at = bench.hw.chip().ops() + nothing;
            bench.hw.chip().plan(Some(PlannedFault {
                at,
                tear: FaultMode::NoOp,
                unstable: false,
            }));
            bench.boot(|_, agent| assert_eq!(agent.state(), State::Clean));
            struck += u32::from(bench.hw.chip().struck().is_some());
            for salt in 0..8 {
                bench.power_on(salt);
                let is = format!("seed 708, operation {n}, then {nothing} did nothing");
                bench.boot(|_, agent| assert!(agent.is_clean(), "{is}"));
            }
        }
    }
    println!("{struck} operations did nothing");
    assert!(struck > 100);
}

/// Whichever of its blocks will not erase.
#[test]
fn a_vault_that_will_not_erase_after_a_check_is_said_to_have_failed() {
    let blocks = vault_blocks();
    for n in [0, blocks / 2, blocks - 1] {
        let mut bench = clean(709);
        bench.boot(|_, agent| {
            open(agent);
            let at = agent.platform().layout().vault_start + n * BLOCK + 5;
            agent.platform().with_chip(|c| c.stick(at, 1, false));
            agent.end_storage_check();
            settle(agent).unwrap();
            assert_eq!(agent.state(), State::WipeFailed, "block {n}");
        });
        bench.boot(|_, agent| assert_eq!(agent.state(), State::WipeFailed, "block {n}"));
    }
}

fn vault_blocks() -> u32 {
    clean(709).boot(|_, agent| agent.platform().layout().vault_size / BLOCK)
}
