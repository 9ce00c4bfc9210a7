//! Builds the changed agent and the programs that judge it.

use crate::list::Mutant;
use crate::place::{Placed, arm_after, number_before};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Deserialize)]
struct Said {
    reason: String,
    message: Option<Message>,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
    level: String,
    spans: Vec<Place>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    byte_start: usize,
    is_primary: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// A program of tests.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Where cargo would run it.
    pub(crate) folder: PathBuf,
}

fn cargo(copy: &Path, work: &Path, words: &[&str]) -> Result<Vec<Said>, String> {
    let out = Command::new("cargo")
        .args(words)
        .arg("--message-format=json")
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", work.join("build"))
        // The changed code is no pleasure to read.
        .env("RUSTFLAGS", "-Awarnings")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| e.to_string())?;
    let lines = out.stdout.split(|&b| b == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// Writes the changed files into `copy`, without the mutants that no compiler
/// takes; returns those.
pub(crate) fn write(
    copy: &Path,
    work: &Path,
    files: &BTreeMap<String, Placed>,
    mutants: &[Mutant],
) -> Result<HashSet<usize>, String> {
    std::fs::write(copy.join("agent/src/switch.rs"), include_str!("switch.rs"))
        .map_err(|e| e.to_string())?;
    let mut unviable = HashSet::new();
    loop {
        for (file, placed) in files {
            let mut text = placed.text(&unviable);
            if file == "agent/src/lib.rs" {
                text.push_str("\nmod switch;\n");
            }
            let path = copy.join(file);
            if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
                std::fs::write(path, text).map_err(|e| e.to_string())?;
            }
        }
        let said = cargo(
            copy,
            work,
            &[
                "check",
                "-q",
                "-p",
                "nrd-agent",
                "--features",
                "tls,log,serde",
            ],
        )?;
        let errors: Vec<Message> = said
            .into_iter()
            .filter_map(|s| s.message.filter(|m| m.level == "error"))
            .collect();
        if errors.is_empty() {
            return Ok(unviable);
        }
        let before = unviable.len();
        for error in &errors {
            let place = error.spans.iter().find(|p| p.is_primary);
            let Some(place) = place else { continue };
            let Ok(text) = std::fs::read_to_string(copy.join(&place.file_name)) else {
                continue;
            };
            let found = match error.message.starts_with("non-exhaustive patterns") {
                true => arm_after(&text, place.byte_start, &unviable),
                false => number_before(&text, place.byte_start),
            };
            let here = |n: &usize| mutants.get(*n).is_some_and(|m| m.file == place.file_name);
            unviable.extend(found.filter(here));
        }
        if unviable.len() == before {
            let text = errors.into_iter().find_map(|e| e.rendered);
            return Err(text.unwrap_or_default());
        }
    }
}

/// Their unit tests judge, and the test programs that are named are theirs.
const PACKAGES: [&str; 7] = [
    "nrd-agent",
    "nrd-sim-base",
    "nrd-sim-hw",
    "nrd-sim-forensics",
    "nrd-sim-explorer",
    "nrd-sim",
    "nrd-tests",
];

/// Builds the tests that judge.
pub(crate) fn programs(copy: &Path, work: &Path, tests: &[&str]) -> Result<Vec<Program>, String> {
    let mut words = vec!["test", "--no-run", "--lib"];
    for package in PACKAGES {
        words.extend(["-p", package]);
    }
    for test in tests {
        words.extend(["--test", test]);
    }
    let said = cargo(copy, work, &words)?;
    let programs: Vec<Program> = said
        .into_iter()
        .filter(|s| s.reason == "compiler-artifact")
        .filter(|s| s.profile.as_ref().is_some_and(|p| p.test))
        .filter_map(|s| {
            Some(Program {
                name: s.target?.name,
                path: s.executable?,
                folder: s.manifest_path?.parent()?.to_owned(),
            })
        })
        .collect();
    match programs.len() > tests.len() {
        true => Ok(programs),
        false => Err("the tests could not be built".to_owned()),
    }
}
