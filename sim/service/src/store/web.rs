//! Browser sessions, remembered computers, failed attempts.

use super::sql::{Tx, values};
use super::{AccountId, Store};
use crate::error::Result;

/// A signed-in browser.
pub struct SessionRow {
    /// Whose.
    pub account: AccountId,
    /// The token that its forms carry.
    pub csrf: String,
    /// The remembered computer behind it, if the box was ticked.
    pub computer: Option<Vec<u8>>,
}

/// A computer that remembers its account holder.
pub struct ComputerRow {
    /// Its series, which names it.
    pub series: Vec<u8>,
    /// Browser and system, in words.
    pub browser: String,
    /// When the box was ticked, Unix seconds.
    pub created: u64,
    /// When it was last seen, Unix seconds.
    pub seen: u64,
}

/// What a remembered computer's cookie turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// Good: the successor is in force now.
    Good(AccountId),
    /// The token just before, whose successor nobody has used yet: an answer was
    /// lost or two pages were loaded at once. Good, nothing was replaced.
    Late(AccountId),
    /// A replaced token of a series in force, so a copy of it exists. The series
    /// is deleted.
    Stolen(AccountId),
    /// Unknown.
    Unknown,
}

/// How long the token just before is still honoured while its successor is
/// unused, in seconds.
const GRACE_S: u64 = 30 * 86_400;
/// How long a computer is remembered, however often it is used, in seconds.
pub(super) const REMEMBER_S: u64 = 90 * 86_400;
/// Sessions of one account, and computers that remember it: the newest stay.
const OF_ACCOUNT: u32 = 100;

impl Store {
    /// Adds a session. The oldest ends where the account has too many.
    pub fn add_session(
        &self,
        id: &[u8; 32],
        account: AccountId,
        csrf: &str,
        computer: Option<&[u8]>,
        now: u64,
    ) -> Result<()> {
        self.write(|tx| {
            let sql = "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
            tx.execute(sql, values![id, account.0, csrf, now, computer])?;
            let sql = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions \
                       WHERE account = ?1 ORDER BY created DESC, id LIMIT 1000 OFFSET ?2)";
            tx.execute(sql, values![account.0, OF_ACCOUNT])?;
            Ok(())
        })
    }

    /// The session of this id, if it was used within the last `idle` seconds and
    /// began within the last `longest`.
    /// `by_hand`: a person asks, not a page by itself, so it counts as use.
    pub fn session(
        &self,
        id: &[u8; 32],
        now: u64,
        idle: u64,
        longest: u64,
        by_hand: bool,
    ) -> Result<Option<SessionRow>> {
        self.write(|tx| {
            // The seen time stays where a page asked by itself.
            let sql = "UPDATE sessions SET seen = CASE WHEN ?4 = 1 THEN ?2 ELSE seen END \
                       WHERE id = ?1 AND seen + ?3 >= ?2 AND created + ?5 >= ?2 \
                       RETURNING account, csrf, computer";
            tx.first(sql, values![id, now, idle, by_hand, longest], |r| {
                Ok(SessionRow {
                    account: AccountId(r.get(0)?),
                    csrf: r.get(1)?,
                    computer: r.get(2)?,
                })
            })
        })
    }

    /// Whether a session is still good; asking is no use of it.
    pub fn session_lasts(&self, id: &[u8; 32], now: u64, idle: u64, longest: u64) -> Result<bool> {
        let sql = "SELECT count(*) FROM sessions WHERE id = ?1 AND seen + ?3 >= ?2 \
                   AND created + ?4 >= ?2";
        let values = values![id, now, idle, longest];
        self.read(|tx| tx.one(sql, values, |r| Ok(r.get::<u32>(0)? == 1)))
    }

    /// Ends a session and forgets the computer behind it. Returns whose it was.
    pub fn end_session(&self, id: &[u8; 32]) -> Result<Option<AccountId>> {
        self.write(|tx| {
            let sql = "DELETE FROM computers WHERE series = \
                       (SELECT computer FROM sessions WHERE id = ?1)";
            tx.execute(sql, values![id])?;
            let sql = "DELETE FROM sessions WHERE id = ?1 RETURNING account";
            tx.first(sql, values![id], |r| Ok(AccountId(r.get(0)?)))
        })
    }

    /// Remembers a computer. The oldest is forgotten where the account has too many.
    pub fn add_computer(
        &self,
        series: &[u8; 16],
        account: AccountId,
        token: &[u8; 32],
        browser: &str,
        now: u64,
    ) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO computers VALUES (?1, ?2, ?3, NULL, ?5, ?4, ?5, ?5)",
                values![series, account.0, token, browser, now],
            )?;
            let sql = "DELETE FROM computers WHERE series IN (SELECT series FROM computers \
                       WHERE account = ?1 ORDER BY created DESC, series LIMIT 1000 OFFSET ?2)";
            tx.execute(sql, values![account.0, OF_ACCOUNT])?;
            Ok(())
        })
    }

    /// Takes a computer's token and puts `next` in its place. Two at once
    /// cannot both win: it is one conditional update.
    pub fn recall(
        &self,
        series: &[u8; 16],
        token: &[u8; 32],
        next: &[u8; 32],
        now: u64,
    ) -> Result<Recall> {
        self.write(|tx| {
            let sql = "DELETE FROM computers WHERE series = ?1 AND created + ?2 < ?3";
            if tx.execute(sql, values![series, REMEMBER_S, now])? == 1 {
                return Ok(Recall::Unknown);
            }
            let sql = "UPDATE computers SET token = ?3, previous = ?2, rotated = ?4, seen = ?4 \
                       WHERE series = ?1 AND token = ?2 RETURNING account";
            let account = |r: &super::sql::Row| Ok(AccountId(r.get(0)?));
            if let Some(a) = tx.first(sql, values![series, token, next, now], account)? {
                return Ok(Recall::Good(a));
            }
            let sql = "SELECT account FROM computers WHERE series = ?1 AND previous = ?2 \
                       AND rotated + ?3 >= ?4";
            if let Some(a) = tx.first(sql, values![series, token, GRACE_S, now], account)? {
                return Ok(Recall::Late(a));
            }
            let sql = "DELETE FROM computers WHERE series = ?1 RETURNING account";
            let Some(a) = tx.first(sql, values![series], account)? else {
                return Ok(Recall::Unknown);
            };
            tx.execute("DELETE FROM sessions WHERE computer = ?1", values![series])?;
            Ok(Recall::Stolen(a))
        })
    }

    /// The account's remembered computers, newest first.
    pub fn computers(&self, account: AccountId) -> Result<Vec<ComputerRow>> {
        let sql = "SELECT series, browser, created, seen FROM computers WHERE account = ?1 \
                   ORDER BY created DESC, series";
        self.read(|tx| {
            tx.all(sql, values![account.0], |r| {
                Ok(ComputerRow {
                    series: r.get(0)?,
                    browser: r.get(1)?,
                    created: r.get(2)?,
                    seen: r.get(3)?,
                })
            })
        })
    }

    /// Forgets a computer and signs its browser out; returns what it was.
    pub fn remove_computer(&self, account: AccountId, series: &[u8]) -> Result<String> {
        self.write(|tx| {
            let sql = "DELETE FROM computers WHERE series = ?1 AND account = ?2 RETURNING browser";
            let browser = tx.one(sql, values![series, account.0], |r| r.get(0))?;
            tx.execute("DELETE FROM sessions WHERE computer = ?1", values![series])?;
            Ok(browser)
        })
    }

    /// Reserves one try in every scope, before it is made: so many tries at once,
    /// at whatever process, count like as many in a row. `Err` with the seconds to
    /// wait where one of them must wait; then none was reserved.
    ///
    /// After `free` tries that were not given back the wait doubles from 2 s up to
    /// `longest_s`; an hour without any starts over.
    pub fn reserve_try(
        &self,
        scopes: &[Throttle],
        now: u64,
    ) -> Result<std::result::Result<(), u64>> {
        self.write(|tx| {
            for (n, t) in scopes.iter().enumerate() {
                let wait = reserve(tx, t, now)?;
                if wait > 0 {
                    for before in &scopes[..n] {
                        give_back(tx, before, now)?;
                    }
                    return Ok(Err(wait));
                }
            }
            Ok(Ok(()))
        })
    }

    /// The reserved try was a good one: it does not count. Those before it do.
    pub fn give_try_back(&self, scopes: &[Throttle], now: u64) -> Result<()> {
        self.write(|tx| scopes.iter().try_for_each(|t| give_back(tx, t, now)))
    }
}

