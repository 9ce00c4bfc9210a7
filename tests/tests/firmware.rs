//! The bare-metal image for a Cortex-M33 under QEMU: the conformance suite on
//! target, and whole lives with resets in the middle of operations.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod tools;
use tools::{cargo, have, rustc_with_source, skip};

/// Builds the image; its path.
fn build(rustc: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("../target/m33");
    let built = cargo(&root.join("firmware/m33"))
        .args(["build", "--release", "--locked"])
        .env("RUSTC", rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the image does not build:\n{text}");
    target.join("thumbv8m.main-none-eabi/release/nrd-m33")
}

#[test]
fn a_whole_life_on_a_cortex_m33_survives_resets_in_the_middle_of_operations() {
    let what = "the Cortex-M33 image";
    let Some(rustc) = rustc_with_source() else {
        return skip("compiler for bare metal (rustc-web, rust-web-src)", what);
    };
    if !have("arm-none-eabi-ld", what) || !have("qemu-system-arm", what) {
        return;
    }
    let image = build(&rustc);
    let run = Command::new("timeout")
        .args([
            "300",
            "qemu-system-arm",
            "-machine",
            "mps2-an505",
            "-nographic",
        ])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(&image)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    println!("{text}");
    assert!(
        text.contains("conformance: every part keeps its promises"),
        "{text}"
    );
    let last = text.lines().last().unwrap_or_default();
    let result: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(result["ok"], true, "{text}");
    assert!(run.status.success());
    let n = |name: &str| result[name].as_u64().unwrap();
    // An uncut life, and one for each third operation; every cut struck.
    assert_eq!(n("lives"), n("operations").div_ceil(3) + 1);
    assert_eq!(n("cuts"), n("lives") - 1);
    assert!(n("operations") > 50);
    assert!(n("stack_bytes") < 32 * 1024, "{result}");
}
