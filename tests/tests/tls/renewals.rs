//! Attack 47 with the real agent and the real service: two years of renewals,
//! over real sockets.

use embedded_io_adapters::std::FromStd;
use nrd_agent::tls::{AgentTime, HttpsClient, HttpsConfig, KnownTime, TlsError, exchange};
use nrd_agent::wire::DeviceKind;
use nrd_agent::{Agent, Config, State, Step};
use nrd_hal::{ErrorKind, ErrorType, Geometry, Link};
use nrd_sim::base::sample::Samples;
use nrd_sim::device::AgentBuffers;
use nrd_sim::hw::{Board, Chip, ChipSpec, Hardware, VirtualClock};
use nrd_sim::service::ca::{self, LeafLife};
use nrd_sim::service::server::{Ports, Running, ServerOptions, start_with};
use nrd_sim::service::{Service, Settings};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DAY: u64 = 86_400;
const PATIENCE: Duration = Duration::from_secs(10);

struct Wire(u16);

impl ErrorType for Wire {
    type Error = ErrorKind;
}

impl Link for Wire {
    type Stream<'a> = FromStd<TcpStream>;
    fn connect(&mut self) -> Result<Self::Stream<'_>, ErrorKind> {
        let stream =
            TcpStream::connect(("127.0.0.1", self.0)).map_err(|_| ErrorKind::Unavailable)?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|_| ErrorKind::Other)?;
        Ok(FromStd::new(stream))
    }
}

/// A process of the service, at this machine's time.
fn serve(home: &Path, options: ServerOptions) -> Running {
    let settings = Settings {
        poll_s: 1,
        ..Settings::default()
    };
    let service = Service::open(home, settings).unwrap();
    service.add_samples(&Samples::read(None).unwrap()).unwrap();
    start_with(service, home, Ports { tls: 0, pages: 0 }, options).unwrap()
}

/// The service, and a device's hardware, in one time.
struct World {
    home: tempfile::TempDir,
    running: Running,
    hw: Hardware,
    has_clock: bool,
}

impl World {
    fn new(has_clock: bool) -> World {
        let home = tempfile::tempdir().unwrap();
        let running = serve(home.path(), ServerOptions::default());
        let geometry = Geometry {
            size: 131_072,
            write_size: 4,
            erase_size: 4096,
            best_erase: 4096,
        };
        let spec = ChipSpec {
            geometry,
            can_overwrite: false,
        };
        World {
            home,
            running,
            hw: Hardware::new(Chip::new(spec, 47)),
            has_clock,
        }
    }

    fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(&std::fs::read(self.home.path().join("ca.pem")).unwrap())
            .unwrap()
    }

    /// Powers the device on: a board whose clock, if it has one, is right.
    fn board(&self, seed: u64) -> Board {
        let maker = self.running.service.keys.maker();
        let kind = DeviceKind::Console;
        let board = Board::new(&self.hw, [3; 32], seed, maker, "NRD-47", kind).unwrap();
        if self.has_clock {
            board.clock().set_wall_s(self.running.service.now_s());
        }
        board
    }

    fn config(&self) -> Config {
        Config {
            service_root: self.running.service.keys.root_public(),
            root_version: 0,
            factory_epoch: 0,
            wait_s: 0,
        }
    }

    fn client(&self) -> HttpsClient {
        HttpsClient::new(&HttpsConfig {
            roots: &[&self.root()],
            authority: "localhost:443",
            // A firmware that was built long before the service began.
            time: Arc::new(AgentTime::new(1_600_000_000)),
            exchange_ms: 20_000,
        })
        .unwrap()
    }

    /// Time passes for the service, and for a device that is on.
    fn pass(&self, s: u64, clock: Option<&VirtualClock>) {
        self.running.service.advance_s(s);
        if let Some(clock) = clock {
            clock.advance_ms(s * 1000);
        }
    }

    /// The certificate that the service shows now, to a client with a clock.
    fn certificate(&self) -> CertificateDer<'static> {
        #[derive(Debug)]
        struct At(u64);
        impl TimeProvider for At {
            fn current_time(&self) -> Option<UnixTime> {
                Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
            }
        }
        let mut roots = RootCertStore::empty();
        roots.add(self.root()).unwrap();
        let now = Arc::new(At(self.running.service.now_s()));
        let config = ClientConfig::builder_with_details(
            Arc::new(rustls::crypto::ring::default_provider()),
            now,
        )
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut conn = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", self.running.device_port)).unwrap();
        while conn.is_handshaking() {
            conn.complete_io(&mut socket).unwrap();
        }
        conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn settle(agent: &mut Agent<'_, Board>) {
    while !matches!(agent.step(), Ok(Step::Idle)) {}
}

/// One exchange, as soon as one is due.
fn turn(
    world: &World,
    agent: &mut Agent<'_, Board>,
    client: &HttpsClient,
    port: u16,
    clock: &VirtualClock,
) -> Result<bool, TlsError> {
    settle(agent);
    let due_ms = agent.next_due_ms().unwrap_or(0);
    world.pass(due_ms.div_ceil(1000), Some(clock));
    let said = exchange(agent, client, &mut Wire(port));
    settle(agent);
    said
}

/// From a code on the screen to an open session.
fn activate(
    world: &World,
    agent: &mut Agent<'_, Board>,
    client: &HttpsClient,
    clock: &VirtualClock,
) {
    let service = &world.running.service;
    let port = world.running.device_port;
    agent.start_activation().unwrap();
    let code = loop {
        assert_eq!(turn(world, agent, client, port, clock), Ok(true));
        if let Some((code, _)) = agent.status().code {
            break code;
        }
    };
    let account = service
        .check_password(
            "alexandra@example.com",
            "correct horse battery",
            "127.0.0.1",
        )
        .unwrap();
    let row = service.look_up_code(account, &code).unwrap();
    service
        .approve(account, &row, 1, true, "127.0.0.1")
        .unwrap();
    while agent.state() != State::Active {
        assert_eq!(turn(world, agent, client, port, clock), Ok(true));
    }
}

