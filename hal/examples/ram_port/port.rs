// A whole port over RAM, in the order of docs/PORTING.md. On real hardware
// each body below is a driver call; the shape stays. The documentation of
// nrd-hal includes this file in its examples.

use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::Layout;
use nrd_hal::rand_core::{TryCryptoRng, TryRng, utils};
use nrd_hal::slot::NorSlots;
use nrd_hal::{
    Clock, Crypto, DeviceIdentity, Epoch, ErrorKind, ErrorType, Geometry, MonotonicCounter,
    Partition, Parts, Platform, Region, RootKey,
};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::cell::{Cell, RefCell};
use std::time::Instant;
use zeroize::Zeroizing;

/// What outlives the power: the soldered parts.
pub(crate) struct Board {
    /// One flash chip for key slots, journal and vault.
    pub(crate) chip: RefCell<RamFlash>,
    /// The epoch counter's fuses.
    pub(crate) fuses: Cell<u64>,
    /// The device-unique secret. On real hardware nothing can read it.
    root: [u8; 32],
    /// Made in the factory; see `SoftIdentity`.
    certificate: Vec<u8>,
}

impl Board {
    /// A board as the factory delivers it.
    pub(crate) fn new() -> Board {
        let root = [0x5A; 32];
        // The real one is a frame that the maker signs (SPEC, "certificate").
        // The suite asks only that it names the device's public key.
        let public_key = signing_key(&root).public_key().as_ref().to_vec();
        Board {
            chip: RefCell::new(RamFlash::new(4096, 32)),
            fuses: Cell::new(0),
            root,
            certificate: [b"stand-in certificate of ".to_vec(), public_key].concat(),
        }
    }
}

// 1. Flash. Implement `Region`, or adapt an `embedded-storage` driver by `Nor`.

/// NOR flash: programming clears bits, erasing a block sets them.
pub(crate) struct RamFlash {
    cells: Vec<u8>,
    erase_size: u32,
}

impl RamFlash {
    /// Erased flash; `erase_size` in bytes.
    pub(crate) fn new(erase_size: u32, blocks: u32) -> RamFlash {
        RamFlash {
            cells: vec![0xFF; (erase_size * blocks) as usize],
            erase_size,
        }
    }

    /// The cells of a range. What lies outside or is not aligned must be
    /// refused, not rounded: the agent relies on it, the suite checks it.
    fn cells(&mut self, from: u32, to: u32, unit: u32) -> Result<&mut [u8], ErrorKind> {
        if !from.is_multiple_of(unit) || !to.is_multiple_of(unit) {
            return Err(ErrorKind::NotAligned);
        }
        let range = from as usize..to as usize;
        self.cells.get_mut(range).ok_or(ErrorKind::OutOfBounds)
    }
}

impl ErrorType for RamFlash {
    type Error = ErrorKind;
}

impl Region for RamFlash {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.cells.len() as u32,
            write_size: 1,
            erase_size: self.erase_size,
            best_erase: self.erase_size,
        }
    }
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        let end = offset.saturating_add(bytes.len() as u32);
        bytes.copy_from_slice(self.cells(offset, end, 1)?);
        Ok(())
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        let end = offset.saturating_add(bytes.len() as u32);
        for (cell, byte) in self.cells(offset, end, 1)?.iter_mut().zip(bytes) {
            *cell &= byte;
        }
        Ok(())
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let unit = self.erase_size;
        self.cells(from, to, unit)?.fill(0xFF);
        Ok(())
    }
    fn can_overwrite(&self) -> bool {
        true
    }
}

// 2. Key slots: two erase blocks of the same chip, through `NorSlots` below.

// 3. The epoch counter.

/// Fuses that a program can blow and nothing can mend.
pub(crate) struct Counter<'b>(&'b Cell<u64>);

impl ErrorType for Counter<'_> {
    type Error = ErrorKind;
}

impl MonotonicCounter for Counter<'_> {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        Ok(Epoch(self.0.get()))
    }
    fn increment(&mut self) -> Result<(), ErrorKind> {
        if self.0.get() >= self.endurance() {
            return Err(ErrorKind::WornOut);
        }
        self.0.set(self.0.get() + 1);
        Ok(())
    }
    fn endurance(&self) -> u64 {
        128
    }
}

// 4. The root key.

/// A crypto engine that derives from the fused secret and sees the counter.
pub(crate) struct Root<'b> {
    secret: [u8; 32],
    fuses: &'b Cell<u64>,
}

impl ErrorType for Root<'_> {
    type Error = ErrorKind;
}

