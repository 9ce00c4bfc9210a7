//! Counts what a wipe costs, from the chip's own record of operations.

use nrd_hal::layout::Layout;
use nrd_sim_hw::{Chip, Hardware, Op, OpKind, modelled_ns};
use serde::Serialize;
use std::ops::Range;
use std::time::Duration;

/// What a wipe cost.
#[derive(Debug, Clone, Serialize)]
pub(super) struct WipeCost {
    /// Operations until the live key slot was destroyed, that one included.
    pub flash_ops_to_key_death: u64,
    /// Their modelled time in milliseconds.
    pub modelled_ms_to_key_death: f64,
    /// Modelled time of the whole wipe in milliseconds, reads included.
    pub modelled_ms_total: f64,
    /// Erase units erased, each counted as often as it was erased.
    pub sectors_erased: u64,
    /// Operations in all.
    pub flash_ops: u64,
}

/// Where a wipe may begin.
pub(super) struct Mark {
    ops: usize,
    busy_ns: u64,
    /// Slots that hold something.
    live: [bool; 2],
}

impl Mark {
    /// How long the part was busy since.
    pub(super) fn busy_since(&self, hw: &Hardware) -> Duration {
        Duration::from_nanos(hw.chip().totals().2 - self.busy_ns)
    }
}

/// Notes how things stand before something that may begin a wipe.
pub(super) fn mark(hw: &Hardware) -> Mark {
    let chip = hw.chip();
    Mark {
        ops: chip.trace().len(),
        busy_ns: chip.totals().2,
        live: [0, 1].map(|n| slot(&chip, n).iter().any(|&b| b != 0xFF)),
    }
}

fn slot(chip: &Chip, n: u32) -> &[u8] {
    let range = place(chip, n);
    &chip.cells()[range.start as usize..range.end as usize]
}

/// Where key slot `n` lies; nowhere on a part that no agent takes.
fn place(chip: &Chip, n: u32) -> Range<u32> {
    Layout::plan(&chip.spec().geometry).map_or(0..0, |layout| layout.slot(n))
}

/// What was done since `mark`.
pub(super) fn cost(hw: &Hardware, mark: &Mark) -> WipeCost {
    let chip = hw.chip();
    let unit = chip.spec().geometry.erase_size;
    let ops: &[Op] = &chip.trace()[mark.ops..];
    let slots = [0, 1].map(|n| place(&chip, n));
    let kills = |op: &Op| {
        let live = |(slot, live): (&Range<u32>, bool)| live && slot.contains(&op.at);
        op.kind != OpKind::Count && slots.iter().zip(mark.live).any(live)
    };
    let dead = ops.iter().position(kills).map_or(ops.len(), |i| i + 1);
    let ns: u64 = ops[..dead].iter().map(modelled_ns).sum();
    WipeCost {
        flash_ops_to_key_death: dead as u64,
        modelled_ms_to_key_death: ms(ns),
        modelled_ms_total: ms(chip.totals().2 - mark.busy_ns),
        sectors_erased: ops
            .iter()
            .filter(|op| op.kind == OpKind::Erase)
            .map(|op| u64::from(op.len / unit))
            .sum(),
        flash_ops: ops.len() as u64,
    }
}

fn ms(ns: u64) -> f64 {
    (ns / 1000) as f64 / 1000.0
}
