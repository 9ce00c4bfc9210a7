//! "Still here": proves the token, renews it, fetches orders.

use super::{ADDRESS, Handled, Response, Wait, agent_version, new_losses};
use crate::events::EventKind;
use crate::store::{
    ActivationPhase, CheckIn, CheckInActivation, CheckInContext, CheckedIn, Fresh,
    RevocationReason, TokenUse, TrustNews, Used,
};
use crate::{Error, Result, Service, short_id};
use nrd_agent::wire::{
    self, Ask, Generation, Lease, LockReason, NextToken, PROOF_CONTEXT, PolicyVersion, RefusalCode,
    Request, Statement, TokenProof, TokenSecret, TrustVersion,
};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::sign::signed;
use std::mem::replace;
use subtle::ConstantTimeEq as _;

type Answered = (Response, Option<Wait>);

/// What a check-in comes to, before anything is written.
enum CheckInPlan<'k> {
    /// This, whatever the token.
    Respond(Answered),
    /// The token was proven.
    Proven(&'k CheckInActivation, Proven),
}

/// A token that was proven, and what follows from it.
#[derive(Clone, Copy)]
struct Proven {
    generation: u32,
    /// Consent is asked for before anything goes on.
    consent_due: bool,
    /// A lease is to be given.
    renew: bool,
}

