//! A device in RAM with its service, for tests of calls and outages.
#![allow(dead_code, reason = "each test program uses a part of it")]

use nrd_agent::agent::CheckStep;
use nrd_agent::wire::codec;
use nrd_agent::wire::storage::{DeskMessage, MAX_MESSAGE};
use nrd_agent::wire::{
    self, ActivationId, Ask, MAX_FRAME, OrderKind, Receipt, RefusalCode, Request, Subject,
};
use nrd_agent::{Agent, Error, Next, State};
use nrd_agent_testkit::{Outage, StubService, TestMemory, TestPlatform, TestPlatformBuilder};
use nrd_hal::rand_core::TryRng as _;

pub(crate) const HOUR_S: u64 = 3600;
pub(crate) const DAY_S: u64 = 24 * HOUR_S;

/// A device and its service.
pub(crate) struct Bench {
    pub(crate) port: TestPlatform,
    pub(crate) service: StubService,
    pub(crate) agent: Agent<'static, TestPlatform>,
    /// Address and length of the buffers lent to the agent.
    pub(crate) extents: Extents,
    /// What the service refuses.
    pub(crate) refuse: fn(&Ask<'_>) -> Option<RefusalCode>,
    /// Requests posted so far.
    pub(crate) posts: u32,
    /// Replies that the device refused.
    pub(crate) refused: u32,
    /// The attempt that the device named last.
    pub(crate) attempt: ActivationId,
    /// Epoch of that attempt.
    pub(crate) epoch: u64,
}

/// Address and length of the agent's buffers.
type Extents = [(usize, usize); 5];

fn power_on(port: &TestPlatform, service: &StubService) -> (Agent<'static, TestPlatform>, Extents) {
    // One small leak for each boot of a test.
    let memory = Box::leak(Box::new(TestMemory::sized(8, 1024)));
    let extents = memory.extents();
    let agent = Agent::new(port.clone(), service.config(), memory.lend());
    (agent.expect("the kit's parts fit"), extents)
}

impl Bench {
    /// A factory-fresh device that has not taken a step.
    pub(crate) fn new(seed: u64) -> Bench {
        Bench::on(seed, |builder| builder)
    }

    /// The same, on other parts.
    pub(crate) fn on(
        seed: u64,
        parts: impl FnOnce(TestPlatformBuilder) -> TestPlatformBuilder,
    ) -> Bench {
        let service = StubService::new(seed);
        let port = parts(TestPlatform::builder().seed(seed)).build(&service);
        let (agent, extents) = power_on(&port, &service);
        Bench {
            extents,
            refuse: |_| None,
            port,
            service,
            agent,
            posts: 0,
            refused: 0,
            attempt: ActivationId::default(),
            epoch: 0,
        }
    }

    /// Works until there is nothing to do but talk or wait.
    pub(crate) fn work(&mut self) {
        for _ in 0..10_000 {
            match self.agent.poll_work() {
                Next::Again | Next::Reset => {}
                Next::Post(_) | Next::WaitUntil(_) => return,
            }
        }
        panic!("the agent does not come to rest");
    }

    /// Says this to the device over a cable; its answers, with what the work between
    /// them brings.
    pub(crate) fn say(&mut self, message: &DeskMessage<'_>) -> Vec<Vec<u8>> {
        let mut heard = [0; MAX_MESSAGE];
        let n = codec::write(b"", message, &mut heard).expect("it fits");
        let (mut out, mut answers) = ([0; MAX_MESSAGE], Vec::new());
        let mut heard = &heard[..n];
        loop {
            match self.agent.storage_check(heard, &mut out) {
                CheckStep::Send(n) => answers.push(out[..n].to_vec()),
                CheckStep::Again => drop(self.agent.poll_work()),
                CheckStep::Wait => return answers,
            }
            heard = &[];
        }
    }

    /// Posts one request, if one is due; false if not.
    pub(crate) fn exchange(&mut self) -> Result<bool, Error> {
        let mut request = [0; MAX_FRAME];
        let Some(n) = self.agent.poll_request(&mut request)? else {
            return Ok(false);
        };
        let reply = self.answer(&request[..n]);
        self.agent.handle_reply(&reply)?;
        Ok(true)
    }

    /// What the service answers.
    pub(crate) fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        self.posts += 1;
        let asked: Request<'_> = wire::peek(request).expect("well formed");
        if let Ask::ActivateStart {
            activation_id,
            epoch,
            ..
        } = asked.ask
        {
            (self.attempt, self.epoch) = (activation_id, epoch);
        }
        if let Some(code) = (self.refuse)(&asked.ask) {
            self.service.refuse_next(code, 0);
        }
        self.service.answer(request)
    }

    /// Works and talks until the device waits for time or a call.
    pub(crate) fn serve(&mut self) {
        let mut request = [0; MAX_FRAME];
        for _ in 0..100_000 {
            match self.agent.poll(&mut request) {
                Next::Again | Next::Reset => {}
                Next::Post(n) => {
                    let reply = self.answer(&request[..n]);
                    self.refused += u32::from(self.agent.handle_reply(&reply).is_err());
                }
                Next::WaitUntil(_) => return,
            }
        }
        panic!("the agent does not come to rest");
    }

