//! Posts a request over HTTPS, on any byte stream.
//!
//! ```text
//!   Agent::poll_request ─▶ HTTP/1.1 POST ─▶ TLS 1.3 (rustls, unbuffered) ─▶ Link
//!   Agent::handle_reply ◀─ httparse      ◀─                              ◀─
//! ```
//!
//! TLS 1.3 only, and one or two private roots pinned by the firmware: no system
//! roots. Certificates are judged at every connection by what the device knows of
//! the time then, on hardware without a clock by the newest time that the service
//! signed ([`AgentTime`]). A session may be resumed from a ticket in RAM, which
//! dies with the power and at a wipe. An exchange ends in bounded time, whatever
//! the peer does. Feature `tls`; needs `alloc`, unlike the rest of the crate. A
//! firmware with an HTTPS stack of its own posts the same bytes and does without.

mod error;
mod http;
mod resume;
mod session;
mod time;
mod verify;

pub use error::TlsError;
pub use http::MAX_HEAD;
#[doc(hidden)]
pub use http::read_answer;
pub use time::{AgentTime, CertificateTime, Deadline, KnownTime};

use crate::agent::Agent;
use crate::state::State;
use crate::wire::MAX_FRAME;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use embedded_io::{Read, Write};
use nrd_hal::{Clock as _, Link, Platform};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use time::RustlsTime;
use verify::Verifier;

/// Where a device posts its requests.
pub const PATH: &str = "/device/v1";

/// Most roots that are trusted at a time: the one in use, and the next.
pub const MAX_ROOTS: usize = 2;

/// What a client trusts, and how long it waits.
///
/// ```
/// use nrd_agent::tls::{AgentTime, HttpsClient, HttpsConfig, TlsError};
/// use std::sync::Arc;
///
/// # const CA: &[u8] = &[0x30];
/// // include_bytes!("ca.der") and the time of the build in a product.
/// let client = HttpsClient::new(&HttpsConfig {
///     roots: &[CA],
///     authority: "service.example:8443",
///     time: Arc::new(AgentTime::new(1_795_478_400)),
///     exchange_ms: 80_000, // `wait_s` of 50 s, and half a minute
/// });
/// # assert_eq!(client.unwrap_err(), TlsError::Root);
/// ```
#[derive(Clone)]
pub struct HttpsConfig<'c> {
    /// The pinned roots (certificates, DER): one, or the next beside it while a
    /// service moves from one to the other. Either may have signed.
    pub roots: &'c [&'c [u8]],
    /// The service's name or address with its port, such as `localhost:8443` or
    /// `[::1]:443`.
    pub authority: &'c str,
    /// What is known of the time; asked at every connection.
    pub time: Arc<dyn CertificateTime>,
    /// Milliseconds that an exchange may take in all, longer than
    /// [`Config::wait_s`](crate::Config). One call of the link that blocks may add
    /// its own time-out.
    pub exchange_ms: u32,
}

/// A client that trusts one private root, or two.
pub struct HttpsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    authority: String,
    ticket: Arc<resume::Ticket>,
    time: Arc<dyn CertificateTime>,
    exchange_ms: u32,
}

impl HttpsClient {
    /// # Errors
    /// [`TlsError::Root`] when there is no root, more than [`MAX_ROOTS`], or one
    /// that is no certificate; [`TlsError::Authority`].
    pub fn new(config: &HttpsConfig<'_>) -> Result<HttpsClient, TlsError> {
        if config.roots.is_empty() || config.roots.len() > MAX_ROOTS {
            return Err(TlsError::Root);
        }
        let mut roots = RootCertStore::empty();
        for root in config.roots {
            roots
                .add(CertificateDer::from(root.to_vec()))
                .map_err(|_| TlsError::Root)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|_| TlsError::Root)?;
        let verifier = Arc::new(Verifier::new(webpki, config.time.clone()));
        let time = Arc::new(RustlsTime(config.time.clone()));
        let mut tls = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|_| TlsError::Root)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let ticket = Arc::new(resume::Ticket::new(verifier));
        tls.resumption = Resumption::store(ticket.clone());
        let name = ServerName::try_from(String::from(host(config.authority)))
            .map_err(|_| TlsError::Authority)?;
        Ok(HttpsClient {
            config: Arc::new(tls),
            name,
            authority: String::from(config.authority),
            ticket,
            time: config.time.clone(),
            exchange_ms: config.exchange_ms,
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

    /// Passes on what an agent knows of the time, [`KnownTime::of`], for hosts that
    /// post themselves; [`post`] and [`exchange`] do it.
    pub fn note_time(&self, agent: KnownTime) {
        self.time.note(agent);
    }

    /// The time that an exchange has, from now: make it before the connection.
    pub fn deadline<'c>(&self, uptime_ms: &'c mut dyn FnMut() -> u64) -> Deadline<'c> {
        Deadline::new(uptime_ms, self.exchange_ms)
    }

    /// Posts `body` to `path` and reads the answer into `answer`; returns its
    /// length. An error means that nothing of an answer may be used. The layer below
    /// [`post`](fn@post): with [`AgentTime`] call [`HttpsClient::note_time`] before.
    pub fn post<S: Read + Write>(
        &self,
        stream: &mut S,
        path: &str,
        body: &[u8],
        answer: &mut [u8],
        deadline: &mut Deadline<'_>,
    ) -> Result<usize, TlsError> {
        let request = http::request(&self.authority, path, body);
        let mut response = http::Response::new(answer.len());
        session::run(
            stream,
            self.config.clone(),
            self.name.clone(),
            &request,
            &mut response,
            deadline,
        )?;
        response.copy_body(answer)
    }
}

impl core::fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "HttpsClient({})", self.authority)
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
    client.note_time(KnownTime::of(agent));
    forget_after_account(agent, client);
    let mut uptime_ms = || agent.platform().parts().clock.uptime_ms();
    let mut deadline = client.deadline(&mut uptime_ms);
    let answered = match link.connect() {
        Err(_) => Err(TlsError::Connect),
        Ok(mut stream) => client.post(&mut stream, PATH, request, reply.as_mut(), &mut deadline),
    };
    match answered {
        Ok(n) => {
            let reply = reply.get(..n).unwrap_or_default();
            let handled = agent.handle_reply(reply).map_err(TlsError::Agent);
            forget_after_account(agent, client);
            handled
        }
        Err(e) => {
            agent.exchange_failed();
            Err(e)
        }
    }
}

/// A session that began under an account is not resumed after it: a wipe may
/// begin, and end, between two exchanges.
fn forget_after_account<P: Platform>(agent: &mut Agent<'_, P>, client: &HttpsClient) {
    match agent.state() {
        State::Wiping | State::WipeFailed | State::Clean | State::Filling => {
            client.forget_session()
        }
        State::Booting
        | State::Activating
        | State::Active
        | State::Locked(_)
        | State::SignedOut => {}
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
