//! What a device of the room hears from inputs, and a tape of it.
//!
//! The agent, the chip and the main loop are functions of their seeds and of what
//! they hear: time, replies, keys, plugs. So a tape of that alone gives the same
//! flash again, to the last bit, without any service.
//!
//! One event a line: `on SEED WALL`, `t MS`, `reply HEX`, `lost`, `cut OPERATION`,
//! `out`, and acts (`key up`, `network off`, `advance 3600`, `prove clean HEX`,
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
            RoomAct::Prove(c) => Some(format!("prove clean {}", hex(&c.nonce))),
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
            Some(("prove", what)) => {
                let nonce = unhex(what.strip_prefix("clean ")?)?;
                Some(RoomAct::Prove(Challenge { nonce }))
            }
            Some(_) => None,
        }
    }
}

/// A tape that is played.
pub(super) struct Replay<'t> {
    lines: Vec<(usize, &'t str)>,
    at: usize,
    /// What did not fit, if anything: a line, from 1, and its text.
    pub(super) misfit: Option<(usize, &'t str)>,
}

impl<'t> Replay<'t> {
    /// # Errors
    /// The first line that is no event, in words, or that the tape is too long.
    pub(super) fn new(text: &'t str) -> Result<Replay<'t>, String> {
        let mut lines = Vec::new();
        for (n, line) in (1..).zip(text.lines()) {
            let (line, times) = match line.rsplit_once(" *") {
                Some((line, times)) => {
                    let times = times.parse::<usize>();
                    (line, times.map_err(|_| unreadable(n, line))?)
                }
                None => (line, 1),
            };
            if !is_event(line) {
                return Err(unreadable(n, line));
            }
            if lines.len().saturating_add(times) > MAX_TAPE {
                return Err(format!("line {n}: more than {MAX_TAPE} events"));
            }
            lines.extend(std::iter::repeat_n((n, line), times));
        }
        Ok(Replay {
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
            self.misfit = self.lines.get(self.at).copied();
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

/// True for a line that a recorder writes.
fn is_event(line: &str) -> bool {
    match line.split_once(' ') {
        Some(("on", rest)) => rest
            .split_once(' ')
            .is_some_and(|(seed, wall)| seed.parse::<u64>().is_ok() && wall.parse::<u64>().is_ok()),
        Some(("t" | "cut", number)) => number.parse::<u64>().is_ok(),
        Some(("reply", digits)) => unhex_all(digits).is_some(),
        None if matches!(line, "lost" | "out") => true,
        Some(_) | None => RoomAct::parse(line).is_some(),
    }
}

/// What is wrong with a line, with its beginning: a reply may be long.
fn unreadable(n: usize, line: &str) -> String {
    let shown: String = line.chars().take(32).collect();
    format!("line {n}: `{}` is no event", shown.escape_debug())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_line_is_refused_by_its_number_and_its_words() {
        let refused = |text: &str| Replay::new(text).err().unwrap_or_default();
        let good = "on 7 0\nt 250 *12\nreply 00ff\nlost\ncut 9\nkey up\nnetwork off\n\
                    advance 60\nwake\nout\n";
        assert_eq!(refused(good), "");
        for bad in [
            "",
            "on 7",
            "on 7 x",
            "t",
            "t -1",
            "reply 0",
            "reply zz",
            "lost 1",
            "out *x",
            "key sideways",
            "network maybe",
            "advance soon",
            "prove NRD",
            "prove clean 00",
            "explode",
        ] {
            let line = bad.strip_suffix(" *x").unwrap_or(bad);
            assert_eq!(
                refused(&format!("wake\n{bad}\nwake\n")),
                format!("line 2: `{line}` is no event")
            );
        }
    }
}
