//! Devices that lie in a storage check (SPEC §9): who is caught, who is not, and
//! what the stated bound predicts.
//!
//! The honest device is the agent that firmware links. A liar is a model of its
//! storage: so many bits that it uses for something else, so much memory that it
//! does not declare. The desk is the one that `nrd-sim desk` runs.
//!
//! `cargo test -p nrd-tests --test storage_liars -- --nocapture` prints the table
//! of `docs/reports/STORAGE-CHECK.md`.

use nrd_agent::wire::codec::{self, Code};
use nrd_agent::wire::storage::{
    BlockOrder, CHUNK, CREDIT, DeskMessage, DeviceMessage, MAX_MESSAGE, VERSION, digest_block,
};
use nrd_agent::wire::{DeviceId, Digest};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim::device::{say, settle};
use nrd_sim::forensics::storage_check::{CheckFailure, Next, StorageCheck, limit_for};
use nrd_sim::hw::SplitMix;
use std::time::Duration;

/// What the desk sends.
#[derive(Clone, Copy)]
enum Stream {
    /// Random bytes, as it must.
    Random,
    /// Words: a desk that does not keep to SPEC.
    Text,
    /// The first 32 bytes, and what follows from them: the first design, whose
    /// stream was a function of a nonce that the device had.
    OfItsFirstBytes,
}

/// How a device lies.
#[derive(Clone, Copy)]
enum Lie {
    /// It stores what it has room for, and guesses the rest.
    Guesses,
    /// It packs what it is sent, to make room.
    Compresses,
    /// It keeps the first 32 bytes, and makes the rest again from them.
    Recomputes,
    /// It keeps a hash of what passed.
    HashesAsItArrives,
    /// It sends everything on to an accomplice, who stores it and answers.
    Forwards {
        /// How long a message takes to the accomplice.
        one_way: Duration,
    },
}

#[derive(Clone, Copy)]
struct Liar {
    lie: Lie,
    /// Bits of the declared storage that it uses for something else.
    kept: usize,
    /// Bytes that it does not declare.
    hidden: usize,
}

/// A row of the table.
struct Row {
    device: &'static str,
    liar: Liar,
    stream: Stream,
    bytes: usize,
    rounds: u32,
    /// Bits of the desk's bytes that it has no room for, where it must guess; `None`
    /// where it is caught whatever it guesses.
    predicted: Predicted,
}

#[derive(Clone, Copy)]
enum Predicted {
    /// It must guess so many bits.
    Guess(usize),
    /// It must guess the digest.
    GuessDigest,
    /// Nothing bounds it.
    NotBounded,
    /// The limit of time does.
    TooLate,
}

impl Predicted {
    /// The share of rounds in which it is caught.
    fn caught(self) -> f64 {
        match self {
            Predicted::Guess(bits) => 1.0 - 0.5f64.powi(bits.min(256) as i32),
            Predicted::GuessDigest | Predicted::TooLate => 1.0,
            Predicted::NotBounded => 0.0,
        }
    }

    fn words(self) -> String {
        match self {
            Predicted::Guess(bits) if bits <= 8 => {
                format!("{:.2} %", 100.0 * self.caught())
            }
            Predicted::Guess(bits) => format!("all but one in 2^{}", bits.min(256)),
            Predicted::GuessDigest => "all but one in 2^256".to_owned(),
            Predicted::NotBounded => "none: not bounded".to_owned(),
            Predicted::TooLate => "all".to_owned(),
        }
    }
}

fn draw_bytes(draws: &mut SplitMix, out: &mut [u8]) {
    for bytes in out.chunks_mut(8) {
        bytes.copy_from_slice(&draws.draw().to_le_bytes()[..bytes.len()]);
    }
}

/// What follows from 32 bytes.
fn expand(seed: &[u8], out: &mut [u8]) {
    for (n, bytes) in out.chunks_mut(32).enumerate() {
        let n = (n as u32).to_le_bytes();
        bytes.copy_from_slice(&RingCrypto::hmac(seed, &[&n])[..bytes.len()]);
    }
}

