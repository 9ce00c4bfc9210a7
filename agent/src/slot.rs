//! The key slot: the bytes whose destruction destroys everything.
//!
//! ```text
//! | "NRS1" | generation 4 | epoch 8 | activation id 16 | secret 32 |
//! | 8 × (salt generation 4, salt 16) | HMAC-SHA-256 32 |            = 256 bytes
//! ```
//!
//! Two slots alternate. The journal's snapshot names the committed generation,
//! and thereby the slot in force. A torn write or erase of a slot can therefore
//! never decide which one counts by how its bytes happen to read at this boot.

use crate::log::CLASSES;
use crate::wire::codec::{self, Code, Reader, Writer};
use nrd_hal::{Crypto, Effaceable};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Size of a slot's content in bytes.
pub(crate) const SLOT_BYTES: usize = 256;
const MAC: usize = 32;
const MAGIC: &[u8] = b"NRS1";
const CONTEXT: &[u8] = b"nrd/1/slot\0";
/// Bytes of a slot's fields: generation, epoch, activation id, secret, salts.
const FIELDS: usize = 4 + 8 + 16 + 32 + CLASSES * (4 + 16);

const _: () = assert!(
    MAGIC.len() + FIELDS + MAC == SLOT_BYTES,
    "the fields of a slot fill it exactly: a part's slots have SLOT_BYTES, and no more"
);

/// The content of a slot. No `Debug`; zeroized on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
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

    /// False when the fields do not fill the slot exactly.
    #[must_use]
    fn encode<C: Crypto>(&self, out: &mut [u8; SLOT_BYTES], key: &[u8; 32]) -> bool {
        let Some((text, end)) = out.split_last_chunk_mut::<MAC>() else {
            return false;
        };
        let written = codec::write(MAGIC, self, text);
        *end = mac::<C>(text, key);
        written == Ok(text.len())
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
fn mac<C: Crypto>(text: &[u8], key: &[u8; 32]) -> [u8; MAC] {
    C::hmac(key, &[CONTEXT, text])
}

/// In fixed width: a slot's fields have their place, whatever they hold.
impl Code<'_> for SlotContent {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.generation.to_le_bytes());
        writer.bytes(&self.epoch.to_le_bytes());
        writer.bytes(&self.activation_id);
        writer.bytes(&self.secret);
        for s in &self.salts {
            writer.bytes(&s.generation.to_le_bytes());
            writer.bytes(&s.salt);
        }
    }
    fn read(&mut self, reader: &mut Reader<'_>) {
        self.generation = reader.fixed_u32();
        self.epoch = reader.fixed_u64();
        reader.bytes(&mut self.activation_id);
        reader.bytes(&mut self.secret);
        for s in &mut self.salts {
            s.generation = reader.fixed_u32();
            reader.bytes(&mut s.salt);
        }
    }
}

/// Reads slot `n` into `content`; false when it is blank, torn, unreadable or
/// another device's.
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
#[must_use]
pub(crate) fn efface<S: Effaceable>(slots: &mut S, n: u8) -> bool {
    for _ in 0..3 {
        if slots.erase(n).is_ok() && is_blank(slots, n) {
            return true;
        }
    }
    false
}

/// Writes `content` to slot `n`, erasing it first, and reads it back; false
/// when it does not read as written after two tries.
#[must_use]
pub(crate) fn write<S: Effaceable, C: Crypto>(
    slots: &mut S,
    n: u8,
    content: &SlotContent,
    key: &[u8; 32],
) -> bool {
    let mut bytes = Zeroizing::new([0u8; SLOT_BYTES]);
    if !content.encode::<C>(&mut bytes, key) {
        return false;
    }
    let mut back = Zeroizing::new([0u8; SLOT_BYTES]);
    (0..2).any(|_| {
        efface(slots, n)
            && slots.write(n, bytes.as_ref()).is_ok()
            && slots.read(n, back.as_mut()).is_ok()
            && *back == *bytes
    })
}

