//! Security activity of an account.

use super::sql::{Tx, values};
use super::{AccountId, AuditRow, Outbox, Store, audit, outbox};
use crate::audit::AuditKind;
use crate::error::Result;
use crate::events::EventKind;

/// One entry.
pub struct EventRow {
    /// When, Unix seconds.
    pub at: u64,
    /// What happened.
    pub kind: EventKind,
    /// Which device or computer; not personal.
    pub subject: String,
    /// From where, sealed.
    pub address: Option<Vec<u8>>,
    /// Whose browser, as the audit calls it.
    pub browser: Option<[u8; 8]>,
    /// Which device, by its activation.
    pub activation: Option<[u8; 16]>,
    /// The claims of a security event token for a receiver outside, where the
    /// event is told to one.
    pub claims: Option<Vec<u8>>,
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
                    kind: r.word(2)?,
                    subject: r.get(3)?,
                    address: r.get(4)?,
                    browser: None,
                    activation: None,
                    claims: None,
                };
                Ok((r.get(0)?, row))
            })
        })
    }
}

/// Adds an entry, and its like to the audit.
pub(super) fn insert(tx: &mut Tx<'_>, account: i64, e: &EventRow) -> Result<()> {
    insert_about(tx, account, e, None)
}

/// The same about an order.
pub(super) fn insert_about(
    tx: &mut Tx<'_>,
    account: i64,
    e: &EventRow,
    order: Option<[u8; 32]>,
) -> Result<()> {
    if let Some(kind) = AuditKind::of(e.kind) {
        let row = AuditRow {
            account: Some(AccountId(account)),
            browser: e.browser,
            activation: e.activation,
            order,
            ..AuditRow::new(e.at, kind)
        };
        audit::insert(tx, &row)?;
    }
    tx.execute(
        "INSERT INTO events (account, at, kind, subject, address) VALUES (?1, ?2, ?3, ?4, ?5)",
        values![account, e.at, e.kind.name(), &e.subject, e.address.as_ref()],
    )?;
    if let Some(claims) = &e.claims {
        outbox::put(tx, Outbox::Events, e.kind.name(), claims, e.at)?;
    }
    Ok(())
}
