//! A whole device in RAM.

use crate::ambient::{SeededRng, TestClock};
use crate::flash::RamFlash;
use crate::power::Power;
use crate::secure::{RamCounter, RamSlots, SoftIdentity, SoftRootKey};
use crate::service::StubService;
use nrd_agent::wire::DeviceKind;
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::{self, MIN_SECTORS};
use nrd_hal::{Crypto, Geometry, Guarantee, Parts, Platform};

/// A device in RAM. Clones are handles to the same device: give one to the
/// agent and keep one to move the clock, cut the power and look at the flash.
///
/// To reboot it, drop the agent, call [`TestPlatform::reboot`] and build
/// another agent on a clone.
///
/// ```
/// use nrd_agent::{Agent, State};
/// use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
///
/// let mut service = StubService::new(1);
/// let device = TestPlatform::builder().build(&service);
///
/// // The power goes while the grant is being stored …
/// let mut memory = TestMemory::default();
/// let mut agent = Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// service.serve(&mut agent).unwrap();
/// agent.start_activation().unwrap();
/// device.power.cut_after(3);
/// let _cut = service.serve(&mut agent);
/// assert!(device.power.is_off());
///
/// // … and at the next boot the device goes on where it was.
/// device.reboot();
/// let mut memory = TestMemory::default();
/// let mut agent = Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
/// service.serve(&mut agent).unwrap();
/// assert_eq!(agent.state(), State::Active);
/// ```
#[derive(Clone)]
pub struct TestPlatform {
    /// The journal's flash.
    pub journal: RamFlash,
    /// The vault's flash.
    pub vault: RamFlash,
    /// The key slots.
    pub slots: RamSlots,
    /// The epoch counter.
    pub counter: RamCounter,
    /// The root key.
    pub root_key: SoftRootKey,
    /// The random generator.
    pub rng: SeededRng,
    /// Device id, certificate and signing key.
    pub identity: SoftIdentity,
    /// Uptime and wall time.
    pub clock: TestClock,
    /// The power supply of flash, slots and counter.
    pub power: Power,
}

impl TestPlatform {
    /// A set-top box with a 16 KiB journal and a 64 KiB vault, until the
    /// builder is told otherwise.
    pub fn builder() -> TestPlatformBuilder {
        let geometry = |blocks: u32| Geometry {
            size: 4096 * blocks,
            write_size: 1,
            erase_size: 4096,
            best_erase: 4096,
        };
        TestPlatformBuilder {
            journal: geometry(4),
            vault: geometry(16),
            device_id: "NRD-TEST-0001".into(),
            kind: DeviceKind::SetTopBox,
            seed: 0,
            counter_steps: 10_000,
            guarantee: Guarantee::Physical,
            wall_s: None,
            write_once: false,
        }
    }

    /// Switches the device off and on: the power is back, uptime starts over,
    /// and flash, slots and counter are as they were. Drop the agent first; its
    /// RAM would be gone.
    pub fn reboot(&self) {
        self.power.restore();
        self.clock.restart();
    }
}

impl Platform for TestPlatform {
    type Crypto = RingCrypto;
    type Journal = RamFlash;
    type Vault = RamFlash;
    type Slot = RamSlots;
    type Counter = RamCounter;
    type RootKey = SoftRootKey;
    type Rng = SeededRng;
    type Identity = SoftIdentity;
    type Clock = TestClock;

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

/// Builds a [`TestPlatform`].
///
/// ```
/// use nrd_agent::wire::DeviceKind;
/// use nrd_agent_testkit::{StubService, TestPlatform};
/// use nrd_hal::{Geometry, Guarantee, conformance};
///
/// let service = StubService::new(1);
/// let mut device = TestPlatform::builder()
///     .device_id("NRD-TEST-0042")
///     .kind(DeviceKind::Console)
///     .vault(Geometry { size: 32 * 1024, write_size: 8, erase_size: 2048, best_erase: 2048 })
///     .slot_guarantee(Guarantee::Logical)
///     .seed(42)
///     .build(&service);
/// assert_eq!(conformance::platform(&mut device), Ok(()));
/// ```
#[derive(Debug, Clone)]
pub struct TestPlatformBuilder {
    journal: Geometry,
    vault: Geometry,
    device_id: String,
    kind: DeviceKind,
    seed: u64,
    counter_steps: u64,
    guarantee: Guarantee,
    wall_s: Option<u64>,
    write_once: bool,
}

impl TestPlatformBuilder {
    /// Sizes of the journal's flash.
    pub fn journal(mut self, geometry: Geometry) -> Self {
        self.journal = geometry;
        self
    }

    /// Sizes of the vault's flash.
    pub fn vault(mut self, geometry: Geometry) -> Self {
        self.vault = geometry;
        self
    }

    /// A unit of flash may be programmed once between two erases, see
    /// [`RamFlash::write_once`].
    pub fn write_once(mut self) -> Self {
        self.write_once = true;
        self
    }

    /// The device id, 1 to 32 printable ASCII characters.
    pub fn device_id(mut self, id: &str) -> Self {
        self.device_id = id.into();
        self
    }

    /// What the maker's certificate calls the device.
    pub fn kind(mut self, kind: DeviceKind) -> Self {
        self.kind = kind;
        self
    }

    /// Root secret, signing key and random numbers are functions of `seed`.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many times the epoch counter can be raised.
    pub fn counter_steps(mut self, steps: u64) -> Self {
        self.counter_steps = steps;
        self
    }

    /// What an erase of a key slot guarantees.
    pub fn slot_guarantee(mut self, guarantee: Guarantee) -> Self {
        self.guarantee = guarantee;
        self
    }

    /// Gives the device a real-time clock that stands at `s` Unix seconds.
    pub fn wall_s(mut self, s: u64) -> Self {
        self.wall_s = Some(s);
        self
    }

    /// Makes the device; the maker of `service` certifies it.
    ///
    /// # Panics
    /// When a geometry is one that the agent refuses, or the device id is not
    /// 1 to 32 printable ASCII characters.
    pub fn build(self, service: &StubService) -> TestPlatform {
        let power = Power::default();
        let flash = |name: &str, geometry: Geometry| {
            if let Err(e) = layout::check(&geometry) {
                panic!("the {name}'s geometry is refused: {e:?}");
            }
            let sectors = geometry.size / layout::logical_sector(&geometry);
            assert!(
                sectors >= MIN_SECTORS,
                "the {name} has {sectors} logical sectors and needs {MIN_SECTORS}"
            );
            let flash = RamFlash::new(geometry).with_power(&power);
            match self.write_once {
                true => flash.write_once(),
                false => flash,
            }
        };
        let seed = self.seed.to_le_bytes();
        let derived = |label: &[u8]| {
            RingCrypto::hkdf(
                b"nrd/testkit/device",
                &seed,
                &[label, self.device_id.as_bytes()],
            )
        };
        let counter = RamCounter::new(self.counter_steps).with_power(&power);
        let clock = TestClock::default();
        clock.set_wall_s(self.wall_s);
        TestPlatform {
            journal: flash("journal", self.journal),
            vault: flash("vault", self.vault),
            slots: RamSlots::new(self.guarantee).with_power(&power),
            root_key: SoftRootKey::new(derived(b"root"), &counter),
            counter,
            rng: SeededRng::new(self.seed),
            identity: SoftIdentity::certified(
                &self.device_id,
                &derived(b"identity"),
                &service.maker,
                self.kind,
            ),
            clock,
            power,
        }
    }
}
