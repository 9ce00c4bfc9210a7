//! `nrd-sim desk`.

use super::verify::{maker_root, take};
use super::{fail, storage_check};
use nrd_sim::service::desk::photo::PhotoReader;
use nrd_sim::service::desk::{Desk, serve};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `desk`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The maker root's public key, 64 hexadecimal digits (maker-root.pub).
    #[arg(long)]
    maker_root: PathBuf,
    /// The maker's status list, if there is one at hand.
    #[arg(long)]
    status_list: Option<PathBuf>,
    /// The maker's model list, if there is one at hand.
    #[arg(long)]
    model_list: Option<PathBuf>,
    /// The pages' port, for browsers on this machine; 0 for any free one.
    #[arg(long, default_value_t = 8490)]
    port: u16,
    /// No pages: check the storage of the device at the other end of this cable,
    /// HOST:PORT, and say what that has bounded and what not.
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "device",
        conflicts_with = "port"
    )]
    link: Option<String>,
    #[command(flatten)]
    check: storage_check::CheckArgs,
}

const EXAMPLES: &str = "Examples:
  nrd-sim desk --maker-root service/maker-root.pub
  nrd-sim desk --maker-root service/maker-root.pub --status-list status.bin --port 0
  nrd-sim device … --idle --link 7070      a device that a desk can reach, and:
  nrd-sim desk --maker-root service/maker-root.pub --link localhost:7070 --device ID";

pub(crate) fn run(args: &Args) -> ExitCode {
    match start(args) {
        Ok(code) | Err(code) => code,
    }
}

fn start(args: &Args) -> Result<ExitCode, ExitCode> {
    let desk = Desk::new(maker_root(&args.maker_root)?);
    for path in [&args.status_list, &args.model_list].into_iter().flatten() {
        take(path, |frame| desk.take_list(frame))?;
    }
    if let Some(link) = &args.link {
        return storage_check::run(link, &args.check, &desk);
    }
    let running =
        serve(Arc::new(desk), PhotoReader::of_this_program(), args.port).map_err(|e| {
            fail(
                &e.to_string(),
                "--port with another number, or 0 for any free port",
            )
        })?;
    say!(
        "returns desk  http://localhost:{}/desk   (this machine only)",
        running.port
    );
    if args.status_list.is_none() {
        say!("no status list: verdicts will say \"revocation not checked\"");
    }
    say!("Ctrl-C stops it.");
    running.wait_for_the_end();
    say!("stopped");
    Ok(ExitCode::SUCCESS)
}
