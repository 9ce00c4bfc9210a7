//! The sealed-record log: one storage engine, used for the journal and for the
//! vault. A small, encrypted, power-safe map from [`RecordId`] to bytes.
//!
//! # Terms
//!
//! | term | meaning |
//! |---|---|
//! | *region* | the stretch of flash that one log owns ([`nrd_hal::Region`]) |
//! | *logical sector*, or sector | the smallest stretch that is erased: one or more erase units, at least 2 KiB; a region has 3 to 32 |
//! | *unit* | the smallest stretch that is programmed: the flash's write unit, at least 4 bytes; records and headers are padded to it |
//! | *record* | one sealed value, with its header: id, length, salt generation, sequence number |
//! | *sequence number* | counts records; of several with one id the highest counts |
//! | *delete marker* | a record without a value: its id is deleted, and older versions do not count |
//! | *class* | part of a record's id; each has a key of its own, from a *salt* that is replaced to forget all of it |
//! | *sector header* | 40 authenticated bytes at a sector's start: generation, members, and more (`format.rs`) |
//! | *commit words* | two words after the header, a program each; they make the sector count |
//! | *generation* | counts openings; of all committed sectors the highest is the head |
//! | *open* (a sector) | erase it, copy live records into it, write its header and commit words |
//! | *head* | the sector opened last: new records are appended to it |
//! | *member* | a sector whose records count: the head's header names them all, a bit each |
//! | *committed* | a sector whose opening was completed |
//! | *half-committed* | a sector with its first commit word alone: its opening may have been cut |
//! | *fallback head* | the next committed sector below the head; kept while the head may yet be rejected |
//! | *unidentified* | a sector that holds something but no authentic header: its erase may have been cut |
//! | *tail* | the last record of the head |
//! | *unconfirmed tail* | a tail that a cut may have torn: not served before it was written anew |
//! | *live bytes* | padded size of the records that count, delete markers included while they hide something |
//! | *reserve* | room that ordinary writes may not use, kept for writes that must never be refused |
//! | *victim* | the member that *garbage collection* empties: its live records move to the new head |
//! | *retired* | a sector that did not erase or take its content; not used again in this boot |
//! | *pinned record* | the one that a boot needs first; the head's header says where it lies |
//! | *mount* | find the head and read it; the other members are read by later steps |
//! | *step* | one bounded piece of work that waits: mount, read a member, erase or write a sector |
//!
//! # How data moves
//!
//! ```text
//!   put, remove
//!       | seal, append
//!       v
//!     head ---- another sector is opened ---->  member
//!       ^                                         |
//!       |<--- copy the records that count --------|  as a victim, or as the
//!       |                                         |  head of an earlier boot
//!       |                                         v
//!       '<--- erase, header, commit words ------ free
//! ```
//!
//! [`Log::get`] finds a record through the index, in RAM, and reads, verifies
//! and decrypts it in the caller's work buffer.
//!
//! ```text
//! sector:  | header 40 | commit word 8 | commit word 8 | copies … | own records … | blank … |
//! record:  | header 12 | nonce 8 | ciphertext | tag 16 | 0xFF to the unit |
//! ```
//!
//! Two rules carry the rest.
//!
//! 1. **A power cycle programs only sectors that it has erased and read back
//!    itself.** So no program meets cells that an earlier cut left half-way: they
//!    may read blank today. The first write of a boot therefore opens a sector,
//!    which *replaces* the last head.
//! 2. **Every write is read back before the next begins.** So every write
//!    that another follows was completed. Only the last one can be in doubt after
//!    a cut: a commit word, or the tail. Neither is relied upon
//!    before a boot has written it anew.
//!
//! # What the log guarantees
//!
//! - A [`Log::put`] or [`Log::remove`] that answered `Ok` survives every later
//!   power cut.
//! - One that was cut is afterwards done or not done. Which of the two a boot has
//!   once answered stays so, even if torn cells read differently at every boot.
//! - A record that does not authenticate is reported as
//!   [`Error::Corrupt`], never served in an older
//!   version. Where a record was lost and its id is unknown, every record that
//!   it may have replaced is reported so.
//! - One flipped bit in a header is corrected.
//! - A call does bounded work: [`Log::step`] at most one sector's erase or
//!   copy, [`Log::put`] and [`Log::remove`] one program. These never erase.
//! - A log that is full can be emptied again; from four sectors on, one that
//!   does not erase costs room only.
//!
//! # What it asks of the flash
//!
//! - After `erase` answered `Ok` the range reads 0xFF, after `program` the data.
//!   An operation that silently does nothing is found by reading back.
//! - A cut operation leaves each bit that it would have changed old, new or
//!   *unstable* (read differently at every read) until the next completed
//!   erase. It changes no other bit.
//! - Data that was read back stays as it is, but for single cells that fail.
//! - Units can be programmed once between erases: no bit is cleared later.
//!
//! `docs/SPEC.md` §5 is the specification. It also says what no bounded log can
//! promise, and why the log is as it is.
//!
//! # Where things are
//!
//! | file | content |
//! |---|---|
//! | `record.rs` | sealing, writing and reading one record |
//! | `open.rs` | opening a sector, garbage collection |
//! | `mount.rs` | finding the head at a boot, reading the members |
//! | `sectors.rs` | sets of sectors, the sector table, choice of sectors |
//! | `index.rs` | the table of records in RAM |
//! | `keys.rs` | keys of the log and of each class |
//! | `format.rs` | bytes of headers and commit words, their check bits |

