//! What a cut operation leaves behind.

use super::rng::SplitMix;

/// How much of a cut operation happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultMode {
    /// Nothing: the cut came just before.
    Nothing,
    /// The first part of the bytes.
    Prefix,
    /// The last part of the bytes.
    Suffix,
    /// Any subset of the bits.
    Random,
    /// All bits but one.
    AllButOne,
    /// Everything; the cut came before the operation could answer.
    Complete,
    /// Nothing, and every bit is left unstable: the pulse was too short.
    Weak,
    /// No cut: the operation does nothing and answers `Ok`.
    NoOp,
    /// An erase that a real NOR part breaks off: it first programs every cell
    /// to 0 so that all erase evenly, then erases. The cut may strike in either
    /// half, so any cell of the range may hold anything, whatever it held
    /// before. Programs and counter steps are torn as by `Random`.
    Preprogram,
    /// No cut: the operation stops half way and answers `Ok`.
    Half,
}

impl FaultMode {
    /// Every tear that the contract of a part in order allows
    /// (`nrd_hal::Region`), and [`FaultMode::Preprogram`], which goes beyond it.
    pub const ALL: [FaultMode; 9] = [
        FaultMode::Nothing,
        FaultMode::Prefix,
        FaultMode::Suffix,
        FaultMode::Random,
        FaultMode::AllButOne,
        FaultMode::Complete,
        FaultMode::Weak,
        FaultMode::NoOp,
        FaultMode::Preprogram,
    ];

    /// A short name, as the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            FaultMode::Nothing => "nothing",
            FaultMode::Prefix => "prefix",
            FaultMode::Suffix => "suffix",
            FaultMode::Random => "random",
            FaultMode::AllButOne => "all-but-one",
            FaultMode::Complete => "complete",
            FaultMode::Weak => "weak",
            FaultMode::NoOp => "no-op",
            FaultMode::Preprogram => "preprogram",
            FaultMode::Half => "half",
        }
    }

    /// True when the power stays on and the operation answers `Ok`.
    pub fn is_silent(self) -> bool {
        match self {
            FaultMode::NoOp | FaultMode::Half => true,
            FaultMode::Nothing
            | FaultMode::Prefix
            | FaultMode::Suffix
            | FaultMode::Random
            | FaultMode::AllButOne
            | FaultMode::Complete
            | FaultMode::Weak
            | FaultMode::Preprogram => false,
        }
    }
}

/// One planned fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlannedFault {
    /// Index of the operation it strikes, counted from the chip's first.
    pub at: u64,
    /// What happens to it.
    pub tear: FaultMode,
    /// Some of the bits that were not completed are left unstable.
    pub unstable: bool,
}

/// What kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// A program of `len` bytes.
    Program,
    /// An erase of `len` bytes.
    Erase,
    /// A counter step.
    Count,
}

/// One operation that changed, or was to change, the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Op {
    /// What.
    pub kind: OpKind,
    /// Where on the chip.
    pub at: u32,
    /// How many bytes.
    pub len: u32,
}

/// The cells of one operation, and which of their bits read differently at
/// every read.
pub(super) struct Cells<'a> {
    pub(super) cells: &'a mut [u8],
    pub(super) unstable: &'a mut [u8],
}

/// Leaves `now` on its way to `target`, as `fault` says.
pub(super) fn tear(
    now: Cells<'_>,
    target: &[u8],
    kind: OpKind,
    fault: PlannedFault,
    draws: &mut SplitMix,
) {
    let kind_of_tear = match (fault.tear, kind) {
        (FaultMode::NoOp, _) => return,
        (FaultMode::Preprogram, OpKind::Erase) => return preprogram(now, fault.unstable, draws),
        (FaultMode::Preprogram | FaultMode::Half, _) => FaultMode::Random,
        (tear, _) => tear,
    };
    let Cells { cells, unstable } = now;
    let changing: Vec<usize> = (0..target.len() * 8)
        .filter(|b| (cells[b / 8] ^ target[b / 8]) >> (b % 8) & 1 == 1)
        .collect();
    let split = draws.below(target.len() as u64 + 1) as usize;
    let spared = changing
        .get(draws.below(changing.len() as u64) as usize)
        .copied();
    for &b in &changing {
        let done = match kind_of_tear {
            FaultMode::Prefix => b / 8 < split,
            FaultMode::Suffix => b / 8 >= split,
            FaultMode::Random => draws.draw() & 1 == 1,
            FaultMode::AllButOne => Some(b) != spared,
            FaultMode::Complete => true,
            FaultMode::Nothing | FaultMode::Weak => false,
            // Done above, or torn as another mode.
            FaultMode::NoOp | FaultMode::Preprogram | FaultMode::Half => false,
        };
        if done {
            cells[b / 8] ^= 1 << (b % 8);
        }
        // The one spared bit alone is the nastiest: what was written reads
        // well at every other read.
        let shaky = match kind_of_tear {
            FaultMode::Nothing | FaultMode::Complete => false,
            FaultMode::Weak => true,
            FaultMode::AllButOne => fault.unstable && !done,
            FaultMode::Prefix
            | FaultMode::Suffix
            | FaultMode::Random
            | FaultMode::NoOp
            | FaultMode::Preprogram
            | FaultMode::Half => fault.unstable && draws.draw() & 1 == 1,
        };
        if shaky {
            unstable[b / 8] |= 1 << (b % 8);
        }
    }
}

