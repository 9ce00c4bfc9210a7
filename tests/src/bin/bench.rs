//! Runs the benchmark, which is a workspace of its own (`tests/bench`): the
//! peers' dependencies would slow the normal test build. All arguments go on to
//! it: `cargo run --release -p nrd-tests --bin bench -- --help`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bench");
    let mut cargo = nrd_tests::external_tools::cargo(Path::new("."));
    cargo.args(["run", "--quiet", "--release", "--manifest-path"]);
    cargo.arg(folder.join("Cargo.toml"));
    if !has_libclang() {
        eprintln!(
            "NOT MEASURED: littlefs2 (its build needs libclang; Debian: apt-get install libclang-dev)"
        );
        cargo.arg("--no-default-features");
    }
    cargo.arg("--").args(std::env::args_os().skip(1));
    match cargo.status() {
        Ok(status) => ExitCode::from(status.code().unwrap_or(2) as u8),
        Err(e) => {
            eprintln!("cargo does not start: {e}");
            ExitCode::from(2)
        }
    }
}

/// True when a library is installed that bindgen can load.
fn has_libclang() -> bool {
    let named = std::env::var_os("LIBCLANG_PATH").is_some();
    let listed = Command::new("sh")
        .args(["-c", "ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib/*/libclang.so* /usr/lib/*/libclang-*.so* 2>/dev/null | grep -v cpp"])
        .output();
    named || listed.is_ok_and(|o| !o.stdout.is_empty())
}