mod format;
mod index;
mod keys;
mod mount;
mod open;
mod record;
mod sectors;
pub(crate) use record::{reads_blank, value};

pub use format::{MAX_VALUE, RECORD_OVERHEAD, SECTOR_HEADER};
pub use index::Entry;
pub use keys::{CLASSES, LogKeys};

use crate::error::Error;
use format::{COMMIT_WORD, FlashAddr, padded};
use index::Index;
use nrd_hal::layout::{self, MIN_SECTORS};
use nrd_hal::{Crypto, Region};
use open::Opening;
use rand_core::TryCryptoRng;

/// Names a record: its class, and its id within the class.
///
/// ```
/// use nrd_agent::log::{CLASSES, RecordId};
///
/// let street = RecordId { class: 2, id: 0 };
/// let city = RecordId { class: 2, id: 1 };
/// assert!(usize::from(street.class) < CLASSES);
/// // A log lists its records by class, then by id.
/// assert!(street < city && city < RecordId { class: 3, id: 0 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RecordId {
    /// Class, 0 to [`CLASSES`] − 1.
    pub class: u8,
    /// Id within the class.
    pub id: u16,
}

/// The record that a boot needs before all others: [`Log::mount`] finds it
/// without reading the whole log.
pub const PINNED_RECORD: RecordId = RecordId { class: 0, id: 0 };

/// Whether a log has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left to do.
    Done,
    /// One bounded piece of work was done; there may be more. Call again.
    More,
}

/// Flash, randomness, keys and memory, lent to the log for one call.
pub struct LogContext<'a, R, G, C> {
    /// The flash.
    pub region: &'a mut R,
    /// Randomness for nonces.
    pub rng: &'a mut G,
    /// The keys.
    pub keys: &'a mut LogKeys,
    /// Work buffer: at least [`RECORD_OVERHEAD`] + the longest value + 256 bytes
    /// (the largest write unit).
    pub scratch: &'a mut [u8],
    /// The crypto provider.
    pub crypto: core::marker::PhantomData<C>,
}

impl<'a, R: Region, G: TryCryptoRng, C: Crypto> LogContext<'a, R, G, C> {
    /// Bundles the parts.
    pub fn new(
        region: &'a mut R,
        rng: &'a mut G,
        keys: &'a mut LogKeys,
        scratch: &'a mut [u8],
    ) -> Self {
        LogContext {
            region,
            rng,
            keys,
            scratch,
            crypto: core::marker::PhantomData,
        }
    }
}

impl<R, G, C> LogContext<'_, R, G, C> {
    /// `Busy` while there are no keys: nothing is read or written without.
    pub(crate) fn need_keys(&self) -> Result<(), Error> {
        if self.keys.are_set() {
            Ok(())
        } else {
            Err(Error::Busy)
        }
    }
}