impl RootKey for Root<'_> {
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        let key = RingCrypto::hkdf(b"fixed", &self.secret, &[label]);
        Ok(Zeroizing::new(key))
    }
    fn derive_epoch(&mut self, label: &[u8], e: Epoch) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        if e.0 < self.fuses.get() {
            return Err(ErrorKind::Refused);
        }
        let key = RingCrypto::hkdf(b"epoch", &self.secret, &[&e.0.to_le_bytes(), label]);
        Ok(Zeroizing::new(key))
    }
    fn refuses_past_epochs(&self) -> bool {
        true
    }
}

// 5. Identity.

/// A signing key beside the root secret.
pub(crate) struct SoftIdentity<'b> {
    key: Ed25519KeyPair,
    certificate: &'b [u8],
}

fn signing_key(root: &[u8; 32]) -> Ed25519KeyPair {
    let seed = RingCrypto::hkdf(b"identity", root, &[]);
    Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed")
}

impl ErrorType for SoftIdentity<'_> {
    type Error = ErrorKind;
}

impl DeviceIdentity for SoftIdentity<'_> {
    fn device_id(&self) -> &str {
        "NRD-RAM-0001"
    }
    fn public_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.key.public_key().as_ref());
        key
    }
    fn certificate(&self) -> &[u8] {
        self.certificate
    }
    fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], ErrorKind> {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.key.sign(message).as_ref());
        Ok(signature)
    }
}

// 6. Randomness.

/// The operating system's generator.
pub(crate) struct Rng(SystemRandom);

/// The system gave no random numbers.
#[derive(Debug)]
pub(crate) struct NoEntropy;

impl std::fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the system gave no random numbers")
    }
}

impl std::error::Error for NoEntropy {}

impl TryRng for Rng {
    type Error = NoEntropy;
    fn try_next_u32(&mut self) -> Result<u32, NoEntropy> {
        utils::next_word_via_fill(self)
    }
    fn try_next_u64(&mut self) -> Result<u64, NoEntropy> {
        utils::next_word_via_fill(self)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), NoEntropy> {
        self.0.fill(out).map_err(|_| NoEntropy)
    }
}

impl TryCryptoRng for Rng {}

// 7. Time.

/// Uptime; this board has no battery-backed clock, so wall time stays `None`.
pub(crate) struct Uptime(Instant);

impl Clock for Uptime {
    fn uptime_ms(&mut self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}

// 8. One type that names them all.

/// The port: everything that a boot makes and a power cut takes away.
pub(crate) struct RamPort<'b> {
    journal: Partition<'b, RamFlash>,
    vault: Partition<'b, RamFlash>,
    slots: NorSlots<Partition<'b, RamFlash>>,
    counter: Counter<'b>,
    root: Root<'b>,
    rng: Rng,
    identity: SoftIdentity<'b>,
    clock: Uptime,
}

impl<'b> RamPort<'b> {
    /// Power-on. `None` when the chip is too small for the layout.
    pub(crate) fn power_on(board: &'b Board) -> Option<RamPort<'b>> {
        let layout = Layout::plan(&board.chip.borrow().geometry()).ok()?;
        let part = |range: std::ops::Range<u32>| {
            Partition::new(&board.chip, range.start, range.end - range.start)
        };
        Some(RamPort {
            journal: part(layout.journal())?,
            vault: part(layout.vault())?,
            slots: NorSlots::new(part(layout.slot(0))?, part(layout.slot(1))?),
            counter: Counter(&board.fuses),
            root: Root {
                secret: board.root,
                fuses: &board.fuses,
            },
            rng: Rng(SystemRandom::new()),
            identity: SoftIdentity {
                key: signing_key(&board.root),
                certificate: &board.certificate,
            },
            clock: Uptime(Instant::now()),
        })
    }
}

impl<'b> Platform for RamPort<'b> {
    type Crypto = RingCrypto;
    type Journal = Partition<'b, RamFlash>;
    type Vault = Partition<'b, RamFlash>;
    type Slot = NorSlots<Partition<'b, RamFlash>>;
    type Counter = Counter<'b>;
    type RootKey = Root<'b>;
    type Rng = Rng;
    type Identity = SoftIdentity<'b>;
    type Clock = Uptime;

    fn parts(&mut self) -> Parts<'_, Self> {
        Parts {
            journal: &mut self.journal,
            vault: &mut self.vault,
            slot: &mut self.slots,
            counter: &mut self.counter,
            root_key: &mut self.root,
            rng: &mut self.rng,
            identity: &mut self.identity,
            clock: &mut self.clock,
        }
    }
}
