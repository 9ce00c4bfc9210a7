//! The keys of one log.

use super::format::{RECORD_HEADER, concat};
use crate::class::Class;
use nrd_hal::Crypto;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Number of record classes, each with a key of its own, which `forget`
/// destroys alone. `format.rs` asserts that a record header has bits for them.
pub const CLASSES: usize = Class::ALL.len();

/// Keys of one log, all from one base; each is derived when it is first needed.
/// Zeroized on drop; no `Debug`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LogKeys {
    /// Region (1) and epoch (8), the start of every record's associated data.
    aad_prefix: [u8; 9],
    base: [u8; 32],
    /// Authenticates sector headers.
    pub(crate) header: [u8; 32],
    nonce: Option<[u8; 32]>,
    pub(crate) classes: [ClassKey; CLASSES],
}

/// The salt of one class, how often it was replaced, and the key from it.
#[derive(Zeroize)]
pub(crate) struct ClassKey {
    pub(crate) salt_generation: u32,
    salt: [u8; 16],
    key: Option<[u8; 32]>,
}

impl ClassKey {
    const BLANK: ClassKey = ClassKey {
        salt_generation: 0,
        salt: [0; 16],
        key: None,
    };
}

/// The byte that ends the info of HKDF-Expand-SHA-256's first block (RFC 5869
/// §2.3). A 32-byte key is one HMAC: the base is a uniform key already, so that
/// there is nothing to extract (§3.3).
const FIRST_BLOCK: &[u8] = &[1];

impl LogKeys {
    /// No keys.
    pub(crate) const NONE: LogKeys = LogKeys {
        aad_prefix: [0; 9],
        base: [0; 32],
        header: [0; 32],
        nonce: None,
        classes: [ClassKey::BLANK; CLASSES],
    };

    /// Keys of region `region` (not 0) in `epoch`, from `base`; every class's
    /// salt is zeros of generation 0.
    pub fn new<C: Crypto>(region: u8, epoch: u64, base: &[u8; 32]) -> LogKeys {
        let mut keys = LogKeys::NONE;
        keys.set::<C>(region, epoch, base);
        keys
    }

    /// Replaces these keys.
    pub(crate) fn set<C: Crypto>(&mut self, region: u8, epoch: u64, base: &[u8; 32]) {
        self.zeroize();
        let [a, b, c, d, e, f, g, h] = epoch.to_le_bytes();
        self.aad_prefix = [region, a, b, c, d, e, f, g, h];
        self.base = *base;
        self.header = C::hmac(base, &[b"nrd/1/sector", FIRST_BLOCK]);
    }

    /// True when there are keys.
    pub(crate) fn are_set(&self) -> bool {
        self.region() != 0
    }

    /// The region that these keys are for; 0 when there are none.
    pub(crate) fn region(&self) -> u8 {
        let [region, ..] = self.aad_prefix;
        region
    }

    /// Associated data of a record's seal: region, epoch, the header's bytes.
    pub(crate) fn aad(&self, header: &[u8; RECORD_HEADER]) -> [u8; 9 + RECORD_HEADER] {
        concat(&[&self.aad_prefix, header])
    }

    /// Sets a class's salt and its generation.
    pub(crate) fn salt(&mut self, class: usize, generation: u32, salt: &[u8; 16]) {
        if let Some(c) = self.classes.get_mut(class) {
            c.zeroize();
            (c.salt_generation, c.salt) = (generation, *salt);
        }
    }

    /// The generation of a class's salt, as records name it.
    pub(crate) fn salt_generation(&self, class: u8) -> u16 {
        let class = self.classes.get(usize::from(class));
        // `forget` refuses the generation that would not fit.
        class.map_or(0, |c| c.salt_generation as u16)
    }

    /// The key of the hedged nonces.
    pub(crate) fn nonce<C: Crypto>(&mut self) -> &[u8; 32] {
        let info: [&[u8]; 2] = [b"nrd/1/nonce", FIRST_BLOCK];
        self.nonce.get_or_insert_with(|| C::hmac(&self.base, &info))
    }

    /// The key that seals a class's records (AES-256-GCM); `None` for a class
    /// that does not exist.
    pub(crate) fn class<C: Crypto>(&mut self, class: u8) -> Option<&[u8; 32]> {
        let c = self.classes.get_mut(usize::from(class))?;
        let generation = c.salt_generation.to_le_bytes();
        let info: [&[u8]; 5] = [b"nrd/1/class", &[class], &generation, &c.salt, FIRST_BLOCK];
        Some(c.key.get_or_insert_with(|| C::hmac(&self.base, &info)))
    }
}
