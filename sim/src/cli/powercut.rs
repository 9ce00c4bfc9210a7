//! `nrd-sim powercut`.

use super::{fail, random_seed};
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use nrd_hal::Geometry;
use nrd_hal::layout::LayoutError;
use nrd_sim::explorer::{ExplorerReport, NAMED, Named, Options, Start, explore, is_small, matrix};
use nrd_sim::hw::{ChipSpec, FaultMode};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Instant;

/// Arguments of `powercut`.
#[derive(clap::Args)]
#[command(after_help = "\
Without a geometry the default run explores fourteen named parts (--list); at
--depth 2 those of at most 32 KiB get second cuts, and some of these third ones.

  nrd-sim powercut                                 one cut, every named part
  nrd-sim powercut --depth 2                       the default run, minutes
  nrd-sim powercut --matrix                        648 parts, one cut: hours
  nrd-sim powercut --matrix --sector-size 2048     the 72 of them with such sectors
  nrd-sim powercut --geometry spi-nor-4k --depth 2
  nrd-sim powercut --sector-size 2048 --sectors 9 --write-size 8 --start aged")]
pub(crate) struct Args {
    /// Draws tears, unstable bits and the device's randomness; printed.
    #[arg(long)]
    seed: Option<u64>,
    /// 2 cuts again at every operation of the recovery.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    depth: u8,
    /// One of the named parts only.
    #[arg(long, conflicts_with_all = ["sector_size", "sectors", "write_size", "multiwrite", "start"])]
    geometry: Option<String>,
    /// Every write size with every erase size from every start, on the smallest
    /// parts that hold the script; of these those of a size or a start that is
    /// given.
    #[arg(long, conflicts_with_all = ["geometry", "sectors"])]
    matrix: bool,
    /// Print the named parts (or with --matrix those of it) and end.
    #[arg(long)]
    list: bool,
    /// Erase size in bytes; 4096 if another size is given.
    #[arg(long)]
    sector_size: Option<u32>,
    /// Sectors of the whole flash: key slots, journal and vault; 10 if another
    /// size is given.
    #[arg(long)]
    sectors: Option<u32>,
    /// Smallest programmable unit in bytes, 1 to 256; 4 if another size is given.
    #[arg(long)]
    write_size: Option<u32>,
    /// A part whose units may be programmed to zero again.
    #[arg(long)]
    multiwrite: bool,
    /// What the device has lived through.
    #[arg(long, value_enum)]
    start: Option<StartArg>,
    /// How the cut operation is torn.
    #[arg(long, default_value = "all", value_parser = torn_words())]
    torn: String,
    /// At depth 2, give second cuts to every Nth first cut only.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    stride: u64,
    /// At depth 2, give a third cut to one in N of the states after a second one; 0 for none.
    #[arg(long, default_value_t = 17)]
    third: u64,
    /// A generator that gives the same at each boot.
    #[arg(long)]
    same_draws: bool,
    /// Threads; as many as there are cores if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Print one JSON object a part, and at last one of the whole.
    #[arg(long)]
    json: bool,
}

/// A part to explore.
struct Part {
    name: String,
    chip: ChipSpec,
    start: Start,
    depth: u8,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let parts = match parts(args) {
        Ok(parts) => parts,
        Err(code) => return code,
    };
    if args.list {
        return list(&parts);
    }
    let seed = args.seed.unwrap_or_else(random_seed);
    eprintln!("seed {seed}");
    let began = Instant::now();
    let mut whole = ExplorerReport {
        seed,
        ..ExplorerReport::default()
    };
    for part in &parts {
        let options = Options {
            seed,
            depth: part.depth,
            chip: part.chip,
            start: part.start,
            tears: tears(&args.torn),
            stride: args.stride,
            third: args.third,
            same_draws: args.same_draws,
            threads: args
                .threads
                .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
                .unwrap_or(1),
        };
        let bar = ProgressBar::new(0);
        let look = "{msg:20} {bar:30} {pos}/{len} operations, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(look) {
            bar.set_style(style);
        }
        bar.set_message(part.name.clone());
        let report = explore(&options, |at, of| {
            bar.set_length(of);
            bar.set_position(at);
        });
        bar.finish_and_clear();
        let report = match report {
            Ok(report) => report,
            Err(e) => return refuse(e),
        };
        whole.add(&report);
        if parts.len() > 1
            && let Err(code) = tell_part(args, part, &report)
        {
            return code;
        }
    }
    eprintln!("{} s", began.elapsed().as_secs());
    finish(args, &whole)
}

