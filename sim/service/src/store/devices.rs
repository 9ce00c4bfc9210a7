//! Devices and activations.

use super::sql::{Lock, Row, Tx, values};
use super::{AccountId, EventRow, Store, events};
use crate::error::{Error, Result};
use nrd_agent::wire::{DeviceKind, Losses};
use nrd_agent_derive::Named;

/// A device that has introduced itself.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    /// Its id.
    pub id: String,
    /// Its key, from its maker certificate.
    pub public_key: [u8; 32],
    /// Model, in words.
    pub model: String,
    /// Kind, by the maker's word.
    pub kind: DeviceKind,
    /// Agent version, in words.
    pub agent_version: String,
    /// What it stated last that it lost.
    pub losses: Losses,
}

/// Attempts of one device within a day that nobody consented to. A screen that shows
/// codes all day needs 144.
const ATTEMPTS_A_DAY: u32 = 300;

/// How far an activation is. What the page says follows from this and from
/// the device's last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Named)]
pub enum ActivationPhase {
    /// A code is shown and has not been typed yet.
    Pending,
    /// Consent was given; the device has not used its token yet.
    Approved,
    /// The device uses its token.
    Active,
    /// A person signed out at the device, or by order.
    SignedOut,
    /// A deactivation order waits for the device.
    Removing,
    /// The device accepted the order; its receipt is still to come.
    Delivered,
    /// A receipt proves the wipe.
    Wiped,
    /// A receipt says that the wipe failed.
    WipeFailed,
    /// Over without a receipt.
    Ended,
}

/// Why an activation's token is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Named)]
pub enum RevocationReason {
    /// The account holder removed the device, or its receipt arrived.
    Removed,
    /// A copied token was used.
    Theft,
    /// A newer activation of the same device took its place.
    Superseded,
    /// Consent was given, and the device never used its token.
    Expired,
}

/// One activation of one device.
#[derive(Debug, Clone)]
pub struct ActivationRow {
    /// Its id.
    pub id: [u8; 16],
    /// The device's id.
    pub device: String,
    /// The device's epoch.
    pub epoch: u64,
    /// Whose it is, from the consent on.
    pub account: Option<AccountId>,
    /// How far it is.
    pub phase: ActivationPhase,
    /// Why its token is void, if it is.
    pub revoked: Option<RevocationReason>,
    /// The code on the device's screen.
    pub code: Option<String>,
    /// Which pictogram goes with it, 0 to 15.
    pub pictogram: u8,
    /// When the code was made, Unix seconds.
    pub created: u64,
    /// When consent was given, Unix seconds.
    pub approved: Option<u64>,
    /// The account holder's own name for the device.
    pub name: Option<String>,
    /// False when "Remember me on this computer" was left unticked.
    pub remember: bool,
    /// Policy version consented to.
    pub policy: u32,
    /// Token series.
    pub series: [u8; 16],
    /// The newest token generation that was used.
    pub generation: u32,
    /// When the last lease was given, Unix seconds.
    pub leased: Option<u64>,
    /// The receipt that the device named as its last is unknown here.
    pub chain_gap: bool,
    /// When the wipe was proven, Unix seconds.
    pub wiped: Option<u64>,
    /// Model, in words.
    pub model: String,
    /// Kind, by the maker's word.
    pub kind: DeviceKind,
    /// When the device's last request came, Unix seconds.
    pub last_seen: u64,
    /// From where, sealed.
    pub last_address: Option<Vec<u8>>,
    /// What the device stated last that it lost.
    pub losses: Losses,
    /// Agent version of its device, as it said it last.
    pub agent_version: String,
}

/// What a new attempt brings.
pub struct NewActivation<'a> {
    /// Its id.
    pub id: [u8; 16],
    /// The device.
    pub device: &'a str,
    /// Its epoch.
    pub epoch: u64,
    /// A fresh code.
    pub code: String,
    /// Its pictogram.
    pub pictogram: u8,
    /// A fresh series.
    pub series: [u8; 16],
    /// What the device names as its newest receipt.
    pub previous_receipt: Option<[u8; 32]>,
    /// Now, Unix seconds.
    pub now: u64,
    /// How long codes live, in seconds.
    pub code_life_s: u64,
}

