//! Sealing, writing and reading one record.

use super::format::{NONCE, Place, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, TAG, aad, padded};
use super::index::Entry;
use super::{Head, Io, Key, Log, LogKeys, PIN};
use crate::error::Error;
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;
use zeroize::Zeroize;

/// Bytes compared at a time when a write is read back.
const CHUNK: usize = 64;

/// True when `region` reads `expected` at `offset`.
pub(crate) fn reads_back<R: Region>(region: &mut R, offset: u32, expected: &[u8]) -> bool {
    let mut at = offset;
    expected.chunks(CHUNK).all(|want| {
        let mut buf = [0u8; CHUNK];
        let Some(got) = buf.get_mut(..want.len()) else {
            return false;
        };
        let ok = region.read(at, got).is_ok() && got == want;
        at = at.saturating_add(want.len() as u32);
        ok
    })
}

/// True when `from..to` reads blank.
pub(crate) fn reads_blank<R: Region>(region: &mut R, from: u32, to: u32) -> bool {
    let mut at = from;
    while at < to {
        let mut buf = [0u8; CHUNK];
        let n = (to - at).min(CHUNK as u32);
        let Some(got) = buf.get_mut(..n as usize) else {
            return false;
        };
        if region.read(at, got).is_err() || !super::format::is_blank(got) {
            return false;
        }
        at += n;
    }
    true
}

/// Hedged nonce: HMAC over fresh randomness, associated data and plaintext, so
/// that a dead or repeating generator never gives one nonce to two contents.
fn nonce<C: Crypto>(
    key: &[u8; 32],
    random: &[u8; 32],
    aad: &[u8],
    [a, b]: [&[u8]; 2],
) -> [u8; NONCE] {
    let lengths = [
        (aad.len() as u32).to_le_bytes(),
        ((a.len() + b.len()) as u32).to_le_bytes(),
    ];
    let full = C::hmac(
        key,
        &[b"nrd/1/nonce\0", random, lengths.as_flattened(), aad, a, b],
    );
    let mut out = [0; NONCE];
    for (o, f) in out.iter_mut().zip(full) {
        *o = f;
    }
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
        self.write(io, key, Some([&[], value]), false)
    }

    /// Deletes a record: writes a marker. `NotFound` when there is none.
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

    /// Writes a record of two parts, or removes it. `reserved` draws on the
    /// reserve: for what must never wait.
    pub(crate) fn write<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        value: Option<[&[u8]; 2]>,
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
        self.wanted = size.saturating_add(reserve);
        if !self.may_write() {
            return Err(Error::Busy);
        }
        if deleted && self.index.get(key).is_none_or(|e| e.deleted) {
            self.wanted = 0;
            return Err(Error::NotFound);
        }
        // Beside a value there is always room for the marker that removes one: a
        // log that is full can be emptied again.
        let taken = size.saturating_add(self.shape.marker());
        let room = deleted || (self.fits(taken, reserve) && self.index.has_room_for(key));
        if !room {
            // What deleted keys still hold is given back first.
            if self.index.deleted() > 0 {
                self.sweep = self.shape.sectors;
                return Err(Error::Busy);
            }
            self.wanted = 0;
            return Err(Error::Full);
        }
        let head = match self.head {
            Some(h) if h.writable && self.room() >= self.wanted => h,
            _ => return Err(Error::Busy),
        };
        let header = RecordHeader {
            deleted,
            key,
            len: len as u16,
            salt_generation: 0,
            seq: self.next_seq,
        };
        if !self.append(io, head, header, value, size)? {
            return Err(Error::Busy);
        }
        self.wanted = 0;
        self.index.set(Entry {
            key,
            len: len as u16,
            deleted,
            place: Place::new(head.sector, head.end),
            seq: header.seq,
        });
        Ok(())
    }

    /// Programs one record at the end of the head; false when the cells did
    /// not take it, and then nothing more is written to this sector.
    fn append<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        head: Head,
        mut header: RecordHeader,
        value: [&[u8]; 2],
        size: u32,
    ) -> Result<bool, Error> {
        header.salt_generation = io.salt_generation(header.key.class);
        let next_seq = self.next_seq.checked_add(1).ok_or(Error::WornOut)?;
        let buf = seal::<G, C>(io.scratch, io.rng, io.keys, &header, value, size)?;
        let at = head.sector * self.shape.sector + head.end;
        let ok = io.region.program(at, buf).is_ok() && reads_back(io.region, at, buf);
        self.next_seq = next_seq;
        if ok {
            self.head = Some(Head {
                end: head.end + size,
                ..head
            });
        } else {
            self.head = Some(Head {
                writable: false,
                ..head
            });
        }
        Ok(ok)
    }

    /// Reads a record into `out`; returns its length in bytes.
    pub fn get<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        self.get_prefixed(io, key, &mut [], out)
    }

    /// Reads a record's first bytes into `prefix`, which they must fill, and
    /// the rest into `out`; returns the length of the rest.
    pub(crate) fn get_prefixed<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        prefix: &mut [u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let undecided = !self.mounted || self.torn;
        if undecided || self.doubt.is_some_and(|d| d.key == key) {
            self.wanted = self.wanted.max(1);
            return Err(Error::Busy);
        }
        let entry = match self.index.get(key) {
            Some(e) if e.deleted => return Err(Error::NotFound),
            Some(e) => e,
            None if self.unread == 0 => return Err(Error::NotFound),
            None if key != PIN => return Err(Error::Busy),
            None if self.pin == Place::NONE => return Err(Error::NotFound),
            None => self.pinned(io).ok_or(Error::Busy)?,
        };
        if entry.seq < self.damaged_before {
            return Err(Error::Corrupt);
        }
        let len = usize::from(entry.len);
        let rest = len.checked_sub(prefix.len()).ok_or(Error::Corrupt)?;
        let out = out.get_mut(..rest).ok_or(Error::BufferTooSmall)?;
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
        let header = record
            .first_chunk::<RECORD_HEADER>()
            .and_then(RecordHeader::parse_mended)
            .filter(|h| h.key == key && h.seq == entry.seq && h.len == entry.len && !h.deleted)
            .ok_or(Error::Corrupt)?;
        let value = open::<C>(record, io.keys, &header)?;
        let (front, rest) = value.split_at_checked(prefix.len()).unwrap_or_default();
        copy(prefix, front);
        copy(out, rest);
        Ok(rest.len())
    }
}