fn list(parts: &[Part]) -> ExitCode {
    for part in parts {
        let g = part.chip.geometry;
        say!(
            "{:20} {:6} B, erase {:5}, write {:3}{}, {}",
            part.name,
            g.size,
            g.erase_size,
            g.write_size,
            if part.chip.can_overwrite {
                ", multi-write"
            } else {
                ""
            },
            part.start.name()
        );
    }
    ExitCode::SUCCESS
}

/// Which parts: the matrix, one of a given geometry, one of the named, or all of
/// these.
fn parts(args: &Args) -> Result<Vec<Part>, ExitCode> {
    // ServiceArgs several parts only the small ones get second cuts.
    let depth_of = |chip: &ChipSpec| if is_small(chip) { args.depth } else { 1 };
    if args.matrix {
        return matrix_parts(args, depth_of);
    }
    let given = args.sector_size.is_some()
        || args.sectors.is_some()
        || args.write_size.is_some()
        || args.multiwrite
        || args.start.is_some();
    if given {
        let erase_size = args.sector_size.unwrap_or(4096);
        let Some(size) = args.sectors.unwrap_or(10).checked_mul(erase_size) else {
            return Err(fail(
                "the flash is larger than 4 GiB",
                "fewer or smaller sectors",
            ));
        };
        return Ok(vec![Part {
            name: "as given".into(),
            chip: ChipSpec {
                geometry: Geometry {
                    size,
                    write_size: args.write_size.unwrap_or(4),
                    erase_size,
                    best_erase: erase_size,
                },
                can_overwrite: args.multiwrite,
            },
            start: start(args).unwrap_or(Start::Dirty),
            depth: args.depth,
        }]);
    }
    let wanted = |n: &&Named| args.geometry.as_ref().is_none_or(|g| g == n.name);
    let parts: Vec<Part> = NAMED
        .iter()
        .filter(wanted)
        .map(|n| Part {
            name: n.name.into(),
            chip: n.chip,
            start: n.start,
            // One part alone gets what was asked for.
            depth: if args.geometry.is_some() {
                args.depth
            } else {
                depth_of(&n.chip)
            },
        })
        .collect();
    if parts.is_empty() {
        Err(fail(
            &format!(
                "no part is named {}",
                args.geometry.as_deref().unwrap_or_default()
            ),
            "one of `nrd-sim powercut --list`",
        ))
    } else {
        Ok(parts)
    }
}

/// What `--start` takes.
#[derive(Clone, Copy, clap::ValueEnum)]
enum StartArg {
    Blank,
    Dirty,
    Aged,
    NearlyFull,
}

fn start(args: &Args) -> Option<Start> {
    Some(match args.start? {
        StartArg::Blank => Start::Blank,
        StartArg::Dirty => Start::Dirty,
        StartArg::Aged => Start::Aged,
        StartArg::NearlyFull => Start::NearlyFull,
    })
}

