//! What the service keeps, in SQLite.
//!
//! Each method is one atomic operation: it happens wholly, or not at all and
//! says so. A write is durable when its method returns (`synchronous = FULL`).
//!
//! | file | what |
//! |---|---|
//! | `accounts.rs` | account holders; personal columns come in sealed |
//! | `devices.rs` | devices, challenges, activations |
//! | `orders.rs` | orders, outcomes, receipts |
//! | `web.rs` | browser sessions, remembered computers, failed attempts |
//! | `events.rs` | security activity |
//!
//! Revocations are also written to `revocations.log`, *before* the database: a
//! database restored from a backup then still knows what was revoked.

mod accounts;
mod devices;
mod events;
mod orders;
mod web;

pub use accounts::{AccountRow, Sealed};
pub use devices::{ActivationRow, DeviceRow, NewActivation, Phase, Used};
pub use events::EventRow;
pub use orders::{Asked, NewReceipt, OrderRow, Sign};
pub use web::{ComputerRow, Recall, SessionRow};

use super::error::{Error, Result};
use super::keys::{hex, unhex};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The store.
pub struct Store {
    db: Mutex<Connection>,
    /// `None` where nothing is kept: then there is no backup to outlive.
    revocations: Option<Mutex<File>>,
}

/// An account's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub i64);

impl Store {
    /// Opens or makes the database of `dir`, and replays the revocation log.
    pub fn open(dir: &Path) -> Result<Store> {
        let path = dir.join("service.db");
        let db = Connection::open(&path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        prepare(&db, &path)?;
        let log = dir.join("revocations.log");
        let known = std::fs::read_to_string(&log).unwrap_or_default();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|e| Error::File(log, e))?;
        let store = Store {
            db: Mutex::new(db),
            revocations: Some(Mutex::new(file)),
        };
        store.replay(&known)?;
        Ok(store)
    }

    /// A store that lives and dies with the process.
    pub fn in_memory() -> Result<Store> {
        let db = Connection::open_in_memory()?;
        prepare(&db, Path::new(":memory:"))?;
        Ok(Store {
            db: Mutex::new(db),
            revocations: None,
        })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held rolled its transaction back.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one transaction that takes the write lock at once.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut db = self.db();
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&tx)?;
        tx.commit()?;
        Ok(done)
    }

    /// Answers whether the database can be written now.
    pub fn healthy(&self) -> Result<()> {
        self.write(|tx| {
            tx.execute("UPDATE meta SET value = value WHERE key = 'schema'", [])?;
            Ok(())
        })
    }

    /// Notes a revocation outside the database; on disk when this returns.
    fn log_revocation(&self, activation: &[u8; 16], why: &str) -> Result<()> {
        let Some(file) = &self.revocations else {
            return Ok(());
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{} {why}\n", hex(activation));
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|e| Error::File("revocations.log".into(), e))
    }

    fn replay(&self, log: &str) -> Result<()> {
        self.write(|tx| {
            for line in log.lines() {
                let mut words = line.split_whitespace();
                let id = words.next().and_then(unhex::<16>);
                if let (Some(id), Some(why)) = (id, words.next()) {
                    tx.execute(
                        "UPDATE activations SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL",
                        (id, why),
                    )?;
                }
            }
            Ok(())
        })
    }
}

fn prepare(db: &Connection, path: &Path) -> Result<()> {
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "secure_delete", true)?;
    db.busy_timeout(std::time::Duration::from_secs(2))?;
    migrate(db, path)
}

fn migrate(db: &Connection, path: &Path) -> Result<()> {
    let version: u32 = db.pragma_query_value(None, "user_version", |r| r.get(0))?;
    match version {
        0 => {
            db.execute_batch(include_str!("schema.sql"))?;
            Ok(())
        }
        SCHEMA => Ok(()),
        newer => Err(Error::Content(
            path.to_owned(),
            format!(
                "made by another version of this program (schema {newer}, this one knows {SCHEMA})"
            ),
        )),
    }
}

const SCHEMA: u32 = 1;
