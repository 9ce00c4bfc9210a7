//! The parts that hold secrets: counter, key slots, root key, identity.

use crate::keys;
use crate::lock;
use crate::outage::Outage;
use crate::power::{Extent, Power};
use nrd_agent::wire::DeviceKind;
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{
    Crypto, DeviceIdentity, Effaceable, Epoch, ErrorKind, ErrorType, Guarantee, MonotonicCounter,
    RootKey,
};
use ring::signature::Ed25519KeyPair;
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

/// A monotonic counter in RAM. Clones are handles to the same counter.
///
/// ```
/// use nrd_agent_testkit::RamCounter;
/// use nrd_hal::{Epoch, ErrorKind, MonotonicCounter};
///
/// let mut counter = RamCounter::new(2); // two steps, like two fuse bits
/// counter.increment().unwrap();
/// counter.increment().unwrap();
/// assert_eq!(counter.increment(), Err(ErrorKind::WornOut));
/// assert_eq!(counter.read(), Ok(Epoch(2)));
/// ```
#[derive(Debug, Clone)]
pub struct RamCounter {
    value: Arc<Mutex<u64>>,
    steps: u64,
    power: Power,
    /// Puts this counter out of order.
    pub outage: Outage,
}

impl RamCounter {
    /// A counter at 0 that can be raised `steps` times.
    pub fn new(steps: u64) -> Self {
        RamCounter {
            value: Arc::default(),
            steps,
            power: Power::default(),
            outage: Outage::default(),
        }
    }

    /// Puts the counter on a power supply. A step that is cut is not taken.
    pub fn with_power(mut self, power: &Power) -> Self {
        self.power = power.clone();
        self
    }

    fn value(&self) -> u64 {
        *lock(&self.value)
    }
}

impl ErrorType for RamCounter {
    type Error = ErrorKind;
}

impl MonotonicCounter for RamCounter {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        self.power.read()?;
        self.outage.read()?;
        Ok(Epoch(self.value()))
    }

    fn increment(&mut self) -> Result<(), ErrorKind> {
        if !self.outage.operation()? {
            return Ok(());
        }
        let mut value = lock(&self.value);
        if *value >= self.steps {
            return Err(ErrorKind::WornOut);
        }
        let extent = self.power.operation()?;
        if extent == Extent::Whole {
            *value += 1;
        }
        extent.answer()
    }

    fn endurance(&self) -> u64 {
        self.steps
    }
}

/// Bytes of one key slot.
const SLOT: usize = 256;

/// Two key slots in RAM, outside the flash image as in a secure element.
/// Clones are handles to the same slots.
///
/// ```
/// use nrd_agent_testkit::RamSlots;
/// use nrd_hal::{Effaceable, Guarantee, conformance};
///
/// let mut slots = RamSlots::new(Guarantee::Physical);
/// assert_eq!(conformance::slot(&mut slots), Ok(()));
/// ```
#[derive(Debug, Clone)]
pub struct RamSlots {
    slots: Arc<Mutex<[[u8; SLOT]; 2]>>,
    guarantee: Guarantee,
    power: Power,
    /// Puts both slots out of order.
    pub outage: Outage,
}

impl RamSlots {
    /// Erased slots whose erase guarantees this; the receipt says *purge* for
    /// [`Guarantee::Physical`] and *clear* for [`Guarantee::Logical`].
    pub fn new(guarantee: Guarantee) -> Self {
        RamSlots {
            slots: Arc::new(Mutex::new([[0xFF; SLOT]; 2])),
            guarantee,
            power: Power::default(),
            outage: Outage::default(),
        }
    }

    /// Puts the slots on a power supply.
    pub fn with_power(mut self, power: &Power) -> Self {
        self.power = power.clone();
        self
    }

    /// A copy of slots A and B, whether the power is on or off.
    pub fn image(&self) -> [[u8; SLOT]; 2] {
        *lock(&self.slots)
    }

    /// Sets the first bytes of a slot, as far as the power lasts.
    fn set(&self, slot: u8, len: usize, byte: impl Fn(usize, u8) -> u8) -> Result<(), ErrorKind> {
        let mut slots = lock(&self.slots);
        let cells = slots
            .get_mut(usize::from(slot))
            .and_then(|cells| cells.get_mut(..len))
            .ok_or(ErrorKind::OutOfBounds)?;
        if !self.outage.operation()? {
            return Ok(());
        }
        let extent = self.power.operation()?;
        for (i, cell) in cells.iter_mut().enumerate().take(extent.of(len)) {
            *cell = byte(i, *cell);
        }
        extent.answer()
    }
}

