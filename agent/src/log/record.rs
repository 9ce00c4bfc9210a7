//! Sealing, writing and reading one record.

use super::format::{NONCE, Place, RECORD_HEADER, RECORD_OVERHEAD, RecordHeader, TAG, padded};
use super::index::Entry;
use super::{Head, Io, Key, Log, LogError, PIN};
use nrd_hal::{Crypto, Error as _, ErrorKind, Region};
use rand_core::TryCryptoRng;
use zeroize::Zeroize;

/// Names no record: a marker of it only follows a header.
pub(crate) const NO_KEY: Key = Key {
    class: 0,
    id: u16::MAX,
};

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
    ) -> Result<(), LogError> {
        self.write(io, key, Some([&[], value]), self.reserve)
    }

    /// Writes a record whose value is `prefix` followed by `value`.
    pub fn put_prefixed<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        prefix: &[u8],
        value: &[u8],
    ) -> Result<(), LogError> {
        self.write(io, key, Some([prefix, value]), self.reserve)
    }

    /// Writes a record, drawing on the reserve: for what must never wait.
    pub fn put_reserved<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        value: &[u8],
    ) -> Result<(), LogError> {
        self.write(io, key, Some([&[], value]), 0)
    }

    /// Deletes a record: writes a marker. `NotFound` when there is none.
    pub fn remove<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
    ) -> Result<(), LogError> {
        if !self.may_write() {
            return Err(LogError::Busy);
        }
        if self.index.get(key).is_none_or(|e| e.deleted) {
            return Err(LogError::NotFound);
        }
        self.write(io, key, None, self.reserve)
    }

    /// True when everything is known and no opening is under way.
    fn may_write(&self) -> bool {
        self.mounted && self.unread == 0 && self.opening.is_none() && self.doubt.is_none()
    }

    fn write<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        value: Option<[&[u8]; 2]>,
        reserve: u32,
    ) -> Result<(), LogError> {
        let deleted = value.is_none();
        let value = value.unwrap_or_default();
        let len: usize = value.iter().map(|v| v.len()).sum();
        if len > self.max_value() || key == NO_KEY {
            return Err(LogError::TooLong);
        }
        let size = padded((RECORD_OVERHEAD + len) as u32, self.shape.unit);
        self.wanted = size.saturating_add(reserve);
        if !self.may_write() {
            return Err(LogError::Busy);
        }
        // Beside a value there is always room for the marker that removes one: a
        // log that is full can be emptied again.
        let taken = size.saturating_add(self.shape.marker());
        let room = deleted || (self.fits(taken, reserve) && self.index.has_room_for(key));
        if !room {
            // What deleted keys still hold is given back first.
            if self.index.deleted() > 0 {
                self.sweep = self.shape.sectors;
                return Err(LogError::Busy);
            }
            self.wanted = 0;
            return Err(LogError::Full);
        }
        let head = match self.head {
            Some(h) if h.writable && self.room() >= self.wanted => h,
            _ => return Err(LogError::Busy),
        };
        let header = RecordHeader {
            deleted,
            key,
            len: len as u16,
            salt_generation: 0,
            seq: self.next_seq,
        };
        if !self.append(io, head, header, value, size)? {
            return Err(LogError::Busy);
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

    /// Lets something follow the head's header: a delete marker of a key that
    /// never exists.
    pub(crate) fn mark_head<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        head: Head,
    ) -> Result<(), LogError> {
        let header = RecordHeader {
            deleted: true,
            key: NO_KEY,
            len: 0,
            salt_generation: 0,
            seq: self.next_seq,
        };
        let size = self.shape.marker();
        self.append(io, head, header, Default::default(), size)?;
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
    ) -> Result<bool, LogError> {
        let class = io.keys.classes.get(usize::from(header.key.class));
        header.salt_generation = class.ok_or(LogError::NotFound)?.salt_generation;
        let next_seq = self.next_seq.checked_add(1).ok_or(LogError::WornOut)?;
        let buf = seal::<G, C>(io.scratch, io.rng, io.keys, &header, value, size)?;
        let at = head.sector * self.shape.sector + head.end;
        let ok = io.region.program(at, buf).is_ok() && reads_back(io.region, at, buf);
        self.next_seq = next_seq;
        if ok {
            self.unsettled = false;
            self.head = Some(Head {
                end: head.end + size,
                firm: true,
                ..head
            });
        } else if head.firm {
            self.head = Some(Head {
                writable: false,
                ..head
            });
        } else {
            // Whether this head counts is a boot's question now.
            let wanted = self.wanted;
            self.unmount();
            self.wanted = wanted;
        }
        Ok(ok)
    }

    /// Reads a record into `out`; returns its length in bytes.
    pub fn get<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        out: &mut [u8],
    ) -> Result<usize, LogError> {
        self.get_prefixed(io, key, &mut [], out)
    }

    /// Reads a record's first bytes into `prefix`, which they must fill, and
    /// the rest into `out`; returns the length of the rest.
    pub fn get_prefixed<R: Region, G: TryCryptoRng, C: Crypto>(
        &mut self,
        io: &mut Io<'_, R, G, C>,
        key: Key,
        prefix: &mut [u8],
        out: &mut [u8],
    ) -> Result<usize, LogError> {
        let undecided = !self.mounted || self.torn || self.unsettled;
        if undecided || self.doubt.is_some_and(|d| d.key == key) {
            self.wanted = self.wanted.max(1);
            return Err(LogError::Busy);
        }
        let entry = match self.index.get(key) {
            Some(e) if e.deleted => return Err(LogError::NotFound),
            Some(e) => e,
            None if self.unread == 0 => return Err(LogError::NotFound),
            None if key != PIN => return Err(LogError::Busy),
            None if self.pin == Place::NONE => return Err(LogError::NotFound),
            None => self.pinned(io).ok_or(LogError::Busy)?,
        };
        if entry.seq < self.damaged_before {
            return Err(LogError::Corrupt(key));
        }
        let len = usize::from(entry.len);
        let rest = len
            .checked_sub(prefix.len())
            .ok_or(LogError::Corrupt(key))?;
        let out = out.get_mut(..rest).ok_or(LogError::BufferTooSmall)?;
        let at = self.shape.at(entry.place);
        let record = io
            .scratch
            .get_mut(..RECORD_OVERHEAD + len)
            .ok_or(LogError::TooLong)?;
        match io.region.read(at, record) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Ecc => return Err(LogError::Corrupt(key)),
            Err(e) => return Err(LogError::Flash(e.kind())),
        }
        let header = record
            .first_chunk::<RECORD_HEADER>()
            .and_then(|h| RecordHeader::parse(h).or_else(|| RecordHeader::parse_mended(h)))
            .filter(|h| h.key == key && h.seq == entry.seq && h.len == entry.len && !h.deleted);
        let value = header.and_then(|h| open::<C>(record, io.keys, &h).ok());
        let result = match value {
            Some(value) => {
                for (to, from) in prefix.iter_mut().chain(out.iter_mut()).zip(value.iter()) {
                    *to = *from;
                }
                Ok(rest)
            }
            None => Err(LogError::Corrupt(key)),
        };
        record.zeroize();
        result
    }
}

