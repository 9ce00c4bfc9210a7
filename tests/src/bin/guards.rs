//! Removes each guard of `tests/guards.toml` in turn, on a copy, and checks
//! that the test of its own promise fails.
//!
//! `cargo xtask guards [NAME…]`: all of them, or those whose name contains one
//! of the words. Works in `target/guards`. Exit status 1 when a guard's removal
//! survives.

use nrd_tests::token_pattern::{Pattern, Source};
use nrd_tests::worktree_copy::copy_tree;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Deserialize)]
struct File {
    guard: Vec<Guard>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Guard {
    name: String,
    promise: String,
    /// A file, or a folder whose every `.rs` file is searched.
    #[serde(rename = "in")]
    place: PathBuf,
    /// The functions that are searched; all code when none is named.
    #[serde(rename = "fn")]
    function: Option<String>,
    find: String,
    replace: String,
    /// `powercut`, or a cargo command.
    test: String,
    /// What its failure says; alternatives by `|`.
    says: String,
    /// Why nothing notices that it is gone, where nothing can.
    explained: Option<String>,
}

/// The explorer's run that stands behind `powercut`.
const POWERCUT: &str = "cargo run -p nrd-sim -- powercut --seed 7 --sector-size 2048 --sectors 9";

fn main() -> ExitCode {
    let root = root();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let file = read(&root);
    let work = root.join("target/guards");
    let copy = work.join("src");
    copy_tree(&root, &copy);
    let wanted = |g: &&Guard| words.is_empty() || words.iter().any(|w| g.name.contains(w.as_str()));
    let mut survivors = 0;
    let guards: Vec<&Guard> = file.guard.iter().filter(wanted).collect();
    for guard in &guards {
        match judge(guard, &copy, &work) {
            Ok(seen) => println!("killed    {}: {seen}", guard.name),
            Err(e) if guard.explained.is_some() => {
                let why = guard.explained.as_deref().unwrap_or_default();
                println!("explained {}: {e}; {why}", guard.name);
            }
            Err(e) => {
                survivors += 1;
                println!("SURVIVED  {} ({}): {e}", guard.name, guard.promise);
            }
        }
    }
    println!("{} guards removed, {survivors} not noticed", guards.len());
    ExitCode::from(u8::from(survivors > 0))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(root: &Path) -> File {
    let text = std::fs::read_to_string(root.join("tests/guards.toml")).expect("tests/guards.toml");
    toml::from_str(&text).expect("tests/guards.toml makes sense")
}

/// A file with a guard in it.
struct Guarded {
    path: PathBuf,
    whole: String,
    /// The same without the guard.
    without: String,
}

/// Finds a guard in the project at `root`; an error unless its pattern matches
/// exactly once.
fn find(guard: &Guard, root: &Path) -> Result<Guarded, String> {
    let pattern = Pattern::new(&guard.find).map_err(|e| format!("`find`: {e}"))?;
    let mut places = Vec::new();
    let mut guarded = None;
    for path in rust_files(&root.join(&guard.place))? {
        let whole = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display();
        let source = Source::new(&whole).map_err(|e| format!("{shown}: {e}"))?;
        let mut without = None;
        for found in pattern.find(&source, guard.function.as_deref()) {
            places.push(format!("{shown}:{}", found.line()));
            without = Some(found.replaced(&guard.replace)?);
        }
        if let Some(without) = without {
            guarded = Some(Guarded {
                path,
                whole,
                without,
            });
        }
    }
    match (guarded, places.len()) {
        (Some(guarded), 1) => Ok(guarded),
        (_, n) => Err(format!(
            "`find` matches {n} places in {}: {places:?}",
            guard.place.display()
        )),
    }
}

/// A file, or all `.rs` files of a folder, in the order of their names.
fn rust_files(place: &Path) -> Result<Vec<PathBuf>, String> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let listed = std::fs::read_dir(place).map_err(|e| format!("{}: {e}", place.display()))?;
    let mut entries: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Runs the test of a guard's promise without the guard; the line that tells of
/// the failure.
fn judge(guard: &Guard, copy: &Path, work: &Path) -> Result<String, String> {
    let guarded = find(guard, copy)?;
    std::fs::write(&guarded.path, &guarded.without).map_err(|e| e.to_string())?;
    let ran = run(&guard.test, copy, work);
    std::fs::write(&guarded.path, &guarded.whole).map_err(|e| e.to_string())?;
    let (ok, output) = ran?;
    if output.contains("error: could not compile") || output.contains("error[E") {
        return Err("the change does not compile".to_owned());
    }
    if ok {
        return Err("the test passes without it".to_owned());
    }
    let line = output
        .lines()
        .find(|l| {
            let telling = l.contains("VIOLATION")
                || l.contains("FAILED")
                || l.contains("panicked")
                || l.contains("MISSED")
                || l.contains("assert");
            telling && guard.says.split('|').any(|s| l.contains(s))
        })
        .or_else(|| {
            output
                .lines()
                .find(|l| guard.says.split('|').any(|s| l.contains(s)))
        });
    match line {
        Some(line) => Ok(line.trim().chars().take(150).collect()),
        None => Err(format!("the test fails, but does not say {:?}", guard.says)),
    }
}

fn run(test: &str, copy: &Path, work: &Path) -> Result<(bool, String), String> {
    let command = if test == "powercut" { POWERCUT } else { test };
    let mut words = command.split_whitespace();
    let program = words.next().ok_or("an empty command")?;
    let out = Command::new(program)
        .args(words)
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", work.join("build"))
        .env("RUST_BACKTRACE", "0")
        .output()
        .map_err(|e| e.to_string())?;
    let text = [out.stdout, out.stderr].concat();
    Ok((
        out.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_matches_exactly_once() {
        let wrong: Vec<String> = read(&root())
            .guard
            .iter()
            .filter_map(|g| Some(format!("{}: {}", g.name, find(g, &root()).err()?)))
            .collect();
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    /// A renamed test would let a guard's removal pass: `cargo test NAME` that
    /// finds no test succeeds.
    #[test]
    fn every_guards_test_exists() {
        let mut sources = Vec::new();
        for folder in ["agent", "sim", "tests/tests"] {
            sources.extend(rust_files(&root().join(folder)).unwrap());
        }
        for guard in read(&root()).guard {
            let words: Vec<&str> = guard.test.split_whitespace().collect();
            let target = words.iter().skip_while(|w| **w != "--test").nth(1);
            let Some(target) = target else { continue };
            let files: Vec<&PathBuf> = sources
                .iter()
                .filter(|f| {
                    let path = f.to_string_lossy();
                    path.ends_with(&format!("/tests/{target}.rs"))
                        || path.contains(&format!("/tests/{target}/"))
                })
                .collect();
            assert!(!files.is_empty(), "{}: no test {target}", guard.name);
            let name = words.last().filter(|last| *last != target);
            let says = files.iter().any(|f| {
                let text = std::fs::read_to_string(f).unwrap();
                let mut functions = text.lines().filter(|l| l.trim().starts_with("fn "));
                name.is_none_or(|name| functions.any(|l| l.contains(name)))
            });
            assert!(says, "{}: no test {name:?} in {target}", guard.name);
        }
    }
}
