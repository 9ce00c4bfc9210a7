//! `nrd-sim audit`: who did what to which device, when.

use super::fail;
use super::store_admin::{ServiceArgs, failed};
use nrd_sim::base::time_format;
use nrd_sim::service::Error;
use std::io::Write as _;
use std::process::ExitCode;

/// Arguments of `audit`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Print entries, oldest first, each a line of JSON.
    Export {
        #[command(flatten)]
        of: ServiceArgs,
        /// From this moment on, such as 2026-11-24 or 2026-11-24T12:16:00Z.
        #[arg(long, value_parser = moment)]
        since: Option<u64>,
        /// Until before this moment.
        #[arg(long, value_parser = moment)]
        until: Option<u64>,
    },
    /// Delete entries that were made before a moment, and say what went. An entry
    /// that says so is added.
    Purge {
        #[command(flatten)]
        of: ServiceArgs,
        /// Before this moment, such as 2026-11-24.
        #[arg(long, value_parser = moment)]
        before: u64,
    },
}

fn moment(text: &str) -> Result<u64, String> {
    let read = time_format::parse(text);
    read.ok_or_else(|| "a day or a moment in UTC, such as 2026-11-24T12:16:00Z".to_owned())
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match &args.what {
        What::Export { of, since, until } => of.open().map(|service| {
            let mut out = std::io::stdout().lock();
            let exported =
                service.export_audit(since.unwrap_or(0), until.unwrap_or(u64::MAX), |line| {
                    writeln!(out, "{line}").map_err(|e| Error::File("standard output".into(), e))
                });
            exported.map(|entries| eprintln!("{entries} entries"))
        }),
        What::Purge { of, before } => of.open().map(|service| {
            let now = service.now_s();
            if *before > now {
                return Err(Error::Content(
                    "--before".into(),
                    "a moment that has passed".into(),
                ));
            }
            let gone = service.store.purge_audit(*before, now)?;
            say!("{} entries of the audit were removed", gone.entries);
            if let (Some(oldest), Some(newest)) = (gone.oldest, gone.newest) {
                say!(
                    "from {} to {}",
                    time_format::moment(oldest),
                    time_format::moment(newest)
                );
            }
            Ok(())
        }),
    };
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        // A reader that has gone away, as in `nrd-sim audit export … | head`.
        Ok(Err(Error::File(_, e))) if e.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Ok(Err(Error::Content(what, why))) => fail(&format!("{}: {why}", what.display()), "--help"),
        Ok(Err(e)) => failed(e),
        Err(refused) => refused,
    }
}
