//! Tells waiting devices and open pages that something changed.

use super::store::AccountId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

/// Who is to be told.
pub(crate) struct Wake {
    devices: Mutex<HashMap<[u8; 16], Arc<Call>>>,
    pages: broadcast::Sender<Option<AccountId>>,
    stopping: AtomicBool,
}

/// Calls a waiting device.
#[derive(Default)]
struct Call {
    notify: Notify,
    /// The call was for this device, not for everybody.
    meant: AtomicBool,
}

/// A device that waits. Dropping it ends the wait: also when the connection
/// went away.
pub(crate) struct Waiter<'w> {
    wake: &'w Wake,
    activation: [u8; 16],
    call: Arc<Call>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    /// There is something for this device.
    ForYou,
    /// Something may have been missed: look, and wait on.
    Look,
    /// The time is up, or the service stops.
    No,
}

impl Waiter<'_> {
    /// Waits until called, at most until `until`.
    pub(crate) async fn called(&self, until: Instant) -> Called {
        if self.wake.stopping.load(Ordering::SeqCst) {
            return Called::No;
        }
        let called = tokio::time::timeout_at(until, self.call.notify.notified()).await;
        match called {
            Err(_) => Called::No,
            Ok(()) if self.wake.stopping.load(Ordering::SeqCst) => Called::No,
            Ok(()) if self.call.meant.load(Ordering::SeqCst) => Called::ForYou,
            Ok(()) => Called::Look,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut devices = self.wake.devices();
        if devices
            .get(&self.activation)
            .is_some_and(|c| Arc::ptr_eq(c, &self.call))
        {
            devices.remove(&self.activation);
        }
    }
}

impl Default for Wake {
    fn default() -> Self {
        Wake {
            devices: Mutex::default(),
            pages: broadcast::channel(64).0,
            stopping: AtomicBool::new(false),
        }
    }
}

impl Wake {
    fn devices(&self) -> MutexGuard<'_, HashMap<[u8; 16], Arc<Call>>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A wait for an order of this activation. Whoever waited for it before is
    /// not called any more: the device has one connection.
    pub(crate) fn wait_for(&self, activation: [u8; 16]) -> Waiter<'_> {
        let call = Arc::new(Call::default());
        self.devices().insert(activation, call.clone());
        Waiter {
            wake: self,
            activation,
            call,
        }
    }

    /// There is something for this activation's device.
    pub(crate) fn device(&self, activation: &[u8; 16]) {
        if let Some(call) = self.devices().get(activation) {
            call.meant.store(true, Ordering::SeqCst);
            call.notify.notify_one();
        }
    }

    /// Something may have been missed: everybody looks for themselves.
    pub(crate) fn everybody(&self) {
        for call in self.devices().values() {
            call.notify.notify_one();
        }
        let _ = self.pages.send(None);
    }

    /// No more waiting: who waits is answered now.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.everybody();
    }

    /// True after [`Wake::stop`].
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// How many devices wait.
    pub(crate) fn waiting(&self) -> usize {
        self.devices().len()
    }

    /// Something on this account's pages changed.
    pub(crate) fn page(&self, account: AccountId) {
        // No open page is no error.
        let _ = self.pages.send(Some(account));
    }

    /// Changes from now on; `None` for an account that nobody can name.
    pub(crate) fn pages(&self) -> broadcast::Receiver<Option<AccountId>> {
        self.pages.subscribe()
    }
}
