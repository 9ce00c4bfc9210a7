//! What the service keeps, in SQLite or in PostgreSQL.
//!
//! ```text
//!   accounts, devices, orders, web, events, outbox   one SQL text a question
//!                     │
//!                   sql.rs        values, rows, row locks: the seam
//!                ┌────┴─────┐
//!           sqlite.rs   postgres.rs
//! ```
//!
//! Each method is one atomic operation: it happens wholly, or not at all and
//! returns an error. A write is durable when its method returns.
//!
//! | file | what |
//! |---|---|
//! | `words.rs` | columns that hold one of a few words, and their types |
//! | `announce.rs` | what processes on one database tell each other |
//! | `accounts.rs` | account holders; personal columns come in sealed |
//! | `devices.rs` | devices, activations |
//! | `fresh.rs` | challenges, signs of life, losses |
//! | `check_in.rs` | check-ins: the most frequent request, in two statements |
//! | `orders.rs` | orders, outcomes, receipts |
//! | `trust.rs` | service roots and delegations |
//! | `web.rs` | browser sessions, remembered computers, failed attempts |
//! | `events.rs` | security activity |
//! | `audit.rs` | who did what: only added to |
//! | `outbox.rs` | messages for a broker or a receiver |
//! | `purge.rs` | deletes what would grow for ever |
//! | `owner.rs` | which keys the database belongs to |
//! | `revocations.rs`, `revocation_log.rs` | revocations that outlive the database; `revocations.log` |
//! | `private.rs` | files that others must not read |
//! | `look.rs` | looks at a database without changing it |
//! | `restore.rs` | brings a copy of a SQLite store back |
//! | `fault.rs` | errors of a database |
//! | `sql.rs`, `sqlite.rs`, `postgres.rs`, `migrate.rs` | the databases |
//!
//! Revocations are also written to `revocations.log`, *before* the database: a
//! database restored from a backup then still knows what was revoked. Each
//! process appends to the log of its own folder and replays it at its start,
//! and whenever its line to PostgreSQL was broken: a restore breaks it.

mod accounts;
mod announce;
mod audit;
mod check_in;
mod devices;
mod events;
mod fault;
mod fresh;
mod look;
mod migrate;
mod orders;
mod outbox;
mod owner;
mod postgres;
mod postgres_url;
mod private;
mod purge;
mod restore;
mod revocation_log;
mod revocations;
mod sql;
mod sqlite;
mod trust;
mod web;
mod words;

pub use accounts::{AccountRow, Sealed};
pub use announce::Announcement;
pub use audit::{AuditPurge, AuditRow};
pub use check_in::{CheckIn, CheckInActivation, CheckInContext, CheckedIn, TokenUse, Used};
pub use devices::{ActivationPhase, ActivationRow, DeviceRow, NewActivation, RevocationReason};
pub use events::EventRow;
pub use fault::{Fault, FaultKind};
pub use fresh::Fresh;
pub use look::{Content, Look, count_revocations, look};
pub use orders::{NewReceipt, OrderRow, OrderState, Sign, SignedOrder};
pub use outbox::{Outbox, OutboxMessage};
pub use restore::{Replaced, restore_sqlite};
pub use revocation_log::revocation_line;
pub use revocations::{KnownLog, Replayed};
pub use trust::{Delegate, DelegationRow, RootRow, TrustNews};
pub use web::{ComputerRow, Recall, SessionRow, Throttle};
pub use words::WORD_COLUMNS;

use super::error::{Error, Result};
use postgres::Postgres;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use restore::InUse;
use revocation_log::Revocations;
use sql::{Database, Tx};
use sqlite::Sqlite;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// The store.
pub struct Store {
    db: Box<dyn Database>,
    /// `None` where nothing is kept: then there is no backup to outlive.
    revocations: Option<Revocations>,
    /// Keeps a restore away; `None` where none could come.
    _in_use: Option<InUse>,
    /// Logs of a restored database that were not replayed yet.
    logs_missing: AtomicU64,
    /// What the database refused, by kind.
    pub(super) faults: Family<[(&'static str, &'static str); 1], Counter>,
    /// Transactions for writing that were carried out.
    pub(super) writes: Counter,
}

