//! The run loop: what a host does next, and when, after faults as well.
//!
//! ```text
//!          ┌────────────── Agent::poll ◀─────────────┐
//!          │ Again                                   │
//!          ├──────────────▶ nothing ─────────────────┤
//!          │ Post(n)                                 │
//!          ├──────────────▶ handle_reply, or ────────┤
//!          │                exchange_failed          │
//!          │ WaitUntil(t)                            │
//!          ├──────────────▶ sleep, take a call ──────┘
//!          │ Reset
//!          └──────────────▶ restart the platform
//! ```
//!
//! The retry policy is here and nowhere else, so that a host has no error
//! budget of its own. Two things can fail, and neither holds up the other:
//!
//! - **The agent's own work** ([`Agent::step`]: flash, counter, keys). It is
//!   tried again at once [`RETRIES_AT_ONCE`] times, then after pauses that
//!   double from [`FIRST_PAUSE_MS`] to [`LONGEST_PAUSE_MS`].
//! - **The conversation** ([`Agent::poll_request`], the network,
//!   [`Agent::handle_reply`]). It backs off with full jitter, see
//!   `exchange.rs`.

use super::{Agent, BootPhase, Step};
use crate::error::Error;
use crate::lease::LeaseStatus;
use nrd_hal::{Clock as _, Platform};

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

/// What a host does next, as [`Agent::poll`] says.
///
/// ```
/// use nrd_agent::Next;
/// use nrd_agent::wire::MAX_FRAME;
/// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
/// # let mut service = StubService::new(1);
/// # let device = TestPlatform::builder().build(&service);
/// # let mut memory = TestMemory::default();
/// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// # service.serve(&mut agent).unwrap();
/// # agent.start_activation().unwrap();
/// # service.serve(&mut agent).unwrap();
///
/// // The network is down: the agent says when it tries again.
/// # device.clock.advance_s(3600);
/// let mut request = [0; MAX_FRAME];
/// let mut next = agent.poll(&mut request);
/// while next == Next::Again {
///     next = agent.poll(&mut request);
/// }
/// assert!(matches!(next, Next::Post(_)));
/// agent.exchange_failed();
/// assert!(matches!(agent.poll(&mut request), Next::WaitUntil(Some(_))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the agent goes on only when the host does what it says"]
pub enum Next {
    /// One piece of work was done, or failed, and there may be more: call
    /// [`Agent::poll`] again now. Between two calls a host may draw its screen,
    /// feed its watchdog and take keys.
    Again,
    /// Post the first so many bytes of the request buffer to the service. Then
    /// call [`Agent::handle_reply`] with the reply's body, or
    /// [`Agent::exchange_failed`] when none came.
    ///
    /// A host that posts in the background may call [`Agent::poll`] meanwhile:
    /// a second request is not asked for before the first has ended. If one is
    /// asked for all the same, the agent has given the first one up (a wipe
    /// began): drop its reply.
    Post(usize),
    /// Nothing to do until the platform's uptime has reached this, in
    /// milliseconds; `None` for as long as nobody calls. Any call may bring new
    /// work: call [`Agent::poll`] after it. Calling too early does no harm.
    WaitUntil(Option<u64>),
    /// A wipe has ended: restart the platform now if you can, so that copies of
    /// keys in the memory of libraries go as well. A host that cannot calls
    /// [`Agent::poll`] again.
    Reset,
}

/// What failed, and when it is tried again; RAM only.
#[derive(Default)]
pub(super) struct Retry {
    /// The last failure of the agent's own work, until a piece of it is done.
    work: Option<Error>,
    /// The last failure of the conversation, until a reply is taken.
    talk: Option<Error>,
    /// Failures of the agent's own work, see [`WEIGHT`].
    weight: u8,
    /// Uptime before which failed work is not tried again, in milliseconds.
    at_ms: u64,
}

impl Retry {
    /// What failed last and has not succeeded since.
    pub(super) fn fault(&self) -> Option<Error> {
        self.work.or(self.talk)
    }

    /// The conversation failed, or went on.
    pub(super) fn talked(&mut self, done: Result<(), Error>) {
        self.talk = done.err();
    }

    /// A piece of work was done.
    fn progressed(&mut self) {
        self.work = None;
        self.at_ms = 0;
        self.weight = self.weight.saturating_sub(1);
    }

    /// Nothing is left to do: what failed was done after all.
    fn rested(&mut self) {
        self.work = None;
        self.at_ms = 0;
        self.weight = 0;
    }

