//! Byte formats of sector headers, commit words and record headers.
//!
//! All integers are little-endian; `docs/SPEC.md` §5 has the tables. Every
//! header carries a CRC-16 that corrects one flipped bit, so that one failing
//! cell costs no record.

use super::{CLASSES, LogKeys, RecordId};
use crate::wire::codec::copy;
use nrd_hal::Crypto;
use nrd_hal::layout::MAX_SECTORS;

/// Sector header, in bytes.
pub const SECTOR_HEADER: usize = 40;
/// A sector header's magic and its six fields, in bytes.
const SECTOR_FIELDS: usize = 4 + 6 * 4;
/// Check bits (CRC-16) of a sector or record header, in bytes.
const CHECK: usize = 2;
const CHECK_BITS: usize = CHECK * 8;
/// A sector header's authentication: a truncated HMAC-SHA-256 (NIST SP
/// 800-107r1 §5.1), in bytes.
const SECTOR_TAG: usize = 10;
/// Each of the two commit words, in bytes: the second half of the same HMAC.
pub(crate) const COMMIT_WORD: usize = 8;

const _: () = assert!(SECTOR_FIELDS + CHECK + SECTOR_TAG == SECTOR_HEADER);
// The header shows the beginning of the HMAC, the commit words its end. Where
// they overlapped, a header would give away part of its first commit word.
const _: () = assert!(SECTOR_TAG <= 32 - 2 * COMMIT_WORD);

/// Record header, in bytes.
pub(crate) const RECORD_HEADER: usize = RECORD_FIELDS + CHECK;
/// A record header's fields, in bytes: length and class (2), id (2), salt
/// generation (2), sequence number (4).
const RECORD_FIELDS: usize = 2 + 2 + 2 + 4;
/// The stored part of a nonce, in bytes.
pub(crate) const STORED_NONCE: usize = 8;
/// AES-GCM tag, in bytes.
pub(crate) const TAG: usize = 16;
/// Bytes that a record adds to its value, before padding: header, nonce, tag.
pub const RECORD_OVERHEAD: usize = RECORD_HEADER + STORED_NONCE + TAG;
/// Longest value of any log, in bytes.
pub const MAX_VALUE: usize = 4096;

// On flash already: a change here is a change of format.
const _: () = assert!(RECORD_HEADER == 12 && RECORD_OVERHEAD == 36);
// AES-GCM's nonce is the sequence number and the stored part.
const _: () = assert!(size_of::<u32>() + STORED_NONCE == 12);

// The first two bytes of a record header hold both the length of its value and
// its class.
const LENGTH_BITS: u32 = 13;
const CLASS_BITS: u32 = 3;
/// The length that marks a delete marker: more than any value has.
const DELETED: u16 = (1 << LENGTH_BITS) - 1;

const _: () = assert!(LENGTH_BITS + CLASS_BITS == u16::BITS);
const _: () = assert!(MAX_VALUE < DELETED as usize);
const _: () = assert!(
    CLASSES <= 1 << CLASS_BITS,
    "one class more than a record's header has bits for: another class is a new flash format"
);

const MAGIC: [u8; 4] = *b"NRL2";
const SECTOR_CONTEXT: &[u8] = b"nrd/1/sector\0";

/// Rounds up to a multiple of `unit`, a power of two.
///
/// `next_multiple_of` would divide, and keep a panic for a unit of zero.
pub(crate) const fn padded(bytes: u32, unit: u32) -> u32 {
    let mask = unit.wrapping_sub(1);
    bytes.wrapping_add(mask) & !mask
}

/// The parts one after the other, as far as `N` bytes go.
pub(crate) fn concat<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    copy_parts(&mut out, parts);
    out
}

/// Copies the parts one after the other, as far as `out` goes.
pub(crate) fn copy_parts(out: &mut [u8], parts: &[&[u8]]) {
    let mut out = out.iter_mut();
    for part in parts {
        // The part first: it ends before a place is taken for its next byte.
        for (from, to) in part.iter().zip(out.by_ref()) {
            *to = *from;
        }
    }
}

/// Address of a record: sector (8 bits) and offset in it (24 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FlashAddr(u32);

const OFFSET_BITS: u32 = 24;

