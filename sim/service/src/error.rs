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
    /// What was consented to is not the policy in force.
    PolicyChanged,
    /// There are as many of these already as one may have.
    TooMany,
    /// A sealed column does not open: wrong key, or the database was altered.
    Sealed,
    /// No random numbers.
    Random,
    /// A word, in a column or in a file, that this program does not know: it
    /// was written by a newer version, or altered.
    UnknownWord {
        /// The column (`table.column`), file or channel that holds it.
        place: String,
        /// The word, where it can be shown.
        word: String,
    },
    /// A fault of this program: what went wrong and where. Holds no personal
    /// data.
    Internal(String),
    /// The service stops, and did not begin this.
    Stopping,
}

/// Longest unknown word that is shown, in bytes.
const SHOWN_WORD: usize = 24;

impl Error {
    /// `word` is none that `place` may hold. Only what looks like a word of
    /// this program is shown: anything else could be personal.
    pub(crate) fn unknown_word(place: &str, word: &str) -> Error {
        let plain = |b: u8| b.is_ascii_lowercase() || b"- ".contains(&b);
        let word = if word.len() <= SHOWN_WORD && word.bytes().all(plain) {
            format!("\"{word}\"")
        } else {
            format!("{} bytes", word.len())
        };
        Error::UnknownWord {
            place: place.to_owned(),
            word,
        }
    }

    /// True for a fault of this program or of what it has stored, which asking
    /// again will not mend.
    pub fn internal(&self) -> bool {
        matches!(self, Error::Internal(_) | Error::UnknownWord { .. })
    }
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
            Error::PolicyChanged => f.write_str("another policy is in force than the one shown"),
            Error::TooMany => f.write_str("there are as many of these as one may have"),
            Error::Sealed => f.write_str(
                "a sealed column does not open: the database belongs to another service.key, or was altered",
            ),
            Error::Random => f.write_str("the system gives no random numbers"),
            Error::UnknownWord { place, word } => write!(
                f,
                "{place} holds a word that this program does not know: {word}"
            ),
            Error::Internal(what) => write!(f, "a fault of this program: {what}"),
            Error::Stopping => f.write_str("the service stops"),
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
