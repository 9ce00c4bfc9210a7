//! Posts a request over HTTPS, on any byte stream.
//!
//! ```text
//!   Agent::poll_request ─▶ HTTP/1.1 POST ─▶ TLS 1.3 (rustls, unbuffered) ─▶ Link
//!   Agent::handle_reply ◀─ httparse      ◀─                              ◀─
//! ```
//!
//! TLS 1.3 only, and one private root pinned by the firmware: no system roots.
//! A session may be resumed from a ticket in RAM, which dies with the power and
//! at a wipe. Feature `tls`; needs `alloc`, unlike the rest of
//! the crate. A firmware with an HTTPS stack of its own posts the same bytes
//! and does without.

mod error;
mod http;
mod resume;
mod session;

pub use error::TlsError;
#[doc(hidden)]
pub use http::read_answer;

use crate::agent::Agent;
use crate::state::State;
use crate::wire::MAX_FRAME;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use core::time::Duration;
use embedded_io::{Read, Write};
use nrd_hal::{Link, Platform};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};

/// Where a device posts its requests.
pub const PATH: &str = "/device/v1";

/// Certificates are judged at this time: for a device without a clock of its
/// own, the agent's time floor or the firmware's build time will do.
#[derive(Debug, Clone, Copy)]
pub struct FixedTime(
    /// Unix seconds.
    pub u64,
);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// A client that trusts one private root.
#[derive(Debug)]
pub struct HttpsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    authority: String,
    ticket: Arc<resume::Ticket>,
}

impl HttpsClient {
    /// `root` is the pinned certificate (DER); `authority` is the service's
    /// name or address with its port, such as `localhost:8443` or `[::1]:443`;
    /// `time` says when certificates are judged.
    pub fn new(
        root: &[u8],
        authority: &str,
        time: Arc<dyn TimeProvider>,
    ) -> Result<HttpsClient, TlsError> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(root.to_vec()))
            .map_err(|_| TlsError::Root)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|_| TlsError::Root)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let ticket = Arc::new(resume::Ticket::default());
        config.resumption = Resumption::store(ticket.clone());
        let name =
            ServerName::try_from(String::from(host(authority))).map_err(|_| TlsError::Authority)?;
        Ok(HttpsClient {
            config: Arc::new(config),
            name,
            authority: String::from(authority),
            ticket,
        })
    }

    /// Forgets the session that the next connection would resume. Call it when
    /// a wipe begins; [`post`] and [`exchange`] do.
    pub fn forget_session(&self) {
        self.ticket.forget();
    }

    /// True while the next connection would resume the session of the last.
    pub fn remembers_session(&self) -> bool {
        self.ticket.is_some()
    }

    /// Posts `body` to `path` and reads the answer into `answer`; returns its
    /// length. An error means that nothing of an answer may be used.
    pub fn post<S: Read + Write>(
        &self,
        stream: &mut S,
        path: &str,
        body: &[u8],
        answer: &mut [u8],
    ) -> Result<usize, TlsError> {
        let request = http::request(&self.authority, path, body);
        let mut response = http::Response::new(answer.len());
        session::run(
            stream,
            self.config.clone(),
            self.name.clone(),
            &request,
            &mut response,
        )?;
        response.copy_body(answer)
    }
}

/// The host of an authority, without port and brackets.
fn host(authority: &str) -> &str {
    if let Some((inner, _)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return inner;
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

/// Posts a request that [`Agent::poll`] asked to post ([`crate::Next::Post`]) over
/// a new connection, and hands the agent the reply, or the news that none came.
///
/// # Errors
/// Why there is no reply, or why the agent refused it. Nothing needs to be done
/// about it: the agent has backed off, and nothing it keeps has changed.
pub fn post<P: Platform, L: Link>(
    agent: &mut Agent<'_, P>,
    client: &HttpsClient,
    link: &mut L,
    request: &[u8],
) -> Result<(), TlsError> {
    // A reply may carry a token.
    let mut reply = zeroize::Zeroizing::new([0u8; MAX_FRAME]);
    let answered = match link.connect() {
        Err(_) => Err(TlsError::Connect),
        Ok(mut stream) => client.post(&mut stream, PATH, request, reply.as_mut()),
    };
    match answered {
        Ok(n) => {
            let reply = reply.get(..n).unwrap_or_default();
            let handled = agent.handle_reply(reply).map_err(TlsError::Agent);
            if agent.state() == State::Wiping {
                client.forget_session();
            }
            handled
        }
        Err(e) => {
            agent.exchange_failed();
            Err(e)
        }
    }
}

/// One whole exchange, if one is due: request, connection, reply. `Ok(false)`
/// when there is nothing to say now. After any failure on the way the agent
/// backs off, and nothing it keeps has changed. For hosts that step the agent
/// themselves; with [`Agent::poll`] it is [`post`].
pub fn exchange<P: Platform, L: Link>(
    agent: &mut Agent<'_, P>,
    client: &HttpsClient,
    link: &mut L,
) -> Result<bool, TlsError> {
    let mut request = [0u8; MAX_FRAME];
    let Some(n) = agent.poll_request(&mut request).map_err(TlsError::Agent)? else {
        return Ok(false);
    };
    let body = request.get(..n).unwrap_or_default();
    post(agent, client, link, body).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_of_an_authority_has_no_port_and_no_brackets() {
        assert_eq!(host("localhost:8443"), "localhost");
        assert_eq!(host("localhost"), "localhost");
        assert_eq!(host("[::1]:443"), "::1");
        assert_eq!(host("192.0.2.1:1"), "192.0.2.1");
    }
}
