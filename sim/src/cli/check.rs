//! `nrd-sim check`: looks at a service before a start, or beside it.

use nrd_sim::service::ServicePaths;
use nrd_sim::service::check::{Finding, Grade, check};
use nrd_sim::service::host::{Host as _, System};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `check`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The service's folder.
    #[arg(long)]
    dir: PathBuf,
    /// Its key files; the same folder unless said.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Its PostgreSQL database, as `serve` is given it.
    #[arg(long)]
    database: Option<String>,
    /// Where copies of the database are kept: room there is looked at as well.
    #[arg(long)]
    backups: Option<PathBuf>,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let place = ServicePaths {
        dir: args.dir.clone(),
        keys: args.keys.clone().unwrap_or_else(|| args.dir.clone()),
        database: args.database.clone(),
    };
    let found = check(&place, args.backups.as_deref(), System.now_s());
    if args.json {
        say!("{}", Value::from_iter(found.iter().map(to_json)));
    } else {
        for f in &found {
            say!("{:4}  {:24}  {}", f.grade.name(), f.check, f.says);
            if !f.mend.is_empty() {
                say!("      {:24}  to do: {}", "", f.mend);
            }
        }
    }
    if found.iter().all(|f| f.grade == Grade::Good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn to_json(f: &Finding) -> Value {
    json!({ "check": f.check, "grade": f.grade.name(), "says": f.says, "mend": f.mend })
}
