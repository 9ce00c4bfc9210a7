//! Servers that answer as a test says, and a device's client.

use embedded_io_adapters::std::FromStd;
use nrd_agent::tls::{HttpsClient, HttpsConfig, KnownTime, PATH, TlsError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// 2026-11-24.
pub(crate) const NOW: u64 = 1_795_478_400;
pub(crate) const YEAR: u64 = 365 * 86_400;

pub(crate) struct Ca {
    pub(crate) der: Vec<u8>,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

pub(crate) fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Ca {
        der,
        issuer: Issuer::new(params, key),
    }
}

pub(crate) struct Cert {
    pub(crate) name: &'static str,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) self_signed: bool,
    pub(crate) is_ca: bool,
}

pub(crate) const GOOD: Cert = Cert {
    name: "localhost",
    from: NOW - YEAR,
    to: NOW + YEAR,
    self_signed: false,
    is_ca: false,
};

pub(crate) fn date(unix: u64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix as i64).unwrap()
}

pub(crate) fn config(
    ca: &Ca,
    cert: &Cert,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![cert.name.into()]).unwrap();
    params.not_before = date(cert.from);
    params.not_after = date(cert.to);
    if cert.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let signed = if cert.self_signed {
        params.self_signed(&key).unwrap()
    } else {
        params.signed_by(&key, &ca.issuer).unwrap()
    };
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![CertificateDer::from(signed.der().to_vec())];
    Arc::new(
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, der)
            .unwrap(),
    )
}

pub(crate) type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Reads one whole request; `None` when the peer left before.
pub(crate) fn read_request(tls: &mut Tls) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut buf = [0; 512];
    loop {
        let n = tls.read(&mut buf).ok().filter(|&n| n > 0)?;
        all.extend_from_slice(&buf[..n]);
        if let Some(at) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..at]).to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
            if all.len() >= at + 4 + length {
                return Some(all);
            }
        }
    }
}

pub(crate) fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("localhost:{port}"))
}

pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (socket, _) = listener.accept().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// A client with a clock.
pub(crate) fn client(ca: &Ca, authority: &str) -> HttpsClient {
    HttpsClient::new(&HttpsConfig {
        roots: &[&ca.der],
        authority,
        time: Arc::new(|| KnownTime::Clock(NOW)),
        exchange_ms: 10_000,
    })
    .unwrap()
}

/// Posts over a socket, with a clock that stands still.
pub(crate) fn post_over(
    client: &HttpsClient,
    socket: TcpStream,
    body: &[u8],
    answer: &mut [u8],
) -> Result<usize, TlsError> {
    let mut uptime_ms = || 0;
    let mut deadline = client.deadline(&mut uptime_ms);
    client.post(&mut FromStd::new(socket), PATH, body, answer, &mut deadline)
}

pub(crate) fn post(ca: &Ca, authority: &str, body: &[u8]) -> Result<Vec<u8>, TlsError> {
    let client = client(ca, authority);
    let port = authority.rsplit(':').next().unwrap();
    let socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut answer = vec![0; 1536];
    let n = post_over(&client, socket, body, &mut answer)?;
    answer.truncate(n);
    Ok(answer)
}

/// One exchange with a server that does `serve` after the TLS handshake.
pub(crate) fn served(
    cert: &Cert,
    version: &'static SupportedProtocolVersion,
    serve: impl FnOnce(&mut Tls) + Send + 'static,
) -> Result<Vec<u8>, TlsError> {
    let ca = ca();
    let config = config(&ca, cert, version);
    let (listener, authority) = listen();
    let server = thread::spawn(move || {
        let conn = ServerConnection::new(config).unwrap();
        serve(&mut StreamOwned::new(conn, accept(&listener)));
    });
    let answer = post(&ca, &authority, b"the request");
    server.join().unwrap();
    answer
}

/// The client may have hung up already: that is what it makes of the peer, and the
/// test looks at it.
pub(crate) fn or_hung_up<T>(done: std::io::Result<T>) {
    if let Err(e) = done {
        println!("the client hung up: {e}");
    }
}

pub(crate) fn answered(response: impl AsRef<[u8]> + Send + 'static) -> Result<Vec<u8>, TlsError> {
    served(&GOOD, &rustls::version::TLS13, move |tls| {
        let request = read_request(tls).expect("the whole request");
        assert!(request.starts_with(b"POST /device/v1 HTTP/1.1\r\nHost: localhost:"));
        assert!(request.ends_with(b"\r\n\r\nthe request"));
        or_hung_up(tls.write_all(response.as_ref()));
        tls.conn.send_close_notify();
        or_hung_up(tls.flush());
    })
}

pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}
