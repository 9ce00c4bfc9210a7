//! The conversation with the service, without any I/O: the next request to
//! post, and what its reply changes.
//!
//! One request is in flight at a time. In order: introduce the device, deliver
//! kept receipts, answer an order, tell of a sign-out, then activate or check
//! in. A reply is persisted before the next request acknowledges it.

use super::{Agent, Phase, Session};
use crate::error::Error;
use crate::lease::{Standing, StoredLease};
use crate::state::{State, Stored};
use crate::trace::event;
use crate::wire::{
    self, ActivationId, Answer, Ask, Body, DeviceId, Generation, Lease, LockReason, OrderOutcome,
    PROOF_CONTEXT, RefusalCode, Reply, Request, SIGNATURE_LEN, Statement, TokenProof, codec,
    codec::Blank,
};
use heapless::String;
use nrd_hal::{Clock, Crypto, DeviceIdentity, Platform};
use rand_core::TryRng as _;

/// First back-off after a failed exchange, in milliseconds; it doubles.
const BACK_OFF_MS: u32 = 2_000;
/// Longest back-off, in milliseconds.
const BACK_OFF_MAX_MS: u32 = 15 * 60 * 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Hello,
    Receipt,
    Outcome,
    SignedOut,
    Start,
    Poll,
    CheckIn { renew: bool },
}

/// What the conversation stands at; RAM only.
#[derive(Default)]
#[repr(C)]
pub(super) struct Exchange {
    /// A check-in was answered in this boot.
    checked_in: bool,
    /// Anything was answered in this boot.
    answered: bool,
    failures: u32,
    /// Seconds over which the first exchange is spread once the boot is done.
    spread_s: u32,
    due_ms: u64,
    sent: Option<(Sent, [u8; 16])>,
    challenge: Option<[u8; 32]>,
    code: Option<(String<12>, u8)>,
    /// The answer to an order; signed when it is told.
    outcome: Option<OrderOutcome>,
}

impl Exchange {
    pub(super) fn code(&self) -> Option<(String<12>, u8)> {
        self.code.clone()
    }

    /// The back-off goes on where earlier boots without an answer left it.
    pub(super) fn go_on_backing_off(&mut self, unanswered: u8) {
        self.failures = u32::from(unanswered);
    }

    pub(super) fn was_answered(&self) -> bool {
        self.answered
    }

    /// A request was made, and neither answered nor given up.
    pub(super) fn is_in_flight(&self) -> bool {
        self.sent.is_some()
    }

    /// What the last reply gave is stored: the back-off begins anew.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Something changed: talk at once.
    pub(super) fn restart(&mut self) {
        self.due_ms = 0;
        self.code = None;
        self.checked_in = false;
    }

    /// The activation is gone; the receipt is next.
    pub(super) fn forget(&mut self) {
        self.restart();
        self.sent = None;
        self.failures = 0;
    }
}

