//! From power-on to a known state.
//!
//! 1. The journal is opened: its last record is made firm before it is acted
//!    upon. 2. A tombstone outranks everything: the wipe goes on. 3. The
//!    snapshot is held against the counter and the slots. 4. This boot and its
//!    powered time are charged. 5. The vault is opened and the session restored.
//!
//! Whatever does not fit together closes access or finishes a wipe; it never
//! opens anything, and never passes for a fresh device. A part that does not
//! answer, or a journal that takes no write, is asked again for as long as it
//! takes: the device stays closed, says so, and goes on by itself.

use super::wipe::MAX_TRIES;
use super::{Core, Effect, Found, Job, Mode, Wipe};
use crate::error::Error;
use crate::state::{PersistedState, Snapshot, Tombstone};
use crate::wire::{LockReason, WipeReason};

/// How far the boot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum BootStep {
    /// Derive the journal's keys.
    #[default]
    Keys,
    /// Open the journal.
    Journal,
    /// Read the counter.
    Counter,
    /// Read the journal's records.
    Load,
    /// Factory-fresh: a slot may hold noise.
    Fresh,
    /// Remove the tombstone of a wipe that has ended.
    Bury,
    /// Charge this boot.
    Charge,
    /// Finish a sign-out.
    Efface,
    /// Read the slot.
    Slot,
    /// Read the session.
    Session,
}

/// A boot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Boot {
    step: BootStep,
    /// Failures of this step in a row.
    tries: u8,
    /// Why it failed last.
    why: Option<LockReason>,
    /// A person asked for a wipe before the boot was done: it begins as soon as it
    /// is known what is to be wiped, or that this cannot be known.
    wipe: bool,
    /// Both slots read blank.
    slots_blank: bool,
    /// The wipe that goes on.
    tombstone: Option<Tombstone>,
}

/// A record of the journal, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Read<T> {
    /// It is there.
    Found(T),
    /// There is none.
    Missing,
    /// There is one, and it does not authenticate.
    Unreadable,
}

/// What a boot finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Journal<'a> {
    /// The snapshot.
    pub snapshot: Read<&'a Snapshot>,
    /// The tombstone.
    pub tombstone: Read<&'a Tombstone>,
    /// The journal holds no record at all.
    pub empty: bool,
    /// Places that hold a receipt, a bit each.
    pub receipts: u8,
    /// Version of the root that the journal keeps.
    pub root: Read<u32>,
    /// Both slots read blank.
    pub slots_blank: bool,
    /// A slot authenticates.
    pub slot_lives: bool,
}

impl Boot {
    pub(super) fn effect(&self) -> Effect {
        match self.step {
            BootStep::Keys => Effect::DeriveKeys,
            BootStep::Journal => Effect::OpenJournal,
            BootStep::Counter => Effect::ReadCounter,
            BootStep::Load => Effect::Load,
            BootStep::Fresh | BootStep::Efface => Effect::EffaceSlots,
            BootStep::Bury => Effect::RemoveTombstone,
            BootStep::Charge => Effect::Save,
            BootStep::Slot => Effect::OpenSlot,
            BootStep::Session => Effect::OpenSession,
        }
    }

    /// True while a step that failed is tried again: its pieces are no progress.
    pub(super) fn is_repeating(&self) -> bool {
        self.tries > 0
    }

    /// Why the boot does not get on, once that is certain.
    pub(super) fn stuck(&self) -> Option<LockReason> {
        self.why.filter(|_| self.tries >= MAX_TRIES)
    }

    /// True before the journal was read.
    pub(super) fn is_blind(&self) -> bool {
        matches!(
            self.step,
            BootStep::Keys | BootStep::Journal | BootStep::Counter | BootStep::Load
        )
    }

    /// True once this boot is charged: the snapshot is believed.
    fn is_charged(&self) -> bool {
        match self.step {
            BootStep::Efface | BootStep::Slot | BootStep::Session => true,
            BootStep::Keys
            | BootStep::Journal
            | BootStep::Counter
            | BootStep::Load
            | BootStep::Fresh
            | BootStep::Bury
            | BootStep::Charge => false,
        }
    }

