//! The mutants, as cargo-mutants lists them.

use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// A place in a file: line and column, both from 1.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Point {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

#[derive(Deserialize, Clone, Debug)]
pub(crate) struct Span {
    pub(crate) start: Point,
}

#[derive(Deserialize, Clone, Debug)]
pub(crate) struct Mutant {
    pub(crate) file: String,
    /// `agent/src/lease.rs:63:17: replace >= with < in StoredLease::status`
    pub(crate) name: String,
    pub(crate) genre: String,
    pub(crate) replacement: String,
    pub(crate) span: Span,
}

impl Mutant {
    /// Its name without line and column, which change with every edit.
    pub(crate) fn change(&self) -> &str {
        self.name.splitn(4, ':').last().unwrap_or("").trim()
    }
}

/// All of those that `.cargo/mutants.toml` asks for.
pub(crate) fn list(root: &Path) -> Result<Vec<Mutant>, String> {
    let listed = Command::new("cargo")
        .args(["mutants", "--list", "--json"])
        .current_dir(root)
        .output()
        .map_err(|e| e.to_string())?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr).into_owned();
        return Err(format!(
            "{said}The mutants are listed by cargo-mutants. To install it: cargo install cargo-mutants --locked"
        ));
    }
    serde_json::from_slice(&listed.stdout).map_err(|e| e.to_string())
}
