//! Commands, printed before they run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `Err` holds what to tell the person who called.
pub(crate) type Done = Result<(), String>;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A call of cargo in the workspace's folder.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    // `cargo run` tells this program about its own package. The build script of
    // `ring` reads such variables: with them `cargo xtask test` and a plain
    // `cargo test` would build it, and all that needs it, again in turn.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let own = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if own.iter().any(|start| text.starts_with(start)) {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(root()).args(words);
    cargo
}

/// A script of the project.
pub(crate) fn bash(script: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.current_dir(root()).arg(script);
    bash
}

/// Prints a command, runs it, and asks for its success.
pub(crate) fn run(command: &mut Command) -> Done {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().map_err(|e| format!("{shown}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("failed: {shown}"))
    }
}

/// A command as a person would type it in the workspace's folder.
fn shown(command: &Command) -> String {
    let envs = command.get_envs().filter_map(|(name, value)| {
        Some(format!(
            "{}={:?}",
            name.display(),
            value?.display().to_string()
        ))
    });
    let program = command.get_program().display().to_string();
    let args = command.get_args().map(|a| a.display().to_string());
    envs.chain([program])
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}
