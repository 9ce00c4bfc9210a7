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

use super::{Agent, Step};
pub use crate::core::retry::{FIRST_PAUSE_MS, LONGEST_PAUSE_MS, RETRIES_AT_ONCE};
use crate::core::time::sooner;
use crate::error::Error;
use nrd_hal::Platform;

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
        if !self.core.talk.is_in_flight()
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
        let pause = self.core.retry.waits_until(self.core.now_ms());
        let pause = pause.map(|ms| self.core.uptime_at(ms));
        Next::WaitUntil(pause.or_else(|| self.wakes_at()))
    }

    /// What failed last of the agent's own work and has not succeeded since;
    /// [`super::Status::fault`] shows the conversation's faults as well.
    pub fn work_fault(&self) -> Option<Error> {
        self.core.retry.work
    }

    /// One piece of work, unless there is none or failed work pauses.
    fn work_due(&mut self) -> Option<Next> {
        self.tick();
        let now_ms = self.core.now_ms();
        if self.core.retry.waits_until(now_ms).is_some() {
            return None;
        }
        match self.step() {
            Ok(Step::Working) => {
                // Found: the pieces of a mount that failed at its end, again and
                // again, counted as progress, and the boot never paused.
                if !self.core.is_repeating() {
                    self.core.retry.progressed();
                }
                Some(Next::Again)
            }
            Ok(Step::ResetAdvised) => {
                self.core.retry.rested();
                Some(Next::Reset)
            }
            Ok(Step::Idle) => {
                self.core.retry.rested();
                None
            }
            Err(e) => {
                if self.core.retry.tries_all_sectors(e, now_ms) {
                    self.start_logs_over();
                }
                let at_once = self.core.retry.failed(e, now_ms);
                // The conversation goes on meanwhile.
                at_once.then_some(Next::Again)
            }
        }
    }

    /// A log that has retired sectors tries them again: what failed may answer.
    pub(super) fn start_logs_over(&mut self) {
        self.journal.start_over();
        self.vault.start_over();
    }

    /// When there is something to do without a call, in milliseconds of uptime.
    fn wakes_at(&mut self) -> Option<u64> {
        let now_ms = self.core.now_ms();
        let retry = self.core.retry.waits_until(now_ms);
        let talk = if self.core.talk.is_in_flight() {
            None
        } else {
            self.core.next_ask().map(|(_, at)| at.max(now_ms))
        };
        // Failed work is tried again after its pause, whatever it is.
        let time = match retry {
            Some(_) => None,
            None => self.core.wakes_at_ms(),
        };
        let moment = sooner(sooner(retry, talk), time)?;
        Some(self.core.uptime_at(moment))
    }
}
