//! The agent's two logs, journal and vault, each with its keys. Writes make
//! room as they need it.

use super::{Agent, Session, id};
use crate::core::{Event, Read};
use crate::error::Error;
use crate::log::{LogContext, Progress, RecordId, value};
use crate::state::{Snapshot, Tombstone};
use crate::wire::codec::{self, Bounded as _, Code};
use crate::wire::{Body as _, Delegation, Receipt, RootChange, SIGNATURE_LEN};
use nrd_hal::Platform;
use zeroize::Zeroizing;

/// One of the agent's two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogId {
    Journal,
    Vault,
}

/// Most steps that a write waits for room before it gives up. A log makes room
/// within a few openings, after its members are read; only a worn-out part
/// needs more.
const MAX_ROUNDS: u32 = 512;

/// Longest record of the agent's own, receipts and the delegation apart, in
/// bytes.
const RECORD: usize = 384;

const _: () = assert!(Snapshot::MAX_LEN <= RECORD && Tombstone::MAX_LEN <= RECORD);
const _: () = assert!(Session::MAX_LEN <= RECORD && RootChange::MAX <= RECORD);

/// Longest record of the journal, in bytes: a receipt's facts are the longest.
pub(super) const LONGEST_RECORD: usize = Receipt::MAX - SIGNATURE_LEN;

const _: () = assert!(RECORD <= LONGEST_RECORD && Delegation::MAX <= LONGEST_RECORD);

/// Runs `$body` with the log of `$which` and its `$io`.
macro_rules! with_log {
    ($self:ident, $which:expr, |$log:ident, $io:ident| $body:expr) => {{
        let parts = $self.platform.parts();
        match $which {
            LogId::Journal => {
                let keys = &mut $self.keys.journal;
                let $io = &mut LogContext::<_, _, P::Crypto>::new(
                    parts.journal,
                    parts.rng,
                    keys,
                    $self.scratch,
                );
                let $log = &mut $self.journal;
                $body
            }
            LogId::Vault => {
                let keys = &mut $self.keys.vault;
                let $io = &mut LogContext::<_, _, P::Crypto>::new(
                    parts.vault,
                    parts.rng,
                    keys,
                    $self.scratch,
                );
                let $log = &mut $self.vault;
                $body
            }
        }
    }};
}

/// A journal record's key.
pub(super) fn journal_key(id: u16) -> RecordId {
    RecordId { class: 0, id }
}

impl<P: Platform> Agent<'_, P> {
    /// Does one step of a log's pending work. `Busy` when the log has no keys.
    pub(super) fn log_step(&mut self, which: LogId) -> Result<Progress, Error> {
        with_log!(self, which, |log, io| log.step(io))
    }

    /// Reads a record into the scratch buffer, where [`value`] finds it; returns
    /// its length.
    pub(super) fn log_get(&mut self, which: LogId, key: RecordId) -> Result<u16, Error> {
        with_log!(self, which, |log, io| log.read(io, key))
    }

    /// Writes a record whose value comes in parts, or removes it. A tombstone
    /// draws on room that nothing else may use. Where the journal is full, its
    /// oldest undelivered receipts give way.
    pub(super) fn log_write(
        &mut self,
        which: LogId,
        key: RecordId,
        value: Option<&[&[u8]]>,
    ) -> Result<(), Error> {
        let tombstone = which == LogId::Journal && key.id == id::TOMBSTONE;
        let reserved = tombstone && value.is_some();
        for _ in 0..MAX_ROUNDS {
            match with_log!(self, which, |log, io| log.write(io, key, value, reserved)) {
                Err(Error::Busy) => {}
                Err(Error::Full) if which == LogId::Journal && self.drop_receipt(key.id)? => {
                    continue;
                }
                done => return done,
            }
            let step = self.log_step(which);
            if step == Err(Error::WornOut) && which == LogId::Journal {
                // Found: an outage in which a wipe began retired every sector, and
                // the wipe could not end before the power was cut.
                self.journal.start_over();
            }
            step?;
        }
        Err(Error::WornOut)
    }

    pub(super) fn put_journal(&mut self, id: u16, bytes: &[u8]) -> Result<(), Error> {
        self.log_write(LogId::Journal, journal_key(id), Some(&[bytes]))
    }

    /// Writes a record of the journal that is the agent's own.
    pub(super) fn store(
        &mut self,
        id: u16,
        record: &mut dyn for<'f> Code<'f>,
    ) -> Result<(), Error> {
        let mut buf = Zeroizing::new([0u8; RECORD]);
        let n = codec::write(&[], record, buf.as_mut())?;
        let bytes = buf.get(..n).unwrap_or_default();
        self.put_journal(id, bytes)
    }

    /// Reads a record of the journal that is the agent's own, if it is there, into
    /// a blank.
    pub(super) fn load(
        &mut self,
        id: u16,
        record: &mut dyn for<'f> Code<'f>,
    ) -> Result<Read<()>, Error> {
        match self.get_journal(id) {
            Ok(n) if codec::read_into(value(self.scratch, n), record) => Ok(Read::Found(())),
            Ok(_) | Err(Error::Corrupt) => Ok(Read::Unreadable),
            Err(Error::NotFound) => Ok(Read::Missing),
            Err(e) => Err(e),
        }
    }

    /// Removes the receipt that gives way to what is being written at `keep`;
    /// false when there is none.
    fn drop_receipt(&mut self, keep: u16) -> Result<bool, Error> {
        let Some(place) = self.core.least_receipt() else {
            return Ok(false);
        };
        let id = id::RECEIPT + u16::from(place);
        if id == keep {
            return Ok(false);
        }
        self.remove_journal(id)?;
        self.event(Event::ReceiptDropped(place))?;
        Ok(true)
    }

    /// Removes a record, if it is there.
    pub(super) fn remove_journal(&mut self, id: u16) -> Result<(), Error> {
        match self.log_write(LogId::Journal, journal_key(id), None) {
            Err(Error::NotFound) => Ok(()),
            done => done,
        }
    }

    /// Reads a journal record into the scratch buffer; returns its length.
    pub(super) fn get_journal(&mut self, id: u16) -> Result<u16, Error> {
        self.log_get(LogId::Journal, journal_key(id))
    }
}