impl Store {
    /// Adds a device, or updates what its maker says about it;
    /// `challenge` is in force if it had none. Returns it as it is known now.
    /// `WrongState` when the id is known with another key.
    ///
    /// A `Hello` is mostly signed over no challenge, so an old one can be posted
    /// again: it takes no challenge away, is no sign of life, and does not say
    /// which agent the device has now.
    pub fn enroll(&self, d: &DeviceRow, challenge: &[u8; 32], now: u64) -> Result<DeviceRow> {
        let sql = format!(
            "INSERT INTO devices AS d (id, public_key, model, kind, agent_version, challenge, \
             last_seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (id) DO UPDATE SET model = ?3, kind = ?4, \
             challenge = coalesce(d.challenge, ?6) \
             WHERE d.public_key = ?2 RETURNING {}",
            DEVICE.replace("d.", "")
        );
        let values = values![
            &d.id,
            &d.public_key,
            &d.model,
            d.kind.name(),
            &d.agent_version,
            challenge,
            now,
        ];
        self.write(|tx| tx.first(&sql, values, device)?.ok_or(Error::WrongState))
    }

    /// The device of this id.
    pub fn device(&self, id: &str) -> Result<Option<DeviceRow>> {
        let sql = format!("SELECT {DEVICE} FROM devices d WHERE d.id = ?1");
        self.read(|tx| tx.first(&sql, values![id], device))
    }

    /// Begins or resumes an attempt. `WrongState` for an epoch below one that
    /// this device has already had, or an id of another device; `TooMany` where
    /// the device has begun `ATTEMPTS_A_DAY` within a day that nobody consented
    /// to.
    pub fn start_activation(&self, n: &NewActivation<'_>) -> Result<ActivationRow> {
        self.write(|tx| {
            let sql = "SELECT id FROM devices WHERE id = ?1";
            tx.hold(Lock::Update, sql, values![n.device])?;
            if let Some(row) = find(tx, &n.id)? {
                if row.device != n.device || row.epoch != n.epoch {
                    return Err(Error::WrongState);
                }
                if row.phase == ActivationPhase::Pending && row.created + n.code_life_s < n.now {
                    let sql = "UPDATE activations SET code = ?2, pictogram = ?3, created = ?4 \
                               WHERE id = ?1";
                    tx.execute(sql, values![&n.id, &n.code, n.pictogram, n.now])?;
                }
                return get(tx, &n.id);
            }
            let sql = "SELECT coalesce(max(epoch), 0) FROM activations WHERE device = ?1";
            let newest: u64 = tx.one(sql, values![n.device], |r| r.get(0))?;
            if n.epoch < newest {
                return Err(Error::WrongState);
            }
            let sql = "SELECT count(*) FROM activations WHERE device = ?1 AND account IS NULL \
                       AND created + 86400 >= ?2";
            if tx.one(sql, values![n.device, n.now], |r| r.get::<u32>(0))? >= ATTEMPTS_A_DAY {
                return Err(Error::TooMany);
            }
            let sql =
                "UPDATE activations SET phase = 'ended' WHERE device = ?1 AND phase = 'pending'";
            tx.execute(sql, values![n.device])?;
            let gap = match &n.previous_receipt {
                None => false,
                Some(d) => {
                    let sql = "SELECT count(*) FROM receipts WHERE digest = ?1";
                    tx.one(sql, values![d], |r| r.get::<u32>(0))? == 0
                }
            };
            tx.execute(
                "INSERT INTO activations (id, device, epoch, phase, code, pictogram, created, \
                 series, chain_gap) VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?6, ?7, ?8)",
                values![
                    &n.id,
                    n.device,
                    n.epoch,
                    &n.code,
                    n.pictogram,
                    n.now,
                    &n.series,
                    gap,
                ],
            )?;
            get(tx, &n.id)
        })
    }

    /// True when a code was handed out within the last day.
    pub fn code_in_use(&self, code: &str, now: u64) -> Result<bool> {
        let sql = "SELECT count(*) FROM activations WHERE code = ?1 AND created + 86400 >= ?2";
        self.read(|tx| tx.one(sql, values![code, now], |r| Ok(r.get::<u32>(0)? > 0)))
    }

