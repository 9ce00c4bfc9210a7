//! Sealing, writing and reading one record.

use super::format::{NONCE, Place, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, TAG, padded};
use super::index::Entry;
use super::{Io, Key, Log, LogKeys, PIN};
use crate::error::Error;
use crate::wire::codec::copy;
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;
use zeroize::Zeroize;

/// Bytes compared at a time when a write is read back.
const CHUNK: usize = 64;

/// True when `region` reads `expected` at `offset`.
pub(crate) fn reads_back<R: Region>(region: &mut R, offset: u32, expected: &[u8]) -> bool {
    let mut at = offset;
    for want in expected.chunks(CHUNK) {
        let mut buf = [0u8; CHUNK];
        let got = buf.get_mut(..want.len()).unwrap_or_default();
        if region.read(at, got).is_err() || got != want {
            return false;
        }
        at = at.wrapping_add(want.len() as u32);
    }
    true
}

/// True when `from..to` reads blank.
pub(crate) fn reads_blank<R: Region>(region: &mut R, from: u32, to: u32) -> bool {
    const BLANK: [u8; CHUNK] = [0xFF; CHUNK];
    let mut at = from;
    while at < to {
        let n = (to - at).min(CHUNK as u32);
        let blank = BLANK.get(..n as usize).unwrap_or_default();
        if !reads_back(region, at, blank) {
            return false;
        }
        at += n;
    }
    true
}

/// Hedged nonce: HMAC over fresh randomness, associated data and plaintext, so
/// that a dead or repeating generator never gives one nonce to two contents.
fn nonce<C: Crypto>(key: &[u8; 32], random: &[u8; 32], aad: &[u8], text: &[u8]) -> [u8; NONCE] {
    let lengths = [
        (aad.len() as u32).to_le_bytes(),
        (text.len() as u32).to_le_bytes(),
    ];
    let full = C::hmac(
        key,
        &[b"nrd/1/nonce\0", random, lengths.as_flattened(), aad, text],
    );
    let mut out = [0; NONCE];
    copy(&mut out, &full);
    out
}

impl Log<'_> {
    /// Writes a record. `Ok` means it is on flash and was read back.
    pub fn put<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        value: &[u8],
    ) -> Result<(), Error> {
        self.write(io, key, Some(&[value]), false)
    }

    /// Deletes a record: writes a marker. `NotFound` when there is none. `Full` only
    /// where sectors went bad under a full log.
    pub fn remove<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
    ) -> Result<(), Error> {
        self.write(io, key, None, false)
    }

    /// True when everything is known and no opening is under way.
    fn may_write(&self) -> bool {
        self.mounted && self.unread == 0 && self.opening.is_none() && self.doubt.is_none()
    }

    /// Writes a record whose value comes in parts, or removes it. `reserved` draws
    /// on the reserve: for what must never wait.
    pub(crate) fn write<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        value: Option<&[&[u8]]>,
        reserved: bool,
    ) -> Result<(), Error> {
        let reserve = if reserved { 0 } else { self.reserve };
        let deleted = value.is_none();
        let value = value.unwrap_or_default();
        let len: usize = value.iter().map(|v| v.len()).sum();
        if len > self.max_value() {
            return Err(Error::TooLong);
        }
        let size = padded((RECORD_OVERHEAD + len) as u32, self.shape.unit);
        self.wanted = size.wrapping_add(reserve);
        if !self.may_write() {
            return Err(Error::Busy);
        }
        if deleted && !self.holds(key) {
            self.wanted = 0;
            return Err(Error::NotFound);
        }
        // Beside a value there is always room for the marker that removes one: a
        // log that is full can be emptied again.
        let taken = size + self.shape.marker();
        let room = match deleted {
            true => self.room() >= self.wanted || self.gives_room(),
            false => self.fits(taken, reserve) && self.index.has_room_for(key),
        };
        if !room {
            // What deleted keys still hold is given back first.
            if self.index.has_deleted() {
                self.sweep = self.shape.sectors;
                return Err(Error::Busy);
            }
            self.wanted = 0;
            return Err(Error::Full);
        }
        let wanted = self.wanted;
        let (room, next_seq) = (self.room(), self.next_seq.checked_add(1));
        let Some(head) = self.head.as_mut().filter(|h| h.writable && room >= wanted) else {
            return Err(Error::Busy);
        };
        let len = (!deleted).then_some(len as u16);
        let salt_generation = io.salt_generation(key.class);
        let entry = Entry {
            header: RecordHeader::new(key, len, salt_generation, self.next_seq),
            place: Place::new(head.sector, head.end),
        };
        let next_seq = next_seq.ok_or(Error::WornOut)?;
        let buf = seal::<G, C>(io.scratch, io.rng, io.keys, &entry.header, value, size)?;
        let at = self.shape.at(entry.place);
        let ok = io.region.program(at, buf).is_ok() && reads_back(io.region, at, buf);
        self.next_seq = next_seq;
        if !ok {
            // The cells did not take it: nothing more is written to this sector.
            head.writable = false;
            return Err(Error::Busy);
        }
        head.end += size;
        self.wanted = 0;
        self.index.set(&entry);
        Ok(())
    }

    /// Reads a record into `out`; returns its length in bytes.
    pub fn get<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let n = self.read(io, key)?;
        let out = out.get_mut(..n).ok_or(Error::BufferTooSmall)?;
        copy(out, value(io.scratch, n));
        Ok(n)
    }

    /// Reads a record into the scratch buffer, where [`value`] finds it; returns
    /// its length in bytes.
    pub(crate) fn read<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
    ) -> Result<usize, Error> {
        let undecided = !self.mounted || self.torn;
        if undecided || self.doubt.is_some_and(|d| d.key() == key) {
            self.wanted = self.wanted.max(1);
            return Err(Error::Busy);
        }
        let entry = match self.index.get(key) {
            Some(e) if e.header.deleted() => return Err(Error::NotFound),
            Some(e) => *e,
            None if self.unread == 0 => return Err(Error::NotFound),
            None if key != PIN => return Err(Error::Busy),
            None if self.pin == Place::NONE => return Err(Error::NotFound),
            None => self.pinned(io).ok_or(Error::Busy)?,
        };
        if entry.header.seq < self.damaged_before {
            return Err(Error::Corrupt);
        }
        let len = entry.header.len() as usize;
        let at = self.shape.at(entry.place);
        let record = io
            .scratch
            .get_mut(..RECORD_OVERHEAD + len)
            .ok_or(Error::TooLong)?;
        match io.region.read(at, record) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Ecc => return Err(Error::Corrupt),
            Err(_e) => return Err(Error::Hardware),
        }
        let mut header = RecordHeader::default();
        let bytes = record.first_chunk_mut().ok_or(Error::Corrupt)?;
        if header.parse_mended(bytes).is_none() || header != entry.header {
            return Err(Error::Corrupt);
        }
        open::<C>(record, io.keys, &header)?;
        Ok(len)
    }
}

