//! Check-ins, the most frequent request: one statement that reads; one that
//! writes where there is something to write.

use super::devices::device;
use super::fresh::take_challenge;
use super::sql::{Row, Tx, values};
use super::{
    AccountId, ActivationPhase, DeviceRow, Fresh, OrderRow, RevocationReason, Store, devices,
};
use crate::error::Result;
use nrd_agent::wire::TrustVersion;

/// Everything that the answer to a check-in depends on.
pub struct CheckInContext {
    /// The device.
    pub device: DeviceRow,
    /// The challenge in its row.
    pub challenge: Option<[u8; 32]>,
    /// When its row says that it was last heard, Unix seconds.
    pub seen: u64,
    /// The activation it names, if it is this device's.
    pub activation: Option<CheckInActivation>,
    /// The order that it should hear next.
    pub order: Option<OrderRow>,
    /// The policy version in force.
    pub policy: u32,
    /// Version of the delegation in force.
    pub trust: TrustVersion,
}

/// What a check-in needs to know of an activation. It is read at each: a column
/// more is felt.
pub struct CheckInActivation {
    /// Its id.
    pub id: [u8; 16],
    /// The device's epoch.
    pub epoch: u64,
    /// Whose.
    pub account: Option<AccountId>,
    /// Where it is in its life.
    pub phase: ActivationPhase,
    /// Why its access is over.
    pub revoked: Option<RevocationReason>,
    /// The policy version that was agreed to.
    pub policy: u32,
    /// Its tokens are derived from it.
    pub series: [u8; 16],
    /// The newest token generation that was used.
    pub generation: u32,
}

/// A check-in whose signature is good.
pub struct CheckIn<'a> {
    /// Its challenge, and what it states of the device.
    pub fresh: Fresh<'a>,
    /// The token that it proved, where using it changes something.
    pub token: Option<TokenUse<'a>>,
}

/// A token that was proven.
pub struct TokenUse<'a> {
    /// Whose.
    pub activation: &'a [u8; 16],
    /// Its generation.
    pub generation: u32,
    /// A lease is given now, Unix seconds.
    pub leased: Option<u64>,
}

/// What became of a check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedIn {
    /// Another challenge is in force: this one.
    Stale([u8; 32]),
    /// The challenge was good, and no token was to be used.
    Noted,
    /// The challenge was good; this became of the token.
    Token(Used),
}

/// What a presented token generation turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// In force.
    Good,
    /// Older than one that was used, so a copy of the token exists.
    Theft,
    /// The activation is over.
    Over,
}

impl Store {
    /// Everything that a check-in of `device` for `activation` needs to know.
    pub fn check_in_context(
        &self,
        device_id: &str,
        activation: &[u8; 16],
    ) -> Result<Option<CheckInContext>> {
        const SQL: &str = "SELECT d.id, d.public_key, d.model, d.kind, d.agent_version, \
             d.lost_session, d.lost_receipt, d.lost_delegation, d.lost_snapshot, \
             d.challenge, d.last_seen, \
             (SELECT value FROM meta WHERE key = 'policy_version'), \
             (SELECT root * 4294967296 + number FROM delegations ORDER BY version DESC LIMIT 1), \
             (SELECT count(*) FROM orders WHERE activation = ?2 AND outcome IS NULL), \
             a.series, a.epoch, a.account, a.phase, a.revoked, a.policy, a.generation \
             FROM devices d LEFT JOIN activations a ON a.id = ?2 AND a.device = d.id \
             WHERE d.id = ?1";
        self.read(|tx| {
            let values = values![device_id, activation];
            let found = tx.first(SQL, values, |r: &Row| {
                let trust: u64 = r.get::<Option<u64>>(12)?.unwrap_or_default();
                let known = CheckInContext {
                    device: device(r)?,
                    challenge: r.get(9)?,
                    seen: r.get(10)?,
                    policy: r.get(11)?,
                    trust: TrustVersion {
                        root: (trust >> 32) as u32,
                        delegation: trust as u32,
                    },
                    order: None,
                    activation: match r.get::<Option<[u8; 16]>>(14)? {
                        Some(series) => Some(CheckInActivation {
                            id: *activation,
                            series,
                            epoch: r.get(15)?,
                            account: r.get::<Option<i64>>(16)?.map(AccountId),
                            phase: r.word(17)?,
                            revoked: r.word_or_null(18)?,
                            policy: r.get(19)?,
                            generation: r.get(20)?,
                        }),
                        None => None,
                    },
                };
                Ok((known, r.get::<u32>(13)?))
            })?;
            let Some((mut known, orders)) = found else {
                return Ok(None);
            };
            if orders > 0 {
                known.order = super::orders::next(tx, activation)?;
            }
            Ok(Some(known))
        })
    }

    /// Consumes the challenge and uses the token, if one is to be used: both or
    /// neither.
    pub fn check_in(&self, c: &CheckIn<'_>) -> Result<CheckedIn> {
        self.write(|tx| {
            let taken = take_challenge(tx, &c.fresh)?;
            match (taken, &c.token) {
                (Err(current), _) => Ok(CheckedIn::Stale(current)),
                (Ok(()), None) => Ok(CheckedIn::Noted),
                (Ok(()), Some(token)) => Ok(CheckedIn::Token(use_token(tx, token)?)),
            }
        })
    }
}

/// One conditional update: a removal that came first wins.
fn use_token(tx: &mut Tx<'_>, t: &TokenUse<'_>) -> Result<Used> {
    let sql = "UPDATE activations SET generation = ?2, phase = 'active', \
               leased = coalesce(?3, leased) WHERE id = ?1 AND revoked IS NULL \
               AND phase IN ('approved', 'active') AND generation <= ?2";
    if tx.execute(sql, values![t.activation, t.generation, t.leased])? == 1 {
        // A device that signed out and in again is on the list once. What was
        // ordered of the activation before has nothing left to destroy, and no
        // receipt will tell of it.
        tx.execute(
            "UPDATE activations SET phase = 'ended', revoked = 'superseded' WHERE id <> ?1 \
             AND device = (SELECT device FROM activations WHERE id = ?1) \
             AND (phase IN ('approved', 'active', 'signed-out') \
             OR (phase IN ('removing', 'delivered') \
             AND epoch = (SELECT epoch FROM activations WHERE id = ?1)))",
            values![t.activation],
        )?;
        return Ok(Used::Good);
    }
    let row = devices::get(tx, t.activation)?;
    let over = row.revoked.is_some()
        || !matches!(
            row.phase,
            ActivationPhase::Approved | ActivationPhase::Active
        );
    Ok(if over { Used::Over } else { Used::Theft })
}
