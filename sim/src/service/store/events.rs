//! Security activity of an account.

use super::{AccountId, Store};
use crate::service::error::Result;
use rusqlite::Transaction;

/// One entry.
pub struct EventRow {
    /// When, Unix seconds.
    pub at: u64,
    /// What, as `service::events::Kind` spells it.
    pub kind: String,
    /// Which device or computer; not personal.
    pub subject: String,
    /// From where, sealed.
    pub address: Option<Vec<u8>>,
}

impl Store {
    /// Adds an entry.
    pub fn add_event(&self, account: AccountId, event: &EventRow) -> Result<()> {
        self.write(|tx| insert(tx, account.0, event))
    }

    /// The newest entries, newest first.
    pub fn events(&self, account: AccountId, limit: u32) -> Result<Vec<EventRow>> {
        let db = self.db();
        let mut sql = db.prepare(
            "SELECT at, kind, subject, address FROM events WHERE account = ? ORDER BY id DESC LIMIT ?",
        )?;
        let rows = sql.query_map((account.0, limit), |r| {
            Ok(EventRow {
                at: r.get(0)?,
                kind: r.get(1)?,
                subject: r.get(2)?,
                address: r.get(3)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

pub(super) fn insert(tx: &Transaction<'_>, account: i64, e: &EventRow) -> Result<()> {
    tx.execute(
        "INSERT INTO events (account, at, kind, subject, address) VALUES (?, ?, ?, ?, ?)",
        (account, e.at, &e.kind, &e.subject, &e.address),
    )?;
    Ok(())
}