/// Copies as much as both hold.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Builds the sealed, padded record in `scratch`.
fn seal<'s, G: TryCryptoRng, C: Crypto>(
    scratch: &'s mut [u8],
    rng: &mut G,
    keys: &mut LogKeys,
    header: &RecordHeader,
    [a, b]: [&[u8]; 2],
    size: u32,
) -> Result<&'s [u8], Error> {
    let buf = scratch.get_mut(..size as usize).ok_or(Error::TooLong)?;
    let bytes = header.encode();
    let aad = aad(keys, &bytes);
    let mut random = [0u8; 32];
    // A failed generator is tolerated here: the hedge keeps nonces distinct.
    let _ = rng.try_fill_bytes(&mut random);
    let stored = nonce::<C>(keys.nonce::<C>(), &random, &aad, [a, b]);
    random.zeroize();
    let (front, rest) = buf
        .split_first_chunk_mut::<RECORD_HEADER>()
        .ok_or(Error::TooLong)?;
    *front = bytes;
    let (front, rest) = rest
        .split_first_chunk_mut::<NONCE>()
        .ok_or(Error::TooLong)?;
    *front = stored;
    let (text, rest) = rest
        .split_at_mut_checked(a.len() + b.len())
        .ok_or(Error::TooLong)?;
    let (first, second) = text.split_at_mut_checked(a.len()).unwrap_or_default();
    copy(first, a);
    copy(second, b);
    let (tail, pad) = rest.split_first_chunk_mut::<TAG>().ok_or(Error::TooLong)?;
    let key = keys.class::<C>(header.key.class).ok_or(Error::Crypto)?;
    *tail = C::seal(key, &header.nonce(&stored), &aad, text).map_err(|_| Error::Crypto)?;
    pad.fill(0xFF);
    Ok(buf)
}

/// The parts of a record after its header: stored nonce, text, tag.
#[allow(clippy::type_complexity)]
fn parts(record: &mut [u8], len: u16) -> Option<(&mut [u8; NONCE], &mut [u8], &mut [u8; TAG])> {
    let body = record.get_mut(RECORD_HEADER..)?;
    let (nonce, rest) = body.split_first_chunk_mut::<NONCE>()?;
    let (text, rest) = rest.split_at_mut_checked(usize::from(len))?;
    Some((nonce, text, rest.first_chunk_mut::<TAG>()?))
}

/// Authenticates and decrypts in place a record whose header is `header`.
pub(crate) fn open<'r, C: Crypto>(
    record: &'r mut [u8],
    keys: &mut LogKeys,
    header: &RecordHeader,
) -> Result<&'r [u8], Error> {
    let (nonce, text, tag) = parts(record, header.len).ok_or(Error::Corrupt)?;
    let aad = aad(keys, &header.encode());
    let key = keys.class::<C>(header.key.class).ok_or(Error::Corrupt)?;
    C::open(key, &header.nonce(nonce), &aad, text, tag).map_err(|_| Error::Corrupt)?;
    Ok(text)
}

/// Authenticates a record, and puts the authentic bytes back in its place.
pub(crate) fn reseal<C: Crypto>(
    record: &mut [u8],
    keys: &mut LogKeys,
    header: &RecordHeader,
) -> Result<(), Error> {
    open::<C>(record, keys, header)?;
    let bytes = header.encode();
    let (nonce, text, tag) = parts(record, header.len).ok_or(Error::Corrupt)?;
    let aad = aad(keys, &bytes);
    let key = keys.class::<C>(header.key.class).ok_or(Error::Crypto)?;
    *tag = C::seal(key, &header.nonce(nonce), &aad, text).map_err(|_| Error::Crypto)?;
    if let Some(front) = record.first_chunk_mut() {
        *front = bytes;
    }
    Ok(())
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
            nonce::<RingCrypto>(&[key; 32], &[random; 32], aad, value)
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