/// A scope in which tries are counted.
#[derive(Debug, Clone)]
pub struct Throttle {
    /// Its name, a keyed digest.
    pub scope: [u8; 32],
    /// Tries without a wait.
    pub free: u32,
    /// The longest wait, in seconds.
    pub longest_s: u64,
}

impl Throttle {
    /// How long to wait after this many tries, in seconds.
    fn wait_after(&self, tries: u32) -> u64 {
        match tries.checked_sub(self.free) {
            Some(over) => (2u64 << over.min(16)).min(self.longest_s),
            None => 0,
        }
    }
}

/// One conditional update holds the scope's row until the transaction ends.
fn reserve(tx: &mut Tx<'_>, t: &Throttle, now: u64) -> Result<u64> {
    let sql = "INSERT INTO attempts VALUES (?1, 1, ?2) ON CONFLICT (scope) DO UPDATE SET \
               failures = CASE WHEN attempts.until + 3600 < ?2 THEN 1 \
               ELSE attempts.failures + 1 END, until = ?2 \
               WHERE attempts.until <= ?2 RETURNING failures";
    let tries: Option<u32> = tx.first(sql, values![&t.scope, now], |r| r.get(0))?;
    let Some(tries) = tries else {
        let sql = "SELECT until FROM attempts WHERE scope = ?1";
        let until: u64 = tx.one(sql, values![&t.scope], |r| r.get(0))?;
        return Ok(until.saturating_sub(now).max(1));
    };
    let sql = "UPDATE attempts SET until = ?2 WHERE scope = ?1";
    tx.execute(sql, values![&t.scope, now + t.wait_after(tries)])?;
    Ok(0)
}

/// A wait that this try began ends with it; there is no other, because nobody
/// tries during a wait.
fn give_back(tx: &mut Tx<'_>, t: &Throttle, now: u64) -> Result<()> {
    let sql = "UPDATE attempts SET until = ?2, failures = failures - 1 \
               WHERE scope = ?1 AND failures > 0";
    tx.execute(sql, values![&t.scope, now])?;
    Ok(())
}
