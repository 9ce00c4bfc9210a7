//! A long revocation log: how long a start takes that applies all of it to a
//! restored database, and one that finds it applied.

use super::rows::{Rows, peak_memory_mib};
use crate::service::store::{RevocationReason, revocation_line};
use serde::Serialize;
use std::io::{BufWriter, Write as _};
use std::time::Instant;

/// What was seen.
#[derive(Debug, Serialize)]
pub struct RevocationReport {
    /// Lines of the log, each of another activation.
    pub lines: u64,
    /// Size of the log, in MiB.
    pub log_mib: f64,
    /// Seconds of the start that applied every line.
    pub all_applied_s: f64,
    /// Seconds of the start after that.
    pub next_start_s: f64,
    /// Most memory of this process, in MiB.
    pub peak_mib: u64,
    /// Activations revoked afterwards.
    pub revoked: u64,
}

/// Measures with `lines` lines.
///
/// # Errors
/// In words.
pub fn run(lines: u64, postgres: bool, say: impl Fn(&str)) -> Result<RevocationReport, String> {
    let rows = Rows::new(postgres)?;
    say("filling the database");
    rows.activations(lines)?;
    let ids = rows.ids(lines)?;
    let log = rows.dir().join("revocations.log");
    // In an order of their own, as removals come.
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|n| (*n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let written = (|| -> std::io::Result<u64> {
        let file = std::fs::OpenOptions::new().append(true).open(&log)?;
        let mut out = BufWriter::new(file);
        for n in order {
            let line = revocation_line(ids[n], RevocationReason::Removed, 4_000_000_000);
            out.write_all(line.as_bytes())?;
        }
        out.flush()?;
        Ok(std::fs::metadata(&log)?.len())
    })();
    let bytes = written.map_err(|e| e.to_string())?;
    drop(ids);
    say("starting over a database that knows none of it");
    let began = Instant::now();
    drop(rows.open()?);
    let all_applied_s = began.elapsed().as_secs_f64();
    say("starting again");
    let began = Instant::now();
    drop(rows.open()?);
    let next_start_s = began.elapsed().as_secs_f64();
    let revoked = rows.sql("SELECT count(*) FROM activations WHERE revoked = 'removed'")?;
    Ok(RevocationReport {
        lines,
        log_mib: bytes as f64 / f64::from(1 << 20),
        all_applied_s,
        next_start_s,
        peak_mib: peak_memory_mib(),
        revoked: revoked.parse().map_err(|_| revoked)?,
    })
}
