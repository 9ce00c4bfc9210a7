//! A light device: the real agent over a small virtual part, and an async
//! TLS 1.3 connection that it keeps.

use nrd_agent::log::Entry;
use nrd_agent::tls::PATH;
use nrd_agent::wire::{DeviceKind, MAX_FRAME};
use nrd_agent::{Agent, Config, Memory, Next, State};
use nrd_hal::Geometry;
use nrd_sim_device::settle;
use nrd_sim_hw::{Board, Chip, ChipSpec, Hardware, VirtualClock};
use nrd_sim_service::Keys;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where services are; the numbers may change while devices run.
pub struct Town {
    connector: TlsConnector,
    /// Ports of the services; 0 for one that is gone.
    pub ports: Vec<AtomicU16>,
    /// Connections made so far.
    pub connections: AtomicU32,
}

impl Town {
    /// Services on loopback that the root in `ca` vouches for.
    pub fn new(ca: &Path, ports: &[u16]) -> Result<Arc<Town>, String> {
        let pem = std::fs::read(ca).map_err(|e| format!("{}: {e}", ca.display()))?;
        let root = CertificateDer::from_pem_slice(&pem).map_err(|e| e.to_string())?;
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(|e| e.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(Town {
            connector: TlsConnector::from(Arc::new(config)),
            ports: ports.iter().map(|p| AtomicU16::new(*p)).collect(),
            connections: AtomicU32::new(0),
        }))
    }

    /// A connection to the service of number `n`, or to the next that is there.
    pub async fn connect(&self, n: usize) -> Result<Line, String> {
        let port = (0..self.ports.len())
            .map(|i| self.ports[(n + i) % self.ports.len()].load(Ordering::SeqCst))
            .find(|p| *p > 0)
            .ok_or("no service is there")?;
        let text = |e: std::io::Error| e.to_string();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let stream = stream.await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.greet(stream).await.map_err(text)
    }

    /// TLS on a connection that was made elsewhere.
    pub async fn greet(&self, stream: TcpStream) -> std::io::Result<Line> {
        let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
        self.connector.connect(name, stream).await.map(Line)
    }
}

/// A connection that is kept.
pub struct Line(pub TlsStream<TcpStream>);

impl Line {
    /// Posts a request frame and gives the reply frame.
    pub async fn post(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        let text = |e: std::io::Error| e.to_string();
        let mut bytes = format!(
            "POST {PATH} HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            request.len()
        )
        .into_bytes();
        bytes.extend_from_slice(request);
        self.0.write_all(&bytes).await.map_err(text)?;
        self.0.flush().await.map_err(text)?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if let Some((at, len)) = head(&answer)?
                && answer.len() >= at + len
            {
                return Ok(answer[at..at + len].to_vec());
            }
            if answer.len() > 8192 || self.0.read_buf(&mut answer).await.map_err(text)? == 0 {
                return Err("the answer ended early".to_owned());
            }
        }
    }
}

/// A device that is on.
pub struct Device {
    /// The agent.
    pub agent: Agent<'static, Board>,
    /// Its flash.
    pub hw: Hardware,
    /// Which service it prefers.
    pub number: usize,
    clock: VirtualClock,
    last: Instant,
    town: Arc<Town>,
    line: Option<Line>,
    /// Exchanges that failed.
    pub failures: u32,
    /// Every request that it makes, for whoever wants to send them again.
    pub kept: Option<Vec<Vec<u8>>>,
}

/// Erase units of a light device's part.
const SECTORS: u32 = 9;
const SECTOR: u32 = 2048;

