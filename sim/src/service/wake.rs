//! Tells waiting devices and open pages that something changed.

use super::store::AccountId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, broadcast};

/// Who is to be told.
pub(crate) struct Wake {
    devices: Mutex<HashMap<[u8; 16], Arc<Notify>>>,
    pages: broadcast::Sender<AccountId>,
}

impl Default for Wake {
    fn default() -> Self {
        Wake {
            devices: Mutex::default(),
            pages: broadcast::channel(64).0,
        }
    }
}

impl Wake {
    /// A handle that an order for this activation will notify. Nobody else may
    /// be waiting for it.
    pub(crate) fn wait_for(&self, activation: [u8; 16]) -> Arc<Notify> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let notify = Arc::new(Notify::new());
        devices.insert(activation, notify.clone());
        notify
    }

    /// Nobody waits any more.
    pub(crate) fn leave(&self, activation: [u8; 16], notify: &Arc<Notify>) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if devices
            .get(&activation)
            .is_some_and(|n| Arc::ptr_eq(n, notify))
        {
            devices.remove(&activation);
        }
    }

    /// There is something for this activation's device.
    pub(crate) fn device(&self, activation: &[u8; 16]) {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = devices.get(activation) {
            n.notify_one();
        }
    }

    /// Something on this account's pages changed.
    pub(crate) fn page(&self, account: AccountId) {
        // No open page is no error.
        let _ = self.pages.send(account);
    }

    /// Changes from now on.
    pub(crate) fn pages(&self) -> broadcast::Receiver<AccountId> {
        self.pages.subscribe()
    }
}
