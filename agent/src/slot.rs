//! The key slot: the bytes whose destruction destroys everything.
//!
//! ```text
//! | "NRS1" | generation 4 | epoch 8 | activation id 16 | secret 32 |
//! | 8 × (salt generation 4, salt 16) | HMAC-SHA-256 32 |            = 256 bytes
//! ```
//!
//! Two slots alternate. Which of them counts is the journal's word (its
//! snapshot names the committed generation), so a torn write or erase of a
//! slot is never a question of which bytes happen to read well today.

use crate::log::CLASSES;
use crate::wire::codec::{Code, Reader, Writer};
use nrd_hal::{Crypto, Effaceable};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Size of a slot's content in bytes.
pub(crate) const SLOT_BYTES: usize = 256;
const MAC: usize = 32;
const MAGIC: &[u8] = b"NRS1";
const CONTEXT: &[u8] = b"nrd/1/slot\0";

/// What a slot holds. No `Debug`; zeroized on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct SlotContent {
    pub(crate) generation: u32,
    pub(crate) epoch: u64,
    pub(crate) activation_id: [u8; 16],
    pub(crate) secret: [u8; 32],
    pub(crate) salts: [Salt; CLASSES],
}

/// The salt of one class's key, and how often it was replaced.
#[derive(Clone, Default, Zeroize)]
pub(crate) struct Salt {
    pub(crate) generation: u32,
    pub(crate) salt: [u8; 16],
}

impl SlotContent {
    fn encode<C: Crypto>(&self, key: &[u8; 32]) -> Zeroizing<[u8; SLOT_BYTES]> {
        let mut out = Zeroizing::new([0u8; SLOT_BYTES]);
        if let Some((text, mac)) = out.split_last_chunk_mut::<MAC>() {
            let mut w = Writer::new(text);
            w.bytes(MAGIC);
            w.bytes(&self.generation.to_le_bytes());
            w.bytes(&self.epoch.to_le_bytes());
            w.bytes(&self.activation_id);
            w.bytes(&self.secret);
            for s in &self.salts {
                w.bytes(&s.generation.to_le_bytes());
                w.bytes(&s.salt);
            }
            *mac = C::hmac(key, &[CONTEXT, text]);
        }
        out
    }

    fn decode<C: Crypto>(bytes: &[u8; SLOT_BYTES], key: &[u8; 32]) -> Option<SlotContent> {
        let (text, mac) = bytes.split_last_chunk::<MAC>()?;
        let authentic = bool::from(C::hmac(key, &[CONTEXT, text]).ct_eq(mac));
        let mut r = Reader::new(text);
        if !authentic || r.bytes(MAGIC.len()) != MAGIC {
            return None;
        }
        Some(SlotContent {
            generation: u32::from_le_bytes(Code::take(&mut r)),
            epoch: u64::from_le_bytes(Code::take(&mut r)),
            activation_id: Code::take(&mut r),
            secret: Code::take(&mut r),
            salts: core::array::from_fn(|_| Salt {
                generation: u32::from_le_bytes(Code::take(&mut r)),
                salt: Code::take(&mut r),
            }),
        })
    }
}

/// Reads slot `n`; `None` when it is blank, torn, unreadable or another
/// device's.
pub(crate) fn read<S: Effaceable, C: Crypto>(
    slots: &mut S,
    n: u8,
    key: &[u8; 32],
) -> Option<SlotContent> {
    let mut bytes = Zeroizing::new([0u8; SLOT_BYTES]);
    slots.read(n, bytes.as_mut()).ok()?;
    SlotContent::decode::<C>(&bytes, key)
}

/// True when every byte of slot `n` reads as erased.
pub(crate) fn is_blank<S: Effaceable>(slots: &mut S, n: u8) -> bool {
    let mut bytes = Zeroizing::new([0u8; SLOT_BYTES]);
    slots.read(n, bytes.as_mut()).is_ok() && bytes.iter().all(|&b| b == 0xFF)
}

/// Erases slot `n` and reads it back; false when it stays not blank after
/// three tries. A slot that reads blank is erased all the same: an earlier cut
/// may have left its cells half-way.
pub(crate) fn efface<S: Effaceable>(slots: &mut S, n: u8) -> bool {
    (0..3).any(|_| slots.erase(n).is_ok() && is_blank(slots, n))
}

/// Writes `content` to slot `n`, erasing it first, and reads it back.
pub(crate) fn write<S: Effaceable, C: Crypto>(
    slots: &mut S,
    n: u8,
    content: &SlotContent,
    key: &[u8; 32],
) -> bool {
    let bytes = content.encode::<C>(key);
    (0..2).any(|_| {
        if !efface(slots, n) || slots.write(n, bytes.as_ref()).is_err() {
            return false;
        }
        let mut back = Zeroizing::new([0u8; SLOT_BYTES]);
        slots.read(n, back.as_mut()).is_ok() && *back == *bytes
    })
}

/// Destroys slot `n` by one program, where the part can. The erase follows.
pub(crate) fn zero<S: Effaceable>(slots: &mut S, n: u8) {
    if !is_blank(slots, n) {
        let _ = slots.zero(n);
    }
}
