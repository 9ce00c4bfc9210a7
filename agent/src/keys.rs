//! The key hierarchy.
//!
//! ```text
//! root ─ fixed "nrd/1/journal" ── HKDF ─ journal keys (header, nonce, class 0)
//!      ─ fixed "nrd/1/slot" ───── key of the slot's own check
//!      ─ epoch "nrd/1/vault" ─┐
//! activation secret (slot) ───┴── HKDF ─ activation key ─ HKDF ─ header, nonce,
//!                                                          one key a class (salt)
//! ```
//!
//! The journal's keys take no epoch: the tombstone must stay readable when the
//! counter moves. The vault's take the epoch *and* the secret: destroying
//! either kills them.

use crate::log::{CLASSES, ClassKey, LogKeys};
use crate::slot::SlotContent;
use nrd_hal::{Crypto, Epoch, RootKey};
use zeroize::{Zeroize, Zeroizing};

/// Region number of the journal in associated data.
pub(crate) const JOURNAL: u8 = 1;
/// Region number of the vault in associated data.
pub(crate) const VAULT: u8 = 2;

/// Key of the slot's own check.
pub(crate) fn slot_key<K: RootKey>(root: &mut K) -> Result<Zeroizing<[u8; 32]>, K::Error> {
    root.derive_fixed(b"nrd/1/slot")
}

/// Keys of the journal.
pub(crate) fn journal<K: RootKey, C: Crypto>(root: &mut K) -> Result<LogKeys, K::Error> {
    let base = root.derive_fixed(b"nrd/1/journal")?;
    let mut keys = LogKeys {
        region: JOURNAL,
        epoch: 0,
        header: C::hkdf(&[], base.as_ref(), &[b"nrd/1/sector"]),
        nonce: C::hkdf(&[], base.as_ref(), &[b"nrd/1/nonce"]),
        classes: core::array::from_fn(|_| ClassKey::default()),
    };
    if let Some(c) = keys.classes.first_mut() {
        c.key = C::hkdf(&[], base.as_ref(), &[b"nrd/1/class"]);
    }
    Ok(keys)
}

/// Keys of the vault for one activation.
pub(crate) fn vault<K: RootKey, C: Crypto>(
    root: &mut K,
    slot: &SlotContent,
) -> Result<LogKeys, K::Error> {
    let base = root.derive_epoch(b"nrd/1/vault", Epoch(slot.epoch))?;
    let mut ikm = Zeroizing::new([0u8; 64]);
    for (o, b) in ikm.iter_mut().zip(base.iter().chain(&slot.secret)) {
        *o = *b;
    }
    let key = Zeroizing::new(C::hkdf(
        &slot.activation_id,
        ikm.as_ref(),
        &[b"nrd/1/activation"],
    ));
    let mut keys = LogKeys {
        region: VAULT,
        epoch: slot.epoch,
        header: C::hkdf(&[], key.as_ref(), &[b"nrd/1/sector"]),
        nonce: C::hkdf(&[], key.as_ref(), &[b"nrd/1/nonce"]),
        classes: core::array::from_fn(|_| ClassKey::default()),
    };
    derive_classes::<C>(&mut keys.classes, &key, slot);
    Ok(keys)
}

fn derive_classes<C: Crypto>(out: &mut [ClassKey; CLASSES], key: &[u8; 32], slot: &SlotContent) {
    for (n, (c, s)) in out.iter_mut().zip(&slot.salts).enumerate() {
        c.zeroize();
        *c = ClassKey {
            salt_generation: s.generation as u16,
            key: C::hkdf(
                &s.salt,
                key,
                &[b"nrd/1/class", &[n as u8], &s.generation.to_le_bytes()],
            ),
        };
    }
}
