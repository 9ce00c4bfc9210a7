//! What can go wrong in the service. Texts hold no personal data.

use super::store::Fault;
use nrd_sim_base::FileError;
use std::fmt;

/// Why the service could not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// The database did not answer or could not store; nothing was changed.
    Storage(Fault),
    /// A file of the service's folder.
    File(std::path::PathBuf, std::io::Error),
    /// A file's content makes no sense.
    Content(std::path::PathBuf, String),
    /// The database belongs to a service with other keys; the name of the first
    /// that differs.
    OtherKeys(String),
    /// What was named does not exist, or is not the asker's.
    NotFound,
    /// It is too late or too early for this.
    WrongState,
    /// A sealed column does not open: wrong key, or the database was altered.
    Sealed,
    /// No random numbers.
    Random,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Storage(e) => e.fmt(f),
            Error::File(path, e) => write!(f, "{}: {e}", path.display()),
            Error::Content(path, what) => write!(f, "{}: {what}", path.display()),
            Error::OtherKeys(name) => write!(
                f,
                "this database belongs to a service with another {name}: every process on it needs the same key files"
            ),
            Error::NotFound => f.write_str("there is no such thing on this account"),
            Error::WrongState => f.write_str("the state does not allow this any more"),
            Error::Sealed => f.write_str(
                "a sealed column does not open: the database belongs to another service.key, or was altered",
            ),
            Error::Random => f.write_str("the system gives no random numbers"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Fault> for Error {
    fn from(e: Fault) -> Self {
        Error::Storage(e)
    }
}

impl From<FileError> for Error {
    fn from(e: FileError) -> Self {
        match e {
            FileError::Io(path, e) => Error::File(path, e),
            FileError::Content(path, what) => Error::Content(path, what),
            FileError::Random => Error::Random,
        }
    }
}

impl From<getrandom::Error> for Error {
    fn from(_: getrandom::Error) -> Self {
        Error::Random
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(e: tokio_postgres::Error) -> Self {
        Error::Storage(e.into())
    }
}

/// The service's result.
pub type Result<T> = std::result::Result<T, Error>;