impl Device {
    /// A set-top box fresh from the factory, whose check-ins wait `wait_s`
    /// seconds. What it borrows lives as long as the process: a run makes a
    /// bounded number of them.
    pub fn new(keys: &Keys, town: Arc<Town>, number: usize, wait_s: u16) -> Result<Device, String> {
        let geometry = Geometry {
            size: SECTOR * SECTORS,
            write_size: 4,
            erase_size: SECTOR,
            best_erase: SECTOR,
        };
        let spec = ChipSpec {
            geometry,
            can_overwrite: false,
        };
        let hw = Hardware::new(Chip::new(spec, number as u64));
        let id = format!("NRD-LOAD-{number:06}");
        let mut root = [0x17; 32];
        root[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let seed = number as u64 ^ 0x5EED;
        let board = Board::new(&hw, root, seed, keys.maker(), &id, DeviceKind::SetTopBox)
            .map_err(|e| format!("{e:?}"))?;
        let clock = board.clock();
        let config = Config {
            service_root: keys.root_public(),
            root_version: 0,
            factory_epoch: 0,
            wait_s,
        };
        let memory = Memory {
            journal_table: vec![0; 4].leak(),
            journal_index: vec![Entry::default(); nrd_agent::agent::JOURNAL_RECORDS].leak(),
            vault_table: vec![0; 8].leak(),
            vault_index: vec![Entry::default(); 4].leak(),
            scratch: vec![0; 1280].leak(),
        };
        let mut agent = Agent::new(board, config, memory).map_err(|e| format!("{e:?}"))?;
        settle(&mut agent).map_err(|e| format!("{e:?}"))?;
        Ok(Device {
            agent,
            hw,
            number,
            clock,
            last: Instant::now(),
            town,
            line: None,
            failures: 0,
            kept: None,
        })
    }

    fn tick(&mut self) {
        let ms = self.last.elapsed().as_millis() as u64;
        self.last += Duration::from_millis(ms);
        self.clock.advance_ms(ms);
    }

    /// The next exchange, once it is due; false when there is nothing to say.
    pub async fn exchange(&mut self) -> Result<bool, String> {
        let mut request = [0; MAX_FRAME];
        loop {
            self.tick();
            match self.agent.poll(&mut request) {
                Next::Again | Next::Reset => {}
                Next::Post(n) => {
                    self.post_request(&request[..n]).await?;
                    settle(&mut self.agent).map_err(|e| format!("{e:?}"))?;
                    return Ok(true);
                }
                Next::WaitUntil(_) => match self.agent.next_due_ms() {
                    None => return Ok(false),
                    Some(due) => tokio::time::sleep(Duration::from_millis(due.max(1))).await,
                },
            }
        }
    }

    async fn post_request(&mut self, request: &[u8]) -> Result<(), String> {
        if let Some(kept) = &mut self.kept {
            kept.push(request.to_vec());
        }
        let limit = Duration::from_secs(120);
        let answer = tokio::time::timeout(limit, self.post(request)).await;
        self.tick();
        match answer {
            Ok(Ok(frame)) => {
                let handled = self.agent.handle_reply(&frame);
                handled.map_err(|e| format!("a reply was refused: {e:?}"))
            }
            Ok(Err(_)) | Err(_) => {
                self.line = None;
                self.failures += 1;
                // Another process may answer.
                self.number += 1;
                self.agent.exchange_failed();
                Ok(())
            }
        }
    }

    async fn post(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.town.connect(self.number).await?,
        };
        let answer = line.post(request).await?;
        self.line = Some(line);
        Ok(answer)
    }

    /// Exchanges until `done`.
    pub async fn until(&mut self, done: impl Fn(&mut Self) -> bool) -> Result<(), String> {
        while !done(self) {
            if !self.exchange().await? {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Asks for a code and gives it.
    pub async fn code(&mut self) -> Result<String, String> {
        let started = self.agent.start_activation();
        started.map_err(|e| format!("{e:?}"))?;
        self.until(|d| d.agent.status().code.is_some()).await?;
        let code = self.agent.status().code.ok_or("no code")?;
        Ok(code.0.as_str().to_owned())
    }

    /// True once an account holder is remembered.
    pub fn is_active(&mut self) -> bool {
        self.agent.state() == State::Active
    }

    /// True once it is wiped and its receipt was taken.
    pub fn is_done(&mut self) -> bool {
        self.agent.state() == State::Clean && self.agent.status().receipts == 0
    }
}

/// Where a body begins and how long it is, once the head is there.
fn head(answer: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let Some(at) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&answer[..at]).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        let first = text.lines().next().unwrap_or_default();
        return Err(format!("answered {first}"));
    }
    let length = text
        .lines()
        .find_map(|l| l.strip_prefix("content-length:"))
        .and_then(|l| l.trim().parse().ok())
        .ok_or("no length")?;
    Ok(Some((at + 4, length)))
}