impl FlashAddr {
    /// No address: of a sector that no region has.
    pub(crate) const NONE: FlashAddr = FlashAddr(u32::MAX);
    /// Largest logical sector, in bytes.
    pub(crate) const MAX_SECTOR: u32 = 1 << OFFSET_BITS;

    pub(crate) fn new(sector: u32, offset: u32) -> FlashAddr {
        FlashAddr(sector << OFFSET_BITS | offset)
    }

    pub(crate) fn sector(self) -> u32 {
        self.0 >> OFFSET_BITS
    }

    pub(crate) fn offset(self) -> u32 {
        self.0 & (FlashAddr::MAX_SECTOR - 1)
    }
}

// Sector numbers fit their 8 bits, and the highest is not the one of `NONE`.
const _: () = assert!(MAX_SECTORS < u32::MAX >> OFFSET_BITS);
// A set of sectors is a bit each of a `u32`.
const _: () = assert!(MAX_SECTORS <= u32::BITS);
// Offsets in a region, and sums of live bytes, do not overflow.
const _: () = assert!(MAX_SECTORS as u64 * FlashAddr::MAX_SECTOR as u64 <= u32::MAX as u64);

/// A sector's header. It is written after the copies that it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SectorHeader {
    /// Generation of this sector: each opening takes the next number.
    pub(crate) generation: u32,
    /// The sectors whose records count, this one included: a bit each.
    pub(crate) members: u32,
    /// The next sequence number when this sector was opened.
    pub(crate) base_seq: u32,
    /// Offset where the copies end and the sector's own records begin.
    pub(crate) copies_end: u32,
    /// Address of the pinned record when this sector was opened.
    pub(crate) pinned_at: FlashAddr,
    /// Records with a lower sequence number may be stale: a newer version may
    /// have been lost. 0 when nothing was.
    pub(crate) lost_before: u32,
    /// HMAC over these fields: the header shows its beginning, the commit words
    /// its end.
    pub(crate) mac: [[u8; COMMIT_WORD]; 4],
}

impl SectorHeader {
    /// The two commit words that follow the header.
    pub(crate) fn commit_words(&self) -> [[u8; COMMIT_WORD]; 2] {
        let [_, _, first, second] = self.mac;
        [first, second]
    }

    /// The header's bytes: fields, check bits, authentication.
    pub(crate) fn encode<C: Crypto>(&mut self, keys: &LogKeys) -> [u8; SECTOR_HEADER] {
        let fields: [[u8; 4]; SECTOR_FIELDS / 4] = [
            MAGIC,
            self.generation.to_le_bytes(),
            self.members.to_le_bytes(),
            self.base_seq.to_le_bytes(),
            self.copies_end.to_le_bytes(),
            self.pinned_at.0.to_le_bytes(),
            self.lost_before.to_le_bytes(),
        ];
        let fields = fields.as_flattened();
        self.authenticate::<C>(fields, keys);
        let check = CRC.checksum(fields).to_le_bytes();
        // The header's size cuts the HMAC off after `SECTOR_TAG` bytes.
        concat(&[fields, &check, self.mac.as_flattened()])
    }

    /// Parses without authenticating, after correcting a single flipped bit;
    /// `None` when this is no header.
    pub(crate) fn parse(mut bytes: [u8; SECTOR_HEADER]) -> Option<SectorHeader> {
        Self::parse_corrected(&mut bytes)
    }

    /// Parses and authenticates. A single flipped bit is corrected in fields and
    /// check bits, and one more tolerated in the authentication.
    pub(crate) fn parse_authentic<C: Crypto>(
        mut bytes: [u8; SECTOR_HEADER],
        keys: &LogKeys,
    ) -> Option<SectorHeader> {
        let mut header = Self::parse_corrected(&mut bytes)?;
        let (fields, rest) = bytes.split_at_checked(SECTOR_FIELDS)?;
        let tag = rest.get(CHECK..)?;
        header.authenticate::<C>(fields, keys);
        let flipped = header.mac.as_flattened().iter().zip(tag);
        let flipped: u32 = flipped.map(|(a, b)| (a ^ b).count_ones()).sum();
        (flipped <= 1).then_some(header)
    }

