//! "Still here": proves the token, renews it, fetches orders.

use super::{Said, Wait};
use crate::service::events::Kind;
use crate::service::store::{ActivationRow, DeviceRow, Phase, Used};
use crate::service::{Result, Service};
use crate::sign::signed;
use nrd_agent::wire::{
    Ask, Generation, Lease, LockReason, NextToken, PROOF_CONTEXT, PolicyVersion, RefusalCode,
    Request, Statement, TokenSecret,
};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use subtle::ConstantTimeEq as _;

type Answered = (Said, Option<Wait>);

impl Service {
    pub(super) fn check_in(&self, device: &DeviceRow, request: &Request<'_>) -> Result<Answered> {
        let Ask::CheckIn {
            activation_id,
            epoch,
            proof,
            renew,
            wait_s,
            ..
        } = &request.ask
        else {
            return Ok((Said::refused(RefusalCode::BadRequest, 60), None));
        };
        let unknown = || Ok((Said::refused(RefusalCode::UnknownActivation, 3600), None));
        let Some(row) = self.store.activation(&activation_id.0)? else {
            return unknown();
        };
        if row.device != device.id || row.epoch != *epoch {
            return unknown();
        }
        if let Some(order) = self.store.next_order(&row.id)? {
            return Ok((self.checked_in(None, None, Some(order.frame), 0), None));
        }
        let wait = (*wait_s > 0).then_some((row.id, *wait_s));
        let open = matches!(row.phase, Phase::Approved | Phase::Active);
        match &row.revoked {
            Some(why) if why == "theft" => {
                let interval = self.interval(*wait_s);
                let reason = LockReason::TheftSuspected;
                return Ok((self.locked(request, &row, reason, interval), wait));
            }
            Some(_) => return Ok((self.closed(request, &row), None)),
            None if row.phase == Phase::SignedOut => {
                return Ok((self.pause(*wait_s), wait));
            }
            None if !open => {
                return Ok((self.closed(request, &row), None));
            }
            None => {}
        }
        let Some(proof) = proof else {
            return Ok((self.pause(*wait_s), wait));
        };
        let token = self.keys.token(&row.series, proof.generation.0);
        let mac = RingCrypto::hmac(
            token.as_ref(),
            &[PROOF_CONTEXT, &request.challenge, &request.nonce],
        );
        if !bool::from(mac.ct_eq(&proof.mac)) {
            return Ok((Said::refused(RefusalCode::BadRequest, 60), None));
        }
        // Consent is asked for before anything goes on.
        let due = row.policy < self.store.policy_version()?;
        let leased = (*renew && !due).then(|| self.now_s());
        match self
            .store
            .use_generation(&row.id, proof.generation.0, leased)?
        {
            Used::Over => {
                // Since the row was read: a removal, most likely, and then its
                // order stands beside it.
                let order = self.store.next_order(&row.id)?;
                let said = match order {
                    Some(order) => self.checked_in(None, None, Some(order.frame), 0),
                    None => self.closed(request, &row),
                };
                return Ok((said, None));
            }
            Used::Theft => {
                self.store.revoke_theft(&row.id)?;
                if let Some(account) = row.account {
                    self.note(account, Kind::TheftSuspected, &row.model, None)?;
                }
                let reason = LockReason::TheftSuspected;
                return Ok((self.locked(request, &row, reason, 0), None));
            }
            Used::Good => {}
        }
        if row.phase == Phase::Approved
            && let Some(account) = row.account
        {
            self.wake.page(account);
        }
        if due {
            let interval = self.interval(*wait_s);
            let reason = LockReason::ConsentDue;
            return Ok((self.locked(request, &row, reason, interval), wait));
        }
        if !*renew {
            return Ok((self.pause(*wait_s), wait));
        }
        let next = proof.generation.0.saturating_add(1);
        let lease = signed(
            &self.keys.session,
            &Lease {
                device_id: request.device_id.clone(),
                activation_id: *activation_id,
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
        Ok((
            self.checked_in(Some(lease), None, None, self.interval(*wait_s)),
            None,
        ))
    }

    fn interval(&self, wait_s: u16) -> u32 {
        match wait_s {
            0 => self.settings.check_in_s,
            _ => 1.min(self.settings.check_in_s),
        }
    }

    /// Nothing to say; a device that waits comes back at once.
    fn pause(&self, wait_s: u16) -> Said {
        self.checked_in(None, None, None, self.interval(wait_s))
    }

    /// This activation is over, and no order waits.
    fn closed(&self, request: &Request<'_>, row: &ActivationRow) -> Said {
        self.locked(request, row, LockReason::Revoked, self.settings.check_in_s)
    }

    fn checked_in(
        &self,
        lease: Option<Vec<u8>>,
        statement: Option<Vec<u8>>,
        order: Option<Vec<u8>>,
        interval_s: u32,
    ) -> Said {
        Said::CheckedIn {
            lease,
            statement,
            order,
            interval_s,
        }
    }

    fn locked(
        &self,
        request: &Request<'_>,
        row: &ActivationRow,
        reason: LockReason,
        interval_s: u32,
    ) -> Said {
        let statement = signed(
            &self.keys.session,
            &Statement {
                device_id: request.device_id.clone(),
                activation_id: nrd_agent::wire::ActivationId(row.id),
                nonce: request.nonce,
                reason,
            },
        );
        self.checked_in(None, Some(statement), None, interval_s)
    }
}
