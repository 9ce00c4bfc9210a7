//! `tests/vectors/wire.json`: every ask, answer, subject, order, refusal and
//! record with its decoded values, and bytes that must be refused, each with the
//! reason. `tests/reader/wire.py`, written from `docs/WIRE.md` alone, must read all
//! of them as the agent does.
//!
//! Made by `NRD_WRITE_VECTORS=1 cargo test -p nrd-tests --test vectors_wire`.

mod accepted;
mod make;
mod records;
mod refused;

use accepted::vectors;
use make::key;
use nrd_sim::base::hex;
use nrd_sim::base::sign::public;
use nrd_tests::external_tools;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE: &str = "tests/vectors/wire.json";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_ask_answer_and_record_has_a_vector_and_what_must_be_refused_too() {
    let v = vectors();
    println!("{} accepted, {} refused", v.accepted.len(), v.refused.len());
    assert!(v.accepted.len() >= 60 && v.refused.len() >= 60);
    let value = json!({
        "public_key": hex(&public(&key())),
        "accepted": v.accepted,
        "refused": v.refused,
    });
    let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
    let path = root().join(FILE);
    if std::env::var_os("NRD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{FILE} is not what the code makes: the format changed. If that is meant, say so in \
         docs/SPEC.md and CHANGELOG.md and write the vectors again (CONTRIBUTING.md)"
    );
}

/// A reader in another language, which knows `docs/WIRE.md` and no line of ours.
#[test]
fn a_reader_made_of_the_page_alone_reads_and_refuses_the_same() {
    let python = "/usr/bin/python3";
    let knows = Command::new(python)
        .args(["-c", "import cryptography"])
        .output();
    if !knows.is_ok_and(|o| o.status.success()) {
        return external_tools::skip("python3-cryptography", "a reader in another language");
    }
    let out = Command::new(python)
        .arg("tests/reader/wire.py")
        .args(["docs/WIRE.md", FILE])
        .current_dir(root())
        .output()
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    println!("{said}{errors}");
    assert!(out.status.success(), "{said}{errors}");
    let v = vectors();
    let counts = format!("{} read, {} refused", v.accepted.len(), v.refused.len());
    assert!(said.contains(&counts), "{said}");
}