    /// The attempt that shows this code now.
    pub fn by_code(&self, code: &str, now: u64, life_s: u64) -> Result<ActivationRow> {
        let sql =
            format!("{SELECT} WHERE a.code = ?1 AND a.phase = 'pending' AND a.created + ?2 >= ?3");
        self.read(|tx| tx.one(&sql, values![code, life_s, now], row))
    }

    /// Whether the account has consented, within the last day, to an attempt that
    /// showed this code.
    pub fn consented_to(&self, account: AccountId, code: &str, now: u64) -> Result<bool> {
        let sql = "SELECT count(*) FROM activations WHERE code = ?1 AND account = ?2 \
                   AND created + 86400 >= ?3";
        let values = values![code, account.0, now];
        self.read(|tx| tx.one(sql, values, |r| Ok(r.get::<u32>(0)? > 0)))
    }

    /// The activation of this id.
    pub fn activation(&self, id: &[u8; 16]) -> Result<Option<ActivationRow>> {
        self.read(|tx| find(tx, id))
    }

    /// Consent was given to `policy`: the attempt belongs to the account. Every
    /// activation of an earlier epoch of this device is over. Returns what it is now;
    /// `PolicyChanged` where that policy is not in force.
    pub fn approve(
        &self,
        id: &[u8; 16],
        account: AccountId,
        remember: bool,
        policy: u32,
        now: u64,
        life_s: u64,
    ) -> Result<ActivationRow> {
        self.write(|tx| {
            let sql = "SELECT id FROM devices WHERE id = \
                       (SELECT device FROM activations WHERE id = ?1)";
            tx.hold(Lock::Update, sql, values![id])?;
            let sql = "SELECT value FROM meta WHERE key = 'policy_version'";
            if tx.one(sql, &[], |r| r.get::<u32>(0))? != policy {
                return Err(Error::PolicyChanged);
            }
            let sql = "UPDATE activations SET phase = 'approved', account = ?2, remember = ?3, \
                       policy = ?4, approved = ?5 \
                       WHERE id = ?1 AND phase = 'pending' AND created + ?6 >= ?5";
            if tx.execute(sql, values![id, account.0, remember, policy, now, life_s])? == 0 {
                return Err(Error::WrongState);
            }
            tx.execute(
                "UPDATE activations SET revoked = coalesce(revoked, 'superseded'), phase = 'ended' \
                 WHERE device = (SELECT device FROM activations WHERE id = ?1) \
                 AND epoch < (SELECT epoch FROM activations WHERE id = ?1) \
                 AND phase IN ('pending', 'approved', 'active', 'signed-out', 'removing', 'delivered')",
                values![id],
            )?;
            get(tx, id)
        })
    }

    /// Ends an attempt that was not approved.
    pub fn end_attempt(&self, id: &[u8; 16]) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE activations SET phase = 'ended' WHERE id = ?1 AND phase = 'pending'";
            tx.execute(sql, values![id])?;
            Ok(())
        })
    }

    /// An approved attempt that was never used ends.
    pub fn expire_unconfirmed(&self, id: &[u8; 16]) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE activations SET phase = 'ended', revoked = 'expired' \
                       WHERE id = ?1 AND phase = 'approved'";
            tx.execute(sql, values![id])?;
            Ok(())
        })
    }

    /// Revokes a series whose token was copied. `event` is written for the
    /// account, once.
    pub fn revoke_theft(
        &self,
        id: &[u8; 16],
        event: Option<(AccountId, &EventRow)>,
        now: u64,
    ) -> Result<()> {
        self.log_revocation(id, RevocationReason::Theft, now)?;
        self.write(|tx| {
            let sql = "UPDATE activations SET revoked = 'theft' WHERE id = ?1 AND revoked IS NULL";
            if tx.execute(sql, values![id])? == 1
                && let Some((account, event)) = event
            {
                events::insert(tx, account.0, event)?;
            }
            Ok(())
        })
    }

    /// The person at the device signed out.
    pub fn signed_out(&self, id: &[u8; 16]) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE activations SET phase = 'signed-out' \
                       WHERE id = ?1 AND phase IN ('approved', 'active')";
            tx.execute(sql, values![id])?;
            Ok(())
        })
    }

    /// The account's activations that its list shows, newest first.
    pub fn activations(&self, account: AccountId) -> Result<Vec<ActivationRow>> {
        let sql = format!(
            "{SELECT} WHERE a.account = ?1 AND a.hidden = 0 ORDER BY a.approved DESC, a.id"
        );
        self.read(|tx| tx.all(&sql, values![account.0], row))
    }

    /// Gives a device the account holder's own name.
    pub fn rename(&self, account: AccountId, id: &[u8; 16], name: &str) -> Result<()> {
        self.write(|tx| {
            let name = Some(name).filter(|n| !n.is_empty());
            let sql = "UPDATE activations SET name = ?3 WHERE id = ?1 AND account = ?2";
            match tx.execute(sql, values![id, account.0, name])? {
                1 => Ok(()),
                _ => Err(Error::NotFound),
            }
        })
    }

    /// Takes an activation that is over, or whose removal was ordered, off the list.
    /// It goes on being what it is: the order waits for the device.
    pub fn hide(&self, account: AccountId, id: &[u8; 16]) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE activations SET hidden = 1 WHERE id = ?1 AND account = ?2 \
                       AND phase IN ('removing', 'delivered', 'wiped', 'wipe-failed', 'ended')";
            match tx.execute(sql, values![id, account.0])? {
                1 => Ok(()),
                _ => Err(Error::WrongState),
            }
        })
    }
}