impl ErrorType for RamSlots {
    type Error = ErrorKind;
}

impl Effaceable for RamSlots {
    fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        self.power.read()?;
        self.outage.read()?;
        let slots = lock(&self.slots);
        let cells = slots
            .get(usize::from(slot))
            .and_then(|cells| cells.get(..bytes.len()))
            .ok_or(ErrorKind::OutOfBounds)?;
        bytes.copy_from_slice(cells);
        Ok(())
    }

    fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.set(slot, bytes.len(), |i, old| old & bytes[i])
    }

    fn zero(&mut self, slot: u8) -> Result<bool, ErrorKind> {
        self.set(slot, SLOT, |_, _| 0).map(|()| true)
    }

    fn erase(&mut self, slot: u8) -> Result<(), ErrorKind> {
        self.set(slot, SLOT, |_, _| 0xFF)
    }

    fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    fn outside_image(&self) -> bool {
        true
    }
}

/// A root key in ordinary memory that refuses epochs below its counter, as
/// good hardware does.
///
/// ```
/// use nrd_agent_testkit::{RamCounter, SoftRootKey};
/// use nrd_hal::{Epoch, ErrorKind, MonotonicCounter, RootKey};
///
/// let mut counter = RamCounter::new(100);
/// let mut root = SoftRootKey::new([7; 32], &counter);
/// assert!(root.derive_epoch(b"label", Epoch(0)).is_ok());
/// counter.increment().unwrap();
/// assert_eq!(root.derive_epoch(b"label", Epoch(0)), Err(ErrorKind::Refused));
/// ```
#[derive(Clone)]
pub struct SoftRootKey {
    root: [u8; 32],
    counter: RamCounter,
}

impl SoftRootKey {
    /// The root of a device, bound to its counter.
    pub fn new(root: [u8; 32], counter: &RamCounter) -> Self {
        SoftRootKey {
            root,
            counter: counter.clone(),
        }
    }
}

impl ErrorType for SoftRootKey {
    type Error = ErrorKind;
}

impl RootKey for SoftRootKey {
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        Ok(Zeroizing::new(RingCrypto::hkdf(
            b"nrd/testkit/fixed",
            &self.root,
            &[label],
        )))
    }

    fn derive_epoch(
        &mut self,
        label: &[u8],
        epoch: Epoch,
    ) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        if epoch.0 < self.counter.value() {
            return Err(ErrorKind::Refused);
        }
        // The epoch has a fixed length and comes first: no label and epoch
        // together read like another label and epoch.
        Ok(Zeroizing::new(RingCrypto::hkdf(
            b"nrd/testkit/epoch",
            &self.root,
            &[&epoch.0.to_le_bytes(), label],
        )))
    }

    fn refuses_past_epochs(&self) -> bool {
        true
    }
}

/// Device id, maker certificate and signing key in ordinary memory.
///
/// ```
/// use nrd_agent::wire::DeviceKind;
/// use nrd_agent_testkit::{SoftIdentity, StubService};
/// use nrd_hal::{conformance, crypto::RingCrypto};
///
/// let service = StubService::new(1);
/// let mut identity =
///     SoftIdentity::certified("NRD-TEST-1", &[3; 32], &service.maker, DeviceKind::Console);
/// assert_eq!(conformance::identity::<_, RingCrypto>(&mut identity), Ok(()));
/// ```
#[derive(Clone)]
pub struct SoftIdentity {
    device_id: String,
    key: Arc<Ed25519KeyPair>,
    certificate: Vec<u8>,
    /// Puts the signing key out of order.
    pub outage: Outage,
}

impl SoftIdentity {
    /// A device whose key has the seed `seed`, certified by `maker`.
    ///
    /// # Panics
    /// When `device_id` is not 1 to 32 printable ASCII characters.
    pub fn certified(
        device_id: &str,
        seed: &[u8; 32],
        maker: &Ed25519KeyPair,
        kind: DeviceKind,
    ) -> Self {
        let key = keys::keypair(seed);
        let certificate = keys::certificate(maker, device_id, keys::public(&key), "Test box", kind);
        SoftIdentity {
            device_id: device_id.to_owned(),
            key: Arc::new(key),
            certificate,
            outage: Outage::default(),
        }
    }
}

impl ErrorType for SoftIdentity {
    type Error = ErrorKind;
}

impl DeviceIdentity for SoftIdentity {
    fn device_id(&self) -> &str {
        &self.device_id
    }

    fn public_key(&self) -> [u8; 32] {
        keys::public(&self.key)
    }

    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], ErrorKind> {
        self.outage.read()?;
        Ok(keys::signature(&self.key, message))
    }
}
