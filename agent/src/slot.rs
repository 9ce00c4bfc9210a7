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
use crate::wire::codec::{self, Code, Coder};
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
#[derive(Clone, Copy, Zeroize)]
pub(crate) struct Salt {
    pub(crate) generation: u32,
    pub(crate) salt: [u8; 16],
}

impl SlotContent {
    /// No content: generations are from 1.
    pub(crate) const BLANK: SlotContent = SlotContent {
        generation: 0,
        epoch: 0,
        activation_id: [0; 16],
        secret: [0; 32],
        salts: [Salt {
            generation: 0,
            salt: [0; 16],
        }; CLASSES],
    };

    fn encode<C: Crypto>(&mut self, out: &mut [u8; SLOT_BYTES], key: &[u8; 32]) {
        if let Some((text, end)) = out.split_last_chunk_mut::<MAC>() {
            let _ = codec::write(MAGIC, self, text);
            *end = mac::<C>(text, key);
        }
    }

    /// False when `bytes` do not authenticate.
    fn decode<C: Crypto>(&mut self, bytes: &[u8; SLOT_BYTES], key: &[u8; 32]) -> bool {
        let Some((text, mac)) = bytes.split_last_chunk::<MAC>() else {
            return false;
        };
        let authentic = bool::from(self::mac::<C>(text, key).ct_eq(mac));
        let fields = text.strip_prefix(MAGIC);
        authentic && fields.is_some_and(|fields| codec::read_into(fields, self))
    }
}

/// The code that authenticates a slot.
#[inline(never)]
fn mac<C: Crypto>(text: &[u8], key: &[u8; 32]) -> [u8; MAC] {
    C::hmac(key, &[CONTEXT, text])
}

/// In fixed width.
impl Code<'_> for SlotContent {
    fn code(&mut self, c: &mut Coder<'_, '_>) {
        c.fixed_u32(&mut self.generation);
        c.fixed_u64(&mut self.epoch);
        c.bytes(&mut self.activation_id);
        c.bytes(&mut self.secret);
        for s in &mut self.salts {
            c.fixed_u32(&mut s.generation);
            c.bytes(&mut s.salt);
        }
    }
}

/// Reads slot `n` into `content`; false when it is blank, torn, unreadable or
/// another device's.
#[inline(never)]
pub(crate) fn read<S: Effaceable, C: Crypto>(
    slots: &mut S,
    n: u8,
    key: &[u8; 32],
    content: &mut SlotContent,
) -> bool {
    let mut bytes = Zeroizing::new([0u8; SLOT_BYTES]);
    slots.read(n, bytes.as_mut()).is_ok() && content.decode::<C>(&bytes, key)
}

/// True when both slots read as erased.
#[inline(never)]
pub(crate) fn are_blank<S: Effaceable>(slots: &mut S) -> bool {
    is_blank(slots, 0) && is_blank(slots, 1)
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
    for _ in 0..3 {
        if slots.erase(n).is_ok() && is_blank(slots, n) {
            return true;
        }
    }
    false
}

/// Writes `content` to slot `n`, erasing it first, and reads it back.
pub(crate) fn write<S: Effaceable, C: Crypto>(
    slots: &mut S,
    n: u8,
    content: &mut SlotContent,
    key: &[u8; 32],
) -> bool {
    let mut bytes = Zeroizing::new([0u8; SLOT_BYTES]);
    content.encode::<C>(&mut bytes, key);
    for _ in 0..2 {
        let mut back = Zeroizing::new([0u8; SLOT_BYTES]);
        if efface(slots, n)
            && slots.write(n, bytes.as_ref()).is_ok()
            && slots.read(n, back.as_mut()).is_ok()
            && *back == *bytes
        {
            return true;
        }
    }
    false
}

/// Destroys slot `n` by one program, where the part can. The erase follows.
pub(crate) fn zero<S: Effaceable>(slots: &mut S, n: u8) {
    if !is_blank(slots, n) {
        let _ = slots.zero(n);
    }
}
