//! Brings a copy of a SQLite store back.

use super::private;
use crate::error::{Error, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// Locked by whoever uses the store of a folder: shared by services and commands,
/// by a restore for itself alone. A database's own locks would not do: they are of
/// no use over one that is damaged.
const LOCK: &str = "service.lock";

/// Held while a process uses the store of a folder.
pub(super) struct InUse {
    /// Letting it go unlocks it.
    _file: File,
}

impl InUse {
    pub(super) fn take(dir: &Path) -> Result<InUse> {
        let path = dir.join(LOCK);
        let file = lock_file(&path)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(InUse { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Content(
                path,
                "a copy is being brought back here: start again when that has ended".into(),
            )),
            Err(TryLockError::Error(e)) => Err(Error::File(path, e)),
        }
    }
}

fn lock_file(path: &Path) -> Result<File> {
    private::make(path)?;
    File::open(path).map_err(|e| Error::File(path.to_owned(), e))
}

/// What was in the place of a database that was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// Nothing.
    Nothing,
    /// A database in order.
    Database,
    /// A database that could not be read. It is kept beside the other, its name
    /// followed by `.damaged`.
    Damaged,
}

fn named(path: &Path, e: &dyn Display) -> String {
    format!("{}: {e}", path.display())
}

/// Puts the copy `from` in the place of the database `db`, which no process may
/// use. The copy is checked first; what was there goes in the last steps, and a cut
/// before the very last leaves no database: the copy is brought back again then.
///
/// # Errors
/// In words: the copy is damaged or no store, the database is in use, or the
/// disk does not take it.
pub fn restore_sqlite(db: &Path, from: &Path) -> std::result::Result<Replaced, String> {
    let parent = db.parent().unwrap_or(Path::new("."));
    check_copy(from)?;
    let lock = lock_file(&parent.join(LOCK)).map_err(|e| e.to_string())?;
    lock.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => named(
            db,
            &"in use by a service, or by another command: stop it first",
        ),
        TryLockError::Error(e) => named(db, &e),
    })?;
    let replaced = state(db)?;
    let part = parent.join("service.db.part");
    std::fs::copy(from, &part).map_err(|e| named(&part, &e))?;
    private::close(&part).map_err(|e| e.to_string())?;
    File::open(&part)
        .and_then(|f| f.sync_all())
        .map_err(|e| named(&part, &e))?;
    // What SQLite wrote beside it would be replayed over the copy.
    let [wal, shm] = private::beside(db);
    match replaced {
        Replaced::Damaged => {
            let mut aside = db.as_os_str().to_owned();
            aside.push(".damaged");
            let aside = PathBuf::from(aside);
            let [wal_aside, shm_aside] = private::beside(&aside);
            for (from, to) in [(wal, wal_aside), (shm, shm_aside), (db.to_owned(), aside)] {
                unless_missing(&from, std::fs::rename(&from, &to))?;
            }
        }
        Replaced::Nothing | Replaced::Database => {
            for gone in [wal, shm] {
                unless_missing(&gone, std::fs::remove_file(&gone))?;
            }
        }
    }
    std::fs::rename(&part, db)
        .and_then(|()| File::open(parent)?.sync_all())
        .map_err(|e| named(db, &e))?;
    Ok(replaced)
}

fn unless_missing(path: &Path, done: std::io::Result<()>) -> std::result::Result<(), String> {
    match done {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(named(path, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn check_copy(from: &Path) -> std::result::Result<(), String> {
    let not_one = |e: rusqlite::Error| {
        let text = format!("this is no copy that `backup` made, or it is damaged ({e})");
        named(from, &text)
    };
    let copy =
        Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(not_one)?;
    let ask = |sql: &str| copy.query_row(sql, [], |r| r.get::<_, String>(0));
    ask("SELECT 'ok' FROM meta WHERE key = 'schema'").map_err(not_one)?;
    match ask("PRAGMA integrity_check").map_err(not_one)?.as_str() {
        "ok" => Ok(()),
        _ => Err(named(from, &"this copy is damaged")),
    }
}

/// What is in the place, which no other program may have open.
fn state(db: &Path) -> std::result::Result<Replaced, String> {
    if !db.exists() {
        return Ok(Replaced::Nothing);
    }
    let held = Connection::open(db).and_then(|c| {
        c.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE")
    });
    let Err(e) = held else {
        return Ok(Replaced::Database);
    };
    match e.sqlite_error_code() {
        // What a copy is brought back for.
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Ok(Replaced::Damaged),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Err(named(db, &"in use by another program: end it first"))
        }
        _ => Err(named(db, &e)),
    }
}
