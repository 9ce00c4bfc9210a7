//! A device on the bench: builds the real agent over a virtual board at each
//! boot, drives it to rest, and lets it talk to an [`Authority`].

use crate::authority::Authority;
use nrd_agent::log::Entry;
use nrd_agent::wire::{DeviceKind, MAX_FRAME};
use nrd_agent::{Agent, Class, Config, Error, Memory, State, Step};
use nrd_hal::Platform;
use nrd_sim_base::sample::Sample;
use nrd_sim_hw::{Board, Hardware, Identity, MODEL, Powered, VirtualRng};

/// Buffers that the agent borrows. A reboot drops them with every object.
pub struct Ram {
    journal_table: Vec<u32>,
    journal_index: Vec<Entry>,
    vault_table: Vec<u32>,
    vault_index: Vec<Entry>,
    scratch: Vec<u8>,
}

impl Default for Ram {
    fn default() -> Self {
        Ram {
            journal_table: vec![0; 8],
            journal_index: vec![Entry::default(); nrd_agent::agent::JOURNAL_RECORDS],
            vault_table: vec![0; 4096],
            vault_index: vec![Entry::default(); 512],
            scratch: vec![0; 2048],
        }
    }
}

impl Ram {
    /// For a device with at most so many sectors, cached records, and bytes in a
    /// value: no more than it needs.
    pub fn sized(sectors: u32, records: usize, longest: usize) -> Ram {
        Ram {
            journal_table: vec![0; 8],
            journal_index: vec![Entry::default(); nrd_agent::agent::JOURNAL_RECORDS],
            vault_table: vec![0; sectors as usize],
            vault_index: vec![Entry::default(); records + 2],
            scratch: vec![0; (longest + 512).max(1024)],
        }
    }

    /// Lends it all.
    pub fn memory(&mut self) -> Memory<'_> {
        Memory {
            journal_table: &mut self.journal_table,
            journal_index: &mut self.journal_index,
            vault_table: &mut self.vault_table,
            vault_index: &mut self.vault_index,
            scratch: &mut self.scratch,
        }
    }
}

/// Why a device did not come to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The power was cut.
    Off,
    /// Something that must not be.
    Wrong(String),
}

/// What stays the same over all boots of a device.
pub struct Rig {
    /// The chip and its counter.
    pub hw: Hardware,
    /// The root secret.
    pub root: [u8; 32],
    /// The service, in process.
    pub authority: Authority,
    /// Its id, key and certificate.
    identity: Identity,
    /// Set for a generator that gives the same at each boot: its seed.
    pub same_draws: Option<u64>,
    draws: u64,
}

const KIND: DeviceKind = DeviceKind::SetTopBox;

impl Rig {
    /// A set-top box on `hw`; everything random is a function of `seed`.
    pub fn new(hw: Hardware, seed: u64) -> Self {
        let root = [0x5A; 32];
        let authority = Authority::new(seed);
        Rig {
            hw,
            root,
            identity: Identity::certified(&root, "NRD-SIM-0001", &authority.maker, MODEL, KIND),
            authority,
            same_draws: None,
            draws: seed,
        }
    }

    /// Gives the device another id, as if it had been made with it.
    pub fn call_it(&mut self, device_id: &str) {
        let maker = &self.authority.maker;
        self.identity = Identity::certified(&self.root, device_id, maker, MODEL, KIND);
    }

    /// A copy of chip, service and draws that goes on independently.
    pub fn fork(&self) -> Rig {
        let chip = self.hw.chip().clone();
        Rig {
            hw: Hardware::new(chip),
            authority: self.authority.clone(),
            identity: self.identity.clone(),
            ..*self
        }
    }

