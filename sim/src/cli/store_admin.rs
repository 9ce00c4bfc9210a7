//! `nrd-sim rotate-order-key`, `nrd-sim backup`, `nrd-sim restore`: what an
//! operator does to a service's store, while it runs or before it starts.

use super::fail;
use super::serve::hint;
use nrd_sim::service::server::ServeError;
use nrd_sim::service::store::{Store, restore_sqlite};
use nrd_sim::service::{Error, Service, ServicePaths, Settings};
use std::path::PathBuf;
use std::process::ExitCode;

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

fn failed(e: Error) -> ExitCode {
    let e = ServeError::Service(e);
    fail(&e.to_string(), hint(&e))
}

/// Puts a new order key in force; running processes notice by themselves.
pub(crate) fn rotate(of: &ServiceArgs) -> ExitCode {
    let place = ServicePaths {
        dir: of.dir.clone(),
        keys: of.keys.clone().unwrap_or_else(|| of.dir.clone()),
        database: of.database.clone(),
    };
    if !place.keys.join("service.key").exists() {
        return fail(
            &format!("{}: no service has its keys here", place.keys.display()),
            "--dir, or --keys, of a service that has run before",
        );
    }
    let rotated = Service::open_on(&place, Settings::default()).and_then(|s| s.rotate_order_key());
    match rotated {
        Ok(version) => {
            say!("order key {version} is in force; waiting orders are signed with it");
            ExitCode::SUCCESS
        }
        Err(e) => failed(e),
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
        Ok(()) => {
            say!("{} is back; start the service", db.display());
            ExitCode::SUCCESS
        }
        Err(what) => fail(
            &what,
            "stop the service first; --from with a file that `backup` made",
        ),
    }
}
