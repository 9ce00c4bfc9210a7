//! Judges every mutant of the agent that cargo-mutants lists.
//!
//! All mutants stand in one build of a copy, in `target/mutants`, each behind a
//! switch (`place`); the tests run once to see which of them reach which mutant,
//! and then, for each mutant, those that do, until one fails. So a mutant costs
//! about a second instead of a build.
//!
//! ```text
//! cargo install cargo-mutants --locked
//! cargo run --release --manifest-path tests/mutants/Cargo.toml [-- WORD…]
//! ```
//!
//! All of them, or those whose name contains one of the words. Exit status 1
//! when one is left that `tests/mutants/left.toml` does not explain, or, of
//! all, when it explains one that is not left any more.

mod build;
mod judge;
mod list;
mod place;
#[path = "../../src/worktree_copy.rs"]
#[expect(unreachable_pub, reason = "a library's module as well")]
mod worktree_copy;

use judge::Verdict;
use list::Mutant;
use place::Placed;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The programs of tests that judge, beside the unit tests.
const TESTS: [&str; 25] = [
    "calls",
    "outages",
    "log_rules",
    "log_lives",
    "attacks",
    "attacks_edges",
    "attacks_more",
    "attacks_trust",
    "codec",
    "counts",
    "emmc",
    "full",
    "fuzz_corpus",
    "log_lines",
    "physics",
    "ports",
    "powercut",
    "reference",
    "rules",
    "service",
    "stampede",
    "tls",
    "vectors",
    "exchange",
    "memory",
];

/// Mutants that are left, and why.
#[derive(Deserialize)]
struct Explained {
    left: Vec<Left>,
}

#[derive(Deserialize)]
struct Left {
    /// Without `agent/src/`.
    file: String,
    change: String,
    /// How many mutants of the file are called so and left; 1 if not said.
    #[serde(default = "one")]
    count: usize,
    why: String,
}

fn one() -> usize {
    1
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().map_err(|e| e.to_string())?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let explained = std::fs::read_to_string(root.join("tests/mutants/left.toml"));
    let explained: Explained = toml::from_str(&explained.map_err(|e| e.to_string())?)
        .map_err(|e| format!("tests/mutants/left.toml: {e}"))?;

    let mutants = list::list(&root)?;
    let work = root.join("target/mutants");
    let copy = work.join("src");
    worktree_copy::copy_tree(&root, &copy);
    let files = place_all(&root, &mutants)?;
    eprintln!("looking for mutants that do not compile: errors are to be expected");
    let unviable = build::write(&copy, &work, &files, &mutants)?;
    eprintln!("building all others, and the tests");
    let programs = build::programs(&copy, &work, &TESTS)?;
    eprintln!("running each test once, to see which mutants it reaches");
    let tests = judge::reach(&programs, &work)?;

    let unplaced: HashSet<usize> = files.values().flat_map(|p| &p.unplaced).copied().collect();
    let wanted = |m: &Mutant| words.is_empty() || words.iter().any(|w| m.name.contains(w.as_str()));
    let numbers: Vec<usize> = (0..mutants.len())
        .filter(|n| !unplaced.contains(n) && !unviable.contains(n) && wanted(&mutants[*n]))
        .collect();
    eprintln!(
        "{} mutants, of them {} unviable and {} not placed; {} are judged by {} tests",
        mutants.len(),
        unviable.len(),
        unplaced.len(),
        numbers.len(),
        tests.len()
    );
    let verdicts = judge::judge(&tests, &numbers, |n| eprintln!("left: {}", mutants[n].name))?;
    let verdicts: BTreeMap<usize, Verdict> = numbers.into_iter().zip(verdicts).collect();
    let shown = |n: usize| wanted(&mutants[n]).then_some(&mutants[n]);
    table(mutants.len(), shown, &verdicts, &unviable, &unplaced);
    Ok(tell(&explained, &mutants, &verdicts, words.is_empty()))
}

fn place_all(root: &Path, mutants: &[Mutant]) -> Result<BTreeMap<String, Placed>, String> {
    let mut of: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    // It declares the switch, whatever it holds.
    of.insert("agent/src/lib.rs", Vec::new());
    for (n, m) in mutants.iter().enumerate() {
        of.entry(&m.file).or_default().push((n, m));
    }
    let placed = of.into_iter().map(|(file, mutants)| {
        let source = std::fs::read_to_string(root.join(file)).map_err(|e| e.to_string())?;
        let placed = Placed::find(source, &mutants).map_err(|e| format!("{file}: {e}"))?;
        Ok((file.to_owned(), placed))
    });
    placed.collect()
}

/// Prints the counts of those that are shown, a line for each file.
fn table<'m>(
    mutants: usize,
    shown: impl Fn(usize) -> Option<&'m Mutant>,
    verdicts: &BTreeMap<usize, Verdict>,
    unviable: &HashSet<usize>,
    unplaced: &HashSet<usize>,
) {
    let mut files: BTreeMap<&str, [usize; 6]> = BTreeMap::new();
    for (n, m) in (0..mutants).filter_map(|n| Some((n, shown(n)?))) {
        let column = match verdicts.get(&n) {
            Some(Verdict::Caught) => 1,
            Some(Verdict::Ended) => 2,
            Some(Verdict::Left) => 3,
            None if unviable.contains(&n) => 4,
            None if unplaced.contains(&n) => 5,
            None => continue,
        };
        for file in [m.file.trim_start_matches("agent/src/"), "~all"] {
            let counts = files.entry(file).or_default();
            counts[0] += 1;
            counts[column] += 1;
        }
    }
    println!("| file | mutants | caught | ended | left | unviable | not placed |");
    println!("|---|---|---|---|---|---|---|");
    for (file, counts) in files {
        let file = if file == "~all" { "**all**" } else { file };
        let counts = counts.map(|n| n.to_string()).join(" | ");
        println!("| {file} | {counts} |");
    }
}

/// Prints what is left, with its explanation; false when one has none, or, of
/// `all`, when more are explained than are left.
fn tell(
    explained: &Explained,
    mutants: &[Mutant],
    verdicts: &BTreeMap<usize, Verdict>,
    all: bool,
) -> bool {
    let mut left: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (n, _) in verdicts.iter().filter(|(_, v)| **v == Verdict::Left) {
        let m = &mutants[*n];
        let file = m.file.trim_start_matches("agent/src/");
        left.entry((file, m.change())).or_default().push(&m.name);
    }
    let mut good = true;
    for l in &explained.left {
        let key = (l.file.as_str(), l.change.as_str());
        let n = left.get(&key).map_or(0, Vec::len);
        if (1..=l.count).contains(&n) {
            println!("explained {}: {}, {n} of them: {}", l.file, l.change, l.why);
            left.remove(&key);
        }
        if all && n < l.count {
            good = false;
            println!(
                "NOT LEFT  {}: {}, {} explained, {n} left",
                l.file, l.change, l.count
            );
        }
    }
    for name in left.into_values().flatten() {
        good = false;
        println!("LEFT      {name}");
    }
    good
}