impl Stream {
    fn fill(self, draws: &mut SplitMix, out: &mut [u8]) {
        match self {
            Stream::Random => draw_bytes(draws, out),
            Stream::Text => {
                let words = b"all that the device keeps of a former account holder ";
                let text = words.iter().cycle();
                out.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
            }
            Stream::OfItsFirstBytes => {
                let (first, rest) = out.split_at_mut(32);
                draw_bytes(draws, first);
                expand(first, rest);
            }
        }
    }
}

fn digest(key: &[u8; 32], stored: &[u8]) -> Digest {
    let count = (stored.len() / CHUNK) as u32;
    BlockOrder::new(key, count).fold([0; 32], |digest, n| {
        let block = &stored[n as usize * CHUNK..][..CHUNK];
        digest_block::<RingCrypto>(key, &digest, n, block)
    })
}

fn encoded<'a>(message: &dyn Code<'a>) -> Vec<u8> {
    let mut out = [0; MAX_MESSAGE];
    let n = codec::write(b"", message, &mut out).unwrap();
    out[..n].to_vec()
}

/// A liar in one check.
struct Lying<'r> {
    liar: Liar,
    declared: usize,
    draws: &'r mut SplitMix,
    /// What has passed through it. Only what it has room for outlives the last chunk.
    passing: Vec<u8>,
    /// Bits that it had no room for.
    missing: usize,
}

impl Lying<'_> {
    /// What it says to a message, and how long that took it.
    fn hear(&mut self, message: &[u8]) -> (Vec<u8>, Duration) {
        match codec::read(message).unwrap() {
            DeskMessage::Open { .. } => {
                let here = DeviceMessage::Here {
                    version: VERSION,
                    device_id: DeviceId::new("NRD-LIAR").unwrap(),
                    vault: self.declared as u32,
                    further: 0,
                    chunk: CHUNK as u16,
                    credit: CREDIT,
                };
                (encoded(&here), Duration::ZERO)
            }
            DeskMessage::Chunk { bytes } => {
                self.passing.extend(bytes);
                if self.passing.len() == self.declared {
                    self.make_room();
                }
                let chunks = (self.passing.len() / CHUNK) as u32;
                (encoded(&DeviceMessage::Stored { chunks }), Duration::ZERO)
            }
            DeskMessage::Key { key } => {
                let (digest, took) = self.answer(&key);
                (encoded(&DeviceMessage::Answer { digest }), took)
            }
            DeskMessage::Close => unreachable!("no check here closes"),
        }
    }

    /// All has passed: whatever finds no room is lost now.
    fn make_room(&mut self) {
        let room = 8 * (self.declared + self.liar.hidden) - self.liar.kept;
        let needs = match self.liar.lie {
            Lie::Guesses => 8 * self.passing.len(),
            Lie::Compresses => {
                let packed = miniz_oxide::deflate::compress_to_vec(&self.passing, 10);
                // Packed it is longer than it was: then it is stored as it is.
                8 * packed.len().min(self.passing.len())
            }
            Lie::Recomputes | Lie::HashesAsItArrives => 256,
            // The accomplice has room.
            Lie::Forwards { .. } => 0,
        };
        self.missing = needs.saturating_sub(room);
        for bit in 0..self.missing {
            let at = self.passing.len() - 1 - bit / 8;
            self.passing[at] &= !(1 << (bit % 8));
        }
    }

    fn answer(&mut self, key: &[u8; 32]) -> (Digest, Duration) {
        match self.liar.lie {
            Lie::Guesses | Lie::Compresses => {
                for bit in 0..self.missing {
                    let at = self.passing.len() - 1 - bit / 8;
                    self.passing[at] |= ((self.draws.draw() & 1) as u8) << (bit % 8);
                }
                (digest(key, &self.passing), Duration::ZERO)
            }
            Lie::Recomputes => {
                let mut again = self.passing[..32].to_vec();
                again.resize(self.declared, 0);
                let (first, rest) = again.split_at_mut(32);
                expand(first, rest);
                (digest(key, &again), Duration::ZERO)
            }
            Lie::HashesAsItArrives => {
                let hash = RingCrypto::sha256(&self.passing);
                (RingCrypto::hmac(key, &[&hash]), Duration::ZERO)
            }
            Lie::Forwards { one_way } => (digest(key, &self.passing), 2 * one_way),
        }
    }
}

