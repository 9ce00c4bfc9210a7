//! The deep proof.

use nrd_agent::wire::{Digest, Receipt, Subject, peek};
use nrd_agent::{Agent, Error, State, Step};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim::device::{TestBench, settle};
use nrd_sim::hw::Board;

const NONCE: [u8; 32] = [7; 32];
const BLOCK: u32 = 4096;

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

/// The stream of SPEC §9, made here again.
fn stream(size: usize) -> Vec<u8> {
    (0..size as u32)
        .step_by(32)
        .flat_map(|o| RingCrypto::hmac(&NONCE, &[b"nrd/1/fill\0", &o.to_le_bytes()]))
        .collect()
}

fn answer(agent: &mut Agent<'_, Board>) -> Result<(Digest, u32), Error> {
    let mut out = [0; 640];
    let n = agent.prove_fill(NONCE, &mut out)?;
    match peek::<Receipt<'_>>(&out[..n]).unwrap().subject {
        Subject::Fill {
            nonce,
            digest,
            bytes,
        } => {
            assert_eq!(nonce, NONCE);
            Ok((digest, bytes))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fill_writes_the_whole_stream_reads_it_back_and_erases_it_a_block_a_step() {
    let mut bench = clean(701);
    bench.boot(|_, agent| {
        let size = vault(agent).len() as u32;
        let stream = stream(size as usize);
        assert_eq!(answer(agent), Err(Error::Busy));
        let blocks = size / BLOCK;
        for n in 0..3 * blocks {
            assert_eq!(agent.status().fill, Some((n * BLOCK, 3 * size)));
            let cells = vault(agent);
            match n / blocks {
                0 => assert!(cells.starts_with(&stream[..(n * BLOCK) as usize])),
                1 => assert_eq!(cells, stream),
                _ => assert!(cells.ends_with(&stream[((n % blocks) * BLOCK) as usize..])),
            }
            assert_eq!(agent.step(), Ok(Step::Working));
        }
        assert_eq!(agent.state(), State::Filling);
        assert_eq!(agent.step(), Ok(Step::Working), "it is said to be clean");
        assert_eq!(agent.step(), Ok(Step::Idle));
        assert_eq!(agent.state(), State::Clean);
        assert!(vault(agent).iter().all(|&b| b == 0xFF));
        let digest = RingCrypto::sha256(&stream);
        assert_eq!(answer(agent), Ok((digest, size)));
        assert_eq!(agent.status().fill, None);
        assert_eq!(
            answer(agent),
            Err(Error::Busy),
            "asked again, it starts over"
        );
    });
}

#[test]
fn an_activation_waits_for_the_end_of_a_fill_and_a_device_in_use_is_not_filled() {
    let mut bench = clean(702);
    bench.boot(|_, agent| {
        assert_eq!(answer(agent), Err(Error::Busy));
        agent.step().unwrap();
        // Blocks of the stream are in the vault: the device is not clean.
        assert_eq!(agent.start_activation(), Err(Error::WrongState));
        assert_eq!(agent.state(), State::Filling);
        settle(agent).unwrap();
        agent.start_activation().unwrap();
        assert_eq!(agent.status().fill, None);
        assert_eq!(answer(agent), Err(Error::WrongState));
        assert_eq!(agent.state(), State::Activating);
    });
}

#[test]
fn another_nonce_starts_a_fill_over() {
    let mut bench = clean(703);
    bench.boot(|_, agent| {
        let mut out = [0; 640];
        assert_eq!(agent.prove_fill([1; 32], &mut out), Err(Error::Busy));
        while agent.step().unwrap() != Step::Idle {}
        assert_eq!(answer(agent), Err(Error::Busy), "that was another stream");
        assert_eq!(agent.status().fill.map(|(at, _)| at), Some(0));
        while agent.step().unwrap() != Step::Idle {}
        let (digest, size) = answer(agent).unwrap();
        assert_eq!(digest, RingCrypto::sha256(&stream(size as usize)));
    });
}
