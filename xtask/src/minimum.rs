//! The minimum Rust version: stated once, and tried.

use crate::run::{Done, cargo, root, run};
use std::process::Command;

/// Builds the workspace with exactly the version that `Cargo.toml` states: by
/// the compiler in use where it is that one, or else by rustup's. An error where
/// neither is, for then the statement would go untried.
pub(crate) fn build() -> Done {
    let stated = stated()?;
    let used = used()?;
    let check = ["check", "--workspace", "--all-targets", "--locked"];
    if used == stated {
        return run(&mut cargo(&check));
    }
    let named = format!("+{stated}");
    let installed = Command::new("rustup")
        .args(["run", &stated, "rustc", "--version"])
        .output();
    if installed.is_ok_and(|o| o.status.success()) {
        let mut with = cargo(&[named.as_str()]);
        return run(with.args(check));
    }
    Err(format!(
        "Cargo.toml states Rust {stated}, the compiler in use is {used}, and rustup has no {stated} here. \
         Install it, or state {used} in every Cargo.toml and in the changelog"
    ))
}

/// `rust-version` of the workspace: major and minor.
fn stated() -> Result<String, String> {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).map_err(|e| e.to_string())?;
    let stated = text.lines().find_map(in_manifest);
    Ok(stated
        .ok_or("Cargo.toml states no `rust-version`")?
        .to_owned())
}

/// The version in a line of a manifest.
fn in_manifest(line: &str) -> Option<&str> {
    line.strip_prefix("rust-version = \"")?.strip_suffix('"')
}

/// The version of the compiler in use: major and minor.
fn used() -> Result<String, String> {
    let said = Command::new("rustc").arg("--version").output();
    let said = said.map_err(|e| format!("rustc: {e}"))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    minor(&said).ok_or_else(|| format!("rustc says {said:?}"))
}

/// `1.95` of `rustc 1.95.0 (…)`.
fn minor(said: &str) -> Option<String> {
    let (major, rest) = said.strip_prefix("rustc ")?.split_once('.')?;
    let (minor, _) = rest.split_once('.')?;
    Some(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    /// What git knows of the project, by the end of its name.
    fn files(end: &str) -> Vec<PathBuf> {
        let listed = Command::new("git")
            .args(["ls-files", "-co", "--exclude-standard"])
            .current_dir(root())
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let named = listed.lines().filter(|f| f.ends_with(end));
        named
            .map(|f| root().join(f))
            .filter(|f| f.is_file())
            .collect()
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn every_manifest_states_the_same_version() {
        let stated = stated().unwrap();
        let manifests = files("Cargo.toml");
        assert!(manifests.len() > 5, "{manifests:?}");
        for path in manifests {
            let text = read(&path);
            for version in text.lines().filter_map(in_manifest) {
                assert_eq!(version, stated, "{}", path.display());
            }
        }
    }

    /// History may name older ones: the changelog and the decisions.
    #[test]
    fn no_page_states_another_version() {
        let stated = stated().unwrap();
        let pages = files(".md").into_iter().filter(|p| {
            let path = p.to_string_lossy();
            !path.contains("/decisions/") && !path.ends_with("CHANGELOG.md")
        });
        for path in pages {
            let text = read(&path);
            for rest in text.split("Rust 1.").skip(1) {
                let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
                let version = format!("1.{minor}");
                assert_eq!(version, stated, "{}", path.display());
            }
        }
    }

    #[test]
    fn a_version_is_its_major_and_minor_number() {
        assert_eq!(
            minor("rustc 1.95.0 (59807616e 2026-04-14)").unwrap(),
            "1.95"
        );
        assert_eq!(minor("rustc 1.97.0-nightly (x)").unwrap(), "1.97");
        assert_eq!(minor("clang 1.2.3"), None);
    }
}
