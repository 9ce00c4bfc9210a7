//! Byte formats of sector and record headers. All integers little-endian.

use super::{Key, LogKeys};
use crate::wire::codec::Coder;
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
/// The two commit words of a header.
pub(crate) type Words = [[u8; COMMIT]; 2];

/// Rounds up to a multiple of `unit`, a power of two.
pub(crate) fn padded(bytes: u32, unit: u32) -> u32 {
    let mask = unit.wrapping_sub(1);
    bytes.wrapping_add(mask) & !mask
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
    pub(crate) members: u32,
    /// The next sequence number when this sector was opened.
    pub(crate) base_seq: u32,
    /// Where the copies end and records of its own begin.
    pub(crate) copies_end: u32,
    /// Where the pinned record lies.
    pub(crate) pin: Place,
    /// Records of a lower sequence number may be older than one that was lost.
    pub(crate) lost: u32,
}

impl SectorHeader {
    /// The header's bytes (fields, check bits, authentication), and the commit
    /// words that follow it.
    pub(crate) fn encode<C: Crypto>(&self, keys: &LogKeys) -> ([u8; SECTOR_HEADER], Words) {
        let words = [
            u32::from_le_bytes(MAGIC),
            self.generation,
            self.members,
            self.base_seq,
            self.copies_end,
            self.pin.0,
            self.lost,
        ];
        let (mut out, mut commit) = ([0; SECTOR_HEADER], Words::default());
        for (out, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
            *out = word.to_le_bytes();
        }
        if let Some((fields, rest)) = out.split_first_chunk_mut::<FIELDS>()
            && let Some([c0, c1, tag @ ..]) = rest.first_chunk_mut::<{ MAC + 2 }>()
        {
            let mac = C::hmac(&keys.header, &[SECTOR_CONTEXT, &[keys.region], fields]);
            [*c0, *c1] = CRC.checksum(fields).to_le_bytes();
            *tag = mac.first_chunk::<MAC>().copied().unwrap_or_default();
            if let [_, _, first, second] = mac.as_chunks().0 {
                commit = [*first, *second];
            }
        }
        (out, commit)
    }

    /// Parses; `None` when it is no header, or the check bits do not fit.
    fn parse(bytes: &[u8; SECTOR_HEADER]) -> Option<SectorHeader> {
        let (fields, check) = bytes.split_at_checked(FIELDS)?;
        if !check.starts_with(&CRC.checksum(fields).to_le_bytes()) {
            return None;
        }
        let [magic, words @ ..] = fields.as_chunks().0 else {
            return None;
        };
        let [generation, members, base_seq, copies_end, pin, lost] = *words else {
            return None;
        };
        (*magic == MAGIC).then_some(SectorHeader {
            generation: u32::from_le_bytes(generation),
            members: u32::from_le_bytes(members),
            base_seq: u32::from_le_bytes(base_seq),
            copies_end: u32::from_le_bytes(copies_end),
            pin: Place(u32::from_le_bytes(pin)),
            lost: u32::from_le_bytes(lost),
        })
    }

    /// Parses, not authenticated. A single flipped bit is mended.
    pub(crate) fn claim(bytes: &[u8; SECTOR_HEADER]) -> Option<SectorHeader> {
        mended(bytes, FIELDS + 2, Self::parse)
    }

    /// Parses and authenticates; also gives the commit words that belong to it.
    /// A single flipped bit is mended, in the authentication as well.
    pub(crate) fn open<C: Crypto>(
        bytes: &[u8; SECTOR_HEADER],
        keys: &LogKeys,
    ) -> Option<(SectorHeader, Words)> {
        let header = Self::claim(bytes)?;
        let (good, commit) = header.encode::<C>(keys);
        let (good, tag) = (good.last_chunk::<MAC>()?, bytes.last_chunk::<MAC>()?);
        let flipped: u32 = good
            .iter()
            .zip(tag)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        (flipped <= 1).then_some((header, commit))
    }
}

/// Tries `parse` on the bytes as they are, then with each bit of the first `n`
/// bytes flipped.
fn mended<const N: usize, T>(
    bytes: &[u8; N],
    n: usize,
    parse: impl Fn(&[u8; N]) -> Option<T>,
) -> Option<T> {
    let mut trial = *bytes;
    for bit in 0..n * 8 + 1 {
        if let Some(found) = parse(&trial) {
            return Some(found);
        }
        trial = *bytes;
        *trial.get_mut(bit / 8)? ^= 1 << (bit % 8);
    }
    None
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
    /// confirm a header that encodes to other bytes by the record's tag.
    pub(crate) fn parse_mended(bytes: &[u8; RECORD_HEADER]) -> Option<RecordHeader> {
        mended(bytes, RECORD_HEADER, Self::parse)
    }

    /// Unpadded size of the record in bytes.
    pub(crate) fn size(&self) -> u32 {
        RECORD_OVERHEAD as u32 + u32::from(self.len)
    }

    /// The whole nonce: the sequence number, then the stored part.
    pub(crate) fn nonce(&self, stored: &[u8; NONCE]) -> [u8; 12] {
        let [s0, s1, s2, s3] = self.seq.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = *stored;
        [s0, s1, s2, s3, a, b, c, d, e, f, g, h]
    }
}

/// Associated data of a record's seal: region, epoch, the header's bytes.
pub(crate) fn aad(keys: &LogKeys, header: &[u8; RECORD_HEADER]) -> [u8; 21] {
    let mut out = [0; 21];
    let mut c = Coder::writer(&mut out);
    c.write(&[keys.region]);
    c.write(&keys.epoch.to_le_bytes());
    c.write(header);
    out
}

/// True when every byte reads as erased.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}
