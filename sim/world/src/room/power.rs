//! The plug, and the time that flash takes.
//!
//! Before each operation the device's thread waits for as long as the part's
//! datasheet says the operation takes. Whoever pulls the plug meanwhile strikes
//! that very operation: some of its bits change, some stay, some are left
//! unstable.

use super::recording::{Shared, note};
use nrd_sim_hw::{FaultMode, Hardware, Op, Pace, PlannedFault, modelled_ns};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the plug does to the operation in which it is pulled.
pub(super) fn strike(operation: u64) -> PlannedFault {
    PlannedFault {
        at: operation,
        tear: FaultMode::Random,
        unstable: true,
    }
}

/// The plug of one device.
pub(super) struct Plug {
    cut: Mutex<bool>,
    bell: Condvar,
    /// Flash takes this many times its modelled time.
    slow: AtomicU32,
}

impl Plug {
    pub(super) fn new(slow: u32) -> Arc<Plug> {
        Arc::new(Plug {
            cut: Mutex::new(true),
            bell: Condvar::new(),
            slow: AtomicU32::new(slow),
        })
    }

    fn cut(&self) -> MutexGuard<'_, bool> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pull(&self) {
        *self.cut() = true;
        self.bell.notify_all();
    }

    pub(super) fn put_in(&self) {
        *self.cut() = false;
    }

    pub(super) fn is_out(&self) -> bool {
        *self.cut()
    }

    pub(super) fn set_slow(&self, slow: u32) {
        self.slow.store(slow, Ordering::SeqCst);
    }

    /// Lets an operation take its time; true when the plug was pulled in it.
    fn wait(&self, op: &Op) -> bool {
        let ns = modelled_ns(op).saturating_mul(self.slow.load(Ordering::SeqCst).into());
        let cut = self.cut();
        let waited = self
            .bell
            .wait_timeout_while(cut, Duration::from_nanos(ns), |cut| !*cut);
        match waited {
            Ok((cut, _)) => *cut,
            Err(_) => true,
        }
    }

    /// What the chip calls before each operation; `tell` hears of it.
    pub(super) fn pace(
        self: &Arc<Plug>,
        tape: Shared,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> Pace {
        let plug = self.clone();
        Arc::new(move |hw: &Hardware, op: &Op| {
            tell();
            if plug.wait(op) {
                let mut chip = hw.chip();
                // What the agent tries after the cut strikes nothing more.
                if chip.is_off() {
                    return;
                }
                note(&tape, format!("cut {}", chip.ops()));
                let fault = strike(chip.ops());
                chip.plan(Some(fault));
            }
        })
    }
}
