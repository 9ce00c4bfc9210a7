//! Deletes what would grow for ever: by age, by device and by account.
//!
//! A few rows a transaction, so that nobody waits for the deletion of a million.

use super::Store;
use super::sql::{Value, values};
use super::web::REMEMBER_S;
use crate::error::Result;

const DAY_S: u64 = 86_400;
/// Whatever proves or tells something is kept this long after it is over.
const KEPT_S: u64 = 400 * DAY_S;
/// Attempts to activate that nobody consented to, after this long. Until then their
/// codes are given to no other device.
const ATTEMPT_S: u64 = DAY_S;
/// Entries in the security activity of one account.
const EVENTS_OF_ACCOUNT: u32 = 5000;
/// Rows of one transaction.
const BATCH: u64 = 500;

/// Deletes up to [`BATCH`] rows: one statement, whose last parameter is their number.
struct Rule<'v> {
    what: &'static str,
    sql: &'static str,
    values: &'v [Value<'v>],
}

impl Store {
    /// Deletes what is over and old. `idle` and `longest`: when sessions end.
    pub fn purge(&self, now: u64, idle: u64, longest: u64) -> Result<()> {
        let before = |s: u64| now.saturating_sub(s);
        let rules = [
            Rule {
                what: "sessions",
                sql: "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions \
                      WHERE seen < ?1 OR created < ?2 LIMIT ?3)",
                values: values![before(idle), before(longest), BATCH],
            },
            Rule {
                what: "computers",
                sql: "DELETE FROM computers WHERE series IN (SELECT series FROM computers \
                      WHERE created < ?1 LIMIT ?2)",
                values: values![before(REMEMBER_S), BATCH],
            },
            // An hour without tries starts over.
            Rule {
                what: "tries",
                sql: "DELETE FROM attempts WHERE scope IN (SELECT scope FROM attempts \
                      WHERE until < ?1 LIMIT ?2)",
                values: values![before(3600), BATCH],
            },
            // The newest of each device stays: an epoch below it is refused.
            Rule {
                what: "attempts to activate",
                sql: "DELETE FROM activations WHERE id IN (SELECT a.id FROM activations a \
                      WHERE a.account IS NULL AND a.created < ?1 AND EXISTS \
                      (SELECT 1 FROM activations b WHERE b.device = a.device AND b.id <> a.id \
                      AND (b.epoch > a.epoch OR (b.epoch = a.epoch AND (b.created > a.created \
                      OR (b.created = a.created AND b.id > a.id))))) LIMIT ?2)",
                values: values![before(ATTEMPT_S), BATCH],
            },
            Rule {
                what: "receipts of nobody",
                sql: "DELETE FROM receipts WHERE digest IN (SELECT r.digest FROM receipts r \
                      WHERE r.received < ?1 AND NOT EXISTS (SELECT 1 FROM activations a \
                      WHERE a.id = r.activation AND a.device = r.device \
                      AND a.account IS NOT NULL) LIMIT ?2)",
                values: values![before(KEPT_S), BATCH],
            },
            Rule {
                what: "entries by age",
                sql: "DELETE FROM events WHERE id IN (SELECT id FROM events \
                      WHERE at < ?1 LIMIT ?2)",
                values: values![before(KEPT_S), BATCH],
            },
            Rule {
                what: "entries of an account",
                sql: "DELETE FROM events WHERE id IN (SELECT e.id FROM events e JOIN \
                      (SELECT account, max(id) AS newest FROM events GROUP BY account \
                      HAVING count(*) > ?1) many ON many.account = e.account \
                      WHERE (SELECT count(*) FROM events n WHERE n.account = e.account \
                      AND n.id > e.id) >= ?1 LIMIT ?2)",
                values: values![EVENTS_OF_ACCOUNT, BATCH],
            },
            // Their numbers are not given again: nothing is ordered of an activation
            // that is over, or under a key that was replaced.
            Rule {
                what: "orders",
                sql: "DELETE FROM orders WHERE digest IN (SELECT o.digest FROM orders o \
                      JOIN activations a ON a.id = o.activation \
                      WHERE o.created < ?1 AND o.outcome IS NOT NULL \
                      AND (a.phase IN ('wiped', 'wipe-failed', 'ended') \
                      OR o.key_version < (SELECT max(version) FROM delegations)) LIMIT ?2)",
                values: values![before(KEPT_S), BATCH],
            },
        ];
        for rule in rules {
            let mut deleted = 0;
            loop {
                let n = self.write(|tx| tx.execute(rule.sql, rule.values))?;
                deleted += n;
                if n < BATCH {
                    break;
                }
            }
            if deleted > 0 {
                tracing::info!(what = rule.what, deleted, "old rows were deleted");
            }
        }
        Ok(())
    }
}
