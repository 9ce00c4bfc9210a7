//! A device on the bench: builds the real agent over a virtual board at each
//! boot, drives it to rest, and lets it talk to a [`StubService`].

use crate::buffers::AgentBuffers;
use crate::run::settle;
use nrd_agent::wire::DeviceKind;
use nrd_agent::{Agent, Class, Config, Error, State};
use nrd_agent_testkit::StubService;
use nrd_hal::Platform;
use nrd_sim_base::sample::Sample;
use nrd_sim_hw::{Board, Hardware, Identity, MODEL, VirtualRng};

/// What stays the same over all boots of a device.
pub struct TestBench {
    /// The chip and its counter.
    pub hw: Hardware,
    /// The root secret.
    pub root: [u8; 32],
    /// The service, in process.
    pub service: StubService,
    /// Its id, key and certificate.
    identity: Identity,
    /// Set for a generator that gives the same at each boot: its seed.
    pub same_draws: Option<u64>,
    draws: u64,
}

const KIND: DeviceKind = DeviceKind::SetTopBox;

impl TestBench {
    /// A set-top box on `hw`; everything random is a function of `seed`.
    pub fn new(hw: Hardware, seed: u64) -> Self {
        let root = [0x5A; 32];
        let service = StubService::new(seed);
        TestBench {
            hw,
            root,
            identity: Identity::certified(&root, "NRD-SIM-0001", &service.maker, MODEL, KIND),
            service,
            same_draws: None,
            draws: seed,
        }
    }

    /// Gives the device another id, as if it had been made with it.
    pub fn call_it(&mut self, device_id: &str) {
        let maker = &self.service.maker;
        self.identity = Identity::certified(&self.root, device_id, maker, MODEL, KIND);
    }

    /// A copy of chip, service and draws that goes on independently.
    pub fn fork(&self) -> TestBench {
        let chip = self.hw.chip().clone();
        TestBench {
            hw: Hardware::new(chip),
            service: self.service.clone(),
            identity: self.identity.clone(),
            ..*self
        }
    }

    /// Everything that the next boot may depend on, for telling states apart.
    pub fn hash_into(&self, h: &mut impl std::hash::Hasher) {
        self.hw.chip().hash_into(h);
        self.service.hash_into(h);
        h.write_u64(self.draws);
        h.write_u64(self.same_draws.unwrap_or_default());
    }

    /// Switches on after a cut: unstable bits are drawn anew.
    pub fn power_on(&mut self, salt: u64) {
        let seed = self.draws ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut chip = self.hw.chip();
        chip.plan(None);
        chip.power_on(seed);
    }

    /// The board of the next boot, with a random generator of its own.
    ///
    /// # Panics
    /// When the chip's geometry is one that the agent refuses.
    pub fn board(&mut self) -> Board {
        self.draws = self
            .draws
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let rng = VirtualRng::new(self.same_draws.unwrap_or(self.draws));
        Board::assemble(&self.hw, self.root, rng, self.identity.clone())
            .expect("the geometry was checked")
    }

    /// The agent's configuration.
    pub fn config(&self) -> Config {
        Config {
            service_root: self.service.root_key(),
            root_version: 0,
            factory_epoch: 0,
            wait_s: 0,
        }
    }

    /// One boot: builds the agent, brings it to rest, runs `then`, and drops
    /// every object of it.
    ///
    /// # Panics
    /// When the agent cannot be built or does not come to rest.
    pub fn boot<T>(
        &mut self,
        then: impl FnOnce(&mut StubService, &mut Agent<'_, Board>) -> T,
    ) -> T {
        let board = self.board();
        let mut ram = AgentBuffers::default();
        let mut agent =
            Agent::new(board, self.config(), ram.lend()).expect("the geometry was checked");
        settle(&mut agent).expect("the boot comes to rest");
        then(&mut self.service, &mut agent)
    }
}

/// What was put into a cache.
pub struct Filled {
    /// Records that it took.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Why it took no more.
    pub refused: Option<Error>,
}

/// What the product's own software does: once an account holder is there,
/// caches the account's data. `None` when there is nothing to do.
pub fn cache_samples<P: Platform>(agent: &mut Agent<'_, P>, samples: &[Sample]) -> Option<Filled> {
    let mut probe = [0; 4096];
    let missing = agent.state() == State::Active
        && agent.get(Class::Email, 1, &mut probe) == Err(Error::NotFound);
    if !missing {
        return None;
    }
    let mut name = [0; 32];
    let n = agent.display_name(&mut name).ok()?;
    let sample = samples.iter().find(|s| s.name.as_bytes() == &name[..n])?;
    let mut filled = Filled {
        records: 0,
        bytes: 0,
        refused: None,
    };
    for (class, id, value) in sample.cached() {
        match agent.put(class, id, &value) {
            Ok(()) => {
                filled.records += 1;
                filled.bytes += value.len();
            }
            Err(e) => filled.refused = Some(e),
        }
    }
    Some(filled)
}
