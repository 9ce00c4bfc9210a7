//! The thread of one device, as a firmware's main loop: steps the agent, talks
//! to the service, takes keys, shows a screen; until the plug is pulled.

use super::device::{Inner, RoomAct};
use super::power::strike;
use super::recording::{Input, Inputs, LiveInputs};
use super::screen::{DeskAnswer, Face, Item, Key, Menu, Progress, locked};
use nrd_agent::keypad::MenuSequence;
use nrd_agent::wire::{Body as _, LockReason, MAX_FRAME, Receipt};
use nrd_agent::{Agent, Config, Next, State, Status};
use nrd_hal::Clock as _;
use nrd_sim_base::device_kind;
use nrd_sim_device::{AgentBuffers, cache_samples};
use nrd_sim_hw::{Board, Identity, VirtualClock, VirtualRng};
use nrd_sim_service::Service;
use nrd_sim_service::desk::Condition;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// The room's devices call from here.
const ADDRESS: &str = "192.0.2.20";
/// Longest sleep of the main loop.
const NAP: Duration = Duration::from_millis(250);

/// Runs until the room is gone.
pub(super) fn run(set: &Arc<Inner>, service: &Arc<Service>, inbox: &Receiver<RoomAct>) {
    let mut network = true;
    let mut inputs = LiveInputs {
        service: service.clone(),
        address: ADDRESS,
        plug: set.plug.clone(),
        inbox,
        tape: set.tape.clone(),
        last: Instant::now(),
    };
    loop {
        // Off: everything but the plug and the network plug is deaf.
        while set.plug.is_out() {
            set.show(Face::off(network));
            match inputs.hear(Duration::from_secs(3600)) {
                Input::Act(RoomAct::Network(on)) => network = on,
                Input::Act(RoomAct::Save(to)) => set.save(&to),
                Input::Act(_) | Input::Nothing => {}
                Input::Over => return,
            }
        }
        let seed = set.next_seed();
        let wall_s = if device_kind::has_battery_clock(set.kind) {
            service.now_s()
        } else {
            0
        };
        inputs.on(seed, wall_s);
        if !boot(set, &mut inputs, (seed, wall_s, None), &mut network) {
            return;
        }
        set.power_off();
    }
}

/// One boot, with its seed, wall clock and the operation that is to be cut;
/// false when there is nothing more to hear.
pub(super) fn boot(
    set: &Inner,
    inputs: &mut impl Inputs,
    (seed, wall_s, cut): (u64, u64, Option<u64>),
    network: &mut bool,
) -> bool {
    {
        let mut chip = set.hw.chip();
        chip.plan(cut.map(strike));
        chip.power_on(seed);
    }
    let rng = VirtualRng::new(seed);
    let identity = Identity::new(&set.root, &set.id, set.certificate.clone());
    let board = Board::assemble(&set.hw, set.root, rng, identity);
    let Ok(board) = board else { return false };
    let clock = board.clock();
    clock.set_wall_s(wall_s);
    let config = Config {
        service_root: set.service_root,
        root_version: 0,
        factory_epoch: 0,
        wait_s: 0,
    };
    let mut ram = AgentBuffers::default();
    let Ok(agent) = Agent::new(board, config, ram.lend()) else {
        return false;
    };
    let mut b = Boot {
        agent,
        set,
        clock,
        inputs,
        network,
        sequence: MenuSequence::default(),
        menu: None,
        answer: None,
        asked_in: State::Booting,
        receipt: None,
    };
    b.live()
}

struct Boot<'a, 'm, O> {
    agent: Agent<'m, Board>,
    set: &'a Inner,
    clock: VirtualClock,
    inputs: &'a mut O,
    network: &'a mut bool,
    sequence: MenuSequence,
    menu: Option<Menu>,
    answer: Option<DeskAnswer>,
    /// Its state when a desk asked last.
    asked_in: State,
    receipt: Option<Vec<u8>>,
}

impl<O: Inputs> Boot<'_, '_, O> {
    fn live(&mut self) -> bool {
        let mut request = [0; MAX_FRAME];
        loop {
            if self.inputs.is_out() {
                return true;
            }
            self.tick();
            let next = match self.agent.poll_work() {
                // Before it talks: the account's data is there when the check-in is.
                Next::WaitUntil(_) => {
                    cache_samples(&mut self.agent, &self.set.samples);
                    self.agent.poll(&mut request)
                }
                next => next,
            };
            if let Next::Post(n) = next {
                self.post(&request[..n]);
            }
            self.show();
            let nap = self.nap(next);
            match self.inputs.hear(nap) {
                Input::Act(act) => self.take(act),
                Input::Nothing => {}
                Input::Over => return false,
            }
        }
    }

