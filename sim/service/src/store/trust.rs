//! What devices trust: roots and delegations.

use super::sql::{Lock, Row, Tx, values};
use super::{Announcement, AuditRow, Sign, Store, audit, orders};
use crate::audit::OperationKind;
use crate::error::Result;
use nrd_agent::wire::{OrderKind, TrustVersion};

/// The delegation in force.
#[derive(Debug, Clone)]
pub struct DelegationRow {
    /// Version of its order key.
    pub order_key: u32,
    /// Its version, and that of the root that signed it.
    pub version: TrustVersion,
    /// Its frame.
    pub frame: Vec<u8>,
}

/// A root that followed the first.
#[derive(Debug, Clone)]
pub struct RootRow {
    /// Its version.
    pub version: u32,
    /// Its public half.
    pub public: [u8; 32],
    /// The frame in which the root before it names it.
    pub change: Vec<u8>,
}

/// What a device does not have yet.
#[derive(Debug, Clone, Default)]
pub struct TrustNews {
    /// The root that follows the one it stated: a frame.
    pub root: Option<Vec<u8>>,
    /// The delegation in force, once its root is the newest: a frame.
    pub delegation: Option<Vec<u8>>,
}

impl TrustNews {
    /// True when the device needs more than this step: nothing that is signed
    /// under the newest root can be read by it yet.
    pub fn is_not_all(&self) -> bool {
        self.root.is_some() && self.delegation.is_none()
    }
}

/// Makes the frame of a delegation: its version, and that of its order key.
pub type Delegate<'d> = &'d dyn Fn(TrustVersion, u32) -> Result<Vec<u8>>;

impl Store {
    /// The delegation in force.
    pub fn delegation(&self) -> Result<Option<DelegationRow>> {
        self.read(newest)
    }

    /// Version of the newest order key; 0 when there is none yet.
    pub fn newest_order_key(&self) -> Result<u32> {
        self.read(orders::newest_key)
    }

    /// Every root that followed the first, oldest first.
    pub fn roots(&self) -> Result<Vec<RootRow>> {
        let sql = "SELECT version, public, change FROM roots ORDER BY version";
        self.read(|tx| {
            tx.all(sql, &[], |r| {
                Ok(RootRow {
                    version: r.get(0)?,
                    public: r.get(1)?,
                    change: r.get(2)?,
                })
            })
        })
    }

    /// What a device does not have yet that states to trust `stated`. One step a
    /// reply: each root is verified under the one before it.
    pub fn trust_news(&self, stated: TrustVersion) -> Result<TrustNews> {
        self.read(|tx| {
            let Some(newest) = newest(tx)?.filter(|d| d.version > stated) else {
                return Ok(TrustNews::default());
            };
            let next = stated.root.saturating_add(1);
            let root = if stated.root < newest.version.root {
                let sql = "SELECT change FROM roots WHERE version = ?1";
                tx.first(sql, values![next], |r| r.get(0))?
            } else {
                None
            };
            let reached = newest.version.root <= next;
            Ok(TrustNews {
                root,
                delegation: reached.then_some(newest.frame),
            })
        })
    }

    /// Puts the delegation after the one whose order key is `known` in force (0
    /// for the first), and signs the first of what waits again with its key; the
    /// rest is for [`Store::sign_waiting`]. Returns the version of the order key in
    /// force: another one than `known + 1` when another process was faster.
    pub fn delegate(
        &self,
        known: u32,
        make: Delegate<'_>,
        now: u64,
        sign: Sign<'_>,
    ) -> Result<u32> {
        self.write(|tx| {
            hold_order_key(tx)?;
            match orders::newest_key(tx)? {
                current if current != known => Ok(current),
                _ => put_in_force(tx, make, now, sign),
            }
        })
    }

    /// Signs more of what waits under a retired order key again, of activations whose
    /// ids come after `after`. The last one, where there may be more.
    ///
    /// Few at a time: while a million was signed in one transaction, nothing could
    /// be removed.
    pub fn sign_waiting(&self, after: &[u8], now: u64, sign: Sign<'_>) -> Result<Option<[u8; 16]>> {
        self.write(|tx| {
            share_order_key(tx)?;
            sign_batch(tx, after, now, sign)
        })
    }

    /// Signs what waits of one activation again, where its key was retired.
    pub fn sign_waiting_of(&self, id: &[u8; 16], now: u64, sign: Sign<'_>) -> Result<()> {
        self.write(|tx| {
            share_order_key(tx)?;
            let newest = orders::newest_key(tx)?;
            sign_again(tx, id, newest, now, sign)
        })
    }

    /// Puts a root in force, and the first delegation under it with an order key
    /// of its own: both or neither. Returns the version of the root in force:
    /// another one than that of `root` when another process was faster.
    pub fn replace_root(
        &self,
        root: &RootRow,
        make: Delegate<'_>,
        now: u64,
        sign: Sign<'_>,
    ) -> Result<u32> {
        self.write(|tx| {
            hold_order_key(tx)?;
            let current = newest_root(tx)?;
            if current.checked_add(1) != Some(root.version) {
                return Ok(current);
            }
            let sql = "INSERT INTO roots VALUES (?1, ?2, ?3)";
            tx.execute(sql, values![root.version, &root.public, &root.change])?;
            put_in_force(tx, make, now, sign)?;
            let entry = AuditRow::new(now, OperationKind::RootReplaced);
            audit::insert(tx, &entry.numbered(root.version))?;
            Ok(root.version)
        })
    }
}

