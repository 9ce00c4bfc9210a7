//! `nrd-sim rotate-order-key`, `nrd-sim replace-root`, `nrd-sim backup`,
//! `nrd-sim restore`, `nrd-sim revocation-logs`: what an operator does to a service's store, while it runs or before it starts.

use super::fail;
use super::serve::hint;
use nrd_sim::base::{hex, time_format, unhex};
use nrd_sim::service::server::ServeError;
use nrd_sim::service::store::{Replaced, Store, restore_sqlite};
use nrd_sim::service::{Error, Service, ServicePaths, Settings};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Which service.
#[derive(clap::Args)]
pub(crate) struct ServiceArgs {
    /// The service's folder.
    #[arg(long)]
    dir: PathBuf,
    /// Its key files; the same folder unless said.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Its PostgreSQL database, if it is not on SQLite.
    #[arg(long)]
    database: Option<String>,
}

/// Arguments of `backup`.
#[derive(clap::Args)]
pub(crate) struct Backup {
    /// The service's folder.
    #[arg(long)]
    dir: PathBuf,
    /// The copy to make; must not be there yet.
    #[arg(long)]
    to: PathBuf,
}

/// Arguments of `restore`.
#[derive(clap::Args)]
pub(crate) struct Restore {
    /// The service's folder; the service must not run.
    #[arg(long)]
    dir: PathBuf,
    /// The copy to bring back.
    #[arg(long)]
    from: PathBuf,
}

/// Arguments of `revocation-logs`.
#[derive(clap::Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    of: ServiceArgs,
    /// This log will not come any more: its process's disk is lost.
    #[arg(long, value_name = "NAME", conflicts_with = "restored")]
    give_up: Option<String>,
    /// The database was brought back in a way that it cannot see itself, such as a
    /// snapshot of its disk: every process has to replay its log.
    #[arg(long)]
    restored: bool,
}

impl ServiceArgs {
    /// Opens a service that has run before.
    pub(super) fn open(&self) -> Result<Arc<Service>, ExitCode> {
        let place = ServicePaths {
            dir: self.dir.clone(),
            keys: self.keys.clone().unwrap_or_else(|| self.dir.clone()),
            database: self.database.clone(),
        };
        if !place.keys.join("service.key").exists() {
            return Err(fail(
                &format!("{}: no service has its keys here", place.keys.display()),
                "--dir, or --keys, of a service that has run before",
            ));
        }
        Service::open_on(&place, Settings::default()).map_err(failed)
    }
}

pub(super) fn failed(e: Error) -> ExitCode {
    let e = ServeError::Service(e);
    fail(&e.to_string(), hint(&e))
}

/// Puts a new order key in force; running processes notice by themselves.
pub(crate) fn rotate(of: &ServiceArgs) -> ExitCode {
    match of.open().map(|s| s.rotate_order_key()) {
        Ok(Ok(version)) => {
            say!("order key {version} is in force; waiting orders are signed with it");
            ExitCode::SUCCESS
        }
        Ok(Err(e)) => failed(e),
        Err(refused) => refused,
    }
}

/// Puts a new service root in force; running processes notice by themselves.
pub(crate) fn replace_root(of: &ServiceArgs) -> ExitCode {
    match of.open().map(|s| s.replace_root()) {
        Ok(Ok(version)) => {
            say!("service root {version} is in force, and a new order key under it");
            say!("its secret is root-{version}.key, beside root.key; keep both");
            ExitCode::SUCCESS
        }
        Ok(Err(e)) => failed(e),
        Err(refused) => refused,
    }
}

/// Copies a SQLite store while it is in use.
pub(crate) fn back_up(args: &Backup) -> ExitCode {
    let db = args.dir.join("service.db");
    if !db.exists() {
        return fail(
            &format!("{}: there is no such database", db.display()),
            "--dir of a service on SQLite; PostgreSQL is copied by pg_dump, see docs/OPERATIONS.md",
        );
    }
    if args.to.exists() {
        return fail(
            &format!("{} is there already", args.to.display()),
            "another name: a backup never replaces one",
        );
    }
    match Store::open(&args.dir).and_then(|store| store.back_up(&args.to)) {
        Ok(()) => {
            say!("{} is a copy of {}", args.to.display(), db.display());
            say!("keep the key files and revocations.log elsewhere: they are not in it");
            ExitCode::SUCCESS
        }
        Err(e) => failed(e),
    }
}

/// Brings a copy back. The revocation log beside it stays as it is: what was
/// revoked since the copy is revoked again at the next start.
pub(crate) fn restore(args: &Restore) -> ExitCode {
    let db = args.dir.join("service.db");
    match restore_sqlite(&db, &args.from) {
        Ok(replaced) => {
            if replaced == Replaced::Damaged {
                say!(
                    "{0} could not be read any more: it is {0}.damaged now",
                    db.display()
                );
            }
            say!("{} is back; start the service", db.display());
            ExitCode::SUCCESS
        }
        Err(what) => fail(
            &what,
            "stop the service first; --from with a file that `backup` made",
        ),
    }
}

/// Lists the logs that the database knows, or gives one up.
pub(crate) fn revocation_logs(args: &Logs) -> ExitCode {
    let service = match args.of.open() {
        Ok(service) => service,
        Err(refused) => return refused,
    };
    let store = &service.store;
    let done = match &args.give_up {
        Some(text) => match unhex(text).map(|name| store.forget_log(&name)) {
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) | None => {
                return fail(
                    &format!("{text}: no log of this name"),
                    "a name that this command lists",
                );
            }
            Some(Err(e)) => Err(e),
        },
        None if args.restored => store.say_restored(),
        None => Ok(()),
    };
    match done.and_then(|()| store.known_logs()) {
        Ok(logs) => {
            for log in logs {
                let missing = if log.missing {
                    "   missing since a restore"
                } else {
                    ""
                };
                say!(
                    "{}   replayed {}{missing}",
                    hex(&log.name),
                    time_format::moment(log.seen)
                );
            }
            ExitCode::SUCCESS
        }
        Err(e) => failed(e),
    }
}