/// An account's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub i64);

impl Store {
    /// Opens or makes the SQLite database of `dir`, and replays the revocation
    /// log.
    pub fn open(dir: &Path) -> Result<Store> {
        let in_use = InUse::take(dir)?;
        let db = Sqlite::open(&dir.join("service.db"))?;
        Store::with_log(Box::new(db), dir, Some(in_use))
    }

    /// Opens the PostgreSQL database at `url`, which other processes may use
    /// as well, and replays the revocation log of `dir`.
    pub fn postgres(url: &str, dir: &Path) -> Result<Store> {
        Store::with_log(Box::new(Postgres::open(url)?), dir, None)
    }

    /// A store that lives and dies with the process.
    pub fn in_memory() -> Result<Store> {
        Ok(Store {
            db: Box::new(Sqlite::in_memory()?),
            revocations: None,
            _in_use: None,
            logs_missing: AtomicU64::new(0),
            faults: Family::default(),
            writes: Counter::default(),
        })
    }

    fn with_log(db: Box<dyn Database>, dir: &Path, in_use: Option<InUse>) -> Result<Store> {
        let store = Store {
            db,
            revocations: Some(Revocations::open(dir)?),
            _in_use: in_use,
            logs_missing: AtomicU64::new(0),
            faults: Family::default(),
            writes: Counter::default(),
        };
        store.replay()?;
        Ok(store)
    }

    /// The database's name, for people.
    pub fn database(&self) -> &'static str {
        self.db.name()
    }

    fn read<T>(&self, work: impl Fn(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let mut out = None;
        let done = self.db.read(&mut |c| {
            out = Some(work(&mut Tx(c))?);
            Ok(())
        });
        self.counted(done)?;
        out.ok_or(Error::NotFound)
    }

    /// Runs `work` in one transaction; durable when this returns.
    fn write<T>(&self, work: impl Fn(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let mut out = None;
        let done = self.db.write(&mut |c| {
            out = Some(work(&mut Tx(c))?);
            Ok(())
        });
        self.counted(done)?;
        self.writes.inc();
        out.ok_or(Error::NotFound)
    }

    fn counted<T>(&self, done: Result<T>) -> Result<T> {
        let kind = match &done {
            Err(Error::Storage(fault)) => Some(fault.name()),
            Err(Error::UnknownWord { .. }) => Some("unknown word"),
            // Nothing that the database refused.
            Ok(_) | Err(_) => None,
        };
        if let Some(kind) = kind {
            self.faults.get_or_create(&[("kind", kind)]).inc();
        }
        done
    }

    /// Answers whether a removal could be stored now: in the revocation log, and in
    /// the database.
    pub fn healthy(&self) -> Result<()> {
        if let Some(log) = &self.revocations {
            log.healthy()?;
        }
        self.write(|tx| {
            tx.execute("UPDATE meta SET value = value WHERE key = 'schema'", &[])?;
            Ok(())
        })
    }

    /// The database's own clock, Unix seconds, where it has one.
    pub fn clock_s(&self) -> Result<Option<u64>> {
        self.read(|tx| tx.0.clock_s())
    }

    /// Copies the whole database to a file, while it is in use.
    pub fn back_up(&self, to: &Path) -> Result<()> {
        self.db.back_up(to)
    }

    /// Announces `what` to the other processes on this database.
    pub(super) fn announce(&self, what: Announcement) -> Result<()> {
        if self.db.shared() {
            self.write(|tx| tx.announce(what))
        } else {
            Ok(())
        }
    }

    /// Calls `heard` with each announcement of any process, and with `None`
    /// when some may have been missed.
    pub(super) fn listen(
        &self,
        heard: impl Fn(Result<Option<Announcement>>) + Send + Sync + 'static,
    ) {
        self.db.listen(Box::new(move |text| {
            heard(text.map(Announcement::parse).transpose());
        }));
    }
}