/// The value of `n` bytes that was just read into the scratch buffer.
#[inline(never)]
pub(crate) fn value(scratch: &[u8], n: usize) -> &[u8] {
    let value = scratch.get(RECORD_HEADER + NONCE..).unwrap_or_default();
    value.get(..n).unwrap_or_default()
}

/// Builds the sealed, padded record in `scratch`.
fn seal<'s, G: TryCryptoRng, C: Crypto>(
    scratch: &'s mut [u8],
    rng: &mut G,
    keys: &mut LogKeys,
    header: &RecordHeader,
    value: &[&[u8]],
    size: u32,
) -> Result<&'s [u8], Error> {
    let buf = scratch.get_mut(..size as usize).ok_or(Error::TooLong)?;
    buf.fill(0xFF);
    let (stored, text, _) = parts(buf, header).ok_or(Error::TooLong)?;
    let mut rest = &mut *text;
    for part in value {
        copy(rest, part);
        rest = rest.get_mut(part.len()..).unwrap_or_default();
    }
    let mut random = [0u8; 32];
    // A failed generator is tolerated here: the hedge keeps nonces distinct.
    let _ = rng.try_fill_bytes(&mut random);
    let aad = keys.aad(&header.encode());
    *stored = nonce::<C>(keys.nonce::<C>(), &random, &aad, text);
    random.zeroize();
    crypt::<C>(buf, keys, header, true)?;
    Ok(buf)
}

/// The parts of a record after its header: stored nonce, text, tag.
#[allow(clippy::type_complexity)]
#[inline(never)]
fn parts<'r>(
    record: &'r mut [u8],
    header: &RecordHeader,
) -> Option<(&'r mut [u8; NONCE], &'r mut [u8], &'r mut [u8; TAG])> {
    let body = record.get_mut(RECORD_HEADER..)?;
    let (nonce, rest) = body.split_first_chunk_mut::<NONCE>()?;
    let (text, rest) = rest.split_at_mut_checked(header.len() as usize)?;
    Some((nonce, text, rest.first_chunk_mut::<TAG>()?))
}

/// Authenticates and decrypts in place a record whose header is `header`.
pub(crate) fn open<C: Crypto>(
    record: &mut [u8],
    keys: &mut LogKeys,
    header: &RecordHeader,
) -> Result<(), Error> {
    crypt::<C>(record, keys, header, false)
}

