//! One measured run: fill, warm up, then count.

use super::engine::{Engine, Refusal};
use super::flash::Counts;
use super::ours::OVERHEAD;
use super::workload::{Pattern, Stream, value};
use nrd_hal::Geometry;

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Size of a value in bytes.
    pub value: usize,
    /// How many keys.
    pub keys: u16,
    /// Which is updated next.
    pub pattern: Pattern,
    /// Seed of the stream.
    pub seed: u64,
    /// Updates before counting begins.
    pub warm: u64,
    /// Updates counted.
    pub updates: u64,
}

/// Sixteen sectors of 4 KiB with this write unit.
pub fn geometry(write_size: u32) -> Geometry {
    Geometry {
        size: 65_536,
        write_size,
        erase_size: 4096,
        best_erase: 4096,
    }
}

/// Size on flash of one of our records, in bytes.
pub fn record(value: usize, write_size: u32) -> u32 {
    ((value + OVERHEAD) as u32).next_multiple_of(write_size.max(4))
}

impl Plan {
    /// A flash half full of live records of ours, updated until every sector
    /// has come round `turns` times after a warm-up of a quarter as many (at
    /// least two).
    pub fn half_full(g: Geometry, value: usize, pattern: Pattern, seed: u64, turns: u64) -> Plan {
        let record = record(value, g.write_size);
        let all = u64::from(g.size / record);
        Plan {
            value,
            keys: (g.size / 2 / record) as u16,
            pattern,
            seed,
            warm: all * (turns / 4).max(2),
            updates: all * turns,
        }
    }

    /// The workload that the issue quotes: sixteen keys, 10,000 updates.
    pub fn sixteen(value: usize) -> Plan {
        Plan {
            value,
            keys: 16,
            pattern: Pattern::Uniform,
            seed: 1,
            warm: 0,
            updates: 10_000,
        }
    }
}

/// Fills and warms up; returns the stream where it stands.
pub fn prepare(engine: &mut dyn Engine, plan: &Plan) -> Result<Stream, Refusal> {
    let mut buf = vec![0; plan.value];
    for key in 0..plan.keys {
        value(key, 0, &mut buf);
        engine.put(key, &buf)?;
    }
    let mut stream = Stream::new(plan.pattern, plan.keys, plan.seed);
    for version in 1..=plan.warm {
        let key = stream.key();
        value(key, version, &mut buf);
        engine.put(key, &buf)?;
    }
    Ok(stream)
}

/// What a run found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steady {
    /// What the updates cost.
    pub counts: Counts,
    /// Erases of the most erased sector over the mean.
    pub wear: f64,
}

/// Counts what `plan.updates` updates cost in steady state.
pub fn run(engine: &mut dyn Engine, plan: &Plan) -> Result<Steady, Refusal> {
    let mut stream = prepare(engine, plan)?;
    let mut buf = vec![0; plan.value];
    let tally = engine.tally();
    let (before, worn) = (tally.now(), tally.wear());
    for version in 1..=plan.updates {
        let key = stream.key();
        value(key, plan.warm + version, &mut buf);
        engine.put(key, &buf)?;
    }
    let counts = tally.now() - before;
    let wear: Vec<u32> = tally.wear().iter().zip(worn).map(|(w, b)| w - b).collect();
    let most = wear.iter().copied().max().unwrap_or_default();
    let mean = counts.erases.max(1) as f64 / wear.len() as f64;
    check(engine, plan)?;
    Ok(Steady {
        counts,
        wear: f64::from(most) / mean,
    })
}

/// Every key answers, with a value of the right length.
fn check(engine: &mut dyn Engine, plan: &Plan) -> Result<(), Refusal> {
    let mut buf = vec![0; plan.value];
    for key in 0..plan.keys {
        if engine.get(key, &mut buf) != Some(plan.value) {
            return Err(Refusal::Failed(format!("key {key} is lost")));
        }
    }
    Ok(())
}
