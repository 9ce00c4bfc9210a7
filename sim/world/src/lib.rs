//! A virtual world: real agents on simulated parts, the real service core on a
//! database in memory, and time that passes as fast as it can be computed.
//!
//! ```text
//!   scenario file ── read.rs ──▶ runner.rs ──┐
//!                                          ├──▶ World ──▶ Device (agent, chip) ── frames ──▶ Service
//!   nrd-sim fleet ───────────▶ fleet.rs ───┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `read.rs`, `read/` | a scenario file, read into steps |
//! | `runner.rs` | plays them, and holds what is seen against what was expected |
//! | `device.rs` | one device of a world |
//! | `host.rs` | virtual time and randomness for the service |
//! | `fleet.rs` | many devices |
//! | `room/` | the living room |
//!
//! The living room ([`room`]) lets a person do the same by hand, in real time,
//! on pages of its own.
//!
//! It may use the service, one device, the virtual parts and forensics; nothing
//! but the command line and tests may use it.
//!
//! A discrete-event simulation: each device says when it wants to be called,
//! and the world goes from one such moment to the next. Everything random is a
//! function of the seed, so a world repeats exactly.

mod device;
pub mod fleet;
mod host;
pub mod read;
pub mod room;
pub mod runner;

pub use device::{Device, Made};
pub use host::{BEGINNING_S, Time};

use host::VirtualHost;
use nrd_sim_device::ServiceEndpoint;
use nrd_sim_hw::SplitMix;
use nrd_sim_service::{Keys, Result, Service, Settings};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// The reference service called in process, without a network: every request
/// comes from one documentation address (RFC 5737).
#[derive(Clone)]
pub struct InProcess(pub Arc<Service>);

impl std::ops::Deref for InProcess {
    type Target = Arc<Service>;
    fn deref(&self) -> &Arc<Service> {
        &self.0
    }
}

impl ServiceEndpoint for InProcess {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.0.answer(request, "192.0.2.7").ok()
    }
}

/// The world.
pub struct World {
    /// Virtual time.
    pub time: Time,
    /// The service.
    pub service: Arc<Service>,
    /// Its devices.
    pub devices: Vec<Device>,
    /// The service answers nobody.
    pub service_down: bool,
    draws: SplitMix,
    /// When each device wants to be called; an entry counts if the device still
    /// says so.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    /// Times that a device was called.
    pub events: u64,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, settings: Settings) -> Result<World> {
        let time = Time::default();
        let mut draws = SplitMix(seed);
        let mut secret = || {
            let mut out = [0; 32];
            out.fill_with(|| draws.draw() as u8);
            out
        };
        let keys = Keys::new(&secret(), &secret(), &secret());
        let host = VirtualHost::new(&time, draws.draw());
        let service = Service::in_memory(keys, settings, host)?;
        Ok(World {
            time,
            service,
            devices: Vec::new(),
            service_down: false,
            draws,
            queue: BinaryHeap::new(),
            events: 0,
        })
    }

    /// Brings a new device, off; returns its number.
    pub fn bring(&mut self, made: Made) -> usize {
        let seed = self.draws.draw();
        self.devices.push(Device::new(made, &self.service, seed));
        self.devices.len() - 1
    }

    /// Builds a copy of a device with all that is in it; returns its number.
    pub fn clone_device(&mut self, of: usize) -> usize {
        let seed = self.draws.draw();
        let copy = self.devices[of].cloned(seed);
        self.devices.push(copy);
        self.devices.len() - 1
    }

    /// Switches a device on.
    pub fn power_on(&mut self, n: usize) {
        self.devices[n].power_on(&self.time, &self.service);
        self.call(n);
    }

    /// Switches a device off, between two flash operations.
    pub fn power_off(&mut self, n: usize) {
        self.devices[n].power_off();
    }

    /// Puts a device's network plug in, or pulls it.
    pub fn network(&mut self, n: usize, on: bool) {
        self.devices[n].network(on);
        // A link that comes up is news: no firmware sleeps on.
        if on && self.devices[n].is_on() {
            self.call(n);
        }
    }

    /// Sets a device's wall clock off by `skew_s` seconds.
    pub fn skew(&mut self, n: usize, skew_s: i64) {
        let time = self.time.clone();
        self.devices[n].skew(skew_s, &time);
    }

    /// Lets a device do all that is due now.
    pub fn call(&mut self, n: usize) {
        let service = (!self.service_down).then_some(&self.service);
        let device = &mut self.devices[n];
        device.run(&self.time, service);
        self.events += 1;
        if let Some(wake) = device.wake_ms {
            self.queue.push(Reverse((wake, n)));
        }
    }

    /// Lets `ms` milliseconds pass.
    pub fn pass(&mut self, ms: u64) {
        self.pass_until(self.time.ms() + ms);
    }

    /// Lets time pass until `end`, milliseconds of the world.
    pub fn pass_until(&mut self, end: u64) {
        while let Some(&Reverse((wake, n))) = self.queue.peek() {
            if wake > end {
                break;
            }
            self.queue.pop();
            if self.devices[n].wake_ms == Some(wake) {
                self.time.set(wake.max(self.time.ms()));
                self.call(n);
            }
        }
        self.time.set(end);
    }
}
