//! `revocations.log`: what was revoked, outside of the database.
//!
//! A line is `2 ACTIVATION REASON TIME CHECKSUM`: 32 hexadecimal digits, a word,
//! Unix seconds, and the CRC-32 of all before it. Lines of older versions are
//! `ACTIVATION REASON`, and still count. Whatever else stands there costs its
//! own line and no other: it is counted, told in the log, and left out.
//!
//! The file is read line by line, as bytes, and shortened once a day: a line that
//! repeats another goes, and so does one that is older than any backup that
//! may be brought back. Lines that were not understood go to a file of their own.

use super::sql::values;
use super::{Fault, FaultKind, RevocationReason, Store, private};
use crate::error::{Error, Result};
use crc::{CRC_32_ISO_HDLC, Crc};
use nrd_sim_base::{hex, unhex};
use prometheus_client::metrics::counter::Counter;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const LOG: &str = "revocations.log";
/// Where lines go that were not understood.
const UNREADABLE: &str = "revocations.unreadable";
/// The line's format.
const FORMAT: &str = "2";
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Longest line that is looked at, in bytes; this program's have under 90.
const LONGEST: u64 = 256;
/// What is kept free for the next lines, in bytes.
const ROOM: u64 = 4096;
/// Activations in one statement, which is one transaction.
const BATCH: usize = 500;
/// How long a line outlives its removal: as long as a backup may be brought
/// back.
const KEEP_S: u64 = 400 * 86_400;

/// The log of one folder. Several processes may share it.
pub(super) struct Revocations {
    path: PathBuf,
    file: Mutex<File>,
    /// Lines that were not understood.
    pub(super) unreadable: Counter,
}

/// One line that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    activation: [u8; 16],
    why: RevocationReason,
    /// When, Unix seconds; older versions did not say.
    at: Option<u64>,
}

impl Line {
    fn text(&self, at: u64) -> String {
        let id = hex(&self.activation);
        let text = format!("{FORMAT} {id} {} {at}", self.why.name());
        let sum = CHECKSUM.checksum(text.as_bytes());
        format!("{text} {sum:08x}\n")
    }

    /// What `line` says; `None` where it is torn, altered, or not of this program.
    fn parse(line: &[u8]) -> Option<Line> {
        let line = std::str::from_utf8(line).ok()?.trim_end();
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            [FORMAT, id, why, at, sum] => {
                let (text, _) = line.rsplit_once(' ')?;
                let expected = format!("{:08x}", CHECKSUM.checksum(text.as_bytes()));
                (sum == expected).then_some(())?;
                Some(Line {
                    activation: unhex(id)?,
                    why: RevocationReason::from_name(why)?,
                    at: Some(at.parse().ok()?),
                })
            }
            [id, why] => Some(Line {
                activation: unhex(id)?,
                why: RevocationReason::from_name(why)?,
                at: None,
            }),
            _ => None,
        }
    }
}

impl Revocations {
    pub(super) fn open(dir: &Path) -> Result<Revocations> {
        let path = dir.join(LOG);
        private::make(&path)?;
        let file = append(&path).map_err(|e| Error::File(path.clone(), e))?;
        Ok(Revocations {
            path,
            file: Mutex::new(file),
            unreadable: Counter::default(),
        })
    }

    fn failed(&self, e: io::Error) -> Error {
        match e.kind() {
            ErrorKind::StorageFull => {
                let text = format!("{}: {e}", self.path.display());
                Fault::new(FaultKind::Full, text).into()
            }
            _ => Error::File(self.path.clone(), e),
        }
    }

