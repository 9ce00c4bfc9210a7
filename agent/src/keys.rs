//! The key hierarchy.
//!
//! ```text
//! root ─ fixed "nrd/1/journal" ── base of the journal ─ expand ─ header, nonce, class 0
//!      ─ fixed "nrd/1/slot" ───── key of the slot's own check
//!      ─ epoch "nrd/1/vault" ─┐
//! activation secret (slot) ───┴── HKDF ─ activation key ─ expand ─ header, nonce,
//!                                                           one key a class (salt)
//! ```
//!
//! The journal's keys take no epoch: the tombstone must stay readable when the
//! counter moves. The vault's take the epoch *and* the secret: destroying
//! either kills them.

use crate::error::Error;
use crate::log::LogKeys;
use crate::slot::SlotContent;
use crate::wire::codec::copy;
use nrd_hal::{Crypto, Epoch, RootKey};
use zeroize::Zeroizing;

/// Region number of the journal in associated data.
pub(crate) const JOURNAL: u8 = 1;
/// Region number of the vault in associated data.
pub(crate) const VAULT: u8 = 2;

/// 32 bytes that the root binds to `label`.
fn fixed<K: RootKey>(root: &mut K, label: &[u8], key: &mut [u8; 32]) -> Result<(), Error> {
    let derived = root.derive_fixed(label).map_err(|_| Error::Hardware)?;
    *key = *derived;
    Ok(())
}

/// Key of the slot's own check.
pub(crate) fn slot<K: RootKey>(root: &mut K, key: &mut [u8; 32]) -> Result<(), Error> {
    fixed(root, b"nrd/1/slot", key)
}

/// Derives the keys of the journal.
pub(crate) fn journal<K: RootKey, C: Crypto>(
    root: &mut K,
    keys: &mut LogKeys,
) -> Result<(), Error> {
    let mut base = Zeroizing::new([0; 32]);
    fixed(root, b"nrd/1/journal", &mut base)?;
    keys.set::<C>(JOURNAL, 0, &base);
    Ok(())
}

/// Derives the keys of the vault for one activation.
pub(crate) fn vault<K: RootKey, C: Crypto>(
    root: &mut K,
    slot: &SlotContent,
    keys: &mut LogKeys,
) -> Result<(), Error> {
    let base = root.derive_epoch(b"nrd/1/vault", Epoch(slot.epoch));
    let base = base.map_err(|_| Error::Hardware)?;
    let mut ikm = Zeroizing::new([0u8; 64]);
    let (front, back) = ikm.split_at_mut(32);
    copy(front, base.as_ref());
    copy(back, &slot.secret);
    let key = Zeroizing::new(C::hkdf(
        &slot.activation_id,
        ikm.as_ref(),
        &[b"nrd/1/activation"],
    ));
    keys.set::<C>(VAULT, slot.epoch, &key);
    for (n, s) in slot.salts.iter().enumerate() {
        keys.salt(n, s.generation, &s.salt);
    }
    Ok(())
}
