//! A device: one chip laid out by the agent's own rules, and its parts.

use super::chip::{Chip, Hardware};
use super::nonce_audit::AuditedCrypto;
use super::power_fault::OpKind;
use super::rng::VirtualRng;
use crate::PowerCut;
use nrd_agent::wire::{DeviceId, DeviceKind, MakerCertificate};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::{Layout, LayoutError};
use nrd_hal::slot::NorSlots;
use nrd_hal::{
    Clock, Crypto, DeviceIdentity, Epoch, ErrorKind, ErrorType, Geometry, MonotonicCounter, Parts,
    Platform, Region,
};
use nrd_sim_base::sign;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// Part of the chip, as a region.
#[derive(Debug, Clone)]
pub struct FlashRegion {
    hw: Hardware,
    start: u32,
    size: u32,
}

impl FlashRegion {
    fn at(&self, offset: u32, len: usize) -> Result<u32, ErrorKind> {
        let end = u64::from(offset) + len as u64;
        if end <= u64::from(self.size) {
            Ok(self.start + offset)
        } else {
            Err(ErrorKind::OutOfBounds)
        }
    }
}

impl ErrorType for FlashRegion {
    type Error = ErrorKind;
}

impl Region for FlashRegion {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            ..self.hw.chip().spec().geometry
        }
    }
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        let at = self.at(offset, bytes.len())?;
        self.hw.chip().read(at, bytes)
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        let at = self.at(offset, bytes.len())?;
        self.hw.before(OpKind::Program, at, bytes.len());
        self.hw.chip().program(at, bytes)
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let len = to.checked_sub(from).ok_or(ErrorKind::OutOfBounds)?;
        let at = self.at(from, len as usize)?;
        self.hw.before(OpKind::Erase, at, len as usize);
        self.hw.chip().erase(at, at + len)
    }
    fn can_overwrite(&self) -> bool {
        self.hw.chip().spec().can_overwrite
    }
}

/// The epoch counter beside the chip.
#[derive(Debug, Clone)]
pub struct Counter(Hardware);

impl ErrorType for Counter {
    type Error = ErrorKind;
}

impl MonotonicCounter for Counter {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        self.0.chip().read_counter().map(Epoch)
    }
    fn increment(&mut self) -> Result<(), ErrorKind> {
        self.0.before(OpKind::Count, 0, 0);
        self.0.chip().count()
    }
    fn endurance(&self) -> u64 {
        100_000
    }
}

/// A root key in (simulated) fuses.
#[derive(Clone)]
pub struct RootKey {
    root: [u8; 32],
    refuses: bool,
    /// The counter, as the root key's hardware sees it.
    counter: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl RootKey {
    /// A root that refuses epochs below `counter`.
    pub(super) fn guarded(
        root: [u8; 32],
        counter: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> RootKey {
        RootKey {
            root,
            refuses: true,
            counter: Arc::new(counter),
        }
    }

    /// What the part would derive for any epoch: for tools that hold the root.
    pub fn derive_any(root: &[u8; 32], label: &[u8], epoch: Option<u64>) -> [u8; 32] {
        match epoch {
            None => RingCrypto::hkdf(b"nrd/1/fixed", root, &[label]),
            Some(e) => RingCrypto::hkdf(b"nrd/1/epoch", root, &[label, &e.to_le_bytes()]),
        }
    }
}

impl ErrorType for RootKey {
    type Error = ErrorKind;
}

impl nrd_hal::RootKey for RootKey {
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        Ok(Zeroizing::new(Self::derive_any(&self.root, label, None)))
    }
    fn derive_epoch(
        &mut self,
        label: &[u8],
        epoch: Epoch,
    ) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        if self.refuses && epoch.0 < (self.counter)() {
            return Err(ErrorKind::Refused);
        }
        Ok(Zeroizing::new(Self::derive_any(
            &self.root,
            label,
            Some(epoch.0),
        )))
    }
    fn refuses_past_epochs(&self) -> bool {
        self.refuses
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Clone, Default)]
pub struct VirtualClock {
    uptime_ms: Arc<AtomicU64>,
    /// Unix seconds; 0 for no real-time clock.
    wall_s: Arc<AtomicU64>,
}

impl VirtualClock {
    /// Moves uptime, and wall time where there is one, by `ms`.
    pub fn advance_ms(&self, ms: u64) {
        self.uptime_ms.fetch_add(ms, Ordering::SeqCst);
        if self.wall_s.load(Ordering::SeqCst) > 0 {
            self.wall_s.fetch_add(ms / 1000, Ordering::SeqCst);
        }
    }

    /// Sets the real-time clock.
    pub fn set_wall_s(&self, s: u64) {
        self.wall_s.store(s, Ordering::SeqCst);
    }

