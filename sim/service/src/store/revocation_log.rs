//! `revocations.log`: what was revoked, outside of the database.
//!
//! A line is `2 ACTIVATION REASON TIME CHECKSUM`: 32 hexadecimal digits, a word,
//! Unix seconds, and the CRC-32 of all before it. Lines of older versions are
//! `ACTIVATION REASON`, and still count. Whatever else stands there costs its
//! own line and no other: it is counted, told in the log, and left out.
//!
//! The file is read line by line, as bytes, and shortened once a day where that is
//! worth it: a line that repeats another goes, and so does one that is older than
//! any backup that may be brought back. Lines that were not understood go to a file
//! of their own.
//!
//! Shortening replaces the file at once (`rename`), after what comes in its place
//! is on disk; before that it is whole, and after that it is whole. A power cut
//! leaves at most a `revocations.log.part`, which the next shortening begins anew,
//! and lines in the file for unreadable ones that stand there twice.

use super::{Fault, FaultKind, RevocationReason, private};
use crate::error::{Error, Result};
use crc::{CRC_32_ISO_HDLC, Crc};
use nrd_sim_base::{hex, secret_file, unhex};
use prometheus_client::metrics::counter::Counter;
use ring::digest::{Context, SHA256};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read as _, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const LOG: &str = "revocations.log";
/// Where lines go that were not understood.
const UNREADABLE: &str = "revocations.unreadable";
/// What the log is called in the database.
const NAME: &str = "revocations.id";
/// The line's format.
const FORMAT: &str = "2";
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Longest line that is looked at, in bytes; this program's have under 90.
const LONGEST: u64 = 256;
/// What is kept free for the next lines, in bytes.
const ROOM: u64 = 4096;
/// How long a line outlives its removal: as long as a backup may be brought
/// back.
const KEEP_S: u64 = 400 * 86_400;
/// The log is shortened where one line in so many goes.
const WORTH: u64 = 10;

/// The log of one folder. Several processes may share it.
pub(super) struct Revocations {
    pub(super) path: PathBuf,
    /// Random, made with the log.
    pub(super) name: [u8; 16],
    file: Mutex<File>,
    /// Lines that were not understood.
    pub(super) unreadable: Counter,
}

/// One line that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) activation: [u8; 16],
    pub(super) why: RevocationReason,
    /// When, Unix seconds; older versions did not say.
    at: Option<u64>,
}

/// A beginning of the log: its length, and the SHA-256 of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) bytes: u64,
    pub(super) digest: [u8; 32],
}

/// Hashes what is read through it.
struct Hashed<R> {
    from: R,
    hash: Context,
}

impl<R: io::Read> io::Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(out)?;
        self.hash.update(&out[..n]);
        Ok(n)
    }
}

impl<R> Hashed<R> {
    fn new(from: R) -> Hashed<R> {
        let hash = Context::new(&SHA256);
        Hashed { from, hash }
    }

    fn digest(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.hash.clone().finish().as_ref());
        out
    }
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

/// A line of the log, with its line end: for whoever makes one to measure with.
pub fn revocation_line(activation: [u8; 16], why: RevocationReason, at: u64) -> String {
    let line = Line {
        activation,
        why,
        at: Some(at),
    };
    line.text(at)
}

