//! Honest people and devices against the real service, among clients that do what
//! they must not: slow ones, crowds, too large and malformed requests, repeated ones.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the service, the honest, what was seen |
//! | `attacks.rs` | the others |

mod attacks;

use super::Spread;
use super::device::{Device, Town};
use super::process::ServiceProcess;
use super::removals::{PASSWORD, person};
use crate::demo::Browser;
use attacks::{Session, Target};
use nrd_sim_service::Keys;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What is played.
#[derive(Debug, Clone)]
pub struct HostilePlan {
    /// For how long.
    pub seconds: u64,
    /// Connections that say nothing; the service takes two thirds as many in all.
    pub crowd: usize,
    /// Feeds what is random.
    pub seed: u64,
}

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub struct HostileReport {
    /// For how long.
    pub seconds: u64,
    /// Removals that ended proven wiped.
    pub removals: usize,
    /// From the click until the page says that the removal is ordered.
    pub click: Spread,
    /// From the click until the page says that the wipe is proven.
    pub wiped: Spread,
    /// Check-ins of the honest device.
    pub check_ins: u64,
    /// Requests of honest people and devices that were not answered as they should.
    pub honest_failures: usize,
    /// The first of them.
    pub first_failures: Vec<String>,
    /// The most memory that the service had, in megabytes.
    pub peak_memory_mb: f64,
    /// Connections closed at once, for the limit of an address.
    pub refused_of_an_address: f64,
    /// Connections closed at once, or displaced, for the limit of all.
    pub refused_of_all: f64,
    /// Lines of the service's log that are errors.
    pub errors_logged: usize,
    /// How often each attack was tried.
    pub attacks: BTreeMap<&'static str, u64>,
    /// Load of the machine at the end; the attackers run on it as well.
    pub load_average: String,
    /// Its processors.
    pub processors: usize,
}

/// Memory that the service may have at most, in megabytes.
const MOST_MEMORY_MB: f64 = 300.0;

impl HostileReport {
    /// Everything but what a clock says.
    pub fn good(&self) -> bool {
        self.honest_failures == 0
            && self.removals > 0
            && self.check_ins > 0
            && self.errors_logged == 0
            && self.peak_memory_mb < MOST_MEMORY_MB
            && self.attacks.values().all(|n| *n > 0)
    }
}

/// People who remove devices.
const PEOPLE: usize = 2;
/// Whose device only checks in.
const WATCHER: usize = PEOPLE;
/// Who attacks from inside.
const INSIDER: usize = PEOPLE + 1;
/// How long a wipe may take to be proven on the page.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that is attacked. Dropping it ends both.
pub struct Siege {
    /// The service.
    pub service: ServiceProcess,
    keys: Keys,
    town: Arc<Town>,
    dir: PathBuf,
    target: Arc<Target>,
    attackers: Runtime,
    plan: HostilePlan,
    honest: Runtime,
    _home: TempDir,
}

