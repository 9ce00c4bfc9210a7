//! Locally cached account data, sealed by class.

use super::Agent;
use super::logs::Which;
use crate::class::Class;
use crate::error::Error;
use crate::log::{RecordId, value};
use crate::slot::{self, SlotContent};
use crate::state::{State, Stored};
use crate::wire::codec::copy;
use nrd_hal::Platform;
use rand_core::TryRng as _;

impl<P: Platform> Agent<'_, P> {
    /// Stores a value. `Ok` means sealed, on flash, and read back.
    #[inline(never)]
    pub fn put(&mut self, class: Class, id: u16, value: &[u8]) -> Result<(), Error> {
        self.need_open(class)?;
        let key = vault_key(class, id);
        let stamp = self.stamp();
        self.log_write(Which::Vault, key, Some(&[&stamp, value]))
    }

    /// Reads a value into `out`; returns its length in bytes. A value past its
    /// class's retention is removed and `NotFound`.
    #[inline(never)]
    pub fn get(&mut self, class: Class, id: u16, out: &mut [u8]) -> Result<usize, Error> {
        self.need_open(class)?;
        let key = vault_key(class, id);
        let n = self.log_get(Which::Vault, key)?;
        let now = u32::from_le_bytes(self.stamp());
        let value = value(self.scratch, n).split_first_chunk();
        let (stamp, value) = value.ok_or(Error::Corrupt)?;
        let age = now.saturating_sub(u32::from_le_bytes(*stamp));
        if class.retention_powered_hours().is_some_and(|h| age >= h) {
            self.remove(class, id)?;
            return Err(Error::NotFound);
        }
        let out = out.get_mut(..value.len()).ok_or(Error::BufferTooSmall)?;
        copy(out, value);
        Ok(value.len())
    }

    /// Removes a value: it is never served again. Its ciphertext goes with the
    /// sector's next compaction; use [`Agent::forget`] where the bytes must die
    /// at once. [`Error::Full`] only where sectors went bad under a full cache:
    /// then `forget` gives room again.
    #[inline(never)]
    pub fn remove(&mut self, class: Class, id: u16) -> Result<(), Error> {
        self.need_open(class)?;
        let key = vault_key(class, id);
        self.log_write(Which::Vault, key, None)
    }

    /// Destroys every value of a class at once, by destroying its key. `Ok`
    /// means the old key slot is erased and read back.
    #[inline(never)]
    pub fn forget(&mut self, class: Class) -> Result<(), Error> {
        if class == Class::Session {
            return Err(Error::WrongState);
        }
        self.need_activation()?;
        let Stored::Active(a) = &self.snapshot.stored else {
            return Err(Error::WrongState);
        };
        let remember = a.remember;
        let parts = self.platform.parts();
        let mut content = self.keys.content.clone();
        content.generation += 1;
        let salt = content
            .salts
            .get_mut(class as usize)
            .ok_or(Error::NotFound)?;
        if salt.generation >= u32::from(u16::MAX) {
            return Err(Error::WornOut);
        }
        salt.generation += 1;
        parts
            .rng
            .try_fill_bytes(&mut salt.salt)
            .map_err(|_| Error::RandomGenerator)?;
        let mut old = None;
        if remember {
            // Write the other slot, let the journal name it, then destroy the
            // old one. A cut before the journal leaves the old slot in force.
            let key = &self.keys.slot;
            let mut stored = SlotContent::BLANK;
            let now = (0..2)
                .find(|&n| {
                    slot::read::<_, P::Crypto>(parts.slot, n, key, &mut stored)
                        && stored.generation + 1 == content.generation
                })
                .ok_or(Error::WornOut)?;
            if !slot::write::<_, P::Crypto>(parts.slot, 1 - now, &mut content, key) {
                return Err(Error::WornOut);
            }
            old = Some(now);
            let mut next = self.snapshot;
            if let Stored::Active(a) = &mut next.stored {
                a.slot_generation = content.generation;
            }
            self.commit(next)?;
        }
        self.open_vault(&content)?;
        self.vault.drop_class(class as u8);
        if let Some(n) = old {
            let slots = self.platform.parts().slot;
            slot::zero(slots, n);
            if !slot::efface(slots, n) {
                return Err(Error::WornOut);
            }
        }
        Ok(())
    }

    /// The account holder's name for "Welcome back, …"; returns its length.
    pub fn display_name(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.get(Class::Name, super::activate::DISPLAY_NAME.id, out)
    }

    fn need_activation(&mut self) -> Result<(), Error> {
        match self.state() {
            State::Active => Ok(()),
            State::Booting => Err(Error::Busy),
            _ => Err(Error::WrongState),
        }
    }

    /// Access is open, and callers may have values of this class.
    fn need_open(&mut self, class: Class) -> Result<(), Error> {
        self.need_activation()?;
        match class {
            Class::Session => Err(Error::WrongState),
            _ => Ok(()),
        }
    }

    /// Powered hours of the device's life: when a value was written.
    pub(super) fn stamp(&mut self) -> [u8; 4] {
        (self.powered_s() / 3600).to_le_bytes()
    }
}

/// The record key of a value.
fn vault_key(class: Class, id: u16) -> RecordId {
    RecordId {
        class: class as u8,
        id,
    }
}
