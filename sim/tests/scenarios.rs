//! The stories of `sim/scenarios/`, and what `nrd-sim run` says of files that
//! tell none. Every story draws from the seed that its file names.

use nrd_sim::world::read::read;
use nrd_sim::world::runner::{ScenarioReport, play};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn stories() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    all.sort();
    all
}

fn played(text: &str) -> ScenarioReport {
    let story = read(text).unwrap_or_else(|e| panic!("{e}"));
    play(&story, |_, _| {}).unwrap()
}

fn nrd_sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nrd-sim"))
        .args(args)
        .output()
        .unwrap()
}

/// A story of one console that Maya uses, and these steps.
fn console(steps: &str) -> String {
    format!(
        "title = \"t\"\nseed = 3\n[[device]]\nname = \"console\"\nkind = \"console\"\n\
         [[account]]\nname = \"Maya\"\n[[step]]\ndo = \"activate\"\ndevice = \"console\"\n\
         account = \"Maya\"\n{steps}"
    )
}

#[test]
fn every_story_goes_as_told() {
    let all = stories();
    assert!(all.len() >= 12, "{all:?}");
    for path in all {
        let report = played(&std::fs::read_to_string(&path).unwrap());
        println!("{}: seed {}", path.display(), report.seed);
        assert_eq!(report.failures, [], "{}", path.display());
        assert!(report.expectations > 0, "{}", path.display());
    }
}

#[test]
fn a_story_goes_as_told_whatever_is_drawn() {
    for path in stories() {
        let mut story = read(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for seed in [2, 99, 123_456_789] {
            println!("{}: seed {seed}", path.display());
            story.seed = seed;
            let report = play(&story, |_, _| {}).unwrap();
            assert_eq!(report.failures, [], "{}, seed {seed}", path.display());
        }
    }
}

#[test]
fn the_same_story_is_the_same_to_the_last_bit_of_flash() {
    let text = std::fs::read_to_string(folder().join("plug-pulled-while-wiping.toml")).unwrap();
    let (one, two) = (played(&text), played(&text));
    assert_eq!(one, two);
    let other = played(&text.replacen("title", "seed = 77\ntitle", 1));
    assert_ne!(one.flash, other.flash);
}

#[test]
fn a_broken_expectation_is_named_with_line_and_time_and_the_exit_status_is_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrong.toml");
    let text = console(
        "[[step]]\nafter = \"2 days\"\nexpect = \"console\"\nstate = \"clean\"\n\
         account = \"Maya\"\npage = \"proven-wiped\"\nreadable = 0\n",
    );
    std::fs::write(&path, text).unwrap();
    let file = path.to_str().unwrap();
    let out = nrd_sim(&["run", file]);
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.starts_with("BROKEN t: 2 steps"), "{said}");
    let at = format!("{file}:13: after 2 d 0 h: ");
    for what in [
        "console should be clean, and is active",
        "Maya's page should say proven-wiped of console, and says active",
        "0 bytes of accounts should be readable on console's flash, and ",
    ] {
        assert!(said.contains(&format!("{at}{what}")), "{what}: {said}");
    }

    let junit = dir.path().join("report.xml");
    let out = nrd_sim(&["run", "--json", "--junit", junit.to_str().unwrap(), file]);
    assert_eq!(out.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(line["failures"].as_array().unwrap().len(), 3);
    assert_eq!(line["failures"][0]["line"], 13);
    let report = std::fs::read_to_string(junit).unwrap();
    assert!(report.contains("tests=\"1\" failures=\"1\""), "{report}");
    assert!(report.contains("<failure message=\"line 13: console should be clean"));
}

