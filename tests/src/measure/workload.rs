//! Streams of updates: which keys, how large, in which order.

use nrd_sim::hw::SplitMix;

/// Which key is updated next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Every key equally often, independently.
    Uniform,
    /// One after the other, round and round.
    RoundRobin,
    /// 80 % of the updates go to 20 % of the keys.
    Hot,
    /// Zipf with exponent 0.99 (the YCSB constant) over shuffled keys.
    Zipf,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Pattern; 4] = [
        Pattern::Uniform,
        Pattern::RoundRobin,
        Pattern::Hot,
        Pattern::Zipf,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Uniform => "uniform",
            Pattern::RoundRobin => "round-robin",
            Pattern::Hot => "80/20",
            Pattern::Zipf => "zipf-0.99",
        }
    }
}

/// A stream of keys, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Stream {
    keys: u16,
    pattern: Pattern,
    draws: SplitMix,
    next: u16,
    /// Cumulated weights, and which key has which rank.
    ranks: Vec<(f64, u16)>,
}

impl Stream {
    /// Updates of keys `0..keys`.
    pub fn new(pattern: Pattern, keys: u16, seed: u64) -> Stream {
        let mut draws = SplitMix(seed ^ 0x6E72_645F_6265_6E63);
        let mut order: Vec<u16> = (0..keys).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, draws.below(i as u64 + 1) as usize);
        }
        let mut sum = 0.0;
        let ranks = order
            .into_iter()
            .enumerate()
            .map(|(rank, key)| {
                sum += match pattern {
                    Pattern::Zipf => (rank as f64 + 1.0).powf(-0.99),
                    _ => 1.0,
                };
                (sum, key)
            })
            .collect();
        Stream {
            keys,
            pattern,
            draws,
            next: 0,
            ranks,
        }
    }

    /// Uniform in 0..1.
    fn fraction(&mut self) -> f64 {
        (self.draws.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next key.
    pub fn key(&mut self) -> u16 {
        let n = usize::from(self.keys);
        match self.pattern {
            Pattern::RoundRobin => {
                let key = self.next;
                self.next = (self.next + 1) % self.keys;
                key
            }
            Pattern::Uniform => self.draws.below(n as u64) as u16,
            Pattern::Hot => {
                let hot = (n / 5).max(1);
                let is_hot = self.fraction() < 0.8 || hot == n;
                let rank = if is_hot {
                    self.draws.below(hot as u64) as usize
                } else {
                    hot + self.draws.below((n - hot) as u64) as usize
                };
                self.ranks[rank].1
            }
            Pattern::Zipf => {
                let total = self.ranks.last().map_or(0.0, |r| r.0);
                let at = self.fraction() * total;
                let rank = self.ranks.partition_point(|r| r.0 <= at).min(n - 1);
                self.ranks[rank].1
            }
        }
    }
}

/// Fills `out` with the value of `key` at `version`: no two values share
/// sixteen bytes at the same place.
pub fn value(key: u16, version: u64, out: &mut [u8]) {
    let mut draws = SplitMix(u64::from(key) << 48 ^ version);
    for part in out.chunks_mut(8) {
        let word = draws.draw().to_le_bytes();
        part.copy_from_slice(&word[..part.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pattern: Pattern) -> Vec<u32> {
        let mut stream = Stream::new(pattern, 100, 7);
        let mut counts = vec![0u32; 100];
        for _ in 0..100_000 {
            counts[usize::from(stream.key())] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn the_patterns_are_what_they_are_called() {
        let top20 = |c: &[u32]| c[..20].iter().sum::<u32>();
        assert!(counts(Pattern::RoundRobin).iter().all(|&n| n == 1000));
        assert!(
            counts(Pattern::Uniform)
                .iter()
                .all(|n| (800..1200).contains(n))
        );
        let hot = counts(Pattern::Hot);
        assert!((79_000..81_000).contains(&top20(&hot)), "{}", top20(&hot));
        // The most frequent of 100 keys under Zipf 0.99 has 1/5.28 of all.
        let zipf = counts(Pattern::Zipf);
        assert!((18_000..20_000).contains(&zipf[0]), "{}", zipf[0]);
    }
}
