//! Orders, outcomes, receipts, delegations.

use super::devices::{Phase, get};
use super::events::{self, EventRow};
use super::{AccountId, ActivationRow, Store};
use crate::service::error::{Error, Result};
use rusqlite::{OptionalExtension as _, Transaction};

/// An order that waits for its device.
#[derive(Debug, Clone)]
pub struct OrderRow {
    /// SHA-256 of its frame.
    pub digest: [u8; 32],
    /// Its frame.
    pub frame: Vec<u8>,
    /// Version of the order key that signed it.
    pub key_version: u32,
}

/// A receipt that has been verified.
pub struct NewReceipt<'a> {
    /// The digest that names it.
    pub digest: &'a [u8; 32],
    /// Whose it is.
    pub device: &'a str,
    /// The activation that ended.
    pub activation: &'a [u8; 16],
    /// Its frame.
    pub frame: &'a [u8],
    /// Nothing failed.
    pub clean: bool,
    /// Now, Unix seconds.
    pub now: u64,
}

/// What an order asks, as the database spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Wipe.
    Deactivate,
    /// Drop the session and personal data.
    SignOut,
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Asked::Deactivate => "deactivate",
            Asked::SignOut => "sign-out",
        }
    }

    fn parse(name: &str) -> Asked {
        match name {
            "sign-out" => Asked::SignOut,
            _ => Asked::Deactivate,
        }
    }
}

/// Signs an order at a position; gives (digest, frame).
pub type Sign<'s> = &'s dyn Fn(&ActivationRow, Asked, u64) -> ([u8; 32], Vec<u8>);

impl Store {
    /// Enters an order. A deactivation revokes first, outside the database as
    /// well; entering it twice keeps the first. `NotFound` unless the activation
    /// is the account's, `WrongState` when it is over.
    pub fn enter_order(
        &self,
        account: AccountId,
        id: &[u8; 16],
        asked: Asked,
        event: EventRow,
        now: u64,
        sign: Sign<'_>,
    ) -> Result<ActivationRow> {
        let row = self.activation(id)?.ok_or(Error::NotFound)?;
        if row.account != Some(account) {
            return Err(Error::NotFound);
        }
        let open = matches!(
            row.phase,
            Phase::Approved | Phase::Active | Phase::SignedOut
        );
        match (open, row.phase) {
            (true, _) => {}
            (false, Phase::Removing | Phase::Delivered) => return Ok(row),
            _ => return Err(Error::WrongState),
        }
        if asked == Asked::Deactivate {
            self.log_revocation(id, "removed")?;
        }
        self.write(|tx| {
            let row = get(tx, id)?;
            if asked == Asked::Deactivate {
                let sql = "UPDATE activations SET phase = 'removing', \
                           revoked = coalesce(revoked, 'removed') WHERE id = ? \
                           AND phase IN ('approved', 'active', 'signed-out')";
                if tx.execute(sql, [id])? == 0 {
                    return Ok(row);
                }
            }
            insert_order(tx, &row, asked, now, sign)?;
            events::insert(tx, account.0, &event)?;
            get(tx, id)
        })
    }

    /// The order that the device should hear next.
    pub fn next_order(&self, id: &[u8; 16]) -> Result<Option<OrderRow>> {
        let sql = "SELECT digest, frame, key_version FROM orders WHERE activation = ? \
                   AND outcome IS NULL ORDER BY kind = 'sign-out', seq LIMIT 1";
        let found = self.db().query_row(sql, [id], |r| {
            Ok(OrderRow {
                digest: r.get(0)?,
                frame: r.get(1)?,
                key_version: r.get(2)?,
            })
        });
        Ok(found.optional()?)
    }