impl Revocations {
    pub(super) fn open(dir: &Path) -> Result<Revocations> {
        let path = dir.join(LOG);
        let failed = |e| Error::File(path.clone(), e);
        private::make(&path)?;
        let file = append(&path).map_err(failed)?;
        let name = name(&dir.join(NAME))?;
        // A file's content on disk is worth nothing before its name is.
        File::open(dir).and_then(|d| d.sync_all()).map_err(failed)?;
        Ok(Revocations {
            path,
            name,
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
    /// nothing. Where the file begins with what `known` names, with those behind it
    /// alone. Returns what was read in all.
    pub(super) fn lines_after(
        &self,
        known: Option<Mark>,
        each: impl FnMut(std::result::Result<Line, &[u8]>) -> Result<()>,
    ) -> Result<Mark> {
        // No line is in the middle of being written where it is let go: what comes
        // later is left to the next time.
        let (file, end) = {
            let _held = self.hold().map_err(|e| self.failed(e))?;
            let open = File::open(&self.path).and_then(|f| {
                let end = f.metadata()?.len();
                Ok((f, end))
            });
            open.map_err(|e| self.failed(e))?
        };
        let mut file = Hashed::new(file);
        if let Some(known) = known.filter(|known| known.bytes <= end) {
            io::copy(&mut (&mut file).take(known.bytes), &mut io::sink())
                .map_err(|e| self.failed(e))?;
            if file.digest() != known.digest {
                let mut again = file.from;
                again.rewind().map_err(|e| self.failed(e))?;
                file = Hashed::new(again);
            }
        }
        let at = file.from.stream_position().map_err(|e| self.failed(e))?;
        let mut rest = BufReader::with_capacity(1 << 16, (&mut file).take(end - at.min(end)));
        each_line(&self.path, &mut rest, each)?;
        Ok(Mark {
            bytes: end,
            digest: file.digest(),
        })
    }

    fn lines(
        &self,
        each: impl FnMut(std::result::Result<Line, &[u8]>) -> Result<()>,
    ) -> Result<()> {
        Revocations::read(&self.path, each)
    }

    /// The log of a folder, where it has one.
    pub(super) fn there(dir: &Path) -> Option<PathBuf> {
        Some(dir.join(LOG)).filter(|path| path.exists())
    }

    /// Calls `each` with every line of the log at `path`.
    pub(super) fn read(
        path: &Path,
        each: impl FnMut(std::result::Result<Line, &[u8]>) -> Result<()>,
    ) -> Result<()> {
        let file = File::open(path).map_err(|e| Error::File(path.to_owned(), e))?;
        each_line(path, &mut BufReader::with_capacity(1 << 16, file), each)
    }

    /// Leaves out what no restored backup can need, and puts what was not
    /// understood aside; where little would go, everything stays. Returns how many
    /// lines went.
    pub(super) fn shorten(&self, now: u64) -> Result<u64> {
        // Nobody appends meanwhile: a line would be lost.
        let _held = self.hold().map_err(|e| self.failed(e))?;
        let oldest = now.saturating_sub(KEEP_S);
        let (mut gone, mut unreadable) = (0, 0);
        let mut seen = HashSet::new();
        let mut undated = false;
        self.lines(|line| {
            undated |= line.is_ok_and(|line| line.at.is_none());
            match line {
                Ok(line) if line.at.is_none_or(|at| at >= oldest) => {
                    gone += u64::from(!seen.insert(line.activation));
                }
                Ok(_) => gone += 1,
                Err(_) => unreadable += 1,
            }
            Ok(())
        })?;
        // A log of another beginning is replayed wholly once.
        let worth_it = gone * WORTH > seen.len() as u64;
        if !worth_it && unreadable == 0 && !undated {
            return Ok(0);
        }
        let part = self.write_shorter(now, oldest, unreadable > 0)?;
        self.put_in_place(&part).map_err(|e| self.failed(e))?;
        Ok(gone + unreadable)
    }

    /// Writes what stays to a file beside the log, and appends what was not
    /// understood to its own; both are on disk when this returns.
    fn write_shorter(&self, now: u64, oldest: u64, unreadable: bool) -> Result<PathBuf> {
        let mut seen = HashSet::new();
        let aside = self.path.with_file_name(UNREADABLE);
        let mut aside = if unreadable {
            Some(append(&aside).map_err(|e| Error::File(aside, e))?)
        } else {
            None
        };
        let part = self.path.with_file_name(format!("{LOG}.part"));
        let file = fresh(&part).map_err(|e| Error::File(part.clone(), e))?;
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
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| aside.as_ref().map_or(Ok(()), File::sync_all))
            .map_err(|e| self.failed(e))?;
        Ok(part)
    }

    fn put_in_place(&self, part: &Path) -> io::Result<()> {
        std::fs::rename(part, &self.path)?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn each_line(
    path: &Path,
    file: &mut impl BufRead,
    mut each: impl FnMut(std::result::Result<Line, &[u8]>) -> Result<()>,
) -> Result<()> {
    let failed = |e| Error::File(path.to_owned(), e);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut part = (&mut *file).take(LONGEST);
        if part.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            file.skip_until(b'\n').map_err(failed)?;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        each(Line::parse(&line).ok_or(&line))?;
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

/// The name in the file `path`, which is made with a random one.
fn name(path: &Path) -> Result<[u8; 16]> {
    let failed = |e| Error::File(path.to_owned(), e);
    let drawn: [u8; 16] = nrd_sim_base::random()?;
    // Another process that shares the folder may be faster, and its name counts: a
    // name is there whole, or not at all.
    let part = path.with_extension(hex(&drawn));
    secret_file::write(&part, &(hex(&drawn) + "\n")).map_err(failed)?;
    let linked = std::fs::hard_link(&part, path);
    std::fs::remove_file(&part).map_err(failed)?;
    match linked {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed(e)),
        Ok(()) | Err(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    unhex(&text).ok_or_else(|| {
        Error::Content(
            path.to_owned(),
            "32 hexadecimal digits are expected: remove the file, and the log gets a new name"
                .into(),
        )
    })
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

    fn activations(log: &Revocations) -> Vec<u8> {
        let mut there = Vec::new();
        log.lines(|line| {
            there.extend(line.map(|line| line.activation[0]));
            Ok(())
        })
        .unwrap();
        there
    }

    #[test]
    fn a_power_cut_at_any_step_of_shortening_loses_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let now = 1_800_000_000;
        let log = Revocations::open(dir.path()).unwrap();
        log.add(&[1; 16], RevocationReason::Removed, now).unwrap();
        log.add(&[1; 16], RevocationReason::Removed, now).unwrap();
        log.add(&[2; 16], RevocationReason::Theft, now).unwrap();
        append(&log.path)
            .unwrap()
            .write_all(b"\nno line\n")
            .unwrap();
        let whole = std::fs::read(&log.path).unwrap();
        // Cut while what comes in its place is written, after any byte of it.
        let part = log.write_shorter(now, 0, true).unwrap();
        let written = std::fs::read(&part).unwrap();
        for n in [0, 1, written.len() / 2, written.len()] {
            std::fs::write(&part, &written[..n]).unwrap();
            drop(Revocations::open(dir.path()).unwrap());
            assert_eq!(std::fs::read(&log.path).unwrap(), whole);
        }
        // The next shortening begins anew, whatever the last one left.
        std::fs::write(&part, b"half of some").unwrap();
        let log = Revocations::open(dir.path()).unwrap();
        assert_eq!(activations(&log), [1, 1, 2]);
        let part = log.write_shorter(now, 0, true).unwrap();
        log.put_in_place(&part).unwrap();
        // Cut after the last step: what is there is whole.
        let log = Revocations::open(dir.path()).unwrap();
        assert_eq!(activations(&log), [1, 2]);
        let aside = std::fs::read(dir.path().join(UNREADABLE)).unwrap();
        assert_eq!(aside, b"no line\nno line\n", "kept, at each try");
    }

    #[test]
    fn a_log_is_read_behind_what_is_known_of_it_and_wholly_where_that_does_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let log = Revocations::open(dir.path()).unwrap();
        let after = |known| {
            let mut there = Vec::new();
            let mark = log.lines_after(known, |line| {
                there.extend(line.map(|line| line.activation[0]));
                Ok(())
            });
            (there, mark.unwrap())
        };
        let add = |n| log.add(&[n; 16], RevocationReason::Removed, 5).unwrap();
        add(1);
        add(2);
        let (there, two) = after(None);
        assert_eq!(there, [1, 2]);
        assert_eq!(after(Some(two)), (vec![], two));
        // A mark in the middle of a line that was torn: the next one is whole.
        append(&log.path).unwrap().write_all(b"2 0303").unwrap();
        let (_, torn) = after(Some(two));
        add(4);
        assert_eq!(after(Some(torn)).0, [4]);
        assert_eq!(after(Some(two)).0, [4]);
        let altered = Mark {
            digest: [7; 32],
            ..two
        };
        assert_eq!(after(Some(altered)).0, [1, 2, 4]);
        let longer = Mark {
            bytes: 1 << 20,
            ..two
        };
        assert_eq!(after(Some(longer)).0, [1, 2, 4]);
        assert_eq!(after(Some(altered)).1, after(Some(torn)).1);
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
        assert_eq!(activations(&one), [2, 3, 4]);
        let aside = std::fs::read(dir.path().join(UNREADABLE)).unwrap();
        assert_eq!(aside, b"no line\xff\n");
        assert_eq!(two.shorten(now).unwrap(), 0, "nothing more to leave out");
    }
}
