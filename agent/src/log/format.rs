//! Byte formats of sector and record headers. All integers little-endian.

use super::{Key, LogKeys};
use crate::wire::codec::Writer;
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
    let mut w = Writer::new(&mut out);
    w.byte(keys.region);
    w.bytes(&keys.epoch.to_le_bytes());
    w.bytes(header);
    out
}

/// True when every byte reads as erased.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nrd_hal::crypto::RingCrypto;

    fn keys(region: u8) -> LogKeys {
        LogKeys::new::<RingCrypto>(region, 5, &[9; 32])
    }

    fn sector() -> SectorHeader {
        SectorHeader {
            generation: 0x0102_0304,
            members: 0x8000_0001,
            base_seq: 77,
            copies_end: 1024,
            pin: Place::new(3, 0x1234),
            lost: 12,
        }
    }

    fn record() -> RecordHeader {
        RecordHeader {
            deleted: false,
            key: Key {
                class: 5,
                id: 0x0201,
            },
            len: 0x0403,
            salt_generation: 0x0605,
            seq: 0x0A09_0807,
        }
    }

    fn flip(bytes: &mut [u8], bit: usize) {
        bytes[bit / 8] ^= 1 << (bit % 8);
    }

    #[test]
    fn sizes_are_rounded_up_to_the_unit() {
        for (bytes, unit, padded_to) in [
            (0, 4, 0),
            (1, 4, 4),
            (4, 4, 4),
            (36, 4, 36),
            (36, 8, 40),
            (37, 256, 256),
        ] {
            assert_eq!(padded(bytes, unit), padded_to, "{bytes} to {unit}");
        }
        let sizes = (RECORD_OVERHEAD, SECTOR_HEADER, FIELDS + 2 + MAC);
        assert_eq!(sizes, (36, 40, 40));
    }

    #[test]
    fn a_place_is_a_sector_and_an_offset_below_16_mib() {
        assert_eq!(Place::MAX_SECTOR, 16 * 1024 * 1024);
        let place = Place::new(31, 0xAB_CDEF);
        assert_eq!((place.sector(), place.offset()), (31, 0xAB_CDEF));
        assert_eq!(place.0, 31 * Place::MAX_SECTOR + 0xAB_CDEF);
    }

    #[test]
    fn a_sector_header_and_its_commit_words_are_laid_out_as_the_specification_says() {
        let keys = keys(2);
        let (bytes, words) = sector().encode::<RingCrypto>(&keys);
        assert_eq!(&bytes[..4], b"NRL2");
        assert_eq!(bytes[4..8], [4, 3, 2, 1]);
        assert_eq!(bytes[8..12], [1, 0, 0, 0x80]);
        assert_eq!(bytes[12..16], 77u32.to_le_bytes());
        assert_eq!(bytes[16..20], 1024u32.to_le_bytes());
        assert_eq!(bytes[20..24], [0x34, 0x12, 0, 3]);
        assert_eq!(bytes[24..28], 12u32.to_le_bytes());
        assert_eq!(bytes[28..30], CRC.checksum(&bytes[..28]).to_le_bytes());
        let h = RingCrypto::hmac(&keys.header, &[b"nrd/1/sector\0", &[2], &bytes[..28]]);
        assert_eq!(bytes[30..], h[..10]);
        assert_eq!(words.as_flattened(), &h[16..]);
        let opened = SectorHeader::open::<RingCrypto>(&bytes, &keys);
        assert_eq!(opened, Some((sector(), words)));
    }

    #[test]
    fn one_flipped_bit_of_a_sector_header_is_mended_and_two_are_not() {
        let keys = keys(1);
        let (good, words) = sector().encode::<RingCrypto>(&keys);
        for bit in 0..SECTOR_HEADER * 8 {
            let mut bytes = good;
            flip(&mut bytes, bit);
            assert_eq!(SectorHeader::claim(&bytes), Some(sector()), "bit {bit}");
            let opened = SectorHeader::open::<RingCrypto>(&bytes, &keys);
            assert_eq!(opened, Some((sector(), words)), "bit {bit}");
        }
        for (a, b) in [(0, 1), (40, 230), (239, 238)] {
            let mut bytes = good;
            flip(&mut bytes, a);
            flip(&mut bytes, b);
            assert_eq!(SectorHeader::claim(&bytes), None, "bits {a} and {b}");
        }
        let mut bytes = good;
        flip(&mut bytes, 240);
        flip(&mut bytes, 319);
        assert_eq!(SectorHeader::claim(&bytes), Some(sector()));
        assert_eq!(SectorHeader::open::<RingCrypto>(&bytes, &keys), None);
    }

    #[test]
    fn a_sector_header_of_another_region_key_or_format_does_not_open() {
        let (bytes, _) = sector().encode::<RingCrypto>(&keys(1));
        let other = LogKeys::new::<RingCrypto>(1, 5, &[8; 32]);
        assert_eq!(SectorHeader::open::<RingCrypto>(&bytes, &keys(2)), None);
        assert_eq!(SectorHeader::open::<RingCrypto>(&bytes, &other), None);
        let mut bytes = bytes;
        bytes[3] = b'1';
        let check = CRC.checksum(&bytes[..FIELDS]).to_le_bytes();
        bytes[FIELDS..FIELDS + 2].copy_from_slice(&check);
        assert_eq!(SectorHeader::claim(&bytes), None);
        assert_eq!(SectorHeader::claim(&[0xFF; SECTOR_HEADER]), None);
    }

    #[test]
    fn a_record_header_is_laid_out_as_the_specification_says() {
        let bytes = record().encode();
        assert_eq!(bytes[..6], [3, 4 | 5 << 5, 1, 2, 5, 6]);
        assert_eq!(bytes[6..10], [7, 8, 9, 10]);
        assert_eq!(bytes[10..], CRC.checksum(&bytes[..10]).to_le_bytes());
        assert_eq!(RecordHeader::parse(&bytes), Some(record()));
        assert_eq!(record().size(), 36 + 0x0403);
        assert_eq!(
            record().nonce(&[1, 2, 3, 4, 5, 6, 7, 8]),
            [7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8]
        );
        let marker = RecordHeader {
            deleted: true,
            len: 0,
            ..record()
        };
        let bytes = marker.encode();
        assert_eq!(bytes[..2], [0xFF, 0x1F | 5 << 5]);
        assert_eq!(RecordHeader::parse(&bytes), Some(marker));
        assert_eq!(marker.size(), 36);
    }

    #[test]
    fn no_value_is_longer_than_4096_bytes() {
        for (len, parses) in [(4095, true), (4096, true), (4097, false), (8190, false)] {
            let bytes = RecordHeader { len, ..record() }.encode();
            assert_eq!(RecordHeader::parse(&bytes).is_some(), parses, "{len}");
        }
    }

    #[test]
    fn one_flipped_bit_of_a_record_header_is_mended_and_two_are_not() {
        for bit in 0..RECORD_HEADER * 8 {
            let mut bytes = record().encode();
            flip(&mut bytes, bit);
            assert_eq!(RecordHeader::parse(&bytes), None, "bit {bit}");
            assert_eq!(RecordHeader::parse_mended(&bytes), Some(record()));
            flip(&mut bytes, (bit + 1) % 96);
            assert_eq!(RecordHeader::parse_mended(&bytes), None, "from bit {bit}");
        }
    }

    #[test]
    fn a_record_is_bound_to_its_region_epoch_and_header() {
        let bound = aad(&keys(2), &record().encode());
        assert_eq!(bound[..9], [2, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bound[9..], record().encode());
    }

    #[test]
    fn blank_is_all_ones() {
        assert!(is_blank(&[0xFF; 8]));
        assert!(!is_blank(&[0xFF, 0xFE]));
    }
}