/// Opens a record in place; or seals one whose nonce and plain text are in
/// their places, and completes it with its header and tag.
#[inline(never)]
fn crypt<C: Crypto>(
    record: &mut [u8],
    keys: &mut LogKeys,
    header: &RecordHeader,
    seals: bool,
) -> Result<(), Error> {
    let bytes = header.encode();
    let aad = keys.aad(&bytes);
    let key = keys.class::<C>(header.key.class).ok_or(Error::Corrupt)?;
    let (stored, text, tag) = parts(record, header).ok_or(Error::Corrupt)?;
    // The whole nonce: the sequence number, then the stored part.
    let mut nonce = [0; 12];
    let (seq, rest) = nonce.split_at_mut(4);
    copy(seq, &header.seq.to_le_bytes());
    copy(rest, stored);
    if !seals {
        return C::open(key, &nonce, &aad, text, tag).map_err(|_| Error::Corrupt);
    }
    *tag = C::seal(key, &nonce, &aad, text).map_err(|_| Error::Crypto)?;
    copy(record, &bytes);
    Ok(())
}

/// Authenticates a record, and puts the authentic bytes back in its place.
pub(crate) fn reseal<C: Crypto>(
    record: &mut [u8],
    keys: &mut LogKeys,
    header: &RecordHeader,
) -> Result<(), Error> {
    open::<C>(record, keys, header)?;
    crypt::<C>(record, keys, header, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nrd_hal::crypto::RingCrypto;
    use nrd_hal::{ErrorType, Geometry};
    use std::{vec, vec::Vec};

    /// Cells to read, of which one may fail: it is given, but called an error.
    struct Cells(Vec<u8>, Option<u32>);

    impl ErrorType for Cells {
        type Error = ErrorKind;
    }

    impl Region for Cells {
        fn geometry(&self) -> Geometry {
            unreachable!("nobody asks")
        }
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
            let end = offset + bytes.len() as u32;
            bytes.copy_from_slice(&self.0[offset as usize..end as usize]);
            match self.1.is_some_and(|bad| (offset..end).contains(&bad)) {
                true => Err(ErrorKind::Ecc),
                false => Ok(()),
            }
        }
        fn program(&mut self, _: u32, _: &[u8]) -> Result<(), ErrorKind> {
            unreachable!("nobody programs")
        }
        fn erase(&mut self, _: u32, _: u32) -> Result<(), ErrorKind> {
            unreachable!("nobody erases")
        }
    }

    #[test]
    fn what_is_read_back_is_every_byte_of_it_and_without_an_error() {
        let text: Vec<u8> = (0..200).collect();
        let mut cells = Cells(text.clone(), None);
        assert!(reads_back(&mut cells, 3, &text[3..]));
        for at in [3, 66, 67, 131, 199] {
            cells.0[at] ^= 1;
            assert!(!reads_back(&mut cells, 3, &text[3..]), "byte {at}");
            cells.0[at] ^= 1;
            cells.1 = Some(at as u32);
            assert!(!reads_back(&mut cells, 3, &text[3..]), "an error at {at}");
            cells.1 = None;
        }
        cells.0[2] ^= 1;
        assert!(reads_back(&mut cells, 3, &text[3..]), "not what is before");
    }

    #[test]
    fn what_is_blank_is_every_byte_of_it_and_without_an_error() {
        let mut cells = Cells(vec![0xFF; 200], None);
        cells.0[2] = 0;
        cells.0[190] = 0;
        assert!(reads_blank(&mut cells, 3, 190));
        assert!(!reads_blank(&mut cells, 2, 190));
        assert!(!reads_blank(&mut cells, 3, 191));
        for at in [3, 66, 67, 189] {
            cells.0[at] = 0x7F;
            assert!(!reads_blank(&mut cells, 3, 190), "byte {at}");
            cells.0[at] = 0xFF;
            cells.1 = Some(at as u32);
            assert!(!reads_blank(&mut cells, 3, 190), "an error at {at}");
            cells.1 = None;
        }
    }

    #[test]
    fn a_nonce_is_of_key_randomness_header_and_both_parts_with_their_lengths() {
        let made = |key: u8, random: u8, aad: &[u8], value: [&[u8]; 2]| {
            nonce::<RingCrypto>(&[key; 32], &[random; 32], aad, &value.concat())
        };
        let first = made(1, 2, b"head", [b"ab", b"c"]);
        assert_eq!(first, made(1, 2, b"head", [b"a", b"bc"]), "one value");
        for other in [
            made(9, 2, b"head", [b"ab", b"c"]),
            made(1, 9, b"head", [b"ab", b"c"]),
            made(1, 2, b"heaD", [b"ab", b"c"]),
            made(1, 2, b"head", [b"aB", b"c"]),
            made(1, 2, b"head", [b"ab", b"C"]),
            made(1, 2, b"heada", [b"b", b"c"]),
        ] {
            assert_ne!(first, other);
        }
        // As SPEC §3 says.
        let lengths = [4u32, 3].map(u32::to_le_bytes);
        let spec = RingCrypto::hmac(
            &[1; 32],
            &[
                b"nrd/1/nonce\0",
                &[2; 32],
                lengths.as_flattened(),
                b"head",
                b"abc",
            ],
        );
        assert_eq!(first, spec[..8]);
    }
}
