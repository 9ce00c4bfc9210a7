//! What devices report: answers to orders, receipts, sign-outs.

use super::Said;
use crate::events::Kind;
use crate::store::{DeviceRow, NewReceipt, Phase};
use crate::{Result, Service, meter, short};
use nrd_agent::wire::{
    Answer, Method, OrderOutcome, OrderResult, Receipt, RefusalCode, Subject, decode_signed,
    receipt_digest,
};
use nrd_hal::crypto::RingCrypto;

impl Service {
    pub(super) fn take_outcome(&self, device: &DeviceRow, frame: &[u8]) -> Result<Said> {
        let Ok(o) = decode_signed::<OrderOutcome, RingCrypto>(frame, &device.public_key) else {
            return Ok(Said::refused(RefusalCode::BadRequest, 60));
        };
        let (name, applied) = match o.result {
            OrderResult::Applied => ("applied", true),
            OrderResult::AlreadyApplied => ("already applied", true),
            OrderResult::NotApplicable => ("not applicable", false),
            OrderResult::Stale => ("stale", false),
            OrderResult::KeyRetired => ("retired", false),
        };
        if o.device_id.as_str() != device.id {
            return Ok(Said::refused(RefusalCode::BadRequest, 60));
        }
        // An order whose key was retired on its way was signed again already;
        // its answer concludes nothing.
        let row = match o.result {
            OrderResult::KeyRetired => None,
            _ => self.store.outcome(&o.order, &device.id, name, applied)?,
        };
        if let Some(row) = row
            && let Some(account) = row.account
        {
            // Only what is news: a receipt may have come first.
            let kind = match row.phase {
                Phase::Delivered => Some(Kind::Delivered),
                Phase::SignedOut => Some(Kind::SignedOutThere),
                _ => None,
            };
            if let Some(kind) = kind.filter(|_| applied) {
                let subject = row.name.as_deref().unwrap_or(&row.model);
                self.note(account, kind, subject, None)?;
            }
            self.tell_page(account);
        }
        Ok(Said::Plain(Answer::Noted))
    }

    pub(super) fn take_receipt(&self, device: &DeviceRow, frame: &[u8]) -> Result<Said> {
        let receipt = decode_signed::<Receipt<'_>, RingCrypto>(frame, &device.public_key);
        let digest = receipt_digest::<RingCrypto>(frame);
        let (Ok(receipt), Some(digest)) = (receipt, digest) else {
            return Ok(Said::refused(RefusalCode::BadRequest, 60));
        };
        let Subject::Wipe { activation_id, .. } = receipt.subject else {
            return Ok(Said::refused(RefusalCode::BadRequest, 3600));
        };
        let clean = receipt.method != Method::Failed;
        let kind = match clean {
            true => Kind::Wiped,
            false => Kind::WipeFailed,
        };
        // The former owner learns that the wipe was proven, never from where
        // the receipt came.
        let receipt = NewReceipt {
            digest: &digest,
            device: &device.id,
            activation: &activation_id.0,
            frame,
            clean,
            now: self.now_s(),
        };
        let row = self.store.keep_receipt(&receipt, |row| {
            let subject = row.name.as_deref().unwrap_or(&row.model);
            self.event_of(kind, row, subject, None)
        })?;
        let said = if clean { "clean" } else { "failed" };
        meter::count(&self.meter.receipts, "says", said);
        tracing::info!(activation = %short(&activation_id.0), says = said, "receipt kept");
        if let Some(account) = row.and_then(|r| r.account) {
            self.tell_page(account);
        }
        Ok(Said::Plain(Answer::ReceiptStored { digest }))
    }

    pub(super) fn signed_out_there(
        &self,
        device: &DeviceRow,
        id: &[u8; 16],
        epoch: u64,
    ) -> Result<Said> {
        if let Some(row) = self.store.activation(id)?
            && row.device == device.id
            && row.epoch == epoch
        {
            self.store.signed_out(id)?;
            if let Some(account) = row.account {
                let subject = row.name.as_deref().unwrap_or(&row.model);
                self.note(account, Kind::SignedOutThere, subject, None)?;
            }
        }
        Ok(Said::Plain(Answer::Noted))
    }
}