    fn parse_corrected(bytes: &mut [u8; SECTOR_HEADER]) -> Option<SectorHeader> {
        correct_single_bit(bytes, SECTOR_FIELDS, |bytes| bytes.starts_with(&MAGIC))?;
        let [
            _,
            generation,
            members,
            base_seq,
            copies_end,
            pinned_at,
            lost_before,
            ..,
        ] = bytes.as_chunks().0
        else {
            return None;
        };
        Some(SectorHeader {
            generation: u32::from_le_bytes(*generation),
            members: u32::from_le_bytes(*members),
            base_seq: u32::from_le_bytes(*base_seq),
            copies_end: u32::from_le_bytes(*copies_end),
            pinned_at: FlashAddr(u32::from_le_bytes(*pinned_at)),
            lost_before: u32::from_le_bytes(*lost_before),
            mac: Default::default(),
        })
    }

    /// Computes the HMAC of these fields.
    fn authenticate<C: Crypto>(&mut self, fields: &[u8], keys: &LogKeys) {
        let mac = C::hmac(&keys.header, &[SECTOR_CONTEXT, &[keys.region()], fields]);
        copy(self.mac.as_flattened_mut(), &mac);
    }
}

const CRC: crc::Crc<u16, crc::NoTable> = crc::Crc::<u16, crc::NoTable>::new(&crc::CRC_16_IBM_3740);

// Up to 32,767 bits every single flipped bit has a CRC difference of its own.
const _: () = assert!((SECTOR_FIELDS + CHECK) * 8 < 32_767);

/// The difference between the check bits after the first `n` bytes and the
/// CRC-16/IBM-3740 of those bytes; `None` when the check bits are missing.
fn syndrome(bytes: &[u8], n: usize) -> Option<u16> {
    let (fields, rest) = bytes.split_at_checked(n)?;
    Some(CRC.checksum(fields) ^ u16::from_le_bytes(*rest.first_chunk()?))
}

/// Corrects the first `n` bytes if one bit of them, or of the check bits after
/// them, is wrong. True when one was; `None` when no single bit explains the
/// check bits, or the result is not `valid`.
fn correct_single_bit(bytes: &mut [u8], n: usize, valid: fn(&[u8]) -> bool) -> Option<bool> {
    let wrong = syndrome(bytes, n)?;
    if wrong != 0 {
        // A CRC is linear: a flipped bit changes it by a value that depends on
        // the bit's position alone. Try positions from the last bit, whose
        // value is 1, to the first; one shift leads from each to the next.
        let mut single = 1u16;
        let mut bit = 0;
        while single != wrong {
            bit += 1;
            if bit == (n + CHECK) * 8 {
                return None;
            }
            let carry = single >> 15;
            single = (single << 1) ^ (carry * CRC.algorithm.poly);
        }
        // If a check bit flipped, the fields are right as they are.
        if bit >= CHECK_BITS {
            *bytes.get_mut(n + 1 - bit / 8)? ^= 1 << (bit % 8);
        }
    }
    valid(bytes).then_some(wrong != 0)
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RecordHeader {
    pub(crate) id: RecordId,
    /// Length of the value in bytes, or [`DELETED`].
    len: u16,
    /// Generation of the class's salt. `forget` stops before it overflows.
    pub(crate) salt_generation: u16,
    /// Sequence number: of two records with one id the higher counts.
    pub(crate) seq: u32,
}

/// A record header as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParsedRecord {
    pub(crate) header: RecordHeader,
    /// A bit was corrected. Three wrong bits can look like one, so the caller
    /// must confirm the header by the record's tag.
    pub(crate) corrected: bool,
}

impl RecordHeader {
    /// A header for a value of `len` bytes, or for a delete marker.
    pub(crate) fn new(id: RecordId, len: Option<u16>, salt_generation: u16, seq: u32) -> Self {
        RecordHeader {
            id,
            len: len.unwrap_or(DELETED),
            salt_generation,
            seq,
        }
    }

    /// True for a delete marker (its value is empty).
    pub(crate) fn deleted(&self) -> bool {
        self.len == DELETED
    }

    /// Length of the value in bytes.
    pub(crate) fn len(&self) -> u32 {
        if self.deleted() {
            0
        } else {
            u32::from(self.len)
        }
    }

    /// Unpadded size of the record in bytes.
    pub(crate) fn size(&self) -> u32 {
        RECORD_OVERHEAD as u32 + self.len()
    }

