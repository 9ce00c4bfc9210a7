//! Revocations that must outlive the database: written to a log before the
//! database is asked, and replayed over it.
//!
//! The database keeps how much of each process's log it has (`revocation_logs`).
//! That mark is written in or after the transaction that applies the lines, and it
//! is restored with the database: an older copy has an older mark, and what came
//! behind it is applied again. A mark that does not fit the file counts for nothing.
//!
//! A database that others use as well also keeps which database it is. Where that
//! is another one than it says, it is a copy that was brought back, or a stand-by
//! that took over: then every log is missing until its process has replayed it, or
//! an operator has said that it is gone. Meanwhile no token is renewed, because
//! whose it is may have been removed at a process that is not up yet.

use super::revocation_log::{Mark, Revocations};
use super::sql::{Tx, Value, values};
use super::{Announcement, AuditRow, RevocationReason, Store, audit};
use crate::audit::OperationKind;
use crate::error::Result;
use nrd_sim_base::hex;
use prometheus_client::metrics::counter::Counter;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// Activations in one statement.
const BATCH: usize = 8000;

/// A process's revocation log, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLog {
    /// Its name.
    pub name: [u8; 16],
    /// When it was replayed last, Unix seconds.
    pub seen: u64,
    /// The database was restored, and it has not been replayed since.
    pub missing: bool,
}

/// What a replay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Lines that were read.
    pub lines: u64,
    /// Statements that applied them.
    pub statements: u64,
}

impl Store {
    /// Notes a revocation outside the database; on disk when this returns.
    pub(super) fn log_revocation(
        &self,
        activation: &[u8; 16],
        why: RevocationReason,
        now: u64,
    ) -> Result<()> {
        match &self.revocations {
            Some(log) => self.counted(log.add(activation, why, now)),
            None => Ok(()),
        }
    }

    /// Revokes every activation that the log names and the database does not
    /// know as revoked.
    ///
    /// # Errors
    /// The file or the database cannot be read at all. A line that makes no
    /// sense is no error: it is left out, and told.
    pub fn replay(&self) -> Result<Replayed> {
        let Some(log) = &self.revocations else {
            return Ok(Replayed::default());
        };
        self.notice_restore()?;
        let known = self.read(|tx| mark(tx, &log.name))?;
        let mut revoked: Vec<(RevocationReason, Vec<[u8; 16]>)> = Vec::new();
        let mut unreadable = 0u64;
        let mut done = Replayed::default();
        let read = log.lines_after(known, |line| {
            done.lines += 1;
            match line {
                Ok(line) => match revoked.iter_mut().find(|(why, _)| *why == line.why) {
                    Some((_, ids)) => ids.push(line.activation),
                    None => revoked.push((line.why, vec![line.activation])),
                },
                Err(_) => unreadable += 1,
            }
            Ok(())
        })?;
        for (why, ids) in &revoked {
            done.statements += self.revoke(*why, ids)?;
        }
        if unreadable > 0 {
            log.unreadable.inc_by(unreadable);
            tracing::error!(
                lines = unreadable,
                file = %log.path.display(),
                "lines of the revocation log were not understood and left out; the others are applied"
            );
        }
        self.keep_mark(log, &read)?;
        self.look_for_missing_logs()?;
        Ok(done)
    }

    /// Returns how many statements it took.
    fn revoke(&self, why: RevocationReason, ids: &[[u8; 16]]) -> Result<u64> {
        // Where others use the database, a removal waits for one statement at most.
        // Where they do not, one transaction writes each page once: a third of the
        // time.
        let at_once = if self.db.shared() { BATCH } else { usize::MAX };
        for ids in ids.chunks(at_once) {
            self.write(|tx| ids.chunks(BATCH).try_for_each(|ids| revoke(tx, why, ids)))?;
        }
        Ok(ids.len().div_ceil(BATCH) as u64)
    }

    fn keep_mark(&self, log: &Revocations, read: &Mark) -> Result<()> {
        self.write(|tx| {
            let sql = "SELECT count(*) FROM revocation_logs WHERE name = ?1 AND missing = 1";
            let was_missing: bool = tx.one(sql, values![&log.name], |r| r.get(0))?;
            tx.execute(
                "INSERT INTO revocation_logs (name, bytes, digest, seen) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (name) DO UPDATE SET bytes = ?2, digest = ?3, seen = ?4, missing = 0",
                values![&log.name, read.bytes, &read.digest, now_s()],
            )?;
            if was_missing {
                tx.announce(Announcement::Logs)?;
            }
            Ok(())
        })
    }

    /// Finds out whether this is another database than it was at the last replay,
    /// whoever did that. Then every log is missing.
    fn notice_restore(&self) -> Result<()> {
        let restored = self.write(|tx| {
            let Some(is) = tx.0.identity()? else {
                return Ok(false);
            };
            let sql = "SELECT value FROM meta WHERE key = 'identity'";
            let was: Option<i64> = tx.first(sql, &[], |r| r.get(0))?;
            if was == Some(is) {
                return Ok(false);
            }
            tx.execute(
                "INSERT INTO meta (key, value) VALUES ('identity', ?1) \
                 ON CONFLICT (key) DO UPDATE SET value = ?1",
                values![is],
            )?;
            if was.is_none() {
                return Ok(false);
            }
            call_every_log_missing(tx)?;
            Ok(true)
        })?;
        if restored {
            tracing::warn!(
                "the database was restored, or another server took over: each process replays its revocation log, and no token is renewed until all have"
            );
        }
        Ok(())
    }