    fn failed(&mut self, e: Error) {
        self.tries = self.tries.saturating_add(1).min(MAX_TRIES);
        let silent = self.step != BootStep::Charge && e == Error::Hardware;
        self.why = Some(if silent {
            LockReason::NotAnswering
        } else {
            LockReason::NotStored
        });
    }

    fn go_to(&mut self, step: BootStep) {
        self.step = step;
        self.tries = 0;
        self.why = None;
    }
}

impl Core {
    /// A person asks for a wipe during the boot.
    pub(super) fn deactivate_in_boot(&mut self) {
        if let Mode::Boot(boot) = &mut self.mode {
            boot.wipe = true;
        }
        self.give_up_if_asked();
    }

    /// A wipe that a person asked for does not wait for parts that do not answer,
    /// nor, once it is known what there is to wipe, for the rest of the boot.
    ///
    /// Found: asked for while the boot read the slot or the session, it was
    /// acknowledged and forgotten, and the device was signed in.
    fn give_up_if_asked(&mut self) {
        let Mode::Boot(boot) = &self.mode else { return };
        let stuck = boot.tries >= MAX_TRIES;
        if !boot.wipe || !(stuck || boot.is_charged()) {
            return;
        }
        self.begin_wipe(WipeReason::Local, None);
    }

    pub(super) fn boot_ended(&mut self, result: &Result<Found<'_>, Error>) {
        let Mode::Boot(boot) = &mut self.mode else {
            return;
        };
        let found = match result {
            // A step of several pieces, and a piece is done. Failures of the step are
            // counted on: found, a journal that could be read and took no write was
            // mounted anew after each failure, so that the boot never said that it
            // was stuck, and a wipe that a person had asked for never began.
            Ok(Found::More) => return,
            // The epoch is over for whatever stays; the next boot tries again.
            _ if boot.step == BootStep::Efface => return self.live(),
            Ok(found) => found,
            Err(e) => {
                boot.failed(*e);
                // A wipe goes on without being charged, and so does one that a
                // person asked for.
                if boot.step == BootStep::Charge && boot.tombstone.is_some() {
                    self.go_on();
                } else {
                    self.give_up_if_asked();
                }
                return;
            }
        };
        let next = match (boot.step, found) {
            (BootStep::Keys, _) => BootStep::Journal,
            (BootStep::Journal, _) => BootStep::Counter,
            (BootStep::Counter, Found::Counter(_)) => BootStep::Load,
            (BootStep::Load, Found::Journal(journal)) => return self.loaded(journal),
            (BootStep::Fresh, Found::Blank(true)) => {
                boot.slots_blank = true;
                BootStep::Charge
            }
            // A slot that will not erase may hold somebody's key.
            (BootStep::Fresh, Found::Blank(false)) => return self.lose(),
            (BootStep::Bury, _) => BootStep::Charge,
            (BootStep::Charge, Found::Saved(_)) => return self.charged(),
            (BootStep::Slot, Found::Slot(true)) => BootStep::Session,
            (BootStep::Slot, Found::Slot(false)) => return self.session_found(false),
            (BootStep::Session, Found::Session(found)) => return self.session_found(*found),
            // The driver answers an effect with what the effect names.
            (_, _) => return boot.failed(Error::Hardware),
        };
        boot.go_to(next);
    }

    /// The journal was read.
    fn loaded(&mut self, journal: &Journal<'_>) {
        self.receipts = journal.receipts;
        match journal.root {
            Read::Found(version) => self.root = self.root.max(version),
            Read::Missing => {}
            Read::Unreadable => self.losses.delegation = true,
        }
        let counter = self.counter.unwrap_or(self.setup.factory_epoch);
        let mut step = BootStep::Charge;
        let mut lost = false;
        self.held = Snapshot::fresh(counter);
        match journal.snapshot {
            Read::Found(snapshot) => self.held = *snapshot,
            Read::Missing
                if journal.empty && !journal.slot_lives && counter == self.setup.factory_epoch =>
            {
                // Nobody knows what the vault holds: clean once it is erased.
                self.held.state = PersistedState::Filling;
                step = BootStep::Fresh;
            }
            Read::Missing | Read::Unreadable => lost = true,
        }
        let resumed = match journal.tombstone {
            // The snapshot that ended a wipe has counted it.
            Read::Found(t) if lost || t.wipe == self.held.next_wipe => Some(*t),
            Read::Found(_) => {
                step = BootStep::Bury;
                None
            }
            // A tombstone that does not authenticate was still written: a wipe was
            // committed, and goes on with a reason of its own.
            Read::Unreadable if !lost => Some(self.new_tombstone(WipeReason::Recovered, None)),
            Read::Missing | Read::Unreadable => None,
        };
        if lost {
            self.losses.snapshot = true;
            let Some(tombstone) = &resumed else {
                return self.lose();
            };
            self.held.next_wipe = tombstone.wipe;
        }
        self.time.begin(self.held.charged_s, self.held.used_s);
        if let Mode::Boot(boot) = &mut self.mode {
            boot.slots_blank = journal.slots_blank;
            boot.tombstone = resumed;
            boot.go_to(step);
        }
    }

