//! The audit: entries are added, read and, past an age that an operator names,
//! deleted; never changed. Triggers of the database hold that as well.

use super::sql::{Tx, values};
use super::{AccountId, Store};
use crate::audit::{AuditKind, AuditOutcome, OperationKind};
use crate::error::Result;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// When, Unix seconds.
    pub at: u64,
    /// What happened.
    pub kind: AuditKind,
    /// How it went.
    pub outcome: AuditOutcome,
    /// Whose account.
    pub account: Option<AccountId>,
    /// Which browser.
    pub browser: Option<[u8; 8]>,
    /// Which device, by its activation.
    pub activation: Option<[u8; 16]>,
    /// Which order, by the SHA-256 of its frame.
    pub order: Option<[u8; 32]>,
    /// A version, or how many.
    pub number: Option<u64>,
}

/// What a purge removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPurge {
    /// How many entries.
    pub entries: u64,
    /// When the oldest of them was made, Unix seconds.
    pub oldest: Option<u64>,
    /// When the newest of them was made.
    pub newest: Option<u64>,
}

/// Entries of one answer, and of one deletion.
const BATCH: u64 = 1000;

impl AuditRow {
    /// An entry that says no more than this.
    pub fn new(at: u64, kind: impl Into<AuditKind>) -> AuditRow {
        let kind = kind.into();
        AuditRow {
            at,
            kind,
            outcome: kind.outcome(),
            account: None,
            browser: None,
            activation: None,
            order: None,
            number: None,
        }
    }

    /// With a version, or a count.
    pub fn numbered(self, number: impl Into<u64>) -> AuditRow {
        let number = Some(number.into());
        AuditRow { number, ..self }
    }
}

impl Store {
    /// Adds an entry.
    pub fn add_audit(&self, row: &AuditRow) -> Result<()> {
        self.write(|tx| insert(tx, row))
    }

    /// The entries behind number `after` that were made from `since` until before
    /// `until`, oldest first, a batch of them; each with its number.
    pub fn audit(&self, after: i64, since: u64, until: u64) -> Result<Vec<(i64, AuditRow)>> {
        let sql = "SELECT id, at, kind, outcome, account, browser, activation, order_digest, \
                   number FROM audit WHERE id > ?1 AND at >= ?2 AND at < ?3 ORDER BY id LIMIT ?4";
        let until = until.min(i64::MAX as u64);
        self.read(|tx| {
            tx.all(sql, values![after, since, until, BATCH], |r| {
                let row = AuditRow {
                    at: r.get(1)?,
                    kind: r.word(2)?,
                    outcome: r.word(3)?,
                    account: r.get::<Option<i64>>(4)?.map(AccountId),
                    browser: r.get(5)?,
                    activation: r.get(6)?,
                    order: r.get(7)?,
                    number: r.get(8)?,
                };
                Ok((r.get(0)?, row))
            })
        })
    }

    /// Deletes the entries that were made before `before`, and adds one that says
    /// so. The entries about earlier purges stay.
    pub fn purge_audit(&self, before: u64, now: u64) -> Result<AuditPurge> {
        let purged = OperationKind::AuditPurged.name();
        let sql = "SELECT count(*), min(at), max(at) FROM audit WHERE at < ?1 AND kind <> ?2";
        let found = self.read(|tx| {
            tx.one(sql, values![before, purged], |r| {
                Ok(AuditPurge {
                    entries: r.get(0)?,
                    oldest: r.get(1)?,
                    newest: r.get(2)?,
                })
            })
        })?;
        // First what is done, then the doing: a purge that is cut off is in it too.
        let entry = AuditRow::new(now, OperationKind::AuditPurged).numbered(found.entries);
        self.add_audit(&entry)?;
        loop {
            let deleted = self.write(|tx| {
                allow(tx, before)?;
                let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM audit \
                           WHERE at < ?1 AND kind <> ?2 ORDER BY id LIMIT ?3)";
                let deleted = tx.execute(sql, values![before, purged, BATCH])?;
                allow(tx, 0)?;
                Ok(deleted)
            })?;
            if deleted < BATCH {
                return Ok(found);
            }
        }
    }
}

/// Until which moment this transaction may delete.
fn allow(tx: &mut Tx<'_>, before: u64) -> Result<()> {
    tx.execute(
        "INSERT INTO meta (key, value) VALUES ('audit_purge', ?1) \
         ON CONFLICT (key) DO UPDATE SET value = ?1",
        values![before],
    )?;
    Ok(())
}

pub(super) fn insert(tx: &mut Tx<'_>, row: &AuditRow) -> Result<()> {
    tx.execute(
        "INSERT INTO audit (at, kind, outcome, account, browser, activation, order_digest, \
         number) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        values![
            row.at,
            row.kind.name(),
            row.outcome.name(),
            row.account.map(|AccountId(n)| n),
            row.browser.as_ref(),
            row.activation.as_ref(),
            row.order.as_ref(),
            row.number
        ],
    )?;
    Ok(())
}
