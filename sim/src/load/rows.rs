//! A database with as many rows as a run asks for, put in past the service, as a
//! copy that is brought back would have them.

use super::postgres::Server;
use crate::base::sample::Samples;
use crate::base::unhex;
use crate::service::store::AccountId;
use crate::service::{Service, ServicePaths, Settings};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A service's folder, and the database that it uses.
pub struct Rows {
    home: TempDir,
    server: Option<Server>,
}

impl Rows {
    /// An empty database, with one account.
    ///
    /// # Errors
    /// In words: no folder, or no PostgreSQL.
    pub fn new(postgres: bool) -> Result<Rows, String> {
        let server = if postgres {
            Some(Server::start().ok_or("PostgreSQL is not on this machine")?)
        } else {
            None
        };
        let home = tempfile::tempdir().map_err(|e| e.to_string())?;
        let rows = Rows { home, server };
        let samples = Samples::read(None).map_err(|e| e.to_string())?;
        let filled = rows.open()?.add_samples(&samples);
        filled.map_err(|e| e.to_string())?;
        Ok(rows)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// The service over it, as at a start.
    ///
    /// # Errors
    /// In words.
    pub fn open(&self) -> Result<Arc<Service>, String> {
        let place = ServicePaths {
            database: self.server.as_ref().map(Server::url),
            ..ServicePaths::folder(self.dir())
        };
        Service::open_on(&place, Settings::default()).map_err(|e| e.to_string())
    }

    /// The account.
    ///
    /// # Errors
    /// In words.
    pub fn account(&self) -> Result<AccountId, String> {
        let id = self.sql("SELECT min(id) FROM accounts")?;
        id.parse().map(AccountId).map_err(|_| id)
    }

    /// Activations in use, each of a device of its own.
    ///
    /// # Errors
    /// In words.
    pub fn activations(&self, number: u64) -> Result<(), String> {
        let (id, blob) = match self.server {
            Some(_) => ("decode(md5(i::text), 'hex')", "decode('00', 'hex')"),
            None => ("randomblob(16)", "zeroblob(32)"),
        };
        let n = format!(
            "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {number})"
        );
        self.sql(&format!(
            "INSERT INTO devices (id, public_key, model, kind, agent_version, last_seen) {n} \
             SELECT 'NRD-R-' || i, {blob}, 'Box', 'set-top-box', '1.0.0', 0 FROM n"
        ))?;
        self.sql(&format!(
            "INSERT INTO activations (id, device, epoch, account, phase, pictogram, created, \
             policy, series) {n} SELECT {id}, 'NRD-R-' || i, 0, (SELECT min(id) FROM accounts), \
             'active', 0, 0, 1, {id} FROM n"
        ))?;
        // A database of this size has been looked over for some time.
        self.sql("ANALYZE")?;
        Ok(())
    }

    /// A removal ordered of each activation but the first `spared`, under the order
    /// key in force; no device has answered.
    ///
    /// # Errors
    /// In words.
    pub fn orders(&self, spared: u64) -> Result<(), String> {
        let blob = match self.server {
            Some(_) => "decode('00', 'hex')",
            None => "x'00'",
        };
        let of = format!("id NOT IN (SELECT id FROM activations ORDER BY id LIMIT {spared})");
        self.sql(&format!(
            "INSERT INTO orders SELECT id, id, (SELECT max(version) FROM delegations), 1, \
             'deactivate', {blob}, 0, NULL FROM activations WHERE {of}"
        ))?;
        self.sql(&format!(
            "UPDATE activations SET phase = 'removing', revoked = 'removed' WHERE {of}"
        ))?;
        self.sql("ANALYZE")?;
        Ok(())
    }

    /// Ids of activations, in their order.
    ///
    /// # Errors
    /// In words.
    pub fn ids(&self, limit: u64) -> Result<Vec<[u8; 16]>, String> {
        let hex = match self.server {
            Some(_) => "encode(id, 'hex')",
            None => "lower(hex(id))",
        };
        let text = self.sql(&format!(
            "SELECT {hex} FROM activations ORDER BY id LIMIT {limit}"
        ))?;
        Ok(text.lines().filter_map(unhex).collect())
    }

    /// Runs a statement; gives the first column of its rows, a line each.
    ///
    /// # Errors
    /// In words.
    pub fn sql(&self, text: &str) -> Result<String, String> {
        if let Some(server) = &self.server {
            return Ok(server.sql(text));
        }
        let run = || -> rusqlite::Result<String> {
            let db = rusqlite::Connection::open(self.dir().join("service.db"))?;
            let mut statement = db.prepare(text)?;
            let mut rows = statement.query([])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                out.push(match row.get_ref(0)? {
                    rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                    rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
                    _ => String::new(),
                });
            }
            Ok(out.join("\n"))
        };
        run().map_err(|e| e.to_string())
    }
}

/// The most memory that this process had at once so far, in MiB; 0 where the
/// system does not say.
pub fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    let kib = line
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
