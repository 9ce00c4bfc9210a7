//! What a workload must cost: simulated out-of-place writing with no headers,
//! no padding and no reserve but the one sector that a copy needs.
//!
//! The same stream of updates for each of four policies:
//! - [`Policy::Ring`]: an order-preserving ring. The oldest sector is always
//!   the one that is reclaimed; its live records go to the head. Every sector
//!   is erased equally often without any wear table.
//! - [`spanning`]: the same ring, whose records may go on in the next sector, so
//!   that nothing is lost at a sector's end.
//! - [`Policy::Greedy`]: the sector with the fewest live records is reclaimed;
//!   one open sector takes updates and copies.
//! - [`Policy::CostBenefit`]: the sector with the best (1 − u)·age / (1 + u) is
//!   reclaimed; copies go to an open sector of their own, which separates cold
//!   records from hot ones.

use super::workload::Stream;
use std::collections::VecDeque;

/// Which sector is reclaimed, and where copies go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Oldest first.
    Ring,
    /// Fewest live records first.
    Greedy,
    /// Cost against benefit, hot and cold separated.
    CostBenefit,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Policy; 3] = [Policy::Ring, Policy::Greedy, Policy::CostBenefit];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Ring => "ring",
            Policy::Greedy => "greedy",
            Policy::CostBenefit => "cost-benefit",
        }
    }
}

/// What a policy costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Records written for each update, at least 1.
    pub amplification: f64,
    /// Sectors erased for each update.
    pub erases: f64,
    /// Erases of the most erased sector over the mean.
    pub wear: f64,
}

/// A flash of `sectors` that hold `slots` records each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sectors.
    pub sectors: usize,
    /// Records that fit into one.
    pub slots: usize,
}

#[derive(Debug, Clone, Default)]
struct Sector {
    keys: Vec<u16>,
    live: usize,
    /// When it was opened, and when it was last written.
    opened: u64,
    written: u64,
    erases: u64,
    used: bool,
}

struct Sim {
    shape: Shape,
    policy: Policy,
    sectors: Vec<Sector>,
    /// Where each key lives.
    home: Vec<Option<usize>>,
    /// The open sector of updates, and of copies.
    open: [Option<usize>; 2],
    now: u64,
    writes: u64,
}

impl Sim {
    fn new(shape: Shape, policy: Policy, keys: u16) -> Sim {
        Sim {
            shape,
            policy,
            sectors: vec![Sector::default(); shape.sectors],
            home: vec![None; usize::from(keys)],
            open: [None; 2],
            now: 0,
            writes: 0,
        }
    }

    fn free(&self) -> usize {
        self.sectors.iter().filter(|s| !s.used).count()
    }

    /// Takes the free sector with the fewest erases.
    fn take(&mut self) -> usize {
        let (n, _) = self
            .sectors
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.used)
            .min_by_key(|(_, s)| s.erases)
            .expect("one sector is always free");
        self.now += 1;
        let s = &mut self.sectors[n];
        s.used = true;
        s.opened = self.now;
        n
    }

    fn lane(&self, copy: bool) -> usize {
        usize::from(copy && self.policy == Policy::CostBenefit)
    }

    fn write(&mut self, key: u16, copy: bool) {
        let lane = self.lane(copy);
        let full = |s: &Sector| s.keys.len() >= self.shape.slots;
        let n = match self.open[lane].filter(|&n| !full(&self.sectors[n])) {
            Some(n) => n,
            None => {
                let n = self.take();
                self.open[lane] = Some(n);
                n
            }
        };
        if let Some(old) = self.home[usize::from(key)].replace(n) {
            self.sectors[old].live -= 1;
        }
        let now = self.now;
        let s = &mut self.sectors[n];
        s.keys.push(key);
        s.live += 1;
        s.written = now;
        self.writes += 1;
    }

    fn victim(&self) -> usize {
        let closed = self.sectors.iter().enumerate().filter(|(n, s)| {
            s.used && (!self.open.contains(&Some(*n)) || s.keys.len() >= self.shape.slots)
        });
        let slots = self.shape.slots as f64;
        let best = match self.policy {
            Policy::Ring => closed.min_by_key(|(_, s)| s.opened),
            Policy::Greedy => closed.min_by_key(|(_, s)| (s.live, s.opened)),
            Policy::CostBenefit => closed.max_by(|(_, a), (_, b)| {
                let worth = |s: &Sector| {
                    let u = s.live as f64 / slots;
                    (1.0 - u) * (self.now - s.written + 1) as f64 / (1.0 + u)
                };
                worth(a).total_cmp(&worth(b))
            }),
        };
        best.map(|(n, _)| n).expect("some sector is closed")
    }

    /// Makes room for one update: reclaims until an open sector has a slot and
    /// a free one is left for the next copy.
    fn reclaim(&mut self) {
        // Bounded: with all but a sector's worth of records live, every round
        // frees at least one slot.
        for _ in 0..4 * self.shape.sectors {
            let has_slot =
                self.open[0].is_some_and(|n| self.sectors[n].keys.len() < self.shape.slots);
            if has_slot || self.free() > 1 {
                return;
            }
            let v = self.victim();
            let keys = std::mem::take(&mut self.sectors[v].keys);
            // The victim's place may not be written before its copies are.
            let moving: Vec<u16> = keys
                .iter()
                .copied()
                .rev()
                .filter(|&k| self.home[usize::from(k)] == Some(v))
                .collect();
            let mut seen = Vec::new();
            for key in moving.into_iter().rev() {
                if !seen.contains(&key) {
                    seen.push(key);
                    self.write(key, true);
                }
            }
            for open in &mut self.open {
                if *open == Some(v) {
                    *open = None;
                }
            }
            let s = &mut self.sectors[v];
            s.used = false;
            s.live = 0;
            s.erases += 1;
        }
        panic!("the records do not fit");
    }

    fn update(&mut self, key: u16) {
        self.reclaim();
        self.write(key, false);
    }
}

