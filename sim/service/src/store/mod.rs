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
//! | `outbox.rs` | messages for a broker or a receiver |
//! | `owner.rs` | which keys the database belongs to |
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
mod check_in;
mod devices;
mod events;
mod fault;
mod fresh;
mod migrate;
mod orders;
mod outbox;
mod owner;
mod postgres;
mod restore;
mod sql;
mod sqlite;
mod trust;
mod web;
mod words;

pub use accounts::{AccountRow, Sealed};
pub use announce::Announcement;
pub use check_in::{CheckIn, CheckInContext, CheckedIn, TokenUse, Used};
pub use devices::{ActivationPhase, ActivationRow, DeviceRow, NewActivation, RevocationReason};
pub use events::EventRow;
pub use fault::{Fault, FaultKind};
pub use fresh::Fresh;
pub use orders::{NewReceipt, OrderRow, OrderState, Sign, SignedOrder};
pub use outbox::{Outbox, OutboxMessage};
pub use restore::restore_sqlite;
pub use trust::{Delegate, DelegationRow, RootRow, TrustNews};
pub use web::{ComputerRow, Recall, SessionRow};
pub use words::WORD_COLUMNS;

use super::error::{Error, Result};
use nrd_sim_base::{hex, unhex};
use postgres::Postgres;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use sql::{Database, Tx, values};
use sqlite::Sqlite;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The store.
pub struct Store {
    db: Box<dyn Database>,
    /// `None` where nothing is kept: then there is no backup to outlive.
    revocations: Option<Revocations>,
    /// What the database refused, by kind.
    pub(super) faults: Family<[(&'static str, &'static str); 1], Counter>,
}

/// The file that outlives a restored database.
const LOG: &str = "revocations.log";

struct Revocations {
    path: PathBuf,
    file: Mutex<File>,
}

/// An account's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub i64);

impl Store {
    /// Opens or makes the SQLite database of `dir`, and replays the revocation
    /// log.
    pub fn open(dir: &Path) -> Result<Store> {
        let db = Sqlite::open(&dir.join("service.db"))?;
        Store::with_log(Box::new(db), dir)
    }

    /// Opens the PostgreSQL database at `url`, which other processes may use
    /// as well, and replays the revocation log of `dir`.
    pub fn postgres(url: &str, dir: &Path) -> Result<Store> {
        Store::with_log(Box::new(Postgres::open(url)?), dir)
    }

    /// A store that lives and dies with the process.
    pub fn in_memory() -> Result<Store> {
        Ok(Store {
            db: Box::new(Sqlite::in_memory()?),
            revocations: None,
            faults: Family::default(),
        })
    }

    fn with_log(db: Box<dyn Database>, dir: &Path) -> Result<Store> {
        let path = dir.join(LOG);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| Error::File(path.clone(), e))?;
        let store = Store {
            db,
            revocations: Some(Revocations {
                path,
                file: Mutex::new(file),
            }),
            faults: Family::default(),
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
        out.ok_or(Error::NotFound)
    }

    fn counted(&self, done: Result<()>) -> Result<()> {
        let kind = match &done {
            Err(Error::Storage(fault)) => Some(fault.name()),
            Err(Error::UnknownWord { .. }) => Some("unknown word"),
            // Nothing that the database refused.
            Ok(()) | Err(_) => None,
        };
        if let Some(kind) = kind {
            self.faults.get_or_create(&[("kind", kind)]).inc();
        }
        done
    }

    /// Answers whether the database can be written now.
    pub fn healthy(&self) -> Result<()> {
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

    /// Notes a revocation outside the database; on disk when this returns.
    fn log_revocation(&self, activation: &[u8; 16], why: RevocationReason) -> Result<()> {
        let Some(log) = &self.revocations else {
            return Ok(());
        };
        let mut file = log.file.lock().unwrap_or_else(PoisonError::into_inner);
        // The first line end closes what a full disk may have left of an older line.
        let line = format!("\n{} {}\n", hex(activation), why.name());
        let written = file
            .write_all(line.as_bytes())
            .and_then(|()| file.sync_data());
        self.counted(written.map_err(|e| match e.kind() {
            ErrorKind::StorageFull => {
                let text = format!("{}: {e}", log.path.display());
                Fault::new(FaultKind::Full, text).into()
            }
            _ => Error::File(log.path.clone(), e),
        }))
    }

    /// Revokes every activation that the log names and the database does not
    /// know as revoked.
    pub(super) fn replay(&self) -> Result<()> {
        let Some(log) = &self.revocations else {
            return Ok(());
        };
        let known =
            std::fs::read_to_string(&log.path).map_err(|e| Error::File(log.path.clone(), e))?;
        let revoked = known
            .lines()
            .filter_map(|line| logged_revocation(line).transpose())
            .collect::<Result<Vec<_>>>()?;
        self.write(|tx| {
            for (id, why) in &revoked {
                let sql = "UPDATE activations SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
                tx.execute(sql, values![id, why.name()])?;
            }
            Ok(())
        })
    }
}

/// What one line of `revocations.log` says; `None` for an empty line, and for
/// one that was torn.
///
/// A line is torn where the disk was full or the power failed while it was
/// written. Then the call that wrote it failed, and the database was not changed:
/// there is nothing to revoke. It reads as too few
/// digits, or as digits and the beginning of a reason.
///
/// # Errors
/// [`Error::UnknownWord`] for a reason that is no beginning of any known one.
fn logged_revocation(line: &str) -> Result<Option<([u8; 16], RevocationReason)>> {
    let mut words = line.split_whitespace();
    let id = words.next().and_then(unhex::<16>);
    let (Some(id), Some(why)) = (id, words.next()) else {
        return Ok(None);
    };
    match RevocationReason::from_name(why) {
        Some(why) => Ok(Some((id, why))),
        None if RevocationReason::ALL
            .iter()
            .any(|r| r.name().starts_with(why)) =>
        {
            Ok(None)
        }
        None => Err(Error::unknown_word(LOG, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_of_the_revocation_log_revokes_nothing_and_an_unknown_reason_is_an_error() {
        let id = "a7".repeat(16);
        let whole = logged_revocation(&format!("{id} theft")).unwrap();
        assert_eq!(whole, Some(([0xA7; 16], RevocationReason::Theft)));
        for torn in ["", "a7a7", &id, &format!("{id} "), &format!("{id} remo")] {
            assert_eq!(logged_revocation(torn).unwrap(), None, "{torn}");
        }
        let unknown = logged_revocation(&format!("{id} lost")).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "revocations.log holds a word that this program does not know: \"lost\""
        );
    }
}
