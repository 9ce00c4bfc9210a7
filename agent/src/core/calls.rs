//! What begins a change of a live device: a person's call, a verified order or
//! reply. Each is refused, or begins a job of `live.rs` or a wipe.

use super::live::{Job, Renewal, SignOutStep, Store, StoreStep, SwapStep, TrustStep};
use super::{Core, Delegated, Granted, Mode};
use crate::class::Class;
use crate::error::Error;
use crate::order::SeenOrders;
use crate::state::{Attempt, PersistedState, SignedOut, State};
use crate::wire::{ActivationId, Digest, LockReason, Order, OrderKind, TermBounds, WipeReason};

impl Core {
    pub(super) fn deactivate(&mut self) -> Result<(), Error> {
        let uncommitted = self.is_uncommitted();
        match &mut self.mode {
            Mode::Boot(_) => self.deactivate_in_boot(),
            Mode::Wipe(wipe) if uncommitted => wipe.commit_again(),
            Mode::Wipe(_) => {}
            Mode::Lost | Mode::Live(_) => self.begin_wipe(WipeReason::Local, None),
        }
        Ok(())
    }

    /// `Busy` during the boot, for then nothing is known yet.
    pub(crate) fn booted(&self) -> Result<(), Error> {
        match &self.mode {
            Mode::Boot(_) => Err(Error::Busy),
            Mode::Lost | Mode::Live(_) | Mode::Wipe(_) => Ok(()),
        }
    }

    pub(super) fn start(&mut self, id: &ActivationId) -> Result<(), Error> {
        self.may_start()?;
        let (before, epoch) = match &self.held.state {
            PersistedState::SignedOut(s) => (Some(s.id), s.epoch),
            PersistedState::Active(a) => (Some(a.id), a.epoch),
            PersistedState::Clean
            | PersistedState::Failed
            | PersistedState::Filling
            | PersistedState::Activating(_) => (None, self.held.epoch),
        };
        self.begin(Job::Start(Attempt {
            id: *id,
            epoch,
            before,
            storing: false,
        }));
        Ok(())
    }

