//! Byte formats of sector and record headers. All integers little-endian.

use super::{Key, LogKeys};
use crate::wire::codec::{self, Code, Coder, copy};
use nrd_hal::Crypto;

/// Sector header, in bytes.
pub const SECTOR_HEADER: usize = 40;
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
/// Bytes of a sector header before its check bits.
const FIELDS: usize = 28;
/// Bytes of its authentication: a truncated HMAC-SHA-256 (NIST SP 800-107r1
/// §5.1).
const MAC: usize = SECTOR_HEADER - FIELDS - 2;

/// Bytes of each of the two commit words: the last of the same HMAC.
pub(crate) const COMMIT: usize = 8;

/// Rounds up to a multiple of `unit`, a power of two.
pub(crate) fn padded(bytes: u32, unit: u32) -> u32 {
    let mask = unit.wrapping_sub(1);
    bytes.wrapping_add(mask) & !mask
}

/// How many bits are set; without the many instructions of `count_ones` on a
/// processor that has none for it.
#[inline(never)]
pub(crate) fn ones(mut bits: u32) -> u32 {
    let mut n = 0;
    while bits != 0 {
        bits &= bits - 1;
        n += 1;
    }
    n
}

/// Where a record lies: sector and offset, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    pub(crate) members: u32,
    /// The next sequence number when this sector was opened.
    pub(crate) base_seq: u32,
    /// Where the copies end and records of its own begin.
    pub(crate) copies_end: u32,
    /// Where the pinned record lies.
    pub(crate) pin: Place,
    /// Records of a lower sequence number may be older than one that was lost.
    pub(crate) lost: u32,
    /// The code that authenticates all this: its beginning stands in the header,
    /// its end in the commit words.
    pub(crate) code: [u8; 32],
}

impl SectorHeader {
    pub(crate) const BLANK: SectorHeader = SectorHeader {
        generation: 0,
        members: 0,
        base_seq: 0,
        copies_end: 0,
        pin: Place(0),
        lost: 0,
        code: [0; 32],
    };

    /// The two commit words that follow the header.
    pub(crate) fn words(&self) -> &[[u8; COMMIT]] {
        self.code.as_chunks().0.get(2..).unwrap_or_default()
    }

    /// The header's bytes: fields, check bits, authentication.
    pub(crate) fn encode<C: Crypto>(&mut self, keys: &LogKeys) -> [u8; SECTOR_HEADER] {
        let mut out = [0; SECTOR_HEADER];
        let _ = codec::write(&MAGIC, self, &mut out);
        self.authenticate::<C>(&out, keys);
        let check = checksum(&out, FIELDS).to_le_bytes();
        if let Some((check_bits, tag)) = out
            .get_mut(FIELDS..)
            .and_then(|rest| rest.split_first_chunk_mut())
        {
            *check_bits = check;
            copy(tag, &self.code);
        }
        out
    }

    /// Parses, not authenticated; false when this is no header. A single flipped
    /// bit is mended, in `bytes`.
    pub(crate) fn claim(&mut self, bytes: &mut [u8; SECTOR_HEADER]) -> bool {
        mend(bytes, FIELDS, |bytes| bytes.starts_with(&MAGIC)).is_some()
            && codec::read_into(bytes.get(MAGIC.len()..FIELDS).unwrap_or_default(), self)
    }

    /// Parses and authenticates. A single flipped bit is mended, in the
    /// authentication as well.
    pub(crate) fn open<C: Crypto>(
        &mut self,
        bytes: &mut [u8; SECTOR_HEADER],
        keys: &LogKeys,
    ) -> bool {
        if !self.claim(bytes) {
            return false;
        }
        self.authenticate::<C>(bytes, keys);
        let tag = bytes.get(SECTOR_HEADER - MAC..).unwrap_or_default();
        let flipped = self.code.iter().zip(tag).map(|(a, b)| ones((a ^ b).into()));
        flipped.sum::<u32>() <= 1
    }

    /// Makes the code for the fields in these bytes.
    fn authenticate<C: Crypto>(&mut self, header: &[u8; SECTOR_HEADER], keys: &LogKeys) {
        let fields = header.get(..FIELDS).unwrap_or_default();
        self.code = C::hmac(&keys.header, &[SECTOR_CONTEXT, &[keys.region()], fields]);
    }
}

impl Code<'_> for SectorHeader {
    fn code(&mut self, c: &mut Coder<'_, '_>) {
        c.fixed_u32(&mut self.generation);
        c.fixed_u32(&mut self.members);
        c.fixed_u32(&mut self.base_seq);
        c.fixed_u32(&mut self.copies_end);
        c.fixed_u32(&mut self.pin.0);
        c.fixed_u32(&mut self.lost);
    }
}

