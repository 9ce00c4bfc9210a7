//! SQLite: one file, one process.
//!
//! Writers come one after the other through one connection, readers beside
//! them through others. *Commits are grouped*: each piece of work has a
//! savepoint of its own, and the last writer that is on its way commits for
//! all; each answers only after that commit. One `fsync` then carries as many
//! check-ins as came while the one before it ran.

use super::fault::{Fault, FaultKind};
use super::sql::{Cell, Connection, Database, Listener, Row, Value, Work};
use super::{migrate, private};
use crate::error::{Error, Result};
use crate::worker;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection as Handle, OpenFlags};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most pieces of work in one commit.
const GROUP: usize = 256;
/// How long another program may hold the file.
const PATIENCE: Duration = Duration::from_secs(2);

/// A database in a file, or in memory.
pub(super) struct Sqlite {
    writer: Mutex<Writer>,
    /// Writers that hold the lock or wait for it.
    pending: AtomicUsize,
    /// How the newest groups ended: number and result.
    ended: Mutex<Ended>,
    end: Condvar,
    /// Empty in memory: then readers use the writer's connection.
    readers: Vec<Mutex<Handle>>,
    next: AtomicUsize,
}

struct Writer {
    db: Handle,
    /// Number of the group under way.
    group: u64,
    /// Pieces of work in it; 0 while no transaction is open.
    size: usize,
}

#[derive(Default)]
struct Ended {
    /// The newest group that ended.
    newest: u64,
    /// Groups whose commit failed, and why; the newest few.
    failed: Vec<(u64, Fault)>,
}

impl Sqlite {
    /// Opens or makes the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Sqlite> {
        // SQLite gives what it writes beside it the same mode.
        private::make(path)?;
        private::beside(path)
            .iter()
            .try_for_each(|f| private::close(f))?;
        let db = Handle::open(path).map_err(Fault::from)?;
        db.pragma_update(None, "journal_mode", "WAL")
            .and_then(|()| db.pragma_update(None, "synchronous", "FULL"))
            .map_err(Fault::from)?;
        prepare(&db)?;
        migrate::sqlite(&db, path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = || -> Result<Mutex<Handle>> {
            let db = Handle::open_with_flags(path, flags).map_err(Fault::from)?;
            prepare(&db)?;
            db.pragma_update(None, "query_only", true)
                .map_err(Fault::from)?;
            Ok(Mutex::new(db))
        };
        let readers = (0..4).map(|_| reader()).collect::<Result<_>>()?;
        Ok(Sqlite::over(db, readers))
    }

    /// Opens the file at `path` as it is: of whatever schema, and with nothing
    /// changed.
    pub(super) fn open_as_it_is(path: &Path) -> Result<Sqlite> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Handle::open_with_flags(path, flags).map_err(Fault::from)?;
        prepare(&db)?;
        Ok(Sqlite::over(db, Vec::new()))
    }

    /// A database that lives and dies with the process.
    pub(super) fn in_memory() -> Result<Sqlite> {
        let db = Handle::open_in_memory().map_err(Fault::from)?;
        prepare(&db)?;
        migrate::sqlite(&db, Path::new(":memory:"))?;
        Ok(Sqlite::over(db, Vec::new()))
    }

    fn over(db: Handle, readers: Vec<Mutex<Handle>>) -> Sqlite {
        Sqlite {
            writer: Mutex::new(Writer {
                db,
                group: 1,
                size: 0,
            }),
            pending: AtomicUsize::new(0),
            ended: Mutex::default(),
            end: Condvar::new(),
            readers,
            next: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the group under way and wakes every writer that waits for it.
    fn finish(&self, w: &mut Writer, how: std::result::Result<(), Fault>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.newest = w.group;
        if let Err(fault) = how {
            ended.failed.push((w.group, fault));
            let old = ended.failed.len().saturating_sub(64);
            ended.failed.drain(..old);
        }
        w.group += 1;
        w.size = 0;
        self.end.notify_all();
    }

    fn wait_for(&self, group: u64) -> Result<()> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while ended.newest < group {
            ended = self.end.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
        match ended.failed.iter().find(|(g, _)| *g == group) {
            Some((_, fault)) => Err(fault.clone().into()),
            None => Ok(()),
        }
    }
}

/// Counts a writer from its decision to write until it leaves the lock, also
/// when its work panics.
struct PendingWriter<'a>(&'a Sqlite);

impl Drop for PendingWriter<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Database for Sqlite {
    fn read(&self, work: Work<'_>) -> Result<()> {
        if self.readers.is_empty() {
            return work(&mut self.lock().db);
        }
        // One that is free: a thread that lost its processor may hold another.
        let free = self.readers.iter().find_map(|r| r.try_lock().ok());
        if let Some(mut db) = free {
            return work(&mut *db);
        }
        let n = self.next.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        let mut db = self.readers[n]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(&mut *db)
    }

