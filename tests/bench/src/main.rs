//! Ours beside what a firmware team would pick instead: the same work, in one
//! run. `cargo run --release -p nrd-tests --bin bench -- --help`.
//!
//! `callgrind.rs` counts instructions, `peers/` adapts the peers, `rows/` measures, `report.rs` shows.

mod callgrind;
mod peers;
mod plot;
mod reasons;
mod report;
mod rows;
mod trace;

use clap::Parser;
use rows::{Context, GROUPS, Runs};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the agent against floors and peers. Every figure but those of host
/// time is a count or a model, and the same on every machine.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Groups to run; all of them if none is named.
    names: Vec<String>,
    /// One object a line: name, unit, ours, floor or peers, ratio, target, met.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The tables of docs/reports/PERFORMANCE.md.
    #[arg(long)]
    markdown: bool,
    /// Where the growth curves are drawn, as SVG files.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Fewer turns and smaller parts: within a minute.
    #[arg(long)]
    quick: bool,
    /// Seed of every workload.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs one case for callgrind.
    #[arg(long, hide = true)]
    case: Option<String>,
    /// Where the instructions of one case go: boot, boot-aged, order, put:ours,
    /// get:ours, put:wasefire …
    #[arg(long, value_name = "CASE")]
    profile: Option<String>,
    /// Every flash operation of one case: boot, boot-aged, wipe.
    #[arg(long, value_name = "CASE")]
    trace: Option<String>,
    /// Exit with status 1 when a target is missed.
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    let args = Arguments::parse();
    if let Some(case) = &args.case {
        return ExitCode::from(if rows::run_case(case) { 0 } else { 2 });
    }
    if let Some(case) = &args.trace {
        if trace::print(case) {
            return ExitCode::SUCCESS;
        }
        eprintln!(
            "{case:?} cannot be traced; there are: {}",
            trace::CASES.join(", ")
        );
        return ExitCode::from(2);
    }
    if let Some(case) = &args.profile {
        return match callgrind::missing().map_or_else(|| callgrind::run(case), Err) {
            Ok(profile) => {
                print!("{}", profile.text());
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{case}: {why}");
                ExitCode::from(2)
            }
        };
    }
    let known = |name: &String| GROUPS.iter().any(|(key, _)| key == name);
    if let Some(unknown) = args.names.iter().find(|n| !known(n)) {
        let all: Vec<&str> = GROUPS.iter().map(|g| g.0).collect();
        eprintln!(
            "no group is called {unknown:?}; there are: {}",
            all.join(", ")
        );
        return ExitCode::from(2);
    }
    let mut context = Context {
        quick: args.quick,
        seed: args.seed,
        plots: args.plots,
        runs: Runs::default(),
    };
    eprintln!("seed {}", args.seed);
    if args.markdown && args.names.is_empty() {
        print!("{}", include_str!("intro.md"));
    }
    let (mut met, mut missed) = (0, Vec::new());
    for (key, measure) in GROUPS {
        if !args.names.is_empty() && !args.names.iter().any(|n| n == key) {
            continue;
        }
        let section = measure(&mut context);
        if args.json {
            for row in &section.rows {
                println!("{}", row.json());
            }
        } else if args.markdown {
            print!("{}", section.markdown());
        } else {
            print!("{}", section.text());
        }
        if let (Some(why), true) = (&section.skipped, args.json) {
            eprintln!("NOT MEASURED: {}: {why}", section.key);
        }
        for row in &section.rows {
            match row.met() {
                Some(true) => met += 1,
                Some(false) => missed.push(row.name.clone()),
                None => {}
            }
        }
    }
    eprintln!("{met} targets met, {} missed", missed.len());
    ExitCode::from(u8::from(args.strict && !missed.is_empty()))
}