/// Run-time sizes of a log, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogGeometry {
    /// Size of a logical sector.
    pub(crate) sector: u32,
    /// Number of logical sectors, 3 to 32.
    pub(crate) sectors: u32,
    /// Records start at multiples of this: the write size, at least 4.
    pub(crate) unit: u32,
    /// Padded size of a commit word.
    pub(crate) commit_word: u32,
    /// Offset in a sector where its first record starts.
    pub(crate) first_record: u32,
}

impl LogGeometry {
    const fn new(sector: u32, sectors: u32, unit: u32) -> LogGeometry {
        let commit_word = padded(COMMIT_WORD as u32, unit);
        LogGeometry {
            sector,
            sectors,
            unit,
            commit_word,
            first_record: padded(SECTOR_HEADER as u32, unit) + 2 * commit_word,
        }
    }

    /// Padded size of a delete marker.
    pub(crate) const fn marker(&self) -> u32 {
        padded(RECORD_OVERHEAD as u32, self.unit)
    }

    /// Offset in the region where a sector begins.
    pub(crate) fn start(&self, sector: u32) -> u32 {
        sector * self.sector
    }

    /// Offset in the region of an address.
    pub(crate) fn offset_of(&self, addr: FlashAddr) -> u32 {
        self.start(addr.sector()) + addr.offset()
    }

    /// Bytes for records in one sector.
    pub(crate) const fn payload(&self) -> u32 {
        self.sector - self.first_record
    }
}

/// Smallest and largest write unit, and smallest logical sector, that
/// [`nrd_hal::layout`] lets pass; a test holds them against it.
const MIN_UNIT: u32 = 4;
const MAX_UNIT: u32 = 256;
const MIN_SECTOR: u32 = 2048;

/// The smallest logical sector of a flash with this write unit.
const fn smallest(unit: u32) -> LogGeometry {
    let sector = if unit * 16 > MIN_SECTOR {
        unit * 16
    } else {
        MIN_SECTOR
    };
    LogGeometry::new(sector, MIN_SECTORS, unit)
}

/// Largest reserve of a log, in bytes, before padding. Beside it a sector of
/// any geometry holds a value of 512 bytes and a delete marker.
pub const MAX_RESERVE: u32 = 512;

// For each write unit from `MIN_UNIT` to `MAX_UNIT`.
const _: () = {
    let mut unit = MIN_UNIT;
    while unit <= MAX_UNIT {
        let sector = smallest(unit);
        let value = padded((RECORD_OVERHEAD + 512) as u32, unit);
        assert!(padded(MAX_RESERVE, unit) + sector.marker() + value <= sector.payload());
        unit *= 2;
    }
};

/// The committed sector of the highest generation, or a half-committed one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Sector number.
    pub(crate) sector: u32,
    /// End of the last accepted record.
    pub(crate) end: u32,
    /// This boot opened it, and no program in it has failed.
    pub(crate) writable: bool,
    /// Not half-committed, see `mount.rs`. The content of a half-committed head
    /// is authenticated when it is copied.
    pub(crate) committed: bool,
    /// The next sequence number when it was opened.
    pub(crate) base_seq: u32,
}

