//! What is said next to the service, and when. Nothing that the service refuses,
//! and nothing that is owed to a former owner, stands in the way of the rest.

use super::time::{after_s, sooner};
use super::{Core, Job, Mode};
use crate::lease::LeaseStatus;
use crate::state::{PersistedState, State};
use crate::wire::OrderOutcome;
use heapless::String;

/// First back-off after a failed exchange, in milliseconds; it doubles.
const BACK_OFF_MS: u32 = 2_000;
/// Failures that double it; more make it no longer.
const DOUBLINGS: u8 = 10;
/// Longest back-off, in milliseconds.
const BACK_OFF_MAX_MS: u32 = 15 * 60 * 1000;
/// How long an exchange may take beyond what it waits for an order, in
/// seconds. One that takes longer has failed.
///
/// Found: a peer that sent a byte every three seconds held one exchange for
/// ever.
const EXCHANGE_S: u32 = 60;
/// How long a report that the service refused waits while others are due, in
/// seconds.
const PUT_OFF_S: u32 = 15 * 60;

/// What a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Introduces the device.
    Hello,
    /// Delivers a receipt.
    Receipt,
    /// Answers an order.
    Outcome,
    /// Reports a sign-out.
    SignedOut,
    /// Asks for a code.
    Start,
    /// Asks whether the code was typed.
    Poll,
    /// Checks in.
    CheckIn {
        /// Asks for a lease.
        renew: bool,
    },
}

/// A request that was made, and neither answered nor given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct InFlight {
    /// What it says.
    pub sent: Sent,
    /// Its nonce.
    pub nonce: [u8; 16],
    /// When it counts as failed, in milliseconds of this boot.
    ends_ms: u64,
}

/// A code on the screen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Code {
    text: String<12>,
    pictogram: u8,
    ends_ms: u64,
}

/// Why the next exchange waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Wait {
    /// The service asked for it, or nothing is wrong.
    #[default]
    Asked,
    /// The last exchange failed.
    BackOff,
}

/// The state of the conversation; RAM only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Talk {
    /// Milliseconds of this boot, as of the last event.
    now_ms: u64,
    /// A check-in was answered in this boot.
    checked_in: bool,
    /// Anything was answered in this boot.
    answered: bool,
    /// A request over a challenge of this boot was answered.
    heard: bool,
    failures: u8,
    /// The one retry without a pause was used.
    retried: bool,
    wait: Wait,
    /// The last wait may be shortened at random, up to this many milliseconds.
    jitter_ms: Option<u32>,
    /// But not to before this moment: the service asked for it.
    asked_ms: u64,
    due_ms: u64,
    in_flight: Option<InFlight>,
    challenge: Option<[u8; 32]>,
    /// A code was given for this attempt.
    started: bool,
    code: Option<Code>,
    /// The outcome of an order, not yet delivered; signed when it is sent.
    outcome: Option<OrderOutcome>,
    /// Until when receipts, outcomes and sign-outs wait, for the service refused
    /// them; in milliseconds of this boot.
    receipts_wait_ms: u64,
    outcome_waits_ms: u64,
    sign_out_waits_ms: u64,
    /// The last of them to be put off was lost on its way, not refused.
    lost: bool,
}

impl Talk {
    /// The code to show, and its pictogram.
    pub(crate) fn code(&self) -> Option<(String<12>, u8)> {
        self.code.as_ref().map(|c| (c.text.clone(), c.pictogram))
    }

    /// Failures in a row, as far as they count.
    pub(crate) fn failures(&self) -> u8 {
        self.failures
    }

    /// The challenge to sign over.
    pub(crate) fn challenge(&self) -> Option<[u8; 32]> {
        self.challenge
    }

    /// The outcome to deliver.
    pub(crate) fn outcome(&self) -> Option<&OrderOutcome> {
        self.outcome.as_ref()
    }

    /// A check-in was answered in this boot.
    pub(crate) fn has_checked_in(&self) -> bool {
        self.checked_in
    }

    /// The back-off goes on where earlier boots without an answer left it.
    pub(super) fn go_on_backing_off(&mut self, unanswered: u8) {
        self.failures = unanswered.min(DOUBLINGS);
    }

    pub(crate) fn was_answered(&self) -> bool {
        self.answered
    }

    /// A request was made, and neither answered nor given up.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The request in flight has ended, one way or the other.
    pub(crate) fn take_in_flight(&mut self) -> Option<InFlight> {
        self.in_flight.take()
    }

    /// A request was made.
    pub(crate) fn sent(&mut self, sent: Sent, nonce: [u8; 16], wait_s: u16) {
        self.in_flight = Some(InFlight {
            sent,
            nonce,
            ends_ms: after_s(self.now_ms, EXCHANGE_S + u32::from(wait_s)),
        });
    }

