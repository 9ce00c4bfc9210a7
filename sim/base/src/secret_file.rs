//! Files that only their owner may read.

use crate::{FileError, hex, random, unhex};
use std::fs;
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// Reads the 32-byte secret of a file, as 64 hexadecimal digits; makes the file
/// with a random secret at the first call.
///
/// # Errors
/// When the file cannot be read or made, when others than its owner can read
/// it, or when it holds anything but 64 hexadecimal digits.
pub fn read_or_make(path: &Path) -> Result<Zeroizing<[u8; 32]>, FileError> {
    let file = |e| FileError::Io(path.to_owned(), e);
    if !path.exists() {
        let secret = random::<32>().map_err(|_| FileError::Random)?;
        let secret = Zeroizing::new(secret);
        let digits = Zeroizing::new(hex(secret.as_ref()) + "\n");
        match write(path, &digits) {
            Ok(()) => return Ok(secret),
            // Another process that shares the folder was faster: give it the
            // time to write its digits.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            Err(e) => return Err(file(e)),
        }
    }
    read(path)
}

/// Reads the 32-byte secret of a file that must be there.
///
/// # Errors
/// As [`read_or_make`]; and when there is no such file.
pub fn read(path: &Path) -> Result<Zeroizing<[u8; 32]>, FileError> {
    check_private(path)?;
    let file = |e| FileError::Io(path.to_owned(), e);
    let text = Zeroizing::new(fs::read_to_string(path).map_err(file)?);
    unhex(&text).map(Zeroizing::new).ok_or_else(|| {
        FileError::Content(
            path.to_owned(),
            "64 hexadecimal digits are expected: restore the file from your backup".into(),
        )
    })
}

/// Writes a file that only its owner can read. Never replaces one.
///
/// # Errors
/// `AlreadyExists` when the file is there; whatever else the system answers.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Refuses a secret that others than its owner can read.
///
/// # Errors
/// Then; and when there is no such file.
#[cfg(unix)]
pub fn check_private(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = fs::metadata(path).map_err(|e| FileError::Io(path.to_owned(), e))?;
    if meta.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(FileError::Content(
        path.to_owned(),
        "others can read this secret: chmod 600 it".into(),
    ))
}

/// Nothing is known of other systems' rights.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check_private(_: &Path) -> Result<(), FileError> {
    Ok(())
}
