//! Security activity of an account.

use super::sql::{Tx, values};
use super::{AccountId, Outbox, Store, outbox};
use crate::error::Result;

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
    /// What is told to a receiver outside, if one is configured: the claims of
    /// a security event token.
    pub outward: Option<Vec<u8>>,
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
        let sql = "SELECT id, at, kind, subject, address FROM events \
                   WHERE account = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
        self.read(|tx| {
            tx.all(sql, values![account.0, before, limit], |r| {
                let row = EventRow {
                    at: r.get(1)?,
                    kind: r.get(2)?,
                    subject: r.get(3)?,
                    address: r.get(4)?,
                    outward: None,
                };
                Ok((r.get(0)?, row))
            })
        })
    }
}

pub(super) fn insert(tx: &mut Tx<'_>, account: i64, e: &EventRow) -> Result<()> {
    tx.execute(
        "INSERT INTO events (account, at, kind, subject, address) VALUES (?1, ?2, ?3, ?4, ?5)",
        values![account, e.at, &e.kind, &e.subject, e.address.as_ref()],
    )?;
    if let Some(claims) = &e.outward {
        outbox::put(tx, Outbox::Events, &e.kind, claims, e.at)?;
    }
    Ok(())
}
