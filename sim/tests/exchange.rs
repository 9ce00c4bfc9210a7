//! The agent's own HTTPS exchange, as a firmware would call it, against the
//! running service.

mod common;

use common::World;
use embedded_io_adapters::std::FromStd;
use nrd_agent::tls::{AgentTime, HttpsClient, HttpsConfig, TlsError, exchange};
use nrd_agent::{Agent, Config, State, Step};
use nrd_hal::{ErrorKind, ErrorType, Link};
use nrd_sim::device::AgentBuffers;
use nrd_sim::hw::{Board, Chip, ChipSpec, Hardware};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

struct Wire(u16);

impl ErrorType for Wire {
    type Error = ErrorKind;
}

impl Link for Wire {
    type Stream<'a> = FromStd<TcpStream>;
    fn connect(&mut self) -> Result<Self::Stream<'_>, ErrorKind> {
        let stream =
            TcpStream::connect(("127.0.0.1", self.0)).map_err(|_| ErrorKind::Unavailable)?;
        let limit = Some(Duration::from_secs(10));
        stream
            .set_read_timeout(limit)
            .map_err(|_| ErrorKind::Other)?;
        Ok(FromStd::new(stream))
    }
}

fn client(world: &World) -> HttpsClient {
    let pem = std::fs::read(world.ca()).unwrap();
    let ca = CertificateDer::from_pem_slice(&pem).unwrap();
    HttpsClient::new(&HttpsConfig {
        roots: &[&ca],
        authority: &format!("localhost:{}", world.running.device_port),
        time: Arc::new(AgentTime::new(0)),
        exchange_ms: 20_000,
    })
    .unwrap()
}

#[test]
fn a_firmware_activates_and_is_removed_with_one_call_an_exchange() {
    let world = World::new();
    let service = &world.running.service;
    let geometry = nrd_hal::Geometry {
        size: 65_536,
        write_size: 4,
        erase_size: 4096,
        best_erase: 4096,
    };
    let chip = Chip::new(
        ChipSpec {
            geometry,
            can_overwrite: false,
        },
        1,
    );
    let hw = Hardware::new(chip);
    let kind = nrd_agent::wire::DeviceKind::Console;
    let board = Board::new(&hw, [3; 32], 4, service.keys.maker(), "NRD-FW-1", kind).unwrap();
    let clock = board.clock();
    let config = Config {
        service_root: service.keys.root_public(),
        root_version: 0,
        factory_epoch: 0,
        wait_s: 0,
    };
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(board, config, ram.lend()).unwrap();
    let client = client(&world);
    let mut wire = Wire(world.running.device_port);
    // What a firmware's main loop does.
    let mut turn = |agent: &mut Agent<'_, Board>| -> Result<bool, TlsError> {
        while !matches!(agent.step(), Ok(Step::Idle)) {}
        clock.advance_ms(agent.next_due_ms().unwrap_or(0));
        let said = exchange(agent, &client, &mut wire);
        match agent.state() {
            State::Active => assert!(client.remembers_session()),
            State::Wiping => assert!(!client.remembers_session(), "a ticket outlives the account"),
            _ => {}
        }
        while !matches!(agent.step(), Ok(Step::Idle)) {}
        said
    };
    // Nothing to say yet.
    assert_eq!(turn(&mut agent), Ok(false));
    agent.start_activation().unwrap();
    let mut code = None;
    while code.is_none() {
        assert_eq!(turn(&mut agent), Ok(true));
        code = agent.status().code;
    }
    let account = service
        .check_password(
            "alexandra@example.com",
            "correct horse battery",
            "127.0.0.1",
        )
        .unwrap();
    let row = service.look_up_code(account, &code.unwrap().0).unwrap();
    service
        .approve(account, &row, 1, true, "127.0.0.1")
        .unwrap();
    while agent.state() != State::Active {
        assert_eq!(turn(&mut agent), Ok(true));
    }
    // A service that is gone is an error, and changes nothing.
    let mut nowhere = Wire(9);
    let mut gone = |agent: &mut Agent<'_, Board>| {
        clock.advance_ms(agent.next_due_ms().unwrap_or(0));
        exchange(agent, &client, &mut nowhere)
    };
    assert_eq!(gone(&mut agent), Err(TlsError::Connect));
    assert_eq!(agent.state(), State::Active);
    service.remove(account, &row.id, "127.0.0.1").unwrap();
    while agent.state() != State::Clean || agent.status().receipts > 0 {
        assert_eq!(turn(&mut agent), Ok(true));
    }
    assert!(agent.is_clean());
    let devices = service.devices(account).unwrap();
    assert_eq!(
        devices[0].status,
        nrd_sim::service::account::DeviceStatus::Wiped
    );
}