    /// An operator says that the database was brought back in a way that it cannot
    /// see itself, such as a snapshot of its disk.
    pub fn say_restored(&self) -> Result<()> {
        self.write(call_every_log_missing)
    }

    /// Every log that the database knows, by the time of its last replay.
    pub fn known_logs(&self) -> Result<Vec<KnownLog>> {
        let sql = "SELECT name, seen, missing FROM revocation_logs ORDER BY seen, name";
        self.read(|tx| {
            tx.all(sql, &[], |r| {
                Ok(KnownLog {
                    name: r.get(0)?,
                    seen: r.get(1)?,
                    missing: r.get(2)?,
                })
            })
        })
    }

    /// An operator says that a log will not come any more. False where there is none
    /// of that name.
    pub fn forget_log(&self, name: &[u8; 16]) -> Result<bool> {
        self.write(|tx| {
            let sql = "DELETE FROM revocation_logs WHERE name = ?1";
            let gone = tx.execute(sql, values![name])? == 1;
            audit::insert(tx, &AuditRow::new(now_s(), OperationKind::LogForgotten))?;
            tx.announce(Announcement::Logs)?;
            Ok(gone)
        })
    }

    /// Looks whether the database misses a log. True where it is this process's
    /// own, which must be replayed then.
    pub(crate) fn look_for_missing_logs(&self) -> Result<bool> {
        let logs = self.known_logs()?;
        let missing: Vec<[u8; 16]> = logs.iter().filter(|l| l.missing).map(|l| l.name).collect();
        let before = self
            .logs_missing
            .swap(missing.len() as u64, Ordering::SeqCst);
        if !missing.is_empty() {
            let names: Vec<String> = missing.iter().map(|name| hex(name)).collect();
            tracing::error!(
                logs = names.join(" "),
                "revocation logs of a restored database were not replayed yet, and no token is renewed: start the processes that have them"
            );
        } else if before > 0 {
            tracing::info!("every revocation log was replayed; tokens are renewed again");
        }
        let own = self.revocations.as_ref().map(|log| log.name);
        Ok(own.is_some_and(|own| missing.contains(&own)))
    }

    /// How many logs of a restored database were not replayed yet. Until all were,
    /// an activation that reads as good may have been removed.
    pub fn missing_logs(&self) -> u64 {
        self.logs_missing.load(Ordering::SeqCst)
    }

    /// Shortens the revocation log. Returns how many lines went.
    ///
    /// # Errors
    /// The log stays as it was; or it is shorter, and the next start replays it
    /// wholly.
    pub fn shorten_revocations(&self, now: u64) -> Result<u64> {
        let Some(log) = &self.revocations else {
            return Ok(0);
        };
        let gone = self.counted(log.shorten(now))?;
        if gone > 0 {
            // The mark fits no more: this puts a new one.
            self.replay()?;
        }
        Ok(gone)
    }

    /// Lines of the log that were not understood since the start.
    pub(crate) fn unreadable_revocations(&self) -> Counter {
        self.revocations
            .as_ref()
            .map(|log| log.unreadable.clone())
            .unwrap_or_default()
    }
}

/// As many in the other text, for a log that grew by a few lines.
const FEW: usize = 100;

fn revoke(tx: &mut Tx<'_>, why: RevocationReason, ids: &[[u8; 16]]) -> Result<()> {
    let Some(last) = ids.last() else {
        return Ok(());
    };
    // Two texts in all, however full a batch is: the rest repeats the last.
    let size = if ids.len() > FEW { BATCH } else { FEW };
    let places: Vec<String> = (2..size + 2).map(|n| format!("?{n}")).collect();
    let sql = format!(
        "UPDATE activations SET revoked = ?1 WHERE revoked IS NULL AND id IN ({})",
        places.join(", ")
    );
    let mut values = values![why.name()].to_vec();
    values.extend((0..size).map(|n| Value::from(ids.get(n).unwrap_or(last))));
    tx.execute(&sql, &values).map(drop)
}

fn call_every_log_missing(tx: &mut Tx<'_>) -> Result<()> {
    tx.execute("UPDATE revocation_logs SET missing = 1", &[])?;
    audit::insert(tx, &AuditRow::new(now_s(), OperationKind::Restored))?;
    tx.announce(Announcement::Logs)
}

fn mark(tx: &mut Tx<'_>, name: &[u8; 16]) -> Result<Option<Mark>> {
    let sql = "SELECT bytes, digest FROM revocation_logs WHERE name = ?1";
    tx.first(sql, values![name], |r| {
        Ok(Mark {
            bytes: r.get(0)?,
            digest: r.get(1)?,
        })
    })
}

/// For people: nothing is decided by it.
pub(super) fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}
