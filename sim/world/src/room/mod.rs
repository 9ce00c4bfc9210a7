//! The living room: a few devices side by side, each the real agent over a
//! virtual part that takes its time, with a remote, a plug and a network plug.
//!
//! ```text
//!   page ── Room ── Set ──acts──▶ life (a thread): agent, screen, service
//!                    │                  │
//!                    └── flash ◀────────┘ each operation waits, and may be cut
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the room: its devices, its time, what was done in it |
//! | `device.rs` | one device |
//! | `device_thread.rs` | a device's main loop |
//! | `screen.rs` | screen, remote, menu |
//! | `power.rs` | the plug, and how long flash takes |
//! | `recording.rs` | what a device hears from inputs, and a tape of it |
//! | `replay.rs` | a session in a file, and played again |
//! | `pages.rs` | its pages, mounted beside the account pages |
//! | `flash.rs` | a picture of the flash, and what of it can be read |

mod device;
mod device_thread;
mod flash;
mod pages;
mod power;
mod recording;
pub mod replay;
mod screen;

pub use device::Set;
pub use flash::{Look, Readable, Square, Struck, dump, readable, squares};
pub use pages::RoomSite;
pub use screen::{DeskAnswer, Face, Item, Key, Menu, Progress};

use device::{DevicePlan, Parts, RoomAct};
use nrd_agent::wire::DeviceKind;
use nrd_sim_base::hex;
use nrd_sim_base::sample::Sample;
use nrd_sim_service::Service;
use nrd_sim_service::desk::Challenge;
use replay::{Recorded, Recording};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How many times slower than its datasheet flash may be shown.
pub const SPEEDS: [u32; 3] = [1, 4, 16];

const PLANS: [DevicePlan; 3] = [
    DevicePlan {
        place: "Living room",
        model: "Virtual set-top box",
        id: "NRD-STB-ROOM1",
        kind: DeviceKind::SetTopBox,
    },
    DevicePlan {
        place: "Upstairs",
        model: "Virtual game console",
        id: "NRD-CON-ROOM2",
        kind: DeviceKind::Console,
    },
    DevicePlan {
        place: "Desk",
        model: "Virtual computer",
        id: "NRD-PC-ROOM3",
        kind: DeviceKind::Computer,
    },
];

/// Something that was done in the room, and when: milliseconds of the room's
/// own time since it was opened.
#[derive(Debug, Clone)]
pub struct Done {
    /// When.
    pub at_ms: u64,
    /// To which device, from 1; 0 for the room.
    pub device: usize,
    /// What, in words.
    pub what: String,
}

/// The room.
pub struct Room {
    service: Arc<Service>,
    samples: Vec<Sample>,
    sets: Vec<Set>,
    seed: u64,
    slow: AtomicU32,
    began: Instant,
    history: Mutex<History>,
    news: watch::Sender<u64>,
}

#[derive(Default)]
struct History {
    shifted_s: u64,
    done: Vec<Done>,
}

/// How long a device may take to hand its tape over: a step, in slow motion.
const PATIENCE: Duration = Duration::from_secs(20);
/// So much is remembered of what was done.
const MAX_HISTORY: usize = 20_000;

