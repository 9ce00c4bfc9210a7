//! Orders, outcomes, receipts.

use super::devices::{ActivationPhase, get};
use super::events::{self, EventRow};
use super::sql::{Lock, Row, Tx, values};
use super::trust::share_order_key;
use super::{
    AccountId, ActivationRow, Announcement, AuditRow, Outbox, RevocationReason, Store, audit,
    outbox,
};
use crate::audit::{AuditOutcome, OperationKind};
use crate::error::{Error, Result};
use crate::order_rules::rules;
use nrd_agent::wire::{OrderKind, OrderResult};
use nrd_agent_derive::Named;

/// An order that waits for its device.
#[derive(Debug, Clone)]
pub struct OrderRow {
    /// SHA-256 of its frame.
    pub digest: [u8; 32],
    /// Its frame.
    pub frame: Vec<u8>,
    /// Version of the order key that signed it.
    pub key_version: u32,
    /// A newer order key is in force: a device that knows it refuses this frame.
    pub retired_key: bool,
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

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Named)]
pub enum OrderState {
    /// The device has not answered yet. The column is empty then.
    Waiting,
    /// The device applied it.
    Applied,
    /// The device had applied it, or an order that includes it, before.
    #[named("already applied")]
    AlreadyApplied,
    /// The device had no use for it: another epoch or activation.
    #[named("not applicable")]
    NotApplicable,
    /// The device had seen a newer order.
    Stale,
    /// A newer order key took its place; it was signed again as a new order.
    Retired,
    /// The receipt of the wipe came before the answer.
    Receipt,
}

impl From<OrderResult> for OrderState {
    fn from(result: OrderResult) -> Self {
        match result {
            OrderResult::Applied => OrderState::Applied,
            OrderResult::AlreadyApplied => OrderState::AlreadyApplied,
            OrderResult::NotApplicable => OrderState::NotApplicable,
            OrderResult::Stale => OrderState::Stale,
        }
    }
}

/// Receipts of one activation that an account had.
const RECEIPTS_OF_ACTIVATION: u32 = 16;
/// Receipts of one device for activations that no account had.
const RECEIPTS_OF_NOBODY: u32 = 64;

/// A signed order: the SHA-256 digest of its frame, and the frame.
pub type SignedOrder = ([u8; 32], Vec<u8>);

/// Signs an order of an activation: what it asks, the version of the order key,
/// and its position.
pub type Sign<'s> = &'s dyn Fn(&ActivationRow, OrderKind, u32, u64) -> Result<SignedOrder>;

impl Store {
    /// Enters an order. A deactivation revokes first, outside the database as
    /// well; entering it twice keeps the first. `NotFound` unless the activation
    /// is the account's, `WrongState` when it is over.
    pub fn enter_order(
        &self,
        account: AccountId,
        id: &[u8; 16],
        kind: OrderKind,
        event: &EventRow,
        now: u64,
        sign: Sign<'_>,
    ) -> Result<ActivationRow> {
        let row = self.activation(id)?.ok_or(Error::NotFound)?;
        if row.account != Some(account) {
            return Err(Error::NotFound);
        }
        match row.phase {
            ActivationPhase::Approved | ActivationPhase::Active | ActivationPhase::SignedOut => {}
            ActivationPhase::Removing | ActivationPhase::Delivered => return Ok(row),
            ActivationPhase::Pending
            | ActivationPhase::Wiped
            | ActivationPhase::WipeFailed
            | ActivationPhase::Ended => return Err(Error::WrongState),
        }
        if let Some((reason, _)) = rules(kind).ends {
            self.log_revocation(id, reason, now)?;
        }
        self.write(|tx| {
            // In this order, as everybody takes them: the order key, then the
            // activation.
            share_order_key(tx)?;
            let sql = "SELECT id FROM activations WHERE id = ?1";
            tx.hold(Lock::Update, sql, values![id])?;
            let row = get(tx, id)?;
            let open = matches!(
                row.phase,
                ActivationPhase::Approved | ActivationPhase::Active | ActivationPhase::SignedOut
            );
            if !open {
                return Ok(row);
            }
            if let Some((reason, phase)) = rules(kind).ends {
                let sql = "UPDATE activations SET phase = ?2, \
                           revoked = coalesce(revoked, ?3) WHERE id = ?1";
                tx.execute(sql, values![id, phase.name(), reason.name()])?;
            }
            let order = insert_order(tx, &row, kind, now, sign)?;
            events::insert_about(tx, account.0, event, Some(order))?;
            tx.announce(Announcement::Device(*id))?;
            get(tx, id)
        })
    }

