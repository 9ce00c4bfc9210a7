//! A device whose only storage is an eMMC: a flash translation layer beneath,
//! so that erasing proves nothing.
//!
//! What is modelled (JEDEC JESD84-B51, a 4 GB consumer part's geometry is not):
//! - **User area**: sectors of 512 B. Each is written as a *reliable write*
//!   (CMD23 with bit 31): after a power cut it holds the old or the new bytes,
//!   never a mixture. Beneath, every write goes to a fresh page; the old page
//!   stays in the NAND until it is collected, which nobody can ask for.
//! - **RPMB**: half-sectors of 256 B behind a one-time key. A write carries
//!   HMAC-SHA-256 over address, data and the part's write counter; a read
//!   answers a nonce. So neither old contents nor old writes can be played
//!   back. The pages beneath linger as in the user area.
//!
//! The port keeps both key slots and the epoch in the RPMB. Its erases are
//! logical: [`Guarantee::Logical`], and the receipt says *clear*, not *purge*.

use super::board::{Identity, RootKey, VirtualClock};
use super::rng::VirtualRng;
use crate::PowerCut;
use nrd_agent::wire::DeviceKind;
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::Layout;
use nrd_hal::{
    Crypto as _, Effaceable, Epoch, ErrorKind, ErrorType, Geometry, Guarantee, MonotonicCounter,
    Parts, Platform, Region,
};
use ring::signature::Ed25519KeyPair;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a sector of the user area.
const SECTOR: usize = 512;
/// Bytes of an RPMB half-sector.
const HALF_SECTOR: usize = 256;
/// Sizes that the agent sees. 4 KiB erase groups; a cut program of up to 256 B
/// that stays in one sector is atomic.
const GEOMETRY: Geometry = Geometry {
    size: 128 * 1024,
    write_size: 256,
    erase_size: 4096,
    best_erase: 4096,
};

/// RPMB addresses: slot A, slot B, the epoch.
const EPOCH_AT: u16 = 2;
const RPMB_HALVES: usize = 3;

/// An authenticated write, as it travels over the bus: who listens can keep it
/// and send it again.
#[derive(Debug, Clone)]
pub struct RpmbWrite {
    /// Half-sector.
    pub address: u16,
    /// Its new contents.
    pub data: [u8; HALF_SECTOR],
    /// The write counter it was made for.
    pub counter: u32,
    /// HMAC-SHA-256 over the three.
    pub mac: [u8; 32],
}

fn write_mac(key: &[u8; 32], address: u16, data: &[u8], counter: u32) -> [u8; 32] {
    RingCrypto::hmac(key, &[data, &counter.to_be_bytes(), &address.to_be_bytes()])
}

/// The part.
#[derive(Clone)]
pub struct Emmc {
    user: Vec<[u8; SECTOR]>,
    rpmb: Vec<[u8; HALF_SECTOR]>,
    write_counter: u32,
    key: [u8; 32],
    /// Every page ever written and replaced: what a laboratory may find.
    stale: Vec<Vec<u8>>,
    /// Every authenticated write seen on the bus.
    bus: Vec<RpmbWrite>,
    off: bool,
    /// Writes since the beginning.
    pub writes: u64,
    /// The write at which the power goes, and whether it still happens.
    pub cut: Option<(u64, bool)>,
}

impl Emmc {
    fn new(key: [u8; 32]) -> Emmc {
        Emmc {
            user: vec![[0xFF; SECTOR]; GEOMETRY.size as usize / SECTOR],
            rpmb: vec![[0xFF; HALF_SECTOR]; RPMB_HALVES],
            write_counter: 0,
            key,
            stale: Vec::new(),
            bus: Vec::new(),
            off: false,
            writes: 0,
            cut: None,
        }
    }

    /// Counts a write; `Ok(false)` when the power goes before it happens.
    fn strike(&mut self) -> Result<bool, ErrorKind> {
        if self.off {
            return Err(ErrorKind::Unavailable);
        }
        self.writes += 1;
        match self.cut {
            Some((at, happens)) if at == self.writes => {
                self.off = true;
                Ok(happens)
            }
            _ => Ok(true),
        }
    }

    /// `Ok` unless the power went during the last operation.
    fn powered(&self) -> Result<(), ErrorKind> {
        if self.off {
            Err(ErrorKind::Unavailable)
        } else {
            Ok(())
        }
    }

    fn write_sector(&mut self, n: usize, bytes: [u8; SECTOR]) -> Result<(), ErrorKind> {
        if self.strike()? {
            let page = self.user.get_mut(n).ok_or(ErrorKind::OutOfBounds)?;
            let old = std::mem::replace(page, bytes);
            self.stale.push(old.to_vec());
        }
        self.powered()
    }

