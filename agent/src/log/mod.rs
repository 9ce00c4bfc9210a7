//! The sealed-record log: one storage engine, used for the journal and for the
//! vault.
//!
//! # What it promises
//!
//! - A `put` or `remove` that returned `Ok` survives every later power cut.
//! - One that was cut is afterwards either done or not, and what a boot has
//!   once answered never changes: not even when torn cells read differently
//!   at every boot.
//! - A record that does not authenticate is reported as
//!   [`Error::Corrupt`](crate::Error::Corrupt); its older version is never
//!   served in its place.
//! - Every call does bounded work: [`Log::step`] at most one erase or one
//!   sector's copy, [`Log::put`] one program.
//!
//! # How
//!
//! ```text
//! sector:  | header 40 | commit 8 | commit 8 | copied records … | fresh records … | blank … |
//! record:  | header 12 | nonce 8 | ciphertext | tag 16 | pad to the write unit |
//! ```
//!
//! One rule carries the rest: **a power cycle programs only sectors that it
//! has erased and verified itself.** So no program ever meets cells that an
//! earlier cut left half-way. Each boot's first write *opens* a new sector:
//! erase, read back, copy what the last head held and still counts, then its
//! header, which names the sectors whose records count from now on (the
//! *members*), then two commit words.
//!
//! Every write is read back before the next begins. So what stands before
//! something else was completed, and only what is written last can be in doubt
//! after a cut: a commit word, or a record that is the last one. Neither is
//! relied upon before a boot has written it anew (`mount.rs`).
//!
//! `format.rs` has the byte formats, `mount.rs` what a boot reads, `open.rs` how
//! sectors are opened and space is reclaimed, `record.rs` sealing and reading.

mod format;
mod index;
mod mount;
mod open;
mod record;
pub(crate) use record::{reads_blank, value};

pub use format::{MAX_VALUE, RECORD_OVERHEAD, SECTOR_HEADER};
pub use index::Entry;

use crate::wire::codec::copy;
use format::{Place, padded};
use index::Index;
use nrd_hal::{Crypto, Region};
use open::Opening;
use rand_core::TryCryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Names a record: its class and its id within the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key {
    /// Class, 0 to [`CLASSES`] − 1.
    pub class: u8,
    /// Id within the class.
    pub id: u16,
}

impl Key {
    /// Orders keys by class, then id.
    fn number(self) -> u32 {
        u32::from(self.class) << 16 | u32::from(self.id)
    }
}

/// Number of classes, each with a key of its own.
pub const CLASSES: usize = 8;

/// What a call to [`Log::step`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to do.
    Idle,
    /// Did one bounded piece of work; call again.
    Working,
}

/// Keys of one log, all from one base; each is derived when it is first needed.
/// One block, zeroized on drop, no `Debug`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LogKeys {
    /// Region (1) and epoch (8), the start of every record's associated data.
    place: [u8; 9],
    base: [u8; 32],
    /// Authenticates sector headers.
    pub(crate) header: [u8; 32],
    nonce: Option<[u8; 32]>,
    pub(crate) classes: [ClassKey; CLASSES],
}

/// The salt of one class, how often it was replaced, and the key from it.
#[derive(Zeroize)]
pub(crate) struct ClassKey {
    pub(crate) salt_generation: u32,
    salt: [u8; 16],
    key: Option<[u8; 32]>,
}

impl ClassKey {
    const BLANK: ClassKey = ClassKey {
        salt_generation: 0,
        salt: [0; 16],
        key: None,
    };
}

impl LogKeys {
    /// No keys.
    pub(crate) const NONE: LogKeys = LogKeys {
        place: [0; 9],
        base: [0; 32],
        header: [0; 32],
        nonce: None,
        classes: [ClassKey::BLANK; CLASSES],
    };

    /// Keys of region `region` (not 0) in `epoch`, from `base`; every class's
    /// salt is zeros of generation 0.
    pub fn new<C: Crypto>(region: u8, epoch: u64, base: &[u8; 32]) -> LogKeys {
        let mut keys = LogKeys::NONE;
        keys.set::<C>(region, epoch, base);
        keys
    }

