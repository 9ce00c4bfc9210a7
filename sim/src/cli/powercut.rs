//! `nrd-sim powercut`.

use super::{fail, random_seed};
use indicatif::{ProgressBar, ProgressStyle};
use nrd_hal::Geometry;
use nrd_hal::layout::LayoutError;
use nrd_sim::hw::{ChipSpec, Tear};
use nrd_sim::powercut::{Options, Report, explore};
use std::process::ExitCode;

/// Arguments of `powercut`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Draws tears, unstable bits and the device's randomness; printed.
    #[arg(long)]
    seed: Option<u64>,
    /// 2 cuts again at every operation of the recovery.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    depth: u8,
    /// Erase size in bytes.
    #[arg(long, default_value_t = 4096)]
    sector_size: u32,
    /// Sectors of the whole flash: key slots, journal and vault.
    #[arg(long, default_value_t = 10)]
    sectors: u32,
    /// Smallest programmable unit in bytes, 1 to 256.
    #[arg(long, default_value_t = 4)]
    write_size: u32,
    /// How the cut operation is torn.
    #[arg(long, default_value = "all", value_parser = ["none", "prefix", "suffix", "random", "all-but-one", "weak", "no-op", "all"])]
    torn: String,
    /// At depth 2, give second cuts to every Nth first cut only.
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// A part whose units may be programmed to zero again.
    #[arg(long)]
    multiwrite: bool,
    /// Print one JSON object and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let seed = args.seed.unwrap_or_else(random_seed);
    eprintln!("seed {seed}");
    let Some(size) = args.sectors.checked_mul(args.sector_size) else {
        return fail("the flash is larger than 4 GiB", "fewer or smaller sectors");
    };
    let options = Options {
        seed,
        depth: args.depth,
        chip: ChipSpec {
            geometry: Geometry {
                size,
                write_size: args.write_size,
                erase_size: args.sector_size,
                best_erase: args.sector_size,
            },
            can_overwrite: args.multiwrite,
        },
        tears: tears(&args.torn),
        stride: args.stride,
    };
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} operations, {eta} left") {
        bar.set_style(style);
    }
    let report = explore(&options, |at, of| {
        bar.set_length(of);
        bar.set_position(at);
    });
    bar.finish_and_clear();
    match report {
        Err(e) => refuse(e),
        Ok(report) => finish(args, &report),
    }
}

fn tears(name: &str) -> Vec<Tear> {
    match name {
        "none" => vec![Tear::Nothing, Tear::Complete],
        "all" => Tear::ALL.to_vec(),
        name => Tear::ALL.into_iter().filter(|t| t.name() == name).collect(),
    }
}

fn refuse(e: LayoutError) -> ExitCode {
    match e {
        LayoutError::WriteSize => fail("the write size is refused", "a power of two, 1 to 256"),
        LayoutError::EraseSize => fail(
            "the sector size is refused",
            "a power of two from 256 to 65536, and no less than the write size",
        ),
        LayoutError::TooSmall { needed } => fail(
            &format!("the flash is too small: it needs {needed} bytes"),
            "more sectors: two key slots, three journal sectors and three vault sectors of at least 2 KiB",
        ),
        e => fail(&format!("{e:?}"), "other sizes"),
    }
}

fn finish(args: &Args, report: &Report) -> ExitCode {
    if args.json {
        match serde_json::to_string(report) {
            Ok(line) => say!("{line}"),
            Err(e) => return fail(&format!("the report cannot be written: {e}"), "no --json"),
        }
    } else {
        say!(
            "{} operations, {} cuts, {} second cuts, {} violations",
            report.operations,
            report.cuts,
            report.second_cuts,
            report.violations
        );
        say!(
            "{} records found readable before the wipes, none of {} trials opened anything after",
            report.control_records,
            report.trial_opens
        );
        for (what, n) in &report.struck {
            say!("  {n:7} struck a {what}");
        }
        for (what, n) in &report.phases {
            say!("  {n:7} struck during {what}");
        }
        for d in &report.details {
            say!("  VIOLATION {d}");
        }
        for p in &report.missed_phases {
            say!("  MISSED    no cut struck: {p}");
        }
    }
    match report.violations == 0 && report.missed_phases.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}
