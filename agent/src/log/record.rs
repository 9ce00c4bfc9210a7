//! Sealing, writing and reading one record.

use super::format::{
    FlashAddr, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, STORED_NONCE, TAG, copy_parts, padded,
};
use super::index::Entry;
use super::open::program;
use super::{Log, LogContext, LogKeys, PINNED_RECORD, RecordId};
use crate::error::Error;
use crate::wire::codec::copy;
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;
use zeroize::Zeroize;

/// Bytes compared at a time when a write is read back; on the stack.
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

/// Hedged nonce: HMAC over fresh randomness, associated data and plaintext. A
/// dead or repeating generator, or a sequence number that starts over, then
/// never gives one nonce to two contents.
fn hedged_nonce<C: Crypto>(
    key: &[u8; 32],
    random: &[u8; 32],
    aad: &[u8],
    text: &[u8],
) -> [u8; STORED_NONCE] {
    let lengths = [
        (aad.len() as u32).to_le_bytes(),
        (text.len() as u32).to_le_bytes(),
    ];
    let full = C::hmac(
        key,
        &[b"nrd/1/nonce\0", random, lengths.as_flattened(), aad, text],
    );
    let [a, b, c, d, e, f, g, h, ..] = full;
    [a, b, c, d, e, f, g, h]
}

