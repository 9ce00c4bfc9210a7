//! The interface between the store's methods and a database: a connection that
//! understands the SQL both databases share.
//!
//! A text numbers its parameters `?1`, `?2`, …; numbers are 64-bit, truth is 0
//! or 1, everything else is text or bytes. What differs between the databases
//! is a method of [`Connection`]: row locks and announcements.

use super::Announcement;
use super::fault::Fault;
use super::words::Word;
use crate::error::{Error, Result};

/// A parameter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
    /// A number that no column can hold.
    TooLarge,
}

/// A column of a row that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// A row that was read.
pub(super) struct Row(pub(super) Vec<Cell>);

/// One connection, inside a transaction or not.
pub(super) trait Connection {
    /// Runs a statement; gives the number of rows it touched.
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64>;

    /// Runs a statement that gives rows.
    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>>;

    /// Appended to a `SELECT` to lock its rows against every other transaction
    /// until this one ends. Empty where writers come one after the other.
    fn for_update(&self) -> &'static str;

    /// Appended to a `SELECT` to lock its rows against changes; other
    /// transactions may hold the same lock.
    fn for_share(&self) -> &'static str;

    /// Announces `what` to every process once this transaction is durable. Does
    /// nothing where there is one process.
    fn announce(&mut self, what: &str) -> Result<()>;

    /// The database's own clock, Unix seconds; `None` where it is ours.
    fn clock_s(&mut self) -> Result<Option<u64>>;

    /// Which database this is: another value after it was restored from a dump, or
    /// another server took over. `None` where one process has it.
    fn identity(&mut self) -> Result<Option<i64>>;
}

/// A database: gives connections, one piece of work at a time.
pub(super) trait Database: Send + Sync {
    /// Runs `work`, which only reads; it sees committed rows alone.
    fn read(&self, work: Work<'_>) -> Result<()>;

    /// Runs `work` in a transaction, wholly or not at all; durable on `Ok`.
    /// `work` may run more than once: only its last run counts.
    fn write(&self, work: Work<'_>) -> Result<()>;

    /// Calls `heard` with what any process announces, and with `None` after
    /// something may have been missed. Does nothing where there is one process.
    fn listen(&self, heard: Listener);

    /// Writes a copy of the whole database, consistent in itself, to `to`.
    fn back_up(&self, to: &std::path::Path) -> Result<()>;

    /// True where other processes may work on the same database.
    fn shared(&self) -> bool;

    /// The database's name, for people.
    fn name(&self) -> &'static str;
}

/// Called with each announcement; with `None` when some may have been missed.
pub(super) type Listener = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// One piece of work on a connection.
pub(super) type Work<'w> = &'w mut dyn FnMut(&mut dyn Connection) -> Result<()>;

/// A row lock that a method asks for.
#[derive(Clone, Copy)]
pub(super) enum Lock {
    Share,
    Update,
}

/// Typed access to a connection.
pub(super) struct Tx<'c>(pub(super) &'c mut dyn Connection);

impl Tx<'_> {
    pub(super) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        self.0.execute(sql, values)
    }

    /// Every row.
    pub(super) fn all<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.0.query(sql, values)?.iter().map(read).collect()
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Option<T>> {
        self.0.query(sql, values)?.first().map(read).transpose()
    }

    /// The first row; `NotFound` without one.
    pub(super) fn one<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<T> {
        self.first(sql, values, read)?.ok_or(Error::NotFound)
    }

    /// Holds the row that `select` names until the transaction ends.
    pub(super) fn hold(&mut self, lock: Lock, select: &str, values: &[Value<'_>]) -> Result<()> {
        let suffix = match lock {
            Lock::Share => self.0.for_share(),
            Lock::Update => self.0.for_update(),
        };
        if suffix.is_empty() {
            return Ok(());
        }
        self.0.query(&format!("{select} {suffix}"), values)?;
        Ok(())
    }

    pub(super) fn announce(&mut self, what: Announcement) -> Result<()> {
        self.0.announce(&what.to_string())
    }
}

/// Values by position: `values![id, &name]`.
macro_rules! values {
    ($($v:expr),* $(,)?) => {
        &[$($crate::store::sql::Value::from($v)),*]
    };
}
pub(super) use values;

impl From<i64> for Value<'_> {
    fn from(v: i64) -> Self {
        Value::Int(v)
    }
}

impl From<u32> for Value<'_> {
    fn from(v: u32) -> Self {
        Value::Int(v.into())
    }
}

impl From<u8> for Value<'_> {
    fn from(v: u8) -> Self {
        Value::Int(v.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(v: bool) -> Self {
        Value::Int(v.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(v: u64) -> Self {
        i64::try_from(v).map_or(Value::TooLarge, Value::Int)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(v: &'a str) -> Self {
        Value::Text(v)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(v: &'a String) -> Self {
        Value::Text(v)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(v: &'a [u8]) -> Self {
        Value::Blob(v)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(v: &'a Vec<u8>) -> Self {
        Value::Blob(v)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(v: &'a [u8; N]) -> Self {
        Value::Blob(v)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

impl Row {
    /// The column at `i`. A row without such a column is an error as well: it
    /// must not read as an absent value.
    pub(super) fn get<T: FromCell>(&self, i: usize) -> Result<T> {
        let value = self.0.get(i).and_then(T::from_cell);
        value.ok_or_else(|| Fault::shape(i).into())
    }

    /// The word at `i`; each type of [`Word`] belongs to one column.
    pub(super) fn word<W: Word>(&self, i: usize) -> Result<W> {
        W::parse(&self.get::<String>(i)?)
    }

    /// The word at `i`, or `None` where the column is empty.
    pub(super) fn word_or_null<W: Word>(&self, i: usize) -> Result<Option<W>> {
        let word: Option<String> = self.get(i)?;
        word.as_deref().map(W::parse).transpose()
    }
}

/// A type that a column can be read as.
pub(super) trait FromCell: Sized {
    fn from_cell(cell: &Cell) -> Option<Self>;
}

macro_rules! whole_number {
    ($($t:ty),*) => {$(
        impl FromCell for $t {
            fn from_cell(cell: &Cell) -> Option<Self> {
                match cell {
                    Cell::Int(v) => (*v).try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}
whole_number!(i64, u64, u32, u8);

impl FromCell for bool {
    fn from_cell(cell: &Cell) -> Option<Self> {
        match i64::from_cell(cell)? {
            0 => Some(false),
            1 => Some(true),
            // A number that this program does not write.
            _ => None,
        }
    }
}

impl FromCell for String {
    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Text(t) => Some(t.clone()),
            _ => None,
        }
    }
}

impl FromCell for Vec<u8> {
    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Blob(b) => Some(b.clone()),
            _ => None,
        }
    }
}

impl<const N: usize> FromCell for [u8; N] {
    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Blob(b) => b.as_slice().try_into().ok(),
            _ => None,
        }
    }
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}
