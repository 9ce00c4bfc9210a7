//! The port: flash, counter and slots in RAM that a system reset leaves alone.
//!
//! The only `unsafe` of this image is the access to that RAM, in [`world`].

use core::mem::MaybeUninit;
use ed25519_dalek::{Signer, SigningKey};
use nrd_hal::crypto::RustCrypto;
use nrd_hal::layout::Layout;
use nrd_hal::rand_core::{TryCryptoRng, TryRng};
use nrd_hal::slot::NorSlots;
use nrd_hal::{
    Clock, Crypto, DeviceIdentity, Epoch, ErrorKind, ErrorType, Geometry, MonotonicCounter, Parts,
    Platform, Region, RootKey,
};
use zeroize::Zeroizing;

/// The emulated part: 9 sectors of 2 KiB, written by 8 bytes.
pub const GEOMETRY: Geometry = Geometry {
    size: 9 * 2048,
    write_size: 8,
    erase_size: 2048,
    best_erase: 2048,
};

const MAGIC: u64 = 0x6E72_6420_6D33_3301;

/// What outlives a system reset.
#[repr(C)]
pub struct World {
    magic: u64,
    /// The cells.
    pub cells: [u8; GEOMETRY.size as usize],
    /// The monotonic counter.
    pub counter: u64,
    /// Operations since this life began.
    pub ops: u32,
    /// The operation that is cut; 0 for none.
    pub cut_at: u32,
    /// Where the story stands.
    pub stage: u32,
    /// Operations of the uncut life.
    pub total: u32,
    /// Lives lived.
    pub lives: u32,
    /// Resets in the middle of an operation.
    pub cuts: u32,
    /// State of the generator.
    pub draws: u64,
    /// Boots.
    pub boots: u32,
    /// What the service holds: the token generation and receipts seen.
    pub generation: u32,
    /// Receipts that verified in this life.
    pub receipts: u32,
    /// Deepest stack of a call into the agent, in the uncut life.
    pub agent_stack: u32,
    /// The activation that was granted last.
    pub activation: [u8; 16],
}

/// The interrupts that this software uses: none. The run-time's own table has a
/// place for each of 480.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [usize; 1] = [0];

#[unsafe(link_section = ".uninit.world")]
static mut WORLD: MaybeUninit<World> = MaybeUninit::uninit();

/// The retained world; made anew when the RAM holds none.
///
/// One core, no interrupts, and no two borrows alive at once: each part takes
/// it for one operation.
pub fn world() -> &'static mut World {
    // SAFETY: every bit pattern is a valid `World` (integers and arrays only),
    // the image is single-threaded, and callers keep no borrow over another
    // call.
    let world = unsafe { (*core::ptr::addr_of_mut!(WORLD)).assume_init_mut() };
    if world.magic != MAGIC {
        world.magic = MAGIC;
        world.cells.fill(0x5A);
        world.counter = 0;
        world.stage = 0;
        world.total = 0;
        world.lives = 0;
        world.cuts = 0;
        world.draws = 7;
        world.boots = 0;
        world.agent_stack = 0;
        world.begin_life(0);
    }
    world
}

impl World {
    /// A device fresh from the factory; its power will be cut at `cut_at`.
    pub fn begin_life(&mut self, cut_at: u32) {
        self.cells.fill(0xFF);
        self.counter = 0;
        self.ops = 0;
        self.cut_at = cut_at;
        self.generation = 0;
        self.receipts = 0;
        self.activation = [0; 16];
    }

    /// Counts an operation; true when the power goes in the middle of it.
    fn struck(&mut self) -> bool {
        self.ops += 1;
        self.ops == self.cut_at
    }
}

fn power_cut() -> ! {
    let world = world();
    world.cuts += 1;
    cortex_m::peripheral::SCB::sys_reset()
}

/// Part of the flash.
#[derive(Clone, Copy)]
pub struct Flash {
    start: u32,
    size: u32,
}

impl Flash {
    fn range(&self, from: u32, to: u32, unit: u32) -> Result<(usize, usize), ErrorKind> {
        if to > self.size || from > to {
            return Err(ErrorKind::OutOfBounds);
        }
        if from % unit != 0 || to % unit != 0 {
            return Err(ErrorKind::NotAligned);
        }
        Ok(((self.start + from) as usize, (self.start + to) as usize))
    }
}

impl ErrorType for Flash {
    type Error = ErrorKind;
}

impl Region for Flash {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            ..GEOMETRY
        }
    }
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        let to = offset
            .checked_add(bytes.len() as u32)
            .ok_or(ErrorKind::OutOfBounds)?;
        let (from, to) = self.range(offset, to, 1)?;
        let cells = world().cells.get(from..to).ok_or(ErrorKind::OutOfBounds)?;
        for (to, from) in bytes.iter_mut().zip(cells) {
            *to = *from;
        }
        Ok(())
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        let to = offset
            .checked_add(bytes.len() as u32)
            .ok_or(ErrorKind::OutOfBounds)?;
        let (from, to) = self.range(offset, to, GEOMETRY.write_size)?;
        let world = world();
        let cut = world.struck();
        let cells = world
            .cells
            .get_mut(from..to)
            .ok_or(ErrorKind::OutOfBounds)?;
        // A cut program leaves the first half, and every other bit of the rest.
        let half = bytes.len() / 2;
        for (i, (cell, byte)) in cells.iter_mut().zip(bytes).enumerate() {
            *cell &= match cut && i >= half {
                true => byte | 0x55,
                false => *byte,
            };
        }
        if cut { power_cut() } else { Ok(()) }
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let (from, to) = self.range(from, to, GEOMETRY.erase_size)?;
        let world = world();
        let cut = world.struck();
        let cells = world
            .cells
            .get_mut(from..to)
            .ok_or(ErrorKind::OutOfBounds)?;
        let half = cells.len() / 2;
        for (i, cell) in cells.iter_mut().enumerate() {
            *cell |= if cut && i >= half { 0xAA } else { 0xFF };
        }
        if cut { power_cut() } else { Ok(()) }
    }
}

