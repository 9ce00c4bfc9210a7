//! `nrd-sim fleet`: many devices in virtual time.

use super::{fail, random_seed};
use indicatif::{ProgressBar, ProgressStyle};
use nrd_sim::load::process::used;
use nrd_sim::world::fleet::{FleetPlan, SHARD, live};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Every device is the real agent over a virtual part, every answer comes from the
real service core; time is virtual. Each day devices are switched off and on,
cache new values and check in; at the end every account holder removes all.

Examples:
  nrd-sim fleet --devices 1000
  nrd-sim fleet --devices 10000 --days 30 --seed 7 --json
  nrd-sim fleet --devices 200 --days 3 --check-in 3600

Exit status: 0 every device was proven wiped or is honestly shown as waiting; 1 one
was not.")]
pub(crate) struct Args {
    /// How many devices.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// Virtual days until everything is removed.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=365))]
    days: u64,
    /// Seconds between check-ins of a device.
    #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(60..=604_800))]
    check_in: u32,
    /// Draw everything random from this seed; printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; as many as there are cores if not given. The report does not
    /// depend on it.
    #[arg(long)]
    threads: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let seed = args.seed.unwrap_or_else(random_seed);
    eprintln!("seed {seed}");
    let plan = FleetPlan {
        devices: args.devices as usize,
        days: args.days,
        seed,
        check_in_s: args.check_in,
        threads: args
            .threads
            .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
            .unwrap_or(1),
    };
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(args.devices.into())
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} devices, {eta} left") {
        bar.set_style(style);
    }
    let began = Instant::now();
    let most = AtomicU64::new(0);
    let report = live(&plan, |n| {
        let resident = used(std::process::id()).map_or(0, |(_, bytes)| bytes);
        most.fetch_max(resident, Ordering::Relaxed);
        bar.inc(n as u64);
    });
    bar.finish_and_clear();
    let r = match report {
        Ok(r) => r,
        Err(e) => return fail(&e.to_string(), "fewer devices"),
    };
    // What depends on the machine is said apart from the report.
    let alive = (plan.threads * SHARD).min(plan.devices) as u64;
    eprintln!(
        "{:.1} s here; {} bytes of memory a device, {alive} at a time",
        began.elapsed().as_secs_f64(),
        most.into_inner() / alive
    );
    if args.json {
        say!("{}", serde_json::json!(r));
    } else {
        say!(
            "{} devices lived {} days: {} boots, {} requests answered, {} values cached",
            r.devices,
            args.days,
            r.boots,
            r.answered,
            r.updates
        );
        say!(
            "removed {}: {} proven wiped, {} off and shown as waiting, {} neither",
            r.removed,
            r.proven_wiped,
            r.pending,
            r.wrong
        );
        say!(
            "click to proven wiped, virtual: half within {} s, 90 % {} s, 99 % {} s, all {} s",
            r.p50_s,
            r.p90_s,
            r.p99_s,
            r.max_s
        );
        say!(
            "of it modelled flash time: {} ms a wipe ({} bytes of flash)",
            r.wipe_flash_ms,
            r.flash_bytes
        );
    }
    match r.wrong {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}