    /// No state that could be believed.
    fn lose(&mut self) {
        self.losses.snapshot = true;
        let wipe = matches!(&self.mode, Mode::Boot(boot) if boot.wipe);
        self.mode = Mode::Lost;
        if wipe {
            self.begin_wipe(WipeReason::Local, None);
        }
    }

    /// Charges this boot before anything is served.
    pub(super) fn boot_image(&self, image: &mut Snapshot) {
        image.boots = image.boots.wrapping_add(1);
        // Incremented in the write that every boot makes; reset by the first
        // write after a reply.
        image.unanswered = image.unanswered.saturating_add(1);
    }

    fn charged(&mut self) {
        // This boot has not failed yet.
        let before = self.held.unanswered.saturating_sub(1);
        self.talk.go_on_backing_off(before);
        self.go_on();
    }

    /// The boot is charged: a wipe, or the state that the snapshot names.
    fn go_on(&mut self) {
        let Mode::Boot(boot) = &self.mode else { return };
        if let Some(tombstone) = boot.tombstone {
            self.mode = Mode::Wipe(Wipe::resumed(tombstone));
        } else if boot.wipe {
            self.begin_wipe(WipeReason::Local, None);
        } else {
            let blank = boot.slots_blank;
            self.reconcile(blank);
        }
    }

    /// Holds the snapshot against the counter and the slots.
    fn reconcile(&mut self, slots_blank: bool) {
        let epoch = self.epoch();
        let counter = self.counter.unwrap_or(epoch);
        let step = match &self.held.state {
            // A counter never goes back: this is not this device's journal.
            _ if epoch > counter => return self.lose(),
            // The counter passed this state: an old image was put back, or a
            // wipe lost its tombstone. Finish what the counter says.
            _ if epoch < counter => return self.begin_wipe(WipeReason::Recovered, None),
            PersistedState::Active(a) if !a.remember => {
                return self.begin_wipe(WipeReason::VisitEnded, None);
            }
            PersistedState::Active(_) => BootStep::Slot,
            PersistedState::SignedOut(_) => BootStep::Efface,
            // `Clean` requires both slots to read blank; failing to authenticate
            // is not enough: torn cells may authenticate at a later boot.
            PersistedState::Clean if !slots_blank => {
                return self.begin_wipe(WipeReason::Recovered, None);
            }
            // Chunks of a storage check are left in the vault, and one of its erases
            // may have been cut.
            PersistedState::Filling => {
                self.mode = Mode::Live(Job::Unfill {
                    at: 0,
                    twice: true,
                    failed: false,
                });
                return;
            }
            // What an attempt has stored opens nothing; its grant overwrites it,
            // or the wipe that ends it.
            PersistedState::Activating(_) | PersistedState::Clean | PersistedState::Failed => {
                return self.live();
            }
        };
        if let Mode::Boot(boot) = &mut self.mode {
            boot.go_to(step);
        }
    }

    /// The slot or the session was read, or cannot be.
    fn session_found(&mut self, found: bool) {
        self.session = found;
        self.losses.session = !found;
        self.live();
    }

    fn live(&mut self) {
        self.mode = Mode::Live(Job::Idle);
    }

    /// The epoch that the state is of.
    pub(super) fn epoch(&self) -> u64 {
        match &self.held.state {
            PersistedState::Clean | PersistedState::Failed | PersistedState::Filling => {
                self.held.epoch
            }
            PersistedState::Activating(t) => t.epoch,
            PersistedState::SignedOut(s) => s.epoch,
            PersistedState::Active(a) => a.epoch,
        }
    }
}