    /// The last reply, and all that it brought, is stored: the back-off begins
    /// anew.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
        self.retried = false;
        self.jitter_ms = None;
        self.wait = Wait::Asked;
    }

    /// A reply was taken.
    pub(super) fn answered(&mut self, challenge: &[u8; 32]) {
        self.heard |= self.challenge.is_some();
        self.answered = true;
        self.challenge = Some(*challenge);
        self.due_ms = 0;
        self.jitter_ms = None;
        self.wait = Wait::Asked;
    }

    /// Something changed: talk at once.
    pub(super) fn restart(&mut self) {
        self.due_ms = 0;
        self.jitter_ms = None;
        self.started = false;
        self.code = None;
        self.checked_in = false;
    }

    /// The activation is gone; the receipt is next.
    pub(super) fn forget(&mut self) {
        self.restart();
        self.in_flight = None;
        self.receipts_wait_ms = 0;
        self.progressed();
    }

    /// The service does not know the device: it introduces itself again.
    pub(crate) fn introduce_again(&mut self) {
        self.challenge = None;
    }

    /// A code came.
    pub(crate) fn show(&mut self, text: String<12>, pictogram: u8, expires_in_s: u32) {
        self.started = true;
        self.code = Some(Code {
            text,
            pictogram,
            ends_ms: after_s(self.now_ms, expires_in_s),
        });
    }

    /// An order was judged: its outcome is the next thing to say.
    pub(crate) fn answer_with(&mut self, outcome: OrderOutcome) {
        self.outcome = Some(outcome);
        self.outcome_waits_ms = 0;
        self.due_ms = 0;
    }

    /// The outcome was delivered.
    pub(crate) fn outcome_noted(&mut self) {
        self.outcome = None;
    }

    /// A check-in was answered; true for the first of this boot.
    pub(crate) fn check_in_answered(&mut self) -> bool {
        !core::mem::replace(&mut self.checked_in, true)
    }

    /// The service asks to wait.
    pub(crate) fn wait_s(&mut self, s: u32) {
        self.wait = Wait::Asked;
        self.jitter_ms = None;
        self.due_ms = after_s(self.now_ms, s);
    }

    /// An exchange ended without progress: full jitter over a window that
    /// doubles.
    pub(crate) fn failed(&mut self) {
        self.wait_up_to(BACK_OFF_MS);
        self.failures = self.failures.saturating_add(1).min(DOUBLINGS);
        self.wait = Wait::BackOff;
    }

    /// The service refused what was said.
    pub(crate) fn refused(&mut self, sent: Sent, retry_after_s: u32) {
        self.put_off(sent);
        self.lost = false;
        self.failed();
        self.asked_ms = after_s(self.now_ms, retry_after_s);
        self.due_ms = self.due_ms.max(self.asked_ms);
        self.wait = Wait::Asked;
    }

    /// One retry without a pause; then the back-off.
    ///
    /// Found: two databases behind one name answered `StaleChallenge` in turn, and
    /// one device made 162 TLS connections a second.
    pub(crate) fn retry_once(&mut self) {
        if core::mem::replace(&mut self.retried, true) {
            self.failed();
        }
    }

    /// What the service does not take waits its turn, and the rest goes on.
    ///
    /// Found: a service that refused a receipt got 1,439 of them in a day, and not
    /// one request to activate.
    pub(crate) fn put_off(&mut self, sent: Sent) {
        let until = after_s(self.now_ms, PUT_OFF_S);
        self.lost = true;
        match sent {
            Sent::Receipt => self.receipts_wait_ms = until,
            Sent::Outcome => self.outcome_waits_ms = until,
            Sent::SignedOut => self.sign_out_waits_ms = until,
            Sent::Hello | Sent::Start | Sent::Poll | Sent::CheckIn { .. } => {}
        }
    }

    /// When that which was put off until `at_ms` may be said, with nothing else to
    /// say: a refusal stands that long, an exchange that was lost on its way waits
    /// for the back-off alone.
    ///
    /// Found: the last receipt of a wipe, lost in a service that was killed, came
    /// 15 minutes after the service was back.
    fn alone_ms(&self, at_ms: u64) -> u64 {
        if self.lost {
            self.due_ms
        } else {
            self.due_ms.max(at_ms)
        }
    }

    /// Full jitter over a window of `ms`, doubled for each failure; the whole window
    /// until the driver has drawn, and when the generator does not answer: no jitter
    /// must not mean no pause.
    fn wait_up_to(&mut self, ms: u32) {
        let window = ms.saturating_mul(1 << self.failures).min(BACK_OFF_MAX_MS);
        self.asked_ms = 0;
        self.due_ms = self.now_ms.saturating_add(window.into());
        self.jitter_ms = Some(window);
    }

    /// The window to draw in, once.
    pub(crate) fn take_jitter(&mut self) -> Option<u32> {
        self.jitter_ms.take()
    }

    /// Shortens the last wait to a part of its window, drawn at random.
    pub(crate) fn draw(&mut self, window: u32, draw: u32) {
        let spared = window - draw % window.max(1);
        let due_ms = self.due_ms.saturating_sub(spared.into());
        self.due_ms = due_ms.max(self.asked_ms);
    }

    /// The network is there again: a wait after a failure is over. One that the
    /// service asked for is not.
    pub(crate) fn network_up(&mut self) {
        if self.wait == Wait::BackOff {
            self.hurry();
        }
    }

    /// Somebody asks to try again now.
    pub(crate) fn hurry(&mut self) {
        self.due_ms = 0;
        self.jitter_ms = None;
        self.receipts_wait_ms = 0;
        self.outcome_waits_ms = 0;
        self.sign_out_waits_ms = 0;
    }

    /// Takes notice of the time, at every event.
    pub(super) fn observe(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    pub(super) fn time_passed(&mut self) {
        if self.code.as_ref().is_some_and(|c| self.now_ms >= c.ends_ms) {
            self.code = None;
        }
        if let Some(late) = self.in_flight.filter(|f| self.now_ms >= f.ends_ms) {
            self.in_flight = None;
            self.put_off(late.sent);
            self.failed();
        }
    }

    /// The moment at which time alone changes something here.
    pub(super) fn changes_at_ms(&self) -> Option<u64> {
        let code = self.code.as_ref().map(|c| c.ends_ms);
        let late = self.in_flight.map(|f| f.ends_ms);
        sooner(code, late)
    }

    /// The window over which the first exchange of a boot is spread.
    pub(crate) fn spread(&mut self, window_s: u32) {
        self.wait_up_to(window_s.saturating_mul(1000));
    }
}