/// The parts of the matrix that fit what was given.
fn matrix_parts(args: &Args, depth_of: impl Fn(&ChipSpec) -> u8) -> Result<Vec<Part>, ExitCode> {
    let wanted = |(chip, of): &(ChipSpec, Start)| {
        let g = chip.geometry;
        args.sector_size.is_none_or(|n| n == g.erase_size)
            && args.write_size.is_none_or(|n| n == g.write_size)
            && (chip.can_overwrite || !args.multiwrite)
            && start(args).is_none_or(|s| s == *of)
    };
    let part = |(chip, start): (ChipSpec, Start)| Part {
        name: matrix_name(&chip, start),
        depth: depth_of(&chip),
        chip,
        start,
    };
    let parts: Vec<Part> = matrix().filter(wanted).map(part).collect();
    if parts.is_empty() {
        Err(fail(
            "no part of the matrix is like that",
            "a --write-size of 1 to 256, a --sector-size of 256 to 65536, powers of two",
        ))
    } else {
        Ok(parts)
    }
}

/// `write size/erase size`, `+` on a multi-write part, and the start.
fn matrix_name(chip: &ChipSpec, start: Start) -> String {
    let g = chip.geometry;
    let plus = if chip.can_overwrite { "+" } else { "" };
    let start = start.name();
    format!("{}/{}{plus} {start}", g.write_size, g.erase_size)
}

fn tell_part(args: &Args, part: &Part, report: &ExplorerReport) -> Result<(), ExitCode> {
    if !args.json {
        say!(
            "{:20} depth {}: {:4} operations, {:5} cuts, {:7} second, {:5} third, {:7} states, {:7} pruned, {} violations",
            part.name,
            part.depth,
            report.operations,
            report.cuts,
            report.second_cuts,
            report.third_cuts,
            report.states,
            report.pruned,
            report.violations
        );
        return Ok(());
    }
    let named = Line {
        geometry: &part.name,
        depth: part.depth,
        report,
    };
    match serde_json::to_string(&named) {
        Ok(line) => say!("{line}"),
        Err(e) => {
            return Err(fail(
                &format!("the report cannot be written: {e}"),
                "no --json",
            ));
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Line<'a> {
    geometry: &'a str,
    depth: u8,
    #[serde(flatten)]
    report: &'a ExplorerReport,
}

/// What `--torn` takes: every mode that [`tears`] knows by name, and two words
/// for several.
fn torn_words() -> PossibleValuesParser {
    let several = [FaultMode::Nothing, FaultMode::Complete];
    let one = FaultMode::ALL.into_iter().filter(|m| !several.contains(m));
    let words = one.map(FaultMode::name);
    PossibleValuesParser::new(["none"].into_iter().chain(words).chain(["all"]))
}

fn tears(name: &str) -> Vec<FaultMode> {
    match name {
        "none" => vec![FaultMode::Nothing, FaultMode::Complete],
        "all" => FaultMode::ALL.to_vec(),
        name => FaultMode::ALL
            .into_iter()
            .filter(|t| t.name() == name)
            .collect(),
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

fn finish(args: &Args, report: &ExplorerReport) -> ExitCode {
    if args.json {
        match serde_json::to_string(report) {
            Ok(line) => say!("{line}"),
            Err(e) => return fail(&format!("the report cannot be written: {e}"), "no --json"),
        }
    } else {
        say!(
            "{} operations, {} cuts, {} second and {} third cuts, {} violations",
            report.operations,
            report.cuts,
            report.second_cuts,
            report.third_cuts,
            report.violations
        );
        say!(
            "{} different states judged, {} more were reached again by another path",
            report.states,
            report.pruned
        );
        say!(
            "{} records found readable before the wipes, none of {} trials opened anything after",
            report.control_records,
            report.trial_opens
        );
        say!(
            "{} seals under {} pairs of key and nonce, {} of them over other contents",
            report.seals,
            report.nonces,
            report.nonces_reused
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
        if report.nonces_reused > 0 {
            say!("  VIOLATION {} nonces used again", report.nonces_reused);
        }
        for p in &report.missed_phases {
            say!("  MISSED    no cut struck: {p}");
        }
    }
    let held = report.violations == 0 && report.nonces_reused == 0;
    // Some tears change only some parts: a counter has no byte to tear.
    if held && (report.missed_phases.is_empty() || args.torn != "all") {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}
