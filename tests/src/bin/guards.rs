//! Removes each guard of `tests/guards.toml` in turn, on a copy, and checks
//! that the test of its own promise fails.
//!
//! `cargo run -p nrd-tests --bin guards [-- NAME…]`: all of them, or those whose
//! name contains one of the words. Works in `target/guards`. Exit status 1 when
//! a guard's removal survives.

use nrd_tests::copy::copy_tree;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Deserialize)]
struct File {
    guard: Vec<Guard>,
}

#[derive(Deserialize)]
struct Guard {
    name: String,
    promise: String,
    file: PathBuf,
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
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let file = read(&root);
    let work = root.join("target/guards");
    let copy = work.join("src");
    copy_tree(&root, &copy);
    let wanted = |g: &&Guard| words.is_empty() || words.iter().any(|w| g.name.contains(w.as_str()));
    let mut survivors = 0;
    let guards: Vec<&Guard> = file.guard.iter().filter(wanted).collect();
    for guard in &guards {
        match removed(guard, &copy, &work) {
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

fn read(root: &Path) -> File {
    let text = std::fs::read_to_string(root.join("tests/guards.toml")).expect("tests/guards.toml");
    toml::from_str(&text).expect("tests/guards.toml makes sense")
}

/// The file of a guard, which stands in it once.
fn found(guard: &Guard, root: &Path) -> Result<String, String> {
    let file = guard.file.display();
    let whole = std::fs::read_to_string(root.join(&guard.file)).map_err(|e| e.to_string())?;
    match whole.matches(&guard.find).count() {
        1 => Ok(whole),
        n => Err(format!("`find` stands {n} times in {file}")),
    }
}

fn removed(guard: &Guard, copy: &Path, work: &Path) -> Result<String, String> {
    let path = copy.join(&guard.file);
    let whole = found(guard, copy)?;
    std::fs::write(&path, whole.replacen(&guard.find, &guard.replace, 1))
        .map_err(|e| e.to_string())?;
    let ran = run(&guard.test, copy, work);
    std::fs::write(&path, whole).map_err(|e| e.to_string())?;
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
    fn every_guard_stands_where_the_list_says() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        for guard in read(&root).guard {
            if let Err(e) = found(&guard, &root) {
                panic!("{}: {e}", guard.name);
            }
        }
    }
}
