//! What a device does whose snapshot is in force: each change is a *job* of a
//! few durable steps, in the order that every cut leaves resumable.
//!
//! | job | steps |
//! |---|---|
//! | start | save `Activating` |
//! | store a grant | save *storing* → slot → vault → session → save `Active` |
//! | lease | store the successor token → save |
//! | lock | (closed) save |
//! | sign-out | (closed) forget keys → save → efface the slots |
//! | delegation, root | store the frame → save |
//! | forget a class | write the other slot → save → efface the old slot |
//!
//! A job of something that opens leaves everything as it was when a step fails.
//! A job of something that closes goes on to its next step.

use super::{Core, Delegated, Effect, Found, Granted, Mode};
use crate::class::Class;
use crate::error::Error;
use crate::lease::StoredLease;
use crate::order::SeenOrders;
use crate::state::{Activation, Attempt, PersistedState, Snapshot};
use crate::wire::{LeaseTerms, PolicyVersion, WipeReason};

/// A change under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Job {
    /// None.
    Idle,
    /// Something closed or was noted, and is written for the first time.
    Save,
    /// An attempt begins.
    Start(Attempt),
    /// A grant is stored.
    Store(Store),
    /// The device is signed out.
    SignOut(SignOutStep),
    /// A lease is stored.
    Lease {
        /// What it brings.
        renewal: Renewal,
        /// The successor token is on flash.
        token_stored: bool,
    },
    /// A delegation is stored.
    Trust {
        /// What it says.
        delegated: Delegated,
        /// How far that is.
        step: TrustStep,
    },
    /// A root of this version is stored.
    Root(u32),
    /// A class of account data is forgotten.
    Forget {
        /// The class.
        class: Class,
        /// How far that is.
        step: SwapStep,
    },
    /// The receipt at this place goes.
    DropReceipt(u8),
    /// A storage check begins.
    BeginFill,
    /// What a storage check stored is erased.
    Unfill {
        /// From this offset in the vault on, in bytes.
        at: u32,
        /// A cut may have torn an erase: erase once before.
        twice: bool,
        /// Some of it did not erase.
        failed: bool,
    },
    /// A storage check is over.
    EndFill {
        /// Some of the vault did not erase.
        failed: bool,
    },
}

/// A grant being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Store {
    /// The grant.
    pub granted: Granted,
    /// How far that is.
    pub step: StoreStep,
}

/// How far the storing of a grant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreStep {
    /// Save that something of the grant may be on flash from now on.
    Mark,
    /// Write the slot.
    Slot,
    /// Make the vault writable.
    Vault,
    /// Store the session.
    Session,
    /// Save that the activation is in force.
    Commit,
}

/// How far a sign-out is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignOutStep {
    /// Forget the keys in RAM.
    Close,
    /// Save.
    Save,
    /// Destroy the keys on flash.
    Efface,
}

/// How far the storing of a delegation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrustStep {
    /// Store its frame.
    Store,
    /// Save its version.
    Save,
}

/// How far the forgetting of a class is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwapStep {
    /// Write the other slot.
    Write,
    /// Save which slot counts.
    Save,
    /// Use the new slot and destroy the old one.
    Swap,
}

/// A lease, without the token that it may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Renewal {
    /// The terms, as signed.
    pub terms: LeaseTerms,
    /// The service's wall clock, Unix seconds.
    pub issued_at: u64,
    /// The policy version consented to.
    pub policy: PolicyVersion,
    /// It brings the token that follows the one in use.
    pub token: bool,
}

impl Job {
    /// True for a job that the call which began it waits for.
    pub(super) fn is_engaged(&self) -> bool {
        match self {
            Job::Save
            | Job::Start(_)
            | Job::SignOut(_)
            | Job::Lease { .. }
            | Job::Trust { .. }
            | Job::Root(_)
            | Job::Forget { .. }
            | Job::DropReceipt(_)
            | Job::BeginFill => true,
            Job::Idle | Job::Store(_) | Job::Unfill { .. } | Job::EndFill { .. } => false,
        }
    }
}

impl Core {
    pub(super) fn begin(&mut self, job: Job) {
        if matches!(self.mode, Mode::Live(_)) {
            self.mode = Mode::Live(job);
        }
    }

