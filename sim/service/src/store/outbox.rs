//! The outbox: messages for a broker or a receiver, each written in the
//! transaction that it reports and deleted when the other side has taken it.
//! So no message is lost, none reports a change that was rolled back, and one
//! may be delivered twice (transactional outbox, at least once).

use super::sql::{Lock, Tx, values};
use super::{Announcement, OrderState, Store};
use crate::error::Result;
use nrd_agent::wire::OrderKind;

/// Which outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outbox {
    /// Orders, for a broker.
    Orders,
    /// Security events, for a receiver.
    Events,
}

impl Outbox {
    fn kind(self) -> &'static str {
        match self {
            Outbox::Orders => "order",
            Outbox::Events => "event",
        }
    }

    fn switch(self) -> &'static str {
        match self {
            Outbox::Orders => "order_outbox",
            Outbox::Events => "event_outbox",
        }
    }
}

/// A message that is due.
#[derive(Debug, Clone)]
pub struct OutboxMessage {
    /// Its number.
    pub id: i64,
    /// The device, or the kind of event.
    pub topic: String,
    /// The message itself.
    pub body: Vec<u8>,
    /// How often it was tried, this time included.
    pub tries: u32,
}

impl Store {
    /// Says whether anything is put into an outbox from now on, at every
    /// process on this database. Switching off deletes the messages in it.
    pub fn use_outbox(&self, which: Outbox, on: bool) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) \
                 ON CONFLICT (key) DO UPDATE SET value = ?2",
                values![which.switch(), on],
            )?;
            if !on {
                tx.execute("DELETE FROM outbox WHERE kind = ?1", values![which.kind()])?;
            }
            Ok(())
        })
    }

    /// Takes up to `limit` of what is due for `lease_s` seconds: until then no
    /// other process takes it. Oldest first.
    pub fn take_due(
        &self,
        which: Outbox,
        now: u64,
        lease_s: u64,
        limit: u32,
    ) -> Result<Vec<OutboxMessage>> {
        self.write(|tx| {
            // One taker at a time; the hand-over itself happens without a lock.
            let sql = "SELECT value FROM meta WHERE key = ?1";
            tx.hold(Lock::Update, sql, values![which.switch()])?;
            let sql = "UPDATE outbox SET due = ?2, tries = tries + 1 WHERE id IN \
                       (SELECT id FROM outbox WHERE kind = ?1 AND due <= ?3 ORDER BY id LIMIT ?4) \
                       RETURNING id, topic, body, tries";
            let until = now.saturating_add(lease_s);
            let mut due = tx.all(sql, values![which.kind(), until, now, limit], |r| {
                Ok(OutboxMessage {
                    id: r.get(0)?,
                    topic: r.get(1)?,
                    body: r.get(2)?,
                    tries: r.get(3)?,
                })
            })?;
            due.sort_by_key(|d| d.id);
            Ok(due)
        })
    }

    /// It was taken: it is gone.
    pub fn handed_over(&self, id: i64) -> Result<()> {
        self.write(|tx| {
            tx.execute("DELETE FROM outbox WHERE id = ?1", values![id])?;
            Ok(())
        })
    }

    /// It was not taken: it is due again at `due`, Unix seconds.
    pub fn try_again(&self, id: i64, due: u64) -> Result<()> {
        self.write(|tx| {
            tx.execute("UPDATE outbox SET due = ?2 WHERE id = ?1", values![id, due])?;
            Ok(())
        })
    }

    /// How much waits in an outbox, and since when (Unix seconds).
    pub fn backlog(&self, which: Outbox) -> Result<(u64, Option<u64>)> {
        let sql = "SELECT count(*), min(created) FROM outbox WHERE kind = ?1";
        self.read(|tx| tx.one(sql, values![which.kind()], |r| Ok((r.get(0)?, r.get(1)?))))
    }

    /// How many orders there are of each kind and state.
    pub fn orders_by_state(&self) -> Result<Vec<(OrderKind, OrderState, u64)>> {
        let sql = "SELECT kind, coalesce(outcome, 'waiting'), count(*) FROM orders \
                   GROUP BY kind, coalesce(outcome, 'waiting') ORDER BY 1, 2";
        self.read(|tx| tx.all(sql, &[], |r| Ok((r.word(0)?, r.word(1)?, r.get(2)?))))
    }
}

/// Puts something in, if that outbox is in use.
pub(super) fn put(
    tx: &mut Tx<'_>,
    which: Outbox,
    topic: &str,
    body: &[u8],
    now: u64,
) -> Result<()> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    let on: Option<bool> = tx.first(sql, values![which.switch()], |r| r.get(0))?;
    if on == Some(true) {
        tx.execute(
            "INSERT INTO outbox (kind, topic, body, created, due) VALUES (?1, ?2, ?3, ?4, ?4)",
            values![which.kind(), topic, body, now],
        )?;
        tx.announce(Announcement::Outbox)?;
    }
    Ok(())
}