    /// The header's bytes: fields and check bits.
    pub(crate) fn encode(&self) -> [u8; RECORD_HEADER] {
        let length_and_class = self.len | u16::from(self.id.class) << LENGTH_BITS;
        let [l0, l1] = length_and_class.to_le_bytes();
        let [i0, i1] = self.id.id.to_le_bytes();
        let [g0, g1] = self.salt_generation.to_le_bytes();
        let [s0, s1, s2, s3] = self.seq.to_le_bytes();
        let fields = [l0, l1, i0, i1, g0, g1, s0, s1, s2, s3];
        let [c0, c1] = CRC.checksum(&fields).to_le_bytes();
        [l0, l1, i0, i1, g0, g1, s0, s1, s2, s3, c0, c1]
    }

    /// Parses, after correcting a single flipped bit; `None` when the check bits
    /// do not fit or the length is out of range.
    pub(crate) fn parse(mut bytes: [u8; RECORD_HEADER]) -> Option<ParsedRecord> {
        let corrected = correct_single_bit(&mut bytes, RECORD_FIELDS, Self::length_in_range)?;
        let [l0, l1, i0, i1, g0, g1, s0, s1, s2, s3, _, _] = bytes;
        let length_and_class = u16::from_le_bytes([l0, l1]);
        let header = RecordHeader {
            id: RecordId {
                class: (length_and_class >> LENGTH_BITS) as u8,
                id: u16::from_le_bytes([i0, i1]),
            },
            len: length_and_class & DELETED,
            salt_generation: u16::from_le_bytes([g0, g1]),
            seq: u32::from_le_bytes([s0, s1, s2, s3]),
        };
        Some(ParsedRecord { header, corrected })
    }

    /// True when the check bits fit as they are: no bit is flipped.
    pub(crate) fn check_bits_fit(bytes: &[u8; RECORD_HEADER]) -> bool {
        syndrome(bytes, RECORD_FIELDS) == Some(0)
    }