    pub(super) fn job_effect(&self, job: &Job) -> Effect {
        match job {
            Job::Idle if self.reset => Effect::Reset,
            Job::Idle if !self.saved || self.time.wants_charge(self.held.charged_s) => Effect::Save,
            Job::Idle => Effect::Rest,
            Job::Save | Job::Start(_) | Job::BeginFill | Job::EndFill { .. } => Effect::Save,
            Job::Store(store) => match store.step {
                StoreStep::Mark | StoreStep::Commit => Effect::Save,
                StoreStep::Slot => Effect::MakeSlot,
                StoreStep::Vault => Effect::OpenVault,
                StoreStep::Session => Effect::StoreSession,
            },
            Job::SignOut(SignOutStep::Close) => Effect::Close,
            Job::SignOut(SignOutStep::Save) => Effect::Save,
            Job::SignOut(SignOutStep::Efface) => Effect::EffaceSlots,
            Job::Lease {
                token_stored: false,
                ..
            } => Effect::StoreToken,
            Job::Lease { .. } => Effect::Save,
            Job::Trust {
                step: TrustStep::Store,
                ..
            } => Effect::StoreDelegation,
            Job::Trust { .. } => Effect::Save,
            Job::Root(_) => Effect::StoreRoot,
            Job::Forget { class, step } => match step {
                SwapStep::Write => Effect::NewSalt(*class),
                SwapStep::Save => Effect::Save,
                SwapStep::Swap => Effect::SwapSlot(*class),
            },
            Job::DropReceipt(place) => Effect::RemoveReceipt(*place),
            Job::Unfill { at, twice, .. } => Effect::EraseBlock {
                at: *at,
                twice: *twice,
            },
        }
    }

    /// What the step under way makes of the snapshot.
    pub(super) fn job_image(&self, job: &Job, image: &mut Snapshot) {
        match job {
            Job::Start(attempt) => image.state = PersistedState::Activating(*attempt),
            Job::Store(store) => self.store_image(store, image),
            Job::Lease { renewal, .. } => self.lease_image(renewal, image),
            Job::Trust { delegated, .. } => {
                image.trust = delegated.version;
                if delegated.time_version > image.time_version {
                    image.time_version = delegated.time_version;
                    image.time_floor = delegated.time_floor;
                }
            }
            Job::Forget { .. } => {
                if let PersistedState::Active(a) = &mut image.state {
                    a.slot_generation = a.slot_generation.saturating_add(1);
                }
            }
            Job::BeginFill => image.state = PersistedState::Filling,
            Job::EndFill { failed: true } => image.state = PersistedState::Failed,
            Job::EndFill { failed: false } => image.state = PersistedState::Clean,
            Job::Idle
            | Job::Save
            | Job::SignOut(_)
            | Job::Root(_)
            | Job::DropReceipt(_)
            | Job::Unfill { .. } => {}
        }
    }

    fn store_image(&self, store: &Store, image: &mut Snapshot) {
        if store.step == StoreStep::Mark {
            if let PersistedState::Activating(attempt) = &mut image.state {
                attempt.storing = true;
            }
            return;
        }
        let granted = &store.granted;
        image.state = PersistedState::Active(Activation {
            id: granted.id,
            epoch: granted.epoch,
            slot_generation: u32::from(granted.remember),
            remember: granted.remember,
            lease: self.stored_lease(granted.terms, 0),
            policy: granted.policy,
            lock: None,
            seen: SeenOrders::default(),
        });
    }

    fn lease_image(&self, renewal: &Renewal, image: &mut Snapshot) {
        image.time_floor = image.time_floor.max(renewal.issued_at);
        if let PersistedState::Active(a) = &mut image.state {
            a.lease = self.stored_lease(renewal.terms, renewal.issued_at);
            a.policy = renewal.policy;
            a.lock = None;
        }
    }

    fn stored_lease(&self, terms: LeaseTerms, issued_at: u64) -> StoredLease {
        StoredLease {
            terms,
            stored_at_s: self.time.powered_s(),
            stored_used_s: self.time.used_s(),
            stored_in_boot: self.held.boots,
            issued_at,
        }
    }

