//! Byte formats of sector and record headers. All integers little-endian.

use super::{Key, LogKeys};
use nrd_hal::Crypto;
use subtle::ConstantTimeEq;

/// Sector header, in bytes.
pub const SECTOR_HEADER: usize = 56;
/// Record header, in bytes.
pub(crate) const RECORD_HEADER: usize = 16;
/// Nonce (NIST SP 800-38D §5.2.1.1: 96 bits), in bytes.
pub(crate) const NONCE: usize = 12;
/// AES-GCM tag, in bytes.
pub(crate) const TAG: usize = 16;
/// What a record adds to its value, before padding, in bytes.
pub const RECORD_OVERHEAD: usize = RECORD_HEADER + NONCE + TAG;
/// Longest value of any log, in bytes.
pub const MAX_VALUE: usize = 4096;

const MAGIC: [u8; 4] = *b"NRL1";
const SECTOR_CONTEXT: &[u8] = b"nrd/1/sector\0";

/// Rounds up to a multiple of `unit`.
pub(crate) fn padded(bytes: u32, unit: u32) -> u32 {
    bytes.div_ceil(unit.max(1)).saturating_mul(unit)
}

/// What a sector's header says. Written last: a valid header means that all
/// before `fresh_start` was written and read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SectorHeader {
    /// Generation of this sector; only goes up.
    pub(crate) generation: u32,
    /// Oldest generation that still holds data.
    pub(crate) tail: u32,
    /// The data sector before this one, 0 for none.
    pub(crate) prev: u32,
    /// Where the accepted records of `prev` end.
    pub(crate) prev_end: u32,
    /// The head at the time this sector was opened, 0 for none; differs from
    /// `prev` when that head's records were folded into this sector.
    pub(crate) former: u32,
    /// Sector number of `prev`. A generation alone would not do: a torn header
    /// may come to read well beside its successor of the same generation.
    pub(crate) prev_sector: u16,
    /// Sector number of `former`.
    pub(crate) former_sector: u16,
    /// Copied records end here. Bit 31: the last of them was in doubt. Bit 30:
    /// what followed the former head's records was refused. Either makes this
    /// sector a decision, which may not be dropped.
    pub(crate) fresh_start: u32,
    /// The next sequence number when this sector was opened.
    pub(crate) base_seq: u64,
}

/// Flag in the stored `fresh_start`: the last copy was in doubt.
pub(crate) const CARRIES: u32 = 1 << 31;
/// Flag in the stored `fresh_start`: a torn tail was refused.
pub(crate) const REFUSES: u32 = 1 << 30;

impl SectorHeader {
    pub(crate) fn carries(&self) -> bool {
        self.fresh_start & CARRIES != 0
    }

    /// True when this header decides about a torn or doubtful record.
    pub(crate) fn decides(&self) -> bool {
        self.fresh_start & (CARRIES | REFUSES) != 0
    }

    pub(crate) fn fresh(&self) -> u32 {
        self.fresh_start & !(CARRIES | REFUSES)
    }

    fn fields(&self) -> [u8; 40] {
        let mut out = [0u8; 40];
        let words = [
            u32::from_le_bytes(MAGIC),
            self.generation,
            self.tail,
            self.prev,
            self.prev_end,
            self.former,
            u32::from(self.prev_sector) | u32::from(self.former_sector) << 16,
            self.fresh_start,
        ];
        let bytes = words.iter().flat_map(|w| w.to_le_bytes());
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        if let Some(end) = out.last_chunk_mut::<8>() {
            *end = self.base_seq.to_le_bytes();
        }
        out
    }

    fn mac<C: Crypto>(&self, keys: &LogKeys) -> [u8; 16] {
        let full = C::hmac(
            &keys.header,
            &[SECTOR_CONTEXT, &[keys.region], &self.fields()],
        );
        let mut out = [0; 16];
        for (o, f) in out.iter_mut().zip(full) {
            *o = f;
        }
        out
    }

    /// The header's 56 bytes.
    pub(crate) fn encode<C: Crypto>(&self, keys: &LogKeys) -> [u8; SECTOR_HEADER] {
        let mut out = [0u8; SECTOR_HEADER];
        let mac = self.mac::<C>(keys);
        for (o, b) in out.iter_mut().zip(self.fields().iter().chain(&mac)) {
            *o = *b;
        }
        out
    }