    fn tick(&mut self) {
        let ms = self.inputs.elapsed_ms();
        self.clock.advance_ms(ms);
    }

    /// How long the loop may sleep. A reset frees copies of keys in libraries;
    /// the room's agent shares its memory with the room, so it goes on.
    fn nap(&mut self, next: Next) -> Duration {
        match next {
            Next::Again | Next::Reset | Next::Post(_) => Duration::ZERO,
            Next::WaitUntil(None) => NAP,
            Next::WaitUntil(Some(at_ms)) => {
                let left_ms = at_ms.saturating_sub(self.clock.uptime_ms());
                Duration::from_millis(left_ms).min(NAP)
            }
        }
    }

    fn post(&mut self, request: &[u8]) {
        let reply = if *self.network {
            self.inputs.answer(request)
        } else {
            None
        };
        match reply {
            // A reply that is refused changes nothing and backs off.
            Some(reply) => drop(self.agent.handle_reply(&reply)),
            None => self.agent.exchange_failed(),
        }
    }

    fn take(&mut self, act: RoomAct) {
        if let RoomAct::Save(to) = act {
            return self.set.save(&to);
        }
        self.tick();
        match act {
            RoomAct::Key(key) => self.key(key),
            RoomAct::Network(on) => {
                *self.network = on;
                if on {
                    // A link that comes up is news: no firmware sleeps on.
                    self.agent.network_up();
                }
            }
            RoomAct::Advance(s) => self.clock.advance_ms(s.saturating_mul(1000)),
            RoomAct::Prove(c) => {
                self.asked_in = self.agent.state();
                let mut out = [0; Receipt::MAX];
                let done = self.agent.prove_clean(c.nonce, &mut out);
                self.answer = Some(match done {
                    Ok(n) => DeskAnswer::Signed(c.nonce, out[..n].to_vec()),
                    Err(e) => DeskAnswer::State(Condition::of_refusal(e, self.asked_in)),
                });
            }
            RoomAct::Wake | RoomAct::Save(_) => {}
        }
    }

