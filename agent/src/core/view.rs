//! What the machine's values mean: the state as callers see it, whether access is
//! open, and what a verified order means here. Changes nothing.

use super::{Core, Job, Mode};
use crate::error::Error;
use crate::lease::{LeaseStatus, Now};
use crate::order::{OrderContext, Verdict, evaluate};
use crate::state::{Activation, PersistedState, State};
use crate::wire::{DeviceId, Digest, LockReason, Order};

impl Core {
    fn now(&self) -> Now {
        Now {
            powered_s: self.time.powered_s(),
            used_s: self.time.used_s(),
            boot: self.held.boots,
            wall_s: self.time.wall_s.filter(|&w| w >= self.held.time_floor),
        }
    }

    /// The activation in force, open or locked.
    pub fn activation(&self) -> Option<&Activation> {
        match (&self.mode, &self.held.state) {
            (Mode::Live(_), PersistedState::Active(a)) => Some(a),
            _ => None,
        }
    }

    /// The lease's state, while an activation is held.
    pub fn lease_status(&self) -> Option<LeaseStatus> {
        Some(self.activation()?.lease.status(self.now()))
    }

    /// The state as callers see it.
    pub fn state(&self) -> State {
        match &self.mode {
            Mode::Boot(boot) => boot.stuck().map_or(State::Booting, State::Locked),
            Mode::Lost => State::Locked(LockReason::JournalLost),
            Mode::Wipe(_) => State::Wiping,
            Mode::Live(_) => match &self.held.state {
                PersistedState::Clean => State::Clean,
                PersistedState::Failed => State::WipeFailed,
                PersistedState::Filling => State::Filling,
                PersistedState::Activating(_) => State::Activating,
                PersistedState::SignedOut(_) => State::SignedOut,
                PersistedState::Active(a) => self.closed_by(a).map_or(State::Active, State::Locked),
            },
        }
    }

    /// Why access to this activation is closed, if it is.
    fn closed_by(&self, a: &Activation) -> Option<LockReason> {
        if a.lock.is_some() {
            a.lock
        } else if !self.session {
            Some(LockReason::SessionLost)
        } else if self.time.powered_s() >= self.held.charged_s {
            Some(LockReason::NotStored)
        } else {
            match a.lease.status(self.now()) {
                LeaseStatus::Open { .. } => None,
                LeaseStatus::Expired { .. } | LeaseStatus::DeadMan => {
                    Some(LockReason::LeaseExpired)
                }
            }
        }
    }

    /// True while a step that failed is tried again: its pieces are no progress.
    pub(crate) fn is_repeating(&self) -> bool {
        match &self.mode {
            Mode::Boot(boot) => boot.is_repeating(),
            Mode::Wipe(wipe) => wipe.repeating,
            Mode::Lost | Mode::Live(_) => false,
        }
    }

    /// True when time must be charged before anything is served.
    pub(crate) fn owes_charge(&self) -> bool {
        matches!(self.mode, Mode::Live(Job::Idle)) && self.time.powered_s() >= self.held.charged_s
    }

    /// What a verified order means here. Nothing that a device holds is lost, or
    /// being found out, may be answered with "not applicable".
    pub fn judge(
        &self,
        order: &Order,
        digest: &Digest,
        device: &DeviceId,
    ) -> Result<Verdict, Error> {
        use crate::wire::OrderResult;
        let (epoch, activation_id, wiping, seen) = match (&self.mode, &self.held.state) {
            (Mode::Boot(_), _) => return Err(Error::Busy),
            (Mode::Lost, _) => return Err(Error::WrongState),
            // Not yet for good: the answer would be too early.
            (Mode::Wipe(_), _) if self.is_uncommitted() => return Err(Error::Busy),
            (Mode::Wipe(w), _) => (
                w.tombstone.epoch,
                Some(&w.tombstone.activation_id),
                true,
                None,
            ),
            (Mode::Live(_), PersistedState::Active(a)) => {
                (a.epoch, Some(&a.id), false, Some(&a.seen))
            }
            (Mode::Live(_), PersistedState::SignedOut(s)) => {
                (s.epoch, Some(&s.id), false, Some(&s.seen))
            }
            // An order may be for the activation before this attempt, or for the
            // one that the service has granted and this device not yet stored.
            (Mode::Live(_), PersistedState::Activating(t)) => {
                if order.activation_id == t.id && !order.kind.is_terminal() {
                    return Err(Error::Busy);
                }
                let named = t.before.as_ref().filter(|b| **b == order.activation_id);
                (t.epoch, named.or(Some(&t.id)), false, None)
            }
            (
                Mode::Live(_),
                PersistedState::Clean | PersistedState::Failed | PersistedState::Filling,
            ) => (self.held.epoch, None, false, None),
        };
        if self.held.last_order.as_ref() == Some(digest) {
            return Ok(Verdict::Answer(OrderResult::AlreadyApplied));
        }
        let context = OrderContext {
            device_id: device,
            epoch,
            activation_id,
            wiping,
            seen,
        };
        match evaluate(order, &context) {
            // It was, in RAM alone: the answer would be too early.
            Verdict::Answer(OrderResult::AlreadyApplied) if !self.saved && !wiping => {
                Err(Error::Busy)
            }
            verdict => Ok(verdict),
        }
    }
}