/// Builds the sealed, padded record in `scratch`.
fn seal<'s, G: TryCryptoRng, C: Crypto>(
    scratch: &'s mut [u8],
    rng: &mut G,
    keys: &super::LogKeys,
    header: &RecordHeader,
    value: [&[u8]; 2],
    size: u32,
) -> Result<&'s [u8], LogError> {
    let buf = scratch.get_mut(..size as usize).ok_or(LogError::TooLong)?;
    let aad = header.aad(keys);
    let mut random = [0u8; 32];
    // A failed generator is tolerated here: the hedge keeps nonces distinct.
    let _ = rng.try_fill_bytes(&mut random);
    let stored = nonce::<C>(&keys.nonce, &random, &aad, value);
    let nonce = header.nonce(&stored);
    random.zeroize();
    let (front, rest) = buf
        .split_at_mut_checked(RECORD_HEADER + NONCE)
        .ok_or(LogError::TooLong)?;
    for (o, b) in front.iter_mut().zip(header.encode().iter().chain(&stored)) {
        *o = *b;
    }
    let [a, b] = value;
    let (text, rest) = rest
        .split_at_mut_checked(a.len() + b.len())
        .ok_or(LogError::TooLong)?;
    for (o, v) in text.iter_mut().zip(a.iter().chain(b)) {
        *o = *v;
    }
    let key = class_key(keys, header)?;
    let tag = match C::seal(key, &nonce, &aad, text) {
        Ok(tag) => tag,
        Err(_) => {
            text.zeroize();
            return Err(LogError::Crypto);
        }
    };
    let (tail, pad) = rest
        .split_first_chunk_mut::<TAG>()
        .ok_or(LogError::TooLong)?;
    *tail = tag;
    pad.fill(0xFF);
    Ok(buf)
}

fn class_key<'k>(
    keys: &'k super::LogKeys,
    header: &RecordHeader,
) -> Result<&'k [u8; 32], LogError> {
    keys.classes
        .get(usize::from(header.key.class))
        .map(|c| &c.key)
        .ok_or(LogError::Crypto)
}

/// Authenticates and decrypts in place a record whose header is `header`.
pub(crate) fn open<'r, C: Crypto>(
    record: &'r mut [u8],
    keys: &super::LogKeys,
    header: &RecordHeader,
) -> Result<&'r [u8], LogError> {
    let corrupt = LogError::Corrupt(header.key);
    let key = class_key(keys, header)?;
    let aad = header.aad(keys);
    let body = record.get_mut(RECORD_HEADER..).ok_or(corrupt)?;
    let (nonce, rest) = body.split_first_chunk_mut::<NONCE>().ok_or(corrupt)?;
    let (text, rest) = rest
        .split_at_mut_checked(usize::from(header.len))
        .ok_or(corrupt)?;
    let tag = rest.first_chunk::<TAG>().ok_or(corrupt)?;
    C::open(key, &header.nonce(nonce), &aad, text, tag).map_err(|_| corrupt)?;
    Ok(text)
}

/// Authenticates a record, and puts the authentic bytes back in its place.
pub(crate) fn reseal<C: Crypto>(
    record: &mut [u8],
    keys: &super::LogKeys,
    header: &RecordHeader,
) -> Result<(), LogError> {
    open::<C>(record, keys, header)?;
    let key = class_key(keys, header)?;
    let (front, body) = record
        .split_first_chunk_mut::<RECORD_HEADER>()
        .ok_or(LogError::Crypto)?;
    *front = header.encode();
    let (nonce, rest) = body
        .split_first_chunk_mut::<NONCE>()
        .ok_or(LogError::Crypto)?;
    let (text, rest) = rest
        .split_at_mut_checked(usize::from(header.len))
        .ok_or(LogError::Crypto)?;
    let tag = C::seal(key, &header.nonce(nonce), &header.aad(keys), text)
        .map_err(|_| LogError::Crypto)?;
    *rest.first_chunk_mut::<TAG>().ok_or(LogError::Crypto)? = tag;
    Ok(())
}
