//! The Cortex-M33 images: building, running under QEMU.

use crate::external_tools::{cargo, have, rustc_with_source, skip};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Memory that the images lend to the agent: tables of 4 and 4 sectors, 12 and 8
/// index entries of 24 bytes, a scratch of 1280 bytes.
pub const LENT_BYTES: u64 = 8 * 4 + 20 * 24 + 1280;

/// What the images are built for.
const TARGET: &str = "thumbv8m.main-none-eabi";

/// The linked images.
pub struct Images {
    /// Whole lives.
    pub life: PathBuf,
    /// What a product links.
    pub product: PathBuf,
}

/// Builds both; `None` where a tool is missing, which was then said.
///
/// # Panics
/// When they do not build.
pub fn build(what: &str) -> Option<Images> {
    let out = build_in("m33", what)?;
    Some(Images {
        life: out.join("nrd-m33"),
        product: out.join("nrd-m33-product"),
    })
}

/// Builds every image of the workspace `firmware/<folder>`; returns the folder
/// that they are in, or `None` where a tool is missing, which was then said.
///
/// # Panics
/// When they do not build.
pub fn build_in(folder: &str, what: &str) -> Option<PathBuf> {
    let Some(rustc) = rustc_with_source() else {
        skip("compiler for bare metal (rustc-web, rust-web-src)", what);
        return None;
    };
    if !have("arm-none-eabi-ld", what) {
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("../target").join(folder);
    let spec = without_frame_pointers(&rustc, &target);
    let built = cargo(&root.join("firmware").join(folder))
        .args(["build", "--release", "--locked", "--target"])
        .arg(spec)
        .env("RUSTC", rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .expect("cargo starts");
    let text = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the images do not build:\n{text}");
    Some(target.join(TARGET).join("release"))
}

/// The compiler's own description of the target, less one thing: it keeps a frame
/// pointer in every function, which C compilers for this processor do not, and
/// which costs a register and some bytes a function.
fn without_frame_pointers(rustc: &Path, to: &Path) -> PathBuf {
    let known = Command::new(rustc)
        .args(["-Z", "unstable-options", "--print", "target-spec-json"])
        .args(["--target", TARGET])
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .expect("the compiler starts");
    let mut spec: serde_json::Value =
        serde_json::from_slice(&known.stdout).expect("a description of the target");
    spec["frame-pointer"] = "may-omit".into();
    std::fs::create_dir_all(to).expect("a place to build in");
    let path = to.join(format!("{TARGET}.json"));
    std::fs::write(&path, spec.to_string()).expect("it can be written");
    path.canonicalize().expect("it is there")
}

/// Runs the lives under QEMU, five minutes at most: what it printed, and
/// whether it ended well.
///
/// # Panics
/// When QEMU does not start.
pub fn run(images: &Images) -> (String, bool) {
    let run = Command::new("timeout")
        .args(["300", "qemu-system-arm", "-machine", "mps2-an505"])
        .args(["-nographic", "-semihosting-config"])
        .args(["enable=on,target=native", "-kernel"])
        .arg(&images.life)
        .stdin(Stdio::null())
        .output()
        .expect("timeout starts");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    (text, run.status.success())
}
