//! What a device of the room hears from inputs, and a tape of it.
//!
//! The agent, the chip and the main loop are functions of their seeds and of what
//! they hear: time, replies, keys, plugs. So a tape of that alone gives the same
//! flash again, to the last bit, without any service.
//!
//! One event a line: `on SEED WALL`, `t MS`, `reply HEX`, `lost`, `cut OPERATION`,
//! `out`, and acts (`key up`, `network off`, `advance 3600`, `prove NRD:1:…`,
//! `wake`). Repeated lines are counted: `t 250 *12`.

use super::device::RoomAct;
use super::screen::Key;
use nrd_sim_base::hex;
use nrd_sim_base::unhex;
use nrd_sim_service::Service;
use nrd_sim_service::desk::Challenge;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest tape, in bytes. What is longer is not kept, and says so.
const MAX_TAPE: usize = 16 << 20;

/// Where a device's main loop stands.
pub(super) enum Input {
    /// Something was done to the device.
    Act(RoomAct),
    /// Nothing.
    Nothing,
    /// The room is gone, or the tape is at its end.
    Over,
}

/// Everything that is not the device itself.
pub(super) trait Inputs {
    /// The device is switched on: the seed of this boot, and the wall clock that
    /// it was given, if it keeps one.
    fn on(&mut self, seed: u64, wall_s: u64);
    /// Milliseconds since the last call.
    fn elapsed_ms(&mut self) -> u64;
    /// The service's reply to a request; `None` when it is lost.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>>;
    /// True when the plug is out.
    fn is_out(&mut self) -> bool;
    /// What is done to the device within `nap`.
    fn hear(&mut self, nap: Duration) -> Input;
}

/// A tape that is being written.
#[derive(Default)]
pub(super) struct Recorder {
    text: String,
    last: String,
    times: u32,
}

impl Recorder {
    fn note(&mut self, line: String) {
        if line == self.last {
            self.times += 1;
            return;
        }
        self.flush();
        (self.last, self.times) = (line, 1);
    }

    fn flush(&mut self) {
        if self.times > 0 && self.text.len() < MAX_TAPE {
            self.text.push_str(&self.last);
            if self.times > 1 {
                self.text.push_str(&format!(" *{}", self.times));
            }
            self.text.push('\n');
        }
        self.times = 0;
        self.last.clear();
    }

    /// All that was heard so far; `None` if that was too much to keep.
    pub(super) fn text(&mut self) -> Option<String> {
        self.flush();
        (self.text.len() < MAX_TAPE).then(|| self.text.clone())
    }
}

/// A tape that device, plug and room write on.
pub(super) type Shared = Arc<Mutex<Recorder>>;

pub(super) fn note(tape: &Shared, line: String) {
    tape.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .note(line);
}

/// The living world: a clock, a service, a person.
pub(super) struct LiveInputs<'r> {
    pub(super) service: Arc<Service>,
    pub(super) address: &'static str,
    pub(super) plug: Arc<super::power::Plug>,
    pub(super) inbox: &'r Receiver<RoomAct>,
    pub(super) tape: Shared,
    pub(super) last: Instant,
}

impl Inputs for LiveInputs<'_> {
    fn on(&mut self, seed: u64, wall_s: u64) {
        note(&self.tape, format!("on {seed} {wall_s}"));
        self.last = Instant::now();
    }

    fn elapsed_ms(&mut self) -> u64 {
        // Whole milliseconds, so that what is left over counts next time.
        let ms = self.last.elapsed().as_millis() as u64;
        self.last += Duration::from_millis(ms);
        note(&self.tape, format!("t {ms}"));
        ms
    }

    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let reply = Service::answer(&self.service, request, self.address).ok();
        match &reply {
            Some(reply) => note(&self.tape, format!("reply {}", hex(reply))),
            None => note(&self.tape, "lost".to_owned()),
        }
        reply
    }

    fn is_out(&mut self) -> bool {
        let out = self.plug.is_out();
        if out {
            note(&self.tape, "out".to_owned());
        }
        out
    }

    fn hear(&mut self, nap: Duration) -> Input {
        match self.inbox.recv_timeout(nap) {
            Ok(act) => {
                if let Some(line) = act.line() {
                    note(&self.tape, line);
                }
                Input::Act(act)
            }
            Err(RecvTimeoutError::Timeout) => Input::Nothing,
            Err(RecvTimeoutError::Disconnected) => Input::Over,
        }
    }
}

impl RoomAct {
    /// Its line on a tape; `None` for what changes nothing.
    pub(super) fn line(&self) -> Option<String> {
        match self {
            RoomAct::Key(key) => Some(format!("key {}", key.name())),
            RoomAct::Network(on) => Some(format!("network {}", if *on { "on" } else { "off" })),
            RoomAct::Advance(s) => Some(format!("advance {s}")),
            RoomAct::Prove(c) => Some(format!("prove {}", c.text())),
            RoomAct::Wake => Some("wake".to_owned()),
            RoomAct::Save(_) => None,
        }
    }

