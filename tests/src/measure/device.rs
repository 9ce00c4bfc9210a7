//! The whole agent on the counting flash: boot, orders, key death, wipe.

use super::flash::{Counts, Nor, PAGE_NS, Tally};
use nrd_agent::wire::{ActivationId, DeviceId, DeviceKind, OrderKind, OrderResult};
use nrd_agent::{Agent, Class, Config, State};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::Layout;
use nrd_hal::slot::NorSlots;
use nrd_hal::{
    Clock, Crypto, DeviceIdentity, Epoch, ErrorKind, ErrorType, Geometry, MonotonicCounter,
    Partition, Parts, Platform,
};
use nrd_sim::device::StubService;
use nrd_sim::device::{AgentBuffers, settle, talk};
use nrd_sim::forensics::inspect::{Image, Search, inspect};
use nrd_sim::hw::PowerCut;
use nrd_sim::hw::{VirtualRng, device_key, maker_certificate};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use zeroize::Zeroizing;

/// The device's id.
const ID: &str = "NRD-BENCH-1";
/// The device's root secret.
const ROOT: [u8; 32] = [0x5A; 32];

/// A device that outlives its boots.
pub struct Device {
    nor: RefCell<Nor>,
    counter: Rc<Cell<u64>>,
    uptime_ms: Rc<Cell<u64>>,
    /// The service, in process.
    pub service: StubService,
    draws: u64,
}

/// What was counted, the counter's steps included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// On the flash.
    pub flash: Counts,
    /// Steps of the counter.
    pub steps: u64,
}

impl Spent {
    /// Programs, erases and counter steps together.
    pub fn operations(&self) -> u64 {
        self.flash.programs + self.flash.erases + self.steps
    }

    /// Modelled time in nanoseconds; a counter step is taken for a page program,
    /// since parts keep such counters in flash of their own.
    pub fn ns(&self) -> u64 {
        self.flash.ns + self.steps * PAGE_NS
    }
}

impl std::ops::Sub for Spent {
    type Output = Spent;
    fn sub(self, o: Spent) -> Spent {
        Spent {
            flash: self.flash - o.flash,
            steps: self.steps - o.steps,
        }
    }
}

impl Device {
    /// A blank device of this geometry, its units programmable more than once.
    pub fn new(g: Geometry, seed: u64) -> Device {
        Device {
            nor: RefCell::new(Nor::multiwrite(g)),
            counter: Rc::default(),
            uptime_ms: Rc::default(),
            service: StubService::new(seed),
            draws: seed,
        }
    }

    /// The tally of its flash.
    pub fn tally(&self) -> Rc<Tally> {
        self.nor.borrow().tally()
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        Spent {
            flash: self.nor.borrow().tally().now(),
            steps: self.counter.get(),
        }
    }

    /// Where things lie.
    ///
    /// # Panics
    /// On a geometry that the agent refuses.
    pub fn layout(&self) -> Layout {
        use nrd_hal::Region as _;
        Layout::plan(&self.nor.borrow().geometry()).expect("a geometry that the agent takes")
    }

    /// The cells of the vault.
    pub fn vault(&self) -> Vec<u8> {
        let l = self.layout();
        let (from, to) = (l.vault_start, l.vault_start + l.vault_size);
        self.nor.borrow().cells()[from as usize..to as usize].to_vec()
    }

    /// One boot, and what it cost until the agent came to rest; then `then`.
    ///
    /// # Panics
    /// Where the agent does not boot.
    pub fn boot<T>(
        &mut self,
        then: impl FnOnce(&mut StubService, &mut Agent<'_, Board<'_>>, &dyn Fn() -> Spent) -> T,
    ) -> (Spent, T) {
        self.boot_by(|agent| settle(agent).expect("the boot comes to rest"), then)
    }

    /// A boot into the session: what it cost until the session was open, and
    /// until the agent came to rest.
    ///
    /// # Panics
    /// Where the session is not restored.
    pub fn restore(&mut self) -> (Spent, Spent) {
        let before = self.spent();
        let (opened, ()) = self.boot_by(to_session, |_, agent, _| {
            settle(agent).expect("the boot comes to rest");
        });
        (opened, self.spent() - before)
    }