/// Two years on, with a contact every ten days; a year off; an old certificate.
fn two_years(has_clock: bool) {
    let world = World::new(has_clock);
    let service = &world.running.service;
    let port = world.running.device_port;
    // The folder's authority as it was: what an old certificate's key can show.
    let begin_s = service.now_s();
    let old = ca::server_config(
        world.home.path(),
        Arc::new(move || begin_s),
        LeafLife::default(),
    )
    .unwrap();

    let client = world.client();
    let mut ram = AgentBuffers::default();
    let board = world.board(1);
    let clock = board.clock();
    let mut agent = Agent::new(board, world.config(), ram.lend()).unwrap();
    settle(&mut agent);
    activate(&world, &mut agent, &client, &clock);

    let mut shown = BTreeSet::new();
    for day in (0..730).step_by(10) {
        world.pass(10 * DAY, Some(&clock));
        for _ in 0..2 {
            let met = turn(&world, &mut agent, &client, port, &clock);
            assert_eq!(met, Ok(true), "day {day}");
        }
        assert_eq!(agent.state(), State::Active, "day {day}");
        shown.insert(world.certificate().to_vec());
    }
    let life = LeafLife::default();
    let least = (730 * DAY / life.seconds()) as usize;
    let most = (740 * DAY / life.renewed_after_s()) as usize + 1;
    println!("certificates in two years: {}", shown.len());
    assert!((least..=most).contains(&shown.len()), "{}", shown.len());

    // The old certificate is refused by both: it ended before the last contact.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let their_port = listener.local_addr().unwrap().port();
    let impostor = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = StreamOwned::new(ServerConnection::new(old).unwrap(), socket);
        // Not one byte of a request.
        tls.read(&mut [0; 64]).ok().filter(|&n| n > 0)
    });
    assert!(agent.signed_time() > begin_s + 700 * DAY);
    let met = turn(&world, &mut agent, &client, their_port, &clock);
    assert_eq!(met, Err(TlsError::Expired));
    assert_eq!(impostor.join().unwrap(), None);
    assert_eq!(turn(&world, &mut agent, &client, port, &clock), Ok(true));

    // A year in a cupboard: every certificate that it knows of has ended.
    drop(agent);
    world.pass(365 * DAY, None);
    let client = world.client();
    let mut ram = AgentBuffers::default();
    let board = world.board(2);
    let clock = board.clock();
    let mut agent = Agent::new(board, world.config(), ram.lend()).unwrap();
    settle(&mut agent);
    let known = KnownTime::of(&mut agent);
    assert_eq!(matches!(known, KnownTime::Clock(_)), has_clock);
    for _ in 0..3 {
        assert_eq!(turn(&world, &mut agent, &client, port, &clock), Ok(true));
    }
    assert_eq!(agent.state(), State::Active);
    // The next lease brings the time: a device without a clock has caught up.
    for _ in 0..4 {
        world.pass(10 * DAY, Some(&clock));
        for _ in 0..2 {
            assert_eq!(turn(&world, &mut agent, &client, port, &clock), Ok(true));
        }
    }
    assert!(agent.signed_time() + 30 * DAY > service.now_s());
}

#[test]
fn attack_47_two_years_of_renewals_pass_on_a_device_with_a_clock() {
    two_years(true);
}

#[test]
fn attack_47_two_years_of_renewals_pass_on_a_device_without_a_clock() {
    two_years(false);
}

#[test]
fn attack_47_35_a_service_whose_clock_was_wrong_reaches_its_devices_again() {
    let mut world = World::new(false);
    let client = world.client();
    let mut ram = AgentBuffers::default();
    let board = world.board(1);
    let clock = board.clock();
    let mut agent = Agent::new(board, world.config(), ram.lend()).unwrap();
    settle(&mut agent);
    activate(&world, &mut agent, &client, &clock);
    // A lease that is signed a century ahead; then the service's clock is right.
    world.running.service.advance_s(100 * 365 * DAY);
    clock.advance_ms(2 * DAY * 1000);
    let port = world.running.device_port;
    for _ in 0..2 {
        let met = turn(&world, &mut agent, &client, port, &clock);
        assert_eq!(met, Ok(true));
    }
    world.running = serve(world.home.path(), ServerOptions::default());
    assert!(agent.signed_time() > world.running.service.now_s() + 90 * 365 * DAY);
    let port = world.running.device_port;
    let met = turn(&world, &mut agent, &client, port, &clock);
    assert_eq!(met, Err(TlsError::Expired));

    // What OPERATIONS says: a delegation with a new time, and certificates that
    // end after the wrong one until the devices have it.
    world.running.service.rotate_order_key().unwrap();
    let long = ServerOptions {
        certificate_life: LeafLife::days(40_000),
        ..ServerOptions::default()
    };
    world.running = serve(world.home.path(), long);
    let port = world.running.device_port;
    for _ in 0..3 {
        clock.advance_ms(DAY * 1000);
        assert_eq!(turn(&world, &mut agent, &client, port, &clock), Ok(true));
    }
    assert!(agent.signed_time() < world.running.service.now_s() + 10 * DAY);

    world.running = serve(world.home.path(), ServerOptions::default());
    let port = world.running.device_port;
    clock.advance_ms(DAY * 1000);
    assert_eq!(turn(&world, &mut agent, &client, port, &clock), Ok(true));
    assert_eq!(agent.state(), State::Active);
}
