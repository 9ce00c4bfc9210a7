//! From power-on to a known state.
//!
//! 1. The journal is opened: its last record is made firm before it is acted
//!    upon. 2. A tombstone outranks everything: the wipe goes on. 3. The
//!    snapshot is held against the counter and the slots. 4. This boot and its
//!    powered time are charged. 5. The vault is opened and the session restored.
//!
//! Whatever does not fit together closes access (`Locked`) or finishes a wipe;
//! it never opens anything, and never passes for a fresh device.

use super::logs::{Which, journal_key};
use super::wipe::MAX_TRIES;
use super::{Agent, CHARGE_S, Phase, Session, id};
use crate::class::Class;
use crate::error::Error;
use crate::keys;
use crate::log::{Progress, RecordId};
use crate::slot::{self, SlotContent};
use crate::state::{Snapshot, Stored, Tombstone};
use crate::trace::event;
use crate::wire::WipeReason;
use crate::wire::codec::Blank;
use nrd_hal::{MonotonicCounter, Platform};

/// The session record: series, generation, token.
pub(super) const SESSION: RecordId = RecordId {
    class: Class::Session as u8,
    id: 0,
};

impl<P: Platform> Agent<'_, P> {
    #[inline(never)]
    pub(super) fn boot_step(&mut self) -> Result<(), Error> {
        match self.phase {
            Phase::Journal => self.boot_journal(),
            Phase::Load => self.boot_load(),
            Phase::Vault => self.boot_vault(),
            Phase::Ready => Ok(()),
        }
    }

    fn boot_journal(&mut self) -> Result<(), Error> {
        if !self.keys.journal.are_set() {
            let root = self.platform.parts().root_key;
            keys::slot(root, &mut self.keys.slot)?;
            return keys::journal::<_, P::Crypto>(root, &mut self.keys.journal);
        }
        // A journal that cannot be opened is lost, not a failed boot.
        self.journal.want_writable();
        match self.log_step(Which::Journal) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => self.phase = Phase::Load,
            Err(Error::Hardware) => return Err(Error::Hardware),
            Err(_) => {
                self.lost = true;
                self.phase = Phase::Load;
            }
        }
        Ok(())
    }

    pub(super) fn counter(&mut self) -> Result<u64, Error> {
        let counter = self.platform.parts().counter.read();
        counter.map(|e| e.0).map_err(|_| Error::Hardware)
    }

    fn boot_load(&mut self) -> Result<(), Error> {
        let counter = match self.counter() {
            Err(e) if self.wipe_tries < MAX_TRIES - 1 => {
                self.wipe_tries += 1;
                return Err(e);
            }
            // Locked, until a boot at which it answers; a person can still wipe.
            Err(_) => {
                self.lost = true;
                self.phase = Phase::Ready;
                return Ok(());
            }
            Ok(counter) => counter,
        };
        self.wipe_tries = 0;
        self.count_receipts();
        let mut snapshot = Snapshot::BLANK;
        let mut tombstone = Tombstone::BLANK;
        let read = self.load(Which::Journal, journal_key(id::SNAPSHOT), &mut snapshot);
        let wipes = self.load(Which::Journal, journal_key(id::TOMBSTONE), &mut tombstone);

        match read {
            Ok(()) => self.snapshot = snapshot,
            Err(Error::NotFound) if self.journal_was_empty() => {
                self.snapshot.epoch = counter;
                let fresh = counter == self.config.factory_epoch && !self.slot_lives();
                // What a part is delivered with is nobody's key.
                self.lost |= !(fresh && self.efface_slots());
            }
            Err(_) => self.lost = true,
        }
        match wipes {
            Ok(()) => {
                // The snapshot that ended this wipe has counted its receipt.
                let done = self.snapshot.next_receipt != tombstone.receipt;
                match done {
                    true => self.remove_journal(id::TOMBSTONE)?,
                    false => {
                        self.tombstone = Some(tombstone);
                        self.wipe_doubt = super::wipe::RESUMED;
                    }
                }
            }
            Err(Error::NotFound) => {}
            // An unreadable tombstone is still one: somebody ordered a wipe.
            Err(_) if !self.lost => {
                self.tombstone = Some(self.new_tombstone(WipeReason::Recovered, None, counter))
            }
            Err(_) => {}
        }
        if self.lost && self.tombstone.is_none() {
            event!("the journal is unreadable");
            self.phase = Phase::Ready;
            return Ok(());
        }
        self.lost = false;

        // Charge this boot before anything is served.
        let mut next = self.snapshot;
        next.boots = next.boots.wrapping_add(1);
        // Written anyway; taken back by the next write after an answer.
        self.exchange.go_on_backing_off(next.unanswered);
        next.unanswered = next.unanswered.saturating_add(1);
        event!("boot {} in epoch {}", next.boots, counter);
        self.base_s = next.charged_s;
        next.charged_s = next.charged_s.saturating_add(CHARGE_S);
        self.commit(next)?;

        self.phase = Phase::Ready;
        if self.tombstone.is_none() {
            self.reconcile(counter);
        }
        Ok(())
    }

    /// Holds the snapshot against the counter and the slots.
    fn reconcile(&mut self, counter: u64) {
        let epoch = self.epoch();
        if epoch > counter {
            // A counter never goes back: this is not this device's journal.
            self.lost = true;
            return;
        }
        let dead = slot::are_blank(self.platform.parts().slot);
        match &self.snapshot.stored {
            // The counter passed this state: an old image was put back, or a
            // wipe lost its tombstone. Finish what the counter says.
            _ if epoch < counter => self.begin_wipe(WipeReason::Recovered, None),
            Stored::Active(a) if !a.remember => self.begin_wipe(WipeReason::VisitEnded, None),
            Stored::Active(_) => self.restore_slot(),
            Stored::SignedOut { .. } => {
                self.efface_slots();
            }
            // Clean is what both slots show: not that nothing in them opens today.
            Stored::Clean if !dead => self.begin_wipe(WipeReason::Recovered, None),
            // What an abandoned attempt left in a slot opens nothing; a grant
            // for this attempt writes it anew.
            Stored::Activating { .. } | Stored::Clean | Stored::Failed => {}
        }
    }

    /// The epoch that the state is of.
    pub(super) fn epoch(&self) -> u64 {
        match &self.snapshot.stored {
            Stored::Clean | Stored::Failed => self.snapshot.epoch,
            Stored::Activating { epoch, .. } | Stored::SignedOut { epoch, .. } => *epoch,
            Stored::Active(a) => a.epoch,
        }
    }

    /// Loads the slot that the journal names, and finishes a half-done swap by
    /// effacing the other.
    fn restore_slot(&mut self) {
        let Stored::Active(a) = &self.snapshot.stored else {
            return;
        };
        let slots = self.platform.parts().slot;
        let mut content = SlotContent::BLANK;
        let found = (0..2).find(|&n| {
            slot::read::<_, P::Crypto>(slots, n, &self.keys.slot, &mut content)
                && content.generation == a.slot_generation
                && content.epoch == a.epoch
                && content.activation_id == a.id.0
        });
        let Some(n) = found else {
            self.lost = true;
            return;
        };
        if !slot::is_blank(slots, 1 - n) {
            slot::efface(slots, 1 - n);
        }
        match self.open_vault(&content) {
            Ok(()) => {
                self.vault.unmount();
                self.phase = Phase::Vault;
            }
            Err(_) => self.lost = true,
        }
    }

    /// Derives the vault's keys from what a slot holds.
    pub(super) fn open_vault(&mut self, content: &SlotContent) -> Result<(), Error> {
        let root = self.platform.parts().root_key;
        keys::vault::<_, P::Crypto>(root, content, &mut self.keys.vault)?;
        self.keys.content = content.clone();
        Ok(())
    }

    fn boot_vault(&mut self) -> Result<(), Error> {
        // The session is there as soon as what the last cut left is decided;
        // the rest of the vault is read afterwards, step by step.
        let mut session = Session::BLANK;
        let found = self.load(Which::Vault, SESSION, &mut session);
        if found == Err(Error::Busy) {
            match self.log_step(Which::Vault) {
                Ok(Progress::More) | Err(Error::Busy) => return Ok(()),
                Err(Error::Hardware) => return Err(Error::Hardware),
                // A vault that takes no more writes can still be read.
                Ok(Progress::Done) | Err(_) => {}
            }
        }
        self.keys.session = found.is_ok().then_some(session);
        self.phase = Phase::Ready;
        Ok(())
    }

    /// True when no sector of the journal was readable at this boot.
    fn journal_was_empty(&self) -> bool {
        self.journal.record_ids().next().is_none()
    }

    /// True when the content of a slot authenticates.
    fn slot_lives(&mut self) -> bool {
        let slots = self.platform.parts().slot;
        let mut content = SlotContent::BLANK;
        (0..2).any(|n| slot::read::<_, P::Crypto>(slots, n, &self.keys.slot, &mut content))
    }

    /// Effaces whatever a slot still holds; false when one is stuck.
    pub(super) fn efface_slots(&mut self) -> bool {
        let slots = self.platform.parts().slot;
        let mut ok = true;
        for n in 0..2 {
            if !slot::is_blank(slots, n) {
                ok &= slot::efface(slots, n);
            }
        }
        ok
    }
}