    fn write(&self, work: Work<'_>) -> Result<()> {
        self.pending.fetch_add(1, Ordering::SeqCst);
        let pending = PendingWriter(self);
        let mut w = self.lock();
        if w.size == 0 {
            begin(&w.db)?;
        }
        w.size += 1;
        let group = w.group;
        let done = in_savepoint(&mut w.db, work);
        if w.db.is_autocommit() {
            // A full disk or a failing one: SQLite gave the whole group up.
            let fault = match &done {
                Err(Error::Storage(f)) => f.clone(),
                _ => Fault::new(FaultKind::Other, "the transaction was given up"),
            };
            self.finish(&mut w, Err(fault.clone()));
            return Err(done.err().unwrap_or(Error::Storage(fault)));
        }
        drop(pending);
        if self.pending.load(Ordering::SeqCst) == 0 || w.size >= GROUP {
            let how = w.db.execute_batch("COMMIT").map_err(Fault::from);
            if how.is_err() && !w.db.is_autocommit() {
                // The commit's own error is answered. If the rollback fails as
                // well, the next writer's BEGIN fails with the reason.
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "the statement's own error is answered"
                )]
                let _ = w.db.execute_batch("ROLLBACK");
            }
            self.finish(&mut w, how);
        }
        drop(w);
        done?;
        self.wait_for(group)
    }

    fn listen(&self, _: Listener) {}

    fn back_up(&self, to: &Path) -> Result<()> {
        let Some(reader) = self.readers.first() else {
            return Err(Error::WrongState);
        };
        let from = reader.lock().unwrap_or_else(PoisonError::into_inner);
        private::make(to)?;
        let copied = Handle::open(to).and_then(|mut to| {
            let run = rusqlite::backup::Backup::new(&from, &mut to)?;
            run.run_to_completion(256, Duration::ZERO, None)
        });
        Ok(copied.map_err(Fault::from)?)
    }

    fn shared(&self) -> bool {
        false
    }

    fn name(&self) -> &'static str {
        "SQLite"
    }
}

fn prepare(db: &Handle) -> Result<()> {
    db.set_prepared_statement_cache_capacity(128);
    // A plan does not hang on the values bound to it: statements are planned
    // once, not at every call.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(Fault::from)?;
    db.pragma_update(None, "foreign_keys", true)
        .and_then(|()| db.pragma_update(None, "secure_delete", true))
        .and_then(|()| db.busy_timeout(PATIENCE))
        .map_err(|e| Fault::from(e).into())
}

/// Takes the write lock of the file at once.
fn begin(db: &Handle) -> Result<()> {
    run(db, "BEGIN IMMEDIATE")
}

fn run(db: &Handle, sql: &str) -> Result<()> {
    let done = db.prepare_cached(sql).and_then(|mut s| s.execute([]));
    done.map(drop).map_err(|e| Fault::from(e).into())
}

fn in_savepoint(db: &mut Handle, work: Work<'_>) -> Result<()> {
    run(db, "SAVEPOINT one")?;
    // A panic in the work must not leave half of it to the others' commit.
    let done = worker::catch(|| work(db));
    let good = matches!(done, Ok(Ok(())));
    if !db.is_autocommit() {
        if !good {
            run(db, "ROLLBACK TO one")?;
        }
        run(db, "RELEASE one")?;
    }
    done.flatten()
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match *self {
            Value::Null => ValueRef::Null,
            Value::Int(v) => ValueRef::Integer(v),
            Value::Text(t) => ValueRef::Text(t.as_bytes()),
            Value::Blob(b) => ValueRef::Blob(b),
            Value::TooLarge => {
                return Err(rusqlite::Error::ToSqlConversionFailure(
                    "a number that no column holds".into(),
                ));
            }
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

impl Connection for Handle {
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        let mut s = self.prepare_cached(sql).map_err(Fault::from)?;
        let n = s.execute(rusqlite::params_from_iter(values));
        Ok(n.map_err(Fault::from)? as u64)
    }

    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let mut s = self.prepare_cached(sql).map_err(Fault::from)?;
        let columns = s.column_count();
        let mut rows = s
            .query(rusqlite::params_from_iter(values))
            .map_err(Fault::from)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(Fault::from)? {
            let cell = |i| cell(i, row.get_ref(i)?);
            let cells: std::result::Result<_, Fault> = (0..columns).map(cell).collect();
            out.push(Row(cells?));
        }
        Ok(out)
    }

    fn for_update(&self) -> &'static str {
        ""
    }

    fn for_share(&self) -> &'static str {
        ""
    }

    fn announce(&mut self, _: &str) -> Result<()> {
        Ok(())
    }

    fn clock_s(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn identity(&mut self) -> Result<Option<i64>> {
        Ok(None)
    }
}

/// The value of column `i`. No column holds fractions or text that is not
/// UTF-8: either is an error, not an absent or a mended value.
fn cell(i: usize, value: ValueRef<'_>) -> std::result::Result<Cell, Fault> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(v) => Cell::Int(v),
        ValueRef::Text(t) => match std::str::from_utf8(t) {
            Ok(text) => Cell::Text(text.to_owned()),
            Err(_) => return Err(Fault::shape(i)),
        },
        ValueRef::Blob(b) => Cell::Blob(b.to_vec()),
        ValueRef::Real(_) => return Err(Fault::shape(i)),
    })
}