    /// So many seconds pass, in steps of `step_s`, with the service reachable or
    /// not; the agent is polled at each.
    pub(crate) fn pass(&mut self, s: u64, step_s: u64, online: bool) {
        let mut left_s = s;
        while left_s > 0 {
            let now_s = step_s.min(left_s);
            self.port.clock.advance_s(now_s);
            left_s -= now_s;
            if online { self.serve() } else { self.work() }
        }
    }

    /// Power off and on; every part answers again.
    pub(crate) fn reboot(&mut self) {
        self.end_outages();
        self.reboot_as_is();
    }

    /// Power off and on; what is out of order stays so.
    pub(crate) fn reboot_as_is(&mut self) {
        self.port.reboot();
        (self.agent, self.extents) = power_on(&self.port, &self.service);
    }

    /// Power off and on, then works until there is nothing to do but talk.
    pub(crate) fn boot_offline(&mut self) {
        self.reboot();
        self.work();
    }

    pub(crate) fn outages(&self) -> [&Outage; 6] {
        let p = &self.port;
        [
            &p.journal.outage,
            &p.vault.outage,
            &p.slots.outage,
            &p.counter.outage,
            &p.rng.outage,
            &p.identity.outage,
        ]
    }

    pub(crate) fn end_outages(&self) {
        for outage in self.outages() {
            outage.end();
        }
    }

    pub(crate) fn state(&mut self) -> State {
        self.agent.state()
    }

    /// From the factory to an activation with one cached value.
    pub(crate) fn active(seed: u64) -> Bench {
        let mut bench = Bench::new(seed);
        bench.work();
        bench.activate();
        bench
    }

    /// Activates, and caches an e-mail address.
    pub(crate) fn activate(&mut self) {
        self.activate_within(1);
    }

    /// The same, with so many seconds for what is refused or unreadable before it.
    pub(crate) fn activate_within(&mut self, s: u64) {
        self.agent.start_activation().expect("clean or signed out");
        self.serve();
        for _ in 1..s {
            if self.state() == State::Active {
                break;
            }
            self.pass(1, 1, true);
        }
        assert_eq!(self.state(), State::Active);
        self.agent
            .put(nrd_agent::Class::Email, 1, EMAIL)
            .expect("there is room");
    }

    /// A device with a code on its screen.
    pub(crate) fn activating(seed: u64) -> Bench {
        let mut bench = Bench::new(seed);
        bench.work();
        bench.service.pending_polls = u32::MAX;
        bench.agent.start_activation().expect("clean");
        bench.serve();
        assert!(bench.agent.status().code.is_some());
        bench
    }

    /// One exchange, if one is due: after a reboot the device introduces itself.
    pub(crate) fn serve_hello(&mut self) {
        self.agent.try_again();
        self.exchange().expect("answered");
    }

    /// A device whose grant arrived and is not stored yet.
    pub(crate) fn granted(seed: u64) -> Bench {
        let mut bench = Bench::new(seed);
        bench.work();
        bench.agent.start_activation().expect("clean");
        let mut request = [0; MAX_FRAME];
        for _ in 0..100 {
            match bench.agent.poll(&mut request) {
                Next::Again | Next::Reset => {}
                Next::WaitUntil(_) => panic!("the grant did not arrive"),
                Next::Post(n) => {
                    let poll = matches!(
                        wire::peek::<Request<'_>>(&request[..n])
                            .expect("well formed")
                            .ask,
                        Ask::ActivatePoll { .. }
                    );
                    let reply = bench.answer(&request[..n]);
                    bench.agent.handle_reply(&reply).expect("taken");
                    if poll {
                        return bench;
                    }
                }
            }
        }
        panic!("the grant did not arrive");
    }

    /// An order for what this device holds, or held last.
    pub(crate) fn order(&mut self, kind: OrderKind) -> Vec<u8> {
        let device = *self.agent.device_id();
        // Numbers that only go up, whatever the test did before.
        let seq = 1000 + self.port.power.operations();
        self.service
            .order(&device, self.epoch, self.attempt, seq, kind)
    }

    /// Whether the vault and both slots hold nothing, read from outside.
    pub(crate) fn is_blank(&self) -> bool {
        let slots = self.port.slots.image();
        self.port.vault.image().iter().all(|&b| b == 0xFF)
            && slots.iter().flatten().all(|&b| b == 0xFF)
    }

    /// The activations that the receipts delivered so far end, oldest first.
    pub(crate) fn receipts(&self) -> Vec<ActivationId> {
        self.service.receipts.iter().map(|r| ended(r)).collect()
    }
}

/// The cached value.
pub(crate) const EMAIL: &[u8] = b"alexandra@example.org";

/// The activation that a wipe receipt ends.
pub(crate) fn ended(frame: &[u8]) -> ActivationId {
    let receipt: Receipt<'_> = wire::peek(frame).expect("a receipt");
    match receipt.subject {
        Subject::Wipe { activation_id, .. } => activation_id,
        other => panic!("not of a wipe: {other:?}"),
    }
}

/// `n` numbers below `limit`, drawn from a seed.
pub(crate) struct Draws(nrd_agent_testkit::SeededRng);

impl Draws {
    pub(crate) fn new(seed: u64) -> Draws {
        Draws(nrd_agent_testkit::SeededRng::new(seed))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0.try_next_u64().expect("it answers") % limit
    }
}

/// `NRD_SEED`, or this.
pub(crate) fn seed_or(default: u64) -> u64 {
    let seed = std::env::var("NRD_SEED").ok();
    seed.and_then(|s| s.parse().ok()).unwrap_or(default)
}
