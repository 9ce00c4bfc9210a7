//! `nrd-sim run`: plays scenario files.

use super::fail;
use indicatif::{ProgressBar, ProgressStyle};
use nrd_sim::world::read::read;
use nrd_sim::world::room::replay::{Recording, is_recording};
use nrd_sim::world::runner::{ScenarioReport, play};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Arguments.
#[derive(clap::Args)]
#[command(after_help = "\
A scenario tells a story: devices, account holders, what happens, and what must
then be so. The real agent and the real service core play it in virtual time: a
year passes in seconds. The same file gives the same result, byte for byte.

Examples:
  nrd-sim run sim/scenarios/sold-console.toml
  nrd-sim run sim/scenarios/*.toml
  nrd-sim run --json story.toml | jq .failures
  nrd-sim run --junit report.xml sim/scenarios/*.toml
  nrd-sim run --seed 12 story.toml                 the same story with other draws
  nrd-sim run session.toml                         a session saved in the living room, again

Exit status: 0 all as told; 1 an expectation broke; 2 a file makes no sense.
The file format: docs/SIMULATOR.md")]
pub(crate) struct Args {
    /// The stories.
    #[arg(required = true, value_name = "FILE.toml")]
    files: Vec<PathBuf>,
    /// Draw everything random from this seed instead of the file's.
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON object a story.
    #[arg(long)]
    json: bool,
    /// Also write a JUnit report here.
    #[arg(long, value_name = "REPORT.xml")]
    junit: Option<PathBuf>,
    /// Say only what is wrong.
    #[arg(long, short)]
    quiet: bool,
}

/// One file's result.
struct Played {
    path: PathBuf,
    report: ScenarioReport,
    host_s: f64,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut all = Vec::new();
    let mut senseless = false;
    for path in &args.files {
        match one(args, path) {
            Ok(played) => {
                tell(args, &played);
                all.push(played);
            }
            Err(code) => {
                senseless = true;
                let _: ExitCode = code;
            }
        }
    }
    if let Some(to) = &args.junit
        && let Err(e) = std::fs::write(to, junit(&all))
    {
        return fail(
            &format!("{}: {e}", to.display()),
            "a file that can be written",
        );
    }
    let broken = all.iter().filter(|p| !p.report.failures.is_empty()).count();
    if !args.json && !args.quiet && args.files.len() > 1 {
        say!(
            "{} of {} stories went as told",
            all.len() - broken,
            args.files.len()
        );
    }
    match (senseless, broken) {
        (true, _) => ExitCode::from(2),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::from(1),
    }
}

fn one(args: &Args, path: &Path) -> Result<Played, ExitCode> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        let hint =
            "a scenario file; sim/scenarios/ has some, docs/SIMULATOR.md says how to write one";
        fail(&format!("{}: {e}", path.display()), hint)
    })?;
    if is_recording(&text) {
        return recording(path, &text);
    }
    let mut story = read(&text).map_err(|e| {
        eprintln!("error: {}: {e}", path.display());
        ExitCode::from(2)
    })?;
    story.seed = args.seed.unwrap_or(story.seed);
    let bar = if std::io::stderr().is_terminal() && !args.quiet {
        ProgressBar::new(story.steps.len() as u64)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{msg:32} {bar:30} {pos}/{len} steps") {
        bar.set_style(style);
    }
    bar.set_message(story.title.clone());
    let began = Instant::now();
    let report = play(&story, |n, _| bar.set_position(n as u64));
    bar.finish_and_clear();
    let report = report.map_err(|e| fail(&e.to_string(), "again; this is no fault of the file"))?;
    Ok(Played {
        path: path.to_owned(),
        report,
        host_s: began.elapsed().as_secs_f64(),
    })
}

/// A session of the living room.
fn recording(path: &Path, text: &str) -> Result<Played, ExitCode> {
    let began = Instant::now();
    let report = Recording::read(text).and_then(|r| r.play());
    let report = report.map_err(|e| {
        let hint = "the file as the living room saved it (\"Save this session\")";
        fail(&format!("{}: {e}", path.display()), hint)
    })?;
    Ok(Played {
        path: path.to_owned(),
        report,
        host_s: began.elapsed().as_secs_f64(),
    })
}

fn tell(args: &Args, played: &Played) {
    let r = &played.report;
    if args.json {
        let mut object = serde_json::json!(r);
        object["file"] = played.path.display().to_string().into();
        say!("{object}");
        return;
    }
    let good = r.failures.is_empty();
    if !args.quiet {
        let mark = if good { "ok    " } else { "BROKEN" };
        say!(
            "{mark} {}: {} steps, {} expectations, {} (seed {})",
            r.title,
            r.steps,
            r.expectations,
            span(r.virtual_s),
            r.seed
        );
    }
    for f in &r.failures {
        if f.line == 0 {
            say!("{}: {}", played.path.display(), f.what);
            continue;
        }
        say!(
            "{}:{}: after {}: {}",
            played.path.display(),
            f.line,
            span(f.at_s),
            f.what
        );
    }
}

/// "3 d 4 h", "12 min 5 s".
fn span(s: u64) -> String {
    let (d, h, m, s) = (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, m) => format!("{m} min {s} s"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

/// The format that CI systems read.
fn junit(all: &[Played]) -> String {
    let failures = all.iter().filter(|p| !p.report.failures.is_empty()).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"nrd-sim run\" tests=\"{}\" failures=\"{failures}\">\n",
        all.len()
    );
    for p in all {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "writing to a String cannot fail"
        )]
        let _ = write!(
            out,
            "<testcase name=\"{}\" classname=\"{}\" time=\"{:.3}\">",
            xml(&p.report.title),
            xml(&p.path.display().to_string()),
            p.host_s
        );
        for f in &p.report.failures {
            let what = xml(&f.what);
            #[expect(
                clippy::let_underscore_must_use,
                reason = "writing to a String cannot fail"
            )]
            let _ = write!(out, "<failure message=\"line {}: {what}\"/>", f.line);
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
