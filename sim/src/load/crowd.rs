//! Many devices that hold waiting check-ins over real TLS against several
//! service processes on one PostgreSQL, to which they speak over TLS: all removed, while one of the processes
//! is killed half way.

use super::Spread;
use super::device::{Device, Town};
use super::postgres::Server;
use super::process::ServiceProcess;
use nrd_sim_base::sample::Samples;
use nrd_sim_base::unhex;
use nrd_sim_service::store::{AccountId, ActivationPhase};
use nrd_sim_service::{Service, ServicePaths, Settings};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What is run.
#[derive(Debug, Clone)]
pub struct CrowdPlan {
    /// How many devices.
    pub devices: usize,
    /// How many service processes.
    pub processes: usize,
    /// Kill the first of them when half of the removals are entered.
    pub kill: bool,
    /// How long a check-in waits, in seconds.
    pub wait_s: u16,
    /// The whole run may take this long.
    pub limit: Duration,
}

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub struct CrowdReport {
    /// Devices.
    pub devices: usize,
    /// Devices that waited, by process, before the first removal.
    pub waiting: Vec<f64>,
    /// Devices whose wipe is proven.
    pub wiped: usize,
    /// Devices whose epoch counter moved by more than one: wiped twice.
    pub twice: usize,
    /// Activations with more than one deactivation order.
    pub ordered_twice: usize,
    /// From the order's entry until the device's receipt was taken.
    pub removal: Spread,
    /// Time to enter every order, in seconds.
    pub entered_in_s: f64,
    /// Exchanges that failed and were repeated.
    pub failed_exchanges: u64,
    /// Resident memory a waiting connection, in bytes, over all processes.
    pub bytes_a_connection: u64,
    /// Processor seconds of the services until all waited, and from then on.
    pub cpu_s: [f64; 2],
    /// A process was killed half way.
    pub killed: bool,
    /// Time to activate every device, in seconds.
    pub activated_in_s: f64,
}

impl CrowdReport {
    /// Every device was removed, once, and proved it.
    pub fn good(&self) -> bool {
        self.wiped == self.devices && self.twice == 0 && self.ordered_twice == 0
    }
}

