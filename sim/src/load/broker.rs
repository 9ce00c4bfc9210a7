//! An MQTT broker of a run's own: Debian's mosquitto.

use super::postgres::free_port;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running broker. Dropping it stops it.
pub struct Mosquitto {
    home: TempDir,
    /// Where it listens, on loopback.
    pub port: u16,
    config: String,
    process: Option<Child>,
}

const PROGRAM: &str = "/usr/sbin/mosquitto";

impl Mosquitto {
    /// A new broker; `None` where the machine has no mosquitto.
    pub fn start() -> Option<Mosquitto> {
        let port = free_port();
        let open = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        Mosquitto::start_with(port, open)
    }

    /// The same with a configuration of the caller's, which names the port.
    pub fn start_with(port: u16, config: String) -> Option<Mosquitto> {
        if !Path::new(PROGRAM).exists() {
            return None;
        }
        let mut broker = Mosquitto {
            home: tempfile::tempdir().ok()?,
            port,
            config,
            process: None,
        };
        broker.switch_on();
        Some(broker)
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not within 20 seconds.
    pub fn switch_on(&mut self) {
        let config = self.home.path().join("conf");
        std::fs::write(&config, &self.config).expect("a configuration");
        let process = Command::new(PROGRAM)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto starts");
        self.process = Some(process);
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < until, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it.
    pub fn switch_off(&mut self) {
        if let Some(mut process) = self.process.take() {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "it may have ended by itself"
            )]
            let _ = process.kill();
            #[expect(
                clippy::let_underscore_must_use,
                reason = "it may have ended by itself"
            )]
            let _ = process.wait();
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.switch_off();
    }
}