impl Siege {
    /// Starts a service. There is peace yet.
    pub fn begin(exe: &Path, plan: &HostilePlan) -> Result<Siege, String> {
        let home = tempfile::tempdir().map_err(|e| e.to_string())?;
        let accounts = home.path().join("accounts.toml");
        let people: String = (0..=INSIDER).map(person).collect();
        std::fs::write(&accounts, people).map_err(|e| e.to_string())?;
        let dir = home.path().join("service");
        let connections = (plan.crowd * 2 / 3).to_string();
        let (list, connections) = (accounts.display().to_string(), connections.as_str());
        let more = ["--accounts", &list, "--check-in", "1"];
        // The limit of an address is the one that everybody has.
        let limits = [
            "--connections",
            connections,
            "--connections-per-address",
            "256",
        ];
        let service = ServiceProcess::start(exe, &dir, &[more, limits].concat())?;
        let keys = Keys::open(&dir).map_err(|e| e.to_string())?;
        let town = Town::new(&dir.join("ca.pem"), &[service.device_port])?;
        let runtime = |name| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name(name)
                .enable_all()
                .build()
                .map_err(|e| format!("no threads: {e}"))
        };
        let (honest, attackers) = (runtime("honest")?, runtime("attackers")?);
        let (frames, activation) = honest.block_on(a_past_life(&service, &keys, &town))?;
        let session = attackers
            .block_on(Session::begin(service.pages_port, INSIDER))
            .map_err(|e| format!("no session for the insider: {e}"))?;
        let target = Arc::new(Target::new(
            service.pages_port,
            service.device_port,
            town.clone(),
            frames,
            session,
            activation,
        ));
        Ok(Siege {
            service,
            keys,
            town,
            dir,
            target,
            attackers,
            plan: plan.clone(),
            honest,
            _home: home,
        })
    }

    /// Starts the attacks. They end with the siege.
    pub fn attack(&self) {
        attacks::start(self.attackers.handle(), &self.target, &self.plan);
    }

    /// How often each attack was tried so far.
    pub fn tried(&self) -> BTreeMap<&'static str, u64> {
        self.target.tried()
    }

    /// The browser of person `n`, over TLS.
    pub fn browser(&self, n: usize) -> Result<Browser, String> {
        let url = format!("https://localhost:{}", self.service.device_port);
        let browser = Browser::trusting(&url, &self.dir.join("ca.pem"))?;
        browser.sign_in(&format!("p{n}@example.com"), PASSWORD, false)?;
        Ok(browser)
    }

    /// An active device that waits in its check-ins for so many seconds.
    pub fn device(&self, browser: &Browser, number: usize, wait_s: u16) -> Result<Device, String> {
        let mut device = Device::new(&self.keys, self.town.clone(), number, wait_s)?;
        let life = async {
            let code = device.code().await?;
            browser.activate(&code, "Virtual", true)?;
            device.until(Device::is_active).await
        };
        // Made inside of the runtime, whose clock it needs.
        let active = self
            .honest
            .block_on(async { tokio::time::timeout(PATIENCE, life).await });
        active.map_err(|_| "the device does not come to be active".to_owned())??;
        Ok(device)
    }
}

/// One whole life of a device of the insider's: all that it has sent, and its
/// activation's address.
async fn a_past_life(
    service: &ServiceProcess,
    keys: &Keys,
    town: &Arc<Town>,
) -> Result<(Vec<Vec<u8>>, String), String> {
    let browser = Browser::new(&format!("http://127.0.0.1:{}", service.pages_port));
    browser.sign_in(&format!("p{INSIDER}@example.com"), PASSWORD, false)?;
    let mut device = Device::new(keys, town.clone(), 0, 0)?;
    device.kept = Some(Vec::new());
    let code = device.code().await?;
    browser.activate(&code, "Virtual", true)?;
    device.until(Device::is_active).await?;
    let ask = removal(&browser)?;
    browser.submit(&ask, &ask, &[])?;
    device.until(Device::is_done).await?;
    let frames = device.kept.take().unwrap_or_default();
    Ok((frames, ask.replace("/remove", "")))
}

/// The page that asks whether to remove the one device that can be removed.
fn removal(browser: &Browser) -> Result<String, String> {
    let entry = browser.entry("/remove\"")?;
    let mut links = entry
        .split("href=\"")
        .filter_map(|rest| rest.split('"').next());
    let ask = links.find(|href| href.ends_with("/remove"));
    ask.map(str::to_owned)
        .ok_or_else(|| "the entry has no link to remove it".to_owned())
}

/// What the honest have seen.
#[derive(Default)]
struct Seen {
    /// From the click to the page, and to the proof, in milliseconds.
    removals: Mutex<Vec<(f64, f64)>>,
    failures: Mutex<Vec<String>>,
    check_ins: AtomicU64,
    over: AtomicBool,
}

impl Seen {
    fn failed(&self, what: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(what);
        drop(failures);
        std::thread::sleep(Duration::from_millis(200));
    }

    fn going_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}