    /// Replaces these keys.
    pub(crate) fn set<C: Crypto>(&mut self, region: u8, epoch: u64, base: &[u8; 32]) {
        self.zeroize();
        let [place, rest @ ..] = &mut self.place;
        *place = region;
        *rest = epoch.to_le_bytes();
        self.base = *base;
        self.header = C::hmac(base, &[b"nrd/1/sector", LAST]);
    }

    /// True when there are keys.
    pub(crate) fn are_set(&self) -> bool {
        self.region() != 0
    }

    /// Which region this is.
    pub(crate) fn region(&self) -> u8 {
        let [region, ..] = self.place;
        region
    }

    /// Associated data of a record's seal: region, epoch, the header's bytes.
    #[inline(never)]
    pub(crate) fn aad(&self, header: &[u8; format::RECORD_HEADER]) -> [u8; 21] {
        let mut out = [0; 21];
        let (place, rest) = out.split_at_mut(self.place.len());
        copy(place, &self.place);
        copy(rest, header);
        out
    }

    /// Sets a class's salt and its generation.
    pub(crate) fn salt(&mut self, class: usize, generation: u32, salt: &[u8; 16]) {
        if let Some(c) = self.classes.get_mut(class) {
            c.zeroize();
            (c.salt_generation, c.salt) = (generation, *salt);
        }
    }

    /// Keys the hedged nonces.
    pub(crate) fn nonce<C: Crypto>(&mut self) -> &[u8; 32] {
        derived::<C>(&mut self.nonce, &self.base, &[b"nrd/1/nonce", LAST])
    }

    /// Seals a class's records (AES-256-GCM).
    pub(crate) fn class<C: Crypto>(&mut self, class: u8) -> Option<&[u8; 32]> {
        let c = self.classes.get_mut(usize::from(class))?;
        let generation = c.salt_generation.to_le_bytes();
        let info: [&[u8]; 5] = [b"nrd/1/class", &[class], &generation, &c.salt, LAST];
        Some(derived::<C>(&mut c.key, &self.base, &info))
    }
}

/// What HKDF-Expand-SHA-256 (RFC 5869 §2.3) to 32 bytes adds to its info: one
/// HMAC under a base that is a uniform key already, so that there is nothing
/// to extract (§3.3).
const LAST: &[u8] = &[1];

/// A key that is derived when it is first needed.
#[inline(never)]
fn derived<'k, C: Crypto>(
    key: &'k mut Option<[u8; 32]>,
    base: &[u8; 32],
    info: &[&[u8]],
) -> &'k [u8; 32] {
    key.get_or_insert_with(|| C::hmac(base, info))
}

/// What every operation needs besides the log itself.
pub struct Io<'a, R, G, C> {
    /// The flash.
    pub region: &'a mut R,
    /// Randomness for nonces.
    pub rng: &'a mut G,
    /// The keys.
    pub keys: &'a mut LogKeys,
    /// Work buffer: at least [`RECORD_OVERHEAD`] + the longest value + 256.
    pub scratch: &'a mut [u8],
    /// The crypto provider.
    pub crypto: core::marker::PhantomData<C>,
}

impl<'a, R: Region, G: TryCryptoRng, C: Crypto> Io<'a, R, G, C> {
    /// Bundles the parts.
    pub fn new(
        region: &'a mut R,
        rng: &'a mut G,
        keys: &'a mut LogKeys,
        scratch: &'a mut [u8],
    ) -> Self {
        Io {
            region,
            rng,
            keys,
            scratch,
            crypto: core::marker::PhantomData,
        }
    }
}

impl<R, G, C> Io<'_, R, G, C> {
    /// The generation of a class's salt, as records name it.
    pub(crate) fn salt_generation(&self, class: u8) -> u16 {
        let class = self.keys.classes.get(usize::from(class));
        class.map_or(0, |c| c.salt_generation as u16)
    }
}

