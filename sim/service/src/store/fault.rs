//! What can go wrong with a database, in words that say what to do.

use std::fmt;

/// Why a database did not do what it was asked. Nothing was changed, unless the
/// kind says that this is not sure.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// The database's own words; they hold no values.
    text: String,
}

/// The kinds that an operator would treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It does not answer: stopped, restarting, or unreachable.
    Away,
    /// Others held it for too long, or two wanted the same: try again.
    Busy,
    /// Its disk is full.
    Full,
    /// It went away while storing: it may have happened or not. Asking again
    /// is harmless.
    Unsure,
    /// This connection is of no use any more; another one may be: its server was
    /// made a read-only one, or has forgotten what was prepared on it.
    Stale,
    /// Two of what must be one: a key, a number.
    Taken,
    /// Everything else.
    Other,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, text: impl Into<String>) -> Fault {
        let text = text.into();
        Fault { kind, text }
    }

    /// A column that is not what this program wrote.
    pub(super) fn shape(column: usize) -> Fault {
        let text = format!("column {column} holds something unexpected");
        Fault::new(FaultKind::Other, text)
    }

    /// A short name for a metric.
    pub fn name(&self) -> &'static str {
        match self.kind {
            FaultKind::Away => "away",
            FaultKind::Busy => "busy",
            FaultKind::Full => "full",
            FaultKind::Unsure => "unsure",
            FaultKind::Stale => "stale",
            FaultKind::Taken => "taken",
            FaultKind::Other => "other",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::Away => {
                "the database does not answer, nothing was changed: is it running, and reachable?"
            }
            FaultKind::Busy => "the database is busy, nothing was changed: others hold it",
            FaultKind::Full => "the disk is full, nothing was changed: make room",
            FaultKind::Unsure => {
                "the database went away while storing: it may have happened or not; look, and repeat"
            }
            FaultKind::Stale => {
                "the database has become another one, nothing was changed: try again"
            }
            FaultKind::Taken => "the database has this already",
            FaultKind::Other => "the database cannot be used, nothing was changed",
        };
        write!(f, "{what} ({})", self.text)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Fault {
        use rusqlite::ErrorCode as Code;
        let kind = match e.sqlite_error_code() {
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => FaultKind::Busy,
            Some(Code::DiskFull) => FaultKind::Full,
            Some(Code::CannotOpen | Code::SystemIoFailure) => FaultKind::Away,
            Some(Code::ConstraintViolation) => FaultKind::Taken,
            _ => FaultKind::Other,
        };
        Fault::new(kind, e.to_string())
    }
}

/// An error with what led to it: of a connection that fails, only the cause says
/// whether nobody answers or a certificate is refused.
fn with_causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}

impl From<tokio_postgres::Error> for Fault {
    fn from(e: tokio_postgres::Error) -> Fault {
        use tokio_postgres::error::SqlState as S;
        let Some(code) = e.code() else {
            // Not an answer of the server: the way to it is broken.
            let kind = if e.is_closed() || std::error::Error::source(&e).is_some() {
                FaultKind::Away
            } else {
                FaultKind::Other
            };
            return Fault::new(kind, with_causes(&e));
        };
        let kind = match *code {
            S::T_R_SERIALIZATION_FAILURE | S::T_R_DEADLOCK_DETECTED | S::LOCK_NOT_AVAILABLE => {
                FaultKind::Busy
            }
            S::QUERY_CANCELED | S::TOO_MANY_CONNECTIONS => FaultKind::Busy,
            S::DISK_FULL => FaultKind::Full,
            S::READ_ONLY_SQL_TRANSACTION
            | S::INVALID_SQL_STATEMENT_NAME
            | S::DUPLICATE_PSTATEMENT => FaultKind::Stale,
            S::UNIQUE_VIOLATION => FaultKind::Taken,
            S::ADMIN_SHUTDOWN | S::CRASH_SHUTDOWN | S::CANNOT_CONNECT_NOW => FaultKind::Away,
            _ => FaultKind::Other,
        };
        // The message names tables and columns; its detail would hold values.
        let text = e.as_db_error().map_or(code.code(), |d| d.message());
        Fault::new(kind, text)
    }
}