    /// What the part does with an authenticated write from the bus, whoever
    /// sent it: a replayed one is refused.
    pub fn rpmb_write(&mut self, write: &RpmbWrite) -> Result<(), ErrorKind> {
        self.powered()?;
        let mac = write_mac(&self.key, write.address, &write.data, write.counter);
        if mac != write.mac || write.counter != self.write_counter {
            return Err(ErrorKind::Refused);
        }
        if self.strike()? {
            let half = usize::from(write.address);
            let page = self.rpmb.get_mut(half).ok_or(ErrorKind::OutOfBounds)?;
            let old = std::mem::replace(page, write.data);
            self.write_counter += 1;
            self.stale.push(old.to_vec());
        }
        self.powered()
    }

    /// Everything the interface returns, for a copy by whoever holds the part.
    pub fn user_image(&self) -> Vec<u8> {
        self.user.concat()
    }

    /// What chip-off may find: replaced pages, oldest first.
    pub fn stale_pages(&self) -> &[Vec<u8>] {
        &self.stale
    }

    /// The authenticated writes that a listener on the bus has kept.
    pub fn seen_on_the_bus(&self) -> &[RpmbWrite] {
        &self.bus
    }

    /// Puts an older copy of the user area back.
    pub fn restore_user_image(&mut self, image: &[u8]) {
        let (sectors, _) = image.as_chunks::<SECTOR>();
        self.user.copy_from_slice(sectors);
    }

    /// Switches on again.
    pub fn power_on(&mut self) {
        self.off = false;
        self.cut = None;
    }
}

/// A part that several owners share.
#[derive(Clone)]
pub struct SharedEmmc(Arc<Mutex<Emmc>>);

impl SharedEmmc {
    /// The part itself.
    pub fn part(&self) -> MutexGuard<'_, Emmc> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stretch of the user area as a [`Region`].
#[derive(Clone)]
pub struct EmmcRegion {
    part: SharedEmmc,
    start: u32,
    size: u32,
}

impl EmmcRegion {
    fn range(&self, from: u32, to: u32, unit: u32) -> Result<(usize, usize), ErrorKind> {
        if from > to || to > self.size {
            return Err(ErrorKind::OutOfBounds);
        }
        if !from.is_multiple_of(unit) || !to.is_multiple_of(unit) {
            return Err(ErrorKind::NotAligned);
        }
        Ok(((self.start + from) as usize, (self.start + to) as usize))
    }
}

impl ErrorType for EmmcRegion {
    type Error = ErrorKind;
}

impl Region for EmmcRegion {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            ..GEOMETRY
        }
    }
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        let len = u32::try_from(bytes.len()).map_err(|_| ErrorKind::OutOfBounds)?;
        let to = offset.checked_add(len).ok_or(ErrorKind::OutOfBounds)?;
        let (from, _) = self.range(offset, to, 1)?;
        let part = self.part.part();
        part.powered()?;
        for (at, out) in (from..).zip(bytes) {
            *out = part.user[at / SECTOR][at % SECTOR];
        }
        Ok(())
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        let len = u32::try_from(bytes.len()).map_err(|_| ErrorKind::OutOfBounds)?;
        let to = offset.checked_add(len).ok_or(ErrorKind::OutOfBounds)?;
        let (mut at, to) = self.range(offset, to, GEOMETRY.write_size)?;
        let mut bytes = bytes;
        let mut part = self.part.part();
        while at < to {
            // The sector is read, changed and written back whole.
            let n = (SECTOR - at % SECTOR).min(to - at);
            let (now, rest) = bytes.split_at(n);
            let mut sector = part.user[at / SECTOR];
            sector[at % SECTOR..][..n].copy_from_slice(now);
            part.write_sector(at / SECTOR, sector)?;
            (at, bytes) = (at + n, rest);
        }
        Ok(())
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let (from, to) = self.range(from, to, GEOMETRY.erase_size)?;
        let mut part = self.part.part();
        for n in from / SECTOR..to / SECTOR {
            part.write_sector(n, [0xFF; SECTOR])?;
        }
        Ok(())
    }
}

/// The RPMB's host side: holds the key.
#[derive(Clone)]
pub struct Rpmb {
    part: SharedEmmc,
    key: [u8; 32],
}

impl Rpmb {
    fn read(&self, address: u16) -> Result<[u8; HALF_SECTOR], ErrorKind> {
        let part = self.part.part();
        part.powered()?;
        // The part signs data and nonce; this side checks. Both hold the same
        // key here, so the answer is genuine by construction.
        let half = part.rpmb.get(usize::from(address));
        half.copied().ok_or(ErrorKind::OutOfBounds)
    }

    fn write(&self, address: u16, data: [u8; HALF_SECTOR]) -> Result<(), ErrorKind> {
        let mut part = self.part.part();
        let counter = part.write_counter;
        let write = RpmbWrite {
            address,
            data,
            counter,
            mac: write_mac(&self.key, address, &data, counter),
        };
        part.bus.push(write.clone());
        part.rpmb_write(&write)
    }
}

impl ErrorType for Rpmb {
    type Error = ErrorKind;
}

fn slot_address(slot: u8) -> Result<u16, ErrorKind> {
    match slot {
        0 | 1 => Ok(u16::from(slot)),
        _ => Err(ErrorKind::OutOfBounds),
    }
}

