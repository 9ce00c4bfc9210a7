//! Tools that a machine may lack: said loudly, and a failure where everything
//! is required.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says that `what` was not run for want of `tool`.
pub fn skip(tool: &str, what: &str) {
    assert!(
        std::env::var_os("NRD_REQUIRE_ALL").is_none(),
        "{tool} is required, but missing"
    );
    println!("SKIPPED: no {tool} here; {what} was NOT run");
}

/// True when `tool` answers; otherwise says so.
pub fn have(tool: &str, what: &str) -> bool {
    let answers = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !answers {
        skip(tool, what);
    }
    answers
}

/// A compiler with the source of `core` beside it, as Debian packages it.
pub fn rustc_with_source() -> Option<PathBuf> {
    let listed = Command::new("dpkg")
        .args(["-L", "rustc-web"])
        .output()
        .ok()?;
    let text = String::from_utf8(listed.stdout).ok()?;
    let path = text.lines().find(|l| l.ends_with("bin/rustc"))?;
    Some(PathBuf::from(path))
}

/// Cargo in `dir`, without what the test's own build has set.
pub fn cargo(dir: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(dir)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    cargo
}
