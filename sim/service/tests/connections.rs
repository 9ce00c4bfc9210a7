//! Clients that send slowly, stop in the middle, send too much, or come in crowds:
//! over real sockets, against short limits.

use axum::Router;
use axum::routing::get;
use nrd_sim_base::sample::Samples;
use nrd_sim_service::connections::Limits;
use nrd_sim_service::desk::Condition;
use nrd_sim_service::pages::{ByCable, DeskState, Neighbour};
use nrd_sim_service::server::{Ports, Running, ServerOptions, start_with};
use nrd_sim_service::{Service, Settings, blocking};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tempfile::TempDir;

/// Cut clients are waited for this long. The limits are much shorter.
const WITHIN: Duration = Duration::from_secs(60);
const HONEST: Ipv4Addr = Ipv4Addr::LOCALHOST;

struct Site {
    running: Running,
    dir: TempDir,
}

impl Site {
    fn new(limits: Limits) -> Site {
        Site::beside(limits, None)
    }

    fn beside(limits: Limits, neighbour: Option<Arc<dyn Neighbour>>) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::open(dir.path(), Settings::default()).unwrap();
        service.add_samples(&Samples::read(None).unwrap()).unwrap();
        let ports = Ports { tls: 0, pages: 0 };
        let options = ServerOptions {
            limits,
            neighbour,
            ..ServerOptions::default()
        };
        let running = start_with(service, dir.path(), ports, options).unwrap();
        Site { running, dir }
    }

    /// A connection from an address of this machine: 127.0.0.0/8 are all its own.
    fn from(&self, address: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Small, so that what is not read soon stops the sender.
        socket.set_recv_buffer_size(4096)?;
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.set_read_timeout(Some(WITHIN))?;
        socket.set_write_timeout(Some(WITHIN))?;
        Ok(socket.into())
    }

    fn pages(&self) -> TcpStream {
        let port = self.running.pages_port;
        self.from(Ipv4Addr::new(127, 0, 0, 53), port).unwrap()
    }

    fn device_port(&self) -> TcpStream {
        let port = self.running.device_port;
        self.from(Ipv4Addr::new(127, 0, 0, 53), port).unwrap()
    }

    fn tls(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.dir.path().join("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(
            ClientConnection::new(Arc::new(config), name).unwrap(),
            stream,
        )
    }
}

fn short() -> Limits {
    let s = Duration::from_secs;
    Limits {
        in_all: 40,
        per_address: 24,
        handshake: s(3),
        first_request: s(3),
        next_request: s(3),
        body: s(3),
        stalled: s(3),
    }
}

/// One request on a connection that stays; the answer's status.
fn ask(line: &mut (impl Read + Write), request: &str) -> io::Result<u16> {
    line.write_all(request.as_bytes())?;
    line.flush()?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .map_or(0, |n| n.trim().parse::<usize>().unwrap());
            if answer.len() >= head + 4 + length {
                let status = text.split(' ').nth(1).unwrap();
                return Ok(status.parse().unwrap());
            }
        }
        match line.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => answer.extend_from_slice(&part[..n]),
        }
    }
}

const GET: &str = "GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n";
const NO_FRAME: &str =
    "POST /device/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nno frame";

