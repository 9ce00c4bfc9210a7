//! `nrd-sim demo`.

use super::{fail, random_seed};
use nrd_sim::base::sample::Samples;
use nrd_sim::demo::{DemoReport, Options, Stage, Step, run as tell};
use nrd_sim::service::server::Ports;
use nrd_sim::world::room::Room;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after the story instead of staying up.
    #[arg(long)]
    headless: bool,
    /// Print one JSON object at the end; the story goes to standard error.
    #[arg(long)]
    json: bool,
    /// Feeds the devices' random generators; printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep everything in this empty folder; a temporary one unless said.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The pages' port; any free one unless said.
    #[arg(long, default_value_t = 0)]
    pages_port: u16,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let seed = args.seed.unwrap_or_else(random_seed);
    let Ok(exe) = std::env::current_exe() else {
        return fail(
            "the program cannot find itself",
            "starting it by its full path",
        );
    };
    let (dir, temporary) = match &args.dir {
        Some(dir) => (dir.clone(), None),
        None => match tempfile::Builder::new().prefix("nrd-demo-").tempdir() {
            Ok(t) => (t.path().to_owned(), Some(t)),
            Err(e) => return fail(&format!("no temporary folder: {e}"), "--dir FOLDER"),
        },
    };
    let used = std::fs::read_dir(&dir).is_ok_and(|mut d| d.next().is_some());
    if used {
        return fail(
            &format!("{} is not empty", dir.display()),
            "an empty or new folder",
        );
    }
    let say = |line: String| {
        if args.json {
            eprintln!("{line}")
        } else {
            say!("{line}")
        }
    };
    say(format!("seed {seed}"));
    say(
        "A set-top box, a console and a computer, each a process of its own, meet a real service."
            .into(),
    );
    let options = Options {
        exe,
        dir,
        seed,
        ports: Ports {
            tls: 0,
            pages: args.pages_port,
        },
    };
    let mut n = 0;
    let told = tell(&options, &mut |step: &Step| {
        n += 1;
        let mark = if step.ok { "ok    " } else { "FAILED" };
        say(format!(
            "{n:3}. {mark} {}\n            {}",
            step.name, step.seen
        ));
    });
    let (report, mut stage) = match told {
        Ok(done) => done,
        Err(e) => return fail(&e, "what the message says; nothing was left behind"),
    };
    let code = finish(args, &report, &say);
    if !args.headless && report.ok() {
        stay(&mut stage, &options, &say);
    }
    // The devices end before their folders do.
    drop(stage);
    drop(temporary);
    code
}

fn finish(args: &Args, report: &DemoReport, say: &dyn Fn(String)) -> ExitCode {
    let verdict = if report.ok() {
        format!(
            "The story held. Readable with the root key: {} account bytes before the wipe, {} after; {} in plain.",
            report.account_bytes_readable_before_wipe,
            report.account_bytes_readable_after_wipe,
            report.plaintext_hits
        )
    } else {
        "The story did not hold: see the step that failed.".to_owned()
    };
    say(verdict);
    if args.json {
        match serde_json::to_string(report) {
            Ok(line) => say!("{line}"),
            Err(e) => return fail(&e.to_string(), "without --json"),
        }
    }
    if report.ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

/// Stays up for a person who wants to look around.
fn stay(stage: &mut Stage, options: &Options, say: &dyn Fn(String)) {
    say(format!(
        "\nLook around: {}   (alexandra@example.com, password \"correct horse battery\")",
        stage.running.pages_url()
    ));
    if let Ok(samples) = Samples::read(None) {
        let room = Room::new(&stage.running.service, &samples.accounts, options.seed);
        if stage.room.furnish(room) {
            say(format!(
                "Living room: {}room   Returns desk: {}desk",
                stage.running.pages_url(),
                stage.running.pages_url()
            ));
        }
    }
    // The box that was wiped waits for a new owner.
    if let Some(stb) = stage.devices.first_mut()
        && stb.type_line("activate").is_ok()
        && let Ok(shown) = stb.wait("code", |_| true)
    {
        say(format!(
            "The set-top box shows the code {} with a {}: type it under \"Activate a device\".",
            shown["code"].as_str().unwrap_or_default(),
            shown["pictogram"].as_str().unwrap_or_default()
        ));
    }
    say(format!(
        "Everything is kept in {} while this runs. Ctrl-C ends it.",
        options.dir.display()
    ));
    stage.running.wait_for_the_end();
}