/// An erase that is broken off while all cells are being programmed to 0, byte
/// after byte, or while all of them are being erased.
fn preprogram(now: Cells<'_>, shaky: bool, draws: &mut SplitMix) {
    let Cells { cells, unstable } = now;
    let erasing = draws.draw() & 1 == 1;
    let reached = draws.below(cells.len() as u64 + 1) as usize;
    for (n, (c, u)) in cells.iter_mut().zip(unstable.iter_mut()).enumerate() {
        let random = draws.draw();
        let (a, b) = (random as u8, (random >> 8) as u8);
        // The bits that were on their way, and how far they got.
        let (moving, new) = match erasing {
            true => (0xFF, a),
            false if n < reached => (0, 0),
            false if n == reached => (*c, *c & a),
            false => continue,
        };
        *c = new;
        // What was completed is stable, and a completed program or erase of a
        // cell that an earlier cut left unstable settles it.
        *u = if shaky { moving & b } else { 0 };
    }
}

/// Typical page program time in nanoseconds, for 256 bytes.
const PAGE_NS: u64 = 400_000;
/// Typical erase time of 4 KiB in nanoseconds.
const SECTOR_NS: u64 = 45_000_000;
/// Typical erase time of 64 KiB in nanoseconds.
const BLOCK_NS: u64 = 150_000_000;
/// A counter step, in nanoseconds: modelled as one page program, since parts
/// keep such counters in flash of their own.
const COUNT_NS: u64 = PAGE_NS;
/// Modelled time of an operation in nanoseconds, typical figures.
pub fn modelled_ns(op: &Op) -> u64 {
    match (op.kind, op.len) {
        (OpKind::Program, len) => u64::from(len.div_ceil(256)) * PAGE_NS,
        (OpKind::Erase, len @ 0x1_0000..) => u64::from(len / 0x1_0000) * BLOCK_NS,
        (OpKind::Erase, len) => u64::from(len.div_ceil(4096)) * SECTOR_NS,
        (OpKind::Count, _) => COUNT_NS,
    }
}

#[cfg(test)]
mod tests {
    use super::FaultMode;

    /// The mode declared after `mode`. A new mode does not compile until it has
    /// its place here, and the test then asks for it in [`FaultMode::ALL`].
    fn next(mode: FaultMode) -> Option<FaultMode> {
        Some(match mode {
            FaultMode::Nothing => FaultMode::Prefix,
            FaultMode::Prefix => FaultMode::Suffix,
            FaultMode::Suffix => FaultMode::Random,
            FaultMode::Random => FaultMode::AllButOne,
            FaultMode::AllButOne => FaultMode::Complete,
            FaultMode::Complete => FaultMode::Weak,
            FaultMode::Weak => FaultMode::NoOp,
            FaultMode::NoOp => FaultMode::Preprogram,
            FaultMode::Preprogram => FaultMode::Half,
            FaultMode::Half => return None,
        })
    }

    #[test]
    fn every_way_that_a_cut_tears_is_tried_by_the_explorer() {
        let mut all = vec![FaultMode::Nothing];
        while let Some(mode) = next(all[all.len() - 1]) {
            all.push(mode);
        }
        // No cut: a part that does half of an erase and reports success.
        all.retain(|m| *m != FaultMode::Half);
        assert_eq!(all, FaultMode::ALL);
    }
}