impl Service {
    /// Answers a check-in: one read has given `known`. After the signature, one
    /// write follows, unless the device is at rest: then nothing is written.
    pub(super) fn check_in(
        &self,
        frame: &[u8],
        mut known: CheckInContext,
        challenge: [u8; 32],
        address: &str,
    ) -> Result<Handled> {
        let key = &known.device.public_key;
        let Ok(request) = wire::decode_signed::<Request<'_>, RingCrypto>(frame, key) else {
            return Ok(Handled::refused(challenge, RefusalCode::BadRequest, 60));
        };
        let Ask::CheckIn { activation_id, .. } = &request.ask else {
            return Ok(Handled::refused(challenge, RefusalCode::BadRequest, 60));
        };
        let activation = &activation_id.0;
        let stored_version = replace(&mut known.device.agent_version, agent_version(&request));
        let (known, device) = (&known, &known.device);
        let now = self.now_s();
        let plan = self.plan(known, &request);
        let token = match &plan {
            CheckInPlan::Proven(row, p) => self.token_use(row, *p, now),
            CheckInPlan::Respond(_) => None,
        };
        let held = self.held.take(&request.device_id, &request.challenge);
        let row_challenge = held.unwrap_or(request.challenge);
        let at_rest = held.is_some()
            && token.is_none()
            && device.losses == request.losses
            && device.agent_version == stored_version
            && now < known.seen + u64::from(self.settings.seen_every_s);
        let done = match known.challenge {
            Some(current) if current != row_challenge => CheckedIn::Stale(current),
            _ if at_rest => CheckedIn::Noted,
            _ => self.store.check_in(&CheckIn {
                fresh: Fresh {
                    device: &device.id,
                    presented: &row_challenge,
                    next: &challenge,
                    now,
                    address: &self.keys.seal(ADDRESS, address.as_bytes())?,
                    agent_version: &device.agent_version,
                    losses: request.losses,
                    news: &new_losses(&device.losses, &request.losses),
                },
                token,
            })?,
        };
        let mut news = self.news_for(known, request.trust)?;
        if !matches!(done, CheckedIn::Stale(_)) {
            self.losses_stated(device, &request)?;
        }
        let (response, wait) = match (plan, done) {
            (_, CheckedIn::Stale(current)) => {
                return Ok(Handled::stale(current, request.trust, news));
            }
            (CheckInPlan::Respond((Response::CheckedIn { order: Some(_), .. }, _)), _)
                if known.order.as_ref().is_some_and(|order| order.retired_key) =>
            {
                // The rotation has not come to it yet: it is signed now.
                let order = self.next_order(activation)?.map(|order| order.frame);
                news = self.store.trust_news(request.trust)?;
                (checked_in(None, None, order, 0), None)
            }
            (CheckInPlan::Respond(answered), _) => answered,
            (CheckInPlan::Proven(row, _), CheckedIn::Token(Used::Over)) => {
                self.overtaken(&request, row)?
            }
            (CheckInPlan::Proven(row, _), CheckedIn::Token(Used::Theft)) => {
                self.theft(&request, row)?
            }
            (CheckInPlan::Proven(row, p), CheckedIn::Noted | CheckedIn::Token(Used::Good)) => {
                self.good(&request, row, p)
            }
        };
        let next = match (self.comes_back_at_rest(&response), at_rest) {
            (false, true) => row_challenge,
            (false, false) => challenge,
            (true, true) => self.hold(&request, challenge, row_challenge),
            (true, false) => self.hold(&request, self.random()?, challenge),
        };
        Ok(Handled {
            challenge: next,
            trust: request.trust,
            news,
            response,
            wait,
        })
    }

    /// What the device states counts, not what it was sent: an old `Hello`, posted
    /// again, once made the service believe that a device had the new delegation,
    /// and its removal was never carried out.
    fn news_for(&self, known: &CheckInContext, stated: TrustVersion) -> Result<TrustNews> {
        if known.trust > stated {
            self.store.trust_news(stated)
        } else {
            Ok(TrustNews::default())
        }
    }

    /// Holds a challenge for the device, beside the one in its row, and gives it.
    fn hold(&self, request: &Request<'_>, held: [u8; 32], row: [u8; 32]) -> [u8; 32] {
        self.held.hold(request.device_id, held, row);
        held
    }

    /// A device that has nothing to do but to come back, before it is time to
    /// note that it was heard.
    fn comes_back_at_rest(&self, response: &Response) -> bool {
        matches!(response, Response::CheckedIn { lease: None, statement: None, order: None, interval_s }
            if *interval_s < self.settings.seen_every_s)
    }

    fn plan<'k>(&self, known: &'k CheckInContext, request: &Request<'_>) -> CheckInPlan<'k> {
        let refuse = |code, s| CheckInPlan::Respond((Response::refused(code, s), None));
        let Ask::CheckIn {
            epoch,
            proof,
            renew,
            wait_s,
            ..
        } = &request.ask
        else {
            return refuse(RefusalCode::BadRequest, 60);
        };
        let Some(row) = known.activation.as_ref().filter(|r| r.epoch == *epoch) else {
            return refuse(RefusalCode::UnknownActivation, 3600);
        };
        if let Some(order) = &known.order {
            return CheckInPlan::Respond((
                checked_in(None, None, Some(order.frame.clone()), 0),
                None,
            ));
        }
        let wait = (*wait_s > 0).then_some((row.id, *wait_s));
        match &row.revoked {
            Some(RevocationReason::Theft) => {
                let interval = self.interval(*wait_s);
                let reason = LockReason::TheftSuspected;
                return CheckInPlan::Respond((self.locked(request, row, reason, interval), wait));
            }
            Some(
                RevocationReason::Removed
                | RevocationReason::Superseded
                | RevocationReason::Expired,
            ) => return CheckInPlan::Respond((self.closed(request, row), None)),
            None => {}
        }
        let device = &known.device;
        let names = (&*device.id, &*device.model, &*device.agent_version);
        if self.barred_activation(&row.id, names) {
            return CheckInPlan::Respond((self.closed(request, row), wait));
        }
        match (row.phase, proof) {
            (ActivationPhase::SignedOut, _)
            | (ActivationPhase::Approved | ActivationPhase::Active, None) => {
                CheckInPlan::Respond((self.pause(*wait_s), wait))
            }
            (ActivationPhase::Approved | ActivationPhase::Active, Some(proof)) => {
                if !self.proves(row, proof, request) {
                    return refuse(RefusalCode::BadRequest, 60);
                }
                let consent_due = row.policy < known.policy;
                let p = Proven {
                    generation: proof.generation.0,
                    consent_due,
                    // A restored database may not know yet that it was removed.
                    renew: *renew && !consent_due && self.store.missing_logs() == 0,
                };
                CheckInPlan::Proven(row, p)
            }
            (
                ActivationPhase::Pending
                | ActivationPhase::Removing
                | ActivationPhase::Delivered
                | ActivationPhase::Wiped
                | ActivationPhase::WipeFailed
                | ActivationPhase::Ended,
                _,
            ) => CheckInPlan::Respond((self.closed(request, row), None)),
        }
    }

    fn proves(&self, row: &CheckInActivation, proof: &TokenProof, request: &Request<'_>) -> bool {
        let token = self.keys.token(&row.series, proof.generation.0);
        let mac = RingCrypto::hmac(
            token.as_ref(),
            &[PROOF_CONTEXT, &request.challenge, &request.nonce],
        );
        bool::from(mac.ct_eq(&proof.mac))
    }

    /// The use of a token that must be stored; `None` where it was used before
    /// and no lease is given for it.
    fn token_use<'r>(
        &self,
        row: &'r CheckInActivation,
        p: Proven,
        now: u64,
    ) -> Option<TokenUse<'r>> {
        let seen = row.phase == ActivationPhase::Active && row.generation == p.generation;
        (!seen || p.renew).then_some(TokenUse {
            activation: &row.id,
            generation: p.generation,
            leased: p.renew.then_some(now),
        })
    }

    /// Something ended the activation since it was read: a removal, most
    /// likely, and then its order waits.
    fn overtaken(&self, request: &Request<'_>, row: &CheckInActivation) -> Result<Answered> {
        let response = match self.next_order(&row.id)? {
            Some(order) => checked_in(None, None, Some(order.frame), 0),
            None => self.closed(request, row),
        };
        Ok((response, None))
    }

    fn theft(&self, request: &Request<'_>, row: &CheckInActivation) -> Result<Answered> {
        self.metrics.thefts.inc();
        tracing::warn!(activation = %short_id(&row.id), "a copied token was used");
        let whole = self.store.activation(&row.id)?.ok_or(Error::NotFound)?;
        let event = self.event_of(EventKind::TheftSuspected, &whole, &whole.model, None)?;
        let event = row.account.map(|account| (account, &event));
        self.store.revoke_theft(&row.id, event, self.now_s())?;
        if let Some(account) = row.account {
            self.notify_page(account);
        }
        let reason = LockReason::TheftSuspected;
        Ok((self.locked(request, row, reason, 0), None))
    }

    fn good(&self, request: &Request<'_>, row: &CheckInActivation, p: Proven) -> Answered {
        let wait_s = match &request.ask {
            Ask::CheckIn { wait_s, .. } => *wait_s,
            _ => 0,
        };
        let wait = (wait_s > 0).then_some((row.id, wait_s));
        if row.phase == ActivationPhase::Approved
            && let Some(account) = row.account
        {
            self.notify_page(account);
        }
        let interval = self.interval(wait_s);
        if p.consent_due {
            let reason = LockReason::ConsentDue;
            return (self.locked(request, row, reason, interval), wait);
        }
        if !p.renew {
            return (self.pause(wait_s), wait);
        }
        let next = p.generation.saturating_add(1);
        let lease = signed(
            &self.keys.session,
            &Lease {
                device_id: request.device_id,
                activation_id: wire::ActivationId(row.id),
                nonce: request.nonce,
                issued_at: self.now_s(),
                terms: self.settings.terms,
                policy: PolicyVersion(row.policy),
                next: Some(NextToken {
                    generation: Generation(next),
                    token: TokenSecret(*self.keys.token(&row.series, next)),
                }),
            },
        );
        // A lease is worth more than a wait: it goes out at once.
        (checked_in(Some(lease), None, None, interval), None)
    }

    fn interval(&self, wait_s: u16) -> u32 {
        match wait_s {
            0 => self.settings.check_in_s,
            _ => 1.min(self.settings.check_in_s),
        }
    }

    /// Nothing to say; a device that waits comes back at once.
    fn pause(&self, wait_s: u16) -> Response {
        checked_in(None, None, None, self.interval(wait_s))
    }

    /// This activation is over, and no order waits.
    fn closed(&self, request: &Request<'_>, row: &CheckInActivation) -> Response {
        self.locked(request, row, LockReason::Revoked, self.settings.check_in_s)
    }

    fn locked(
        &self,
        request: &Request<'_>,
        row: &CheckInActivation,
        reason: LockReason,
        interval_s: u32,
    ) -> Response {
        let statement = signed(
            &self.keys.session,
            &Statement {
                device_id: request.device_id,
                activation_id: wire::ActivationId(row.id),
                nonce: request.nonce,
                reason,
            },
        );
        checked_in(None, Some(statement), None, interval_s)
    }
}

fn checked_in(
    lease: Option<Vec<u8>>,
    statement: Option<Vec<u8>>,
    order: Option<Vec<u8>>,
    interval_s: u32,
) -> Response {
    Response::CheckedIn {
        lease,
        statement,
        order,
        interval_s,
    }
}
