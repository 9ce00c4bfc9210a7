//! A device on the bench, in front of the reference service with its real
//! database; no network.

use crate::part;
use nrd_agent::wire::DeviceKind;
use nrd_agent::{Agent, Config};
use nrd_sim::base::sample::{Sample, Samples};
use nrd_sim::device::{AgentBuffers, settle, talk};
use nrd_sim::hw::PowerCut;
use nrd_sim::hw::{Board, Chip, Hardware, VirtualRng};
use nrd_sim::service::store::{AccountId, ActivationRow};
use nrd_sim::service::{Service, ServicePaths, Settings};
use nrd_sim::world::InProcess;
use std::sync::Arc;
use tempfile::TempDir;

/// The address that the bench's people type from.
pub const HOME: &str = "198.51.100.4";

/// A service in a folder of its own.
pub struct Bench {
    /// The folder; removed at the end.
    pub dir: TempDir,
    /// The service.
    pub service: Arc<Service>,
    /// The sample account holders.
    pub samples: Vec<Sample>,
}

impl Bench {
    /// A new service with the sample accounts, on SQLite.
    pub fn new() -> Bench {
        Bench::on(None)
    }

    /// A new service with the sample accounts on a PostgreSQL database, or on
    /// SQLite.
    pub fn on(database: Option<String>) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let samples = Samples::read(None).unwrap();
        let place = ServicePaths {
            database,
            ..ServicePaths::folder(dir.path())
        };
        let service = Service::open_on(&place, settings()).unwrap();
        service.add_samples(&samples).unwrap();
        Bench {
            dir,
            service,
            samples: samples.accounts,
        }
    }

    /// Stops the service and starts it again on the same folder.
    pub fn restart(&mut self) {
        self.service = Service::open(self.dir.path(), settings()).unwrap();
    }

    /// The nth sample account.
    pub fn account(&self, n: usize) -> AccountId {
        let s = &self.samples[n];
        self.service
            .check_password(&s.email, &s.password, HOME)
            .unwrap()
    }

    /// The newest activation of the nth account.
    pub fn newest(&self, n: usize) -> ActivationRow {
        let devices = self.service.devices(self.account(n)).unwrap();
        devices.into_iter().next().unwrap().row
    }

    /// A box fresh from the factory.
    pub fn device(&self, id: &'static str, seed: u64) -> Device {
        println!("{id}: seed {seed}");
        self.quiet_device(id, seed)
    }

    /// The same, its seed not printed: one of many.
    pub fn quiet_device(&self, id: &'static str, seed: u64) -> Device {
        Device {
            hw: Hardware::new(Chip::new(part(4, 4096, 16), seed)),
            root: [seed as u8; 32],
            id,
            kind: DeviceKind::SetTopBox,
            service: self.service.clone(),
            draws: seed,
            stuck: false,
        }
    }
}

impl Default for Bench {
    fn default() -> Self {
        Bench::new()
    }
}

/// Short waits, else the defaults.
pub fn settings() -> Settings {
    Settings {
        poll_s: 0,
        ..Settings::default()
    }
}

/// A device.
pub struct Device {
    /// Chip and counter.
    pub hw: Hardware,
    /// Its root secret.
    pub root: [u8; 32],
    /// Its id.
    pub id: &'static str,
    /// Its kind.
    pub kind: DeviceKind,
    /// Where it calls.
    pub service: Arc<Service>,
    /// The state of its draws.
    pub draws: u64,
    /// Its random generator is dead.
    pub stuck: bool,
}

impl Device {
    /// One boot: the agent comes to rest, then `then` runs.
    pub fn boot<T>(&mut self, then: impl FnOnce(&mut InProcess, &mut Agent<'_, Board>) -> T) -> T {
        self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005) + 1;
        let maker = self.service.keys.maker();
        let mut board =
            Board::new(&self.hw, self.root, self.draws, maker, self.id, self.kind).unwrap();
        if self.stuck {
            board.set_rng(VirtualRng::stuck());
        }
        let config = Config {
            root_version: 0,
            service_root: self.service.keys.root_public(),
            factory_epoch: 0,
            wait_s: 0,
        };
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(board, config, ram.lend()).unwrap();
        settle(&mut agent).unwrap();
        then(&mut InProcess(self.service.clone()), &mut agent)
    }

    /// A copy of chip and secrets: what an attacker with a programmer has.
    pub fn copy(&self) -> Device {
        let chip = self.hw.chip().clone();
        Device {
            hw: Hardware::new(chip),
            service: self.service.clone(),
            ..*self
        }
    }
}

/// Runs an activation: the code on the screen is typed by the account holder.
pub fn activate<P: PowerCut>(
    service: &mut InProcess,
    agent: &mut Agent<'_, P>,
    account: AccountId,
    remember: bool,
) {
    agent.start_activation().unwrap();
    let mut screen = None;
    for _ in 0..6 {
        nrd_sim::device::exchange(service, agent).unwrap();
        screen = agent.status().code;
        if screen.is_some() {
            break;
        }
    }
    let (code, pictogram) = screen.expect("a code on the screen");
    let row = service.look_up_code(account, &code).unwrap();
    assert_eq!(row.pictogram, pictogram);
    service.approve(account, &row, 1, remember, HOME).unwrap();
    talk(service, agent).unwrap();
}

/// Talks although nothing is due yet: time passes first.
pub fn talk_later(service: &mut InProcess, agent: &mut Agent<'_, Board>) {
    if let Some(ms) = agent.next_due_ms() {
        agent.platform().clock().advance_ms(ms);
    }
    talk(service, agent).unwrap();
}
