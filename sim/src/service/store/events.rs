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

    /// The newest entries whose number is below `before`, newest first, each
    /// with its number.
    pub fn events(
        &self,
        account: AccountId,
        before: i64,
        limit: u32,
    ) -> Result<Vec<(i64, EventRow)>> {
        let db = self.db();
        let mut sql = db.prepare(
            "SELECT id, at, kind, subject, address FROM events WHERE account = ? AND id < ? \
             ORDER BY id DESC LIMIT ?",
        )?;
        let rows = sql.query_map((account.0, before, limit), |r| {
            let row = EventRow {
                at: r.get(1)?,
                kind: r.get(2)?,
                subject: r.get(3)?,
                address: r.get(4)?,
            };
            Ok((r.get(0)?, row))
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
