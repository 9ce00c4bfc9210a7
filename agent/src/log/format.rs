//! Byte formats of sector and record headers. All integers little-endian.

use super::{Key, LogKeys};
use crate::wire::codec::{self, Code, Reader, Writer, copy};
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
#[inline(never)]
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

    #[inline(never)]
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
    #[inline(never)]
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
    fn write(&self, writer: &mut Writer<'_>) {
        for field in [
            self.generation,
            self.members,
            self.base_seq,
            self.copies_end,
            self.pin.0,
            self.lost,
        ] {
            writer.bytes(&field.to_le_bytes());
        }
    }
    fn read(&mut self, reader: &mut Reader<'_>) {
        for field in [
            &mut self.generation,
            &mut self.members,
            &mut self.base_seq,
            &mut self.copies_end,
            &mut self.pin.0,
            &mut self.lost,
        ] {
            *field = reader.fixed_u32();
        }
    }
}

const CRC: crc::Crc<u16, crc::NoTable> = crc::Crc::<u16, crc::NoTable>::new(&crc::CRC_16_IBM_3740);

/// CRC-16/IBM-3740 of the first `n` bytes: the check bits that follow them.
fn checksum(bytes: &[u8], n: usize) -> u16 {
    CRC.checksum(bytes.get(..n).unwrap_or_default())
}

/// What the check bits after the first `n` bytes differ in; `None` when there
/// are none.
fn syndrome(bytes: &[u8], n: usize) -> Option<u16> {
    let check = bytes.get(n..)?.first_chunk()?;
    Some(checksum(bytes, n) ^ u16::from_le_bytes(*check))
}

/// Mends the first `n` bytes where one bit of them or of the check bits after
/// them is wrong. True when one was; `None` when no one bit explains it.
#[inline(never)]
fn mend(bytes: &mut [u8], n: usize, good: fn(&[u8]) -> bool) -> Option<bool> {
    let wrong = syndrome(bytes, n)?;
    if wrong != 0 {
        // A CRC is linear: one wrong bit shows as a difference of its own,
        // whatever the others are. From the last bit to the first.
        let mut of_one = 1u16;
        let mut bit = 0;
        while of_one != wrong {
            bit += 1;
            if bit == (n + 2) * 8 {
                return None;
            }
            let carry = of_one >> 15;
            of_one = (of_one << 1) ^ (carry * CRC.algorithm.poly);
        }
        // A wrong check bit leaves the rest right.
        if bit >= 16 {
            *bytes.get_mut(n + 1 - bit / 8)? ^= 1 << (bit % 8);
        }
    }
    good(bytes).then_some(wrong != 0)
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
        Self::has_length(bytes) && syndrome(bytes, RECORD_FIELDS) == Some(0)
    }

    /// True when the length is in range.
    #[inline(never)]
    fn has_length(bytes: &[u8]) -> bool {
        let length = bytes.first_chunk().map_or(0, |w| u16::from_le_bytes(*w)) & DELETED;
        length == DELETED || usize::from(length) <= MAX_VALUE
    }

    /// Unpadded size of the record in bytes.
    #[inline(never)]
    pub(crate) fn size(&self) -> u32 {
        RECORD_OVERHEAD as u32 + self.len()
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
            pin: Place::new(3, 0x1234),
            lost: 12,
            code: [0; 32],
        }
    }

    /// A header's bytes, and the header with its code.
    fn encoded(keys: &LogKeys) -> ([u8; SECTOR_HEADER], SectorHeader) {
        let mut header = sector();
        (header.encode::<RingCrypto>(keys), header)
    }

    fn claim(bytes: &[u8; SECTOR_HEADER]) -> Option<SectorHeader> {
        let mut header = SectorHeader::BLANK;
        header.claim(&mut bytes.clone()).then_some(header)
    }

    fn open(bytes: &[u8; SECTOR_HEADER], keys: &LogKeys) -> Option<SectorHeader> {
        let mut header = SectorHeader::BLANK;
        let opens = header.open::<RingCrypto>(&mut bytes.clone(), keys);
        opens.then_some(header)
    }

    /// The record, and whether a bit was mended.
    fn parsed(bytes: &[u8; RECORD_HEADER]) -> Option<(RecordHeader, bool)> {
        let mut header = RecordHeader::default();
        let mended = header.parse_mended(&mut bytes.clone())?;
        assert_eq!(RecordHeader::is_faultless(bytes), !mended);
        Some((header, mended))
    }

    const KEY: Key = Key {
        class: 5,
        id: 0x0201,
    };

    fn record() -> RecordHeader {
        RecordHeader::new(KEY, Some(0x0403), 0x0605, 0x0A09_0807)
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
        assert_eq!(header.words().as_flattened(), &h[16..]);
        assert_eq!(open(&bytes, &keys), Some(header));
    }

    #[test]
    fn one_flipped_bit_of_a_sector_header_is_mended_and_two_are_not() {
        let keys = keys(1);
        let (good, header) = encoded(&keys);
        for bit in 0..SECTOR_HEADER * 8 {
            let mut bytes = good;
            flip(&mut bytes, bit);
            assert_eq!(claim(&bytes), Some(sector()), "bit {bit}");
            assert_eq!(open(&bytes, &keys), Some(header), "bit {bit}");
        }
        for (a, b) in [(0, 1), (40, 230), (239, 238)] {
            let mut bytes = good;
            flip(&mut bytes, a);
            flip(&mut bytes, b);
            assert_eq!(claim(&bytes), None, "bits {a} and {b}");
        }
        let mut bytes = good;
        flip(&mut bytes, 240);
        flip(&mut bytes, 319);
        assert_eq!(claim(&bytes), Some(sector()));
        assert_eq!(open(&bytes, &keys), None);
    }

    #[test]
    fn a_sector_header_of_another_region_key_or_format_does_not_open() {
        let (bytes, _) = encoded(&keys(1));
        let other = LogKeys::new::<RingCrypto>(1, 5, &[8; 32]);
        assert_eq!(open(&bytes, &keys(2)), None);
        assert_eq!(open(&bytes, &other), None);
        let mut bytes = bytes;
        bytes[3] = b'1';
        let check = CRC.checksum(&bytes[..FIELDS]).to_le_bytes();
        bytes[FIELDS..FIELDS + 2].copy_from_slice(&check);
        assert_eq!(claim(&bytes), None);
        assert_eq!(claim(&[0xFF; SECTOR_HEADER]), None);
    }

    #[test]
    fn a_record_header_is_laid_out_as_the_specification_says() {
        let bytes = record().encode();
        assert_eq!(bytes[..6], [3, 4 | 5 << 5, 1, 2, 5, 6]);
        assert_eq!(bytes[6..10], [7, 8, 9, 10]);
        assert_eq!(bytes[10..], CRC.checksum(&bytes[..10]).to_le_bytes());
        assert_eq!(parsed(&bytes), Some((record(), false)));
        assert_eq!(record().size(), 36 + 0x0403);
        let marker = RecordHeader::new(KEY, None, 0x0605, 0x0A09_0807);
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
            assert_eq!(RecordHeader::is_faultless(&bytes), parses, "{len}");
            assert_eq!(parsed(&bytes).is_some_and(|p| !p.1), parses, "{len}");
        }
    }

    #[test]
    fn one_flipped_bit_of_a_record_header_is_mended_and_two_are_not() {
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