    /// The order that the device should hear next.
    pub fn next_order(&self, id: &[u8; 16]) -> Result<Option<OrderRow>> {
        self.read(|tx| next(tx, id))
    }

    /// Every order that was entered for an activation, oldest first.
    pub fn orders(&self, id: &[u8; 16]) -> Result<Vec<OrderRow>> {
        let sql = format!("{ORDER} WHERE activation = ?1 ORDER BY key_version, seq");
        self.read(|tx| tx.all(&sql, values![id], order))
    }

    /// Digests of the orders to wipe that were entered for an activation, those
    /// among them in whose place a newer key has signed another.
    pub fn wipe_orders(&self, id: &[u8; 16]) -> Result<Vec<[u8; 32]>> {
        let sql = "SELECT digest, kind FROM orders WHERE activation = ?1";
        let all: Vec<([u8; 32], OrderKind)> =
            self.read(|tx| tx.all(sql, values![id], |r| Ok((r.get(0)?, r.word(1)?))))?;
        let wipes = all.into_iter().filter(|(_, kind)| kind.is_terminal());
        Ok(wipes.map(|(digest, _)| digest).collect())
    }

    /// The device answered an order. Returns the activation, if the order is
    /// known and the device's, and whether this is its first answer.
    pub fn outcome(
        &self,
        digest: &[u8; 32],
        device: &str,
        result: OrderResult,
        now: u64,
    ) -> Result<Option<(ActivationRow, bool)>> {
        let applied = match result {
            OrderResult::Applied | OrderResult::AlreadyApplied => true,
            OrderResult::NotApplicable | OrderResult::Stale => false,
        };
        let state = OrderState::from(result);
        self.write(|tx| {
            let sql = "SELECT count(*) FROM orders WHERE digest = ?1 AND outcome IS NULL";
            let first: bool = tx.one(sql, values![digest], |r| r.get(0))?;
            let sql = "UPDATE orders SET outcome = ?3 WHERE digest = ?1 AND activation IN \
                       (SELECT id FROM activations WHERE device = ?2) RETURNING activation, kind";
            let found: Option<([u8; 16], OrderKind)> =
                tx.first(sql, values![digest, device, state.name()], |r| {
                    Ok((r.get(0)?, r.word(1)?))
                })?;
            let Some((id, kind)) = found else {
                return Ok(None);
            };
            let rules = rules(kind);
            let to = if applied {
                rules.applied
            } else {
                rules.refused
            };
            let sql = "UPDATE activations SET phase = ?3 WHERE id = ?1 AND phase = ?2";
            tx.execute(sql, values![&id, rules.waits_in.name(), to.name()])?;
            let row = get(tx, &id)?;
            if first {
                let outcome = if applied {
                    AuditOutcome::Done
                } else {
                    AuditOutcome::Refused
                };
                let entry = AuditRow {
                    outcome,
                    account: row.account,
                    activation: Some(id),
                    order: Some(*digest),
                    ..AuditRow::new(now, OperationKind::OrderAnswered)
                };
                audit::insert(tx, &entry)?;
            }
            Ok(Some((row, first)))
        })
    }

    /// Keeps a receipt for good and draws its conclusion. Keeping it twice is
    /// harmless. `event` is written for the account, once.
    ///
    /// Of an activation that an account had, the first `RECEIPTS_OF_ACTIVATION`
    /// are kept, so that no later owner of the device pushes one out, and `TooMany`
    /// is answered to the next; of all others the device's newest
    /// `RECEIPTS_OF_NOBODY`.
    pub fn keep_receipt(
        &self,
        receipt: &NewReceipt<'_>,
        event: impl Fn(&ActivationRow) -> Result<EventRow>,
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
            let sql = "INSERT INTO receipts VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
            let fresh = tx.execute(sql, values![digest, device, activation, frame, now])? == 1;
            if fresh {
                bound_receipts(tx, device, activation)?;
            }
            let sql = "UPDATE activations SET phase = ?3, wiped = ?4, \
                       revoked = coalesce(revoked, ?5) \
                       WHERE id = ?1 AND device = ?2 AND phase <> ?6 RETURNING id";
            let phase = if clean {
                ActivationPhase::Wiped
            } else {
                ActivationPhase::WipeFailed
            };
            let found: Option<[u8; 16]> = tx.first(
                sql,
                values![
                    activation,
                    device,
                    phase.name(),
                    now,
                    RevocationReason::Removed.name(),
                    ActivationPhase::Wiped.name(),
                ],
                |r| r.get(0),
            )?;
            let Some(id) = found else {
                return Ok(None);
            };
            // Whichever way the order went: the receipt answers it.
            let sql = "UPDATE orders SET outcome = ?3 WHERE activation = ?1 \
                       AND kind = ?2 AND outcome IS NULL";
            for kind in OrderKind::ALL.iter().filter(|kind| kind.is_terminal()) {
                let outcome = OrderState::Receipt.name();
                tx.execute(sql, values![&id, kind.name(), outcome])?;
            }
            let row = get(tx, &id)?;
            if let (true, Some(account)) = (fresh, row.account) {
                events::insert(tx, account.0, &event(&row)?)?;
            }
            Ok(Some(row))
        })
    }

    /// The newest receipt of an account's activation.
    pub fn receipt(&self, account: AccountId, id: &[u8; 16]) -> Result<Vec<u8>> {
        let sql = "SELECT r.frame FROM receipts r JOIN activations a ON a.id = r.activation \
                   AND a.device = r.device WHERE a.id = ?1 AND a.account = ?2 \
                   ORDER BY r.received DESC LIMIT 1";
        self.read(|tx| tx.one(sql, values![id, account.0], |r| r.get(0)))
    }
}

