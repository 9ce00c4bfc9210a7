//! Byte formats of sector and record headers. All integers little-endian.

use super::{Key, LogKeys};
use nrd_hal::Crypto;
use subtle::ConstantTimeEq;

/// Sector header, in bytes.
pub const SECTOR_HEADER: usize = 44;
/// Record header, in bytes.
pub(crate) const RECORD_HEADER: usize = 12;
/// The stored part of a nonce, in bytes.
pub(crate) const NONCE: usize = 8;
/// AES-GCM tag, in bytes.
pub(crate) const TAG: usize = 16;
/// What a record adds to its value, before padding, in bytes.
pub const RECORD_OVERHEAD: usize = RECORD_HEADER + NONCE + TAG;
/// Longest value of any log, in bytes.
pub const MAX_VALUE: usize = 4096;

const MAGIC: [u8; 4] = *b"NRL2";
const SECTOR_CONTEXT: &[u8] = b"nrd/1/sector\0";
/// Bytes of a sector header before its authentication.
const FIELDS: usize = SECTOR_HEADER - 16;
/// Bytes that claim a generation: the magic and the number.
pub(crate) const CLAIM: usize = 8;

/// Rounds up to a multiple of `unit`.
pub(crate) fn padded(bytes: u32, unit: u32) -> u32 {
    bytes.div_ceil(unit.max(1)).saturating_mul(unit)
}

/// Where a record lies: sector and offset, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u32);

impl Place {
    /// No place.
    pub(crate) const NONE: Place = Place(u32::MAX);
    /// Largest logical sector, in bytes.
    pub(crate) const MAX_SECTOR: u32 = 1 << 24;

    pub(crate) fn new(sector: u32, offset: u32) -> Place {
        Place(sector << 24 | offset)
    }

    pub(crate) fn sector(self) -> u32 {
        self.0 >> 24
    }

    pub(crate) fn offset(self) -> u32 {
        self.0 & 0xFF_FFFF
    }
}

/// What a sector's header says. Written after the copies that it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SectorHeader {
    /// Generation of this sector; only goes up.
    pub(crate) generation: u32,
    /// The sectors whose records count, this one included: a bit each.
    pub(crate) members: u64,
    /// The next sequence number when this sector was opened.
    pub(crate) base_seq: u32,
    /// Where the copies end and records of its own begin.
    pub(crate) copies_end: u32,
    /// Where the pinned record lies.
    pub(crate) pin: Place,
}

impl SectorHeader {
    fn fields(&self) -> [u8; FIELDS] {
        let words = [
            u32::from_le_bytes(MAGIC),
            self.generation,
            self.members as u32,
            (self.members >> 32) as u32,
            self.base_seq,
            self.copies_end,
            self.pin.0,
        ];
        let mut out = [0; FIELDS];
        for (to, from) in out
            .iter_mut()
            .zip(words.iter().flat_map(|w| w.to_le_bytes()))
        {
            *to = from;
        }
        out
    }

    fn mac<C: Crypto>(fields: &[u8], keys: &LogKeys) -> [u8; 32] {
        C::hmac(&keys.header, &[SECTOR_CONTEXT, &[keys.region], fields])
    }

    /// The header's bytes.
    pub(crate) fn encode<C: Crypto>(&self, keys: &LogKeys) -> [u8; SECTOR_HEADER] {
        let mut out = [0u8; SECTOR_HEADER];
        let fields = self.fields();
        let mac = Self::mac::<C>(&fields, keys);
        for (o, b) in out.iter_mut().zip(fields.iter().chain(&mac)) {
            *o = *b;
        }
        out
    }

    /// The generation that bytes claim, not authenticated; 0 for no header.
    pub(crate) fn claim(bytes: &[u8; CLAIM]) -> u32 {
        let [a, b, c, d, rest @ ..] = *bytes;
        match [a, b, c, d] {
            MAGIC => u32::from_le_bytes(rest),
            _ => 0,
        }
    }

    /// Parses and authenticates.
    pub(crate) fn open<C: Crypto>(
        bytes: &[u8; SECTOR_HEADER],
        keys: &LogKeys,
    ) -> Option<SectorHeader> {
        let (fields, tag) = bytes.split_at_checked(FIELDS)?;
        let mac = Self::mac::<C>(fields, keys);
        if !fields.starts_with(&MAGIC) || !bool::from(mac.get(..16)?.ct_eq(tag)) {
            return None;
        }
        let mut words = fields
            .chunks_exact(4)
            .skip(1)
            .filter_map(|w| Some(u32::from_le_bytes(w.try_into().ok()?)));
        Some(SectorHeader {
            generation: words.next()?,
            members: u64::from(words.next()?) | u64::from(words.next()?) << 32,
            base_seq: words.next()?,
            copies_end: words.next()?,
            pin: Place(words.next()?),
        })
    }
}