/// Waits until the server has ended the connection; what it said before.
fn until_cut(line: &mut impl Read, who: &str) -> String {
    let mut said = Vec::new();
    let mut part = [0; 4096];
    loop {
        match line.read(&mut part) {
            Ok(0) => break,
            Ok(n) => said.extend_from_slice(&part[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => panic!("{who} was not cut"),
            // Reset, or TLS without its good-bye.
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Sends a byte now and then until the server has ended the connection.
fn drip(mut line: TcpStream, begin: &str, who: &str) {
    line.write_all(begin.as_bytes()).unwrap();
    let until = std::time::Instant::now() + WITHIN;
    while line.write_all(b"a").is_ok() {
        assert!(std::time::Instant::now() < until, "{who} was not cut");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A person and a device go on while everybody else is slow.
fn honest(site: &Site, stop: &AtomicBool) -> u32 {
    let mut rounds = 0;
    let connect = |port| site.from(HONEST, port).unwrap();
    let mut page = connect(site.running.pages_port);
    let mut device = site.tls(connect(site.running.device_port));
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(ask(&mut page, GET).unwrap(), 200);
        assert_eq!(ask(&mut device, NO_FRAME).unwrap(), 200);
        rounds += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    rounds
}

#[test]
fn attack_53_slow_half_open_and_never_finishing_clients_are_cut_and_an_honest_one_goes_on() {
    let site = Site::new(short());
    let stop = AtomicBool::new(false);
    const FORM: &str = "POST /login HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000\r\n\r\ncsrf=";
    const HEAD: &str = "GET /login HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    type Attack = fn(&Site);
    let attacks: [(&str, Attack); 10] = [
        ("silence before TLS", |s| {
            until_cut(&mut s.device_port(), "silence before TLS");
        }),
        ("half a TLS greeting", |s| {
            let mut line = s.device_port();
            line.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
            until_cut(&mut line, "half a TLS greeting");
        }),
        ("silence after TLS", |s| {
            let mut line = s.tls(s.device_port());
            line.conn.complete_io(&mut line.sock).unwrap();
            until_cut(&mut line, "silence after TLS");
        }),
        ("silence", |s| {
            until_cut(&mut s.pages(), "silence");
        }),
        ("half a head", |s| {
            let mut line = s.pages();
            line.write_all(HEAD.as_bytes()).unwrap();
            until_cut(&mut line, "half a head");
        }),
        ("a head that drips", |s| {
            drip(s.pages(), HEAD, "a head that drips");
        }),
        ("half a body", |s| {
            let mut line = s.pages();
            line.write_all(FORM.as_bytes()).unwrap();
            let said = until_cut(&mut line, "half a body");
            assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        }),
        ("a body that drips", |s| {
            drip(s.pages(), FORM, "a body that drips");
        }),
        ("silence after an answer", |s| {
            let mut line = s.pages();
            assert_eq!(ask(&mut line, GET).unwrap(), 200);
            until_cut(&mut line, "silence after an answer");
        }),
        ("an answer that nobody reads", |s| {
            let mut line = s.pages();
            // As many as it takes until the server cannot send on.
            let until = std::time::Instant::now() + WITHIN;
            loop {
                match line.write_all(&GET.as_bytes().repeat(50)) {
                    Ok(()) => {
                        assert!(std::time::Instant::now() < until, "everything was taken");
                    }
                    Err(e) => {
                        let cut = !matches!(e.kind(), io::ErrorKind::WouldBlock);
                        assert!(cut, "an answer that nobody reads was not cut");
                        break;
                    }
                }
            }
        }),
    ];
    std::thread::scope(|scope| {
        let person = scope.spawn(|| honest(&site, &stop));
        let attackers: Vec<_> = attacks
            .map(|(name, attack)| {
                let site = &site;
                (name, scope.spawn(move || attack(site)))
            })
            .into_iter()
            .collect();
        let failed: Vec<&str> = attackers
            .into_iter()
            .filter_map(|(name, a)| a.join().is_err().then_some(name))
            .collect();
        stop.store(true, Ordering::Relaxed);
        let rounds = person.join().unwrap();
        println!("the honest person and device went on for {rounds} rounds");
        assert_eq!(failed, [""; 0]);
    });
}

#[test]
fn attack_53_too_large_heads_forms_and_frames_are_refused() {
    let site = Site::new(Limits::default());
    let large_head = format!(
        "GET /login HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    // The server may end the connection while the rest is still being sent.
    let sent = |request: String| {
        let mut line = site.pages();
        let mut reader = line.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || line.write_all(request.as_bytes()).is_ok());
            until_cut(&mut reader, "too large")
        })
    };
    let said = sent(large_head);
    assert!(
        said.starts_with("HTTP/1.1 431 ") || said.is_empty(),
        "{said}"
    );
    let mut line = site.pages();
    let form = "a".repeat(20_000);
    let post = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 20000\r\n\r\n{form}"
    );
    assert_eq!(ask(&mut line, &post).unwrap(), 413);
    let mut line = site.tls(site.device_port());
    let post = format!(
        "POST /device/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n{form}"
    );
    assert_eq!(ask(&mut line, &post).unwrap(), 413);
    // A body without an announced end.
    let mut line = site.pages();
    let endless = "POST /login HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n";
    line.write_all(endless.as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(4096));
    let mut chunks = 0;
    while line.write_all(chunk.as_bytes()).is_ok() {
        chunks += 1;
        assert!(chunks < 10_000, "an endless body was taken");
    }
}

/// Connections that the server has kept: it has answered on them.
fn kept(site: &Site, address: Ipv4Addr, wanted: usize) -> Vec<TcpStream> {
    let lines = (0..wanted).filter_map(|_| {
        let mut line = site.from(address, site.running.pages_port).ok()?;
        ask(&mut line, GET).is_ok().then_some(line)
    });
    lines.collect()
}

#[test]
fn attack_53_a_crowd_of_connections_from_one_address_takes_nothing_from_another() {
    let limits = Limits {
        in_all: 40,
        per_address: 24,
        ..Limits::default()
    };
    let site = Site::new(limits);
    let [first, second, third] = [2, 3, 4].map(|n| Ipv4Addr::new(127, 0, 0, n));
    let crowd = kept(&site, first, 60);
    assert_eq!(crowd.len(), 24);
    let neighbours = kept(&site, second, 1);
    assert_eq!(neighbours.len(), 1, "another address is served");
    let rest = kept(&site, third, 60);
    assert_eq!(rest.len(), 40 - 25, "all of them together");
    assert_eq!(kept(&site, second, 1).len(), 0);
    // The device port has a count of its own.
    let mut device = site.tls(site.from(first, site.running.device_port).unwrap());
    assert_eq!(ask(&mut device, NO_FRAME).unwrap(), 200);
    let metrics = site.running.service.metrics();
    let refused = "nrd_connections_refused_total{limit=\"address\"} 36";
    assert!(metrics.contains(refused), "{metrics}");
    drop(crowd);
    // Whoever closes a connection makes room, as soon as the server has noticed.
    let until = std::time::Instant::now() + WITHIN;
    while kept(&site, second, 1).is_empty() {
        assert!(std::time::Instant::now() < until, "no room was made");
    }
}

#[test]
fn attack_53_a_crowd_of_many_addresses_displaces_itself_and_locks_nobody_out() {
    let limits = Limits {
        in_all: 40,
        per_address: 24,
        ..Limits::default()
    };
    let site = Site::new(limits);
    let crowd_at = |n| Ipv4Addr::new(127, 0, 9, n);
    let mut crowd: Vec<TcpStream> = (1..10).flat_map(|n| kept(&site, crowd_at(n), 12)).collect();
    assert_eq!(crowd.len(), 40, "all of them are taken");
    let mut people: Vec<TcpStream> = (1..=10)
        .flat_map(|n| kept(&site, Ipv4Addr::new(127, 0, n + 20, 1), 1))
        .collect();
    assert_eq!(people.len(), 10, "nobody is locked out");
    assert_eq!(
        kept(&site, crowd_at(20), 12).len(),
        0,
        "it comes back in vain"
    );
    for person in &mut people {
        assert_eq!(ask(person, GET).unwrap(), 200);
    }
    let alive = crowd.iter_mut().filter_map(|line| ask(line, GET).ok());
    assert_eq!(alive.count(), 30, "it has lost as many as came");
}

/// A page that holds a thread as long as the gate is closed: a database that is slow,
/// passwords that are checked.
#[derive(Default)]
struct SlowPages {
    gate: RwLock<()>,
    held: AtomicUsize,
}

impl Neighbour for SlowPages {
    fn pages(self: Arc<Self>, _: DeskState) -> Router {
        let page = move || {
            let this = self.clone();
            async move {
                let work = blocking(move || {
                    this.held.fetch_add(1, Ordering::SeqCst);
                    drop(this.gate.read());
                    Ok(())
                });
                work.await.map_or("failed", |()| "done")
            }
        };
        Router::new().route("/slow", get(page))
    }

    fn devices(&self) -> Vec<(String, Condition)> {
        Vec::new()
    }

    fn by_cable(&self, _: &str, _: &str) -> Option<ByCable> {
        None
    }
}

#[test]
fn pages_that_hold_every_thread_of_theirs_take_none_from_devices() {
    let slow = Arc::new(SlowPages::default());
    let site = Site::beside(Limits::default(), Some(slow.clone()));
    let closed = slow.gate.write().unwrap();
    let request = "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut visitors: Vec<TcpStream> = (0..150)
        .map(|_| {
            let mut line = site.pages();
            line.write_all(request.as_bytes()).unwrap();
            line
        })
        .collect();
    let until = std::time::Instant::now() + WITHIN;
    while slow.held.load(Ordering::SeqCst) < 64 {
        assert!(std::time::Instant::now() < until, "threads are left");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut device = site.tls(site.device_port());
    for _ in 0..20 {
        assert_eq!(ask(&mut device, NO_FRAME).unwrap(), 200);
    }
    assert_eq!(slow.held.load(Ordering::SeqCst), 64, "more pages went on");
    drop(closed);
    for line in &mut visitors {
        assert_eq!(ask(line, GET).unwrap(), 200);
    }
}
