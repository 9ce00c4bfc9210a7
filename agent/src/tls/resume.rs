//! TLS session resumption, in RAM alone (RFC 8446 §2.2): one ticket, used at
//! most once, only while its certificate is accepted, dropped when a wipe begins
//! and gone with the power.

use super::verify::Verifier;
use alloc::sync::Arc;
use core::fmt;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use spin::Mutex;

/// The newest ticket. Its secret is zeroized when it is dropped.
pub(super) struct Ticket {
    newest: Mutex<Option<Tls13ClientSessionValue>>,
    verifier: Arc<Verifier>,
}

impl Ticket {
    /// None yet; `verifier` has accepted the certificates of those to come.
    pub(super) fn new(verifier: Arc<Verifier>) -> Ticket {
        Ticket {
            newest: Mutex::new(None),
            verifier,
        }
    }

    /// Forgets it.
    pub(super) fn forget(&self) {
        *self.newest.lock() = None;
    }

    /// True while there is one.
    pub(super) fn is_some(&self) -> bool {
        self.newest.lock().is_some()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

/// One client talks to one service: the name is always the same.
impl ClientSessionStore for Ticket {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        *self.newest.lock() = Some(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let ticket = self.newest.lock().take();
        ticket.filter(|_| self.verifier.still_accepts())
    }
}
