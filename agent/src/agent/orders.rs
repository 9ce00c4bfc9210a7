//! Signed orders over any channel, and sign-out.

use super::{Agent, id};
use crate::error::Error;
use crate::log::value;
use crate::order::{OrderContext, Verdict, evaluate};
use crate::state::{PersistedState, WipePhase};
use crate::trace::event;
use crate::wire::{
    self, Body, Delegation, Kind, Order, OrderKind, OrderOutcome, OrderResult, WipeReason, codec,
    codec::{Blank, Code},
};
use nrd_hal::{Crypto, Platform};

impl<P: Platform> Agent<'_, P> {
    /// Applies a signed order, however it came. Writes the signed outcome into
    /// `out` (at least 192 bytes); returns what was done and the outcome's
    /// length. An order that does not verify is an error and changes nothing.
    ///
    /// `Applied` means durable: for a deactivation, the tombstone is on flash.
    ///
    /// ```
    /// use nrd_agent::wire::{OrderKind, OrderResult};
    /// use nrd_agent::{Error, State};
    /// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
    /// # let mut service = StubService::new(1);
    /// # let device = TestPlatform::builder().build(&service);
    /// # let mut memory = TestMemory::default();
    /// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
    /// # service.serve(&mut agent).unwrap();
    /// # agent.start_activation().unwrap();
    /// # service.serve(&mut agent).unwrap();
    /// # service.send_order(OrderKind::Deactivate);
    /// # let order = service.pending.take().unwrap();
    /// // `order` came by MQTT, or over the local network.
    /// let mut outcome = [0; 192];
    /// let mut forged = order.clone();
    /// *forged.last_mut().unwrap() ^= 1;
    /// assert_eq!(agent.apply_order(&forged, &mut outcome), Err(Error::BadSignature));
    /// assert_eq!(agent.state(), State::Active);
    ///
    /// let (result, n) = agent.apply_order(&order, &mut outcome).unwrap();
    /// assert_eq!(result, OrderResult::Applied);
    /// assert_eq!(agent.state(), State::Wiping);
    /// // Send `outcome[..n]` back the way that the order came.
    /// # assert!(n > 64);
    /// ```
    pub fn apply_order(
        &mut self,
        frame: &[u8],
        out: &mut [u8],
    ) -> Result<(OrderResult, usize), Error> {
        let mut outcome = OrderOutcome::BLANK;
        self.apply_order_frame(frame, &mut outcome)?;
        let n = self.sign_outcome(&mut outcome, out)?;
        Ok((outcome.result, n))
    }

    /// Applies a signed order; puts what is to be signed into `outcome`.
    pub(super) fn apply_order_frame(
        &mut self,
        frame: &[u8],
        outcome: &mut OrderOutcome,
    ) -> Result<(), Error> {
        if self.boot != super::BootPhase::Ready {
            return Err(Error::Busy);
        }
        let mut order = Order::BLANK;
        let trust = self.trust()?;
        wire::peek_into(frame, Order::KIND, &mut order)?;
        // An order under another key version than the one in force cannot be
        // verified: that key is no longer known here. So nothing it says
        // counts, and the answer makes the service sign it again.
        let retired = order.key_version != trust.order_key_version;
        if !retired {
            order = Order::BLANK;
            wire::read_signed::<P::Crypto>(frame, Order::KIND, &trust.order_key, &mut order)?;
        }
        let counter = self.counter()?;
        outcome.device_id = self.device_id;
        outcome.order = P::Crypto::sha256(frame);
        outcome.epoch = counter;
        outcome.result = OrderResult::KeyRetired;
        if retired {
            return Ok(());
        }
        outcome.result = OrderResult::AlreadyApplied;
        if self.snapshot.last_order == Some(outcome.order) {
            return Ok(());
        }
        outcome.result = match evaluate(&order, &self.order_context(counter)) {
            Verdict::Answer(result) => result,
            Verdict::Apply(kind) => {
                match kind {
                    OrderKind::Deactivate => {
                        self.begin_wipe(WipeReason::Order, Some(&outcome.order));
                    }
                    OrderKind::SignOut => self.sign_out_by(Some(&order))?,
                }
                OrderResult::Applied
            }
        };
        event!("order answered with result {}", outcome.result as u8);
        Ok(())
    }

    fn order_context(&self, counter: u64) -> OrderContext<'_> {
        let (activation_id, seen) = match (&self.tombstone, &self.snapshot.state) {
            (Some(t), _) => (Some(&t.activation_id), None),
            (_, PersistedState::Active(a)) => (Some(&a.id), Some(&a.seen)),
            (_, PersistedState::SignedOut { id, seen, .. }) => (Some(id), Some(seen)),
            (_, PersistedState::Activating { signed_out, .. }) => (signed_out.as_ref(), None),
            (_, PersistedState::Clean | PersistedState::Failed) => (None, None),
        };
        OrderContext {
            device_id: &self.device_id,
            epoch: self.tombstone.as_ref().map_or(counter, |t| t.epoch),
            activation_id,
            wiping: self.tombstone.is_some(),
            seen,
        }
    }

    /// Writes the signed frame of an outcome into `out`; returns its length.
    pub(super) fn sign_outcome(
        &mut self,
        outcome: &mut OrderOutcome,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let n = codec::write(OrderOutcome::CONTEXT, outcome, out)?;
        self.sign_frame(out, n)
    }

    /// A person signs out: the session and all personal data die at once; the
    /// device stays on the account's list until it is removed there.
    pub fn sign_out(&mut self) -> Result<(), Error> {
        if self.tombstone.is_some() || self.activation().is_none() {
            return Err(Error::WrongState);
        }
        self.sign_out_by(None)
    }

    /// Signs out, for an order or for a person at the device.
    fn sign_out_by(&mut self, order: Option<&Order>) -> Result<(), Error> {
        let mut next = self.snapshot;
        let (id, epoch, seen) = match &self.snapshot.state {
            PersistedState::Active(a) => (&a.id, a.epoch, &a.seen),
            PersistedState::SignedOut {
                id, epoch, seen, ..
            } => (id, *epoch, seen),
            _ => return Err(Error::WrongState),
        };
        next.state = PersistedState::SignedOut {
            id: *id,
            epoch,
            service_notified: order.is_some(),
            seen: *seen,
        };
        if let (Some(order), PersistedState::SignedOut { seen, .. }) = (order, &mut next.state) {
            seen.note(order.key_version, order.seq);
        }
        // The journal is the commit; a cut before the slots are gone is
        // finished at boot.
        self.commit(next)?;
        self.forget_secrets();
        self.vault.unmount();
        self.exchange.restart();
        if self.efface_slots() {
            return Ok(());
        }
        // A device whose slot still holds a key is not signed out. The wipe
        // tries again, and reports the slot if it fails as well.
        self.begin_wipe(WipeReason::Recovered, None);
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
            let n = self.get_journal(id::TRUST);
            let frame = value(self.scratch, n.map_err(|_| Error::WrongState)?);
            let root = &self.config.service_root;
            let trust = self.trust.insert(Delegation::BLANK);
            if wire::read_signed::<P::Crypto>(frame, Delegation::KIND, root, trust).is_err() {
                self.trust = None;
            }
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
