//! TLS session resumption, in RAM alone (RFC 8446 §2.2): one ticket, used at
//! most once, dropped when a wipe begins and gone with the power.

use core::fmt;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use spin::Mutex;

/// The newest ticket. Its secret is zeroized when it is dropped.
#[derive(Default)]
pub(super) struct Ticket(Mutex<Option<Tls13ClientSessionValue>>);

impl Ticket {
    /// Forgets it.
    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }

    /// True while there is one.
    pub(super) fn is_some(&self) -> bool {
        self.0.lock().is_some()
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
        *self.0.lock() = Some(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().take()
    }
}
