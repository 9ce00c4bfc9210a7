//! From power-on to a known state.
//!
//! 1. The journal is opened: its last record is made firm before it is acted
//!    upon. 2. A tombstone outranks everything: the wipe goes on. 3. The
//!    snapshot is held against the counter and the slots. 4. This boot and its
//!    powered time are charged. 5. The vault is opened and the session restored.
//!
//! Whatever does not fit together closes access (`Locked`) or finishes a wipe;
//! it never opens anything, and never passes for a fresh device.

use super::{Agent, CHARGE_S, Phase, RECEIPTS, Session, Step, id, with_log};
use crate::class::Class;
use crate::error::Error;
use crate::keys;
use crate::log::{Key, LogError, Progress};
use crate::slot;
use crate::state::{Snapshot, Stored, Tombstone};
use crate::trace::event;
use crate::wire::codec::{self, Code};
use crate::wire::{Body, Delegation, WipeReason, decode_signed};
use nrd_hal::{Error as _, MonotonicCounter, Platform};
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
            let hardware = |e: <P::RootKey as nrd_hal::ErrorType>::Error| Error::Hardware(e.kind());
            self.keys.slot = Some(keys::slot_key(root).map_err(hardware)?);
            self.keys.journal = Some(keys::journal::<_, P::Crypto>(root).map_err(hardware)?);
            return Ok(());
        }
        // A journal that cannot be opened is lost, not a failed boot.
        self.journal.want_writable();
        match with_log!(self, journal, |log, io| log.step(io)) {
            Ok(Progress::Working) => {}
            Ok(Progress::Idle) => self.phase = Phase::Load,
            Err(LogError::Flash(kind)) => return Err(Error::Hardware(kind)),
            Err(_) => {
                self.lost = true;
                self.phase = Phase::Load;
            }
        }
        Ok(())
    }

    fn counter(&mut self) -> Result<u64, Error> {
        let counter = self.platform.parts().counter.read();
        counter.map(|e| e.0).map_err(|e| Error::Hardware(e.kind()))
    }

    fn boot_load(&mut self) -> Result<(), Error> {
        let counter = self.counter()?;
        self.load_trust();
        self.receipts = self
            .journal
            .keys()
            .filter(|k| (id::RECEIPT..id::RECEIPT + RECEIPTS).contains(&k.id))
            .count() as u8;
        let snapshot = self.read_record::<Snapshot>(id::SNAPSHOT);
        let tombstone = self.read_record::<Tombstone>(id::TOMBSTONE);

        let mut fresh = false;
        match snapshot {
            Ok(s) => self.snapshot = s,
            Err(LogError::NotFound) if self.journal_was_empty() => {
                self.snapshot = Snapshot::fresh(counter);
                fresh = counter == self.config.factory_epoch && self.live_slot().is_none();
                self.lost |= !fresh;
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
            Err(LogError::NotFound) => {}
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
        let mut next = self.snapshot.clone();
        if fresh {
            next.epoch = counter;
        }
        next.boots = next.boots.saturating_add(1);
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
        let epoch = match &self.snapshot.stored {
            Stored::Clean | Stored::Failed => self.snapshot.epoch,
            Stored::Activating { epoch, .. } | Stored::SignedOut { epoch, .. } => *epoch,
            Stored::Active(a) => a.epoch,
        };
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
        let live_slot = self.live_slot().is_some();
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
            Stored::Clean if live_slot => self.begin_wipe(WipeReason::Recovered, None),
            Stored::Clean | Stored::Failed => Ok(()),
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
        let found = with_log!(self, vault, |log, io| log.get(io, SESSION, buf.as_mut()));
        if found == Err(LogError::Busy) {
            match with_log!(self, vault, |log, io| log.step(io)) {
                Ok(Progress::Working) => return Ok(()),
                Ok(Progress::Idle) => {}
                Err(LogError::Flash(kind)) => return Err(Error::Hardware(kind)),
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

    fn load_trust(&mut self) {
        let mut buf = [0u8; Delegation::MAX];
        let Ok(n) = self.get_journal(id::TRUST, &mut buf) else {
            return;
        };
        let root = self.config.service_root;
        self.trust = buf
            .get(..n)
            .and_then(|f| decode_signed::<Delegation, P::Crypto>(f, &root).ok());
    }

    fn read_record<T: for<'a> Code<'a>>(&mut self, id: u16) -> Result<T, LogError> {
        let mut buf = [0u8; 384];
        let n = self.get_journal(id, &mut buf)?;
        let corrupt = LogError::Corrupt(super::journal_key(id));
        let bytes = buf.get(..n).ok_or(corrupt)?;
        codec::read(bytes).ok_or(corrupt)
    }
}

fn session(bytes: &[u8]) -> Option<Session> {
    codec::read(bytes)
}
