//! Signed orders over any channel, and sign-out.

use super::{Agent, id};
use crate::error::Error;
use crate::order::{Facts, Verdict, judge};
use crate::state::{Stored, WipePhase};
use crate::trace::event;
use crate::wire::{
    self, ActivationId, Body, Delegation, Digest, Kind, Order, OrderKind, OrderOutcome,
    OrderResult, WipeReason, codec,
    codec::{Blank, Code},
};
use nrd_hal::{Crypto, Platform};

impl<P: Platform> Agent<'_, P> {
    /// Applies a signed order, however it came. Writes the signed outcome into
    /// `out` (at least 192 bytes); returns what was done and the outcome's
    /// length. An order that does not verify is an error and changes nothing.
    ///
    /// `Applied` means durable: for a deactivation, the tombstone is on flash.
    #[inline(never)]
    pub fn apply_order(
        &mut self,
        frame: &[u8],
        out: &mut [u8],
    ) -> Result<(OrderResult, usize), Error> {
        if self.phase != super::Phase::Ready {
            return Err(Error::Busy);
        }
        let trust = *self.trust()?;
        let mut order = Order::BLANK;
        wire::peek_into(frame, Order::KIND, &mut order)?;
        let digest = P::Crypto::sha256(frame);
        let counter = self.counter()?;
        if order.key_version != trust.order_key_version {
            // Which key signed it cannot be told any more; nothing it says
            // counts. The service signs pending orders again.
            return self.outcome(digest, OrderResult::KeyRetired, counter, out);
        }
        order = Order::BLANK;
        wire::read_signed::<P::Crypto>(frame, Order::KIND, &trust.order_key, &mut order)?;
        if self.snapshot.last_order == Some(digest) {
            return self.outcome(digest, OrderResult::AlreadyApplied, counter, out);
        }
        let (activation_id, epoch, seen) = self.order_facts(counter);
        let verdict = judge(
            &order,
            Facts {
                device_id: &self.device_id,
                epoch,
                activation_id,
                wiping: self.tombstone.is_some(),
                seen: &seen,
            },
        );
        let result = match verdict {
            Verdict::Answer(result) => result,
            Verdict::Apply(OrderKind::Deactivate) => {
                self.begin_wipe(WipeReason::Order, Some(digest))?;
                OrderResult::Applied
            }
            Verdict::Apply(OrderKind::SignOut) => {
                let mut seen = seen;
                seen.note(order.key_version, order.seq);
                self.sign_out_with(seen, true)?;
                OrderResult::Applied
            }
        };
        event!("order answered with result {}", result as u8);
        self.outcome(digest, result, counter, out)
    }

    fn order_facts(&self, counter: u64) -> (Option<ActivationId>, u64, crate::order::SeenOrders) {
        if let Some(t) = &self.tombstone {
            return (Some(t.activation_id), t.epoch, Default::default());
        }
        match &self.snapshot.stored {
            Stored::Active(a) => (Some(a.id), counter, a.seen),
            Stored::SignedOut { id, seen, .. } => (Some(*id), counter, *seen),
            Stored::Activating { signed_out, .. } => (*signed_out, counter, Default::default()),
            Stored::Clean | Stored::Failed => (None, counter, Default::default()),
        }
    }

    fn outcome(
        &mut self,
        order: Digest,
        result: OrderResult,
        epoch: u64,
        out: &mut [u8],
    ) -> Result<(OrderResult, usize), Error> {
        let mut body = OrderOutcome {
            device_id: self.device_id,
            order,
            result,
            epoch,
        };
        let n = codec::write(OrderOutcome::CONTEXT, &mut body, out).ok_or(Error::BufferTooSmall)?;
        let n = self.sign_frame(out, n)?;
        Ok((result, n))
    }

    /// A person signs out: the session and all personal data die at once; the
    /// device stays on the account's list until it is removed there.
    #[inline(never)]
    pub fn sign_out(&mut self) -> Result<(), Error> {
        let seen = match &self.snapshot.stored {
            Stored::Active(a) if self.tombstone.is_none() => a.seen,
            _ => return Err(Error::WrongState),
        };
        self.sign_out_with(seen, false)
    }

    fn sign_out_with(&mut self, seen: crate::order::SeenOrders, told: bool) -> Result<(), Error> {
        let (id, epoch) = match &self.snapshot.stored {
            Stored::Active(a) => (a.id, a.epoch),
            Stored::SignedOut { id, epoch, .. } => (*id, *epoch),
            _ => return Err(Error::WrongState),
        };
        let mut next = self.snapshot;
        next.stored = Stored::SignedOut {
            id,
            epoch,
            told,
            seen,
        };
        // The journal is the commit; a cut before the slots are gone is
        // finished at boot.
        self.commit(next)?;
        self.forget_secrets();
        self.vault.unmount();
        self.exchange.restart();
        if self.efface_slots() {
            return Ok(());
        }
        // A slot that will not die cannot be called signed out: wipe, report.
        self.begin_wipe(WipeReason::Recovered, None)?;
        if let Some(t) = &mut self.tombstone {
            t.phase = WipePhase::Keys;
        }
        Ok(())
    }

    /// Reads what the session key in force must have signed into a blank body.
    pub(super) fn read_session_signed<'f>(
        &mut self,
        frame: &'f [u8],
        kind: &Kind,
        body: &mut dyn Code<'f>,
    ) -> Result<(), Error> {
        let key = &self.trust()?.session_key;
        wire::read_signed::<P::Crypto>(frame, kind, key, body)
    }

    /// The delegation in force: at its first use in a boot read from the journal,
    /// and held against the root that this firmware pins.
    pub(super) fn trust(&mut self) -> Result<&Delegation, Error> {
        if self.trust.is_none() {
            let mut buf = [0u8; Delegation::MAX];
            let n = self.get_journal(id::TRUST, &mut buf);
            let frame = buf.get(..n.map_err(|_| Error::WrongState)?);
            let mut trust = Delegation::BLANK;
            wire::read_signed::<P::Crypto>(
                frame.unwrap_or_default(),
                Delegation::KIND,
                &self.config.service_root,
                &mut trust,
            )
            .map_err(|_| Error::WrongState)?;
            self.trust = Some(trust);
        }
        self.trust.as_ref().ok_or(Error::WrongState)
    }

    /// Accepts a newer delegation; older ones are refused silently, for they
    /// may simply have been on their way.
    pub(super) fn accept_delegation(&mut self, frame: &[u8]) -> Result<(), Error> {
        let mut d = Delegation::BLANK;
        let root = &self.config.service_root;
        wire::read_signed::<P::Crypto>(frame, Delegation::KIND, root, &mut d)?;
        let newest = self.trust().ok().map(|t| t.order_key_version);
        let newer = d.version > self.snapshot.delegation_version
            || (newest.is_none() && d.version == self.snapshot.delegation_version);
        if !newer || newest.is_some_and(|n| d.order_key_version < n) {
            return Ok(());
        }
        self.put_journal(id::TRUST, frame)?;
        let mut next = self.snapshot;
        next.delegation_version = d.version;
        if d.time_version > next.time_version {
            next.time_version = d.time_version;
            next.time_floor = d.time_floor;
        }
        self.commit(next)?;
        self.trust = Some(d);
        Ok(())
    }
}
