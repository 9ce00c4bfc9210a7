//! Certificates and exchanges by what a device knows of the time (SPEC §10,
//! attack 47).

#![expect(
    clippy::let_underscore_must_use,
    reason = "a client may have hung up, which its own end reports"
)]

use crate::peer::{Ca, NOW, YEAR, accept, ca, date, listen, ok, post_over, read_request};
use embedded_io_adapters::std::FromStd;
use nrd_agent::tls::{Deadline, HttpsClient, HttpsConfig, KnownTime, PATH, TlsError};
use nrd_hal::embedded_io;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// When something is valid.
type Life = (u64, u64);

/// A server of `ca` that shows a leaf of this life, signed by an authority in
/// between where there is one.
fn server(ca: &Ca, leaf: Life, between: Option<Life>) -> Arc<ServerConfig> {
    let lived = |mut params: CertificateParams, (from, to): Life| {
        (params.not_before, params.not_after) = (date(from), date(to));
        params
    };
    let key = KeyPair::generate().unwrap();
    let params = lived(
        CertificateParams::new(vec!["localhost".into()]).unwrap(),
        leaf,
    );
    let chain: Vec<CertificateDer<'static>> = match between {
        None => vec![params.signed_by(&key, &ca.issuer).unwrap().der().clone()],
        Some(life) => {
            let its_key = KeyPair::generate().unwrap();
            let mut its = lived(CertificateParams::default(), life);
            its.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let cert = its.signed_by(&its_key, &ca.issuer).unwrap();
            let issuer = Issuer::new(its, its_key);
            let leaf = params.signed_by(&key, &issuer).unwrap();
            vec![leaf.der().clone(), cert.der().clone()]
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    Arc::new(config)
}

fn client(
    roots: &[&[u8]],
    authority: &str,
    known: impl Fn() -> KnownTime + Send + Sync + 'static,
) -> HttpsClient {
    HttpsClient::new(&HttpsConfig {
        roots,
        authority,
        time: Arc::new(known),
        exchange_ms: 10_000,
    })
    .unwrap()
}

/// One exchange.
fn meet(server: &Arc<ServerConfig>, roots: &[&[u8]], known: KnownTime) -> Result<(), TlsError> {
    let (listener, authority) = listen();
    let config = server.clone();
    let served = thread::spawn(move || {
        let conn = ServerConnection::new(config).unwrap();
        let mut tls = StreamOwned::new(conn, accept(&listener));
        let asked = read_request(&mut tls).is_some();
        if asked {
            tls.write_all(&ok(b"fine")).unwrap();
        }
        asked
    });
    let client = client(roots, &authority, move || known);
    let answered = post_to(&client, &authority);
    // A refused certificate is refused before a byte of the request.
    assert_eq!(served.join().unwrap(), answered.is_ok());
    answered
}

fn post_to(client: &HttpsClient, authority: &str) -> Result<(), TlsError> {
    let port = authority.rsplit(':').next().unwrap();
    let socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    post_over(client, socket, b"x", &mut [0; 64]).map(|n| assert_eq!(n, 4))
}

#[test]
fn attack_47_not_before_is_judged_with_a_clock_and_not_after_always() {
    use KnownTime::{AtLeast, Clock};
    let ca = ca();
    let expired = Err(TlsError::Expired);
    let long = (NOW - YEAR, NOW + YEAR);
    let short = (NOW, NOW + 90 * DAY);
    for (leaf, between, known, expected) in [
        // Issued after the firmware was built, or after the last contact.
        (short, None, AtLeast(NOW - 2 * YEAR), Ok(())),
        (short, None, AtLeast(0), Ok(())),
        (short, None, Clock(NOW - 1), expired),
        (short, None, Clock(NOW), Ok(())),
        // Ended before the last contact.
        (short, None, AtLeast(NOW + 90 * DAY), Ok(())),
        (short, None, AtLeast(NOW + 90 * DAY + 1), expired),
        (short, None, Clock(NOW + 90 * DAY + 1), expired),
        // The same for an authority in between, younger or older than the leaf.
        (short, Some(long), AtLeast(0), Ok(())),
        (long, Some(short), AtLeast(0), Ok(())),
        (long, Some(short), AtLeast(NOW - YEAR), Ok(())),
        (long, Some(short), Clock(NOW - DAY), expired),
        (long, Some(short), AtLeast(NOW + 91 * DAY), expired),
        (short, Some(long), AtLeast(NOW + 91 * DAY), expired),
        // Never valid at one moment.
        (short, Some((NOW - YEAR, NOW - 1)), AtLeast(0), expired),
        ((NOW - YEAR, NOW - 1), Some(short), AtLeast(0), expired),
    ] {
        let met = meet(&server(&ca, leaf, between), &[&ca.der], known);
        assert_eq!(met, expected, "{leaf:?} {between:?} {known:?}");
    }
}

#[test]
fn attack_47_without_a_clock_names_and_issuers_are_judged_as_ever() {
    let (ours, theirs) = (ca(), ca());
    let later = (NOW, NOW + 90 * DAY);
    for between in [None, Some(later)] {
        let met = meet(
            &server(&theirs, later, between),
            &[&ours.der],
            KnownTime::AtLeast(0),
        );
        assert_eq!(met, Err(TlsError::UnknownIssuer));
    }
}

#[test]
fn either_of_two_roots_may_have_signed_and_there_is_no_third() {
    let (old, next, other) = (ca(), ca(), ca());
    let both: [&[u8]; 2] = [&old.der, &next.der];
    let life = (NOW, NOW + 90 * DAY);
    for (ca, expected) in [
        (&old, Ok(())),
        (&next, Ok(())),
        (&other, Err(TlsError::UnknownIssuer)),
    ] {
        for known in [KnownTime::AtLeast(0), KnownTime::Clock(NOW)] {
            assert_eq!(meet(&server(ca, life, None), &both, known), expected);
        }
    }
    let new = |roots: &[&[u8]]| {
        let client = HttpsClient::new(&HttpsConfig {
            roots,
            authority: "localhost",
            time: Arc::new(|| KnownTime::AtLeast(0)),
            exchange_ms: 1,
        });
        client.err()
    };
    assert_eq!(new(&[]), Some(TlsError::Root));
    assert_eq!(new(&[&old.der, &[0x30]]), Some(TlsError::Root));
    assert_eq!(
        new(&[&old.der, &next.der, &other.der]),
        Some(TlsError::Root)
    );
    assert_eq!(new(&both), None);
}

#[test]
fn attack_47_the_time_is_asked_at_every_connection_and_tickets_end_with_their_certificate() {
    let ca = ca();
    // Shorter than a ticket's own life.
    let config = server(&ca, (NOW, NOW + 3 * HOUR), None);
    let (listener, authority) = listen();
    // Four exchanges, and a connection that ends in the handshake.
    let served = thread::spawn(move || {
        let kinds = (0..5).map(|_| {
            let conn = ServerConnection::new(config.clone()).unwrap();
            let mut tls = StreamOwned::new(conn, accept(&listener));
            let asked = read_request(&mut tls).is_some();
            if asked {
                tls.write_all(&ok(b"fine")).unwrap();
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
            (asked, tls.conn.handshake_kind())
        });
        kinds.collect::<Vec<_>>()
    });
    let now = Arc::new(AtomicU64::new(NOW));
    let theirs = now.clone();
    let client = client(&[&ca.der], &authority, move || {
        KnownTime::AtLeast(theirs.load(Ordering::SeqCst))
    });
    for hour in [0, 1, 2, 3] {
        now.store(NOW + hour * HOUR, Ordering::SeqCst);
        assert_eq!(post_to(&client, &authority), Ok(()), "hour {hour}");
        assert!(client.remembers_session());
    }
    // A device that was never off, and that a session from its RAM would let in.
    now.store(NOW + 4 * HOUR, Ordering::SeqCst);
    assert_eq!(post_to(&client, &authority), Err(TlsError::Expired));
    assert!(!client.remembers_session());
    use rustls::HandshakeKind::{Full, Resumed};
    let kinds = served.join().unwrap();
    let resumed = (true, Some(Resumed));
    assert_eq!(kinds[..4], [(true, Some(Full)), resumed, resumed, resumed]);
    assert!(!kinds[4].0, "the request left the device");
}

/// Posts with an exchange of 600 ms; how long it took.
fn hurried(ca: &Ca, authority: &str) -> (Result<usize, TlsError>, Duration) {
    let client = HttpsClient::new(&HttpsConfig {
        roots: &[&ca.der],
        authority,
        time: Arc::new(|| KnownTime::Clock(NOW)),
        exchange_ms: 600,
    })
    .unwrap();
    let begin = Instant::now();
    let mut uptime_ms = || begin.elapsed().as_millis() as u64;
    let mut deadline = client.deadline(&mut uptime_ms);
    let port = authority.rsplit(':').next().unwrap();
    let socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let mut stream = FromStd::new(socket);
    let answered = client.post(&mut stream, PATH, b"x", &mut [0; 64], &mut deadline);
    (answered, begin.elapsed())
}

#[test]
fn a_peer_that_drips_holds_no_exchange_beyond_its_time() {
    let ca = ca();
    let config = server(&ca, (NOW, NOW + DAY), None);
    // In the answer, and already in the handshake.
    for in_answer in [true, false] {
        let (listener, authority) = listen();
        let config = config.clone();
        let served = thread::spawn(move || {
            let mut conn = ServerConnection::new(config).unwrap();
            let mut socket = accept(&listener);
            let mut bytes = Vec::new();
            if in_answer {
                let mut tls = StreamOwned::new(conn, socket);
                read_request(&mut tls).unwrap();
                (conn, socket) = tls.into_parts();
                // A record a byte: each is whole, and none is the last.
                for b in ok(b"slow").iter().cycle().take(100) {
                    conn.writer().write_all(&[*b]).unwrap();
                    conn.write_tls(&mut bytes).unwrap();
                    if socket.write_all(&bytes).is_err() {
                        return;
                    }
                    bytes.clear();
                    thread::sleep(Duration::from_millis(50));
                }
            } else {
                conn.read_tls(&mut socket).unwrap();
                conn.process_new_packets().unwrap();
                conn.write_tls(&mut bytes).unwrap();
                for b in bytes.iter().take(100) {
                    if socket.write_all(&[*b]).is_err() {
                        return;
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            }
            // Held to the end: the device did not hang up.
            panic!("the peer could drip for 5 s");
        });
        let (answered, took) = hurried(&ca, &authority);
        assert_eq!(
            answered,
            Err(TlsError::Deadline),
            "in the answer: {in_answer}"
        );
        assert!(took < Duration::from_secs(3), "{took:?}");
        served.join().unwrap();
    }
}

/// A stream to a peer that takes a byte at a time, each after a second.
struct Sip<'t> {
    now_ms: &'t AtomicU64,
    taken: usize,
}

impl embedded_io::ErrorType for Sip<'_> {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Read for Sip<'_> {
    fn read(&mut self, _: &mut [u8]) -> Result<usize, embedded_io::ErrorKind> {
        Err(embedded_io::ErrorKind::TimedOut)
    }
}

impl embedded_io::Write for Sip<'_> {
    fn write(&mut self, _: &[u8]) -> Result<usize, embedded_io::ErrorKind> {
        self.now_ms.fetch_add(1_000, Ordering::SeqCst);
        self.taken += 1;
        Ok(1)
    }
    fn flush(&mut self) -> Result<(), embedded_io::ErrorKind> {
        Ok(())
    }
}

#[test]
fn a_peer_that_takes_a_byte_a_second_holds_no_exchange_beyond_its_time() {
    let client = client(&[&ca().der], "localhost", || KnownTime::AtLeast(0));
    let now_ms = AtomicU64::new(5_000);
    let mut uptime_ms = || now_ms.load(Ordering::SeqCst);
    let mut deadline: Deadline<'_> = client.deadline(&mut uptime_ms);
    let mut sip = Sip {
        now_ms: &now_ms,
        taken: 0,
    };
    let refused = client.post(&mut sip, PATH, b"x", &mut [0; 64], &mut deadline);
    assert_eq!(refused, Err(TlsError::Deadline));
    assert_eq!(sip.taken, 10);
}
