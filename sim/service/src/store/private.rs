//! Files that other users of the machine must not read: the database and what
//! stands beside it.

use crate::error::{Error, Result};
use std::fs::{self, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Makes `path` readable by its owner alone; makes the file where there is none.
pub(super) fn make(path: &Path) -> Result<()> {
    let failed = |e| Error::File(path.to_owned(), e);
    let mut how = OpenOptions::new();
    how.create(true).append(true).mode(0o600);
    how.open(path).map_err(failed)?;
    close(path)
}

/// Takes a file that is there away from others, and says so.
pub(super) fn close(path: &Path) -> Result<()> {
    let failed = |e| Error::File(path.to_owned(), e);
    let mode = match fs::metadata(path) {
        Ok(meta) => meta.permissions().mode(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    tracing::warn!(file = %path.display(), "others could read this file; its mode is 600 now");
    Ok(())
}

/// What SQLite writes beside a database.
pub(super) fn beside(db: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|end| {
        let mut name = db.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}