impl Room {
    /// Furnishes a room whose devices call `service`. Everything random in
    /// them is a function of `seed`.
    pub fn new(service: &Arc<Service>, samples: &[Sample], seed: u64) -> Arc<Room> {
        let (news, _) = watch::channel(0u64);
        let tell = news.clone();
        let news_fn: Arc<dyn Fn() + Send + Sync> =
            Arc::new(move || tell.send_modify(|n| *n = n.wrapping_add(1)));
        let slow = SPEEDS[1];
        let sets = (1..).zip(&PLANS).map(|(number, plan)| {
            let parts = Parts {
                number,
                plan,
                seed,
                maker: service.keys.maker(),
                service_root: service.keys.root_public(),
                samples,
                slow,
                news: news_fn.clone(),
            };
            Set::new(parts, service)
        });
        Arc::new(Room {
            service: service.clone(),
            samples: samples.to_vec(),
            sets: sets.collect(),
            seed,
            slow: AtomicU32::new(slow),
            began: Instant::now(),
            history: Mutex::default(),
            news,
        })
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The devices.
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// The device of this number, from 1.
    pub fn set(&self, number: usize) -> Option<&Set> {
        self.sets.iter().find(|s| s.number == number)
    }

    /// Whose data could be in the room.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Changes from now on: the value goes up.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn note(&self, device: usize, what: String) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.done.len() < MAX_HISTORY {
            let at_ms = self.began.elapsed().as_millis() as u64 + history.shifted_s * 1000;
            history.done.push(Done {
                at_ms,
                device,
                what,
            });
        }
    }

    /// What was done so far, in order.
    pub fn tape(&self) -> Vec<Done> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.done.clone()
    }

    /// The session so far as a file that `nrd-sim run` plays again: what each
    /// device heard, and its flash. `None` if it became too long, or a device
    /// did not answer.
    pub fn session(&self) -> Option<String> {
        let asked: Vec<_> = (self.sets.iter())
            .map(|set| {
                let (to, from) = sync_channel(1);
                set.act(RoomAct::Save(to));
                (set, from)
            })
            .collect();
        let mut devices = Vec::new();
        for (set, from) in asked {
            let saved = from.recv_timeout(PATIENCE).ok()?;
            devices.push(Recorded {
                id: set.id().to_owned(),
                certificate: hex(&set.inner.certificate),
                flash: hex(&saved.flash),
                tape: saved.tape?,
            });
        }
        let root = self.service.keys.root_public();
        Recording::new(self.seed, &root, devices).text()
    }

    /// Presses a key of a device's remote.
    pub fn press(&self, number: usize, key: Key) {
        if let Some(set) = self.set(number) {
            self.note(number, format!("key {}", key.name()));
            set.act(RoomAct::Key(key));
        }
    }

    /// Pulls a device's plug, or puts it in. Pulled in the middle of an
    /// operation, it tears that operation.
    pub fn plug(&self, number: usize, put_in: bool) {
        let Some(set) = self.set(number) else { return };
        let ops = set.inner.hw.chip().ops();
        if put_in {
            self.note(number, "plug in".to_owned());
            set.inner.plug.put_in();
        } else {
            self.note(number, format!("pull the plug after operation {ops}"));
            set.inner.plug.pull();
        }
        set.act(RoomAct::Wake);
    }

    /// Puts a device's network plug in, or pulls it.
    pub fn network(&self, number: usize, on: bool) {
        if let Some(set) = self.set(number) {
            self.note(number, format!("network {}", if on { "on" } else { "off" }));
            set.act(RoomAct::Network(on));
        }
    }

    /// Lets time pass, at the service and at every device that is on.
    pub fn advance(&self, s: u64) {
        self.note(0, format!("advance {s} s"));
        self.history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .shifted_s += s;
        self.service.advance_s(s);
        for set in &self.sets {
            set.act(RoomAct::Advance(s));
        }
    }

    /// Hands a desk's challenge to a device.
    pub fn prove(&self, number: usize, challenge: Challenge) {
        if let Some(set) = self.set(number) {
            self.note(number, challenge.text());
            set.act(RoomAct::Prove(challenge));
        }
    }

    /// How many times slower than its datasheet flash is.
    pub fn slow(&self) -> u32 {
        self.slow.load(Ordering::SeqCst)
    }

    /// Shows flash this many times slower than its datasheet says.
    pub fn set_slow(&self, slow: u32) {
        if SPEEDS.contains(&slow) {
            self.slow.store(slow, Ordering::SeqCst);
            for set in &self.sets {
                set.inner.plug.set_slow(slow);
            }
            self.news.send_modify(|n| *n = n.wrapping_add(1));
        }
    }
}