    /// The file, which no other process shortens until it is let go.
    fn hold(&self) -> io::Result<Held<'_>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            file.lock()?;
            let held = Held(file);
            let ours = held.0.metadata()?;
            match std::fs::metadata(&self.path) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(held);
                }
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                // Another process has shortened it, or somebody has moved it
                // away: what we hold is not what the next start reads.
                Ok(_) | Err(_) => {}
            }
            drop(held);
            file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            *file = append(&self.path)?;
        }
    }

    /// Answers whether a revocation could be noted where the next start reads it, and
    /// keeps room for the next one, so that a disk that fills up in between does not
    /// make it untrue.
    pub(super) fn healthy(&self) -> Result<()> {
        let room = self.hold().and_then(|held| {
            let end = held.0.metadata()?.len();
            match fallocate(&*held.0, FallocateFlags::KEEP_SIZE, end, ROOM) {
                // Some file systems keep no room.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                Err(e) => Err(e.into()),
            }
        });
        room.map_err(|e| self.failed(e))
    }

    /// Notes a revocation; on disk when this returns.
    pub(super) fn add(&self, activation: &[u8; 16], why: RevocationReason, at: u64) -> Result<()> {
        let line = Line {
            activation: *activation,
            why,
            at: Some(at),
        };
        // The first line end closes what a full disk may have left of an older line.
        let text = format!("\n{}", line.text(at));
        let written = self.hold().and_then(|mut held| {
            held.0.write_all(text.as_bytes())?;
            held.0.sync_data()
        });
        written.map_err(|e| self.failed(e))
    }

    /// Calls `each` with every line: what it says, or its bytes where it says
    /// nothing.
    fn lines(
        &self,
        mut each: impl FnMut(std::result::Result<Line, &[u8]>) -> Result<()>,
    ) -> Result<()> {
        let file = File::open(&self.path).map_err(|e| self.failed(e))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut part = (&mut file).take(LONGEST);
            let n = part.read_until(b'\n', &mut line);
            if n.map_err(|e| self.failed(e))? == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                file.skip_until(b'\n').map_err(|e| self.failed(e))?;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            each(Line::parse(&line).ok_or(&line))?;
        }
    }

    /// Leaves out what no restored backup can need, and puts what was not
    /// understood aside. Returns how many lines went.
    fn shorten(&self, now: u64) -> Result<u64> {
        // Nobody appends meanwhile: a line would be lost.
        let _held = self.hold().map_err(|e| self.failed(e))?;
        let oldest = now.saturating_sub(KEEP_S);
        let mut gone = 0;
        let mut seen = HashSet::new();
        let mut unreadable = false;
        let mut undated = false;
        self.lines(|line| {
            undated |= line.is_ok_and(|line| line.at.is_none());
            match line {
                Ok(line) if line.at.is_none_or(|at| at >= oldest) => {
                    gone += u64::from(!seen.insert(line.activation));
                }
                Ok(_) => gone += 1,
                Err(_) => {
                    unreadable = true;
                    gone += 1;
                }
            }
            Ok(())
        })?;
        if gone == 0 && !undated {
            return Ok(0);
        }
        seen.clear();
        let aside = self.path.with_file_name(UNREADABLE);
        let mut aside = if unreadable {
            Some(append(&aside).map_err(|e| Error::File(aside, e))?)
        } else {
            None
        };
        let part = self.path.with_file_name(format!("{LOG}.part"));
        let written = fresh(&part)
            .map_err(|e| Error::File(part.clone(), e))
            .and_then(|file| {
                let mut out = BufWriter::new(file);
                self.lines(|line| {
                    let done = match (line, &mut aside) {
                        (Ok(line), _) => {
                            let at = line.at.unwrap_or(now);
                            if at < oldest || !seen.insert(line.activation) {
                                return Ok(());
                            }
                            out.write_all(line.text(at).as_bytes())
                        }
                        (Err(bytes), Some(aside)) => aside.write_all(bytes),
                        (Err(_), None) => Ok(()),
                    };
                    done.map_err(|e| self.failed(e))
                })?;
                let on_disk = out
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .and_then(|file| file.sync_all())
                    .and_then(|()| aside.as_ref().map_or(Ok(()), File::sync_all))
                    .and_then(|()| std::fs::rename(&part, &self.path))
                    .and_then(|()| match self.path.parent() {
                        Some(dir) => File::open(dir)?.sync_all(),
                        None => Ok(()),
                    });
                on_disk.map_err(|e| self.failed(e))
            });
        written.map(|()| gone)
    }
}

/// The locked file. Letting it go unlocks it.
struct Held<'l>(MutexGuard<'l, File>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A lock that cannot be given back goes with the handle.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "a lock that cannot be given back goes with the handle"
        )]
        let _ = self.0.unlock();
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.create(true).append(true).mode(0o600).open(path)
}

fn fresh(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.create(true).write(true).truncate(true).mode(0o600);
    how.open(path)
}

impl Store {
    /// Notes a revocation outside the database; on disk when this returns.
    pub(super) fn log_revocation(
        &self,
        activation: &[u8; 16],
        why: RevocationReason,
        now: u64,
    ) -> Result<()> {
        match &self.revocations {
            Some(log) => self.counted(log.add(activation, why, now)),
            None => Ok(()),
        }
    }

