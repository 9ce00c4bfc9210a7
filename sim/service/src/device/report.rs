//! What devices report: answers to orders, receipts, sign-outs.

use super::Response;
use crate::account::signer;
use crate::events::EventKind;
use crate::store::{ActivationPhase, ActivationRow, DeviceRow, NewReceipt};
use crate::{Error, Result, Service, metrics, short_id};
use nrd_agent::wire::{
    ActivationId, Answer, Digest, OrderKind, OrderOutcome, OrderResult, Receipt, RefusalCode,
    Subject, decode_signed, peek, receipt_digest,
};
use nrd_hal::crypto::RingCrypto;
use nrd_sim_forensics::verify::{Known, Question, Refusal, Verdict, Verified, verify_with};

impl Service {
    pub(super) fn take_outcome(&self, device: &DeviceRow, frame: &[u8]) -> Result<Response> {
        let Ok(o) = decode_signed::<OrderOutcome, RingCrypto>(frame, &device.public_key) else {
            return Ok(Response::refused(RefusalCode::BadRequest, 60));
        };
        if o.device_id.as_str() != device.id {
            return Ok(Response::refused(RefusalCode::BadRequest, 60));
        }
        let applied = match o.result {
            OrderResult::Applied | OrderResult::AlreadyApplied => true,
            OrderResult::NotApplicable | OrderResult::Stale => false,
        };
        let row = self
            .store
            .outcome(&o.order, &device.id, o.result, self.now_s())?;
        if let Some((row, first)) = row
            && let Some(account) = row.account
        {
            // A receipt may have come first; then the account knows already.
            let kind = match row.phase {
                ActivationPhase::Delivered => Some(EventKind::Delivered),
                ActivationPhase::SignedOut => Some(EventKind::SignedOutThere),
                ActivationPhase::Pending
                | ActivationPhase::Approved
                | ActivationPhase::Active
                | ActivationPhase::Removing
                | ActivationPhase::Wiped
                | ActivationPhase::WipeFailed
                | ActivationPhase::Ended => None,
            };
            // A device that repeats itself fills nobody's list.
            if let Some(kind) = kind.filter(|_| applied && first) {
                let subject = row.name.as_deref().unwrap_or(&row.model);
                self.note_of(account, kind, &row, subject, None)?;
            }
            self.notify_page(account);
        }
        Ok(Response::Plain(Answer::Noted))
    }

    /// What a receipt proves of this activation: the same when it is stored and
    /// whenever it is shown.
    pub(crate) fn judge_receipt(
        &self,
        frame: &[u8],
        device: &str,
        row: Option<&ActivationRow>,
    ) -> Result<std::result::Result<Verified, Refusal>> {
        let maker_root = self.keys.maker_public();
        let orders = match row {
            Some(row) => self.orders_given(row, frame)?,
            None => Vec::new(),
        };
        let known = row.map(|row| Known {
            activation_id: ActivationId(row.id),
            epoch: row.epoch,
            orders: Some(&orders),
        });
        let question = Question {
            device_id: Some(device),
            known,
            ..Question::new(&maker_root)
        };
        let lists = self.maker.lists();
        Ok(verify_with(frame, question, &lists, self.now_s()))
    }