const CRC: crc::Crc<u16, crc::NoTable> = crc::Crc::<u16, crc::NoTable>::new(&crc::CRC_16_IBM_3740);

/// CRC-16/IBM-3740 of the first `n` bytes: the check bits that follow them.
#[inline(never)]
fn checksum(bytes: &[u8], n: usize) -> u16 {
    CRC.checksum(bytes.get(..n).unwrap_or_default())
}

/// True when the check bits after the first `n` bytes fit, and `good` agrees.
fn checks(bytes: &[u8], n: usize, good: fn(&[u8]) -> bool) -> bool {
    let check = bytes.get(n..).unwrap_or_default();
    check.starts_with(&checksum(bytes, n).to_le_bytes()) && good(bytes)
}

/// Makes the first `n` bytes and the check bits after them fit, by flipping no
/// more than one bit. True when one was flipped; `None` when none helps.
#[inline(never)]
fn mend(bytes: &mut [u8], n: usize, good: fn(&[u8]) -> bool) -> Option<bool> {
    if checks(bytes, n, good) {
        return Some(false);
    }
    for bit in 0..(n + 2) * 8 {
        *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
        if checks(bytes, n, good) {
            return Some(true);
        }
        *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
    }
    None
}

/// What a record's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RecordHeader {
    /// Class and id.
    pub(crate) key: Key,
    /// Length of the value in bytes, or [`DELETED`].
    len: u16,
    /// Generation of the class's salt.
    pub(crate) salt_generation: u16,
    /// Sequence number.
    pub(crate) seq: u32,
}

/// The length that a delete marker names: more than any value has.
const DELETED: u16 = 0x1FFF;
/// Bytes of a record header before its check bits.
const RECORD_FIELDS: usize = RECORD_HEADER - 2;

impl RecordHeader {
    /// Of a record with a value of `len` bytes, or of a delete marker.
    pub(crate) fn new(key: Key, len: Option<u16>, salt_generation: u16, seq: u32) -> Self {
        RecordHeader {
            key,
            len: len.unwrap_or(DELETED),
            salt_generation,
            seq,
        }
    }

    /// A delete marker (its value is empty).
    pub(crate) fn deleted(&self) -> bool {
        self.len == DELETED
    }

    /// Length of the value in bytes.
    pub(crate) fn len(&self) -> u32 {
        match self.deleted() {
            true => 0,
            false => u32::from(self.len),
        }
    }

    /// The header's 12 bytes: length and class (2), id (2), salt generation
    /// (2), sequence (4), CRC-16 (2).
    #[inline(never)]
    pub(crate) fn encode(&self) -> [u8; RECORD_HEADER] {
        let first = u32::from(self.len) | u32::from(self.key.class) << 13;
        let [a, b, c] = [
            (first | u32::from(self.key.id) << 16).to_le_bytes(),
            (u32::from(self.salt_generation) | self.seq << 16).to_le_bytes(),
            (self.seq >> 16).to_le_bytes(),
        ];
        let mut out = [0; RECORD_HEADER];
        copy(&mut out, [a, b, c].as_flattened());
        let check = checksum(&out, RECORD_FIELDS).to_le_bytes();
        if let Some(end) = out.last_chunk_mut() {
            *end = check;
        }
        out
    }

    /// Parses, mending a single flipped bit by the check bits: then it is
    /// `Some(true)`, and the caller must confirm the header by the record's tag.
    /// `None` when nothing fits or the length is out of range.
    pub(crate) fn parse_mended(&mut self, bytes: &mut [u8; RECORD_HEADER]) -> Option<bool> {
        let mended = mend(bytes, RECORD_FIELDS, Self::has_length)?;
        let [l0, l1, i0, i1, g0, g1, s0, s1, s2, s3, _, _] = *bytes;
        let word = u16::from_le_bytes([l0, l1]);
        self.key.class = (word >> 13) as u8;
        self.key.id = u16::from_le_bytes([i0, i1]);
        self.len = word & DELETED;
        self.salt_generation = u16::from_le_bytes([g0, g1]);
        self.seq = u32::from_le_bytes([s0, s1, s2, s3]);
        Some(mended)
    }

    /// True when these are the bytes of a header without a fault.
    pub(crate) fn is_faultless(bytes: &[u8; RECORD_HEADER]) -> bool {
        checks(bytes, RECORD_FIELDS, Self::has_length)
    }

    /// True when the length is in range.
    fn has_length(bytes: &[u8]) -> bool {
        let length = bytes.first_chunk().map_or(0, |w| u16::from_le_bytes(*w)) & DELETED;
        length == DELETED || usize::from(length) <= MAX_VALUE
    }

    /// Unpadded size of the record in bytes.
    pub(crate) fn size(&self) -> u32 {
        RECORD_OVERHEAD as u32 + self.len()
    }
}

/// True when every byte reads as erased.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}
