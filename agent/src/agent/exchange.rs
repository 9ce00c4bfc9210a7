//! The conversation with the service, without any I/O: the next request to
//! post, and what its reply says.
//!
//! One request is in flight at a time. Which comes next, and when, is the state
//! machine's (`core/talk.rs`); a reply is persisted before the next request
//! acknowledges it.

use super::{Agent, Session};
use crate::core::talk::{InFlight, Sent};
use crate::core::{Event, Renewal};
use crate::error::Error;
use crate::state::PersistedState;
use crate::trace::event;
use crate::wire::{
    self, Answer, Ask, Body, Digest, Generation, Lease, OrderOutcome, PROOF_CONTEXT, RefusalCode,
    Reply, Request, SIGNATURE_LEN, Statement, TokenProof, codec, codec::Blank,
};
use nrd_hal::{Crypto, DeviceIdentity, Platform};
use rand_core::TryRng as _;

impl<P: Platform> Agent<'_, P> {
    /// Milliseconds until the next request is due: 0 for now, `None` when there
    /// is nothing to say. The layer below [`Agent::poll`].
    pub fn next_due_ms(&mut self) -> Option<u64> {
        self.tick();
        let (_, at_ms) = self.core.next_ask()?;
        Some(at_ms.saturating_sub(self.core.now_ms()))
    }

    /// Writes the next request into `out` ([`wire::MAX_FRAME`] bytes are always
    /// enough) when one is due; returns its length. Post it, then call
    /// [`Agent::handle_reply`] or [`Agent::exchange_failed`].
    ///
    /// After an error (the generator or the device key does not answer, `out`
    /// is too short) the exchange backs off, as after one that failed on its
    /// way. The layer below [`Agent::poll`].
    pub fn poll_request(&mut self, out: &mut [u8]) -> Result<Option<usize>, Error> {
        self.tick();
        let Some((sent, at_ms)) = self.core.next_ask() else {
            return Ok(None);
        };
        if self.core.now_ms() < at_ms {
            return Ok(None);
        }
        match self.make_request(sent, out) {
            Ok(n) => Ok(Some(n)),
            Err(e) => {
                // Found: a generator or a device key that answered an error left
                // the next request due at once, and hosts asked without a pause.
                self.give_up(sent);
                self.core.retry.talked(Err(e));
                Err(e)
            }
        }
    }

    fn make_request(&mut self, sent: Sent, out: &mut [u8]) -> Result<usize, Error> {
        let mut nonce = [0u8; 16];
        self.platform
            .parts()
            .rng
            .try_fill_bytes(&mut nonce)
            .map_err(|_| Error::RandomGenerator)?;
        let n = self.write_request(sent, &nonce, out)?;
        self.core.talk.sent(sent, nonce, self.config.wait_s);
        Ok(n)
    }

    // Not inlined: payload and request would stand on the stack of everything that
    // the run loop calls.
    #[inline(never)]
    fn write_request(
        &mut self,
        sent: Sent,
        nonce: &[u8; 16],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let mut payload = [0u8; wire::Receipt::MAX];
        let mut request = Request {
            device_id: self.device_id,
            challenge: self.core.talk.challenge().unwrap_or_default(),
            nonce: *nonce,
            agent_version: super::AGENT_VERSION,
            trust: self.trust_version(),
            losses: self.core.losses(),
            ask: Ask::BLANK,
        };
        match sent {
            Sent::Hello => {
                let identity: &P::Identity = self.platform.parts().identity;
                let certificate = identity.certificate();
                request.ask = Ask::Hello { certificate };
            }
            Sent::Receipt => {
                let place = self.core.oldest_receipt().ok_or(Error::NotFound)?;
                let read = self.export_receipt(place, &mut payload);
                if read == Err(Error::Corrupt) {
                    // Found: one flipped bit in the former owner's receipt answered
                    // `Corrupt` to the next owner's activation, for ever.
                    self.settle(Event::ReceiptUnreadable(place), &[])?;
                }
                let receipt = payload.get(..read?).unwrap_or_default();
                request.ask = Ask::Receipt { receipt };
            }
            Sent::Outcome => {
                let outcome = self.core.talk.outcome().ok_or(Error::NotFound)?;
                let n = codec::write(OrderOutcome::CONTEXT, outcome, &mut payload)?;
                let n = self.sign_frame(&mut payload, n)?;
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
        let wait_s = self.config.wait_s;
        match (&self.core.held().state, sent) {
            (PersistedState::Activating(t), Sent::Start) => {
                request.ask = Ask::ActivateStart {
                    activation_id: t.id,
                    epoch: t.epoch,
                    previous_receipt: self.core.held().last_receipt,
                };
            }
            (PersistedState::Activating(t), Sent::Poll) => {
                request.ask = Ask::ActivatePoll {
                    activation_id: t.id,
                    epoch: t.epoch,
                };
            }
            (PersistedState::SignedOut(s), Sent::SignedOut) => {
                request.ask = Ask::SignedOut {
                    activation_id: s.id,
                    epoch: s.epoch,
                };
            }
            (PersistedState::SignedOut(s), Sent::CheckIn { .. }) => {
                request.ask = Ask::CheckIn {
                    activation_id: s.id,
                    epoch: s.epoch,
                    proof: None,
                    renew: false,
                    wait_s,
                    powered_s: 0,
                    policy: Default::default(),
                };
            }
            (PersistedState::Active(a), Sent::CheckIn { renew }) => {
                let context: [&[u8]; 3] = [PROOF_CONTEXT, &request.challenge, &request.nonce];
                let session = &self.keys.session;
                let proof = (session.generation != Generation(0)).then(|| TokenProof {
                    generation: session.generation,
                    mac: P::Crypto::hmac(&session.token.0, &context),
                });
                let first = !self.core.talk.has_checked_in();
                request.ask = Ask::CheckIn {
                    activation_id: a.id,
                    epoch: a.epoch,
                    renew: renew && proof.is_some(),
                    proof,
                    wait_s: if first { 0 } else { wait_s },
                    powered_s: self.core.powered_s().saturating_sub(a.lease.stored_at_s),
                    policy: a.policy,
                };
            }
            _ => return Err(Error::WrongState),
        }
        Ok(())
    }

    /// The exchange failed on its way (no network, TLS, HTTP status): backs
    /// off. Never changes what the device keeps.
    pub fn exchange_failed(&mut self) {
        self.tick();
        let sent = self.core.talk.take_in_flight();
        self.give_up(sent.map_or(Sent::Hello, |f| f.sent));
    }

    /// What was to be said did not get through.
    fn give_up(&mut self, sent: Sent) {
        self.core.talk.put_off(sent);
        self.core.talk.failed();
        event!("exchange failed, {} in a row", self.core.talk.failures());
        self.draw_jitter();
    }

    /// Draws how long the wait is that the state machine asked for; it is the
    /// longest when the generator does not answer.
    pub(super) fn draw_jitter(&mut self) {
        let Some(window) = self.core.talk.take_jitter() else {
            return;
        };
        let mut draw = [0u8; 4];
        if self.platform.parts().rng.try_fill_bytes(&mut draw).is_ok() {
            self.core.talk.draw(window, u32::from_le_bytes(draw));
        }
    }

    /// Spreads the first exchange of this boot over `window_s` seconds, doubled
    /// for each boot just before it that got no answer, 15 minutes at most: so
    /// that a town that gets its power back is no stampede, nor one whose power
    /// comes and goes. Call it before the first [`Agent::poll`] of a boot, or
    /// once the boot is done, on hardware that is switched on in crowds. A device
    /// whose person waits at a code, or that has a receipt to deliver, is not
    /// held up.
    pub fn spread_first_contact(&mut self, window_s: u32) {
        if self.state() == crate::State::Booting {
            self.spread_s = window_s;
        } else if self.core.may_spread() {
            self.core.talk.spread(window_s);
            self.draw_jitter();
        }
    }

    /// The boot is done: spreads the first exchange, if that was asked for.
    pub(super) fn spread_if_asked(&mut self) {
        match core::mem::take(&mut self.spread_s) {
            0 => {}
            window_s => self.spread_first_contact(window_s),
        }
    }

    /// Takes the reply to the request last polled. An error means that the
    /// reply was refused, or could not be stored; the exchange backs off. What a
    /// refused reply says changes nothing; what could not be stored and closes
    /// access has closed it.
    pub fn handle_reply(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.tick();
        let Some(request) = self.core.talk.take_in_flight() else {
            return Err(Error::WrongState);
        };
        let mut reply = Reply::BLANK;
        let done = wire::read(frame, Reply::KIND, &mut reply)
            .and_then(|()| self.take_reply(&request, &reply));
        self.core.retry.talked(done);
        match done {
            Ok(()) => self.draw_jitter(),
            Err(_) => self.give_up(request.sent),
        }
        done
    }

    fn take_reply(&mut self, request: &InFlight, reply: &Reply<'_>) -> Result<(), Error> {
        self.event(Event::Answered(&reply.challenge))?;
        if let Some(root) = reply.root {
            self.accept_root(root)?;
        }
        if let Some(delegation) = reply.delegation {
            self.accept_delegation(delegation)?;
        }
        // What follows is progress, unless it says otherwise.
        let mut progress = true;
        match (&reply.answer, request.sent) {
            // Being known again is not being heard.
            (Answer::Welcome, Sent::Hello) => progress = false,
            (Answer::ReceiptStored { digest }, Sent::Receipt) => self.receipt_stored(digest)?,
            (Answer::Noted, Sent::Outcome) => self.core.talk.outcome_noted(),
            (Answer::Noted, Sent::SignedOut) => self.settle(Event::SignOutNoted, &[])?,
            (
                Answer::Code {
                    user_code,
                    pictogram,
                    expires_in_s,
                    interval_s,
                },
                Sent::Start,
            ) => {
                let talk = &mut self.core.talk;
                talk.show(user_code.clone(), *pictogram, *expires_in_s);
                talk.wait_s(u32::from(*interval_s));
            }
            (Answer::Pending { interval_s }, Sent::Poll) => {
                self.core.talk.wait_s(u32::from(*interval_s));
            }
            (Answer::Granted { grant }, Sent::Start | Sent::Poll) => {
                self.accept_grant(grant)?;
                // A grant is progress once it is stored, not when it arrives: a
                // device that cannot store it would ask for it without a pause.
                progress = false;
            }
            (Answer::ActivationEnded { .. }, Sent::Start | Sent::Poll) => {
                self.settle(Event::AttemptEnded, &[])?;
            }
            (
                Answer::CheckedIn {
                    lease,
                    statement,
                    order,
                    interval_s,
                },
                Sent::CheckIn { .. },
            ) => self.take_check_in(&request.nonce, *lease, *statement, *order, *interval_s)?,
            (
                Answer::Refused {
                    code,
                    retry_after_s,
                },
                sent,
            ) => {
                progress = false;
                let talk = &mut self.core.talk;
                match code {
                    // Sign again at once, over the new challenge.
                    RefusalCode::StaleChallenge => talk.retry_once(),
                    RefusalCode::UnknownDevice => {
                        talk.introduce_again();
                        talk.retry_once();
                    }
                    RefusalCode::BadRequest
                    | RefusalCode::UnknownActivation
                    | RefusalCode::SlowDown
                    | RefusalCode::Unavailable
                    | RefusalCode::UnknownMaker => talk.refused(sent, *retry_after_s),
                }
            }
            _ => return Err(Error::Malformed),
        }
        if progress {
            self.core.talk.progressed();
            self.core.losses_told();
        }
        Ok(())
    }

    fn take_check_in(
        &mut self,
        nonce: &[u8; 16],
        lease: Option<&[u8]>,
        statement: Option<&[u8]>,
        order: Option<&[u8]>,
        interval_s: u32,
    ) -> Result<(), Error> {
        // The first check-in of a boot does not wait for an order; a device that
        // may wait comes back at once to do so.
        let first = self.core.talk.check_in_answered();
        if !(first && self.config.wait_s > 0 && statement.is_none()) {
            self.core.talk.wait_s(interval_s);
        }
        if let Some(frame) = order {
            let mut outcome = OrderOutcome::BLANK;
            self.apply_order_frame(frame, &mut outcome)?;
            // The outcome, or the wipe's receipt, is the next thing to say.
            self.core.talk.answer_with(outcome);
            return Ok(());
        }
        if let Some(frame) = statement {
            self.accept_statement(frame, nonce)?;
        }
        if let Some(frame) = lease {
            self.accept_lease(frame, nonce)?;
        }
        Ok(())
    }

    /// Drops the delivered receipt named by `digest`.
    fn receipt_stored(&mut self, digest: &Digest) -> Result<(), Error> {
        let Some(place) = self.core.oldest_receipt() else {
            return Ok(());
        };
        if self.kept_digest(place)? != *digest {
            return Err(Error::NotForUs);
        }
        self.settle(Event::ReceiptDelivered(place), &[])
    }

    fn accept_statement(&mut self, frame: &[u8], nonce: &[u8; 16]) -> Result<(), Error> {
        let mut s = Statement::BLANK;
        self.read_session_signed(frame, Statement::KIND, &mut s)?;
        if s.nonce != *nonce || s.device_id != self.device_id {
            return Err(Error::NotForUs);
        }
        let event = Event::Stated {
            id: &s.activation_id,
            reason: s.reason,
        };
        self.settle(event, &[])
    }

    fn accept_lease(&mut self, frame: &[u8], nonce: &[u8; 16]) -> Result<(), Error> {
        let mut lease = Lease::BLANK;
        self.read_session_signed(frame, Lease::KIND, &mut lease)?;
        if lease.nonce != *nonce || lease.device_id != self.device_id {
            return Err(Error::NotForUs);
        }
        let Session {
            series, generation, ..
        } = &self.keys.session;
        // The successor token is on flash, and read back, before it is used;
        // only then is its predecessor gone.
        let follows = Generation(generation.0.wrapping_add(1));
        let next = lease.next.as_ref();
        let next = next.filter(|n| *generation != Generation(0) && n.generation == follows);
        if let Some(next) = next {
            self.keys.next_session.series = *series;
            self.keys.next_session.generation = follows;
            self.keys.next_session.token.0 = next.token.0;
        }
        let renewal = Renewal {
            terms: lease.terms,
            issued_at: lease.issued_at,
            policy: lease.policy,
            token: next.is_some(),
        };
        let bounds = self.trust()?.bounds;
        let event = Event::Leased {
            id: &lease.activation_id,
            renewal: &renewal,
            bounds: &bounds,
        };
        self.settle(event, &[])
    }
}

const _: () = assert!(wire::Receipt::MAX + 192 + SIGNATURE_LEN <= wire::MAX_FRAME);
