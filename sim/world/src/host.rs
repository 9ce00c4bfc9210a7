//! The machine that a virtual service runs on: its clock is the world's, its
//! randomness a function of the world's seed.

use nrd_sim_hw::SplitMix;
use nrd_sim_service::Result;
use nrd_sim_service::host::Host;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// When every world begins: 1 January 2026, 00:00 UTC, Unix seconds.
pub const BEGINNING_S: u64 = 1_767_225_600;

/// Virtual time: milliseconds since the world began.
#[derive(Debug, Clone, Default)]
pub struct Time(Arc<AtomicU64>);

impl Time {
    /// Now, in milliseconds.
    pub fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    /// Now, Unix seconds.
    pub fn unix_s(&self) -> u64 {
        BEGINNING_S + self.ms() / 1000
    }
}

/// Time and randomness of a virtual service.
pub(super) struct VirtualHost {
    time: Time,
    draws: Mutex<SplitMix>,
}

impl VirtualHost {
    pub(super) fn new(time: &Time, seed: u64) -> VirtualHost {
        VirtualHost {
            time: time.clone(),
            draws: Mutex::new(SplitMix(seed)),
        }
    }
}

impl Host for VirtualHost {
    fn now_s(&self) -> u64 {
        self.time.unix_s()
    }

    fn fill(&self, out: &mut [u8]) -> Result<()> {
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        out.fill_with(|| draws.draw() as u8);
        Ok(())
    }
}