/// Run-time sizes of a log, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Logical sector.
    pub(crate) sector: u32,
    /// How many; at most 32.
    pub(crate) sectors: u32,
    /// Records start at multiples of this: the write size, at least 4.
    pub(crate) unit: u32,
    /// Padded size of a commit word.
    pub(crate) word: u32,
    /// Where the first record of a sector starts.
    pub(crate) first: u32,
}

impl Shape {
    fn new(sector: u32, sectors: u32, unit: u32) -> Shape {
        let word = padded(format::COMMIT as u32, unit);
        Shape {
            sector,
            sectors,
            unit,
            word,
            first: padded(SECTOR_HEADER as u32, unit) + 2 * word,
        }
    }

    /// Padded size of a delete marker.
    pub(crate) fn marker(&self) -> u32 {
        padded(RECORD_OVERHEAD as u32, self.unit)
    }

    /// Where a place begins in the region.
    #[inline(never)]
    pub(crate) fn at(&self, place: Place) -> u32 {
        place.sector() * self.sector + place.offset()
    }

    /// Bytes for records in one sector.
    pub(crate) fn payload(&self) -> u32 {
        self.sector - self.first
    }
}

/// The newest sector that counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Sector number.
    pub(crate) sector: u32,
    /// End of the last accepted record.
    pub(crate) end: u32,
    /// This boot opened it, and no program in it has failed.
    pub(crate) writable: bool,
    /// It was completed, see `mount.rs`. Else its content is authenticated when it
    /// is copied.
    pub(crate) firm: bool,
    /// The next sequence number when it was opened.
    pub(crate) base_seq: u32,
}

/// The record that a boot needs before all others: [`Log::mount`] finds it
/// without reading the whole log.
pub const PIN: Key = Key { class: 0, id: 0 };

/// A log over a region. Holds no flash and no keys: both are lent per call.
pub struct Log<'m> {
    shape: Shape,
    /// Room kept for what must never wait, in bytes.
    reserve: u32,
    /// Per sector its generation and flags, see `open.rs`.
    table: &'m mut [u32],
    index: Index<'m>,
    mounted: bool,
    head: Option<Head>,
    /// Members whose records are not in the index yet, a bit each.
    unread: u32,
    /// Where the pinned record lay when the head was opened.
    pin: Place,
    next_generation: u32,
    next_seq: u32,
    /// The record that the last operation before this boot may have torn.
    doubt: Option<Entry>,
    /// Something follows the last accepted record of the head. It is not
    /// accepted, and a new sector must settle that before anything is served.
    torn: bool,
    opening: Option<Opening>,
    /// Room that a refused put asked for.
    wanted: u32,
    /// Openings still to come that empty the oldest member.
    sweep: u32,
    /// A sector that did not take its first filling.
    suspect: Option<u32>,
    /// A lost record may have replaced any older than this.
    damaged_before: u32,
    /// Sectors that would not erase since boot.
    bad: u32,
}

/// Why memory or geometry was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShapeError {
    /// The flash region's sizes.
    Geometry,
    /// Fewer than three logical sectors.
    TooFewSectors,
    /// The lent sector table has fewer entries than there are sectors.
    TableTooSmall,
}

impl<'m> Log<'m> {
    /// A log over a region of this geometry. `table` needs one entry for each
    /// logical sector; `index` one for each record that may live at once.
    /// `reserve` bytes are always kept for what must never wait.
    pub fn new(
        geometry: nrd_hal::Geometry,
        table: &'m mut [u32],
        index: &'m mut [Entry],
        reserve: u32,
    ) -> Result<Self, ShapeError> {
        nrd_hal::layout::check(&geometry).map_err(|_| ShapeError::Geometry)?;
        let sector = nrd_hal::layout::logical_sector(&geometry);
        let sectors = geometry.size.checked_div(sector).unwrap_or(0);
        if sector > Place::MAX_SECTOR {
            return Err(ShapeError::Geometry);
        }
        if sectors < nrd_hal::layout::MIN_SECTORS {
            return Err(ShapeError::TooFewSectors);
        }
        let table = table
            .get_mut(..sectors as usize)
            .ok_or(ShapeError::TableTooSmall)?;
        table.fill(0);
        let unit = geometry.write_size.max(4);
        Ok(Log {
            shape: Shape::new(sector, sectors, unit),
            reserve: padded(reserve, unit),
            table,
            index: Index::new(index, unit),
            mounted: false,
            head: None,
            unread: 0,
            pin: Place::NONE,
            next_generation: 1,
            next_seq: 1,
            doubt: None,
            torn: false,
            opening: None,
            wanted: 0,
            sweep: 0,
            suspect: None,
            damaged_before: 0,
            bad: 0,
        })
    }

