//! The things people do here, each by one command; `cargo xtask` lists them.
//!
//! A task only calls cargo and other tools, prints each command before it runs,
//! and stops at the first that fails. Words behind its name are passed on.

mod long;
mod minimum;
mod run;

use run::{Done, bash, cargo, root, run};
use std::process::ExitCode;

struct Task {
    name: &'static str,
    /// What may follow the name.
    words: &'static str,
    what: &'static str,
    run: fn(&[String]) -> Done,
}

const TASKS: [Task; 14] = [
    Task {
        name: "test",
        words: "[WORD…]",
        what: "the quick ring of tests: cargo test --workspace",
        run: |words| run(cargo(&["test", "--workspace", "--locked"]).args(words)),
    },
    Task {
        name: "long",
        words: "[TEST…]",
        what: "the long ring: images, C, browsers, PostgreSQL, MQTT, second power cuts",
        run: long::ring,
    },
    Task {
        name: "ci",
        words: "",
        what: "what CI runs, on this tree: installs tools, both rings, every tool required",
        run: |_| run(&mut bash(".ci/run")),
    },
    Task {
        name: "lint",
        words: "",
        what: "formatting and clippy, as CI asks for",
        run: |_| lint(),
    },
    Task {
        name: "docs",
        words: "[WORD…]",
        what: "the API's documentation, warnings refused (--open shows it)",
        run: |words| {
            let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
            run(doc.env("RUSTDOCFLAGS", "-D warnings").args(words))
        },
    },
    Task {
        name: "msrv",
        words: "",
        what: "builds everything with exactly the stated minimum Rust version",
        run: |_| minimum::build(),
    },
    Task {
        name: "header",
        words: "",
        what: "writes the C header again",
        run: |_| {
            run(&mut cargo(&[
                "run",
                "--locked",
                "-p",
                "nrd-tests",
                "--bin",
                "header",
            ]))
        },
    },
    Task {
        name: "vectors",
        words: "",
        what: "writes the test vectors again: only with a change of a format",
        run: |_| {
            let mut write = cargo(&["test", "--workspace", "--locked"]);
            write.args(["--test", "vectors", "--test", "vectors_wire"]);
            run(write.env("NRD_WRITE_VECTORS", "1"))
        },
    },
    Task {
        name: "screenshots",
        words: "[FOLDER]",
        what: "makes the pictures of all pages again (needs Chromium)",
        run: |words| {
            let example = [
                "run",
                "--locked",
                "-p",
                "nrd-sim",
                "--example",
                "screenshots",
                "--",
            ];
            run(cargo(&example).args(words))
        },
    },
    Task {
        name: "footprint",
        words: "",
        what: "bytes of the agent on a Cortex-M33 (needs rustc-web, binutils, QEMU)",
        run: |_| {
            run(&mut cargo(&[
                "run",
                "--locked",
                "-p",
                "nrd-tests",
                "--bin",
                "footprint",
            ]))
        },
    },
    Task {
        name: "bench",
        words: "[TABLE…] [--markdown] …",
        what: "what the agent costs beside its peers",
        run: |words| {
            let bench = [
                "run",
                "--release",
                "--locked",
                "-p",
                "nrd-tests",
                "--bin",
                "bench",
                "--",
            ];
            run(cargo(&bench).args(words))
        },
    },
    Task {
        name: "guards",
        words: "[NAME…]",
        what: "removes each guard of tests/guards.toml; its test must fail",
        run: |words| {
            let guards = [
                "run",
                "--locked",
                "-p",
                "nrd-tests",
                "--bin",
                "guards",
                "--",
            ];
            run(cargo(&guards).args(words))
        },
    },
    Task {
        name: "mutants",
        words: "[WORD…]",
        what: "judges every mutant of the agent (needs cargo-mutants; hours)",
        run: |words| {
            let manifest = "tests/mutants/Cargo.toml";
            let judge = [
                "run",
                "--release",
                "--locked",
                "--manifest-path",
                manifest,
                "--",
            ];
            run(cargo(&judge).args(words))
        },
    },
    Task {
        name: "fuzz",
        words: "TARGET [SECONDS]",
        what: "fuzzes one parser, 60 s if not said (needs cargo-fuzz)",
        run: fuzz,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = words.split_first() else {
        list();
        return ExitCode::SUCCESS;
    };
    let Some(task) = TASKS.iter().find(|t| t.name == name) else {
        eprintln!("there is no task {name:?}; these are:");
        list();
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask {name}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for task in &TASKS {
        let call = format!("{} {}", task.name, task.words);
        println!("cargo xtask {call:<30}  {}", task.what);
    }
}

fn lint() -> Done {
    // Workspaces of their own, for the sake of their dependencies.
    let apart = ["tests/bench/Cargo.toml", "tests/mutants/Cargo.toml"];
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    for manifest in apart {
        run(&mut cargo(&["fmt", "--manifest-path", manifest, "--check"]))?;
    }
    // `--all-targets` leaves out the tests of the long ring.
    let refused = ["--locked", "--", "-D", "warnings"];
    let mut all = cargo(&["clippy", "--workspace", "--all-targets"]);
    run(all.args(long::targets()?).args(refused))?;
    for features in ["log", "defmt"] {
        let agent = ["clippy", "-q", "-p", "nrd-agent", "--features", features];
        run(cargo(&agent).args(refused))?;
    }
    let without_tls = ["--no-default-features", "--features", "rustcrypto"];
    let mut library = cargo(&["clippy", "-q", "-p", "nrd-agent-capi"]);
    run(library.args(without_tls).args(refused))?;
    for manifest in apart {
        let mut clippy = cargo(&["clippy", "--all-targets", "--no-deps"]);
        clippy.args(["--manifest-path", manifest]);
        if manifest.contains("bench") {
            long::beside_the_workspace(&mut clippy)?;
        }
        run(clippy.args(refused))?;
    }
    Ok(())
}

fn fuzz(words: &[String]) -> Done {
    let (target, seconds) = match words {
        [target] => (target, "60"),
        [target, seconds] => (target, seconds.as_str()),
        _ => return Err("name one target of tests/fuzz/fuzz_targets, and seconds".to_owned()),
    };
    let mut fuzz = cargo(&["fuzz", "run", "--fuzz-dir", "fuzz", target, "--"]);
    fuzz.arg(format!("-max_total_time={seconds}"));
    fuzz.current_dir(root().join("tests"));
    // The sanitizers are options of an unstable compiler.
    run(fuzz.env("RUSTC_BOOTSTRAP", "1"))
}

#[cfg(test)]
mod tests {
    use super::TASKS;

    #[test]
    fn every_task_has_a_name_of_its_own() {
        let mut names: Vec<&str> = TASKS.iter().map(|t| t.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TASKS.len());
    }
}
