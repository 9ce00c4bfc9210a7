//! Wakes waiting devices and open pages when something changed.
//!
//! It works within one process. Processes on one database tell each other by
//! [`crate::store::Announcement`]s, which end here as well.

use super::store::AccountId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

/// The devices that wait for an order, and the pages that are open.
pub(crate) struct Notifier {
    devices: Mutex<HashMap<[u8; 16], Arc<WaitSlot>>>,
    pages: broadcast::Sender<Option<AccountId>>,
    stopping: AtomicBool,
}

/// Where one waiting device is woken.
#[derive(Default)]
struct WaitSlot {
    notify: Notify,
    /// The wakeup was for this device alone, not for every device.
    for_this_device: AtomicBool,
}

/// A device that waits. Dropping it ends the wait, also when the connection
/// broke.
pub(crate) struct Waiter<'n> {
    notifier: &'n Notifier,
    activation: [u8; 16],
    slot: Arc<WaitSlot>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakeup {
    /// Something changed for this device: an order, most likely.
    Order,
    /// A notification may have been missed: look in the database, and wait on.
    Recheck,
    /// The time is up, or the service stops.
    TimeUp,
}

impl Waiter<'_> {
    /// Waits until woken, at most until `until`.
    pub(crate) async fn wait(&self, until: Instant) -> Wakeup {
        if self.notifier.stopping() {
            return Wakeup::TimeUp;
        }
        let woken = tokio::time::timeout_at(until, self.slot.notify.notified()).await;
        match woken {
            Err(_) => Wakeup::TimeUp,
            Ok(()) if self.notifier.stopping() => Wakeup::TimeUp,
            Ok(()) if self.slot.for_this_device.load(Ordering::SeqCst) => Wakeup::Order,
            Ok(()) => Wakeup::Recheck,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut devices = self.notifier.devices();
        // A newer wait of the same device has a slot of its own, which stays.
        if devices
            .get(&self.activation)
            .is_some_and(|slot| Arc::ptr_eq(slot, &self.slot))
        {
            devices.remove(&self.activation);
        }
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Notifier {
            devices: Mutex::default(),
            pages: broadcast::channel(64).0,
            stopping: AtomicBool::new(false),
        }
    }
}

impl Notifier {
    fn devices(&self) -> MutexGuard<'_, HashMap<[u8; 16], Arc<WaitSlot>>> {
        // The map is whole between any two calls: a panic elsewhere left no
        // half of a change in it.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A wait for an order of this activation. An earlier wait of the same
    /// activation is not woken any more: a device has one connection.
    pub(crate) fn wait_for(&self, activation: [u8; 16]) -> Waiter<'_> {
        let slot = Arc::new(WaitSlot::default());
        self.devices().insert(activation, slot.clone());
        Waiter {
            notifier: self,
            activation,
            slot,
        }
    }

    /// Wakes the device of this activation, if it waits here.
    pub(crate) fn device(&self, activation: &[u8; 16]) {
        if let Some(slot) = self.devices().get(activation) {
            slot.for_this_device.store(true, Ordering::SeqCst);
            slot.notify.notify_one();
        }
    }

    /// Wakes every device and page: a notification may have been missed.
    pub(crate) fn everybody(&self) {
        for slot in self.devices().values() {
            slot.notify.notify_one();
        }
        // It fails only when no page is open.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "it fails only when no page is open"
        )]
        let _ = self.pages.send(None);
    }

    /// Ends every wait now, and every later one at once.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.everybody();
    }

    /// True after [`Notifier::stop`].
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// How many devices wait.
    pub(crate) fn waiting(&self) -> usize {
        self.devices().len()
    }

    /// How many event streams to browsers are open.
    pub(crate) fn streams(&self) -> usize {
        self.pages.receiver_count()
    }

    /// Wakes the open pages of this account.
    pub(crate) fn page(&self, account: AccountId) {
        // It fails only when no page is open.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "it fails only when no page is open"
        )]
        let _ = self.pages.send(Some(account));
    }

    /// The accounts whose pages change from now on; `None` stands for every
    /// account.
    pub(crate) fn pages(&self) -> broadcast::Receiver<Option<AccountId>> {
        self.pages.subscribe()
    }
}