/// Plays it.
///
/// # Errors
/// When it cannot begin. What goes wrong later is in the report.
pub fn run(exe: &Path, plan: &HostilePlan) -> Result<HostileReport, String> {
    let siege = Siege::begin(exe, plan)?;
    let seen = Seen::default();
    // Signed in before: who is guessed at meanwhile has to wait in a browser that is
    // not known (attack 54).
    let browsers: Vec<Browser> = (0..PEOPLE)
        .map(|n| siege.browser(n))
        .collect::<Result<_, _>>()?;
    let watched = siege.device(&siege.browser(WATCHER)?, 1, 0)?;
    siege.attack();
    std::thread::scope(|scope| {
        for (n, browser) in browsers.iter().enumerate() {
            let (siege, seen) = (&siege, &seen);
            scope.spawn(move || remove_again_and_again(siege, browser, n, seen));
        }
        scope.spawn(|| check_in_again_and_again(&siege, watched, &seen));
        std::thread::sleep(Duration::from_secs(plan.seconds));
        seen.over.store(true, Ordering::Relaxed);
    });
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let refused = |limit| {
        let name = format!("nrd_connections_refused_total{{limit=\"{limit}\"}}");
        siege.service.metric(&name).unwrap_or_default()
    };
    let removals = seen.removals.into_inner().map_err(|e| e.to_string())?;
    let failures = seen.failures.into_inner().map_err(|e| e.to_string())?;
    let log = siege.service.log();
    let of = |pick: fn(&(f64, f64)) -> f64| Spread::of(removals.iter().map(pick).collect());
    Ok(HostileReport {
        seconds: plan.seconds,
        removals: removals.len(),
        click: of(|r| r.0),
        wiped: of(|r| r.1),
        check_ins: seen.check_ins.into_inner(),
        honest_failures: failures.len(),
        first_failures: failures.into_iter().take(5).collect(),
        peak_memory_mb: siege.service.peak_memory().unwrap_or(u64::MAX) as f64 / 1e6,
        refused_of_an_address: refused("address"),
        refused_of_all: refused("all"),
        errors_logged: log.matches("\"level\":\"ERROR\"").count(),
        attacks: siege.tried(),
        load_average: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

fn remove_again_and_again(siege: &Siege, browser: &Browser, n: usize, seen: &Seen) {
    let mut number = 1000 * (n + 1);
    while seen.going_on() {
        number += 1;
        match remove(siege, browser, number) {
            Ok(took) => {
                let mut removals = seen.removals.lock().unwrap_or_else(PoisonError::into_inner);
                removals.push(took);
            }
            Err(e) => seen.failed(format!("a removal: {e}")),
        }
    }
}

/// One device, from its code to the proof that it is wiped: milliseconds from the
/// click to the page that says so, and to the proof.
fn remove(siege: &Siege, browser: &Browser, number: usize) -> Result<(f64, f64), String> {
    let mut device = siege.device(browser, number, 20)?;
    let ask = removal(browser)?;
    let page = browser.get(&ask)?.text();
    let waiting = siege.honest.spawn(async move {
        let done = device.until(Device::is_done);
        let done = tokio::time::timeout(PATIENCE, done).await;
        done.map_err(|_| "the device is not wiped".to_owned())??;
        match device.failures {
            0 => Ok(()),
            n => Err(format!("{n} exchanges of the device failed")),
        }
    });
    let click = Instant::now();
    let ms = || click.elapsed().as_secs_f64() * 1000.0;
    let answer = browser.submit_from(&page, &ask, &[])?;
    if answer.status != 200 || answer.text().contains(&ask) {
        return Err(format!("the click was answered {}", answer.status));
    }
    let clicked = ms();
    while !browser
        .get("/account/devices")?
        .text()
        .contains("Proven wiped")
    {
        if click.elapsed() > PATIENCE {
            return Err("the page does not come to say that it is wiped".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let wiped = ms();
    let device: Result<(), String> = siege.honest.block_on(waiting).map_err(|e| e.to_string())?;
    device?;
    browser.submit("/account/devices", &ask.replace("/remove", "/hide"), &[])?;
    Ok((clicked, wiped))
}

fn check_in_again_and_again(siege: &Siege, mut device: Device, seen: &Seen) {
    while seen.going_on() {
        let before = device.failures;
        match siege.honest.block_on(device.exchange()) {
            Ok(true) if device.failures == before => {
                seen.check_ins.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => std::thread::sleep(Duration::from_millis(50)),
            Ok(true) => seen.failed("a check-in was not answered".to_owned()),
            Err(e) => seen.failed(format!("a check-in: {e}")),
        }
    }
}