    /// The same, with `rest` bringing the agent to rest.
    ///
    /// # Panics
    /// Where the agent cannot be built.
    pub fn boot_by<T>(
        &mut self,
        rest: impl FnOnce(&mut Agent<'_, Board<'_>>),
        then: impl FnOnce(&mut StubService, &mut Agent<'_, Board<'_>>, &dyn Fn() -> Spent) -> T,
    ) -> (Spent, T) {
        self.draws = self
            .draws
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.uptime_ms.set(0);
        let before = self.spent();
        let layout = self.layout();
        let part = |start, size| {
            Partition::new(&self.nor, start, size).expect("the layout stays on the part")
        };
        let board = Board {
            journal: part(layout.journal_start, layout.journal_size),
            vault: part(layout.vault_start, layout.vault_size),
            slots: NorSlots::new(
                part(layout.slot_start, layout.slot_size),
                part(layout.slot_start + layout.slot_size, layout.slot_size),
            ),
            counter: Counter(self.counter.clone()),
            root_key: Root,
            rng: VirtualRng::new(self.draws),
            identity: Identity::new(&self.service.maker),
            clock: Uptime(self.uptime_ms.clone()),
        };
        let config = Config {
            root_version: 0,
            service_root: self.service.root_key(),
            factory_epoch: 0,
            wait_s: 0,
        };
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(board, config, ram.lend()).expect("the geometry was checked");
        rest(&mut agent);
        let (tally, counter) = (self.nor.borrow().tally(), self.counter.clone());
        let spent = || Spent {
            flash: tally.now(),
            steps: counter.get(),
        };
        let cost = spent() - before;
        let out = then(&mut self.service, &mut agent, &spent);
        (cost, out)
    }

    /// Activates, and stores `records` values of `len` bytes.
    ///
    /// # Panics
    /// Where the agent does not take them.
    pub fn activate(&mut self, records: u16, len: usize) {
        self.boot(|service, agent, _| {
            agent.start_activation().expect("a clean device activates");
            talk(service, agent).expect("the activation ends");
            assert_eq!(agent.state(), State::Active);
            let mut buf = vec![0; len];
            for id in 0..records {
                super::workload::value(id, 0, &mut buf);
                agent.put(Class::Profiles, id, &buf).expect("room");
            }
        });
    }

    /// Updates the values so many times, one after another.
    ///
    /// # Panics
    /// Where the agent does not take them.
    pub fn update(&mut self, records: u16, len: usize, updates: u32) {
        self.boot(|_, agent, _| {
            let mut buf = vec![0; len];
            for n in 0..updates {
                let id = (n % u32::from(records)) as u16;
                super::workload::value(id, u64::from(n) + 1, &mut buf);
                agent.put(Class::Profiles, id, &buf).expect("room");
            }
        });
    }

    /// Destroys the class that the values are of.
    ///
    /// # Panics
    /// Where the agent does not.
    pub fn forget(&mut self) {
        self.boot(|_, agent, _| agent.forget(Class::Profiles).expect("a class is forgotten"));
    }

    /// Records of `class` that an independent reader opens with the device's
    /// root and whatever the slots hold.
    ///
    /// # Panics
    /// On a geometry that the agent refuses.
    pub fn readable(&self, class: &str) -> usize {
        use nrd_hal::Region as _;
        let nor = self.nor.borrow();
        let image = Image {
            cells: nor.cells(),
            geometry: nor.geometry(),
        };
        let search = Search {
            root: Some(ROOT),
            epochs: vec![self.counter.get()],
            ..Search::default()
        };
        let report = inspect(&image, &search).expect("a geometry that the agent takes");
        report.opened.iter().filter(|r| r.class == class).count()
    }

    /// Bytes that the journal's snapshot takes on flash: what one charge of
    /// powered time programs when no sector is opened for it.
    ///
    /// # Panics
    /// Where the agent does not come to rest.
    pub fn snapshot_bytes(&mut self) -> u64 {
        let (_, least) = self.boot(|_, agent, spent| {
            let charges = (0..8).map(|_| {
                let before = spent();
                agent
                    .platform()
                    .advance_ms(1000 * u64::from(nrd_agent::agent::MAX_CHARGE_S + 1));
                settle(agent).expect("time is charged");
                (spent() - before).flash.programmed
            });
            charges.min().unwrap_or_default()
        });
        least
    }

    /// A signed order to deactivate, for the activation that is held.
    ///
    /// # Panics
    /// Never: the id is a valid one.
    pub fn order(&self, activation: ActivationId) -> Vec<u8> {
        let id = DeviceId::new(ID).expect("a valid id");
        let epoch = self.counter.get();
        self.service
            .order(&id, epoch, activation, 1, OrderKind::Deactivate)
    }

    /// Applies a deactivation order after a boot and `commits` further records
    /// of the journal (powered time is charged so often); what it cost until the
    /// keys were dead, and until `Clean`.
    ///
    /// # Panics
    /// Where the order is not applied or the wipe does not end.
    pub fn deactivate(&mut self, commits: u32) -> (Spent, Spent) {
        self.deactivate_from(commits, || ())
    }