/// A log over a region. Holds no flash and no keys: both are lent per call.
///
/// ```
/// use nrd_agent::Error;
/// use nrd_agent::log::{Entry, Log, LogContext, LogKeys, Progress, RecordId};
/// use nrd_hal::crypto::RingCrypto;
/// # use nrd_hal::{ErrorKind, ErrorType, Geometry, Region};
/// # use nrd_hal::rand_core::{TryCryptoRng, TryRng, utils};
/// #
/// # /// 16 KiB of flash in RAM, delivered with noise in it.
/// # struct RamFlash([u8; 16384]);
/// # impl ErrorType for RamFlash {
/// #     type Error = ErrorKind;
/// # }
/// # impl Region for RamFlash {
/// #     fn geometry(&self) -> Geometry {
/// #         Geometry { size: 16384, write_size: 4, erase_size: 4096, best_erase: 4096 }
/// #     }
/// #     fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
/// #         bytes.copy_from_slice(&self.0[at as usize..][..bytes.len()]);
/// #         Ok(())
/// #     }
/// #     fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
/// #         self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
/// #         Ok(())
/// #     }
/// #     fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
/// #         self.0[from as usize..to as usize].fill(0xFF);
/// #         Ok(())
/// #     }
/// # }
/// # /// No randomness: nonces are hedged, so that a test can do without.
/// # struct Zeros;
/// # impl TryRng for Zeros {
/// #     type Error = core::convert::Infallible;
/// #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
/// #         utils::next_word_via_fill(self)
/// #     }
/// #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
/// #         utils::next_word_via_fill(self)
/// #     }
/// #     fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
/// #         out.fill(0);
/// #         Ok(())
/// #     }
/// # }
/// # impl TryCryptoRng for Zeros {}
///
/// # fn main() -> Result<(), Error> {
/// # let (mut flash, mut rng) = (RamFlash([0xA5; 16384]), Zeros);
/// // Memory is lent: a table entry a sector, an index entry a record.
/// let (mut table, mut index) = ([0; 32], [Entry::default(); 16]);
/// let mut log = Log::new(flash.geometry(), &mut table, &mut index, 0).unwrap();
///
/// // Flash, randomness, keys and a work buffer are lent to each call.
/// let mut keys = LogKeys::new::<RingCrypto>(1, 0, &[7; 32]);
/// let mut scratch = [0; 4096 + 512];
/// let io = &mut LogContext::<_, _, RingCrypto>::new(&mut flash, &mut rng, &mut keys, &mut scratch);
///
/// // `put` never erases: it answers `Busy`, and `step` makes room.
/// let name = RecordId { class: 1, id: 0 };
/// while log.put(io, name, b"living room") == Err(Error::Busy) {
///     while log.step(io)? == Progress::More {}
/// }
/// let mut out = [0; 64];
/// let n = log.get(io, name, &mut out)?;
/// assert_eq!(&out[..n], b"living room");
///
/// // The next boot finds it.
/// log.unmount();
/// while log.step(io)? == Progress::More {}
/// assert!(log.record_ids().eq([name]));
/// log.want_writable();
/// while log.step(io)? == Progress::More {}
/// log.remove(io, name)?;
/// assert_eq!(log.get(io, name, &mut out), Err(Error::NotFound));
/// # Ok(())
/// # }
/// ```
pub struct Log<'m> {
    geometry: LogGeometry,
    /// Room kept for writes that must never be refused, in bytes.
    reserve: u32,
    /// Generation and flags of each sector, see `sectors.rs`.
    table: &'m mut [u32],
    index: Index<'m>,
    mounted: bool,
    head: Option<Head>,
    /// Members whose records are not in the index yet, a bit each.
    unindexed: u32,
    /// Address of the pinned record when the head was opened.
    pinned_at: FlashAddr,
    next_generation: u32,
    next_seq: u32,
    /// The tail, if the last operation before this boot may have torn it.
    unconfirmed: Option<Entry>,
    /// The head is half-committed, or something unreadable follows its last
    /// record. Nothing is served before a new sector has settled that.
    needs_new_sector: bool,
    opening: Option<Opening>,
    /// Room in the head that a refused write asked for, in bytes.
    bytes_needed: u32,
    /// Openings still to come that empty the oldest member.
    gc_rounds: u32,
    /// A sector that did not take its content once, and gets another try.
    retry_sector: Option<u32>,
    /// Records with a lower sequence number may be stale: a newer version may
    /// have been lost.
    lost_before: u32,
    /// Number of sectors retired since boot.
    retired: u32,
}

/// Why memory or geometry was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogGeometryError {
    /// The flash region's sizes.
    Geometry,
    /// Fewer than three logical sectors.
    TooFewSectors,
    /// The lent sector table has fewer entries than there are sectors.
    TableTooSmall,
    /// The reserve is larger than [`MAX_RESERVE`].
    ReserveTooLarge,
}

