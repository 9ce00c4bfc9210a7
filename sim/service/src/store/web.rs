//! Browser sessions, remembered computers, failed attempts.

use super::sql::values;
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
    /// The token just before, shortly after it was replaced: an answer was
    /// lost or two pages were loaded at once. Good, nothing was replaced.
    Late(AccountId),
    /// A replaced token of a series in force, so a copy of it exists. The series
    /// is deleted.
    Stolen(AccountId),
    /// Unknown.
    Unknown,
}

/// How long the token just before is still honoured, in seconds.
const GRACE_S: u64 = 60;

impl Store {
    /// Adds a session.
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
            Ok(())
        })
    }

    /// The session of this id, if it was used within the last `idle` seconds.
    /// `by_hand`: a person asks, not a page by itself, so it counts as use.
    pub fn session(
        &self,
        id: &[u8; 32],
        now: u64,
        idle: u64,
        by_hand: bool,
    ) -> Result<Option<SessionRow>> {
        self.write(|tx| {
            // The seen time stays where a page asked by itself.
            let sql = "UPDATE sessions SET seen = CASE WHEN ?4 = 1 THEN ?2 ELSE seen END \
                       WHERE id = ?1 AND seen + ?3 >= ?2 RETURNING account, csrf, computer";
            tx.first(sql, values![id, now, idle, by_hand], |r| {
                Ok(SessionRow {
                    account: AccountId(r.get(0)?),
                    csrf: r.get(1)?,
                    computer: r.get(2)?,
                })
            })
        })
    }

    /// Ends a session and forgets the computer behind it.
    pub fn end_session(&self, id: &[u8; 32]) -> Result<()> {
        self.write(|tx| {
            let sql = "DELETE FROM computers WHERE series = \
                       (SELECT computer FROM sessions WHERE id = ?1)";
            tx.execute(sql, values![id])?;
            tx.execute("DELETE FROM sessions WHERE id = ?1", values![id])?;
            Ok(())
        })
    }

    /// Remembers a computer.
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

    /// Seconds to wait before `scope` may try again; 0 for none.
    pub fn must_wait(&self, scope: &[u8; 32], now: u64) -> Result<u64> {
        let sql = "SELECT until FROM attempts WHERE scope = ?1";
        let until: Option<u64> = self.read(|tx| tx.first(sql, values![scope], |r| r.get(0)))?;
        Ok(until.unwrap_or(0).saturating_sub(now))
    }

    /// Notes a failed attempt. After `free` failures the wait doubles from 2 s
    /// up to 15 minutes; an hour without failures starts over.
    pub fn failed_attempt(&self, scope: &[u8; 32], free: u32, now: u64) -> Result<()> {
        self.write(|tx| {
            let sql = "INSERT INTO attempts VALUES (?1, 1, ?2) ON CONFLICT (scope) DO UPDATE SET \
                       failures = CASE WHEN attempts.until + 3600 < ?2 THEN 1 \
                       ELSE attempts.failures + 1 END, \
                       until = CASE WHEN attempts.until < ?2 THEN ?2 ELSE attempts.until END \
                       RETURNING failures";
            let failures: u32 = tx.one(sql, values![scope, now], |r| r.get(0))?;
            if failures >= free {
                let wait = (2u64 << (failures - free).min(16)).min(15 * 60);
                let sql = "UPDATE attempts SET until = ?1 WHERE scope = ?2";
                tx.execute(sql, values![now + wait, scope])?;
            }
            Ok(())
        })
    }

    /// Forgets failed attempts.
    pub fn clear_attempts(&self, scope: &[u8; 32]) -> Result<()> {
        self.write(|tx| {
            tx.execute("DELETE FROM attempts WHERE scope = ?1", values![scope])?;
            Ok(())
        })
    }
}