    /// Revokes every activation that the log names and the database does not
    /// know as revoked.
    ///
    /// # Errors
    /// The file or the database cannot be read at all. A line that makes no
    /// sense is no error: it is left out, and told.
    pub(crate) fn replay(&self) -> Result<()> {
        let Some(log) = &self.revocations else {
            return Ok(());
        };
        let mut batches: Vec<(RevocationReason, Vec<[u8; 16]>)> = Vec::new();
        let mut unreadable = 0u64;
        log.lines(|line| {
            let Ok(line) = line else {
                unreadable += 1;
                return Ok(());
            };
            let at = match batches.iter().position(|(why, _)| *why == line.why) {
                Some(at) => at,
                None => {
                    batches.push((line.why, Vec::new()));
                    batches.len() - 1
                }
            };
            let (why, ids) = &mut batches[at];
            ids.push(line.activation);
            if ids.len() == BATCH {
                self.revoke(*why, ids)?;
                ids.clear();
            }
            Ok(())
        })?;
        for (why, ids) in &batches {
            self.revoke(*why, ids)?;
        }
        if unreadable > 0 {
            log.unreadable.inc_by(unreadable);
            tracing::error!(
                lines = unreadable,
                file = %log.path.display(),
                "lines of the revocation log were not understood and left out; the others are applied"
            );
        }
        Ok(())
    }

    fn revoke(&self, why: RevocationReason, ids: &[[u8; 16]]) -> Result<()> {
        let Some(last) = ids.last() else {
            return Ok(());
        };
        // One text for every batch, however full: the rest repeats the last.
        let places: Vec<String> = (2..BATCH + 2).map(|n| format!("?{n}")).collect();
        let sql = format!(
            "UPDATE activations SET revoked = ?1 WHERE revoked IS NULL AND id IN ({})",
            places.join(", ")
        );
        let mut values = values![why.name()].to_vec();
        values.extend((0..BATCH).map(|n| super::sql::Value::from(ids.get(n).unwrap_or(last))));
        self.write(|tx| tx.execute(&sql, &values).map(drop))
    }

    /// Shortens the revocation log; the database must know what it says
    /// (`Store::replay`). Returns how many lines went.
    ///
    /// # Errors
    /// The log stays as it was.
    pub fn shorten_revocations(&self, now: u64) -> Result<u64> {
        match &self.revocations {
            Some(log) => self.counted(log.shorten(now)),
            None => Ok(0),
        }
    }

    /// Lines of the log that were not understood since the start.
    pub(crate) fn unreadable_revocations(&self) -> Counter {
        self.revocations
            .as_ref()
            .map(|log| log.unreadable.clone())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line {
        activation: [0xA7; 16],
        why: RevocationReason::Theft,
        at: Some(1_800_000_000),
    };

    #[test]
    fn every_beginning_of_a_line_and_every_flipped_bit_says_nothing() {
        let whole = LINE.text(1_800_000_000);
        assert_eq!(Line::parse(whole.as_bytes()), Some(LINE));
        for n in 0..whole.len() - 1 {
            assert_eq!(Line::parse(&whole.as_bytes()[..n]), None, "{n} bytes");
        }
        for bit in 0..(whole.len() - 1) * 8 {
            let mut other = whole.clone().into_bytes();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Line::parse(&other), None, "bit {bit}");
        }
    }

    #[test]
    fn a_line_of_an_older_version_still_counts_and_its_beginnings_do_not() {
        let id = "a7".repeat(16);
        let whole = Line::parse(format!("{id} theft\n").as_bytes());
        assert_eq!(whole, Some(Line { at: None, ..LINE }));
        for torn in ["", "a7a7", &id, &format!("{id} "), &format!("{id} remo")] {
            assert_eq!(Line::parse(torn.as_bytes()), None, "{torn}");
        }
        let unknown = format!("{id} lost\n");
        assert_eq!(Line::parse(unknown.as_bytes()), None);
    }

    /// The log under two handles, as two processes have it.
    #[test]
    fn a_log_shortened_by_one_process_loses_nothing_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (
            Revocations::open(dir.path()).unwrap(),
            Revocations::open(dir.path()).unwrap(),
        );
        let now = 1_800_000_000;
        one.add(&[1; 16], RevocationReason::Removed, now - KEEP_S - 1)
            .unwrap();
        one.add(&[2; 16], RevocationReason::Removed, now).unwrap();
        one.add(&[2; 16], RevocationReason::Theft, now).unwrap();
        let mut raw = append(&one.path).unwrap();
        raw.write_all(b"\nno line\xff\n").unwrap();
        assert_eq!(one.shorten(now).unwrap(), 3);
        two.add(&[3; 16], RevocationReason::Removed, now).unwrap();
        one.add(&[4; 16], RevocationReason::Removed, now).unwrap();
        let mut there = Vec::new();
        one.lines(|line| {
            there.push(line.unwrap().activation[0]);
            Ok(())
        })
        .unwrap();
        assert_eq!(there, [2, 3, 4]);
        let aside = std::fs::read(dir.path().join(UNREADABLE)).unwrap();
        assert_eq!(aside, b"no line\xff\n");
        assert_eq!(two.shorten(now).unwrap(), 0, "nothing more to leave out");
    }
}