/// Simulates `warm` and then `updates` updates of `keys` keys.
///
/// # Panics
/// Where the records do not fit.
pub fn simulate(
    shape: Shape,
    policy: Policy,
    keys: u16,
    mut stream: Stream,
    warm: u64,
    updates: u64,
) -> Cost {
    let mut sim = Sim::new(shape, policy, keys);
    for key in 0..keys {
        sim.update(key);
    }
    for _ in 0..warm {
        sim.update(stream.key());
    }
    let before: Vec<u64> = sim.sectors.iter().map(|s| s.erases).collect();
    sim.writes = 0;
    for _ in 0..updates {
        sim.update(stream.key());
    }
    let erases: Vec<u64> = sim
        .sectors
        .iter()
        .zip(before)
        .map(|(s, b)| s.erases - b)
        .collect();
    let total: u64 = erases.iter().sum();
    let most = erases.iter().copied().max().unwrap_or_default();
    Cost {
        amplification: sim.writes as f64 / updates as f64,
        erases: total as f64 / updates as f64,
        wear: most as f64 * erases.len() as f64 / total.max(1) as f64,
    }
}

/// A ring of bytes: records of `record` bytes, which may go on in the next
/// sector of `sector` bytes.
///
/// # Panics
/// Where the records do not fit.
pub fn spanning(
    (sectors, sector, record): (u64, u64, u64),
    keys: u16,
    mut stream: Stream,
    warm: u64,
    updates: u64,
) -> Cost {
    let mut log: VecDeque<(u64, u16)> = VecDeque::new();
    let mut home = vec![u64::MAX; usize::from(keys)];
    // Bytes ever written, and sectors ever erased: both only grow.
    let (mut head, mut tail) = (0u64, 0u64);
    let mut put = |key: u16, head: &mut u64, tail: &mut u64| {
        for round in 0.. {
            assert!(round < 4 * sectors, "the records do not fit");
            if *head + record <= (*tail + sectors - 1) * sector {
                break;
            }
            *tail += 1;
            while let Some(&(at, old)) = log.front().filter(|r| r.0 < *tail * sector) {
                log.pop_front();
                if home[usize::from(old)] == at {
                    home[usize::from(old)] = *head;
                    log.push_back((*head, old));
                    *head += record;
                }
            }
        }
        home[usize::from(key)] = *head;
        log.push_back((*head, key));
        *head += record;
    };
    for key in 0..keys {
        put(key, &mut head, &mut tail);
    }
    for _ in 0..warm {
        put(stream.key(), &mut head, &mut tail);
    }
    let (head_0, tail_0) = (head, tail);
    for _ in 0..updates {
        put(stream.key(), &mut head, &mut tail);
    }
    Cost {
        amplification: (head - head_0) as f64 / (updates * record) as f64,
        erases: (tail - tail_0) as f64 / updates as f64,
        wear: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::workload::Pattern;

    const SHAPE: Shape = Shape {
        sectors: 64,
        slots: 50,
    };

    fn cost(policy: Policy, pattern: Pattern, keys: u16) -> Cost {
        let stream = Stream::new(pattern, keys, 3);
        simulate(SHAPE, policy, keys, stream, 20_000, 100_000)
    }

    #[test]
    fn round_robin_copies_nothing_in_a_ring() {
        let c = cost(Policy::Ring, Pattern::RoundRobin, 1500);
        assert!((c.amplification - 1.0).abs() < 1e-9, "{c:?}");
        assert!((c.erases - 1.0 / 50.0).abs() < 1e-3, "{c:?}");
    }

    /// A ring under uniform updates: with a share ρ still alive at the tail,
    /// the fill is (1 − ρ) / −ln ρ and the amplification 1 / (1 − ρ).
    #[test]
    fn a_ring_under_uniform_updates_is_as_the_formula_says() {
        let rho: f64 = 0.25;
        let fill = (1.0 - rho) / -rho.ln();
        let keys = (fill * 63.0 * 50.0) as u16;
        let c = cost(Policy::Ring, Pattern::Uniform, keys);
        let expected = 1.0 / (1.0 - rho);
        assert!((c.amplification / expected - 1.0).abs() < 0.03, "{c:?}");
        assert!(c.wear < 1.1, "a ring wears evenly: {c:?}");
    }

    #[test]
    fn a_record_that_may_go_on_in_the_next_sector_wastes_nothing() {
        // Three of 1068 bytes fit into 4096, 3.8 where they may go on.
        let run = |pattern| {
            let stream = Stream::new(pattern, 30, 3);
            spanning((16, 4096, 1068), 30, stream, 1_000, 10_000)
        };
        let c = run(Pattern::RoundRobin);
        assert!((c.amplification - 1.0).abs() < 1e-9, "{c:?}");
        assert!((c.erases - 1068.0 / 4096.0).abs() < 1e-3, "{c:?}");
        let shape = Shape {
            sectors: 16,
            slots: 3,
        };
        let stream = Stream::new(Pattern::Uniform, 30, 3);
        let whole = simulate(shape, Policy::Ring, 30, stream, 1_000, 10_000);
        assert!(run(Pattern::Uniform).amplification < whole.amplification);
    }

    #[test]
    fn separation_pays_where_updates_are_skewed() {
        let ring = cost(Policy::Ring, Pattern::Hot, 1600).amplification;
        let parted = cost(Policy::CostBenefit, Pattern::Hot, 1600).amplification;
        assert!(parted < ring, "{parted} {ring}");
    }
}