    fn length_in_range(bytes: &[u8]) -> bool {
        let length = bytes.first_chunk().map_or(0, |w| u16::from_le_bytes(*w)) & DELETED;
        length == DELETED || usize::from(length) <= MAX_VALUE
    }
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
            pinned_at: FlashAddr::new(3, 0x1234),
            lost_before: 12,
            mac: Default::default(),
        }
    }

    /// A header's bytes, and the header with its HMAC.
    fn encoded(keys: &LogKeys) -> ([u8; SECTOR_HEADER], SectorHeader) {
        let mut header = sector();
        (header.encode::<RingCrypto>(keys), header)
    }

    fn authentic(bytes: &[u8; SECTOR_HEADER], keys: &LogKeys) -> Option<SectorHeader> {
        SectorHeader::parse_authentic::<RingCrypto>(*bytes, keys)
    }

    /// The record, and whether a bit was corrected.
    fn parsed(bytes: &[u8; RECORD_HEADER]) -> Option<(RecordHeader, bool)> {
        let ParsedRecord { header, corrected } = RecordHeader::parse(*bytes)?;
        assert_eq!(RecordHeader::check_bits_fit(bytes), !corrected);
        Some((header, corrected))
    }

    const ID: RecordId = RecordId {
        class: 5,
        id: 0x0201,
    };

    fn record() -> RecordHeader {
        RecordHeader::new(ID, Some(0x0403), 0x0605, 0x0A09_0807)
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
        let sizes = (
            RECORD_OVERHEAD,
            SECTOR_HEADER,
            SECTOR_FIELDS + CHECK + SECTOR_TAG,
        );
        assert_eq!(sizes, (36, 40, 40));
    }

    #[test]
    fn a_flash_address_is_a_sector_and_an_offset_below_16_mib() {
        assert_eq!(FlashAddr::MAX_SECTOR, 16 * 1024 * 1024);
        let addr = FlashAddr::new(31, 0xAB_CDEF);
        assert_eq!((addr.sector(), addr.offset()), (31, 0xAB_CDEF));
        assert_eq!(addr.0, 31 * FlashAddr::MAX_SECTOR + 0xAB_CDEF);
    }

    #[test]
    fn a_sector_header_and_its_commit_words_are_laid_out_as_the_specification_says() {
        let keys = keys(2);
        let (bytes, header) = encoded(&keys);
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
        assert_eq!(header.commit_words().as_flattened(), &h[16..]);
        assert_eq!(authentic(&bytes, &keys), Some(header));
    }

    #[test]
    fn one_flipped_bit_of_a_sector_header_is_corrected_and_two_are_not() {
        let keys = keys(1);
        let (good, header) = encoded(&keys);
        for bit in 0..SECTOR_HEADER * 8 {
            let mut bytes = good;
            flip(&mut bytes, bit);
            assert_eq!(SectorHeader::parse(bytes), Some(sector()), "bit {bit}");
            assert_eq!(authentic(&bytes, &keys), Some(header), "bit {bit}");
        }
        for (a, b) in [(0, 1), (40, 230), (239, 238)] {
            let mut bytes = good;
            flip(&mut bytes, a);
            flip(&mut bytes, b);
            assert_eq!(SectorHeader::parse(bytes), None, "bits {a} and {b}");
        }
        let mut bytes = good;
        flip(&mut bytes, 240);
        flip(&mut bytes, 319);
        assert_eq!(SectorHeader::parse(bytes), Some(sector()));
        assert_eq!(authentic(&bytes, &keys), None);
    }

    #[test]
    fn a_sector_header_of_another_region_key_or_format_does_not_authenticate() {
        let (bytes, _) = encoded(&keys(1));
        let other = LogKeys::new::<RingCrypto>(1, 5, &[8; 32]);
        assert_eq!(authentic(&bytes, &keys(2)), None);
        assert_eq!(authentic(&bytes, &other), None);
        let mut bytes = bytes;
        bytes[3] = b'1';
        let check = CRC.checksum(&bytes[..SECTOR_FIELDS]).to_le_bytes();
        bytes[SECTOR_FIELDS..][..CHECK].copy_from_slice(&check);
        assert_eq!(SectorHeader::parse(bytes), None);
        assert_eq!(SectorHeader::parse([0xFF; SECTOR_HEADER]), None);
    }

    #[test]
    fn a_record_header_is_laid_out_as_the_specification_says() {
        let bytes = record().encode();
        assert_eq!(bytes[..6], [3, 4 | 5 << 5, 1, 2, 5, 6]);
        assert_eq!(bytes[6..10], [7, 8, 9, 10]);
        assert_eq!(bytes[10..], CRC.checksum(&bytes[..10]).to_le_bytes());
        assert_eq!(parsed(&bytes), Some((record(), false)));
        assert_eq!(record().size(), 36 + 0x0403);
        let marker = RecordHeader::new(ID, None, 0x0605, 0x0A09_0807);
        let bytes = marker.encode();
        assert_eq!(bytes[..2], [0xFF, 0x1F | 5 << 5]);
        assert_eq!(parsed(&bytes), Some((marker, false)));
        assert_eq!(
            (marker.size(), marker.len(), marker.deleted()),
            (36, 0, true)
        );
    }

    #[test]
    fn no_value_is_longer_than_4096_bytes() {
        for (len, parses) in [(4095, true), (4096, true), (4097, false), (8190, false)] {
            let bytes = RecordHeader { len, ..record() }.encode();
            assert_eq!(parsed(&bytes).is_some_and(|p| !p.1), parses, "{len}");
        }
    }

    #[test]
    fn one_flipped_bit_of_a_record_header_is_corrected_and_two_are_not() {
        for bit in 0..RECORD_HEADER * 8 {
            let mut bytes = record().encode();
            flip(&mut bytes, bit);
            assert_eq!(parsed(&bytes), Some((record(), true)), "bit {bit}");
            flip(&mut bytes, (bit + 1) % 96);
            assert_eq!(parsed(&bytes), None, "from bit {bit}");
        }
    }

    #[test]
    fn a_record_is_bound_to_its_region_epoch_and_header() {
        let bound = keys(2).aad(&record().encode());
        assert_eq!(bound[..9], [2, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bound[9..], record().encode());
    }

    #[test]
    fn blank_is_all_ones() {
        assert!(is_blank(&[0xFF; 8]));
        assert!(!is_blank(&[0xFF, 0xFE]));
    }
}
