//! Requests that are fresh: each uses its challenge up, is a sign of life, and
//! states what its device lost.

use super::sql::{Tx, values};
use super::{AccountId, EventRow, Store, events};
use crate::error::Result;
use crate::events::EventKind;
use nrd_agent::wire::Losses;

/// A request whose signature is good; its challenge decides whether it is fresh.
pub struct Fresh<'a> {
    /// The device.
    pub device: &'a str,
    /// The challenge it signed over.
    pub presented: &'a [u8; 32],
    /// The one that comes next.
    pub next: &'a [u8; 32],
    /// Now, Unix seconds.
    pub now: u64,
    /// From where, sealed.
    pub address: &'a [u8],
    /// The version of its agent.
    pub agent_version: &'a str,
    /// What the device states that it lost.
    pub losses: Losses,
    /// The entries for what it had not stated before.
    pub news: &'a [EventKind],
}

impl Store {
    /// Consumes the device's challenge and puts the next in its place. `Err`
    /// with the challenge in force when another was presented.
    pub fn take_challenge(&self, fresh: &Fresh<'_>) -> Result<std::result::Result<(), [u8; 32]>> {
        self.write(|tx| take_challenge(tx, fresh))
    }

    /// The challenge in a device's row.
    pub fn challenge(&self, device: &str) -> Result<Option<[u8; 32]>> {
        self.read(|tx| challenge(tx, device))
    }

    /// The accounts that have this device on their list and expect something of
    /// it.
    pub fn holders(&self, device: &str) -> Result<Vec<AccountId>> {
        self.read(|tx| Ok(holders(tx, device)?.into_iter().map(|(a, _)| a).collect()))
    }
}

pub(super) fn take_challenge(
    tx: &mut Tx<'_>,
    f: &Fresh<'_>,
) -> Result<std::result::Result<(), [u8; 32]>> {
    let sql = "UPDATE devices SET challenge = ?3, last_seen = ?4, last_address = ?5, \
               lost_session = ?6, lost_receipt = ?7, lost_delegation = ?8, lost_snapshot = ?9, \
               agent_version = ?10 \
               WHERE id = ?1 AND challenge = ?2";
    let Losses {
        session,
        receipt,
        delegation,
        snapshot,
    } = f.losses;
    let values = values![
        f.device,
        f.presented,
        f.next,
        f.now,
        f.address,
        session,
        receipt,
        delegation,
        snapshot,
        f.agent_version,
    ];
    if tx.execute(sql, values)? == 1 {
        for &kind in f.news {
            note_loss(tx, f, kind)?;
        }
        return Ok(Ok(()));
    }
    if let Some(current) = challenge(tx, f.device)? {
        return Ok(Err(current));
    }
    let sql = "UPDATE devices SET challenge = coalesce(challenge, ?2) WHERE id = ?1 \
               RETURNING challenge";
    Ok(Err(tx.one(sql, values![f.device, f.next], |r| r.get(0))?))
}

fn challenge(tx: &mut Tx<'_>, device: &str) -> Result<Option<[u8; 32]>> {
    let sql = "SELECT challenge FROM devices WHERE id = ?1";
    tx.one(sql, values![device], |r| r.get(0))
}

/// An entry for each account that expects something of the device.
fn note_loss(tx: &mut Tx<'_>, f: &Fresh<'_>, kind: EventKind) -> Result<()> {
    for (account, subject) in holders(tx, f.device)? {
        let event = EventRow {
            at: f.now,
            kind,
            subject,
            address: None,
            browser: None,
            activation: None,
            claims: None,
        };
        events::insert(tx, account.0, &event)?;
    }
    Ok(())
}

/// The accounts that expect something of a device, and what each calls it.
fn holders(tx: &mut Tx<'_>, device: &str) -> Result<Vec<(AccountId, String)>> {
    let sql = "SELECT a.account, coalesce(a.name, d.model) \
               FROM activations a JOIN devices d ON d.id = a.device \
               WHERE a.device = ?1 AND a.account IS NOT NULL AND a.hidden = 0 AND a.phase IN \
               ('approved', 'active', 'signed-out', 'removing', 'delivered') \
               ORDER BY a.account, a.approved DESC";
    let mut all = tx.all(sql, values![device], |r| {
        Ok((AccountId(r.get(0)?), r.get::<String>(1)?))
    })?;
    all.dedup_by_key(|(account, _)| *account);
    Ok(all)
}
