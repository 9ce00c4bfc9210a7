//! The long ring: tests that take minutes, or tools that few people have.
//!
//! Its tests are the `[[test]]` targets with `test = false`: `cargo test` leaves
//! them out unless they are named. So both rings share one build, which they
//! would not if a feature told them apart.

use crate::run::{Done, cargo, root, run};
use serde_json::Value;
use std::process::Command;

/// Runs the long ring, or those of its tests that are named.
pub(crate) fn ring(words: &[String]) -> Done {
    let all = targets()?;
    let mut test = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    if words.is_empty() {
        bench()?;
        return run(test.args(all));
    }
    for word in words {
        if !all.contains(word) {
            return Err(format!("{word:?} is no test of the long ring: {all:?}"));
        }
        test.args(["--test", word]);
    }
    run(&mut test)
}

/// The tests of the long ring, as arguments for cargo: `--test NAME` for each.
pub(crate) fn targets() -> Result<Vec<String>, String> {
    let asked = ["metadata", "--no-deps", "--format-version", "1", "--locked"];
    let said = cargo(&asked).output().map_err(|e| format!("cargo: {e}"))?;
    let said: Value =
        serde_json::from_slice(&said.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let names = named(&said);
    if names.is_empty() {
        Err("no test has `test = false`: the long ring is empty".to_owned())
    } else {
        Ok(names
            .into_iter()
            .flat_map(|n| ["--test".to_owned(), n])
            .collect())
    }
}

/// The test targets with `test = false`.
fn named(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|p| p["targets"].as_array().into_iter().flatten());
    let long = targets.filter(|t| t["kind"][0] == "test" && t["test"] == false);
    let mut names: Vec<String> = long
        .filter_map(|t| t["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// The benchmark's own tests.
fn bench() -> Done {
    let mut test = cargo(&["test", "--manifest-path", "tests/bench/Cargo.toml"]);
    beside_the_workspace(&mut test)?;
    run(&mut test)
}

/// Lets the benchmark build beside the workspace: what both need is built once.
/// Without libclang it has one peer less, and says so.
pub(crate) fn beside_the_workspace(cargo: &mut Command) -> Done {
    cargo.env("CARGO_TARGET_DIR", root().join("target"));
    if !has_libclang() {
        if std::env::var_os("NRD_REQUIRE_ALL").is_some() {
            return Err("libclang is required, but missing".to_owned());
        }
        println!("SKIPPED: no libclang here; the benchmark's littlefs was NOT built");
        cargo.arg("--no-default-features");
    }
    Ok(())
}

/// True when a library is installed that bindgen can load.
fn has_libclang() -> bool {
    let patterns =
        "/usr/lib/llvm-*/lib/libclang.so* /usr/lib/*/libclang.so* /usr/lib/*/libclang-*.so*";
    let list = format!("ls {patterns} 2>/dev/null | grep -v cpp");
    let listed = Command::new("sh").args(["-c", &list]).output();
    std::env::var_os("LIBCLANG_PATH").is_some() || listed.is_ok_and(|o| !o.stdout.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_ring_is_what_cargo_test_leaves_out() {
        let said = serde_json::json!({"packages": [{"targets": [
            {"name": "lib", "kind": ["lib"], "test": false},
            {"name": "quick", "kind": ["test"], "test": true},
            {"name": "slow", "kind": ["test"], "test": false},
        ]}]});
        assert_eq!(named(&said), ["slow"]);
    }

    #[test]
    fn the_projects_long_ring_is_not_empty() {
        assert!(targets().unwrap().len() >= 2);
    }
}