impl Log<'_> {
    /// Writes a record. `Ok` means it is on flash and was read back.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`]: call [`Log::step`] until it answers
    ///   [`Progress::Done`](super::Progress::Done), then again.
    /// - [`Error::TooLong`]: longer than [`Log::max_value`], or than the scratch
    ///   buffer allows.
    /// - [`Error::Full`]: the live records, this one included, would not fit.
    /// - [`Error::Corrupt`]: the class has no key: it is not below
    ///   [`CLASSES`](super::CLASSES).
    /// - [`Error::WornOut`]: sequence numbers are used up.
    pub fn put<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        id: RecordId,
        value: &[u8],
    ) -> Result<(), Error> {
        self.write(io, id, Some(&[value]), false)
    }

    /// Deletes a record by writing a delete marker.
    ///
    /// # Errors
    ///
    /// As [`Log::put`], and [`Error::NotFound`] when there is no such record.
    /// [`Error::Full`] only where sectors were retired under a full log.
    pub fn remove<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        id: RecordId,
    ) -> Result<(), Error> {
        self.write(io, id, None, false)
    }

    /// True when every member is in the index and no opening is under way.
    fn may_write(&self) -> bool {
        self.mounted && self.unindexed == 0 && self.opening.is_none() && self.unconfirmed.is_none()
    }

    /// Writes a record whose value comes in parts, or removes it. With
    /// `reserved` it may use the reserve, kept for writes that must never be
    /// refused.
    pub(crate) fn write<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        id: RecordId,
        value: Option<&[&[u8]]>,
        reserved: bool,
    ) -> Result<(), Error> {
        io.need_keys()?;
        let len = value.map(|parts| parts.iter().map(|p| p.len()).sum::<usize>());
        let longest = len.unwrap_or(0);
        if longest > self.max_value() {
            return Err(Error::TooLong);
        }
        let size = padded((RECORD_OVERHEAD + longest) as u32, self.geometry.unit);
        let reserve = if reserved { 0 } else { self.reserve };
        self.make_room(id, len.is_none(), size, reserve)?;
        let Some(head) = self.head.as_mut() else {
            return Err(Error::Busy);
        };
        // At most `MAX_VALUE`, which fits.
        let len = len.map(|len| len as u16);
        let salt_generation = io.keys.salt_generation(id.class);
        let entry = Entry {
            header: RecordHeader::new(id, len, salt_generation, self.next_seq),
            addr: FlashAddr::new(head.sector, head.end),
        };
        let next_seq = self.next_seq.checked_add(1).ok_or(Error::WornOut)?;
        let value = value.unwrap_or_default();
        let buf = seal_record::<G, C>(io.scratch, io.rng, io.keys, &entry.header, value, size)?;
        let at = self.geometry.offset_of(entry.addr);
        let ok = program(io.region, at, buf).is_ok();
        // Used up even if the program failed: its cells may read as a record at a
        // later boot, and two records of one number could not be told apart.
        self.next_seq = next_seq;
        if !ok {
            // The cells did not take it: nothing more is written to this sector.
            head.writable = false;
            return Err(Error::Busy);
        }
        head.end += size;
        self.bytes_needed = 0;
        // Cannot fail: `make_room` saw room for a new entry, and a delete marker
        // takes the entry of the record that it deletes.
        let _ = self.index.set(&entry);
        Ok(())
    }

    /// `Ok` when the head can take a record of `size` padded bytes; otherwise
    /// notes for [`Log::step`] how much is needed.
    fn make_room(
        &mut self,
        id: RecordId,
        deletes: bool,
        size: u32,
        reserve: u32,
    ) -> Result<(), Error> {
        // Noted before any refusal, so that `step` makes the room meanwhile.
        self.bytes_needed = size.wrapping_add(reserve);
        if !self.may_write() {
            return Err(Error::Busy);
        }
        if deletes && !self.holds(id) {
            self.bytes_needed = 0;
            return Err(Error::NotFound);
        }
        let room = if deletes {
            self.room() >= self.bytes_needed || self.opening_makes_room()
        } else {
            // Beside a value there is always room for the marker that deletes
            // one: a log that is full can be emptied again.
            let taken = size + self.geometry.marker();
            self.fits(taken, reserve) && self.index.has_room_for(id)
        };
        if !room {
            if self.index.has_deleted() {
                // Room that delete markers take is given back first.
                self.gc_rounds = self.geometry.sectors;
                return Err(Error::Busy);
            }
            self.bytes_needed = 0;
            return Err(Error::Full);
        }
        let writable = self.head.is_some_and(|h| h.writable);
        if !writable || self.room() < self.bytes_needed {
            return Err(Error::Busy);
        }
        Ok(())
    }

    /// Reads a record into `out`; returns its length in bytes.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`]: not known yet; call [`Log::step`], then again.
    /// - [`Error::NotFound`]: there is no such record.
    /// - [`Error::Corrupt`]: the record does not authenticate, or a lost record
    ///   may have replaced it. Write it anew or remove it.
    /// - [`Error::Hardware`]: the flash did not answer; try again.
    /// - [`Error::BufferTooSmall`]: `out` is shorter than the value.
    /// - [`Error::TooLong`]: the scratch buffer is too short.
    pub fn get<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        id: RecordId,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let n = self.read(io, id)?;
        let value = value(io.scratch, n);
        let out = out.get_mut(..value.len()).ok_or(Error::BufferTooSmall)?;
        copy(out, value);
        Ok(value.len())
    }

    /// Reads a record into the scratch buffer, where [`value`] finds it; returns
    /// its length in bytes.
    pub(crate) fn read<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut LogContext<'_, R, G, C>,
        id: RecordId,
    ) -> Result<u16, Error> {
        io.need_keys()?;
        let undecided = !self.mounted || self.needs_new_sector;
        if undecided || self.unconfirmed.is_some_and(|u| u.id() == id) {
            // Only an opening decides it.
            self.bytes_needed = self.bytes_needed.max(1);
            return Err(Error::Busy);
        }
        let entry = match self.index.get(id) {
            Some(e) if e.header.deleted() => return Err(Error::NotFound),
            Some(e) => *e,
            None if self.unindexed == 0 => return Err(Error::NotFound),
            None if id != PINNED_RECORD => return Err(Error::Busy),
            None if self.pinned_at == FlashAddr::NONE => return Err(Error::NotFound),
            None => self.pinned(io).ok_or(Error::Busy)?,
        };
        if entry.header.seq < self.lost_before {
            return Err(Error::Corrupt);
        }
        let len = entry.header.len() as usize;
        let at = self.geometry.offset_of(entry.addr);
        let record = io
            .scratch
            .get_mut(..RECORD_OVERHEAD + len)
            .ok_or(Error::TooLong)?;
        match io.region.read(at, record) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Ecc => return Err(Error::Corrupt),
            Err(_e) => return Err(Error::Hardware),
        }
        // Somebody with access to the flash may have put another genuine record in
        // this place since: the header must be the one that the index knows.
        let bytes = record.first_chunk().ok_or(Error::Corrupt)?;
        if RecordHeader::parse(*bytes).is_none_or(|parsed| parsed.header != entry.header) {
            return Err(Error::Corrupt);
        }
        open_record::<C>(record, io.keys, &entry.header)?;
        Ok(len as u16)
    }
}

/// The value of `n` bytes that was just read into the scratch buffer.
// Not inlined: two checks of a range, in six places, 72 bytes.
#[inline(never)]
pub(crate) fn value(scratch: &[u8], n: u16) -> &[u8] {
    let value = scratch
        .get(RECORD_HEADER + STORED_NONCE..)
        .unwrap_or_default();
    value.get(..usize::from(n)).unwrap_or_default()
}

/// The parts of a record after its header.
struct Body<'r> {
    stored_nonce: &'r mut [u8; STORED_NONCE],
    text: &'r mut [u8],
    tag: &'r mut [u8; TAG],
}

