//! Locally cached account data, sealed by class.

use super::Agent;
use super::logs::LogId;
use crate::class::Class;
use crate::core::Event;
use crate::error::Error;
use crate::log::{RecordId, value};
use crate::slot;
use crate::wire::codec::copy;
use nrd_hal::Platform;
use rand_core::TryRng as _;

impl<P: Platform> Agent<'_, P> {
    /// Stores a value. `Ok` means sealed, on flash, and read back.
    pub fn put(&mut self, class: Class, id: u16, value: &[u8]) -> Result<(), Error> {
        self.need_open(class)?;
        let key = vault_key(class, id);
        let stamp = self.stamp();
        self.log_write(LogId::Vault, key, Some(&[&stamp, value]))
    }

    /// Reads a value into `out`; returns its length in bytes. A value past its
    /// class's retention is removed and `NotFound`.
    pub fn get(&mut self, class: Class, id: u16, out: &mut [u8]) -> Result<usize, Error> {
        self.need_open(class)?;
        let key = vault_key(class, id);
        let n = self.log_get(LogId::Vault, key)?;
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
    pub fn remove(&mut self, class: Class, id: u16) -> Result<(), Error> {
        self.need_open(class)?;
        let key = vault_key(class, id);
        self.log_write(LogId::Vault, key, None)
    }

    /// Destroys every value of a class at once, by destroying its key. `Ok`
    /// means the old key slot is erased and read back.
    pub fn forget(&mut self, class: Class) -> Result<(), Error> {
        self.settle(Event::Forget(class), &[])
    }

    /// Draws a new salt for a class. Where the activation is remembered, the other
    /// slot gets it: a cut before the journal names that slot leaves the old one
    /// in force.
    pub(super) fn new_salt(&mut self, class: Class) -> Result<(), Error> {
        let named = self.read_content()?;
        let parts = self.platform.parts();
        let content = &mut self.keys.content;
        let salt = content
            .salts
            .get_mut(class as usize)
            .ok_or(Error::NotFound)?;
        if salt.generation >= u32::from(u16::MAX) {
            return Err(Error::WornOut);
        }
        let mut fresh = [0; 16];
        parts
            .rng
            .try_fill_bytes(&mut fresh)
            .map_err(|_| Error::RandomGenerator)?;
        salt.generation += 1;
        salt.salt = fresh;
        content.generation = content.generation.saturating_add(1);
        let Some(n) = named else { return Ok(()) };
        slot::write::<_, P::Crypto>(parts.slot, 1 - n, content, &self.keys.slot)
            .then_some(())
            .ok_or(Error::WornOut)
    }

    /// Takes the new salt into use, and destroys the old slot.
    pub(super) fn swap_slot(&mut self, class: Class) -> Result<(), Error> {
        let named = self.read_content()?;
        self.open_vault()?;
        self.vault.drop_class(class as u8);
        let Some(n) = named else { return Ok(()) };
        let slots = self.platform.parts().slot;
        slot::zero(slots, 1 - n);
        slot::efface(slots, 1 - n)
            .then_some(())
            .ok_or(Error::WornOut)
    }

    /// Reads the content that the snapshot names, and says in which slot it is;
    /// `None` where nothing is remembered, so that it is in RAM alone.
    fn read_content(&mut self) -> Result<Option<u8>, Error> {
        if self.core.remembers() {
            self.read_named_slot().map(Some).ok_or(Error::WornOut)
        } else {
            Ok(None)
        }
    }

    /// The account holder's name for "Welcome back, …"; returns its length.
    pub fn display_name(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.get(Class::Name, super::grant::DISPLAY_NAME.id, out)
    }

    /// Access is open, and callers may have values of this class. Time that is
    /// used up is charged first.
    fn need_open(&mut self, class: Class) -> Result<(), Error> {
        self.pay();
        self.core.may_use(class)
    }

    /// Powered hours of the device's life that have passed for certain: when a value
    /// was written.
    ///
    /// Found: hours charged ahead were counted, 15 minutes a boot, so four hours of a
    /// boot loop removed what is kept for 30 days. Boots never destroy.
    pub(super) fn stamp(&mut self) -> [u8; 4] {
        (self.core.used_s() / 3600).to_le_bytes()
    }
}

/// The record key of a value.
fn vault_key(class: Class, id: u16) -> RecordId {
    RecordId {
        class: class as u8,
        id,
    }
}