    /// Everything that the next boot may depend on, for telling states apart.
    pub fn hash_into(&self, h: &mut impl std::hash::Hasher) {
        self.hw.chip().hash_into(h);
        self.authority.hash_into(h);
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
            service_root: self.authority.root_key(),
            factory_epoch: 0,
            wait_s: 0,
        }
    }

    /// One boot: builds the agent, brings it to rest, runs `then`, and drops
    /// every object of it.
    ///
    /// # Panics
    /// When the agent cannot be built or does not come to rest.
    pub fn boot<T>(&mut self, then: impl FnOnce(&mut Authority, &mut Agent<'_, Board>) -> T) -> T {
        let board = self.board();
        let mut ram = Ram::default();
        let mut agent =
            Agent::new(board, self.config(), ram.memory()).expect("the geometry was checked");
        settle(&mut agent).expect("the boot comes to rest");
        then(&mut self.authority, &mut agent)
    }
}

fn off<P: Powered>(agent: &mut Agent<'_, P>) -> bool {
    agent.platform().is_off()
}

/// Most steps a boot or a wipe may take.
const MAX_STEPS: usize = 20_000;

/// Steps until idle.
pub fn settle<P: Powered>(agent: &mut Agent<'_, P>) -> Result<(), Stop> {
    let mut errors = 0;
    for _ in 0..MAX_STEPS {
        let stepped = agent.step();
        if off(agent) {
            return Err(Stop::Off);
        }
        match stepped {
            Ok(Step::Idle) => return Ok(()),
            Ok(_) => {}
            Err(e) => {
                errors += 1;
                if errors > 20 {
                    return Err(Stop::Wrong(format!("the agent cannot go on: {e:?}")));
                }
            }
        }
    }
    Err(Stop::Wrong("the agent does not come to rest".into()))
}

/// Asks for the deep proof and steps until it is there; returns its length.
///
/// # Errors
/// What the agent refuses with.
pub fn prove_fill<P: Platform>(
    agent: &mut Agent<'_, P>,
    nonce: [u8; 32],
    out: &mut [u8],
    mut progress: impl FnMut(u32, u32),
) -> Result<usize, Error> {
    loop {
        match agent.prove_fill(nonce, out) {
            Err(Error::Busy) => {}
            done => return done,
        }
        while agent.step()? != Step::Idle {
            if let Some((done, all)) = agent.status().fill {
                progress(done, all);
            }
        }
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

/// Whatever answers a device's requests.
pub trait Peer {
    /// The reply frame; `None` when the answer is lost.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>>;
}

impl Peer for Authority {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        Some(Authority::answer(self, request))
    }
}

/// A function that answers.
impl<F: FnMut(&[u8]) -> Option<Vec<u8>>> Peer for F {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self(request)
    }
}

/// Talks to the service until nothing is due now.
pub fn talk<P: Powered>(peer: &mut impl Peer, agent: &mut Agent<'_, P>) -> Result<(), Stop> {
    for _ in 0..40 {
        if !exchange(peer, agent)? {
            return Ok(());
        }
    }
    Err(Stop::Wrong("the conversation does not end".into()))
}

/// One request and its reply, if one is due now; false when there was nothing
/// to say or the answer was lost.
pub fn exchange<P: Powered>(peer: &mut impl Peer, agent: &mut Agent<'_, P>) -> Result<bool, Stop> {
    settle(agent)?;
    if agent.next_due_ms() != Some(0) {
        return Ok(false);
    }
    let mut out = [0u8; MAX_FRAME];
    let request = match agent.poll_request(&mut out) {
        Ok(Some(n)) => out[..n].to_vec(),
        Ok(None) => return Ok(false),
        Err(_) if off(agent) => return Err(Stop::Off),
        Err(e) => return Err(Stop::Wrong(format!("no request: {e:?}"))),
    };
    let Some(reply) = peer.answer(&request) else {
        agent.exchange_failed();
        return Ok(false);
    };
    let handled = agent.handle_reply(&reply);
    if off(agent) {
        return Err(Stop::Off);
    }
    match handled {
        Ok(()) => Ok(true),
        Err(e) => Err(Stop::Wrong(format!("a good reply was refused: {e:?}"))),
    }
}