impl Effaceable for Rpmb {
    fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        let half = Rpmb::read(self, slot_address(slot)?)?;
        let from = half.get(..bytes.len()).ok_or(ErrorKind::OutOfBounds)?;
        bytes.copy_from_slice(from);
        Ok(())
    }
    fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), ErrorKind> {
        let mut half = [0xFF; HALF_SECTOR];
        let to = half.get_mut(..bytes.len()).ok_or(ErrorKind::OutOfBounds)?;
        to.copy_from_slice(bytes);
        Rpmb::write(self, slot_address(slot)?, half)
    }
    /// One authenticated write: as fast as a slot dies here.
    fn zero(&mut self, slot: u8) -> Result<bool, ErrorKind> {
        Rpmb::write(self, slot_address(slot)?, [0; HALF_SECTOR])?;
        Ok(true)
    }
    fn erase(&mut self, slot: u8) -> Result<(), ErrorKind> {
        Rpmb::write(self, slot_address(slot)?, [0xFF; HALF_SECTOR])
    }
    fn guarantee(&self) -> Guarantee {
        Guarantee::Logical
    }
    fn outside_image(&self) -> bool {
        true
    }
}

/// The epoch, in an RPMB half-sector of its own.
#[derive(Clone)]
pub struct RpmbCounter(Rpmb);

impl RpmbCounter {
    fn value(&self) -> Result<u64, ErrorKind> {
        let half = self.0.read(EPOCH_AT)?;
        let (value, _) = half.split_first_chunk().ok_or(ErrorKind::Other)?;
        // Blank: as the part left its factory.
        Ok(u64::from_le_bytes(*value).wrapping_add(1))
    }
}

impl ErrorType for RpmbCounter {
    type Error = ErrorKind;
}

impl MonotonicCounter for RpmbCounter {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        self.value().map(Epoch)
    }
    fn increment(&mut self) -> Result<(), ErrorKind> {
        let next = self.value()?.checked_add(1).ok_or(ErrorKind::WornOut)?;
        let mut half = [0xFF; HALF_SECTOR];
        half[..8].copy_from_slice(&next.wrapping_sub(1).to_le_bytes());
        self.0.write(EPOCH_AT, half)
    }
    fn endurance(&self) -> u64 {
        // The write counter's own end, shared with the slots.
        100_000
    }
}

/// A device on an eMMC.
pub struct EmmcBoard {
    part: SharedEmmc,
    journal: EmmcRegion,
    vault: EmmcRegion,
    rpmb: Rpmb,
    counter: RpmbCounter,
    root_key: RootKey,
    rng: VirtualRng,
    identity: Identity,
    clock: VirtualClock,
}

impl EmmcBoard {
    /// A part fresh from its factory.
    pub fn part(rpmb_key: [u8; 32]) -> SharedEmmc {
        SharedEmmc(Arc::new(Mutex::new(Emmc::new(rpmb_key))))
    }

    /// A device over `part`; `rpmb_key` is the key that was programmed into it.
    pub fn new(
        part: &SharedEmmc,
        rpmb_key: [u8; 32],
        root: [u8; 32],
        seed: u64,
        maker: &Ed25519KeyPair,
        device_id: &str,
    ) -> Result<EmmcBoard, nrd_hal::layout::LayoutError> {
        let layout = Layout::plan(&GEOMETRY)?;
        let region = |start, size| EmmcRegion {
            part: part.clone(),
            start,
            size,
        };
        let rpmb = Rpmb {
            part: part.clone(),
            key: rpmb_key,
        };
        let kind = DeviceKind::SetTopBox;
        let identity = Identity::certified(&root, device_id, maker, "Virtual eMMC box", kind);
        let epoch = RpmbCounter(rpmb.clone());
        Ok(EmmcBoard {
            part: part.clone(),
            journal: region(layout.journal_start, layout.journal_size),
            vault: region(layout.vault_start, layout.vault_size),
            counter: RpmbCounter(rpmb.clone()),
            rpmb,
            // Its hardware reads the replay-protected epoch itself.
            root_key: RootKey::guarded(root, move || epoch.value().unwrap_or(u64::MAX)),
            rng: VirtualRng::new(seed),
            identity,
            clock: VirtualClock::default(),
        })
    }

    /// The clock, to move it.
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }
}

impl PowerCut for EmmcBoard {
    fn is_off(&self) -> bool {
        self.part.part().off
    }
}

impl Platform for EmmcBoard {
    type Crypto = RingCrypto;
    type Journal = EmmcRegion;
    type Vault = EmmcRegion;
    type Slot = Rpmb;
    type Counter = RpmbCounter;
    type RootKey = RootKey;
    type Rng = VirtualRng;
    type Identity = Identity;
    type Clock = VirtualClock;

    fn parts(&mut self) -> Parts<'_, Self> {
        Parts {
            journal: &mut self.journal,
            vault: &mut self.vault,
            slot: &mut self.rpmb,
            counter: &mut self.counter,
            root_key: &mut self.root_key,
            rng: &mut self.rng,
            identity: &mut self.identity,
            clock: &mut self.clock,
        }
    }
}
