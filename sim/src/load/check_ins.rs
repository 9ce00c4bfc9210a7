//! What one core carries: check-ins a second against bare Ed25519 verifies a
//! second, in one run, on durable SQLite.
//!
//! *In the core*: the requests are signed beforehand, over challenges that are
//! known because the service draws them from this file's own [`Host`]; so the
//! processor time is the service's alone. *Over TLS*: service processes; their
//! processor time is read from the system, the clients' and that of PostgreSQL
//! are not counted.

use super::Spread;
use super::device::Town;
use super::postgres::Server;
use super::process::{ServiceProcess, used};
use nrd_agent::wire::{
    self, ActivationId, Answer, Ask, DeviceId, Generation, Losses, PROOF_CONTEXT, PolicyVersion,
    Reply, Request, TokenProof, TrustVersion,
};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::sign::{keypair, public, signed};
use nrd_sim_service::host::{Host, System};
use nrd_sim_service::store::{DeviceRow, NewActivation};
use nrd_sim_service::{Keys, Result as Served, Service, ServicePaths, Settings};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::Serialize;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub struct CheckInReport {
    /// `core` or `tls`, and whether each check-in renewed its token.
    pub what: String,
    /// Check-ins answered.
    pub check_ins: u64,
    /// A second of the service's processor time.
    pub a_cpu_second: f64,
    /// A second by the clock.
    pub a_second: f64,
    /// Transactions for writing, a check-in.
    pub writes_a_check_in: f64,
    /// Ed25519 verifies a second of processor time, in the same run.
    pub verifies_a_cpu_second: f64,
    /// Check-ins to verifies.
    pub ratio: f64,
    /// Time to answer.
    pub latency: Spread,
    /// At once.
    pub at_once: usize,
}

/// Seconds after which a device is to come back.
const SOON_S: u32 = 25;

/// Draws what the thread expects: so its challenges are known beforehand.
struct Foreseen;

thread_local! {
    static DRAWS: Cell<Option<(u32, u32)>> = const { Cell::new(None) };
}

/// The nth challenge of a device; 0 is the one it starts with.
fn challenge(device: u32, n: u32) -> [u8; 32] {
    RingCrypto::sha256(&[device.to_le_bytes(), n.to_le_bytes()].concat())
}

impl Host for Foreseen {
    fn now_s(&self) -> u64 {
        System.now_s()
    }

    fn fill(&self, out: &mut [u8]) -> Served<()> {
        match DRAWS.get() {
            Some((device, n)) => {
                DRAWS.set(Some((device, n + 1)));
                let drawn = challenge(device, n);
                let len = out.len().min(32);
                out[..len].copy_from_slice(&drawn[..len]);
                Ok(())
            }
            None => System.fill(out),
        }
    }
}

struct Prover {
    number: u32,
    key: Ed25519KeyPair,
    id: DeviceId,
    activation: [u8; 16],
    series: [u8; 16],
}

impl Prover {
    /// A device that is active, made at the store: no flash, no agent.
    fn new(service: &Service, number: u32) -> Result<Prover, String> {
        let text = |e: nrd_sim_service::Error| e.to_string();
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let key = keypair(&seed);
        let id = DeviceId::new(&format!("NRD-PROVER-{number}")).ok_or("an id")?;
        let mut activation = [3; 16];
        activation[..4].copy_from_slice(&number.to_le_bytes());
        let (store, now) = (&service.store, service.now_s());
        let row = DeviceRow {
            id: id.as_str().to_owned(),
            public_key: public(&key),
            model: "Prover".into(),
            kind: nrd_agent::wire::DeviceKind::SetTopBox,
            agent_version: "1.0.0".into(),
            losses: Losses::default(),
        };
        store
            .enroll(&row, &challenge(number, 0), now)
            .map_err(text)?;
        let new = NewActivation {
            id: activation,
            device: id.as_str(),
            epoch: 0,
            code: format!("P{number}"),
            pictogram: 0,
            series: activation,
            previous_receipt: None,
            now,
            code_life_s: 600,
        };
        store.start_activation(&new).map_err(text)?;
        let account = nrd_sim_service::store::AccountId(1);
        store
            .approve(&activation, account, true, 1, now, 600)
            .map_err(text)?;
        Ok(Prover {
            number,
            key,
            id,
            activation,
            series: activation,
        })
    }

    /// The first check-in uses the token, which writes; from then on it is at rest.
    fn settle(&self, service: &Service) -> Result<[u8; 32], String> {
        let first = challenge(self.number, 0);
        let request = self.request(&service.keys, first, 1, false);
        let answer = service.answer(&request, "192.0.2.9");
        good(&answer.map_err(|e| e.to_string())?, false)
    }