    /// Whether an activation may begin: from a clean device, a signed-out one, or
    /// one that lost its session.
    pub(crate) fn may_start(&self) -> Result<(), Error> {
        self.booted()?;
        let state = self.state();
        let allowed = matches!(
            state,
            State::Clean | State::SignedOut | State::Locked(LockReason::SessionLost)
        );
        if !allowed {
            return Err(Error::WrongState);
        }
        if self.held.worn_out {
            return Err(Error::WornOut);
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self) -> Result<(), Error> {
        self.booted()?;
        if self.state() != State::Activating {
            return Err(Error::WrongState);
        }
        self.attempt_ended();
        Ok(())
    }

    /// The attempt is over. Where something of a grant may be on flash it ends in
    /// a wipe, with a receipt; otherwise nothing was stored, and the device is as
    /// it was before.
    ///
    /// Found: a power cut while a grant was stored, and then a removal, left a
    /// `Clean` device with 185 bytes in its vault and no receipt.
    pub(super) fn attempt_ended(&mut self) {
        let PersistedState::Activating(attempt) = self.held.state else {
            return;
        };
        let Mode::Live(job) = &self.mode else { return };
        if attempt.storing || matches!(job, Job::Store(_)) {
            return self.begin_wipe(WipeReason::Abandoned, None);
        }
        self.talk.restart();
        match attempt.before {
            Some(id) => {
                self.held.state = PersistedState::SignedOut(SignedOut {
                    id,
                    epoch: attempt.epoch,
                    service_notified: true,
                    seen: SeenOrders::default(),
                });
                self.signed_out();
            }
            None => {
                self.held.state = PersistedState::Clean;
                self.closed(Job::Save);
            }
        }
    }

    /// The state in force has closed something, and is written after.
    fn closed(&mut self, job: Job) {
        self.saved = false;
        self.begin(job);
    }

    fn signed_out(&mut self) {
        self.session = false;
        self.losses.session = false;
        self.talk.restart();
        self.closed(Job::SignOut(SignOutStep::Close));
    }

    /// Signs out, for an order or for a person at the device.
    pub(super) fn sign_out(&mut self, order: Option<&Order>) -> Result<(), Error> {
        self.booted()?;
        if !matches!(self.mode, Mode::Live(_)) {
            return Err(Error::WrongState);
        }
        match (&self.held.state, order) {
            (PersistedState::Active(a), _) => {
                self.held.state = PersistedState::SignedOut(SignedOut {
                    id: a.id,
                    epoch: a.epoch,
                    service_notified: false,
                    seen: a.seen,
                });
            }
            (PersistedState::SignedOut(_), Some(_)) => {}
            _ => return Err(Error::WrongState),
        }
        if let (PersistedState::SignedOut(s), Some(order)) = (&mut self.held.state, order) {
            s.seen.note(order.key_version, order.seq);
            s.service_notified = true;
        }
        self.signed_out();
        Ok(())
    }

    pub(super) fn order(&mut self, order: &Order, digest: &Digest) -> Result<(), Error> {
        self.booted()?;
        match order.kind {
            OrderKind::Deactivate => {
                self.begin_wipe(WipeReason::Order, Some(digest));
                // It may be for an activation that is granted and not yet stored.
                if let Mode::Wipe(wipe) = &mut self.mode {
                    wipe.tombstone.activation_id = order.activation_id;
                }
                Ok(())
            }
            OrderKind::SignOut => match &self.held.state {
                // Nothing is signed in, and the attempt goes on.
                PersistedState::Activating(_) => Ok(()),
                _ => self.sign_out(Some(order)),
            },
        }
    }

    pub(super) fn granted(&mut self, granted: &Granted) -> Result<(), Error> {
        let (Mode::Live(Job::Idle), PersistedState::Activating(attempt)) =
            (&self.mode, &self.held.state)
        else {
            return Err(Error::NotForUs);
        };
        if granted.id != attempt.id || granted.epoch != attempt.epoch {
            return Err(Error::NotForUs);
        }
        let step = if attempt.storing {
            StoreStep::Slot
        } else {
            StoreStep::Mark
        };
        self.begin(Job::Store(Store {
            granted: *granted,
            step,
        }));
        Ok(())
    }

    pub(super) fn leased(
        &mut self,
        id: &ActivationId,
        renewal: &Renewal,
        bounds: &TermBounds,
    ) -> Result<(), Error> {
        match self.activation() {
            None => return Ok(()),
            Some(a) if a.id != *id => return Err(Error::NotForUs),
            Some(_) => {}
        }
        self.begin(Job::Lease {
            renewal: Renewal {
                terms: renewal.terms.held_between(bounds),
                ..*renewal
            },
            token_stored: !renewal.token,
        });
        Ok(())
    }

    pub(super) fn stated(&mut self, id: &ActivationId, reason: LockReason) -> Result<(), Error> {
        let (Mode::Live(_), PersistedState::Active(a)) = (&self.mode, &mut self.held.state) else {
            return Ok(());
        };
        if a.id != *id || !reason.is_stated() {
            return Err(Error::NotForUs);
        }
        if a.lock != Some(reason) {
            a.lock = Some(reason);
            self.closed(Job::Save);
        }
        Ok(())
    }

    pub(super) fn delegated(&mut self, d: &Delegated) -> Result<(), Error> {
        if !matches!(self.mode, Mode::Live(Job::Idle)) {
            return Ok(());
        }
        let newer = d.version > self.held.trust || (d.none_held && d.version == self.held.trust);
        // An older one may simply have been on its way.
        if d.version.root == self.root && newer && !d.order_key_falls {
            self.begin(Job::Trust {
                delegated: *d,
                step: TrustStep::Store,
            });
        }
        Ok(())
    }

    pub(super) fn root_changed(&mut self, version: u32) -> Result<(), Error> {
        let follows = self.root.checked_add(1) == Some(version);
        if follows && matches!(self.mode, Mode::Live(Job::Idle)) {
            self.begin(Job::Root(version));
        }
        Ok(())
    }

    pub(super) fn sign_out_noted(&mut self) {
        if let PersistedState::SignedOut(s) = &mut self.held.state {
            s.service_notified = true;
            self.closed(Job::Save);
        }
    }

    pub(super) fn forget(&mut self, class: Class) -> Result<(), Error> {
        self.may_use(class)?;
        self.begin(Job::Forget {
            class,
            step: SwapStep::Write,
        });
        Ok(())
    }

    /// Whether access is open, and callers may have values of this class.
    pub(crate) fn may_use(&self, class: Class) -> Result<(), Error> {
        self.booted()?;
        match (self.state(), class) {
            (_, Class::Session) => Err(Error::WrongState),
            (State::Active, _) => Ok(()),
            (_, _) => Err(Error::WrongState),
        }
    }

    pub(super) fn fill(&mut self) -> Result<(), Error> {
        self.booted()?;
        match (&self.mode, &self.held.state) {
            // Opened again, it starts over; while it is erased, it is in the way.
            (Mode::Live(Job::Idle), PersistedState::Filling) => Ok(()),
            (Mode::Live(_), PersistedState::Filling) => Err(Error::Busy),
            (Mode::Live(_), PersistedState::Clean) => {
                self.begin(Job::BeginFill);
                Ok(())
            }
            _ => Err(Error::WrongState),
        }
    }

    pub(super) fn unfill(&mut self) {
        if let (Mode::Live(Job::Idle), PersistedState::Filling) = (&self.mode, &self.held.state) {
            self.begin(Job::Unfill {
                at: 0,
                twice: false,
                failed: false,
            });
        }
    }
}
