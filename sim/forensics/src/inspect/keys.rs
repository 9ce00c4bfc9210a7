//! Every key that image, root and known slots give (SPEC §3 and §4).

use super::LogRegion;
use nrd_agent::Class;
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::hex;
use nrd_sim_hw::RootKey;
use serde::Serialize;

/// Classes of data: each has a salt in a slot.
const CLASSES: usize = Class::ALL.len();
/// Bytes of a key slot.
const SLOT: usize = 256;

/// What stands in a key slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SlotState {
    /// Every byte is 0xFF.
    Blank,
    /// Every byte is zero.
    Zeroed,
    /// It opens with the root: the key is alive.
    Authentic {
        /// Its generation.
        generation: u32,
        /// Its epoch.
        epoch: u64,
        /// Whose, hexadecimal.
        activation: String,
    },
    /// Something else, or no root to tell.
    Other,
}

/// A slot that authenticates. Holds the activation secret: no `Debug`.
pub struct Slot {
    generation: u32,
    epoch: u64,
    activation: [u8; 16],
    secret: [u8; 32],
    salts: [([u8; 4], [u8; 16]); CLASSES],
}

/// Reads a slot's 256 bytes; `None` unless it authenticates under the root.
pub fn parse_slot(bytes: &[u8], root: &[u8; 32]) -> Option<Slot> {
    let bytes = bytes.first_chunk::<SLOT>()?;
    let (body, tag) = bytes.split_last_chunk::<32>()?;
    let key = RootKey::derive_any(root, b"nrd/1/slot", None);
    let good =
        body.starts_with(b"NRS1") && RingCrypto::hmac(&key, &[b"nrd/1/slot\0", body]) == *tag;
    let take = |at: usize| body[at..].first_chunk().copied();
    let mut salts = [([0; 4], [0; 16]); CLASSES];
    for (n, salt) in salts.iter_mut().enumerate() {
        let at = 64 + 20 * n;
        salt.0 = *body[at..].first_chunk()?;
        salt.1 = *body[at + 4..].first_chunk()?;
    }
    good.then_some(Slot {
        generation: u32::from_le_bytes(take(4)?),
        epoch: u64::from_le_bytes(*body[8..].first_chunk()?),
        activation: *body[16..].first_chunk()?,
        secret: *body[32..].first_chunk()?,
        salts,
    })
}

pub(super) fn slot_state(bytes: &[u8], root: Option<&[u8; 32]>) -> SlotState {
    if bytes.iter().all(|&b| b == 0xFF) {
        return SlotState::Blank;
    }
    if bytes.iter().all(|&b| b == 0) {
        return SlotState::Zeroed;
    }
    match root.and_then(|root| parse_slot(bytes, root)) {
        Some(slot) => SlotState::Authentic {
            generation: slot.generation,
            epoch: slot.epoch,
            activation: hex(&slot.activation),
        },
        None => SlotState::Other,
    }
}

/// A key that opens records.
pub(super) struct RecordKey {
    pub(super) region: u8,
    pub(super) epoch: u64,
    pub(super) key: [u8; 32],
}

/// All keys.
pub(super) struct Ring {
    pub(super) records: Vec<RecordKey>,
    /// (region, key) of sector headers.
    pub(super) headers: Vec<(u8, [u8; 32])>,
}

/// The journal's region number.
const JOURNAL: u8 = LogRegion::Journal.number();
/// The vault's.
pub(super) const VAULT: u8 = LogRegion::Vault.number();

impl Ring {
    pub(super) fn gather(root: Option<&[u8; 32]>, slots: &[&[u8]], epochs: &[u64]) -> Ring {
        let mut ring = Ring {
            records: Vec::new(),
            headers: Vec::new(),
        };
        let Some(root) = root else {
            return ring;
        };
        let base = RootKey::derive_any(root, b"nrd/1/journal", None);
        ring.headers.push((JOURNAL, header_key(&base)));
        ring.records.push(RecordKey {
            region: JOURNAL,
            epoch: 0,
            key: class_key(&base, 0, &[0; 4], &[0; 16]),
        });
        let mut seen: Vec<[u8; 32]> = Vec::new();
        for slot in slots.iter().filter_map(|s| parse_slot(s, root)) {
            // The slot's own epoch first; the others for what may have been
            // sealed under a wrong one.
            let others = epochs.iter().copied().filter(|e| *e != slot.epoch);
            for epoch in std::iter::once(slot.epoch).chain(others) {
                let base = RootKey::derive_any(root, b"nrd/1/vault", Some(epoch));
                let ikm = [base, slot.secret].concat();
                let activation = RingCrypto::hkdf(&slot.activation, &ikm, &[b"nrd/1/activation"]);
                ring.add_vault(&activation, &slot, epoch, &mut seen);
            }
        }
        ring
    }

    /// Keys of unknown purpose, for every region and epoch.
    pub(super) fn add_raw(&mut self, keys: &[[u8; 32]], epochs: &[u64]) {
        for key in keys {
            let places = epochs.iter().map(|e| (VAULT, *e));
            for (region, epoch) in places.chain([(JOURNAL, 0)]) {
                self.records.push(RecordKey {
                    region,
                    epoch,
                    key: *key,
                });
            }
        }
    }

    fn add_vault(
        &mut self,
        activation: &[u8; 32],
        slot: &Slot,
        epoch: u64,
        seen: &mut Vec<[u8; 32]>,
    ) {
        self.headers.push((VAULT, header_key(activation)));
        for (class, (generation, salt)) in slot.salts.iter().enumerate() {
            let key = class_key(activation, class as u8, generation, salt);
            if !seen.contains(&key) {
                seen.push(key);
                self.records.push(RecordKey {
                    region: VAULT,
                    epoch,
                    key,
                });
            }
        }
    }
}

fn header_key(base: &[u8; 32]) -> [u8; 32] {
    expand(base, &[b"nrd/1/sector"])
}

/// A class's key, from the base of its log.
pub fn class_key(base: &[u8; 32], class: u8, generation: &[u8], salt: &[u8]) -> [u8; 32] {
    expand(base, &[b"nrd/1/class", &[class], generation, salt])
}

/// HKDF-Expand (RFC 5869 §2.3) to 32 bytes.
fn expand(base: &[u8; 32], info: &[&[u8]]) -> [u8; 32] {
    RingCrypto::hmac(base, &[info, &[&[1]]].concat())
}