    /// A new boot: uptime starts over.
    pub fn reboot(&self) {
        self.uptime_ms.store(0, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn uptime_ms(&mut self) -> u64 {
        self.uptime_ms.load(Ordering::SeqCst)
    }
    fn wall_s(&mut self) -> Option<u64> {
        Some(self.wall_s.load(Ordering::SeqCst)).filter(|&s| s > 0)
    }
}

/// What a certificate calls a device that nobody named.
pub const MODEL: &str = "Virtual box";

/// Device id, certificate and key.
#[derive(Clone)]
pub struct Identity {
    device_id: String,
    key: Arc<Ed25519KeyPair>,
    certificate: Vec<u8>,
}

impl Identity {
    /// Of a device whose certificate the factory has made.
    pub fn new(root: &[u8; 32], device_id: &str, certificate: Vec<u8>) -> Identity {
        Identity {
            device_id: device_id.to_owned(),
            key: Arc::new(device_key(root, device_id)),
            certificate,
        }
    }

    /// Of a device that `maker` certifies here.
    pub fn certified(
        root: &[u8; 32],
        device_id: &str,
        maker: &Ed25519KeyPair,
        model: &str,
        kind: DeviceKind,
    ) -> Identity {
        let mut identity = Identity::new(root, device_id, Vec::new());
        let public_key = identity.public_key();
        identity.certificate = maker_certificate(maker, device_id, public_key, model, kind);
        identity
    }
}

impl ErrorType for Identity {
    type Error = ErrorKind;
}

impl DeviceIdentity for Identity {
    fn device_id(&self) -> &str {
        &self.device_id
    }
    fn public_key(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.key.public_key().as_ref());
        out
    }
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }
    fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], ErrorKind> {
        let mut out = [0; 64];
        out.copy_from_slice(self.key.sign(message).as_ref());
        Ok(out)
    }
}

/// The device's signing key, in the same (simulated) fuses as its root.
pub fn device_key(root: &[u8; 32], device_id: &str) -> Ed25519KeyPair {
    let seed = RingCrypto::hkdf(b"nrd/sim/identity", root, &[device_id.as_bytes()]);
    sign::keypair(&seed)
}

/// Signs a maker certificate.
///
/// # Panics
/// On a device id or model that the wire format cannot hold.
pub fn maker_certificate(
    maker: &Ed25519KeyPair,
    device_id: &str,
    public_key: [u8; 32],
    model: &str,
    kind: DeviceKind,
) -> Vec<u8> {
    let body = MakerCertificate {
        device_id: DeviceId::new(device_id).expect("device id: 1 to 32 printable ASCII characters"),
        public_key,
        model: model.try_into().expect("model: at most 32 bytes"),
        kind,
    };
    sign::signed(maker, &body)
}

/// A device: implements [`Platform`] over a shared chip.
#[derive(Clone)]
pub struct Board {
    journal: FlashRegion,
    vault: FlashRegion,
    slots: NorSlots<FlashRegion>,
    counter: Counter,
    root_key: RootKey,
    rng: VirtualRng,
    identity: Identity,
    clock: VirtualClock,
    layout: Layout,
}

impl Board {
    /// Lays the chip out and equips it. `root` is the device's root secret,
    /// `seed` feeds its random generator and `maker` signs its certificate.
    pub fn new(
        hw: &Hardware,
        root: [u8; 32],
        seed: u64,
        maker: &Ed25519KeyPair,
        device_id: &str,
        kind: DeviceKind,
    ) -> Result<Board, LayoutError> {
        let identity = Identity::certified(&root, device_id, maker, MODEL, kind);
        Board::assemble(hw, root, VirtualRng::new(seed), identity)
    }

    /// The board of a device that has its identity.
    pub fn assemble(
        hw: &Hardware,
        root: [u8; 32],
        rng: VirtualRng,
        identity: Identity,
    ) -> Result<Board, LayoutError> {
        let layout = Layout::plan(&hw.chip().spec().geometry)?;
        let region = |start, size| FlashRegion {
            hw: hw.clone(),
            start,
            size,
        };
        Ok(Board {
            journal: region(layout.journal_start, layout.journal_size),
            vault: region(layout.vault_start, layout.vault_size),
            slots: NorSlots::new(
                region(layout.slot_start, layout.slot_size),
                region(layout.slot_start + layout.slot_size, layout.slot_size),
            ),
            counter: Counter(hw.clone()),
            root_key: {
                let hw = hw.clone();
                RootKey::guarded(root, move || hw.chip().counter())
            },
            rng,
            identity,
            clock: VirtualClock::default(),
            layout,
        })
    }

    /// Where things lie on the chip.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The clock, to move it.
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// Replaces the random generator.
    pub fn set_rng(&mut self, rng: VirtualRng) {
        self.rng = rng;
    }

    /// The chip.
    pub fn hardware(&self) -> Hardware {
        self.counter.0.clone()
    }

    /// Runs `look` on the chip.
    pub fn with_chip<T>(&self, look: impl FnOnce(&mut Chip) -> T) -> T {
        look(&mut self.counter.0.chip())
    }
}

impl PowerCut for Board {
    fn is_off(&self) -> bool {
        self.counter.0.chip().is_off()
    }
}

impl Platform for Board {
    type Crypto = AuditedCrypto;
    type Journal = FlashRegion;
    type Vault = FlashRegion;
    type Slot = NorSlots<FlashRegion>;
    type Counter = Counter;
    type RootKey = RootKey;
    type Rng = VirtualRng;
    type Identity = Identity;
    type Clock = VirtualClock;

    fn parts(&mut self) -> Parts<'_, Self> {
        Parts {
            journal: &mut self.journal,
            vault: &mut self.vault,
            slot: &mut self.slots,
            counter: &mut self.counter,
            root_key: &mut self.root_key,
            rng: &mut self.rng,
            identity: &mut self.identity,
            clock: &mut self.clock,
        }
    }
}