    /// A piece of work failed at `now_ms`; true when it may be tried at once.
    fn failed(&mut self, e: Error, now_ms: u64) -> bool {
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

    /// When failed work is tried again; `None` for now. An uptime that fell
    /// back does not make a pause longer than the longest.
    fn waits_until(&self, now_ms: u64) -> Option<u64> {
        let left = self.at_ms.saturating_sub(now_ms);
        (1..=u64::from(LONGEST_PAUSE_MS))
            .contains(&left)
            .then_some(self.at_ms)
    }
}

impl<P: Platform> Agent<'_, P> {
    /// The run loop of every host: does at most one bounded piece of work (as
    /// [`Agent::step`]), or else writes the next request into `request`
    /// ([`crate::wire::MAX_FRAME`] bytes are always enough), and says what the
    /// host does next.
    ///
    /// It does not fail. What fails is tried again: at once a few times, then
    /// with pauses, until it succeeds. [`super::Status::fault`] says what it is,
    /// for a screen or a log.
    ///
    /// ```
    /// # use nrd_agent::{Agent, Next, wire::MAX_FRAME};
    /// # fn run<P: nrd_hal::Platform>(
    /// #     agent: &mut Agent<'_, P>,
    /// #     post: impl Fn(&[u8]) -> Option<Vec<u8>>,
    /// #     sleep_until: impl Fn(Option<u64>),
    /// # ) {
    /// let mut request = [0; MAX_FRAME];
    /// loop {
    ///     match agent.poll(&mut request) {
    ///         Next::Again => {}
    ///         Next::Post(n) => match post(&request[..n]) {
    ///             // A reply that is refused is a fault like any other: the
    ///             // agent backs off, and `status` says what it was.
    ///             Some(reply) => drop(agent.handle_reply(&reply)),
    ///             None => agent.exchange_failed(),
    ///         },
    ///         Next::WaitUntil(uptime_ms) => sleep_until(uptime_ms),
    ///         Next::Reset => return,
    ///     }
    /// }
    /// # }
    /// ```
    pub fn poll(&mut self, request: &mut [u8]) -> Next {
        if let Some(next) = self.work_due() {
            return next;
        }
        // A request that cannot be made has backed off.
        if !self.exchange.is_in_flight()
            && let Ok(Some(n)) = self.poll_request(request)
        {
            return Next::Post(n);
        }
        Next::WaitUntil(self.wakes_at())
    }

    /// [`Agent::poll`] without the conversation: never [`Next::Post`]. For a
    /// host that brings the device to rest before it talks, such as a test
    /// bench. While failed work pauses, the wait is that pause, whatever else is
    /// due; otherwise a request that is due shows as a wait that is over already.
    pub fn poll_work(&mut self) -> Next {
        if let Some(next) = self.work_due() {
            return next;
        }
        let now_ms = self.uptime_ms();
        let pause = self.retry.waits_until(now_ms);
        Next::WaitUntil(pause.or_else(|| self.wakes_at()))
    }

    /// What failed last of the agent's own work and has not succeeded since;
    /// [`super::Status::fault`] shows the conversation's faults as well.
    pub fn work_fault(&self) -> Option<Error> {
        self.retry.work
    }

    /// One piece of work, unless there is none or failed work pauses.
    fn work_due(&mut self) -> Option<Next> {
        let now_ms = self.uptime_ms();
        if self.retry.waits_until(now_ms).is_some() {
            return None;
        }
        match self.step() {
            Ok(Step::Working) => {
                self.retry.progressed();
                Some(Next::Again)
            }
            Ok(Step::ResetAdvised) => {
                self.retry.rested();
                Some(Next::Reset)
            }
            Ok(Step::Idle) => {
                self.retry.rested();
                None
            }
            Err(e) if self.retry.failed(e, now_ms) => Some(Next::Again),
            // The conversation goes on meanwhile.
            Err(_) => None,
        }
    }

    /// When there is something to do without a call, in milliseconds of uptime.
    fn wakes_at(&mut self) -> Option<u64> {
        let now_ms = self.uptime_ms();
        let retry = self.retry.waits_until(now_ms);
        let talk = if self.exchange.is_in_flight() {
            None
        } else {
            self.next_due_ms().map(|ms| now_ms.saturating_add(ms))
        };
        // Failed work is tried again after its pause, whatever it is.
        let time = match retry {
            Some(_) => None,
            None => self.time_passes_at(),
        };
        [retry, talk, time].into_iter().flatten().min()
    }

    /// When time alone changes something: powered time is charged, the lease
    /// ends, the dead-man comes. In milliseconds of uptime.
    fn time_passes_at(&mut self) -> Option<u64> {
        if self.boot != BootPhase::Ready || self.lost || self.tombstone.is_some() {
            return None;
        }
        let powered_s = self.powered_s();
        let changes_in_s = match self.lease_status() {
            Some(LeaseStatus::Open { left_s, .. }) => Some(left_s),
            Some(LeaseStatus::Expired { dead_man_in_s }) => dead_man_in_s,
            Some(LeaseStatus::DeadMan) => Some(0),
            None => None,
        };
        let changes_s = changes_in_s.map_or(u32::MAX, |s| powered_s.saturating_add(s));
        let next_s = changes_s.min(self.snapshot.charged_s);
        // Powered seconds are uptime, and what earlier boots were charged.
        let uptime_s = next_s.saturating_sub(self.base_s);
        Some(u64::from(uptime_s).saturating_mul(1000))
    }

    pub(super) fn uptime_ms(&mut self) -> u64 {
        self.platform.parts().clock.uptime_ms()
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
    fn failed_work_is_tried_again_at_once_and_then_ever_more_seldom() {
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
    fn an_uptime_that_falls_back_does_not_stretch_a_pause() {
        let mut retry = Retry::default();
        pauses(&mut retry, 9);
        assert_eq!(retry.waits_until(1000), Some(1250));
        assert_eq!(retry.waits_until(1250), None);
        retry.at_ms = 1 << 32;
        assert_eq!(retry.waits_until(5), None);
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