#[test]
fn what_cannot_be_done_is_said_where_it_was_asked() {
    for (steps, line, says) in [
        (
            "[[step]]\ndo = \"power-off\"\ndevice = \"console\"\n[[step]]\ndo = \"wipe\"\ndevice = \"console\"\n",
            16,
            "console is off: switch it on first",
        ),
        (
            "[[step]]\ndo = \"activate\"\ndevice = \"console\"\naccount = \"Maya\"\n",
            13,
            "console does not activate: ",
        ),
    ] {
        let report = played(&console(steps));
        let [failure] = &report.failures[..] else {
            panic!("{:?}", report.failures);
        };
        assert_eq!(failure.line, line);
        assert!(failure.what.starts_with(says), "{}", failure.what);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_file_that_makes_no_sense_is_refused_where_it_makes_none() {
    let mut wrong = Vec::new();
    let device =
        "title = \"t\"\n[[device]]\nname = \"tv\"\n[[account]]\nname = \"Maya\"\n[[step]]\n";
    for (text, line, column, what, hint) in [
        ("title = \"t", 1, 11, "invalid basic string", "not TOML"),
        ("seed = 1", 1, 1, "`title` is missing", "add title ="),
        ("title = 4", 1, 9, "this is no text", "title = "),
        (
            "title = \"t\"\nseed = -1",
            2,
            8,
            "out of range",
            "whole number",
        ),
        (
            "title = \"t\"\ndevice = 1",
            2,
            10,
            "no list of tables",
            "[[device]]",
        ),
        (
            "title = \"t\"\n[[device]]\nname = \"\"",
            3,
            8,
            "this is no name",
            "letters",
        ),
        (
            "title = \"t\"\n[[device]]\nname = \"a\"\nkind = \"consol\"",
            4,
            8,
            "`consol` is no `kind`",
            "did you mean `console`?",
        ),
        (
            "title = \"t\"\n[[device]]\nname = \"a\"\n[[device]]\nname = \"a\"",
            5,
            8,
            "`a` is there already",
            "name of its own",
        ),
        (
            &format!("{device}do = \"actvate\""),
            7,
            6,
            "`actvate` is no `do`",
            "did you mean `activate`?",
        ),
        (
            &format!("{device}after = \"1 day\""),
            6,
            1,
            "`do` is missing",
            "`wait`",
        ),
        (
            &format!("{device}do = \"wipe\"\ndevice = \"tb\""),
            8,
            10,
            "there is no device `tb` here",
            "did you mean `tv`?",
        ),
        (
            &format!("{device}do = \"wait\"\nafter = \"3 fortnights\""),
            8,
            9,
            "is no duration",
            "\"3 days\"",
        ),
        (
            &format!("{device}do = \"power-off\"\ndevice = \"tv\"\naccount = \"Maya\""),
            9,
            1,
            "`power-off` has no `account`",
            "`device`",
        ),
        (
            &format!("{device}do = \"restore\"\ndevice = \"tv\"\nname = \"x\""),
            9,
            8,
            "there is no image `x` here",
            "none is there",
        ),
        (
            &format!("{device}expect = \"tv\""),
            7,
            10,
            "nothing is expected of it",
            "state",
        ),
        (
            &format!("{device}expect = \"tv\"\nstate = \"lokced\""),
            8,
            9,
            "`lokced` is no `state`",
            "did you mean `locked`?",
        ),
        (
            &format!("{device}expect = \"tv\"\nstat = \"locked\""),
            7,
            10,
            "nothing is expected of it",
            "state",
        ),
        (
            &format!("{device}expect = \"tv\"\nstate = \"off\"\nrecipts = 1"),
            9,
            1,
            "an expectation has no `recipts`",
            "did you mean `receipts`?",
        ),
    ] {
        let error = read(text).expect_err(text);
        let right = (error.line, error.column) == (line, column)
            && error.what.contains(what)
            && error.hint.contains(hint);
        if !right {
            wrong.push(format!("{text}\n{error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_bad_file_on_the_command_line_is_shown_with_its_line_and_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, "title = \"t\"\n[[device]]\nnmae = \"tv\"\n").unwrap();
    let out = nrd_sim(&["run", path.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(
        said.contains("line 2, column 1: `name` is missing"),
        "{said}"
    );
    let out = nrd_sim(&["run", dir.path().join("none.toml").to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn no_text_makes_the_reader_panic() {
    let text = std::fs::read_to_string(folder().join("remove-all.toml")).unwrap();
    let mut draws = nrd_sim::hw::SplitMix(5);
    println!("seed 5");
    for _ in 0..3000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=draws.below(3) {
            let at = draws.below(bytes.len() as u64) as usize;
            match draws.below(3) {
                0 => bytes[at] = draws.draw() as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        #[expect(
            clippy::let_underscore_must_use,
            reason = "any answer will do: it must not panic"
        )]
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn shells_are_given_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let out = nrd_sim(&["completions", shell]);
        assert!(out.status.success());
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(
            text.contains("powercut") && text.contains("junit"),
            "{shell}"
        );
    }
}