/// Runs a check up to the answer.
fn check(
    stream: Stream,
    draws: &mut SplitMix,
    mut hear: impl FnMut(&[u8]) -> (Vec<Vec<u8>>, Duration),
) -> Result<(), CheckFailure> {
    let mut storage = true;
    let mut desk = StorageCheck::new(None, |out: &mut [u8]| {
        // The key is random whatever the stream is.
        if std::mem::take(&mut storage) {
            stream.fill(draws, out);
        } else {
            draw_bytes(draws, out);
        }
        Ok(())
    });
    let mut now = Duration::ZERO;
    loop {
        let Next::Send(message) = desk.next(now)? else {
            panic!("every message has an answer");
        };
        let (answers, took) = hear(&message);
        now += took;
        for said in answers {
            desk.take(&said, now)?;
            if let Some(DeviceMessage::Answer { .. }) = codec::read(&said) {
                return Ok(());
            }
        }
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    use Predicted::{Guess, GuessDigest, NotBounded, TooLate};
    /// Large enough for a hundredth of it to be many bytes.
    const LARGE: usize = 16 << 10;
    const SMALL: usize = 1 << 10;
    let liar = |lie, kept, hidden| Liar { lie, kept, hidden };
    let row = |device, liar, bytes, rounds, predicted| Row {
        device,
        liar,
        stream: Stream::Random,
        bytes,
        rounds,
        predicted,
    };
    let (one, ten, all) = (8 * LARGE / 100, 8 * LARGE / 10, 8 * LARGE);
    let guesses = Lie::Guesses;
    let forwards = |ms| Lie::Forwards {
        one_way: Duration::from_millis(ms),
    };
    assert_eq!(limit_for(LARGE as u32), Duration::from_millis(564));
    let mut rows = vec![
        row("keeps 1 bit", liar(guesses, 1, 0), SMALL, 20_000, Guess(1)),
        row("keeps 4 bits", liar(guesses, 4, 0), SMALL, 20_000, Guess(4)),
        row("keeps 1 byte", liar(guesses, 8, 0), SMALL, 20_000, Guess(8)),
        row("keeps 1 %", liar(guesses, one, 0), LARGE, 500, Guess(one)),
        row("keeps 10 %", liar(guesses, ten, 0), LARGE, 500, Guess(ten)),
        row("keeps all", liar(guesses, all, 0), LARGE, 500, Guess(all)),
        row(
            "keeps 10 %, compresses what comes",
            liar(Lie::Compresses, ten, 0),
            LARGE,
            500,
            Guess(ten),
        ),
        row(
            "keeps all but 32 bytes, makes the rest again from the first 32",
            liar(Lie::Recomputes, all - 256, 0),
            LARGE,
            500,
            GuessDigest,
        ),
        row(
            "keeps all but 32 bytes, hashes what passes",
            liar(Lie::HashesAsItArrives, all - 256, 0),
            LARGE,
            500,
            GuessDigest,
        ),
        row(
            "keeps 10 %, has half as much undeclared memory",
            liar(guesses, ten, LARGE / 20),
            LARGE,
            500,
            Guess(ten - 8 * (LARGE / 20)),
        ),
        row(
            "keeps 10 %, has as much undeclared memory",
            liar(guesses, ten, ten.div_ceil(8)),
            LARGE,
            500,
            NotBounded,
        ),
        row(
            "keeps all, an accomplice 300 ms away answers",
            liar(forwards(300), all, 0),
            LARGE,
            500,
            TooLate,
        ),
        row(
            "keeps all, an accomplice 10 ms away answers",
            liar(forwards(10), all, 0),
            LARGE,
            500,
            NotBounded,
        ),
    ];
    let mut text = row(
        "keeps 10 %, compresses; the desk sends words (not SPEC)",
        liar(Lie::Compresses, ten, 0),
        LARGE,
        500,
        NotBounded,
    );
    text.stream = Stream::Text;
    let mut seeded = row(
        "keeps all but 32 bytes, makes the rest again; the desk’s stream follows from its first bytes (the first design)",
        liar(Lie::Recomputes, all - 256, 0),
        LARGE,
        500,
        NotBounded,
    );
    seeded.stream = Stream::OfItsFirstBytes;
    rows.extend([text, seeded]);
    rows
}

fn share(liar: &Liar, bytes: usize) -> String {
    match 100.0 * liar.kept as f64 / (8 * bytes) as f64 {
        share if share < 0.5 => format!("{share:.3} %"),
        share => format!("{share:.1} %"),
    }
}

/// Missing bytes cannot be guessed. Memory that is not declared, and an accomplice
/// within the limit, are not bounded: these devices pass, as SPEC says.
#[test]
fn attack_51_a_device_that_keeps_old_bytes_is_caught_as_the_bound_predicts() {
    let seed = std::env::var("NRD_SEED").ok().and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or(51);
    println!("seed {seed}");
    println!("| device | keeps of its storage | storage, bytes | rounds | caught | predicted |");
    println!("|---|---|---|---|---|---|");
    println!("{}", honest(seed));
    let mut wrong = Vec::new();
    for (n, row) in rows().into_iter().enumerate() {
        let mut desk = SplitMix(seed ^ (n as u64) << 32);
        let mut guesses = SplitMix(!seed ^ (n as u64) << 32);
        let mut caught = 0;
        for _ in 0..row.rounds {
            let mut device = Lying {
                liar: row.liar,
                declared: row.bytes,
                draws: &mut guesses,
                passing: Vec::new(),
                missing: 0,
            };
            let end = check(row.stream, &mut desk, |message| {
                let (said, took) = device.hear(message);
                (vec![said], took)
            });
            match (end, row.predicted) {
                (Ok(()), _) => {}
                (Err(CheckFailure::TooSlow { .. }), Predicted::TooLate) => caught += 1,
                (Err(CheckFailure::Digest), _) => caught += 1,
                (Err(e), _) => panic!("{}: {e}", row.device),
            }
        }
        let (rounds, expected) = (f64::from(row.rounds), row.predicted.caught());
        let seen = f64::from(caught) / rounds;
        println!(
            "| {} | {} | {} | {} | {:.2} % | {} |",
            row.device,
            share(&row.liar, row.bytes),
            row.bytes,
            row.rounds,
            100.0 * seen,
            row.predicted.words()
        );
        // Four standard deviations of so many rounds.
        let spread = 4.0 * (expected * (1.0 - expected) / rounds).sqrt();
        if (seen - expected).abs() > spread + f64::EPSILON {
            wrong.push(format!("{}: {seen} for {expected}", row.device));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The agent that firmware links, on a virtual part: its row.
fn honest(seed: u64) -> String {
    const ROUNDS: u32 = 20;
    let mut bench = nrd_tests::test_bench(seed);
    let mut draws = SplitMix(seed);
    let bytes = bench.boot(|_, agent| {
        settle(agent).unwrap();
        for _ in 0..ROUNDS {
            let heard = |message: &[u8]| (say(agent, message), Duration::ZERO);
            let end = check(Stream::Random, &mut draws, heard);
            assert_eq!(end, Ok(()), "an honest device");
        }
        assert!(agent.is_clean());
        agent.platform().layout().vault_size
    });
    format!("| honest: the agent itself | nothing | {bytes} | {ROUNDS} | 0.00 % | none |")
}
