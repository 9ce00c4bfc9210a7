//! From power-on to a known state.
//!
//! 1. The journal is opened: its last record is made firm before it is acted
//!    upon. 2. A tombstone outranks everything: the wipe goes on. 3. The
//!    snapshot is held against the counter and the slots. 4. This boot and its
//!    powered time are charged. 5. The vault is opened and the session restored.
//!
//! Whatever does not fit together closes access (`Locked`) or finishes a wipe;
//! it never opens anything, and never passes for a fresh device.

use super::logs::Which;
use super::wipe::MAX_TRIES;
use super::{Agent, CHARGE_S, Phase, Session, Step, id};
use crate::class::Class;
use crate::error::Error;
use crate::keys;
use crate::log::{Key, Progress};
use crate::slot;
use crate::state::{Snapshot, Stored, Tombstone};
use crate::trace::event;
use crate::wire::WipeReason;
use crate::wire::codec::{self, Code};
use nrd_hal::{MonotonicCounter, Platform};
use zeroize::Zeroizing;

/// The session record: series, generation, token.
pub(super) const SESSION: Key = Key {
    class: Class::Session as u8,
    id: 0,
};

impl<P: Platform> Agent<'_, P> {
    pub(super) fn boot_step(&mut self) -> Result<Step, Error> {
        match self.phase {
            Phase::Journal => self.boot_journal()?,
            Phase::Load => self.boot_load()?,
            Phase::Vault => self.boot_vault()?,
            Phase::Ready => {}
        }
        Ok(Step::Working)
    }

    fn boot_journal(&mut self) -> Result<(), Error> {
        if self.keys.journal.is_none() {
            let root = self.platform.parts().root_key;
            self.keys.slot = Some(keys::slot_key(root).map_err(|_| Error::Hardware)?);
            self.keys.journal =
                Some(keys::journal::<_, P::Crypto>(root).map_err(|_| Error::Hardware)?);
            return Ok(());
        }
        // A journal that cannot be opened is lost, not a failed boot.
        self.journal.want_writable();
        match self.log_step(Which::Journal) {
            Ok(Progress::Working) => {}
            Ok(Progress::Idle) => self.phase = Phase::Load,
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
        let snapshot = self.read_record::<Snapshot>(id::SNAPSHOT);
        let tombstone = self.read_record::<Tombstone>(id::TOMBSTONE);

        let mut fresh = false;
        match snapshot {
            Ok(s) => self.snapshot = s,
            Err(Error::NotFound) if self.journal_was_empty() => {
                self.snapshot = Snapshot::fresh(counter);
                fresh = counter == self.config.factory_epoch && self.live_slot().is_none();
                // What a part is delivered with is nobody's key.
                self.lost |= !(fresh && self.efface_slots());
            }
            Err(_) => self.lost = true,
        }
        match tombstone {
            Ok(t) => {
                // The snapshot that ended this wipe has counted its receipt.
                let done = self.snapshot.next_receipt != t.receipt;
                match done {
                    true => self.remove_journal(id::TOMBSTONE)?,
                    false => {
                        self.tombstone = Some(t);
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
        if fresh {
            next.epoch = counter;
        }
        next.boots = next.boots.saturating_add(1);
        // Written anyway; taken back by the next write after an answer.
        self.exchange.go_on_backing_off(next.unanswered);
        next.unanswered = next.unanswered.saturating_add(1);
        event!("boot {} in epoch {}", next.boots, counter);
        self.base_s = next.charged_s;
        next.charged_s = next.charged_s.saturating_add(CHARGE_S);
        self.commit(next)?;

        self.phase = Phase::Ready;
        if self.tombstone.is_some() {
            return Ok(());
        }
        self.reconcile(counter)
    }

    /// Holds the snapshot against the counter and the slots.
    fn reconcile(&mut self, counter: u64) -> Result<(), Error> {
        let epoch = self.epoch();
        if epoch > counter {
            // A counter never goes back: this is not this device's journal.
            self.lost = true;
            return Ok(());
        }
        if epoch < counter {
            // The counter passed this state: an old image was put back, or a
            // wipe lost its tombstone. Finish what the counter says.
            return self.begin_wipe(WipeReason::Recovered, None);
        }
        let slots = self.platform.parts().slot;
        let dead = slot::is_blank(slots, 0) && slot::is_blank(slots, 1);
        match &self.snapshot.stored {
            Stored::Active(a) if !a.remember => self.begin_wipe(WipeReason::VisitEnded, None),
            Stored::Active(_) => {
                self.restore_slot();
                Ok(())
            }
            Stored::SignedOut { .. } => {
                self.efface_slots();
                Ok(())
            }
            // What an abandoned attempt left in a slot opens nothing; a grant
            // for this attempt writes it anew.
            Stored::Activating { .. } => Ok(()),
            // Clean is what both slots show: not that nothing in them opens today.
            Stored::Clean if !dead => self.begin_wipe(WipeReason::Recovered, None),
            Stored::Clean | Stored::Failed => Ok(()),
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
        let Some(a) = self.activation().cloned() else {
            return;
        };
        let Some(key) = self.keys.slot.clone() else {
            return;
        };
        let parts = self.platform.parts();
        let found = [0u8, 1].into_iter().find_map(|n| {
            slot::read::<_, P::Crypto>(parts.slot, n, &key)
                .filter(|c| {
                    c.generation == a.slot_generation
                        && c.epoch == a.epoch
                        && c.activation_id == a.id.0
                })
                .map(|c| (n, c))
        });
        let Some((n, content)) = found else {
            self.lost = true;
            return;
        };
        if !slot::is_blank(parts.slot, 1 - n) {
            slot::efface(parts.slot, 1 - n);
        }
        match keys::vault::<_, P::Crypto>(parts.root_key, &content) {
            Ok(vault) => {
                self.keys.vault = Some(vault);
                self.keys.content = Some(content);
                self.vault.unmount();
                self.phase = Phase::Vault;
            }
            Err(_) => self.lost = true,
        }
    }

    fn boot_vault(&mut self) -> Result<(), Error> {
        // The session is there as soon as what the last cut left is decided;
        // the rest of the vault is read afterwards, step by step.
        let mut buf = Zeroizing::new([0u8; 64]);
        let found = self.log_get(Which::Vault, SESSION, &mut [], buf.as_mut());
        if found == Err(Error::Busy) {
            match self.log_step(Which::Vault) {
                Ok(Progress::Working) => return Ok(()),
                Ok(Progress::Idle) => {}
                Err(Error::Hardware) => return Err(Error::Hardware),
                // A vault that takes no more writes can still be read.
                Err(_) => {}
            }
        }
        self.keys.session = found.ok().and_then(|n| session(buf.get(..n)?));
        self.phase = Phase::Ready;
        Ok(())
    }

    /// True when no sector of the journal was readable at this boot.
    fn journal_was_empty(&self) -> bool {
        self.journal.keys().next().is_none()
    }

    /// The number of a slot whose content authenticates.
    fn live_slot(&mut self) -> Option<u8> {
        let key = self.keys.slot.clone()?;
        let slots = self.platform.parts().slot;
        [0u8, 1]
            .into_iter()
            .find(|&n| slot::read::<_, P::Crypto>(slots, n, &key).is_some())
    }

    /// Effaces whatever a slot still holds; false when one is stuck.
    pub(super) fn efface_slots(&mut self) -> bool {
        let slots = self.platform.parts().slot;
        let mut ok = true;
        for n in [0u8, 1] {
            if !slot::is_blank(slots, n) {
                ok &= slot::efface(slots, n);
            }
        }
        ok
    }

    fn read_record<T: for<'a> Code<'a>>(&mut self, id: u16) -> Result<T, Error> {
        let mut buf = [0u8; 384];
        let n = self.get_journal(id, &mut buf)?;
        let bytes = buf.get(..n).ok_or(Error::Corrupt)?;
        codec::read(bytes).ok_or(Error::Corrupt)
    }
}

fn session(bytes: &[u8]) -> Option<Session> {
    codec::read(bytes)
}