    /// Digests of the orders to wipe that were given for an activation (SPEC §9):
    /// those in the database, each under every key that signed it; and the one
    /// that the receipt names, where a restored database has forgotten it and
    /// this service's own key signs the same frame again.
    fn orders_given(&self, row: &ActivationRow, frame: &[u8]) -> Result<Vec<Digest>> {
        let mut given = self.store.wipe_orders(&row.id)?;
        let named = match peek::<Receipt<'_>>(frame).map(|r| r.subject) {
            Ok(Subject::Wipe { order, .. }) => order,
            Ok(Subject::Clean { .. } | Subject::Stored { .. }) | Err(_) => None,
        };
        if let Some(named) = named
            && !given.contains(&named)
            && self.signed_once(row, &named)?
        {
            given.push(named);
        }
        Ok(given)
    }

    /// Whether an order key of this service made this digest: nobody else can.
    fn signed_once(&self, row: &ActivationRow, digest: &Digest) -> Result<bool> {
        /// Key versions and positions that are tried: an activation has one order
        /// to wipe, and a copy that is brought back is not much older.
        const KEYS_BEFORE: u32 = 12;
        const KEYS_AFTER: u32 = 4;
        const POSITIONS: u64 = 3;
        let newest = self.store.newest_order_key()?;
        let sign = signer(&self.keys);
        let first = newest.saturating_sub(KEYS_BEFORE).max(1);
        for version in first..=newest.saturating_add(KEYS_AFTER) {
            for kind in OrderKind::ALL.iter().filter(|kind| kind.is_terminal()) {
                for seq in 1..=POSITIONS {
                    if sign(row, *kind, version, seq)?.0 == *digest {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    pub(super) fn take_receipt(&self, device: &DeviceRow, frame: &[u8]) -> Result<Response> {
        let receipt = decode_signed::<Receipt<'_>, RingCrypto>(frame, &device.public_key);
        let digest = receipt_digest::<RingCrypto>(frame);
        let (Ok(receipt), Some(digest)) = (receipt, digest) else {
            return Ok(Response::refused(RefusalCode::BadRequest, 60));
        };
        let Subject::Wipe { activation_id, .. } = receipt.subject else {
            return Ok(Response::refused(RefusalCode::BadRequest, 3600));
        };
        // A good signature says who speaks, not that it is true.
        let row = self.store.activation(&activation_id.0)?;
        let row = row.filter(|row| row.device == device.id);
        let Ok(judged) = self.judge_receipt(frame, &device.id, row.as_ref())? else {
            return Ok(Response::refused(RefusalCode::BadRequest, 3600));
        };
        let (clean, kind, says) = match judged.verdict {
            Verdict::Proven => (true, EventKind::Wiped, "clean"),
            Verdict::Failed => (false, EventKind::WipeFailed, "failed"),
            Verdict::Contradictory(_) => (false, EventKind::WipeFailed, "contradictory"),
            Verdict::Revoked
            | Verdict::NotThisDevice
            | Verdict::Replayed
            | Verdict::NotThisQuestion
            | Verdict::NotChecked => (false, EventKind::WipeFailed, "not proven"),
        };
        if !judged.contradictions.is_empty() {
            let contradicts = judged.contradictions.join("; ");
            tracing::warn!(activation = %short_id(&activation_id.0), contradicts, "receipt contradicts itself");
        }
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
        let kept = self.store.keep_receipt(&receipt, |row| {
            let subject = row.name.as_deref().unwrap_or(&row.model);
            self.event_of(kind, row, subject, None)
        });
        let row = match kept {
            Err(Error::TooMany) => return Ok(Response::refused(RefusalCode::SlowDown, 86_400)),
            kept => kept?,
        };
        metrics::count(&self.metrics.receipts, "says", says);
        tracing::info!(activation = %short_id(&activation_id.0), says, "receipt kept");
        if let Some(account) = row.and_then(|r| r.account) {
            self.notify_page(account);
        }
        Ok(Response::Plain(Answer::ReceiptStored { digest }))
    }

    pub(super) fn signed_out_there(
        &self,
        device: &DeviceRow,
        id: &[u8; 16],
        epoch: u64,
    ) -> Result<Response> {
        if let Some(row) = self.store.activation(id)?
            && row.device == device.id
            && row.epoch == epoch
        {
            self.store.signed_out(id)?;
            // Said twice, it is noted once.
            let news = matches!(
                row.phase,
                ActivationPhase::Approved | ActivationPhase::Active
            );
            if let Some(account) = row.account.filter(|_| news) {
                let subject = row.name.as_deref().unwrap_or(&row.model);
                self.note_of(account, EventKind::SignedOutThere, &row, subject, None)?;
            }
        }
        Ok(Response::Plain(Answer::Noted))
    }
}
