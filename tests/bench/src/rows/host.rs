//! Time on this host, as ratios alone.

use super::Context;
use super::cases::engines;
use super::runs::{Whose, peer_name};
use crate::report::{Row, Section, Target};
use nrd_hal::Crypto;
use nrd_hal::crypto::RingCrypto;
use nrd_tests::measure::engine::{Aead, Engine};
use nrd_tests::measure::ours::Ours;
use nrd_tests::measure::steady::{Plan, geometry, prepare};
use nrd_tests::measure::workload::{Pattern, value};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ABOUT: &str = "\
Time of an update and of a get on the host, each less its own AEAD (measured alone \
beside it in the same round), as a multiple of ours: above 1 is slower than ours. \
Every round measures every engine once, in turn; a ratio is taken within a round, \
and the median of the rounds is shown. Ours derives its hedged nonce by HMAC-SHA-256 \
over the value for each update, which is not taken off; *nonce* is its share of ours, \
*AEAD* what was taken off, both as multiples of ours. On flash instead of RAM the \
program time (0.4 ms a page) hides all of this.";

/// One engine, warmed up.
struct Runner {
    whose: Whose,
    engine: Box<dyn Engine>,
    keys: Vec<u16>,
    /// Operations in a round.
    n: usize,
}

/// The least time a round gives an engine.
const LEAST: Duration = Duration::from_millis(2);

impl Runner {
    fn put(&mut self, value: &mut [u8]) -> f64 {
        let from = Instant::now();
        for (i, key) in self.keys.iter().cycle().take(self.n).enumerate() {
            value[..8].copy_from_slice(&(i as u64).to_le_bytes());
            self.engine.put(*key, value).expect("room");
        }
        nanos(from, self.n)
    }

    fn get(&mut self, out: &mut [u8]) -> f64 {
        let from = Instant::now();
        for key in self.keys.iter().cycle().take(self.n) {
            black_box(self.engine.get(*key, out).expect("it is there"));
        }
        nanos(from, self.n)
    }

    /// The AEAD alone, as this engine calls it.
    fn aead(&self, len: usize, seal: bool) -> f64 {
        match self.whose {
            Whose::Ours => aead_ours(len, seal),
            Whose::Sealed(_) => aead_peer(len, seal),
        }
    }
}

fn nanos(from: Instant, n: usize) -> f64 {
    from.elapsed().as_nanos() as f64 / n as f64
}

/// AEAD calls timed in a round.
const AEADS: usize = 2000;

fn aead_ours(len: usize, seal: bool) -> f64 {
    let (key, nonce, aad) = ([7u8; 32], [2u8; 12], [5u8; 25]);
    let mut text = vec![1u8; len];
    let tag = RingCrypto::seal(&key, &nonce, &aad, &mut text).expect("short");
    let sealed = text.clone();
    let from = Instant::now();
    for _ in 0..AEADS {
        if seal {
            black_box(RingCrypto::seal(&key, &nonce, &aad, &mut text).expect("short"));
        } else {
            text.copy_from_slice(&sealed);
            black_box(RingCrypto::open(&key, &nonce, &aad, &mut text, &tag).is_ok());
        }
    }
    nanos(from, AEADS)
}

fn aead_peer(len: usize, seal: bool) -> f64 {
    let mut aead = Aead::new(7);
    let text = vec![1u8; len];
    let mut sealed = Vec::with_capacity(8192);
    aead.seal(1, &text, &mut sealed);
    let once = sealed.clone();
    let from = Instant::now();
    for _ in 0..AEADS {
        if seal {
            aead.seal(1, &text, &mut sealed);
        } else {
            sealed.clone_from(&once);
            black_box(aead.open(1, &mut sealed).is_some());
        }
    }
    nanos(from, AEADS)
}

/// The hedged nonce alone.
fn nonce_alone(len: usize) -> f64 {
    let (key, random, aad, text) = ([7u8; 32], [2u8; 32], [5u8; 25], vec![1u8; len]);
    let from = Instant::now();
    for _ in 0..AEADS {
        black_box(RingCrypto::hmac(
            &key,
            &[b"nrd/1/nonce\0", &random, &[0; 8], &aad, &text],
        ));
    }
    nanos(from, AEADS)
}

fn runners(plan: &Plan) -> Vec<Runner> {
    let mut all = Vec::new();
    for (_, whose) in engines() {
        let built: Option<Box<dyn Engine>> = match whose {
            Whose::Ours => Some(Box::new(Ours::new(geometry(4)))),
            Whose::Sealed(peer) => peer.build_sealed(geometry(4), plan.keys),
        };
        let Some(mut engine) = built else { continue };
        let Ok(mut stream) = prepare(&mut *engine, plan) else {
            continue;
        };
        let keys: Vec<u16> = (0..4096).map(|_| stream.key()).collect();
        let mut runner = Runner {
            whose,
            engine,
            keys,
            n: 20,
        };
        // As many operations as fill a round's share of time.
        let mut buf = vec![0; plan.value];
        value(1, 1, &mut buf);
        let each = runner.put(&mut buf).max(1.0);
        runner.n = ((LEAST.as_nanos() as f64 / each) as usize).clamp(20, 4000);
        all.push(runner);
    }
    all
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Rounds of one operation; per engine its time less the AEAD, round by round.
fn rounds(runners: &mut [Runner], len: usize, put: bool, rounds: usize) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::new(); runners.len()];
    let mut buf = vec![0; len];
    value(1, 1, &mut buf);
    for round in 0..rounds + 2 {
        for (runner, times) in runners.iter_mut().zip(&mut times) {
            let with = match put {
                true => runner.put(&mut buf),
                false => runner.get(&mut buf),
            };
            let less = (with - runner.aead(len, put)).max(1.0);
            // The first two rounds warm caches and clocks up.
            if round >= 2 {
                times.push(less);
            }
        }
    }
    times
}

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("host", "Host time, as ratios", ABOUT);
    let n = if c.quick { 7 } else { 41 };
    let plans = [
        (
            "sixteen keys, 32 B",
            Plan {
                warm: 500,
                ..Plan::sixteen(32)
            },
        ),
        (
            "sixteen keys, 256 B",
            Plan {
                warm: 500,
                ..Plan::sixteen(256)
            },
        ),
        (
            "half full, 256 B",
            Plan::half_full(geometry(4), 256, Pattern::Uniform, c.seed, 4),
        ),
    ];
    for (name, plan) in plans {
        let mut runners = runners(&plan);
        for put in [true, false] {
            let times = rounds(&mut runners, plan.value, put, n);
            let Some((ours, others)) = times.split_first() else {
                continue;
            };
            let peers = others
                .iter()
                .zip(runners.iter().skip(1))
                .map(|(theirs, runner)| {
                    let Whose::Sealed(peer) = runner.whose else {
                        return ("ours".to_owned(), None);
                    };
                    let ratios = theirs.iter().zip(ours).map(|(t, o)| t / o).collect();
                    (peer_name(peer), Some(median(ratios)))
                });
            let what = if put { "update" } else { "get" };
            let base = median(ours.clone());
            let alone = |f: &dyn Fn() -> f64| median((0..n).map(|_| f()).collect()) / base;
            let mut row = Row::new(format!("{what}, {name}"), "× ours", 1.0)
                .peers(peers.collect(), Target::Ahead)
                .more("AEAD", alone(&|| aead_ours(plan.value, put)));
            if put {
                row = row.more("nonce", alone(&|| nonce_alone(plan.value)));
            }
            s.rows.push(row);
        }
    }
    s
}
