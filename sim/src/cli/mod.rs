//! `nrd-sim`: commands, each in a file of its own.
//!
//! Exit status: 0 done and good; 1 done, and what was looked at is not good;
//! 2 the arguments or the input make no sense.

/// Prints a line. A reader that has gone away, as in `nrd-sim … | head`, is no
/// reason to fail.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        #[expect(clippy::let_underscore_must_use, reason = "a closed standard output is no fault of ours")]
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod audit;
mod broker;
mod certificate;
mod check;
mod completions;
mod demo;
mod desk;
mod device;
mod fleet;
mod inspect;
mod load;
mod model_list;
mod powercut;
mod room;
mod run;
mod serve;
mod status_list;
mod storage_check;
mod store_admin;
mod verify;
mod verify_all;

use clap::{Parser, Subcommand};
use nrd_sim::base::printable;
use std::process::ExitCode;

/// Simulator of a Netflix-ready device's session and deactivation agent.
/// Not affiliated with Netflix.
#[derive(Parser)]
#[command(version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  nrd-sim demo                             the whole story, on real parts
  nrd-sim room                             devices side by side, with remote, plug and flash
  nrd-sim serve --dir service              the account pages, and where devices call
  nrd-sim device --dir tv --service https://localhost:8443 --ca service/ca.pem --kind stb
  nrd-sim verify receipt.bin --maker-root service/maker-root.pub
  nrd-sim verify-all answers/ --question question.txt --maker-root maker-root.pub --csv verdicts.csv
  nrd-sim certificate receipt.bin --maker-root service/maker-root.pub --out certificate.pdf
  nrd-sim desk --maker-root service/maker-root.pub
  nrd-sim run sim/scenarios/*.toml         stories, played in virtual time
  nrd-sim fleet --devices 1000             many devices, a month in seconds
  nrd-sim powercut                         cut the power at every operation of a device's life
  nrd-sim powercut --sector-size 2048 --sectors 10 --write-size 4 --depth 2
  nrd-sim powercut --seed 7 --torn random --json";

#[derive(Subcommand)]
enum Command {
    /// Tell the whole story on real parts: activate, remember, remove, wipe, prove.
    Demo(demo::Args),
    /// Run the reference service and its pages.
    Serve(serve::Args),
    /// Put a new order key in force, while the service runs.
    RotateOrderKey(store_admin::ServiceArgs),
    /// Put a new service root in force, named by the one before it.
    ReplaceRoot(store_admin::ServiceArgs),
    /// Copy a service's SQLite store, while it runs.
    Backup(store_admin::Backup),
    /// Bring a copy of a SQLite store back.
    Restore(store_admin::Restore),
    /// Look at a service's folder, keys and database, and say what to mend.
    Check(check::Args),
    /// Print or purge the audit: who did what to which device, when.
    Audit(audit::Args),
    /// List the revocation logs that a database knows, or give one up.
    RevocationLogs(store_admin::Logs),
    /// Put real load on this machine and say what was seen.
    Load(load::Args),
    /// Run one device as a process; it may be killed at any time.
    Device(device::Args),
    /// Say what is in a flash image, and what of it can be read.
    Inspect(inspect::Args),
    /// Verify a receipt offline.
    Verify(verify::Args),
    /// Verify a folder or a list of answers, and make a table of the verdicts.
    VerifyAll(verify_all::Args),
    /// Verify a receipt offline, and make a certificate of it to print (PDF).
    Certificate(certificate::Args),
    /// Open a living room of virtual devices, beside the account pages.
    Room(room::Args),
    /// Run a returns desk: ask devices to prove that they are clean.
    Desk(desk::Args),
    /// Make or read a maker's list of what counts no longer.
    StatusList(status_list::Args),
    /// Make or read a maker's list of what its models are built of.
    ModelList(model_list::Args),
    /// Play scenario files: stories of devices, with what must be so at the end.
    Run(run::Args),
    /// Live the life of many devices against one service, in virtual time.
    Fleet(fleet::Args),
    /// Read the code in a picture: standard input to standard output. The
    /// pages run it, so that a hostile picture hurts this process alone.
    #[command(hide = true)]
    ReadPhoto,
    /// Print what a shell needs to complete these commands.
    Completions(completions::Args),
    /// Cut the power at every flash, slot and counter operation of a whole
    /// life, tear it, reboot, and judge the cells.
    Powercut(powercut::Args),
}

/// Parses the command line and runs the command.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::RotateOrderKey(args) => store_admin::rotate(&args),
        Command::ReplaceRoot(args) => store_admin::replace_root(&args),
        Command::Backup(args) => store_admin::back_up(&args),
        Command::Restore(args) => store_admin::restore(&args),
        Command::Check(args) => check::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::RevocationLogs(args) => store_admin::revocation_logs(&args),
        Command::Load(args) => load::run(&args),
        Command::Device(args) => device::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::VerifyAll(args) => verify_all::run(&args),
        Command::Certificate(args) => certificate::run(&args),
        Command::Room(args) => room::run(&args),
        Command::Desk(args) => desk::run(&args),
        Command::StatusList(args) => status_list::run(&args),
        Command::ModelList(args) => model_list::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::ReadPhoto => read_photo(),
        Command::Completions(args) => completions::run(&args),
        Command::Powercut(args) => powercut::run(&args),
    }
}

fn read_photo() -> ExitCode {
    match nrd_sim::service::desk::photo::helper::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e.to_string(), "this command through the pages of a desk"),
    }
}

/// Says on standard error what went wrong and what to do next. What went wrong may
/// name a stranger's file: nothing in it steers the terminal.
pub(crate) fn fail(what: &str, hint: &str) -> ExitCode {
    let what: Vec<String> = what.lines().map(printable).collect();
    eprintln!("error: {}\n  try: {hint}", what.join("\n"));
    ExitCode::from(2)
}

/// A seed nobody chose, printed so that it can be used again.
pub(crate) fn random_seed() -> u64 {
    getrandom::u64().unwrap_or(1) >> 32
}
