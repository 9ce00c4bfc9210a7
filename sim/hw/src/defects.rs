//! What is wrong with a part for good: worn sectors, cells that hold one value
//! whatever is done, errors that its ECC cannot mend, a counter that has had
//! its day.

use nrd_hal::ErrorKind;
use std::collections::BTreeMap;
use std::ops::Range;

/// How the erase of a worn range goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Worn {
    /// It does nothing and answers `Ok`.
    Silent,
    /// It erases a part of the bits, another one each time, and answers `Ok`.
    Half,
    /// It does nothing and says so.
    Fails,
}

/// A range that has worn out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WornRange {
    range: Range<u32>,
    how: Worn,
    /// Nor does it take programs any more, without a word.
    takes_programs: bool,
    /// From this operation of the chip on.
    since: u64,
}

/// The defects of one part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Defects {
    /// Bits stuck at 0 and bits stuck at 1, by byte.
    stuck: BTreeMap<u32, (u8, u8)>,
    worn: Vec<WornRange>,
    /// Ranges whose reads end in an ECC error until they are erased.
    spoilt: Vec<Range<u32>>,
    /// The last value that the counter takes.
    pub(super) counter_end: Option<u64>,
    /// So many reads of the counter get no answer; for ever if `u64::MAX`.
    mute_reads: u64,
    /// So many steps of the counter get no answer and are not done.
    mute_steps: u64,
    /// From this operation on, the whole part does not answer so many calls.
    silence: Option<(u64, u64)>,
}

impl Defects {
    /// Wears out `range`: from operation `since` on its erases go wrong as `how`
    /// says, and programs too unless `takes_programs`.
    pub fn wear_out(&mut self, range: Range<u32>, how: Worn, takes_programs: bool, since: u64) {
        self.worn.push(WornRange {
            range,
            how,
            takes_programs,
            since,
        });
    }

    /// Makes reads that touch `range` end in an ECC error until it is erased.
    pub fn spoil(&mut self, range: Range<u32>) {
        self.spoilt.push(range);
    }

    /// Lets the counter not answer the next `reads` reads and `steps` steps;
    /// `u64::MAX` for ever.
    pub fn silence_counter(&mut self, reads: u64, steps: u64) {
        self.mute_reads = reads;
        self.mute_steps = steps;
    }

    /// From operation `since` on, the part answers none of the next `calls` calls,
    /// reads included, and does nothing.
    pub fn silence(&mut self, since: u64, calls: u64) {
        self.silence = Some((since, calls));
    }

    /// Mends what [`Defects::wear_out`] and [`Defects::silence`] did.
    pub fn mend(&mut self) {
        self.worn.clear();
        self.silence = None;
    }

    pub(super) fn is_silent(&mut self, now: u64) -> bool {
        match &mut self.silence {
            Some((since, calls)) if now >= *since => spend(calls),
            Some(_) | None => false,
        }
    }

    /// Mends the counter.
    pub fn mend_counter(&mut self) {
        self.silence_counter(0, 0);
    }

    pub(super) fn stick(&mut self, at: u32, mask: u8, high: bool) {
        let (zeros, ones) = self.stuck.entry(at).or_default();
        if high {
            *ones |= mask & !*zeros
        } else {
            *zeros |= mask & !*ones
        }
    }

    /// Puts stuck bits of `range` back to what they hold.
    pub(super) fn force(&self, cells: &mut [u8], unstable: &mut [u8], range: Range<usize>) {
        if self.stuck.is_empty() {
            return;
        }
        for (&at, &(zeros, ones)) in self.stuck.range(range.start as u32..range.end as u32) {
            let at = at as usize;
            cells[at] = cells[at] & !zeros | ones;
            unstable[at] &= !(zeros | ones);
        }
    }

    pub(super) fn readable(&self, at: u32, len: usize) -> Result<(), ErrorKind> {
        let end = at + len as u32;
        if self.spoilt.iter().any(|r| r.start < end && at < r.end) {
            Err(ErrorKind::Ecc)
        } else {
            Ok(())
        }
    }

    pub(super) fn takes_programs(&self, at: u32, len: usize, now: u64) -> bool {
        let end = at + len as u32;
        !self
            .worn
            .iter()
            .any(|w| !w.takes_programs && w.range.start < end && at < w.range.end && now >= w.since)
    }

    pub(super) fn erases(&self, from: u32, to: u32, now: u64) -> Option<Worn> {
        let hit = |w: &&WornRange| w.range.start < to && from < w.range.end && now >= w.since;
        self.worn.iter().find(hit).map(|w| w.how)
    }

    /// A completed erase mends what only its charge had made unreadable.
    pub(super) fn erased(&mut self, from: u32, to: u32) {
        self.spoilt.retain(|r| r.end <= from || to <= r.start);
    }

    pub(super) fn counter_mute(&mut self) -> bool {
        spend(&mut self.mute_reads)
    }

    /// Whether the counter takes another step from `now`.
    pub(super) fn counter_steps(&mut self, now: u64) -> Result<(), ErrorKind> {
        if self.counter_end.is_some_and(|end| now >= end) {
            return Err(ErrorKind::WornOut);
        }
        if spend(&mut self.mute_steps) {
            Err(ErrorKind::Unavailable)
        } else {
            Ok(())
        }
    }
}

/// Takes one of a supply, which is endless if it is `u64::MAX`.
fn spend(left: &mut u64) -> bool {
    let any = *left > 0;
    if any && *left != u64::MAX {
        *left -= 1;
    }
    any
}