/// Activations whose orders are signed again in one transaction.
const BATCH: u64 = 200;

/// Nobody rotates the key until this transaction ends; orders are entered beside it.
pub(super) fn share_order_key(tx: &mut Tx<'_>) -> Result<()> {
    let sql = "SELECT value FROM meta WHERE key = 'schema'";
    tx.hold(Lock::Share, sql, &[])
}

/// Nobody else enters an order or rotates a key until this transaction ends.
fn hold_order_key(tx: &mut Tx<'_>) -> Result<()> {
    let sql = "SELECT value FROM meta WHERE key = 'schema'";
    tx.hold(Lock::Update, sql, &[])
}

pub(super) fn newest(tx: &mut Tx<'_>) -> Result<Option<DelegationRow>> {
    let sql = "SELECT version, root, number, frame FROM delegations WHERE number > 0 \
               ORDER BY version DESC LIMIT 1";
    tx.first(sql, &[], |r: &Row| {
        Ok(DelegationRow {
            order_key: r.get(0)?,
            version: TrustVersion {
                root: r.get(1)?,
                delegation: r.get(2)?,
            },
            frame: r.get(3)?,
        })
    })
}

fn newest_root(tx: &mut Tx<'_>) -> Result<u32> {
    let sql = "SELECT coalesce(max(version), 0) FROM roots";
    tx.one(sql, &[], |r| r.get(0))
}

/// Puts the next delegation in force under the newest root, and signs the first
/// batch of what waits again. The caller holds the order key.
fn put_in_force(tx: &mut Tx<'_>, make: Delegate<'_>, now: u64, sign: Sign<'_>) -> Result<u32> {
    let order_key = orders::newest_key(tx)? + 1;
    let root = newest_root(tx)?;
    let sql = "SELECT coalesce(max(number), 0) + 1 FROM delegations WHERE root = ?1";
    let version = TrustVersion {
        root,
        delegation: tx.one(sql, values![root], |r| r.get(0))?,
    };
    let frame = make(version, order_key)?;
    tx.execute(
        "INSERT INTO delegations (version, frame, root, number) VALUES (?1, ?2, ?3, ?4)",
        values![order_key, &frame, version.root, version.delegation],
    )?;
    let entry = AuditRow::new(now, OperationKind::OrderKeyRotated);
    audit::insert(tx, &entry.numbered(order_key))?;
    sign_batch(tx, &[], now, sign)?;
    Ok(order_key)
}

/// Signs what waits under a retired order key again, of up to [`BATCH`] activations
/// whose ids come after `after`. The last one, where there may be more. The caller
/// holds the order key.
fn sign_batch(tx: &mut Tx<'_>, after: &[u8], now: u64, sign: Sign<'_>) -> Result<Option<[u8; 16]>> {
    let newest = orders::newest_key(tx)?;
    // Each takes these locks in one order.
    let sql = "SELECT DISTINCT activation FROM orders WHERE outcome IS NULL \
               AND key_version < ?1 AND activation > ?2 ORDER BY activation LIMIT ?3";
    let ids: Vec<[u8; 16]> = tx.all(sql, values![newest, after, BATCH], |r| r.get(0))?;
    for id in &ids {
        sign_again(tx, id, newest, now, sign)?;
    }
    let full = ids.len() as u64 == BATCH;
    Ok(ids.last().filter(|_| full).copied())
}

/// Signs what waits under a retired order key again, of one activation. The caller
/// holds the order key.
fn sign_again(tx: &mut Tx<'_>, id: &[u8; 16], newest: u32, now: u64, sign: Sign<'_>) -> Result<()> {
    let sql = "SELECT id FROM activations WHERE id = ?1";
    tx.hold(Lock::Update, sql, values![id])?;
    let sql = "UPDATE orders SET outcome = ?3 WHERE activation = ?1 AND outcome IS NULL \
               AND key_version < ?2 RETURNING key_version, seq, kind";
    // Every kind is read before the first order is signed: a word that is unknown
    // here rolls all of it back. It was once read as "deactivate", and signed as
    // such.
    let retired = super::OrderState::Retired.name();
    let mut waiting: Vec<(u32, u64, OrderKind)> =
        tx.all(sql, values![id, newest, retired], |r| {
            Ok((r.get(0)?, r.get(1)?, r.word(2)?))
        })?;
    if waiting.is_empty() {
        return Ok(());
    }
    waiting.sort_by_key(|(key, seq, _)| (*key, *seq));
    let row = super::devices::get(tx, id)?;
    for (_, _, kind) in waiting {
        orders::insert_order(tx, &row, kind, now, sign)?;
    }
    tx.announce(Announcement::Device(*id))
}
