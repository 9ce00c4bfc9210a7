//! Looks at a service's database without changing it: before a start, or beside a
//! running service.

use super::migrate::SCHEMA;
use super::postgres::Postgres;
use super::revocation_log::Revocations;
use super::sql::{Database, Tx, values};
use super::sqlite::Sqlite;
use super::{DelegationRow, trust};
use crate::ServicePaths;
use crate::error::{Error, Result};

/// What was seen.
pub struct Look {
    /// Schema version of the database, and the one that this program works with.
    pub schema: (i64, i64),
    /// The database's own clock, Unix seconds, where it has one.
    pub clock_s: Option<u64>,
    /// The rest, of a database of this program's schema.
    pub content: Option<Content>,
}

/// What a database of this program's schema holds.
pub struct Content {
    /// Names and public values of the keys that it belongs to.
    pub owners: Vec<(String, [u8; 32])>,
    /// The delegation in force.
    pub delegation: Option<DelegationRow>,
    /// Public half of the newest root that followed the first.
    pub newest_root: Option<[u8; 32]>,
    /// The newest moment that this service wrote down, Unix seconds.
    pub newest_s: u64,
    /// Revocation logs that were not replayed since a restore.
    pub missing_logs: u64,
}

/// Looks at the database of `place`, and whether it can be written.
///
/// # Errors
/// It is not there, does not answer, or cannot be written.
pub fn look(place: &ServicePaths) -> Result<Look> {
    let db: Box<dyn Database> = match &place.database {
        Some(url) => Box::new(Postgres::open_as_it_is(url)?),
        None => Box::new(Sqlite::open_as_it_is(&place.dir.join("service.db"))?),
    };
    let mut out = None;
    db.write(&mut |c| {
        let mut tx = Tx(c);
        // As a readiness check does; nothing changes.
        let sql = "UPDATE meta SET value = value WHERE key = 'schema'";
        tx.execute(sql, &[])?;
        let sql = "SELECT value FROM meta WHERE key = 'schema'";
        let found: i64 = tx.one(sql, &[], |r| r.get(0))?;
        let clock_s = tx.0.clock_s()?;
        let content = if found == SCHEMA {
            Some(content(&mut tx)?)
        } else {
            None
        };
        out = Some(Look {
            schema: (found, SCHEMA),
            clock_s,
            content,
        });
        Ok(())
    })?;
    out.ok_or(Error::NotFound)
}

fn content(tx: &mut Tx<'_>) -> Result<Content> {
    let sql = "SELECT name, public FROM owners ORDER BY name";
    let owners = tx.all(sql, &[], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let sql = "SELECT public FROM roots ORDER BY version DESC LIMIT 1";
    let newest_root = tx.first(sql, &[], |r| r.get(0))?;
    let sql = "SELECT max(t) FROM (SELECT max(leased) AS t FROM activations \
               UNION ALL SELECT max(created) FROM orders \
               UNION ALL SELECT max(at) FROM audit) AS times";
    let newest: Option<u64> = tx.one(sql, &[], |r| r.get(0))?;
    let sql = "SELECT count(*) FROM revocation_logs WHERE missing = ?1";
    Ok(Content {
        owners,
        delegation: trust::newest(tx)?,
        newest_root,
        newest_s: newest.unwrap_or(0),
        missing_logs: tx.one(sql, values![true], |r| r.get(0))?,
    })
}

/// Lines of the revocation log of a folder, and those among them that are not
/// understood; `None` where there is no log.
///
/// # Errors
/// It cannot be read.
pub fn count_revocations(place: &ServicePaths) -> Result<Option<(u64, u64)>> {
    let Some(path) = Revocations::there(&place.dir) else {
        return Ok(None);
    };
    let (mut lines, mut unreadable) = (0, 0);
    Revocations::read(&path, |line| {
        lines += 1;
        unreadable += u64::from(line.is_err());
        Ok(())
    })?;
    Ok(Some((lines, unreadable)))
}