    /// A step of the job under way ended.
    // Not inlined: what it keeps in registers would burden every other event, 82
    // bytes.
    #[inline(never)]
    #[expect(clippy::too_many_lines, reason = "one job an arm")]
    pub(super) fn job_ended(&mut self, result: &Result<Found<'_>, Error>) {
        let Mode::Live(job) = &mut self.mode else {
            return;
        };
        let done = result.is_ok();
        let next = match *job {
            Job::Idle => {
                // The only effect of this state but a save.
                if matches!(*result, Ok(Found::Done)) {
                    self.reset = false;
                }
                Job::Idle
            }
            Job::Start(_) => {
                if done {
                    self.losses.session = false;
                    self.talk.restart();
                }
                Job::Idle
            }
            Job::Store(_) => return self.store_ended(result),
            Job::SignOut(step) => return self.sign_out_ended(step, result),
            Job::Lease {
                token_stored: ref mut token @ false,
                ..
            } if done => {
                *token = true;
                return;
            }
            Job::Trust {
                step: ref mut step @ TrustStep::Store,
                ..
            } if done => {
                *step = TrustStep::Save;
                return;
            }
            Job::Trust { .. } => {
                self.losses.delegation &= !done;
                Job::Idle
            }
            Job::Root(version) => {
                if done {
                    self.root = version;
                }
                Job::Idle
            }
            Job::Forget { class, step } if done => match step {
                SwapStep::Write if self.remembers() => Job::Forget {
                    class,
                    step: SwapStep::Save,
                },
                SwapStep::Write | SwapStep::Save => Job::Forget {
                    class,
                    step: SwapStep::Swap,
                },
                SwapStep::Swap => Job::Idle,
            },
            Job::DropReceipt(place) => {
                if done {
                    self.receipts &= !(1 << place);
                }
                Job::Idle
            }
            Job::Unfill { at, twice, failed } => match *result {
                Ok(Found::Erased {
                    failed: stuck,
                    next,
                    ..
                }) => {
                    let failed = failed || stuck > 0;
                    next.map_or(Job::EndFill { failed }, |at| Job::Unfill {
                        at,
                        twice,
                        failed,
                    })
                }
                _ => Job::Unfill { at, twice, failed },
            },
            Job::EndFill { failed } if !done => Job::EndFill { failed },
            // Done, or as before: what opens has not opened, what closed is
            // closed and will be written.
            Job::Save
            | Job::Lease { .. }
            | Job::Forget { .. }
            | Job::BeginFill
            | Job::EndFill { .. } => Job::Idle,
        };
        self.mode = Mode::Live(next);
    }

    /// The session outlives power-off: a slot holds its keys.
    pub(crate) fn remembers(&self) -> bool {
        matches!(&self.held.state, PersistedState::Active(a) if a.remember)
    }

    fn store_ended(&mut self, result: &Result<Found<'_>, Error>) {
        let Mode::Live(Job::Store(store)) = &mut self.mode else {
            return;
        };
        match *result {
            Ok(Found::More) => {}
            Ok(_) => {
                store.step = match store.step {
                    StoreStep::Mark => StoreStep::Slot,
                    StoreStep::Slot => StoreStep::Vault,
                    StoreStep::Vault => StoreStep::Session,
                    StoreStep::Session => StoreStep::Commit,
                    StoreStep::Commit => {
                        self.session = true;
                        self.talk.restart();
                        self.talk.progressed();
                        self.mode = Mode::Live(Job::Idle);
                        return;
                    }
                };
            }
            // The service gives the same grant again: after a pause, for it may
            // fail for ever.
            Err(_) => {
                self.talk.failed();
                self.mode = Mode::Live(Job::Idle);
            }
        }
    }

    fn sign_out_ended(&mut self, step: SignOutStep, result: &Result<Found<'_>, Error>) {
        match (step, *result) {
            (SignOutStep::Close, _) => self.begin(Job::SignOut(SignOutStep::Save)),
            // Where it cannot be written that the device is signed out, the keys go
            // all the same: the next boot finds none.
            (SignOutStep::Save, _) => self.begin(Job::SignOut(SignOutStep::Efface)),
            (SignOutStep::Efface, Ok(Found::Blank(true))) => self.begin(Job::Idle),
            // A device whose slot still holds a key is not signed out. The wipe
            // tries again, and reports the slot if it fails as well.
            (SignOutStep::Efface, _) => self.begin_wipe(WipeReason::Recovered, None),
        }
    }
}