/// Bounds what one device key stores. An error rolls the new receipt back.
fn bound_receipts(tx: &mut Tx<'_>, device: &str, activation: &[u8; 16]) -> Result<()> {
    let sql = "SELECT count(*) FROM receipts r JOIN activations a ON a.id = r.activation \
               AND a.device = r.device WHERE r.activation = ?1 AND r.device = ?2 \
               AND a.account IS NOT NULL";
    let of_activation: u32 = tx.one(sql, values![activation, device], |r| r.get(0))?;
    if of_activation > RECEIPTS_OF_ACTIVATION {
        return Err(Error::TooMany);
    }
    let sql = "DELETE FROM receipts WHERE digest IN (SELECT r.digest FROM receipts r \
               WHERE r.device = ?1 AND NOT EXISTS (SELECT 1 FROM activations a \
               WHERE a.id = r.activation AND a.device = r.device AND a.account IS NOT NULL) \
               ORDER BY r.received DESC, r.digest LIMIT 1000 OFFSET ?2)";
    tx.execute(sql, values![device, RECEIPTS_OF_NOBODY])?;
    Ok(())
}

pub(super) fn next(tx: &mut Tx<'_>, id: &[u8; 16]) -> Result<Option<OrderRow>> {
    let sql = format!("{ORDER} WHERE activation = ?1 AND outcome IS NULL ORDER BY seq");
    let waiting: Vec<(OrderRow, OrderKind)> =
        tx.all(&sql, values![id], |r| Ok((order(r)?, r.word(4)?)))?;
    // What ends the activation goes first; of equals, the oldest.
    let next = waiting
        .into_iter()
        .min_by_key(|(_, kind)| !kind.is_terminal());
    Ok(next.map(|(order, _)| order))
}

/// The columns of an [`OrderRow`], and the order's kind.
const ORDER: &str = "SELECT digest, frame, key_version, \
                     CASE WHEN key_version < (SELECT max(version) FROM delegations) \
                     THEN 1 ELSE 0 END, kind FROM orders";

fn order(r: &Row) -> Result<OrderRow> {
    Ok(OrderRow {
        digest: r.get(0)?,
        frame: r.get(1)?,
        key_version: r.get(2)?,
        retired_key: r.get(3)?,
    })
}

/// The version of the order key in force.
pub(super) fn newest_key(tx: &mut Tx<'_>) -> Result<u32> {
    let sql = "SELECT coalesce(max(version), 0) FROM delegations";
    tx.one(sql, &[], |r| r.get(0))
}

/// Returns the order's digest. The caller holds the order key, so that no other
/// takes its place meanwhile.
pub(super) fn insert_order(
    tx: &mut Tx<'_>,
    row: &ActivationRow,
    kind: OrderKind,
    now: u64,
    sign: Sign<'_>,
) -> Result<[u8; 32]> {
    // Positions are counted per activation and key version; a unique key keeps
    // two orders from having one.
    let version = newest_key(tx)?;
    let sql =
        "SELECT coalesce(max(seq), 0) + 1 FROM orders WHERE activation = ?1 AND key_version = ?2";
    let seq: u64 = tx.one(sql, values![&row.id, version], |r| r.get(0))?;
    let (digest, frame) = sign(row, kind, version, seq)?;
    tx.execute(
        "INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)",
        values![&digest, &row.id, version, seq, kind.name(), &frame, now],
    )?;
    outbox::put(tx, Outbox::Orders, &row.device, &frame, now)?;
    Ok(digest)
}