/// Destroys slot `n` by one program, where the part can. The erase follows.
pub(crate) fn zero<S: Effaceable>(slots: &mut S, n: u8) {
    if !is_blank(slots, n) {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "a head start: the erase that follows is what counts, and is read back"
        )]
        let _ = slots.zero(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nrd_hal::crypto::RingCrypto;
    use nrd_hal::{ErrorKind, ErrorType, Guarantee};

    const KEY: [u8; 32] = [7; 32];

    /// Two slots that can be told to go wrong.
    struct Slots {
        cells: [[u8; SLOT_BYTES]; 2],
        zeros: u32,
        /// So many erases do nothing.
        idle_erases: u32,
        /// So many erases work, and are called failed.
        failing_erases: u32,
        /// So many reads fail, and tell nothing.
        mute_reads: u32,
        /// So many writes leave the last byte out.
        short_writes: u32,
    }

    impl Slots {
        fn new() -> Self {
            Slots {
                cells: [[0xA5; SLOT_BYTES]; 2],
                zeros: 0,
                idle_erases: 0,
                failing_erases: 0,
                mute_reads: 0,
                short_writes: 0,
            }
        }
    }

    /// Counts one down; true while there was one.
    fn one_of(n: &mut u32) -> bool {
        let was = *n;
        *n = was.saturating_sub(1);
        was > 0
    }

    impl ErrorType for Slots {
        type Error = ErrorKind;
    }

    impl Effaceable for Slots {
        fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), ErrorKind> {
            bytes.copy_from_slice(&self.cells[usize::from(slot)][..bytes.len()]);
            if one_of(&mut self.mute_reads) {
                return Err(ErrorKind::Ecc);
            }
            Ok(())
        }
        fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), ErrorKind> {
            let n = bytes.len() - usize::from(one_of(&mut self.short_writes));
            self.cells[usize::from(slot)][..n].copy_from_slice(&bytes[..n]);
            Ok(())
        }
        fn zero(&mut self, slot: u8) -> Result<bool, ErrorKind> {
            self.zeros += 1;
            self.cells[usize::from(slot)].fill(0);
            Ok(true)
        }
        fn erase(&mut self, slot: u8) -> Result<(), ErrorKind> {
            if !one_of(&mut self.idle_erases) {
                self.cells[usize::from(slot)].fill(0xFF);
            }
            if one_of(&mut self.failing_erases) {
                return Err(ErrorKind::OperationFailed);
            }
            Ok(())
        }
        fn guarantee(&self) -> Guarantee {
            Guarantee::Physical
        }
    }

    fn content() -> SlotContent {
        SlotContent {
            generation: 3,
            epoch: 4,
            activation_id: [5; 16],
            secret: [6; 32],
            salts: core::array::from_fn(|n| Salt {
                generation: n as u32,
                salt: [n as u8; 16],
            }),
        }
    }

    fn written() -> Slots {
        let mut slots = Slots::new();
        assert!(write::<_, RingCrypto>(&mut slots, 1, &content(), &KEY));
        slots
    }

    fn generation(slots: &mut Slots, key: &[u8; 32]) -> Option<u32> {
        let mut content = SlotContent::BLANK;
        read::<_, RingCrypto>(slots, 1, key, &mut content).then_some(content.generation)
    }

    #[test]
    fn a_slot_is_laid_out_as_the_specification_says() {
        let slots = written();
        let [other, bytes] = &slots.cells;
        assert_eq!(other, &[0xA5; SLOT_BYTES], "the other slot is left alone");
        assert_eq!(&bytes[..8], b"NRS1\x03\0\0\0");
        assert_eq!(bytes[8..16], [4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..32], [5; 16]);
        assert_eq!(bytes[32..64], [6; 32]);
        assert_eq!(bytes[84..88], [1, 0, 0, 0]);
        assert_eq!(bytes[208..224], [7; 16]);
    }

    #[test]
    fn a_slot_opens_with_its_own_key_and_every_bit_in_place_only() {
        let mut slots = written();
        assert_eq!(generation(&mut slots, &KEY), Some(3));
        assert_eq!(generation(&mut slots, &[8; 32]), None);
        for at in 0..SLOT_BYTES {
            slots.cells[1][at] ^= 1;
            assert_eq!(generation(&mut slots, &KEY), None, "byte {at}");
            slots.cells[1][at] ^= 1;
        }
        slots.mute_reads = 1;
        assert_eq!(generation(&mut slots, &KEY), None);
    }

    #[test]
    fn another_format_does_not_open_although_its_check_is_good() {
        let mut slots = written();
        let (text, mac) = slots.cells[1].split_last_chunk_mut::<MAC>().unwrap();
        text[3] = b'2';
        *mac = RingCrypto::hmac(&KEY, &[CONTEXT, text]);
        assert_eq!(generation(&mut slots, &KEY), None);
    }

    #[test]
    fn blank_is_what_was_read_as_all_ones() {
        let mut slots = written();
        assert!(!is_blank(&mut slots, 1));
        slots.cells[1].fill(0xFF);
        assert!(is_blank(&mut slots, 1));
        slots.mute_reads = 1;
        assert!(!is_blank(&mut slots, 1), "nobody saw it");
        slots.cells[1][255] = 0xFE;
        assert!(!is_blank(&mut slots, 1));
    }

    #[test]
    fn effaced_is_what_was_erased_and_read_blank_within_three_tries() {
        for (bad, good) in [(2, true), (3, false)] {
            let mut slots = written();
            slots.idle_erases = bad;
            assert_eq!(efface(&mut slots, 1), good, "{bad} idle erases");
            let mut slots = written();
            slots.failing_erases = bad;
            assert_eq!(efface(&mut slots, 1), good, "{bad} failing erases");
            let mut slots = written();
            slots.mute_reads = bad;
            assert_eq!(efface(&mut slots, 1), good, "{bad} mute reads");
        }
    }

    #[test]
    fn written_is_what_reads_back_within_two_tries() {
        for (bad, good) in [(1, true), (2, false)] {
            let mut slots = Slots::new();
            slots.short_writes = bad;
            let done = write::<_, RingCrypto>(&mut slots, 1, &content(), &KEY);
            assert_eq!(done, good, "{bad} short writes");
        }
    }

    #[test]
    fn nothing_is_written_to_a_slot_that_does_not_erase() {
        let mut slots = Slots::new();
        slots.idle_erases = 6;
        assert!(!write::<_, RingCrypto>(&mut slots, 1, &content(), &KEY));
        assert_eq!(slots.cells[1], [0xA5; SLOT_BYTES]);
    }

    #[test]
    fn a_slot_that_holds_something_is_zeroed_and_a_blank_one_spared() {
        let mut slots = written();
        zero(&mut slots, 1);
        assert_eq!((slots.cells[1], slots.zeros), ([0; SLOT_BYTES], 1));
        slots.cells[1].fill(0xFF);
        zero(&mut slots, 1);
        assert_eq!((slots.cells[1], slots.zeros), ([0xFF; SLOT_BYTES], 1));
    }
}
