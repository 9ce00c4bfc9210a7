//! The device's HTTPS against servers that are good, broken or hostile, over
//! real sockets on loopback (attacks 27, 28, 29).

mod http;
mod peer;
mod renewals;
mod time;

use nrd_agent::tls::{HttpsClient, TlsError};
use nrd_sim::hw::SplitMix;
use peer::{Cert, GOOD, NOW, accept, ca, client, config, listen, ok, post, post_over};
use peer::{or_hung_up, read_request, served};
use rustls::{ServerConnection, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

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
                or_hung_up(tls.write_all(&ok(b"fine")));
                tls.conn.send_close_notify();
                or_hung_up(tls.flush());
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
            or_hung_up(tls.write_all(&ok(b"fine")));
            tls.conn.send_close_notify();
            or_hung_up(tls.flush());
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
            or_hung_up(socket.read(&mut hello));
            or_hung_up(socket.write_all(&noise));
        });
        assert!(post(&ca, &authority, b"x").is_err());
        server.join().unwrap();
    }
}
