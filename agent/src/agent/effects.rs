//! Each effect of the state machine, carried out on the hardware.

use super::logs::LogId;
use super::{Agent, id};
use crate::class::Class;
use crate::core::{Effect, Event, Found, Journal, Read};
use crate::error::Error;
use crate::keys;
use crate::log::{Progress, RecordId};
use crate::slot;
use crate::state::{PersistedState, Snapshot, Tombstone, WipePhase};
use crate::trace::event;
use crate::wire::RootChange;
use crate::wire::codec::Blank;
use nrd_hal::{Error as _, ErrorKind, MonotonicCounter as _, Platform};
use zeroize::Zeroize as _;

/// The session record: series, generation, token.
pub(super) const SESSION: RecordId = RecordId {
    class: Class::Session as u8,
    id: 0,
};

impl<P: Platform> Agent<'_, P> {
    /// Carries out one effect, and reports how it ended; `frame` is what the
    /// event that it belongs to came in.
    pub(super) fn carry_out(&mut self, effect: Effect, frame: &[u8]) -> Result<(), Error> {
        let found = match effect {
            Effect::Save => return self.save(),
            Effect::Load => return self.load_journal(),
            Effect::Rest | Effect::Reset => Ok(Found::Done),
            Effect::DeriveKeys => self.derive_keys().map(done),
            Effect::OpenJournal => self.open_journal(),
            Effect::ReadCounter => self.counter().map(Found::Counter),
            Effect::EffaceSlots => Ok(Found::Blank(self.efface_slots())),
            Effect::OpenSlot => self.open_slot().map(Found::Slot),
            Effect::OpenSession => self.open_session(),
            Effect::MakeSlot => self.make_slot().map(done),
            Effect::OpenVault => self.log_step(LogId::Vault).map(progress),
            Effect::StoreSession => self.store_grant_session().map(done),
            Effect::StoreToken => self.store_token().map(done),
            Effect::StoreDelegation => self.put_journal(id::TRUST, frame).map(done),
            Effect::StoreRoot => self.store_root(frame).map(done),
            Effect::NewSalt(class) => self.new_salt(class).map(done),
            Effect::SwapSlot(class) => self.swap_slot(class).map(done),
            Effect::RemoveReceipt(place) => self
                .remove_journal(id::RECEIPT + u16::from(place))
                .map(done),
            Effect::Close => {
                self.forget_secrets();
                self.vault.unmount();
                self.check.drop_it();
                Ok(Found::Done)
            }
            Effect::SaveTombstone => self.save_tombstone().map(done),
            Effect::RemoveTombstone => {
                if let Some(t) = self.core.tombstone() {
                    let (erased, failed) = (t.sectors.erased, t.sectors.failed);
                    event!("wipe ended: {} sectors erased, {} failed", erased, failed);
                }
                self.remove_journal(id::TOMBSTONE).map(done)
            }
            Effect::RaiseCounter(target) => self.raise_counter(target).map(Found::Counter),
            Effect::ZeroSlots => {
                let slots = self.platform.parts().slot;
                slot::zero(slots, 0);
                slot::zero(slots, 1);
                Ok(Found::Done)
            }
            Effect::EraseSlots { twice } => Ok(Found::Blank(self.erase_slots(twice))),
            Effect::EraseBlock { at, twice } => {
                self.forget_secrets();
                Ok(self.erase_block(at, twice))
            }
            Effect::LookAtSlots => Ok(Found::Blank(slot::are_blank(self.platform.parts().slot))),
            Effect::StoreReceipt { slots_blank, place } => self.store_receipt(slots_blank, place),
        };
        self.report(found)
    }

    /// Reports how an effect ended.
    fn report(&mut self, found: Result<Found<'_>, Error>) -> Result<(), Error> {
        let done = found.map(|_| ());
        self.event(Event::Ended(found))?;
        done
    }

    fn save(&mut self) -> Result<(), Error> {
        let mut image = Snapshot::BLANK;
        self.core.write_image(&mut image);
        let stored = self.store(id::SNAPSHOT, &mut image);
        if stored.is_ok() {
            match (&self.core.held().state, &image.state) {
                _ if image.boots != self.core.held().boots => {
                    event!("boot {} in epoch {}", image.boots, self.core.counter());
                }
                (PersistedState::Activating(_), PersistedState::Active(a)) => {
                    event!("activated in epoch {}", a.epoch);
                }
                _ => {}
            }
        }
        self.report(stored.map(|()| Found::Saved(&image)))
    }

    fn save_tombstone(&mut self) -> Result<(), Error> {
        let mut t = *self.core.tombstone().ok_or(Error::NotFound)?;
        if t.phase == WipePhase::Keys {
            event!("wipe begins in epoch {}", t.epoch);
        }
        self.store(id::TOMBSTONE, &mut t)
    }

    fn derive_keys(&mut self) -> Result<(), Error> {
        let root = self.platform.parts().root_key;
        keys::slot(root, &mut self.keys.slot)?;
        keys::journal::<_, P::Crypto>(root, &mut self.keys.journal)
    }

    fn open_journal(&mut self) -> Result<Found<'static>, Error> {
        self.journal.want_writable();
        let step = self.log_step(LogId::Journal);
        if matches!(step, Err(e) if e != Error::Hardware) {
            // It takes no writes now. It is read anew, for it may later.
            self.journal.unmount();
        }
        step.map(progress)
    }

    pub(super) fn counter(&mut self) -> Result<u64, Error> {
        let counter = self.platform.parts().counter.read();
        counter.map(|e| e.0).map_err(|_| Error::Hardware)
    }

    fn raise_counter(&mut self, target: u64) -> Result<u64, Error> {
        let now = self.counter()?;
        if now >= target {
            return Ok(now);
        }
        let raised = self.platform.parts().counter.increment();
        raised.map_err(|e| match e.kind() {
            ErrorKind::WornOut => Error::WornOut,
            _ => Error::Hardware,
        })?;
        self.counter()
    }

    fn load_journal(&mut self) -> Result<(), Error> {
        let mut snapshot = Snapshot::BLANK;
        let mut tombstone = Tombstone::BLANK;
        let found = self.read_journal(&mut snapshot, &mut tombstone);
        self.report(found.map(Found::Journal))
    }

    fn read_journal<'r>(
        &mut self,
        snapshot: &'r mut Snapshot,
        tombstone: &'r mut Tombstone,
    ) -> Result<Journal<'r>, Error> {
        let mut root = RootChange::BLANK;
        let has_snapshot = self.load(id::SNAPSHOT, snapshot)?;
        let has_tombstone = self.load(id::TOMBSTONE, tombstone)?;
        let has_root = self.load(id::ROOT, &mut root)?;
        // A root that the firmware pins replaces every older one.
        let newer = root.version > self.config.root_version;
        let root = match has_root {
            Read::Found(()) if newer => {
                self.root = root.root;
                Read::Found(root.version)
            }
            Read::Found(()) | Read::Missing => Read::Missing,
            Read::Unreadable => Read::Unreadable,
        };
        let slots_blank = self.slots_are_blank()?;
        let empty = self.journal.record_ids().next().is_none();
        Ok(Journal {
            snapshot: with(has_snapshot, snapshot),
            tombstone: with(has_tombstone, tombstone),
            empty,
            receipts: self.count_receipts(),
            root,
            slots_blank,
            slot_lives: !slots_blank && self.slot_lives(),
        })
    }

    /// Loads the slot that the journal names, and finishes a half-done swap by
    /// effacing the other. False when neither is the one named.
    fn open_slot(&mut self) -> Result<bool, Error> {
        self.slots_are_blank()?;
        let Some(n) = self.read_named_slot() else {
            return Ok(false);
        };
        let slots = self.platform.parts().slot;
        if !slot::is_blank(slots, 1 - n) {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "should it stay, it opens nothing, for the journal names the other \
                          slot; the next boot tries again"
            )]
            let _ = slot::efface(slots, 1 - n);
        }
        self.open_vault()?;
        self.vault.unmount();
        Ok(true)
    }

    /// Reads the slot that the snapshot names to where its content is kept.
    pub(super) fn read_named_slot(&mut self) -> Option<u8> {
        let PersistedState::Active(a) = &self.core.held().state else {
            return None;
        };
        let slots = self.platform.parts().slot;
        let content = &mut self.keys.content;
        let named = (0..2).find(|&n| {
            slot::read::<_, P::Crypto>(slots, n, &self.keys.slot, content)
                && content.generation == a.slot_generation
                && content.epoch == a.epoch
                && content.activation_id == a.id.0
        });
        if named.is_none() {
            content.zeroize();
        }
        named
    }

    /// Derives the vault's keys from the slot's content.
    pub(super) fn open_vault(&mut self) -> Result<(), Error> {
        let root = self.platform.parts().root_key;
        keys::vault::<_, P::Crypto>(root, &self.keys.content, &mut self.keys.vault)
    }

    /// The session can be read once the log has decided about the record that the
    /// last cut may have torn; the rest of the vault is indexed afterwards, step
    /// by step.
    fn open_session(&mut self) -> Result<Found<'static>, Error> {
        let found = match self.load_session() {
            Err(Error::Busy) => match self.log_step(LogId::Vault) {
                Ok(Progress::More) | Err(Error::Busy) => return Ok(Found::More),
                Err(Error::Hardware) => return Err(Error::Hardware),
                // A vault that takes no more writes can still be read.
                Ok(Progress::Done) => self.load_session(),
                Err(e) => self.load_session().map_err(|_| e),
            },
            found => found,
        };
        match found {
            Ok(()) => Ok(Found::Session(true)),
            Err(Error::NotFound | Error::Corrupt) => {
                event!("the session is unreadable");
                Ok(Found::Session(false))
            }
            Err(e) => Err(e),
        }
    }

    fn load_session(&mut self) -> Result<(), Error> {
        let n = self.log_get(LogId::Vault, SESSION)?;
        let bytes = crate::log::value(self.scratch, n);
        if crate::wire::codec::read_into(bytes, &mut self.keys.session) {
            Ok(())
        } else {
            Err(Error::Corrupt)
        }
    }
}

fn done(_: ()) -> Found<'static> {
    Found::Done
}

fn progress(progress: Progress) -> Found<'static> {
    match progress {
        Progress::More => Found::More,
        Progress::Done => Found::Done,
    }
}

/// A record's reading, with the record.
fn with<T>(read: Read<()>, record: T) -> Read<T> {
    match read {
        Read::Found(()) => Read::Found(record),
        Read::Missing => Read::Missing,
        Read::Unreadable => Read::Unreadable,
    }
}