    /// Parses without authenticating; `None` when it is no header at all.
    pub(crate) fn parse(bytes: &[u8; SECTOR_HEADER]) -> Option<SectorHeader> {
        let word = |i: usize| -> Option<u32> {
            let at = bytes.get(i * 4..i * 4 + 4)?;
            Some(u32::from_le_bytes(at.try_into().ok()?))
        };
        if word(0)? != u32::from_le_bytes(MAGIC) {
            return None;
        }
        Some(SectorHeader {
            generation: word(1)?,
            tail: word(2)?,
            prev: word(3)?,
            prev_end: word(4)?,
            former: word(5)?,
            prev_sector: word(6)? as u16,
            former_sector: (word(6)? >> 16) as u16,
            fresh_start: word(7)?,
            base_seq: u64::from(word(8)?) | u64::from(word(9)?) << 32,
        })
    }

    /// Parses and authenticates.
    pub(crate) fn open<C: Crypto>(
        bytes: &[u8; SECTOR_HEADER],
        keys: &LogKeys,
    ) -> Option<SectorHeader> {
        let header = Self::parse(bytes)?;
        let tag = bytes.last_chunk::<16>()?;
        bool::from(header.mac::<C>(keys).ct_eq(tag)).then_some(header)
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
    /// Generation of the class's salt (24 bits).
    pub(crate) salt_generation: u32,
    /// Sequence number (48 bits).
    pub(crate) seq: u64,
}

const DELETED: u8 = 0x80;
/// CRC-16/IBM-3740, the check bits of a record header.
const CRC: crc::Crc<u16, crc::NoTable> = crc::Crc::<u16, crc::NoTable>::new(&crc::CRC_16_IBM_3740);

impl RecordHeader {
    /// The header's 16 bytes: class and delete flag, id (2), length (2), salt
    /// generation (3), sequence (6), CRC-16 (2).
    pub(crate) fn encode(&self) -> [u8; RECORD_HEADER] {
        let class = self.key.class | if self.deleted { DELETED } else { 0 };
        let [i0, i1] = self.key.id.to_le_bytes();
        let [l0, l1] = self.len.to_le_bytes();
        let [g0, g1, g2, _] = self.salt_generation.to_le_bytes();
        let [s0, s1, s2, s3, s4, s5, _, _] = self.seq.to_le_bytes();
        let fields = [class, i0, i1, l0, l1, g0, g1, g2, s0, s1, s2, s3, s4, s5];
        let mut out = [0; RECORD_HEADER];
        let check = CRC.checksum(&fields).to_le_bytes();
        for (o, b) in out.iter_mut().zip(fields.iter().chain(&check)) {
            *o = *b;
        }
        out
    }

    /// Parses; `None` when the check bits do not fit or a field is out of
    /// range.
    pub(crate) fn parse(bytes: &[u8; RECORD_HEADER]) -> Option<RecordHeader> {
        let &[
            class,
            i0,
            i1,
            l0,
            l1,
            g0,
            g1,
            g2,
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            c0,
            c1,
        ] = bytes;
        let fields = bytes.get(..14)?;
        if CRC.checksum(fields) != u16::from_le_bytes([c0, c1]) {
            return None;
        }
        let header = RecordHeader {
            deleted: class & DELETED != 0,
            key: Key {
                class: class & !DELETED,
                id: u16::from_le_bytes([i0, i1]),
            },
            len: u16::from_le_bytes([l0, l1]),
            salt_generation: u32::from_le_bytes([g0, g1, g2, 0]),
            seq: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, 0, 0]),
        };
        let sane = usize::from(header.key.class) < super::CLASSES
            && usize::from(header.len) <= MAX_VALUE
            && (!header.deleted || header.len == 0);
        sane.then_some(header)
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
    pub(crate) fn aad(&self, keys: &LogKeys) -> [u8; 25] {
        let mut out = [0; 25];
        let header = self.encode();
        let parts = [keys.region]
            .into_iter()
            .chain(keys.epoch.to_le_bytes())
            .chain(header);
        for (o, b) in out.iter_mut().zip(parts) {
            *o = b;
        }
        out
    }
}

/// True when every byte reads as erased.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}