impl<'m> Log<'m> {
    /// A log over a region of this geometry. `table` needs one entry for each
    /// logical sector; `index` one for each record that may live at once.
    /// `reserve` bytes, at most [`MAX_RESERVE`], are kept for writes that must
    /// never be refused.
    pub fn new(
        geometry: nrd_hal::Geometry,
        table: &'m mut [u32],
        index: &'m mut [Entry],
        reserve: u32,
    ) -> Result<Self, LogGeometryError> {
        layout::check(&geometry).map_err(|_| LogGeometryError::Geometry)?;
        let sector = layout::logical_sector(&geometry);
        let sectors = geometry.size.checked_div(sector).unwrap_or(0);
        if sector > FlashAddr::MAX_SECTOR {
            return Err(LogGeometryError::Geometry);
        }
        if sectors < MIN_SECTORS {
            return Err(LogGeometryError::TooFewSectors);
        }
        if reserve > MAX_RESERVE {
            return Err(LogGeometryError::ReserveTooLarge);
        }
        let table = table
            .get_mut(..sectors as usize)
            .ok_or(LogGeometryError::TableTooSmall)?;
        table.fill(0);
        let unit = geometry.write_size.max(MIN_UNIT);
        Ok(Log {
            geometry: LogGeometry::new(sector, sectors, unit),
            reserve: padded(reserve, unit),
            table,
            index: Index::new(index, unit),
            mounted: false,
            head: None,
            unindexed: 0,
            pinned_at: FlashAddr::NONE,
            next_generation: 1,
            next_seq: 1,
            unconfirmed: None,
            needs_new_sector: false,
            opening: None,
            bytes_needed: 0,
            gc_rounds: 0,
            retry_sector: None,
            lost_before: 0,
            retired: 0,
        })
    }

    /// Forgets all that was read from flash; retired sectors stay so until the next
    /// boot.
    pub fn unmount(&mut self) {
        self.mounted = false;
        self.head = None;
        self.unindexed = 0;
        self.pinned_at = FlashAddr::NONE;
        self.index.clear();
        for entry in self.table.iter_mut().filter(|e| **e != sectors::RETIRED) {
            *entry = 0;
        }
        self.unconfirmed = None;
        self.needs_new_sector = false;
        self.opening = None;
        self.bytes_needed = 0;
        self.lost_before = 0;
        self.next_generation = 1;
        self.next_seq = 1;
    }

    /// As at power-on: forgets which sectors were retired, too. For a log that no
    /// sector is left to write to: what failed may answer again.
    ///
    /// Found: an outage of the journal that outlasted the erases which a sector may
    /// fail left every sector retired, and the device closed until a power cycle.
    pub(crate) fn start_over(&mut self) {
        if self.retired == 0 {
            return;
        }
        self.table.fill(0);
        self.retired = 0;
        self.retry_sector = None;
        self.unmount();
    }

    /// Size of a logical sector in bytes.
    pub fn sector_bytes(&self) -> u32 {
        self.geometry.sector
    }

    /// Number of logical sectors.
    pub fn sectors(&self) -> u32 {
        self.geometry.sectors
    }

    /// True when no sector of this log authenticates: a fresh region, or an
    /// erased or foreign one.
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Live bytes: padding included, and delete markers while they hide an older
    /// version.
    pub fn live_bytes(&self) -> u32 {
        self.index.bytes_in(u32::MAX)
    }

    /// Longest value that a record of this log can hold, beside the marker that
    /// deletes it, in bytes.
    pub fn max_value(&self) -> usize {
        let beside = self.reserve + RECORD_OVERHEAD as u32 + self.geometry.marker();
        let most = self.geometry.payload().saturating_sub(beside);
        MAX_VALUE.min(most as usize)
    }

    /// True when a record of this id is alive.
    pub(crate) fn holds(&self, id: RecordId) -> bool {
        self.index.get(id).is_some_and(|e| !e.header.deleted())
    }

    /// The records alive now, in order of class and id.
    pub fn record_ids(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.index.live().map(Entry::id)
    }