/// Splits a record; `None` when it is shorter than its header says.
fn body<'r>(record: &'r mut [u8], header: &RecordHeader) -> Option<Body<'r>> {
    let body = record.get_mut(RECORD_HEADER..)?;
    let (stored_nonce, rest) = body.split_first_chunk_mut()?;
    let (text, rest) = rest.split_at_mut_checked(header.len() as usize)?;
    Some(Body {
        stored_nonce,
        text,
        tag: rest.first_chunk_mut()?,
    })
}

/// The whole nonce of a record: sequence number, then the stored part.
fn full_nonce(header: &RecordHeader, stored: &[u8; STORED_NONCE]) -> [u8; 12] {
    let [a, b, c, d] = header.seq.to_le_bytes();
    let [e, f, g, h, i, j, k, l] = *stored;
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// Builds the sealed, padded record in `scratch`.
fn seal_record<'s, G: TryCryptoRng, C: Crypto>(
    scratch: &'s mut [u8],
    rng: &mut G,
    keys: &mut LogKeys,
    header: &RecordHeader,
    value: &[&[u8]],
    size: u32,
) -> Result<&'s [u8], Error> {
    let buf = scratch.get_mut(..size as usize).ok_or(Error::TooLong)?;
    buf.fill(0xFF);
    let text = buf.get_mut(RECORD_HEADER + STORED_NONCE..);
    copy_parts(text.unwrap_or_default(), value);
    let mut random = [0u8; 32];
    #[expect(
        clippy::let_underscore_must_use,
        reason = "a failed generator is tolerated here: the hedge keeps nonces distinct"
    )]
    let _ = rng.try_fill_bytes(&mut random);
    let sealed = through_seal::<C>(buf, keys, header, Seal::New(&random));
    random.zeroize();
    sealed.map(|()| &*buf)
}

/// What is done with a record's seal.
enum Seal<'r> {
    /// Made, under a nonce from these random bytes.
    New(&'r [u8; 32]),
    /// Made again, under the nonce that the record has.
    Again,
    /// Verified and opened.
    Open,
}

/// Authenticates and decrypts in place a record whose header is `header`, or
/// encrypts it in place and completes it with its header and tag.
fn through_seal<C: Crypto>(
    record: &mut [u8],
    keys: &mut LogKeys,
    header: &RecordHeader,
    seal: Seal<'_>,
) -> Result<(), Error> {
    let bytes = header.encode();
    let aad = keys.aad(&bytes);
    let Body {
        stored_nonce,
        text,
        tag,
    } = body(record, header).ok_or(Error::Corrupt)?;
    if let Seal::New(random) = seal {
        *stored_nonce = hedged_nonce::<C>(keys.nonce::<C>(), random, &aad, text);
    }
    let nonce = full_nonce(header, stored_nonce);
    let key = keys.class::<C>(header.id.class).ok_or(Error::Corrupt)?;
    if let Seal::Open = seal {
        return C::open(key, &nonce, &aad, text, tag).map_err(|_| Error::Corrupt);
    }
    *tag = C::seal(key, &nonce, &aad, text).map_err(|_| Error::Crypto)?;
    copy(record, &bytes);
    Ok(())
}

/// Authenticates and decrypts in place a record whose header is `header`.
pub(crate) fn open_record<C: Crypto>(
    record: &mut [u8],
    keys: &mut LogKeys,
    header: &RecordHeader,
) -> Result<(), Error> {
    through_seal::<C>(record, keys, header, Seal::Open)
}

/// Authenticates a record, and puts the authentic bytes back in its place.
pub(crate) fn reseal_record<C: Crypto>(
    record: &mut [u8],
    keys: &mut LogKeys,
    header: &RecordHeader,
) -> Result<(), Error> {
    open_record::<C>(record, keys, header)?;
    through_seal::<C>(record, keys, header, Seal::Again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nrd_hal::crypto::RingCrypto;
    use nrd_hal::{ErrorType, Geometry};
    use std::{vec, vec::Vec};

    /// Flash to read; reading one cell may answer an error.
    struct Cells(Vec<u8>, Option<u32>);

    impl ErrorType for Cells {
        type Error = ErrorKind;
    }

    impl Region for Cells {
        fn geometry(&self) -> Geometry {
            unreachable!("geometry is not asked for")
        }
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
            let end = offset + bytes.len() as u32;
            bytes.copy_from_slice(&self.0[offset as usize..end as usize]);
            if self.1.is_some_and(|bad| (offset..end).contains(&bad)) {
                Err(ErrorKind::Ecc)
            } else {
                Ok(())
            }
        }
        fn program(&mut self, _: u32, _: &[u8]) -> Result<(), ErrorKind> {
            unreachable!("nothing is programmed")
        }
        fn erase(&mut self, _: u32, _: u32) -> Result<(), ErrorKind> {
            unreachable!("nothing is erased")
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
            hedged_nonce::<RingCrypto>(&[key; 32], &[random; 32], aad, &value.concat())
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