/// Runs it with `exe` as the service program; `say` hears of progress.
#[expect(clippy::too_many_lines, reason = "a measurement, told in its order")]
pub fn run(exe: &Path, plan: &CrowdPlan, say: impl Fn(&str)) -> Result<CrowdReport, String> {
    let mut server =
        Server::start().ok_or("PostgreSQL is not installed: apt-get install postgresql")?;
    let home = tempfile::tempdir().map_err(|e| e.to_string())?;
    let keys = home.path().join("keys");
    let (url, wait) = (server.over_tls_alone(), plan.wait_s.to_string());
    let shared = keys.display().to_string();
    let more = ["--keys", &shared, "--database", &url, "--wait-max", &wait];
    let mut services = Vec::new();
    for n in 0..plan.processes {
        let dir = home.path().join(format!("service-{n}"));
        services.push(ServiceProcess::start(exe, &dir, &more)?);
    }
    let place = ServicePaths {
        dir: home.path().join("control"),
        keys: keys.clone(),
        database: Some(url.clone()),
    };
    let settings = Settings {
        poll_s: 1,
        ..Settings::default()
    };
    // A third process on the same database: where people click.
    let control = Service::open_on(&place, settings).map_err(|e| e.to_string())?;
    let account = first_account(&control)?;
    let ports: Vec<u16> = services.iter().map(|s| s.device_port).collect();
    let town = Town::new(&keys.join("ca.pem"), &ports)?;
    let before: u64 = services.iter().filter_map(|s| Some(s.used()?.1)).sum();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let began = Instant::now();
    let activated = Arc::new(AtomicUsize::new(0));
    let failed = Arc::new(Mutex::new(Vec::<String>::new()));
    let done: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let gate = Arc::new(Semaphore::new(32));
    let mut tasks = Vec::new();
    for n in 0..plan.devices {
        let device = Device::new(&control.keys, town.clone(), n, plan.wait_s)?;
        let (control, gate) = (control.clone(), gate.clone());
        let (activated, failed, done) = (activated.clone(), failed.clone(), done.clone());
        tasks.push(runtime.spawn(async move {
            let mut device = device;
            let lived = live(&mut device, &control, account, &gate, &activated).await;
            match lived {
                Ok(()) => {
                    let id = device.agent.device_id().as_str().to_owned();
                    lock(&done).insert(id, Instant::now());
                }
                Err(e) => lock(&failed).push(e),
            }
            let counter = device.hw.chip().counter();
            (counter, u64::from(device.failures))
        }));
    }
    let until = began + plan.limit;
    let check = |what: &str| -> Result<(), String> {
        if let Some(e) = lock(&failed).first() {
            return Err(format!("a device cannot go on: {e}"));
        }
        if Instant::now() > until {
            Err(format!("not done in time: {what}"))
        } else {
            Ok(())
        }
    };
    let mut told = 0;
    while activated.load(Ordering::SeqCst) < plan.devices {
        std::thread::sleep(Duration::from_millis(100));
        let n = activated.load(Ordering::SeqCst);
        if n >= told + 1000 {
            told = n;
            say(&format!("{n} devices are active"));
        }
        check("activations")?;
    }
    let activated_in_s = began.elapsed().as_secs_f64();
    let waiting = loop {
        let waiting: Vec<f64> = services
            .iter()
            .map(|s| s.metric("nrd_waiting_devices").unwrap_or(0.0))
            .collect();
        // A few are always on their way from one wait to the next.
        if waiting.iter().sum::<f64>() >= plan.devices as f64 * 0.98 {
            break waiting;
        }
        std::thread::sleep(Duration::from_millis(200));
        check("waiting")?;
    };
    say(&format!("{waiting:?} devices wait"));
    let used: Vec<(f64, u64)> = services.iter().filter_map(ServiceProcess::used).collect();
    let memory: u64 = used.iter().map(|u| u.1).sum();
    let first_cpu: f64 = used.iter().map(|u| u.0).sum();

    // Every activation is removed, by several people at once.
    let ids: Vec<([u8; 16], String)> = control
        .devices(account)
        .map_err(|e| e.to_string())?
        .into_iter()
        .filter_map(|d| Some((unhex(&d.id)?, d.row.device)))
        .collect();
    let clicks: Mutex<HashMap<String, Instant>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let refused = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((id, device)) = ids.get(next.fetch_add(1, Ordering::SeqCst)) {
                    lock(&clicks).insert(device.clone(), Instant::now());
                    if let Err(e) = control.remove(account, id, "192.0.2.1") {
                        lock(&refused).push(e.to_string());
                    }
                }
            });
        }
        if plan.kill {
            while next.load(Ordering::SeqCst) < ids.len() / 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            town.ports[0].store(0, Ordering::SeqCst);
            services[0].kill();
        }
    });
    let entered_in_s = start.elapsed().as_secs_f64();
    if let Some(e) = lock(&refused).first() {
        return Err(format!("a removal was refused: {e}"));
    }
    say(&format!("{} orders are entered", ids.len()));
    while lock(&done).len() < plan.devices {
        std::thread::sleep(Duration::from_millis(50));
        check("wipes")?;
    }
    let (mut twice, mut failed_exchanges) = (0, 0);
    for task in tasks {
        let (counter, failures) = runtime.block_on(task).map_err(|e| e.to_string())?;
        twice += usize::from(counter != 1);
        failed_exchanges += failures;
    }
    let done = lock(&done);
    let clicks = lock(&clicks);
    let times = done.iter().filter_map(|(device, end)| {
        let click = clicks.get(device)?;
        Some(end.duration_since(*click).as_secs_f64() * 1000.0)
    });
    let removal = Spread::of(times.collect());
    let rows = control
        .store
        .activations(account)
        .map_err(|e| e.to_string())?;
    let wiped = rows
        .iter()
        .filter(|r| r.phase == ActivationPhase::Wiped)
        .count();
    let ordered_twice = server
        .sql(
            "SELECT count(*) FROM (SELECT 1 FROM orders WHERE kind = 'deactivate' \
             GROUP BY activation HAVING count(*) > 1) AS more",
        )
        .parse()
        .map_err(|_| "no count")?;
    let cpu: f64 = services.iter().filter_map(|s| Some(s.used()?.0)).sum();
    runtime.shutdown_background();
    Ok(CrowdReport {
        devices: plan.devices,
        waiting,
        wiped,
        twice,
        ordered_twice,
        removal,
        entered_in_s,
        failed_exchanges,
        bytes_a_connection: memory.saturating_sub(before) / plan.devices.max(1) as u64,
        cpu_s: [first_cpu, cpu],
        killed: plan.kill,
        activated_in_s,
    })
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

fn first_account(control: &Service) -> Result<AccountId, String> {
    let samples = Samples::read(None).map_err(|e| e.to_string())?;
    let s = samples.accounts.first().ok_or("no sample account")?;
    control
        .check_password(&s.email, &s.password, "192.0.2.1")
        .map_err(|e| format!("{e:?}"))
}

/// One person types one code at a time: tries under way count as guesses until
/// they turn out good.
static TYPING: Mutex<()> = Mutex::new(());

/// Activation, and then until the wipe is proven.
async fn live(
    device: &mut Device,
    control: &Arc<Service>,
    account: AccountId,
    gate: &Semaphore,
    activated: &AtomicUsize,
) -> Result<(), String> {
    {
        let _few = gate.acquire().await.map_err(|e| e.to_string())?;
        let code = device.code().await?;
        let control = control.clone();
        let approved = tokio::task::spawn_blocking(move || {
            let one_at_a_time = lock(&TYPING);
            let row = control.look_up_code(account, &code);
            drop(one_at_a_time);
            let row = row.map_err(|e| format!("{e:?}"))?;
            control
                .approve(account, &row, 1, true, "192.0.2.1")
                .map_err(|e| e.to_string())
        });
        approved.await.map_err(|e| e.to_string())??;
        device.until(Device::is_active).await?;
    }
    activated.fetch_add(1, Ordering::SeqCst);
    device.until(Device::is_done).await
}