    /// Every order that was entered for an activation, oldest first.
    pub fn orders(&self, id: &[u8; 16]) -> Result<Vec<OrderRow>> {
        let db = self.db();
        let mut sql = db.prepare(
            "SELECT digest, frame, key_version FROM orders WHERE activation = ? \
             ORDER BY key_version, seq",
        )?;
        let rows = sql.query_map([id], |r| {
            Ok(OrderRow {
                digest: r.get(0)?,
                frame: r.get(1)?,
                key_version: r.get(2)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The device answered an order. `applied` says whether it took effect,
    /// now or before. Returns the activation, if the order is known and the
    /// device's.
    pub fn outcome(
        &self,
        digest: &[u8; 32],
        device: &str,
        outcome: &str,
        applied: bool,
    ) -> Result<Option<ActivationRow>> {
        self.write(|tx| {
            let sql = "UPDATE orders SET outcome = ?3 WHERE digest = ?1 AND activation IN \
                       (SELECT id FROM activations WHERE device = ?2) RETURNING activation, kind";
            let found: Option<([u8; 16], String)> = tx
                .query_row(sql, (digest, device, outcome), |r| {
                    Ok((r.get(0)?, r.get(1)?))
                })
                .optional()?;
            let Some((id, kind)) = found else {
                return Ok(None);
            };
            let (from, to) = match (Asked::parse(&kind), applied) {
                (Asked::Deactivate, true) => (Phase::Removing, Phase::Delivered),
                (Asked::Deactivate, false) => (Phase::Removing, Phase::Ended),
                (Asked::SignOut, true) => (Phase::Active, Phase::SignedOut),
                (Asked::SignOut, false) => (Phase::Active, Phase::Active),
            };
            let sql = "UPDATE activations SET phase = ?3 WHERE id = ?1 AND phase = ?2";
            tx.execute(sql, (id, from.name(), to.name()))?;
            Ok(Some(get(tx, &id)?))
        })
    }

    /// Keeps a receipt for good and draws its conclusion. Keeping it twice is
    /// harmless. `event` is written for the account, once.
    pub fn keep_receipt(
        &self,
        receipt: &NewReceipt<'_>,
        event: impl FnOnce(&ActivationRow) -> EventRow,
    ) -> Result<Option<ActivationRow>> {
        let NewReceipt {
            digest,
            device,
            activation,
            frame,
            clean,
            now,
        } = *receipt;
        self.write(|tx| {
            let sql = "INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?)";
            let fresh = tx.execute(sql, (digest, device, activation, frame, now))? == 1;
            let sql = "UPDATE activations SET phase = ?3, wiped = ?4, \
                       revoked = coalesce(revoked, 'removed') \
                       WHERE id = ?1 AND device = ?2 AND phase <> 'wiped' RETURNING id";
            let phase = match clean {
                true => Phase::Wiped,
                false => Phase::WipeFailed,
            };
            let found: Option<[u8; 16]> = tx
                .query_row(sql, (activation, device, phase.name(), now), |r| r.get(0))
                .optional()?;
            let Some(id) = found else {
                return Ok(None);
            };
            let row = get(tx, &id)?;
            if let (true, Some(account)) = (fresh, row.account) {
                events::insert(tx, account.0, &event(&row))?;
            }
            Ok(Some(row))
        })
    }

    /// The newest receipt of an account's activation.
    pub fn receipt(&self, account: AccountId, id: &[u8; 16]) -> Result<Vec<u8>> {
        let sql = "SELECT r.frame FROM receipts r JOIN activations a ON a.id = r.activation \
                   AND a.device = r.device WHERE a.id = ? AND a.account = ? \
                   ORDER BY r.received DESC LIMIT 1";
        Ok(self.db().query_row(sql, (id, account.0), |r| r.get(0))?)
    }

    /// The delegation in force: version and frame.
    pub fn delegation(&self) -> Result<Option<(u32, Vec<u8>)>> {
        let sql = "SELECT version, frame FROM delegations ORDER BY version DESC LIMIT 1";
        let found = self.db().query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?)));
        Ok(found.optional()?)
    }

    /// Puts the next delegation in force, and signs every order that still
    /// waits again with its key.
    pub fn delegate(&self, version: u32, frame: &[u8], now: u64, sign: Sign<'_>) -> Result<()> {
        self.write(|tx| {
            tx.execute("INSERT INTO delegations VALUES (?, ?)", (version, frame))?;
            let waiting: Vec<([u8; 16], String)> = {
                let mut sql =
                    tx.prepare("SELECT activation, kind FROM orders WHERE outcome IS NULL")?;
                let rows = sql.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
                rows.collect::<rusqlite::Result<_>>()?
            };
            tx.execute(
                "UPDATE orders SET outcome = 'retired' WHERE outcome IS NULL",
                [],
            )?;
            for (id, kind) in waiting {
                let row = get(tx, &id)?;
                insert_order(tx, &row, Asked::parse(&kind), now, sign)?;
            }
            Ok(())
        })
    }
}

fn insert_order(
    tx: &Transaction<'_>,
    row: &ActivationRow,
    asked: Asked,
    now: u64,
    sign: Sign<'_>,
) -> Result<()> {
    // Positions are counted per activation and key version.
    let sql = "SELECT coalesce(max(version), 0) FROM delegations";
    let version: u32 = tx.query_row(sql, [], |r| r.get(0))?;
    let sql =
        "SELECT coalesce(max(seq), 0) + 1 FROM orders WHERE activation = ? AND key_version = ?";
    let seq: u64 = tx.query_row(sql, (row.id, version), |r| r.get(0))?;
    let (digest, frame) = sign(row, asked, seq);
    tx.execute(
        "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        (digest, row.id, version, seq, asked.name(), frame, now),
    )?;
    Ok(())
}