    fn key(&mut self, key: Key) {
        let now = nrd_hal::Clock::uptime_ms(&mut self.clock);
        let complete = self.sequence.press(key.remote(), now);
        if let Some(menu) = &mut self.menu {
            let last = menu.items.len().saturating_sub(1);
            match (key, menu.confirm) {
                (Key::Up, false) => menu.at = menu.at.saturating_sub(1),
                (Key::Down, false) => menu.at = (menu.at + 1).min(last),
                (Key::Back, true) => menu.confirm = false,
                (Key::Back, false) => self.menu = None,
                (Key::Hold, true) => {
                    self.menu = None;
                    #[expect(
                        clippy::let_underscore_must_use,
                        reason = "what a refused call would say is on the screen already"
                    )]
                    let _ = self.agent.deactivate();
                }
                (Key::Ok | Key::Hold, false) => match menu.items.get(menu.at) {
                    Some(Item::SignOut) => {
                        self.menu = None;
                        #[expect(
                            clippy::let_underscore_must_use,
                            reason = "what a refused call would say is on the screen already"
                        )]
                        let _ = self.agent.sign_out();
                    }
                    Some(Item::Deactivate) => menu.confirm = true,
                    Some(Item::Close) | None => self.menu = None,
                },
                _ => {}
            }
            return;
        }
        let state = self.agent.state();
        if complete && state != State::Wiping && state != State::Booting {
            let mut items = Vec::new();
            if state == State::Active {
                items.push(Item::SignOut);
            }
            items.extend([Item::Deactivate, Item::Close]);
            self.menu = Some(Menu {
                items,
                at: 0,
                confirm: false,
            });
            return;
        }
        // What a refused call would say is on the screen already.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "what a refused call would say is on the screen already"
        )]
        let _ = match (key, state) {
            (Key::Ok, State::Clean | State::SignedOut)
            | (Key::Ok, State::Locked(LockReason::SessionLost)) => {
                self.answer = None;
                self.receipt = None;
                self.agent.start_activation()
            }
            (Key::Back, State::Activating) => self.agent.cancel_activation(),
            // Where a person waits, the key says: now.
            (Key::Ok, State::Activating | State::Locked(_)) => {
                self.agent.try_again();
                Ok(())
            }
            _ => Ok(()),
        };
    }

    fn name(&mut self) -> String {
        let mut buf = [0; 32];
        match self.agent.display_name(&mut buf) {
            Ok(n) => String::from_utf8_lossy(&buf[..n]).into_owned(),
            Err(_) => String::new(),
        }
    }

    /// The screen, from what the agent says.
    fn show(&mut self) {
        let status = self.agent.status();
        // What it said of a state that is over says nothing any more.
        if matches!(self.answer, Some(DeskAnswer::State(_))) && self.asked_in != status.state {
            self.answer = None;
        }
        let condition = match self.answer {
            Some(DeskAnswer::State(said)) => said,
            Some(DeskAnswer::Signed(..)) | None => Condition::In(status.state),
        };
        if self.menu.is_some() && matches!(status.state, State::Wiping | State::Booting) {
            self.menu = None;
        }
        let bar = |(done, total)| Progress { done, total };
        let progress = status.wipe.or(status.fill).map(bar);
        let (state, title, text) = self.words(&status);
        let code = status.code.map(|(code, picture)| {
            let (a, b) = code.split_at(code.len().min(4));
            (format!("{a}-{b}"), picture)
        });
        self.set.show(Face {
            on: true,
            network: *self.network,
            state,
            condition,
            title,
            text,
            code,
            progress,
            menu: self.menu.clone(),
            answer: self.answer.clone(),
            receipt: self.receipt.clone(),
        });
    }

    /// A word for the state, the large line and the small one.
    fn words(&mut self, status: &Status) -> (&'static str, String, String) {
        match status.state {
            State::Booting => ("booting", "Starting …".to_owned(), String::new()),
            State::Filling if status.fill.is_none() => (
                "filling",
                "Preparing …".to_owned(),
                "Its storage is erased before it is said to be clean.".to_owned(),
            ),
            State::Filling => (
                "filling",
                "Storage check".to_owned(),
                "A desk fills all of its storage, has it read back, and has it erased.".to_owned(),
            ),
            State::Clean if matches!(self.answer, Some(DeskAnswer::Signed(..))) => (
                "clean",
                "Answered the desk".to_owned(),
                "Show this code to the desk. OK: activate".to_owned(),
            ),
            State::Clean => {
                self.keep_receipt(status.receipts);
                (
                    "clean",
                    "Clean".to_owned(),
                    match status.receipts {
                        0 => "No account here. OK: activate".to_owned(),
                        n => format!("No account here. OK: activate. {n} signed receipts wait for the network."),
                    },
                )
            }
            State::Activating if status.code.is_some() => (
                "activating",
                String::new(),
                "Type this code on your account page, under Activate. Back: give up".to_owned(),
            ),
            State::Activating => (
                "activating",
                "One moment …".to_owned(),
                if *self.network {
                    "Asking for a code. OK: try again now. Back: give up".to_owned()
                } else {
                    "No network. Back: give up".to_owned()
                },
            ),
            State::Active => (
                "active",
                format!("Welcome back, {}.", self.name()),
                String::new(),
            ),
            State::Locked(reason) => {
                let (title, text) = locked(reason);
                ("locked", title.to_owned(), text.to_owned())
            }
            State::SignedOut => (
                "signed-out",
                "Signed out".to_owned(),
                "OK: sign in again".to_owned(),
            ),
            State::Wiping => (
                "wiping",
                "Wiping".to_owned(),
                "Everything of the account. Pulling the plug does not stop it: it goes on when it is back.".to_owned(),
            ),
            State::WipeFailed => (
                "failed",
                "Wipe failed".to_owned(),
                "A part of its memory would not erase. Do not hand it on.".to_owned(),
            ),
        }
    }

    /// The receipt of the last wipe stays on the screen, so that a person
    /// without a network can carry it.
    fn keep_receipt(&mut self, undelivered: u8) {
        if undelivered > 0 && self.receipt.is_none() {
            let mut out = [0; Receipt::MAX];
            let n = self.agent.newest_receipt(&mut out);
            self.receipt = n.ok().map(|n| out[..n].to_vec());
        }
    }
}