    /// Forgets what was read from flash; sectors found bad stay bad until the
    /// next boot.
    pub fn unmount(&mut self) {
        self.mounted = false;
        self.head = None;
        self.unread = 0;
        self.pin = Place::NONE;
        self.index.clear();
        for t in self.table.iter_mut().filter(|t| **t != open::BAD) {
            *t = 0;
        }
        self.doubt = None;
        self.torn = false;
        self.opening = None;
        self.wanted = 0;
        self.damaged_before = 0;
        self.next_generation = 1;
        self.next_seq = 1;
    }

    /// Size of a logical sector in bytes.
    pub fn sector_bytes(&self) -> u32 {
        self.shape.sector
    }

    /// Number of logical sectors.
    pub fn sectors(&self) -> u32 {
        self.shape.sectors
    }

    /// True when no sector of this log authenticates: a fresh region, or an
    /// erased or foreign one.
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Live bytes, padding and markers of deleted keys included.
    pub fn live_bytes(&self) -> u32 {
        self.index.bytes_in(u32::MAX)
    }

    /// Longest value that a record of this log can hold, beside the marker that
    /// removes it, in bytes.
    pub fn max_value(&self) -> usize {
        let most = self.shape.payload().saturating_sub(self.reserve) as usize;
        most.saturating_sub(RECORD_OVERHEAD + self.shape.marker() as usize)
            .min(MAX_VALUE)
    }

    /// True when a record of this key is alive.
    pub(crate) fn holds(&self, key: Key) -> bool {
        self.index.get(key).is_some_and(|e| !e.header.deleted())
    }

    /// The records alive now, in order of class and id.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.index.live().map(Entry::key)
    }

    /// Drops every record of `class` from the index: its key is gone.
    pub fn drop_class(&mut self, class: u8) {
        self.index.drop_if(&|e| e.key().class == class);
        if self.doubt.is_some_and(|d| d.key().class == class) {
            self.doubt = None;
        }
    }

    /// True when what the last cut left is decided: [`PIN`] can be read, if it
    /// is there.
    pub fn is_settled(&self) -> bool {
        self.mounted && !self.torn && self.doubt.is_none()
    }

    /// True when [`Log::step`] has something to do.
    pub fn needs_step(&self) -> bool {
        !self.is_settled() || self.opening.is_some() || self.unread != 0 || self.wanted > 0
    }

    /// Asks [`Log::step`] to open a sector even if nothing is written yet.
    pub fn want_writable(&mut self) {
        if !self.head.is_some_and(|h| h.writable) {
            self.wanted = self.wanted.max(1);
        }
    }

    /// Room left in the head, in bytes.
    pub(crate) fn room(&self) -> u32 {
        let end = self.head.map_or(self.shape.sector, |h| h.end);
        self.shape.sector - end
    }

    /// Most sectors that may be members between two openings. Two more are
    /// needed: one to open, and one whose cut opening may yet be the head.
    #[inline(never)]
    pub(crate) fn member_limit(&self) -> u32 {
        let good = self.shape.sectors.saturating_sub(self.bad);
        good.saturating_sub(2).max(1)
    }

    /// True when a record of `size` padded bytes still fits beside the live
    /// ones. By the pigeonhole principle some sector then has room for it once
    /// it is emptied.
    fn fits(&self, size: u32, reserve: u32) -> bool {
        let payload = self.shape.payload().saturating_sub(reserve);
        let Some(free) = payload.checked_sub(size) else {
            return false;
        };
        // At most 2^29: 32 sectors of 2^24 bytes.
        self.live_bytes() < self.member_limit() * (free + 1)
    }
}