    /// Drops every record of `class` from the index: its key is gone.
    pub fn drop_class(&mut self, class: u8) {
        self.index.retain(&|e| e.id().class != class);
        if self.unconfirmed.is_some_and(|u| u.id().class == class) {
            self.unconfirmed = None;
        }
    }

    /// True when no record is in doubt any more after a power cut. From then on
    /// [`PINNED_RECORD`] can be read, if it exists.
    pub fn is_settled(&self) -> bool {
        self.mounted && !self.needs_new_sector && self.unconfirmed.is_none()
    }

    /// True when [`Log::step`] has something to do.
    pub fn needs_step(&self) -> bool {
        !self.is_settled() || self.opening.is_some() || self.unindexed != 0 || self.bytes_needed > 0
    }

    /// Asks [`Log::step`] to open a sector even if nothing is written yet.
    pub fn want_writable(&mut self) {
        if !self.head.is_some_and(|h| h.writable) {
            self.bytes_needed = self.bytes_needed.max(1);
        }
    }

    /// Room left in the head, in bytes.
    pub(crate) fn room(&self) -> u32 {
        let end = self.head.map_or(self.geometry.sector, |h| h.end);
        self.geometry.sector - end
    }

    /// True when a record of `size` padded bytes still fits beside the live
    /// ones. By the pigeonhole principle some sector then has room for it once
    /// that sector is emptied.
    pub(crate) fn fits(&self, size: u32, reserve: u32) -> bool {
        let payload = self.geometry.payload().saturating_sub(reserve);
        let Some(free) = payload.checked_sub(size) else {
            return false;
        };
        // No overflow: `format.rs` asserts it for all sectors together.
        self.live_bytes() < self.member_limit() * (free + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nrd_hal::Geometry;

    /// The limits of units and sectors hold only while the layout refuses flash
    /// outside of them.
    #[test]
    fn the_layout_keeps_units_and_sectors_within_the_limits_of_the_log() {
        let geometry = |write_size, erase_size| Geometry {
            size: 64 * erase_size,
            write_size,
            erase_size,
            best_erase: erase_size,
        };
        assert!(layout::check(&geometry(MAX_UNIT, 256)).is_ok());
        assert!(layout::check(&geometry(2 * MAX_UNIT, 4096)).is_err());
        for shift in 0..=8 {
            let write_size = 1 << shift;
            let smallest = smallest(write_size.max(MIN_UNIT)).sector;
            for erase_size in [256, 512, 4096].into_iter().filter(|&e| e >= write_size) {
                let sector = layout::logical_sector(&Geometry {
                    size: 3 * 4096,
                    ..geometry(write_size, erase_size)
                });
                assert!(sector >= smallest, "{write_size}, {erase_size}");
            }
        }
    }

    #[test]
    fn a_log_that_starts_over_counts_no_sector_as_lost() {
        let geometry = Geometry {
            size: 5 * 4096,
            write_size: 4,
            erase_size: 4096,
            best_erase: 4096,
        };
        let (mut table, mut index) = ([0; 5], [Entry::default(); 4]);
        let mut log = Log::new(geometry, &mut table, &mut index, 0).unwrap();
        let all = log.sectors_with(0, 0);
        for sector in 0..5 {
            log.retire_sector(sector);
        }
        assert_eq!((log.sectors_with(0, 0), log.member_limit()), (0, 1));
        log.start_over();
        assert_eq!((log.sectors_with(0, 0), log.member_limit()), (all, 3));
    }

    #[test]
    fn a_reserve_is_refused_that_leaves_no_room_for_records() {
        let geometry = Geometry {
            size: 4 * 4096,
            write_size: 256,
            erase_size: 4096,
            best_erase: 4096,
        };
        for (reserve, refused) in [
            (MAX_RESERVE, None),
            (MAX_RESERVE + 1, Some(LogGeometryError::ReserveTooLarge)),
        ] {
            let (mut table, mut index) = ([0; 4], [Entry::default(); 4]);
            let log = Log::new(geometry, &mut table, &mut index, reserve);
            assert_eq!(log.as_ref().err().copied(), refused, "{reserve}");
            assert!(log.is_err() || log.is_ok_and(|l| l.max_value() >= 512));
        }
    }
}