    fn request(&self, keys: &Keys, challenge: [u8; 32], generation: u32, renew: bool) -> Vec<u8> {
        let nonce = [7; 16];
        let token = keys.token(&self.series, generation);
        let mac = RingCrypto::hmac(token.as_ref(), &[PROOF_CONTEXT, &challenge, &nonce]);
        let request = Request {
            device_id: self.id,
            challenge,
            nonce,
            agent_version: [1, 0, 0],
            trust: TrustVersion {
                root: 0,
                delegation: u32::MAX,
            },
            losses: Losses::default(),
            ask: Ask::CheckIn {
                activation_id: ActivationId(self.activation),
                epoch: 0,
                proof: Some(TokenProof {
                    generation: Generation(generation),
                    mac,
                }),
                renew,
                wait_s: 0,
                powered_s: 0,
                policy: PolicyVersion(1),
            },
        };
        signed(&self.key, &request)
    }
}

/// Verifies a second of processor time.
fn verifies() -> Result<f64, String> {
    let key = keypair(&[5; 32]);
    let message = [1; 300];
    let signature = key.sign(&message);
    let public = UnparsedPublicKey::new(&ED25519, public(&key));
    let me = std::process::id();
    let mut n = 0u32;
    let before = used(me).ok_or("no processor time")?.0;
    // The system counts in hundredths of a second.
    loop {
        for _ in 0..2000 {
            public
                .verify(&message, signature.as_ref())
                .map_err(|_| "a good signature is refused")?;
        }
        n += 2000;
        let spent = used(me).ok_or("no processor time")?.0 - before;
        if spent >= 1.0 {
            return Ok(f64::from(n) / spent);
        }
    }
}

fn service(dir: &Path, host: impl Host + 'static) -> Result<Arc<Service>, String> {
    service_on(&ServicePaths::folder(dir), host)
}

fn service_on(place: &ServicePaths, host: impl Host + 'static) -> Result<Arc<Service>, String> {
    // They come back soon, as devices that wait do.
    let settings = Settings {
        check_in_s: SOON_S,
        ..Settings::default()
    };
    let service = Service::open_with(place, settings, host).map_err(|e| e.to_string())?;
    let samples = nrd_sim_base::sample::Samples::read(None).map_err(|e| e.to_string())?;
    service.add_samples(&samples).map_err(|e| e.to_string())?;
    Ok(service)
}

/// The core alone: `at_once` threads, `each` check-ins a thread.
pub fn core(at_once: usize, each: u32, renew: bool) -> Result<CheckInReport, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let service = service(dir.path(), Foreseen)?;
    let mut work = Vec::new();
    for number in 0..at_once as u32 {
        let prover = Prover::new(&service, number)?;
        let first = if renew {
            challenge(number, 0)
        } else {
            prover.settle(&service)?
        };
        let requests: Vec<Vec<u8>> = (0..each)
            .map(|n| {
                let generation = if renew { n + 1 } else { 1 };
                let over = if n == 0 { first } else { challenge(number, n) };
                prover.request(&service.keys, over, generation, renew)
            })
            .collect();
        work.push((prover.number, requests));
    }
    let verifies_a_cpu_second = verifies()?;
    let me = std::process::id();
    let written = writes(&service.metrics())?;
    let (ready, go) = (Barrier::new(at_once + 1), Barrier::new(at_once + 1));
    let mut times = Vec::new();
    let mut figures = (0.0, 0.0);
    std::thread::scope(|scope| -> Result<(), String> {
        let threads: Vec<_> = work
            .into_iter()
            .map(|(number, requests)| {
                let (service, ready, go) = (&service, &ready, &go);
                scope.spawn(move || {
                    ready.wait();
                    go.wait();
                    DRAWS.set(Some((number, 1)));
                    answer_all(service, &requests, renew)
                })
            })
            .collect();
        ready.wait();
        let before = used(me).ok_or("no processor time")?.0;
        let began = Instant::now();
        go.wait();
        for t in threads {
            times.extend(t.join().map_err(|_| "a thread panicked")??);
        }
        figures = (
            used(me).ok_or("no processor time")?.0 - before,
            began.elapsed().as_secs_f64(),
        );
        Ok(())
    })?;
    let what = format!("core{}", if renew { ", renewing" } else { "" });
    let written = writes(&service.metrics())? - written;
    let load = Load { at_once, written };
    Ok(report(what, times, figures, verifies_a_cpu_second, load))
}

/// Transactions for writing so far, as the metrics say.
fn writes(metrics: &str) -> Result<f64, String> {
    let line = metrics.lines().find(|l| l.starts_with(WRITES));
    let value = line.and_then(|l| l.rsplit_once(' ')?.1.parse().ok());
    value.ok_or_else(|| format!("no {WRITES}"))
}

const WRITES: &str = "nrd_store_writes_total";

fn answer_all(service: &Service, requests: &[Vec<u8>], renew: bool) -> Result<Vec<f64>, String> {
    let mut times = Vec::with_capacity(requests.len());
    for request in requests {
        let began = Instant::now();
        let answer = service.answer(request, "192.0.2.9");
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        let answer = answer.map_err(|e| e.to_string())?;
        good(&answer, renew)?;
    }
    Ok(times)
}