impl<P: Platform> Agent<'_, P> {
    /// Milliseconds until the next request is due: 0 for now, `None` when there
    /// is nothing to say. The layer below [`Agent::poll`].
    pub fn next_due_ms(&mut self) -> Option<u64> {
        self.next_ask()?;
        let now = self.platform.parts().clock.uptime_ms();
        Some(self.exchange.due_ms.saturating_sub(now))
    }

    fn next_ask(&mut self) -> Option<Sent> {
        if self.phase != Phase::Ready || self.install.is_some() {
            return None;
        }
        if self.tombstone.is_some() {
            // The order that this wipe carries out may be answered meanwhile.
            let answers = self.exchange.outcome.is_some() && self.exchange.challenge.is_some();
            return answers.then_some(Sent::Outcome);
        }
        let state = self.state();
        let talks = self.receipts > 0
            || self.exchange.outcome.is_some()
            || !matches!(
                state,
                State::Clean | State::WipeFailed | State::Locked(LockReason::JournalLost)
            );
        if !talks {
            return None;
        }
        if self.exchange.challenge.is_none() {
            return Some(Sent::Hello);
        }
        if self.receipts > 0 {
            return Some(Sent::Receipt);
        }
        if self.exchange.outcome.is_some() {
            return Some(Sent::Outcome);
        }
        match &self.snapshot.stored {
            Stored::SignedOut { told: false, .. } => Some(Sent::SignedOut),
            Stored::SignedOut { .. } => Some(Sent::CheckIn { renew: false }),
            Stored::Activating { .. } if self.exchange.code.is_none() => Some(Sent::Start),
            Stored::Activating { .. } => Some(Sent::Poll),
            Stored::Active(a) => {
                // A locked device asks for the lease that opens it again.
                let locked = a.lock.is_some();
                let renew =
                    locked || !matches!(self.standing(), Some(Standing::Open { renew: false, .. }));
                Some(Sent::CheckIn { renew })
            }
            Stored::Clean | Stored::Failed => None,
        }
    }

    /// Writes the next request into `out` ([`wire::MAX_FRAME`] bytes are always
    /// enough) when one is due; returns its length. Post it, then call
    /// [`Agent::handle_reply`] or [`Agent::exchange_failed`].
    ///
    /// After an error (the generator or the device key does not answer, `out`
    /// is too short) the exchange backs off, as after one that failed on its
    /// way. The layer below [`Agent::poll`].
    #[inline(never)]
    pub fn poll_request(&mut self, out: &mut [u8]) -> Result<Option<usize>, Error> {
        let Some(sent) = self.next_ask() else {
            return Ok(None);
        };
        if self.platform.parts().clock.uptime_ms() < self.exchange.due_ms {
            return Ok(None);
        }
        let made = self.make_request(sent, out);
        if let Err(e) = made {
            // Found: a generator or a device key that answered an error left
            // the next request due at once, and hosts asked without a pause.
            self.exchange_failed();
            self.retry.talked(Err(e));
        }
        made.map(Some)
    }

    fn make_request(&mut self, sent: Sent, out: &mut [u8]) -> Result<usize, Error> {
        let mut nonce = [0u8; 16];
        self.platform
            .parts()
            .rng
            .try_fill_bytes(&mut nonce)
            .map_err(|_| Error::RandomGenerator)?;
        let n = self.write_request(sent, &nonce, out)?;
        self.exchange.sent = Some((sent, nonce));
        Ok(n)
    }

    fn write_request(
        &mut self,
        sent: Sent,
        nonce: &[u8; 16],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let mut payload = [0u8; wire::Receipt::MAX];
        let mut request = Request {
            device_id: self.device_id,
            challenge: self.exchange.challenge.unwrap_or_default(),
            nonce: *nonce,
            agent_version: super::AGENT_VERSION,
            ask: Ask::BLANK,
        };
        match sent {
            Sent::Hello => {
                let identity: &P::Identity = self.platform.parts().identity;
                let certificate = identity.certificate();
                request.ask = Ask::Hello { certificate };
            }
            Sent::Receipt => {
                let place = self.oldest_receipt(0, 0).ok_or(Error::NotFound)?;
                let n = self.export_receipt(place, &mut payload)?;
                let receipt = payload.get(..n).unwrap_or_default();
                request.ask = Ask::Receipt { receipt };
            }
            Sent::Outcome => {
                let mut outcome = self.exchange.outcome;
                let outcome = outcome.as_mut().ok_or(Error::NotFound)?;
                let n = self.sign_outcome(outcome, &mut payload)?;
                let outcome = payload.get(..n).unwrap_or_default();
                request.ask = Ask::Outcome { outcome };
            }
            sent => self.plain_ask(sent, &mut request)?,
        }
        let n = codec::write(Request::CONTEXT, &request, out)?;
        self.sign_frame(out, n)
    }

    /// The asks that borrow nothing.
    fn plain_ask(&mut self, sent: Sent, request: &mut Request<'_>) -> Result<(), Error> {
        let now = self.now();
        let wait_s = self.config.wait_s;
        match (&self.snapshot.stored, sent) {
            (Stored::Activating { id, epoch, .. }, Sent::Start) => {
                request.ask = Ask::ActivateStart {
                    activation_id: *id,
                    epoch: *epoch,
                    previous_receipt: self.snapshot.last_receipt,
                };
            }
            (Stored::Activating { id, epoch, .. }, Sent::Poll) => {
                request.ask = Ask::ActivatePoll {
                    activation_id: *id,
                    epoch: *epoch,
                };
            }
            (Stored::SignedOut { id, epoch, .. }, Sent::SignedOut) => {
                request.ask = Ask::SignedOut {
                    activation_id: *id,
                    epoch: *epoch,
                };
            }
            (Stored::SignedOut { id, epoch, .. }, Sent::CheckIn { .. }) => {
                request.ask = Ask::CheckIn {
                    activation_id: *id,
                    epoch: *epoch,
                    proof: None,
                    renew: false,
                    wait_s,
                    powered_s: 0,
                    policy: Default::default(),
                };
            }
            (Stored::Active(a), Sent::CheckIn { renew }) => {
                let context: [&[u8]; 3] = [PROOF_CONTEXT, &request.challenge, &request.nonce];
                let proof = self.keys.session.as_ref().map(|s| TokenProof {
                    generation: s.generation,
                    mac: P::Crypto::hmac(&s.token.0, &context),
                });
                request.ask = Ask::CheckIn {
                    activation_id: a.id,
                    epoch: a.epoch,
                    renew: renew && proof.is_some(),
                    proof,
                    wait_s: match self.exchange.checked_in {
                        true => wait_s,
                        false => 0,
                    },
                    powered_s: now.powered_s.saturating_sub(a.lease.stored_at_s),
                    policy: a.policy,
                };
            }
            _ => return Err(Error::WrongState),
        }
        Ok(())
    }

    /// The exchange failed on its way (no network, TLS, HTTP status): backs
    /// off. Never changes what the device keeps.
    #[inline(never)]
    pub fn exchange_failed(&mut self) {
        self.exchange.sent = None;
        let cap = (BACK_OFF_MS << self.exchange.failures.min(10)).min(BACK_OFF_MAX_MS);
        self.exchange.failures = self.exchange.failures.wrapping_add(1);
        event!("exchange failed, {} in a row", self.exchange.failures);
        self.wait_up_to(cap);
    }

    /// Spreads the first exchange of this boot over `window_s` seconds, doubled
    /// for each boot just before it that got no answer, 15 minutes at most: so
    /// that a town that gets its power back is no stampede, nor one whose power
    /// comes and goes. Call it before the first [`Agent::poll`] of a boot, or
    /// once the boot is done, on hardware that is switched on in crowds. A device
    /// whose person waits at a code, or that has a receipt to deliver, is not
    /// held up.
    pub fn spread_first_contact(&mut self, window_s: u32) {
        if self.phase != Phase::Ready {
            self.exchange.spread_s = window_s;
            return;
        }
        let state = self.state();
        let waits = matches!(state, State::Active | State::Locked(_) | State::SignedOut);
        if !waits || self.receipts > 0 || self.exchange.answered {
            return;
        }
        let window = window_s
            .saturating_mul(1000)
            .saturating_mul(1 << self.exchange.failures.min(10))
            .min(BACK_OFF_MAX_MS);
        self.wait_up_to(window);
    }

    /// The boot is done: spreads the first exchange, if that was asked for.
    pub(super) fn spread_if_asked(&mut self) {
        match core::mem::take(&mut self.exchange.spread_s) {
            0 => {}
            window_s => self.spread_first_contact(window_s),
        }
    }

    /// Full jitter below `window` milliseconds; the whole window when the
    /// generator does not answer, for no jitter must not mean no pause.
    fn wait_up_to(&mut self, window: u32) {
        let mut draw = [0u8; 4];
        let ms = match self.platform.parts().rng.try_fill_bytes(&mut draw) {
            Ok(()) => u32::from_le_bytes(draw) % window.max(1),
            Err(_) => window,
        };
        self.wait_ms(ms);
    }

    #[inline(never)]
    fn wait_ms(&mut self, ms: u32) {
        let now = self.platform.parts().clock.uptime_ms();
        self.exchange.due_ms = now.wrapping_add(u64::from(ms));
    }

    fn wait_s(&mut self, s: u32) {
        self.wait_ms(s.saturating_mul(1000));
    }

    /// Takes the reply to the request last polled. An error means that the
    /// reply was refused and nothing changed; the exchange backs off.
    #[inline(never)]
    pub fn handle_reply(&mut self, frame: &[u8]) -> Result<(), Error> {
        let Some((sent, nonce)) = self.exchange.sent.take() else {
            return Err(Error::WrongState);
        };
        let mut reply = Reply::BLANK;
        let done = wire::read(frame, Reply::KIND, &mut reply)
            .and_then(|()| self.take_reply(sent, &nonce, &reply));
        self.retry.talked(done);
        match done {
            Ok(()) => {
                self.exchange.answered = true;
                // A grant is progress once it is stored, not when it arrives: a
                // device that cannot store it would ask for it without a pause.
                if self.install.is_none() {
                    self.exchange.progressed();
                }
            }
            Err(_) => self.exchange_failed(),
        }
        done
    }

    fn take_reply(&mut self, sent: Sent, nonce: &[u8; 16], reply: &Reply<'_>) -> Result<(), Error> {
        self.exchange.challenge = Some(reply.challenge);
        if let Some(delegation) = reply.delegation
            && self.tombstone.is_none()
        {
            self.accept_delegation(delegation)?;
        }
        self.wait_ms(0);
        match (&reply.answer, sent) {
            (Answer::Welcome, Sent::Hello) => {}
            (Answer::ReceiptStored { digest }, Sent::Receipt) => self.receipt_stored(digest)?,
            (Answer::Noted, Sent::Outcome) => self.exchange.outcome = None,
            (Answer::Noted, Sent::SignedOut) => {
                let mut next = self.snapshot;
                if let Stored::SignedOut { told, .. } = &mut next.stored {
                    *told = true;
                }
                self.commit(next)?;
            }
            (
                Answer::Code {
                    user_code,
                    pictogram,
                    interval_s,
                    ..
                },
                Sent::Start,
            ) => {
                self.exchange.code = Some((user_code.clone(), *pictogram));
                self.wait_s(u32::from(*interval_s));
            }
            (Answer::Pending { interval_s }, Sent::Poll) => self.wait_s(u32::from(*interval_s)),
            (Answer::Granted { grant }, Sent::Start | Sent::Poll) => self.accept_grant(grant)?,
            (Answer::ActivationEnded { .. }, Sent::Start | Sent::Poll) => {
                self.activation_ended()?;
            }
            (
                Answer::CheckedIn {
                    lease,
                    statement,
                    order,
                    interval_s,
                },
                Sent::CheckIn { .. },
            ) => {
                // The first check-in of a boot does not wait for an order; a
                // device that may wait comes back at once to do so.
                let first = !core::mem::replace(&mut self.exchange.checked_in, true);
                if !(first && self.config.wait_s > 0 && statement.is_none()) {
                    self.wait_s(*interval_s);
                }
                if let Some(frame) = order {
                    let mut outcome = OrderOutcome::BLANK;
                    self.decide(frame, &mut outcome)?;
                    self.exchange.outcome = Some(outcome);
                    // The outcome, or the wipe's receipt, is the next thing to
                    // say.
                    self.wait_ms(0);
                    return Ok(());
                }
                if let Some(frame) = statement {
                    self.accept_statement(frame, nonce)?;
                }
                if let Some(frame) = lease {
                    self.accept_lease(frame, nonce)?;
                }
            }
            (
                Answer::Refused {
                    code,
                    retry_after_s,
                },
                _,
            ) => match code {
                // Sign again at once, over the new challenge.
                RefusalCode::StaleChallenge => {}
                RefusalCode::UnknownDevice => self.exchange.challenge = None,
                _ => self.wait_s((*retry_after_s).max(1)),
            },
            _ => return Err(Error::Malformed),
        }
        Ok(())
    }

    /// True when a frame names this device and the activation `held`.
    #[inline(never)]
    pub(super) fn is_ours(
        &self,
        device: &DeviceId,
        named: &ActivationId,
        held: &ActivationId,
    ) -> bool {
        *device == self.device_id && named == held
    }

    fn accept_statement(&mut self, frame: &[u8], nonce: &[u8; 16]) -> Result<(), Error> {
        let mut s = Statement::BLANK;
        self.read_session_signed(frame, Statement::KIND, &mut s)?;
        let Stored::Active(a) = &self.snapshot.stored else {
            return Ok(());
        };
        let ours = s.nonce == *nonce && self.is_ours(&s.device_id, &s.activation_id, &a.id);
        let allowed = matches!(
            s.reason,
            LockReason::Revoked | LockReason::ConsentDue | LockReason::TheftSuspected
        );
        if !ours || !allowed {
            return Err(Error::NotForUs);
        }
        if a.lock == Some(s.reason) {
            return Ok(());
        }
        let mut next = self.snapshot;
        if let Stored::Active(a) = &mut next.stored {
            a.lock = Some(s.reason);
        }
        self.commit(next)
    }

    fn accept_lease(&mut self, frame: &[u8], nonce: &[u8; 16]) -> Result<(), Error> {
        let mut lease = Lease::BLANK;
        self.read_session_signed(frame, Lease::KIND, &mut lease)?;
        let Stored::Active(a) = &self.snapshot.stored else {
            return Ok(());
        };
        if lease.nonce != *nonce || !self.is_ours(&lease.device_id, &lease.activation_id, &a.id) {
            return Err(Error::NotForUs);
        }
        // The successor token is on flash, and read back, before it is used;
        // only then is its predecessor gone.
        if let (Some(next), Some(now)) = (&lease.next, &self.keys.session)
            && next.generation == Generation(now.generation.0.wrapping_add(1))
        {
            let mut session = Session {
                series: now.series,
                generation: next.generation,
                token: next.token.clone(),
            };
            self.put_session(&mut session)?;
            self.keys.session = Some(session);
        }
        let now = self.now();
        let mut next = self.snapshot;
        next.time_floor = next.time_floor.max(lease.issued_at);
        if let Stored::Active(a) = &mut next.stored {
            a.lease = StoredLease {
                terms: lease.terms,
                stored_at_s: now.powered_s,
                stored_in_boot: now.boot,
                issued_at: lease.issued_at,
            };
            a.policy = lease.policy;
            a.lock = None;
        }
        self.commit(next)
    }
}

const _: () = assert!(wire::Receipt::MAX + 160 + SIGNATURE_LEN <= wire::MAX_FRAME);