    /// The same; `arrives` is called when the order does.
    ///
    /// # Panics
    /// Where the order is not applied or the wipe does not end.
    pub fn deactivate_from(&mut self, commits: u32, arrives: impl FnOnce()) -> (Spent, Spent) {
        let order = self.order(self.service.activation_id());
        let (_, out) = self.boot(|_, agent, spent| {
            for _ in 0..commits {
                agent
                    .platform()
                    .advance_ms(1000 * u64::from(nrd_agent::agent::MAX_CHARGE_S + 1));
                settle(agent).expect("time is charged");
            }
            arrives();
            let before = spent();
            let mut buf = [0u8; 192];
            let (result, _) = agent.apply_order(&order, &mut buf).expect("a good order");
            assert_eq!(result, OrderResult::Applied);
            let dead = spent() - before;
            settle(agent).expect("the wipe ends");
            assert_eq!(agent.state(), State::Clean);
            (dead, spent() - before)
        });
        out
    }
}

/// Steps until the session is open.
///
/// # Panics
/// Where it does not open.
pub fn to_session(agent: &mut Agent<'_, Board<'_>>) {
    while agent.state() != State::Active {
        let step = agent.step().expect("the boot goes on");
        assert_ne!(step, nrd_agent::Step::Idle, "the session is restored");
    }
}

/// The platform of one boot.
pub struct Board<'a> {
    journal: Partition<'a, Nor>,
    vault: Partition<'a, Nor>,
    slots: NorSlots<Partition<'a, Nor>>,
    counter: Counter,
    root_key: Root,
    rng: VirtualRng,
    identity: Identity,
    clock: Uptime,
}

impl Board<'_> {
    /// Lets time pass.
    pub fn advance_ms(&self, ms: u64) {
        self.clock.0.set(self.clock.0.get() + ms);
    }
}

impl PowerCut for Board<'_> {
    fn is_off(&self) -> bool {
        false
    }
}

/// The counter.
pub struct Counter(Rc<Cell<u64>>);

impl ErrorType for Counter {
    type Error = ErrorKind;
}

impl MonotonicCounter for Counter {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        Ok(Epoch(self.0.get()))
    }
    fn increment(&mut self) -> Result<(), ErrorKind> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
    fn endurance(&self) -> u64 {
        100_000
    }
}

/// The root key: the simulator's derivation.
pub struct Root;

impl Root {
    /// What the part derives.
    pub fn derive(label: &[u8], epoch: Option<u64>) -> [u8; 32] {
        match epoch {
            None => RingCrypto::hkdf(b"nrd/1/fixed", &ROOT, &[label]),
            Some(e) => RingCrypto::hkdf(b"nrd/1/epoch", &ROOT, &[label, &e.to_le_bytes()]),
        }
    }
}

impl ErrorType for Root {
    type Error = ErrorKind;
}

impl nrd_hal::RootKey for Root {
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        Ok(Zeroizing::new(Root::derive(label, None)))
    }
    fn derive_epoch(
        &mut self,
        label: &[u8],
        epoch: Epoch,
    ) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        Ok(Zeroizing::new(Root::derive(label, Some(epoch.0))))
    }
    fn refuses_past_epochs(&self) -> bool {
        false
    }
}

/// Id, key and certificate.
pub struct Identity {
    key: Ed25519KeyPair,
    certificate: Vec<u8>,
}

impl Identity {
    fn new(maker: &Ed25519KeyPair) -> Identity {
        let key = device_key(&ROOT, ID);
        let mut public = [0; 32];
        public.copy_from_slice(key.public_key().as_ref());
        let kind = DeviceKind::SetTopBox;
        let certificate = maker_certificate(maker, ID, public, "Bench box", kind);
        Identity { key, certificate }
    }
}

impl ErrorType for Identity {
    type Error = ErrorKind;
}

impl DeviceIdentity for Identity {
    fn device_id(&self) -> &str {
        ID
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

/// Uptime that stands still until it is moved; no wall clock.
pub struct Uptime(Rc<Cell<u64>>);

impl Clock for Uptime {
    fn uptime_ms(&mut self) -> u64 {
        self.0.get()
    }
    fn wall_s(&mut self) -> Option<u64> {
        None
    }
}

impl<'a> Platform for Board<'a> {
    type Crypto = RingCrypto;
    type Journal = Partition<'a, Nor>;
    type Vault = Partition<'a, Nor>;
    type Slot = NorSlots<Partition<'a, Nor>>;
    type Counter = Counter;
    type RootKey = Root;
    type Rng = VirtualRng;
    type Identity = Identity;
    type Clock = Uptime;

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
