//! Why a file cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a file cannot be used. Texts never hold what the file says.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be read or written.
    Io(PathBuf, io::Error),
    /// Its content makes no sense; how, in words.
    Content(PathBuf, String),
    /// The system gives no random numbers for a new secret.
    Random,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io(path, e) => write!(f, "{}: {e}", path.display()),
            FileError::Content(path, what) => write!(f, "{}: {what}", path.display()),
            FileError::Random => f.write_str("the system gives no random numbers"),
        }
    }
}

impl std::error::Error for FileError {}