    fn parse(line: &str) -> Option<RoomAct> {
        match line.split_once(' ') {
            None => (line == "wake").then_some(RoomAct::Wake),
            Some(("key", name)) => Key::parse(name).map(RoomAct::Key),
            Some(("network", "on")) => Some(RoomAct::Network(true)),
            Some(("network", "off")) => Some(RoomAct::Network(false)),
            Some(("advance", s)) => s.parse().ok().map(RoomAct::Advance),
            Some(("prove", text)) => Challenge::parse(text).map(RoomAct::Prove),
            Some(_) => None,
        }
    }
}

/// A tape that is played.
pub(super) struct Replay<'t> {
    lines: Vec<(usize, &'t str)>,
    at: usize,
    /// Where it did not fit, if anywhere: a line, from 1.
    pub(super) misfit: Option<usize>,
}

impl<'t> Replay<'t> {
    /// `None` where a count makes no sense or the tape is too long.
    pub(super) fn new(text: &'t str) -> Option<Replay<'t>> {
        let mut lines = Vec::new();
        for (n, line) in (1..).zip(text.lines()) {
            let (line, times) = match line.rsplit_once(" *") {
                Some((line, times)) => (line, times.parse::<usize>().ok()?),
                None => (line, 1),
            };
            if lines.len() + times > MAX_TAPE {
                return None;
            }
            lines.extend(std::iter::repeat_n((n, line), times));
        }
        Some(Replay {
            lines,
            at: 0,
            misfit: None,
        })
    }

    /// How many events there are.
    pub(super) fn events(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn is_over(&self) -> bool {
        self.at >= self.lines.len() || self.misfit.is_some()
    }

    fn peek(&self) -> &'t str {
        self.lines.get(self.at).map_or("", |(_, line)| line)
    }

    /// Goes past the next line if it begins so; gives the rest of it.
    fn take(&mut self, begins: &str) -> Option<&'t str> {
        let rest = self.peek().strip_prefix(begins)?;
        self.at += 1;
        Some(rest)
    }

    fn must<T>(&mut self, found: Option<T>) -> Option<T> {
        if found.is_none() && !self.is_over() {
            self.misfit = self.lines.get(self.at).map(|(n, _)| *n);
        }
        found
    }

    /// What happens to a device that is off: its network plug, or that it is
    /// switched on (the seed, the wall clock, the operation that the boot's cut
    /// strikes).
    pub(super) fn off(&mut self) -> Option<Off> {
        let line = self.peek();
        let found = match (RoomAct::parse(line), line.strip_prefix("on ")) {
            (Some(RoomAct::Network(on)), _) => Some(Off::Network(on)),
            (Some(_), _) => Some(Off::Nothing),
            (None, Some(rest)) => rest.split_once(' ').and_then(|(seed, wall)| {
                Some(Off::On {
                    seed: seed.parse().ok()?,
                    wall_s: wall.parse().ok()?,
                    cut: self.cut(),
                })
            }),
            (None, None) => None,
        };
        self.must(found).inspect(|_| self.at += 1)
    }

    /// The operation that this boot's cut strikes.
    fn cut(&self) -> Option<u64> {
        let boot = self.lines.iter().skip(self.at + 1).map(|(_, l)| *l);
        boot.take_while(|l| !l.starts_with("on "))
            .find_map(|l| l.strip_prefix("cut ")?.parse().ok())
    }
}

/// Bytes from hexadecimal digits.
pub(super) fn unhex_all(digits: &str) -> Option<Vec<u8>> {
    let two = |n: usize| unhex::<1>(digits.get(n..n + 2)?);
    (0..digits.len())
        .step_by(2)
        .map(|n| Some(two(n)?[0]))
        .collect()
}

/// What happens to a device that is off.
pub(super) enum Off {
    /// Its network plug.
    Network(bool),
    /// It is switched on.
    On {
        /// The seed of the boot.
        seed: u64,
        /// The wall clock.
        wall_s: u64,
        /// The operation that the boot's cut strikes.
        cut: Option<u64>,
    },
    /// Nothing to a device that is off.
    Nothing,
}

impl Inputs for Replay<'_> {
    fn on(&mut self, _: u64, _: u64) {}

    fn elapsed_ms(&mut self) -> u64 {
        let _ = self.take("cut ");
        let ms = self.take("t ").and_then(|ms| ms.parse().ok());
        self.must(ms).unwrap_or(0)
    }

    fn answer(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        let _ = self.take("cut ");
        if self.take("lost").is_some() {
            return None;
        }
        let reply = self.take("reply ").and_then(unhex_all);
        self.must(reply)
    }

    fn is_out(&mut self) -> bool {
        let _ = self.take("cut ");
        self.is_over() || self.take("out").is_some()
    }

    fn hear(&mut self, _: Duration) -> Input {
        let _ = self.take("cut ");
        match RoomAct::parse(self.peek()) {
            Some(act) => {
                self.at += 1;
                Input::Act(act)
            }
            None if self.is_over() => Input::Over,
            None => Input::Nothing,
        }
    }
}
