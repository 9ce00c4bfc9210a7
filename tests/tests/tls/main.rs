//! The device's HTTPS against servers that are good, broken or hostile, over
//! real sockets on loopback (attacks 27, 28, 29).

use embedded_io_adapters::std::FromStd;
use nrd_agent::tls::{HttpsClient, HttpsConfig, KnownTime, MAX_HEAD, PATH, TlsError, read_answer};
use nrd_sim::hw::SplitMix;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// 2026-11-24.
const NOW: u64 = 1_795_478_400;
const YEAR: u64 = 365 * 86_400;

struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Ca {
        der,
        issuer: Issuer::new(params, key),
    }
}

struct Cert {
    name: &'static str,
    from: u64,
    to: u64,
    self_signed: bool,
    is_ca: bool,
}

const GOOD: Cert = Cert {
    name: "localhost",
    from: NOW - YEAR,
    to: NOW + YEAR,
    self_signed: false,
    is_ca: false,
};

fn date(unix: u64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix as i64).unwrap()
}

fn config(ca: &Ca, cert: &Cert, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
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

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Reads one whole request; `None` when the peer left before.
fn read_request(tls: &mut Tls) -> Option<Vec<u8>> {
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

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("localhost:{port}"))
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (socket, _) = listener.accept().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// A client with a clock.
fn client(ca: &Ca, authority: &str) -> HttpsClient {
    HttpsClient::new(&HttpsConfig {
        roots: &[&ca.der],
        authority,
        time: Arc::new(|| KnownTime::Clock(NOW)),
        exchange_ms: 10_000,
    })
    .unwrap()
}

/// Posts over a socket, with a clock that stands still.
fn post_over(
    client: &HttpsClient,
    socket: TcpStream,
    body: &[u8],
    answer: &mut [u8],
) -> Result<usize, TlsError> {
    let mut uptime_ms = || 0;
    let mut deadline = client.deadline(&mut uptime_ms);
    client.post(&mut FromStd::new(socket), PATH, body, answer, &mut deadline)
}

fn post(ca: &Ca, authority: &str, body: &[u8]) -> Result<Vec<u8>, TlsError> {
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
fn served(
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

fn answered(response: impl AsRef<[u8]> + Send + 'static) -> Result<Vec<u8>, TlsError> {
    served(&GOOD, &rustls::version::TLS13, move |tls| {
        let request = read_request(tls).expect("the whole request");
        assert!(request.starts_with(b"POST /device/v1 HTTP/1.1\r\nHost: localhost:"));
        assert!(request.ends_with(b"\r\n\r\nthe request"));
        let _ = tls.write_all(response.as_ref());
        tls.conn.send_close_notify();
        let _ = tls.flush();
    })
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

#[test]
fn answers_of_every_size_come_back_unchanged() {
    for size in [0, 1, 255, 1024, 1536] {
        let body: Vec<u8> = (0..size).map(|i| i as u8).collect();
        assert_eq!(answered(ok(&body)), Ok(body));
    }
}

#[test]
fn an_answer_in_single_bytes_is_put_together() {
    let answer = served(&GOOD, &rustls::version::TLS13, |tls| {
        read_request(tls).unwrap();
        for b in ok(b"slowly") {
            tls.write_all(&[b]).unwrap();
            tls.flush().unwrap();
        }
    });
    assert_eq!(answer, Ok(b"slowly".to_vec()));
}

#[test]
fn attack_28_certificates_that_prove_nothing_are_refused() {
    let bad = [
        (
            Cert {
                self_signed: true,
                ..GOOD
            },
            TlsError::UnknownIssuer,
        ),
        (
            Cert {
                to: NOW - 86_400,
                ..GOOD
            },
            TlsError::Expired,
        ),
        (
            Cert {
                from: NOW + 86_400,
                ..GOOD
            },
            TlsError::Expired,
        ),
        (
            Cert {
                name: "localhost.example",
                ..GOOD
            },
            TlsError::WrongName,
        ),
        (
            Cert {
                is_ca: true,
                ..GOOD
            },
            TlsError::Certificate,
        ),
    ];
    for (cert, expected) in bad {
        let (told, heard) = mpsc::channel();
        let refused = served(&cert, &rustls::version::TLS13, move |tls| {
            told.send(read_request(tls)).unwrap();
        });
        assert_eq!(refused, Err(expected));
        // Not one byte of the request left the device.
        assert_eq!(heard.recv().unwrap(), None);
    }
}

#[test]
fn attack_29_a_service_with_a_root_of_its_own_is_refused() {
    let (ours, theirs) = (ca(), ca());
    let config = config(&theirs, &GOOD, &rustls::version::TLS13);
    let (listener, authority) = listen();
    let server = thread::spawn(move || {
        let conn = ServerConnection::new(config).unwrap();
        read_request(&mut StreamOwned::new(conn, accept(&listener)))
    });
    assert_eq!(post(&ours, &authority, b"x"), Err(TlsError::UnknownIssuer));
    assert_eq!(server.join().unwrap(), None);
}

#[test]
fn attack_28_nothing_older_than_tls_1_3_is_spoken() {
    let refused = served(&GOOD, &rustls::version::TLS12, |tls| {
        assert_eq!(read_request(tls), None);
    });
    assert_eq!(refused, Err(TlsError::Version));
}

#[test]
fn http_that_was_not_agreed_is_refused() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n";
    let cases: Vec<(String, TlsError)> = vec![
        (
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".into(),
            TlsError::Status(500),
        ),
        (
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into(),
            TlsError::Status(503),
        ),
        (
            "HTTP/1.1 302 Go\r\nLocation: /\r\n\r\n".into(),
            TlsError::Status(302),
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".into(),
            TlsError::Status(101),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n".into(), TlsError::Closed),
        (
            format!("{head}Content-Length: 1537\r\n\r\n"),
            TlsError::TooLarge,
        ),
        (
            format!("{head}Content-Length: 99999999999999999999\r\n\r\n"),
            TlsError::TooLarge,
        ),
        (format!("{head}Content-Length: -1\r\n\r\n"), TlsError::Http),
        // Rust's parser takes a sign, HTTP's grammar does not.
        (format!("{head}Content-Length: +1\r\n\r\nx"), TlsError::Http),
        (format!("{head}Content-Length: \r\n\r\nx"), TlsError::Http),
        (
            format!("{head}Content-Length: 1\r\nContent-Encoding: gzip\r\n\r\nx"),
            TlsError::Encoding,
        ),
        (
            format!("{head}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
            TlsError::Http,
        ),
        (
            format!("{head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"),
            TlsError::Http,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx".into(),
            TlsError::Http,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".into(),
            TlsError::Http,
        ),
        (format!("{head}Content-Length: 1\r\n\r\nxy"), TlsError::Http),
        (
            format!("{head}Content-Length: 9\r\n\r\nshort"),
            TlsError::Closed,
        ),
        (format!("{head}Content-Le"), TlsError::Closed),
        (String::new(), TlsError::Closed),
        ("\u{0}\u{1}\u{2} nonsense\r\n\r\n".into(), TlsError::Http),
        (
            format!(
                "HTTP/1.1 200 OK\r\n{}",
                "X-Drip: 0123456789\r\n".repeat(100_000)
            ),
            TlsError::HeadTooLarge,
        ),
        (
            format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1 << 20)),
            TlsError::HeadTooLarge,
        ),
    ];
    for (response, expected) in cases {
        let shown: String = response.chars().take(90).collect();
        let answer = answered(response);
        // A long answer may be refused before the peer has sent all of it.
        assert_eq!(answer, Err(expected), "{shown:?}");
    }
}

#[test]
fn the_largest_head_with_the_largest_body_is_taken_and_one_byte_more_is_not() {
    let body = [7; 1536];
    let whole = ok(&body);
    let head = whole.len() - body.len();
    for (padding, taken) in [(MAX_HEAD - head, true), (MAX_HEAD + 1 - head, false)] {
        let field = format!("\r\nX: {}", "y".repeat(padding - 5));
        let mut answer = whole.clone();
        answer.splice(15..15, field.into_bytes());
        let mut out = [0; 1536];
        for piece in [1, 700, answer.len()] {
            let read = read_answer(&answer, piece, &mut out);
            let expected = if taken {
                Ok(1536)
            } else {
                Err(TlsError::HeadTooLarge)
            };
            assert_eq!(read, expected, "in pieces of {piece} bytes");
        }
    }
}

#[test]
fn a_service_that_sends_tickets_without_end_is_not_listened_to() {
    let ca = ca();
    let mut config = Arc::unwrap_or_clone(config(&ca, &GOOD, &rustls::version::TLS13));
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    for (tickets, taken) in [(100, true), (500, false), (5_000, false)] {
        config.send_tls13_tickets = tickets;
        let config = Arc::new(config.clone());
        let (listener, authority) = listen();
        let server = thread::spawn(move || {
            let conn = ServerConnection::new(config).unwrap();
            let mut tls = StreamOwned::new(conn, accept(&listener));
            if read_request(&mut tls).is_some() {
                let _ = tls.write_all(&ok(b"fine"));
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        });
        let answer = post(&ca, &authority, b"x");
        server.join().unwrap();
        let expected = if taken {
            Ok(b"fine".to_vec())
        } else {
            Err(TlsError::TooLarge)
        };
        assert_eq!(answer, expected, "{tickets} tickets");
    }
}

#[test]
fn every_error_has_a_number_and_words_of_its_own() {
    use nrd_agent::Error;
    let agent = [
        Error::Busy,
        Error::WrongState,
        Error::NotFound,
        Error::Corrupt,
        Error::Full,
        Error::TooLong,
        Error::BufferTooSmall,
        Error::WornOut,
        Error::Hardware,
        Error::RandomGenerator,
        Error::Crypto,
        Error::Malformed,
        Error::NotForUs,
        Error::Signing,
        Error::WrongType,
        Error::BadSignature,
    ];
    let tls = [
        TlsError::Root,
        TlsError::Authority,
        TlsError::Connect,
        TlsError::Io,
        TlsError::UnknownIssuer,
        TlsError::Expired,
        TlsError::WrongName,
        TlsError::Certificate,
        TlsError::Version,
        TlsError::Protocol,
        TlsError::Closed,
        TlsError::Http,
        TlsError::Status(503),
        TlsError::TooLarge,
        TlsError::HeadTooLarge,
        TlsError::Encoding,
        TlsError::Deadline,
    ];
    let mut said = std::collections::HashSet::new();
    for (n, e) in agent.into_iter().enumerate() {
        assert_eq!(usize::from(e.code()), n + 1);
        assert_eq!(TlsError::Agent(e).code(), e.code());
        assert_eq!(TlsError::Agent(e).to_string(), e.to_string());
        assert!(e.to_string().len() > 10 && said.insert(e.to_string()));
    }
    for (n, e) in tls.into_iter().enumerate() {
        assert_eq!(usize::from(e.code()), n + 101);
        assert!(e.to_string().len() > 10 && said.insert(e.to_string()));
    }
    assert!(TlsError::Status(503).to_string().contains("503"));
}

#[test]
fn a_session_is_resumed_from_ram_and_not_after_it_is_forgotten() {
    use rustls::HandshakeKind::{Full, Resumed};
    let ca = ca();
    let mut config = Arc::unwrap_or_clone(config(&ca, &GOOD, &rustls::version::TLS13));
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    let config = Arc::new(config);
    let (listener, authority) = listen();
    let port = authority.rsplit(':').next().unwrap().to_owned();
    let server = thread::spawn(move || {
        let kinds = (0..5).map(|_| {
            let conn = ServerConnection::new(config.clone()).unwrap();
            let mut tls = StreamOwned::new(conn, accept(&listener));
            read_request(&mut tls).unwrap();
            let _ = tls.write_all(&ok(b"fine"));
            tls.conn.send_close_notify();
            let _ = tls.flush();
            tls.conn.handshake_kind().unwrap()
        });
        kinds.collect::<Vec<_>>()
    });
    let client = || client(&ca, &authority);
    let post = |client: &HttpsClient| {
        let socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let mut answer = [0; 64];
        let n = post_over(client, socket, b"x", &mut answer);
        assert_eq!(n, Ok(4));
    };
    let first = client();
    assert!(!first.remembers_session());
    post(&first);
    assert!(first.remembers_session());
    post(&first);
    post(&first);
    // A wipe begins.
    first.forget_session();
    assert!(!first.remembers_session());
    post(&first);
    // Another boot: nothing was kept but in RAM.
    post(&client());
    let kinds = server.join().unwrap();
    assert_eq!(kinds, [Full, Resumed, Resumed, Full, Full]);
}

#[test]
fn a_service_that_hangs_up_at_any_point_is_an_error_and_nothing_more() {
    let ca = ca();
    let config = config(&ca, &GOOD, &rustls::version::TLS13);
    for limit in [0, 1, 5, 100, 500, 900] {
        let (listener, authority) = listen();
        let config = config.clone();
        let server = thread::spawn(move || {
            let mut socket = accept(&listener);
            let mut conn = ServerConnection::new(config).unwrap();
            conn.read_tls(&mut socket).unwrap();
            conn.process_new_packets().unwrap();
            let mut flight = Vec::new();
            conn.write_tls(&mut flight).unwrap();
            let n = limit.min(flight.len());
            socket.write_all(&flight[..n]).unwrap();
        });
        let refused = post(&ca, &authority, b"x").unwrap_err();
        assert!(
            matches!(refused, TlsError::Closed | TlsError::Io),
            "{refused:?}"
        );
        server.join().unwrap();
    }
}

#[test]
fn attack_27_random_bytes_are_an_error_never_a_panic() {
    let seed = 27;
    println!("seed {seed}");
    let mut draws = SplitMix(seed);
    let ca = ca();
    for round in 0..60 {
        let (listener, authority) = listen();
        let mut noise: Vec<u8> = (0..draws.below(4096)).map(|_| draws.draw() as u8).collect();
        if round % 2 == 0 && noise.len() > 5 {
            // Something like a TLS record, so that it is looked into.
            let n = (noise.len() - 5) as u16;
            noise[0] = [20, 21, 22, 23][round / 2 % 4];
            noise[1..3].copy_from_slice(&[3, 3]);
            noise[3..5].copy_from_slice(&n.to_be_bytes());
        }
        let server = thread::spawn(move || {
            let mut socket = accept(&listener);
            let mut hello = [0; 2048];
            let _ = socket.read(&mut hello);
            let _ = socket.write_all(&noise);
        });
        assert!(post(&ca, &authority, b"x").is_err());
        server.join().unwrap();
    }
}
