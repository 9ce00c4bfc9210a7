//! One device: a chip that outlives everything, and, while it is on, the real
//! agent over it.

use super::host::Time;
use nrd_agent::wire::{DeviceKind, MAX_FRAME};
use nrd_agent::{Agent, Config, Error, Next, State};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{Clock as _, Crypto as _};
use nrd_sim_base::device_kind;
use nrd_sim_device::{AgentBuffers, MAX_CALLS, MAX_EXCHANGES};
use nrd_sim_hw::{
    Board, Chip, ChipSpec, Hardware, Identity, PlannedFault, PowerCut as _, SplitMix, VirtualClock,
    VirtualRng,
};
use nrd_sim_service::Service;
use self_cell::{MutBorrow, self_cell};
use std::sync::Arc;

type Alive<'m> = Agent<'m, Board>;

self_cell!(
    /// One boot: the agent with the memory it borrows.
    struct Boot {
        owner: MutBorrow<AgentBuffers>,
        #[not_covariant]
        dependent: Alive,
    }
);

/// A firmware calls its agent at least this often, in milliseconds.
const HOUSEKEEPING_MS: u64 = 4 * 3_600_000;
/// Where devices call from.
const ADDRESS: &str = "192.0.2.20";

/// What a device is made of.
#[derive(Clone)]
pub struct Made {
    /// Its id.
    pub id: String,
    /// Model, in words.
    pub model: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Its flash.
    pub chip: ChipSpec,
    /// Longest value it caches, in bytes.
    pub longest: usize,
    /// Records it caches at most.
    pub records: usize,
}

/// A device of the world.
pub struct Device {
    made: Made,
    root: [u8; 32],
    identity: Identity,
    hw: Hardware,
    draws: SplitMix,
    boot: Option<Boot>,
    clock: VirtualClock,
    /// Until when the clock was moved, milliseconds of the world.
    synced_ms: u64,
    online: bool,
    /// The wall clock is off by so many seconds.
    pub(super) skew_s: i64,
    /// When it wants to be called, milliseconds of the world.
    pub(super) wake_ms: Option<u64>,
    /// Requests that were answered.
    pub(super) answered: u64,
}

impl Device {
    /// A new device, off; everything random in it is a function of `seed`.
    ///
    /// # Panics
    /// On an id or model that the wire format cannot hold.
    pub(super) fn new(made: Made, service: &Service, seed: u64) -> Device {
        let seed = SplitMix(seed).draw();
        let root = RingCrypto::hkdf(b"nrd/sim/world", &seed.to_le_bytes(), &[made.id.as_bytes()]);
        let maker = service.keys.maker();
        let identity = Identity::certified(&root, &made.id, maker, &made.model, made.kind);
        Device {
            hw: Hardware::new(Chip::blank(made.chip, seed)),
            draws: SplitMix(seed ^ 0x0DE5_1CE0),
            made,
            root,
            identity,
            boot: None,
            clock: VirtualClock::default(),
            synced_ms: 0,
            online: true,
            skew_s: 0,
            wake_ms: None,
            answered: 0,
        }
    }

    /// A second device with the same identity and the same flash: what somebody
    /// with a programmer and the fuses would build.
    pub(super) fn cloned(&self, seed: u64) -> Device {
        let chip = self.hw.chip().clone();
        Device {
            made: self.made.clone(),
            root: self.root,
            identity: self.identity.clone(),
            hw: Hardware::new(chip),
            draws: SplitMix(seed),
            boot: None,
            clock: VirtualClock::default(),
            synced_ms: 0,
            online: true,
            skew_s: 0,
            wake_ms: None,
            answered: 0,
        }
    }

    /// What it is made of.
    pub fn made(&self) -> &Made {
        &self.made
    }

    /// Its root secret: what an adversary with a microscope has.
    pub fn root(&self) -> [u8; 32] {
        self.root
    }

    /// Its flash.
    pub fn hardware(&self) -> &Hardware {
        &self.hw
    }

    /// True while it is on.
    pub fn is_on(&self) -> bool {
        self.boot.is_some()
    }

