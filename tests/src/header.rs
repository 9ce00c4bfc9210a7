//! The C header, made from the C interface's source.

use std::path::{Path, PathBuf};

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/capi")
}

/// Where it is kept.
pub fn path() -> PathBuf {
    package().join("include/nrd_agent.h")
}

/// What it must say.
///
/// # Panics
/// When the source cannot be read.
pub fn text() -> String {
    let package = package();
    let config = cbindgen::Config::from_root_or_default(&package);
    let mut builder = cbindgen::Builder::new().with_config(config);
    // By file, so that nothing asks for the network or a build.
    for file in [
        "types",
        "lifecycle",
        "cache",
        "wire_api",
        "error_text",
        "https",
        "software_keys",
        "runtime",
    ] {
        builder = builder.with_src(package.join(format!("src/{file}.rs")));
    }
    let mut out = Vec::new();
    builder
        .generate()
        .expect("cbindgen reads the C interface")
        .write(&mut out);
    String::from_utf8(out).expect("the header is text")
}