/// A check-in that was taken, and renewed if it should be.
fn good(answer: &[u8], renew: bool) -> Result<[u8; 32], String> {
    let reply: Reply<'_> = wire::decode(answer).map_err(|e| format!("{e:?}"))?;
    match reply.answer {
        Answer::CheckedIn { lease, .. } if lease.is_some() == renew => Ok(reply.challenge),
        _ => Err("not the answer of a good check-in".to_owned()),
    }
}

struct Load {
    at_once: usize,
    written: f64,
}

fn report(
    what: String,
    times: Vec<f64>,
    (cpu, wall): (f64, f64),
    verifies_a_cpu_second: f64,
    load: Load,
) -> CheckInReport {
    let n = times.len() as f64;
    let a_cpu_second = n / cpu.max(0.01);
    CheckInReport {
        what,
        check_ins: times.len() as u64,
        a_cpu_second,
        a_second: n / wall,
        writes_a_check_in: load.written / n,
        verifies_a_cpu_second,
        ratio: a_cpu_second / verifies_a_cpu_second,
        latency: Spread::of(times),
        at_once: load.at_once,
    }
}

/// What is run over TLS.
pub struct OverTls<'a> {
    /// The service program.
    pub exe: &'a Path,
    /// It runs on the core that this names (`taskset -c 0`).
    pub under: &'a [&'a str],
    /// Connections, which are kept.
    pub at_once: usize,
    /// For so long.
    pub seconds: u64,
    /// Two processes on one PostgreSQL, to which they speak over TLS as well; one
    /// process on SQLite otherwise.
    pub postgres: bool,
}

/// Service processes, and devices that check in over connections that are kept.
#[expect(clippy::too_many_lines, reason = "a measurement, told in its order")]
pub fn over_tls(run: &OverTls<'_>) -> Result<CheckInReport, String> {
    let home = tempfile::tempdir().map_err(|e| e.to_string())?;
    let keys_dir = home.path().join("keys");
    let mut server = None;
    if run.postgres {
        server = Some(Server::start().ok_or("PostgreSQL is not installed")?);
    }
    let database = server.as_mut().map(Server::over_tls_alone);
    let dirs: Vec<PathBuf> = (0..if run.postgres { 2 } else { 1 })
        .map(|n| home.path().join(format!("service-{n}")))
        .collect();
    let mut provers = Vec::new();
    let keys = {
        std::fs::create_dir_all(&keys_dir).map_err(|e| e.to_string())?;
        Keys::open(&keys_dir).map_err(|e| e.to_string())?
    };
    {
        // Made before the processes start: SQLite serves one.
        let place = ServicePaths {
            dir: dirs[0].clone(),
            keys: keys_dir.clone(),
            database: database.clone(),
        };
        let service = service_on(&place, System)?;
        for number in 0..run.at_once as u32 {
            provers.push(Prover::new(&service, number)?);
        }
    }
    let keys = Arc::new(keys);
    let (soon, shared) = (SOON_S.to_string(), keys_dir.display().to_string());
    let mut more = vec!["--check-in", &soon, "--keys", &shared];
    if let Some(url) = &database {
        more.extend(["--database", url]);
    }
    let mut processes = Vec::new();
    for dir in &dirs {
        let process = ServiceProcess::start_under(run.under, run.exe, dir, &more)?;
        processes.push(process);
    }
    let ports: Vec<u16> = processes.iter().map(|p| p.device_port).collect();
    let town = Town::new(&keys_dir.join("ca.pem"), &ports)?;
    let used = || {
        processes
            .iter()
            .filter_map(|p| Some(p.used()?.0))
            .sum::<f64>()
    };
    let written = || {
        let told = |p: &ServiceProcess| writes(&p.ops("/metrics")?.1);
        processes.iter().map(told).sum::<Result<f64, String>>()
    };
    let verifies_a_cpu_second = verifies()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let seconds = run.seconds;
    let tasks: Vec<_> = provers
        .into_iter()
        .map(|prover| {
            let (town, keys) = (town.clone(), keys.clone());
            runtime.spawn(async move {
                let mut line = town.connect(prover.number as usize).await?;
                let mut challenge = challenge(prover.number, 0);
                let mut times = Vec::new();
                let until = Instant::now() + Duration::from_secs(seconds);
                while Instant::now() < until {
                    let request = prover.request(&keys, challenge, 1, false);
                    let began = Instant::now();
                    let answer = line.post(&request).await?;
                    times.push(began.elapsed().as_secs_f64() * 1000.0);
                    challenge = good(&answer, false)?;
                }
                Ok::<_, String>(times)
            })
        })
        .collect();
    let began = Instant::now();
    let (before, written_before) = (used(), written()?);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(runtime.block_on(task).map_err(|e| e.to_string())??);
    }
    let figures = (used() - before, began.elapsed().as_secs_f64());
    runtime.shutdown_background();
    let load = Load {
        at_once: run.at_once,
        written: written()? - written_before,
    };
    let what = if run.postgres {
        "TLS, connections kept, two processes, PostgreSQL"
    } else {
        "TLS, connections kept, SQLite"
    };
    let what = what.to_owned();
    Ok(report(what, times, figures, verifies_a_cpu_second, load))
}