    /// Switches on.
    pub(super) fn power_on(&mut self, time: &Time, service: &Service) {
        if self.is_on() {
            return;
        }
        let seed = self.draws.draw();
        {
            let mut chip = self.hw.chip();
            chip.plan(None);
            chip.power_on(seed);
        }
        let rng = VirtualRng::new(seed);
        let board = Board::assemble(&self.hw, self.root, rng, self.identity.clone())
            .expect("the geometry was checked");
        self.clock = board.clock();
        if device_kind::has_battery_clock(self.made.kind) {
            self.set_wall(time);
        }
        self.synced_ms = time.ms();
        let config = Config {
            service_root: service.keys.root_public(),
            factory_epoch: 0,
            wait_s: 0,
        };
        let sectors = self.made.chip.geometry.size / self.made.chip.geometry.erase_size;
        let ram = AgentBuffers::sized(sectors, self.made.records, self.made.longest);
        self.boot = Some(Boot::new(MutBorrow::new(ram), |ram| {
            Agent::new(board, config, ram.borrow_mut().lend()).expect("the geometry was checked")
        }));
    }

    fn set_wall(&self, time: &Time) {
        self.clock
            .set_wall_s(time.unix_s().saturating_add_signed(self.skew_s));
    }

    /// Sets the wall clock off by `skew_s` seconds.
    pub(super) fn skew(&mut self, skew_s: i64, time: &Time) {
        self.skew_s = skew_s;
        if self.is_on() {
            self.set_wall(time);
        }
    }

    /// Switches off, between two operations.
    pub(super) fn power_off(&mut self) {
        self.hw.chip().power_off();
        self.boot = None;
        self.wake_ms = None;
    }

    /// Puts the network plug in, or pulls it.
    pub(super) fn network(&mut self, on: bool) {
        self.online = on;
    }

    /// Plans a cut in the flash operation that is `after` operations away.
    pub fn plan_cut(&mut self, after: u64, tear: nrd_sim_hw::FaultMode) {
        let mut chip = self.hw.chip();
        let at = chip.ops() + after;
        chip.plan(Some(PlannedFault {
            at,
            tear,
            unstable: true,
        }));
    }

    /// Runs `act` on the agent; `None` while it is off.
    pub fn with<T>(&mut self, act: impl FnOnce(&mut Agent<'_, Board>) -> T) -> Option<T> {
        let boot = self.boot.as_mut()?;
        let done = boot.with_dependent_mut(|_, agent| act(agent));
        if self.hw.chip().is_off() {
            self.boot = None;
            self.wake_ms = None;
        }
        Some(done)
    }

    /// The state, as its screen tells it; `None` while it is off.
    pub fn state(&mut self) -> Option<State> {
        self.with(|agent| agent.state())
    }

    /// Lets the device do all that is due now; `None` for a service that is
    /// down.
    pub(super) fn run(&mut self, time: &Time, service: Option<&Arc<Service>>) {
        let now = time.ms();
        self.clock.advance_ms(now - self.synced_ms);
        self.synced_ms = now;
        let service = service.filter(|_| self.online);
        let mut answered = 0;
        let rested = self.with(|agent| run(agent, service, &mut answered));
        self.answered += answered;
        self.wake_ms = rested.filter(|_| self.is_on()).map(|until_ms| {
            let uptime_ms = self.clock.uptime_ms();
            let pause = until_ms.map(|at| at.saturating_sub(uptime_ms));
            // Nothing is due at this very moment again: time must pass.
            now + pause.unwrap_or(HOUSEKEEPING_MS).clamp(1, HOUSEKEEPING_MS)
        });
    }
}

/// Does what the agent says until it waits, the power goes, or it has talked
/// for so long that others must have their turn; until which uptime it waits.
fn run(
    agent: &mut Agent<'_, Board>,
    service: Option<&Arc<Service>>,
    answered: &mut u64,
) -> Option<u64> {
    let mut request = [0; MAX_FRAME];
    let mut exchanges = 0;
    for _ in 0..MAX_CALLS {
        let next = agent.poll(&mut request);
        if agent.platform().is_off() {
            return None;
        }
        match next {
            Next::Again | Next::Reset => {}
            Next::WaitUntil(at) => return at,
            Next::Post(n) => {
                match service.and_then(|s| s.answer(&request[..n], ADDRESS).ok()) {
                    Some(reply) => {
                        *answered += 1;
                        // A reply that is refused changes nothing and backs off.
                        #[expect(
                            clippy::let_underscore_must_use,
                            reason = "a refused reply shows in the state"
                        )]
                        let _: Result<(), Error> = agent.handle_reply(&reply);
                    }
                    None => agent.exchange_failed(),
                }
                exchanges += 1;
                if exchanges == MAX_EXCHANGES {
                    return Some(0);
                }
            }
        }
    }
    Some(0)
}