/// What a record's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// A delete marker (its value is empty).
    pub(crate) deleted: bool,
    /// Class and id.
    pub(crate) key: Key,
    /// Length of the value in bytes.
    pub(crate) len: u16,
    /// Generation of the class's salt.
    pub(crate) salt_generation: u16,
    /// Sequence number.
    pub(crate) seq: u32,
}

/// The length that a delete marker names: more than any value has.
const DELETED: u16 = 0x1FFF;
/// CRC-16/IBM-3740, the check bits of a record header.
const CRC: crc::Crc<u16, crc::NoTable> = crc::Crc::<u16, crc::NoTable>::new(&crc::CRC_16_IBM_3740);

impl RecordHeader {
    /// The header's 12 bytes: length and class (2), id (2), salt generation
    /// (2), sequence (4), CRC-16 (2).
    pub(crate) fn encode(&self) -> [u8; RECORD_HEADER] {
        let len = if self.deleted { DELETED } else { self.len };
        let [l0, l1] = (len | u16::from(self.key.class) << 13).to_le_bytes();
        let [i0, i1] = self.key.id.to_le_bytes();
        let [g0, g1] = self.salt_generation.to_le_bytes();
        let [s0, s1, s2, s3] = self.seq.to_le_bytes();
        let check = CRC.checksum(&[l0, l1, i0, i1, g0, g1, s0, s1, s2, s3]);
        let [c0, c1] = check.to_le_bytes();
        [l0, l1, i0, i1, g0, g1, s0, s1, s2, s3, c0, c1]
    }

    /// Parses; `None` when the check bits do not fit or the length is out of
    /// range.
    pub(crate) fn parse(bytes: &[u8; RECORD_HEADER]) -> Option<RecordHeader> {
        let [l0, l1, i0, i1, g0, g1, s0, s1, s2, s3, c0, c1] = *bytes;
        if CRC.checksum(bytes.get(..10)?) != u16::from_le_bytes([c0, c1]) {
            return None;
        }
        let word = u16::from_le_bytes([l0, l1]);
        let len = word & DELETED;
        let deleted = len == DELETED;
        if !deleted && usize::from(len) > MAX_VALUE {
            return None;
        }
        Some(RecordHeader {
            deleted,
            key: Key {
                class: (word >> 13) as u8,
                id: u16::from_le_bytes([i0, i1]),
            },
            len: if deleted { 0 } else { len },
            salt_generation: u16::from_le_bytes([g0, g1]),
            seq: u32::from_le_bytes([s0, s1, s2, s3]),
        })
    }

    /// Parses, mending a single flipped bit by the check bits. The caller must
    /// confirm a mended header by the record's tag.
    pub(crate) fn parse_mended(bytes: &[u8; RECORD_HEADER]) -> Option<RecordHeader> {
        (0..RECORD_HEADER * 8).find_map(|bit| {
            let mut trial = *bytes;
            *trial.get_mut(bit / 8)? ^= 1 << (bit % 8);
            Self::parse(&trial)
        })
    }

    /// Unpadded size of the record in bytes.
    pub(crate) fn size(&self) -> u32 {
        RECORD_OVERHEAD as u32 + u32::from(self.len)
    }

    /// Associated data of the record's seal: region, epoch, header.
    pub(crate) fn aad(&self, keys: &LogKeys) -> [u8; 21] {
        let mut out = [0; 21];
        let parts = [keys.region]
            .into_iter()
            .chain(keys.epoch.to_le_bytes())
            .chain(self.encode());
        for (o, b) in out.iter_mut().zip(parts) {
            *o = b;
        }
        out
    }

    /// The whole nonce: the sequence number, then the stored part.
    pub(crate) fn nonce(&self, stored: &[u8; NONCE]) -> [u8; 12] {
        let [s0, s1, s2, s3] = self.seq.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = *stored;
        [s0, s1, s2, s3, a, b, c, d, e, f, g, h]
    }
}

/// True when every byte reads as erased.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}