/// The columns of [`Losses`].
macro_rules! lost_columns {
    () => {
        "d.lost_session, d.lost_receipt, d.lost_delegation, d.lost_snapshot"
    };
}

/// Reads losses whose columns begin at `at`.
fn losses(r: &Row, at: usize) -> Result<Losses> {
    Ok(Losses {
        session: r.get(at)?,
        receipt: r.get(at + 1)?,
        delegation: r.get(at + 2)?,
        snapshot: r.get(at + 3)?,
    })
}

/// The columns of a [`DeviceRow`].
pub(super) const DEVICE: &str = concat!(
    "d.id, d.public_key, d.model, d.kind, d.agent_version, ",
    lost_columns!()
);

pub(super) fn device(r: &Row) -> Result<DeviceRow> {
    Ok(DeviceRow {
        id: r.get(0)?,
        public_key: r.get(1)?,
        model: r.get(2)?,
        kind: r.word(3)?,
        agent_version: r.get(4)?,
        losses: losses(r, 5)?,
    })
}

/// The columns of an [`ActivationRow`].
macro_rules! activation_columns {
    () => {
        "a.id, a.device, a.epoch, a.account, a.phase, a.revoked, a.code, a.pictogram, a.created, \
         a.approved, a.name, a.remember, a.policy, a.series, a.generation, a.leased, a.chain_gap, \
         a.wiped, d.model, d.kind, d.last_seen, d.last_address, \
         d.lost_session, d.lost_receipt, d.lost_delegation, d.lost_snapshot, d.agent_version"
    };
}

const SELECT: &str = concat!(
    "SELECT ",
    activation_columns!(),
    " FROM activations a JOIN devices d ON d.id = a.device"
);

fn row(r: &Row) -> Result<ActivationRow> {
    Ok(ActivationRow {
        id: r.get(0)?,
        device: r.get(1)?,
        epoch: r.get(2)?,
        account: r.get::<Option<i64>>(3)?.map(AccountId),
        phase: r.word(4)?,
        revoked: r.word_or_null(5)?,
        code: r.get(6)?,
        pictogram: r.get(7)?,
        created: r.get(8)?,
        approved: r.get(9)?,
        name: r.get(10)?,
        remember: r.get(11)?,
        policy: r.get(12)?,
        series: r.get(13)?,
        generation: r.get(14)?,
        leased: r.get(15)?,
        chain_gap: r.get(16)?,
        wiped: r.get(17)?,
        model: r.get(18)?,
        kind: r.word(19)?,
        last_seen: r.get(20)?,
        last_address: r.get(21)?,
        losses: losses(r, 22)?,
        agent_version: r.get(26)?,
    })
}

fn find(tx: &mut Tx<'_>, id: &[u8; 16]) -> Result<Option<ActivationRow>> {
    let sql = concat!(
        "SELECT ",
        activation_columns!(),
        " FROM activations a JOIN devices d ON d.id = a.device WHERE a.id = ?1"
    );
    tx.first(sql, values![id], row)
}

pub(super) fn get(tx: &mut Tx<'_>, id: &[u8; 16]) -> Result<ActivationRow> {
    find(tx, id)?.ok_or(Error::NotFound)
}
