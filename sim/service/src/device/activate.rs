//! Activation by a short code.

use super::Response;
use crate::store::{ActivationPhase, ActivationRow, DeviceRow, NewActivation};
use crate::{Error, Result, Service};
use nrd_agent::wire::{
    ActivationId, Answer, DeviceId, EndReason, Grant, PolicyVersion, RefusalCode, Series,
    TokenSecret,
};
use nrd_sim_base::sign::signed;

/// The alphabet of user codes: no vowels, no digits (RFC 8628 §6.1).
pub(crate) const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Length of a user code: 20⁸, 34 bits.
pub(crate) const CODE_LEN: usize = 8;

impl Service {
    pub(super) fn activate_start(
        &self,
        device: &DeviceRow,
        id: &[u8; 16],
        epoch: u64,
        previous_receipt: Option<[u8; 32]>,
    ) -> Result<Response> {
        if self.bars(device, id) {
            return Ok(Response::refused(RefusalCode::UnknownMaker, 3600));
        }
        let now = self.now_s();
        let started = self.store.start_activation(&NewActivation {
            id: *id,
            device: &device.id,
            epoch,
            code: self.fresh_code(now)?,
            pictogram: self.random::<1>()?[0] % 16,
            series: self.random()?,
            previous_receipt,
            now,
            code_life_s: self.settings.code_life_s,
        });
        match started {
            Ok(row) => self.activation_now(device, &row, now),
            Err(Error::WrongState) => Ok(Response::refused(RefusalCode::BadRequest, 3600)),
            Err(Error::TooMany) => Ok(Response::refused(RefusalCode::SlowDown, 3600)),
            Err(e) => Err(e),
        }
    }

    pub(super) fn activate_poll(
        &self,
        device: &DeviceRow,
        id: &[u8; 16],
        epoch: u64,
    ) -> Result<Response> {
        match self.store.activation(id)? {
            Some(row) if row.device == device.id && row.epoch == epoch => {
                let now = self.now_s();
                let expired = row.created + self.settings.code_life_s < now;
                if row.phase == ActivationPhase::Pending && !expired {
                    return Ok(Response::Plain(Answer::Pending {
                        interval_s: self.settings.poll_s,
                    }));
                }
                if row.phase == ActivationPhase::Pending {
                    self.store.end_attempt(id)?;
                    return Ok(Response::ended(EndReason::Expired));
                }
                self.activation_now(device, &row, now)
            }
            _ => Ok(Response::refused(RefusalCode::UnknownActivation, 60)),
        }
    }

    pub(super) fn activate_cancel(&self, device: &DeviceRow, id: &[u8; 16]) -> Result<Response> {
        if let Some(row) = self.store.activation(id)?
            && row.device == device.id
        {
            self.store.end_attempt(id)?;
        }
        Ok(Response::ended(EndReason::Cancelled))
    }

    /// The answer about an attempt now.
    fn activation_now(
        &self,
        device: &DeviceRow,
        row: &ActivationRow,
        now: u64,
    ) -> Result<Response> {
        match (row.phase, &row.code) {
            (ActivationPhase::Pending, Some(code)) => {
                let age = now.saturating_sub(row.created);
                Ok(Response::Plain(Answer::Code {
                    user_code: code
                        .as_str()
                        .try_into()
                        .map_err(|_| broken("activations.code"))?,
                    pictogram: row.pictogram,
                    expires_in_s: self.settings.code_life_s.saturating_sub(age) as u32,
                    interval_s: self.settings.poll_s,
                }))
            }
            (ActivationPhase::Approved, _)
                if now > row.approved.unwrap_or(row.created) + self.settings.unconfirmed_s =>
            {
                self.store.expire_unconfirmed(&row.id)?;
                Ok(Response::ended(EndReason::Expired))
            }
            // Byte-identical until the first renewal, so that a lost answer or
            // a power cut costs nothing.
            (ActivationPhase::Approved | ActivationPhase::Active, _)
                if self.bars(device, &row.id) =>
            {
                Ok(Response::refused(RefusalCode::UnknownMaker, 3600))
            }
            (ActivationPhase::Approved | ActivationPhase::Active, _)
                if row.revoked.is_none() && row.generation == 1 =>
            {
                Ok(Response::Granted(self.grant(device, row)?))
            }
            (ActivationPhase::Approved | ActivationPhase::Active, _) => {
                Ok(Response::refused(RefusalCode::UnknownActivation, 3600))
            }
            // Declined, or over. A pending attempt without a code is not
            // written by this program.
            (
                ActivationPhase::Pending
                | ActivationPhase::SignedOut
                | ActivationPhase::Removing
                | ActivationPhase::Delivered
                | ActivationPhase::Wiped
                | ActivationPhase::WipeFailed
                | ActivationPhase::Ended,
                _,
            ) => Ok(Response::ended(EndReason::Denied)),
        }
    }

    fn bars(&self, device: &DeviceRow, id: &[u8; 16]) -> bool {
        self.barred_activation(id, (&device.id, &device.model, &device.agent_version))
    }

    fn grant(&self, device: &DeviceRow, row: &ActivationRow) -> Result<Vec<u8>> {
        let account = self
            .store
            .account(row.account.ok_or_else(|| broken("activations.account"))?)?;
        let name = self.personal(account.id, "name", &account.sealed.name)?;
        let mut short = String::new();
        for c in name.chars() {
            if short.len() + c.len_utf8() > 32 {
                break;
            }
            short.push(c);
        }
        Ok(signed(
            &self.keys.session,
            &Grant {
                device_id: DeviceId::new(&device.id).ok_or_else(|| broken("devices.id"))?,
                activation_id: ActivationId(row.id),
                epoch: row.epoch,
                series: Series(row.series),
                token: TokenSecret(*self.keys.token(&row.series, 1)),
                remember: row.remember,
                policy: PolicyVersion(row.policy),
                display_name: short
                    .as_str()
                    .try_into()
                    .map_err(|_| broken("accounts.name"))?,
                terms: self.settings.terms,
            },
        ))
    }

    /// A code that was not handed out within a day, drawn without bias.
    fn fresh_code(&self, now: u64) -> Result<String> {
        loop {
            let mut code = String::new();
            while code.len() < CODE_LEN {
                let [b] = self.random::<1>()?;
                // 240 is the largest multiple of 20 that a byte holds.
                if b < 240 {
                    code.push(char::from(ALPHABET[usize::from(b % 20)]));
                }
            }
            if !self.store.code_in_use(&code, now)? {
                return Ok(code);
            }
        }
    }
}

/// A column holds what this program never stores there.
fn broken(column: &str) -> Error {
    Error::Internal(format!("{column} does not fit its frame"))
}
