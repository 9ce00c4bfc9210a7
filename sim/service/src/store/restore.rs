//! Brings a copy of a SQLite store back.

use super::private;
use std::path::Path;

/// Puts the copy `from` in the place of the database `db`, which no process may
/// hold. The copy is checked first; until the last step, a rename, the old
/// database stays as it is.
///
/// # Errors
/// In words: the copy is damaged or no store, the database is in use, or the
/// disk does not take it.
pub fn restore_sqlite(db: &Path, from: &Path) -> Result<(), String> {
    let named = |p: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", p.display());
    let copy =
        rusqlite::Connection::open_with_flags(from, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|e| named(from, &e))?;
    let good: String = copy
        .query_row("SELECT 'ok' FROM meta WHERE key = 'schema'", [], |r| {
            r.get(0)
        })
        .map_err(|e| named(from, &e))?;
    let sound: String = copy
        .query_row("PRAGMA integrity_check", [], |r| r.get(0))
        .map_err(|e| named(from, &e))?;
    if (good.as_str(), sound.as_str()) != ("ok", "ok") {
        return Err(named(from, &"this copy is damaged"));
    }
    if db.exists() {
        // No other process may have it open: this fails then.
        let held = rusqlite::Connection::open(db).and_then(|c| {
            c.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE")
        });
        held.map_err(|e| named(db, &e))?;
    }
    drop(copy);
    let parent = db.parent().unwrap_or(Path::new("."));
    let part = parent.join("service.db.part");
    std::fs::copy(from, &part).map_err(|e| named(&part, &e))?;
    private::close(&part).map_err(|e| e.to_string())?;
    std::fs::File::open(&part)
        .and_then(|f| f.sync_all())
        .map_err(|e| named(&part, &e))?;
    for gone in ["service.db-wal", "service.db-shm"] {
        // Usually there is none. One that stays would be replayed over the copy.
        match std::fs::remove_file(parent.join(gone)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(named(&parent.join(gone), &e));
            }
            _ => {}
        }
    }
    std::fs::rename(&part, db).map_err(|e| named(db, &e))
}