pub struct Counter;

impl ErrorType for Counter {
    type Error = ErrorKind;
}

impl MonotonicCounter for Counter {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        Ok(Epoch(world().counter))
    }
    fn increment(&mut self) -> Result<(), ErrorKind> {
        let world = world();
        let cut = world.struck();
        world.counter += 1;
        if cut { power_cut() } else { Ok(()) }
    }
    fn endurance(&self) -> u64 {
        100_000
    }
}

pub struct Fuses;

const ROOT: [u8; 32] = [0x5A; 32];

impl ErrorType for Fuses {
    type Error = ErrorKind;
}

impl RootKey for Fuses {
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        Ok(Zeroizing::new(RustCrypto::hkdf(
            b"nrd/1/fixed",
            &ROOT,
            &[label],
        )))
    }
    fn derive_epoch(
        &mut self,
        label: &[u8],
        epoch: Epoch,
    ) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        if epoch.0 < world().counter {
            return Err(ErrorKind::Refused);
        }
        let epoch = epoch.0.to_le_bytes();
        Ok(Zeroizing::new(RustCrypto::hkdf(
            b"nrd/1/epoch",
            &ROOT,
            &[label, &epoch],
        )))
    }
    fn refuses_past_epochs(&self) -> bool {
        true
    }
}

/// SplitMix64 over retained state: for this emulation only.
pub struct Random;

impl Random {
    fn word(&mut self) -> u64 {
        let draws = &mut world().draws;
        *draws = draws.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (*draws ^ (*draws >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl TryRng for Random {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.word() as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.word())
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for b in out {
            *b = self.word() as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Random {}

/// Device key and certificate.
pub struct Who {
    key: SigningKey,
    certificate: [u8; 256],
    length: usize,
}

/// The device id.
pub const DEVICE_ID: &str = "NRD-M33-1";

/// The device's key, in its (emulated) fuses.
pub fn device_key() -> SigningKey {
    SigningKey::from_bytes(&[0x21; 32])
}

impl Who {
    /// With the certificate that the factory has installed.
    pub fn new(installed: &[u8]) -> Option<Who> {
        let mut certificate = [0; 256];
        for (to, from) in certificate
            .get_mut(..installed.len())?
            .iter_mut()
            .zip(installed)
        {
            *to = *from;
        }
        Some(Who {
            key: device_key(),
            certificate,
            length: installed.len(),
        })
    }
}

impl ErrorType for Who {
    type Error = ErrorKind;
}

impl DeviceIdentity for Who {
    fn device_id(&self) -> &str {
        DEVICE_ID
    }
    fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }
    fn certificate(&self) -> &[u8] {
        self.certificate.get(..self.length).unwrap_or_default()
    }
    fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], ErrorKind> {
        Ok(self.key.sign(message).to_bytes())
    }
}

/// Uptime that the story moves.
#[derive(Default)]
pub struct Time(pub u64);

impl Clock for Time {
    fn uptime_ms(&mut self) -> u64 {
        self.0
    }
}

/// The port.
pub struct Board {
    journal: Flash,
    vault: Flash,
    slots: NorSlots<Flash>,
    counter: Counter,
    root: Fuses,
    random: Random,
    who: Who,
    /// The clock, to move it.
    pub time: Time,
    /// Where things lie.
    pub layout: Layout,
}

impl Board {
    pub fn new(certificate: &[u8]) -> Option<Board> {
        let layout = Layout::plan(&GEOMETRY).ok()?;
        let part = |start, size| Flash { start, size };
        Some(Board {
            journal: part(layout.journal_start, layout.journal_size),
            vault: part(layout.vault_start, layout.vault_size),
            slots: NorSlots::new(
                part(layout.slot_start, layout.slot_size),
                part(layout.slot_start + layout.slot_size, layout.slot_size),
            ),
            counter: Counter,
            root: Fuses,
            random: Random,
            who: Who::new(certificate)?,
            time: Time::default(),
            layout,
        })
    }
}

impl Platform for Board {
    type Crypto = RustCrypto;
    type Journal = Flash;
    type Vault = Flash;
    type Slot = NorSlots<Flash>;
    type Counter = Counter;
    type RootKey = Fuses;
    type Rng = Random;
    type Identity = Who;
    type Clock = Time;

    fn parts(&mut self) -> Parts<'_, Self> {
        Parts {
            journal: &mut self.journal,
            vault: &mut self.vault,
            slot: &mut self.slots,
            counter: &mut self.counter,
            root_key: &mut self.root,
            rng: &mut self.random,
            identity: &mut self.who,
            clock: &mut self.time,
        }
    }
}
