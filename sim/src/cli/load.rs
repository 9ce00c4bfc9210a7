//! `nrd-sim load`: real load on this machine, on loopback alone.

use super::{fail, random_seed};
use nrd_sim::load::check_ins::OverTls;
use nrd_sim::load::{check_ins, crowd, hostile, removals, revocations, rotation};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `load`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// Print one JSON object.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum What {
    /// Check-ins a second of one core, against bare signature verifies. For
    /// figures by the clock: `taskset -c 0 nrd-sim load check-ins`.
    CheckIns {
        /// Devices at once.
        #[arg(long, default_value_t = 64)]
        at_once: usize,
        /// Check-ins of each.
        #[arg(long, default_value_t = 1500)]
        each: u32,
        /// Every check-in renews its token.
        #[arg(long)]
        renew: bool,
        /// A service process over TLS, on processor 0, for ten seconds.
        #[arg(long)]
        tls: bool,
        /// The same of two processes on one PostgreSQL.
        #[arg(long, requires = "tls")]
        postgres: bool,
    },
    /// From the click on the account page to "proven wiped", with device
    /// processes that are on and wait.
    Removals {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        count: usize,
        /// Device processes at once.
        #[arg(long, default_value_t = 4)]
        devices: usize,
        /// Flash takes no time.
        #[arg(long)]
        no_flash_time: bool,
    },
    /// Devices that wait over TLS at several service processes on one
    /// PostgreSQL; all removed, one process killed half way.
    Crowd {
        /// How many.
        #[arg(long, default_value_t = 5000)]
        devices: usize,
        /// Service processes.
        #[arg(long, default_value_t = 2)]
        processes: usize,
        /// Seconds that a check-in waits.
        #[arg(long, default_value_t = 60)]
        wait: u16,
        /// Kill no process.
        #[arg(long)]
        no_kill: bool,
    },
    /// People who remove devices, and a device that checks in, while hundreds of
    /// clients are slow, too many, too large, malformed, or repeat what was sent.
    Hostile {
        /// For how long.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// Connections that say nothing, from many addresses: more than the service
        /// takes.
        #[arg(long, default_value_t = 1500)]
        crowd: usize,
        /// Feeds what is random in it.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// A start over a restored database with a long revocation log.
    Revocations {
        /// Lines of the log.
        #[arg(long, default_value_t = 1_000_000)]
        lines: u64,
        /// On PostgreSQL.
        #[arg(long)]
        postgres: bool,
    },
    /// An order key rotated over many waiting orders, while devices are removed.
    Rotation {
        /// Orders that wait.
        #[arg(long, default_value_t = 1_000_000)]
        orders: u64,
        /// Removals meanwhile, at most.
        #[arg(long, default_value_t = 20_000)]
        removals: u64,
        /// On PostgreSQL.
        #[arg(long)]
        postgres: bool,
    },
}

#[expect(clippy::too_many_lines, reason = "a branch for each run")]
pub(crate) fn run(args: &Args) -> ExitCode {
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(e) => return fail(&e.to_string(), "start it by its full path"),
    };
    let say = |text: &str| eprintln!("{text}");
    match &args.what {
        What::CheckIns {
            at_once,
            each,
            renew,
            tls,
            postgres,
        } => {
            let done = if *tls {
                check_ins::over_tls(&OverTls {
                    exe: &exe,
                    under: &["taskset", "-c", "0"],
                    at_once: *at_once,
                    seconds: 10,
                    postgres: *postgres,
                })
            } else {
                check_ins::core(*at_once, *each, *renew)
            };
            show(args.json, done, |_| true)
        }
        What::Removals {
            count,
            devices,
            no_flash_time,
        } => {
            let (n, d) = (*count, (*devices).clamp(1, 64));
            let done = removals::run(&exe, n, d, !no_flash_time, say);
            show(args.json, done, |r| r.removals == n)
        }
        What::Revocations { lines, postgres } => {
            let done = revocations::run(*lines, *postgres, say);
            show(args.json, done, |r| r.revoked == *lines)
        }
        What::Rotation {
            orders,
            removals,
            postgres,
        } => {
            let done = rotation::run(*orders, *removals, *postgres, say);
            show(args.json, done, |r| {
                r.signed_again == *orders && r.failed == 0
            })
        }
        What::Crowd {
            devices,
            processes,
            wait,
            no_kill,
        } => {
            if let Err(e) = enough_files(*devices) {
                return fail(&e, "ulimit -n 20000");
            }
            let plan = crowd::CrowdPlan {
                devices: *devices,
                processes: (*processes).clamp(1, 16),
                kill: !no_kill && *processes > 1,
                wait_s: *wait,
                limit: Duration::from_secs(1800),
            };
            show(
                args.json,
                crowd::run(&exe, &plan, say),
                crowd::CrowdReport::good,
            )
        }
        What::Hostile {
            seconds,
            crowd,
            seed,
        } => {
            if let Err(e) = enough_files(2 * crowd + 1000) {
                return fail(&e, "ulimit -n 20000");
            }
            let plan = hostile::HostilePlan {
                seconds: *seconds,
                crowd: *crowd,
                seed: seed.unwrap_or_else(random_seed),
            };
            say(&format!("seed {}", plan.seed));
            show(args.json, hostile::run(&exe, &plan), |r| {
                r.good() && r.click.p99_ms < LONGEST_REMOVAL_MS
            })
        }
    }
}

/// What 99 of 100 removals may take among hostile clients.
const LONGEST_REMOVAL_MS: f64 = 2000.0;

fn show<T: Serialize>(json: bool, done: Result<T, String>, good: impl Fn(&T) -> bool) -> ExitCode {
    let report = match done {
        Ok(report) => report,
        Err(e) => {
            return fail(
                &e,
                "what the message says; nothing of the run is left behind",
            );
        }
    };
    match serde_json::to_value(&report) {
        Ok(value) if json => say!("{value}"),
        Ok(serde_json::Value::Object(fields)) => {
            for (name, value) in fields {
                say!("{:24} {value}", name.replace('_', " "));
            }
        }
        _ => {}
    }
    if good(&report) {
        ExitCode::SUCCESS
    } else {
        eprintln!("not good: see the figures above");
        ExitCode::FAILURE
    }
}

/// Sockets are files: this process and each service need one a device.
fn enough_files(devices: usize) -> Result<(), String> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|l| l.starts_with("Max open files"));
    let soft = line
        .and_then(|l| l.split_whitespace().nth(3))
        .and_then(|n| n.parse::<usize>().ok())
        .unwrap_or(usize::MAX);
    if soft > devices + 200 {
        Ok(())
    } else {
        Err(format!(
            "this shell lets a process open {soft} files; {devices} devices need more"
        ))
    }
}
