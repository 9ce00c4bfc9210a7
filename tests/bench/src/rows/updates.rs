//! Bytes programmed for each update, against simulated floors.

use super::Context;
use super::runs::{VALUES, Whose, plan};
use crate::report::{Row, Section, Target};
use nrd_tests::measure::ideal::{Cost, Policy, Shape, simulate, spanning};
use nrd_tests::measure::ours::OVERHEAD;
use nrd_tests::measure::steady::{Plan, geometry, record};
use nrd_tests::measure::workload::{Pattern, Stream};

/// What the policies cost for a plan.
pub(super) struct Ideal {
    pub(super) ring: Cost,
    pub(super) spanning: Cost,
    pub(super) greedy: Cost,
    pub(super) parted: Cost,
}

impl Ideal {
    pub(super) fn of(plan: &Plan, record: u32) -> Ideal {
        let g = geometry(1);
        let sectors = g.size / g.erase_size;
        let shape = Shape {
            sectors: sectors as usize,
            slots: (g.erase_size / record) as usize,
        };
        let stream = || Stream::new(plan.pattern, plan.keys, plan.seed);
        let by = |policy| simulate(shape, policy, plan.keys, stream(), plan.warm, plan.updates);
        Ideal {
            ring: by(Policy::Ring),
            greedy: by(Policy::Greedy),
            parted: by(Policy::CostBenefit),
            spanning: spanning(
                (
                    u64::from(sectors),
                    u64::from(g.erase_size),
                    u64::from(record),
                ),
                plan.keys,
                stream(),
                plan.warm,
                plan.updates,
            ),
        }
    }

    /// The least amplification of any.
    pub(super) fn least(&self) -> f64 {
        let all = [self.ring, self.spanning, self.greedy, self.parted];
        all.iter().map(|c| c.amplification).fold(f64::MAX, f64::min)
    }
}

const ABOUT: &str = "\
Sixteen sectors of 4 KiB, half full of our records, updated in steady state. \
*Floor* is (value + record header + nonce + tag, padded to the write unit) × the \
least amplification of four simulated policies, none of which spends a byte on \
sector headers or keeps more than the one free sector that a copy needs: an \
order-preserving *ring* of whole records, the same ring with records that may go \
on in the next sector (*spanning*), *greedy*, and *cost-benefit* with hot and cold \
records apart. The least of the four is the floor because none goes below it; the \
ring is shown beside it because it is the only one that wears every sector \
equally without keeping or moving anything for it, and keeps a record's newest \
version behind its older ones, which deleting without a table relies on. \
*padding* is what the write unit adds to a record.";

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("updates", "Bytes programmed for an update", ABOUT);
    for value in VALUES {
        for pattern in Pattern::ALL {
            for write in [1, 4, 32, 256] {
                let plan = plan(c.quick, c.seed, value, pattern, write);
                let size = record(value, write);
                let ideal = Ideal::of(&plan, size);
                let name = format!("update, {value} B, {}, unit {write}", pattern.name());
                let ours = c.runs.half_full(Whose::Ours, plan, write);
                let ours = ours.map_or(f64::NAN, |f| f.per(f.counts.programmed));
                let floor = f64::from(size) * ideal.least();
                s.rows.push(
                    Row::new(name, "B", ours)
                        .floor(floor, Target::Times(1.1))
                        .more("ring", f64::from(size) * ideal.ring.amplification)
                        .more("spanning", f64::from(size) * ideal.spanning.amplification)
                        .more("greedy", f64::from(size) * ideal.greedy.amplification)
                        .more("cost-benefit", f64::from(size) * ideal.parted.amplification)
                        .more("padding", f64::from(size) - (value + OVERHEAD) as f64),
                );
            }
        }
    }
    s
}
