//! When failed work is tried again.

use super::time::after_s;
use crate::error::Error;

/// How often failed work is tried again without a pause. A boot and a wipe
/// count on eight tries before they take a part that does not answer for
/// broken, and a transient fault must not slow them down.
pub const RETRIES_AT_ONCE: u8 = 8;
/// First pause before failed work is tried again, in milliseconds; it doubles.
pub const FIRST_PAUSE_MS: u32 = 250;
/// Longest pause before failed work is tried again, in milliseconds.
pub const LONGEST_PAUSE_MS: u32 = 60_000;

/// A failure weighs two, and a piece of work done takes one away: work that
/// fails and succeeds in turn for ever is slowed down as well, and one failure
/// in twenty is not.
const WEIGHT: u8 = 2;
/// The weight of failures up to which work is tried again at once.
const AT_ONCE: u8 = RETRIES_AT_ONCE * WEIGHT;
/// The most that failures weigh: enough for the longest pause.
const HEAVIEST: u8 = AT_ONCE + 16 * WEIGHT;

const _: () = assert!(FIRST_PAUSE_MS << 8 >= LONGEST_PAUSE_MS);

/// What failed, and when it is tried again; RAM only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Retry {
    /// The last failure of the agent's own work, until a piece of it is done.
    pub(crate) work: Option<Error>,
    /// The last failure of the conversation, until a reply is taken.
    talk: Option<Error>,
    /// Failures of the agent's own work, see [`WEIGHT`].
    weight: u8,
    /// Moment of this boot before which failed work is not tried again, in
    /// milliseconds.
    at_ms: u64,
    /// Moment of this boot from which a log without sectors starts over, once one
    /// was found to be without.
    sectors_ms: Option<u64>,
}

impl Retry {
    /// What failed last and has not succeeded since.
    pub(crate) fn fault(&self) -> Option<Error> {
        self.work.or(self.talk)
    }

    /// The conversation failed, or went on.
    pub(crate) fn talked(&mut self, done: Result<(), Error>) {
        self.talk = done.err();
    }

    /// A piece of work was done.
    pub(crate) fn progressed(&mut self) {
        self.work = None;
        self.at_ms = 0;
        self.weight = self.weight.saturating_sub(1);
    }

    /// Nothing is left to do: what failed was done after all.
    pub(crate) fn rested(&mut self) {
        self.work = None;
        self.at_ms = 0;
        self.weight = 0;
    }

    /// A piece of work failed at `now_ms`; true when it may be tried at once.
    pub(crate) fn failed(&mut self, e: Error, now_ms: u64) -> bool {
        self.work = Some(e);
        self.weight = self.weight.saturating_add(WEIGHT).min(HEAVIEST);
        let Some(beyond) = self.weight.checked_sub(AT_ONCE + 1) else {
            return true;
        };
        let doublings = u32::from(beyond / WEIGHT).min(8);
        let pause_ms = (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS);
        self.at_ms = now_ms.saturating_add(pause_ms.into());
        false
    }

    /// True when a log that found no sector to write to is to start over. Not more
    /// often than the longest pause, for it costs several erases of each sector.
    pub(crate) fn tries_all_sectors(&mut self, e: Error, now_ms: u64) -> bool {
        if e != Error::WornOut {
            return false;
        }
        let due = self.sectors_ms.is_some_and(|at| now_ms >= at);
        if due || self.sectors_ms.is_none() {
            self.sectors_ms = Some(after_s(now_ms, LONGEST_PAUSE_MS / 1000));
        }
        due
    }

    /// Somebody asks to try again now.
    pub(crate) fn hurry(&mut self) {
        self.at_ms = 0;
    }

    /// When failed work is tried again; `None` for now.
    pub(crate) fn waits_until(&self, now_ms: u64) -> Option<u64> {
        (self.at_ms > now_ms).then_some(self.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses after so many failures in a row; 0 for at once.
    fn pauses(retry: &mut Retry, failures: usize) -> std::vec::Vec<u64> {
        let pause = |_| {
            let at_once = retry.failed(Error::Hardware, 1000);
            if at_once { 0 } else { retry.at_ms - 1000 }
        };
        (0..failures).map(pause).collect()
    }

    #[test]
    pub(crate) fn failed_work_is_tried_again_at_once_and_then_ever_more_seldom() {
        let mut retry = Retry::default();
        let seen = pauses(&mut retry, 20);
        assert_eq!(seen[..8], [0; 8]);
        assert_eq!(seen[8..13], [250, 500, 1_000, 2_000, 4_000]);
        assert_eq!(seen[16..], [60_000; 4]);
        assert_eq!(pauses(&mut retry, 200)[199], 60_000);
    }

    #[test]
    fn work_that_fails_and_succeeds_in_turn_is_slowed_down_too() {
        let mut retry = Retry::default();
        let pause = |_| {
            let pause = pauses(&mut retry, 1)[0];
            retry.progressed();
            pause
        };
        let seen: std::vec::Vec<u64> = (0..100).map(pause).collect();
        assert_eq!(seen[0], 0);
        assert_eq!(seen[99], 60_000);
    }

    #[test]
    fn progress_clears_fault_and_pause_and_rest_clears_the_count() {
        let mut retry = Retry::default();
        pauses(&mut retry, 12);
        assert_eq!(retry.fault(), Some(Error::Hardware));
        assert_eq!(retry.waits_until(1000), Some(retry.at_ms));
        retry.progressed();
        assert_eq!((retry.fault(), retry.waits_until(1000)), (None, None));
        retry.rested();
        assert_eq!(pauses(&mut retry, 8), [0; 8]);
    }

    #[test]
    fn the_fault_of_the_agents_own_work_is_shown_before_the_conversations() {
        let mut retry = Retry::default();
        retry.talked(Err(Error::Signing));
        assert_eq!(retry.fault(), Some(Error::Signing));
        retry.failed(Error::Hardware, 0);
        assert_eq!(retry.fault(), Some(Error::Hardware));
        retry.progressed();
        assert_eq!(retry.fault(), Some(Error::Signing));
        retry.talked(Ok(()));
        assert_eq!(retry.fault(), None);
    }
}