impl Core {
    /// What to say next, and from which moment of this boot on, in milliseconds;
    /// `None` when there is nothing to say.
    pub fn next_ask(&self) -> Option<(Sent, u64)> {
        let talk = &self.talk;
        let now_ms = self.time.now_ms();
        let due = |sent| Some((sent, talk.due_ms));
        let outcome = talk.outcome.is_some();
        match &self.mode {
            Mode::Boot(_) => return None,
            // The order that this wipe carries out may be answered meanwhile.
            Mode::Wipe(_) => {
                let says = outcome && talk.challenge.is_some();
                let at = talk.alone_ms(talk.outcome_waits_ms);
                return says.then_some((Sent::Outcome, at));
            }
            // The service hears what was lost; it believes a request that is
            // signed over its challenge, so the device introduces itself twice.
            Mode::Lost => return if talk.heard { None } else { due(Sent::Hello) },
            Mode::Live(Job::Idle) => {}
            Mode::Live(_) => return None,
        }
        let owed = [
            (
                self.oldest_receipt().is_some(),
                Sent::Receipt,
                talk.receipts_wait_ms,
            ),
            (outcome, Sent::Outcome, talk.outcome_waits_ms),
            (
                self.owes_sign_out(),
                Sent::SignedOut,
                talk.sign_out_waits_ms,
            ),
        ];
        let mut ready = None;
        // What was put off, and until when: said when nothing else is left.
        let mut put_off: Option<(Sent, u64)> = None;
        for (is_owed, sent, at) in owed {
            if is_owed && at <= now_ms {
                ready = Some(sent);
                break;
            }
            if is_owed && put_off.is_none_or(|(_, first)| at < first) {
                put_off = Some((sent, at));
            }
        }
        let next = match (ready.or(self.ask_of_state()), put_off) {
            (Some(sent), _) => (sent, talk.due_ms),
            (None, Some((sent, at))) => (sent, talk.alone_ms(at)),
            (None, None) => return None,
        };
        if talk.challenge.is_none() {
            return due(Sent::Hello);
        }
        Some(next)
    }

    fn owes_sign_out(&self) -> bool {
        matches!(&self.held.state, PersistedState::SignedOut(s) if !s.service_notified)
    }

    /// What the state itself asks for.
    fn ask_of_state(&self) -> Option<Sent> {
        match &self.held.state {
            PersistedState::SignedOut(_) => Some(Sent::CheckIn { renew: false }),
            PersistedState::Activating(_) if !self.talk.started => Some(Sent::Start),
            PersistedState::Activating(_) => Some(Sent::Poll),
            PersistedState::Active(a) => {
                // A locked device asks for the lease that opens it again.
                let renew = a.lock.is_some()
                    || !matches!(
                        self.lease_status(),
                        Some(LeaseStatus::Open { renew: false, .. })
                    );
                Some(Sent::CheckIn { renew })
            }
            PersistedState::Clean | PersistedState::Failed | PersistedState::Filling => None,
        }
    }

    /// Whether the first exchange of this boot may be spread: nobody waits for it.
    pub(crate) fn may_spread(&self) -> bool {
        let waits = match self.state() {
            State::Active | State::SignedOut | State::Locked(_) => true,
            State::Booting
            | State::Clean
            | State::Activating
            | State::Wiping
            | State::WipeFailed
            | State::Filling => false,
        };
        waits && self.receipts == 0 && !self.talk.was_answered()
    }

    /// The moment at which time alone changes something, in milliseconds of this
    /// boot.
    pub(crate) fn wakes_at_ms(&self) -> Option<u64> {
        sooner(self.changes_at_ms(), self.talk.changes_at_ms())
    }
}
