//! Arrows between the workspace's crates point downward only
//! (docs/ARCHITECTURE.md has the picture).
//!
//! An arrow upward is how an offline verifier came to link PostgreSQL: a helper
//! of five lines lived beside the service's keys. Cargo itself only refuses
//! circles; this test refuses every arrow that the picture does not have.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may depend on, below the crates that it stands on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("nrd-hal", &[]),
    ("nrd-agent-derive", &[]),
    ("nrd-agent", &["nrd-hal", "nrd-agent-derive"]),
    ("nrd-agent-capi", &["nrd-hal", "nrd-agent"]),
    ("nrd-agent-testkit", &["nrd-hal", "nrd-agent"]),
    ("nrd-verifier", &["nrd-hal", "nrd-agent"]),
    ("nrd-sim-base", &["nrd-agent"]),
    ("nrd-sim-hw", &["nrd-hal", "nrd-agent", "nrd-sim-base"]),
    (
        "nrd-sim-device",
        &[
            "nrd-hal",
            "nrd-agent",
            "nrd-agent-testkit",
            "nrd-sim-base",
            "nrd-sim-hw",
        ],
    ),
    (
        "nrd-sim-forensics",
        &[
            "nrd-hal",
            "nrd-agent",
            "nrd-verifier",
            "nrd-sim-base",
            "nrd-sim-hw",
        ],
    ),
    (
        "nrd-sim-explorer",
        &[
            "nrd-hal",
            "nrd-agent",
            "nrd-sim-base",
            "nrd-sim-hw",
            "nrd-sim-device",
            "nrd-sim-forensics",
        ],
    ),
    (
        "nrd-sim-service",
        &[
            "nrd-hal",
            "nrd-agent",
            "nrd-agent-derive",
            "nrd-sim-base",
            "nrd-sim-forensics",
        ],
    ),
    (
        "nrd-sim-world",
        &[
            "nrd-hal",
            "nrd-agent",
            "nrd-sim-base",
            "nrd-sim-hw",
            "nrd-sim-device",
            "nrd-sim-forensics",
            "nrd-sim-service",
        ],
    ),
    (
        "nrd-sim",
        &[
            "nrd-hal",
            "nrd-agent",
            "nrd-sim-base",
            "nrd-sim-hw",
            "nrd-sim-device",
            "nrd-sim-forensics",
            "nrd-sim-explorer",
            "nrd-sim-service",
            "nrd-sim-world",
        ],
    ),
];

/// Crates that nothing of the product may depend on, and that may use all.
const ABOVE_ALL: [&str; 2] = ["nrd-tests", "xtask"];

/// Most crates that the offline verifier, or the explorer, may be built from.
const MOST_CRATES: usize = 80;

/// Parts of names of databases, web servers and their runtimes.
const SERVERS: [&str; 8] = [
    "axum", "hyper", "tokio", "rusqlite", "sqlite", "postgres", "rustls", "askama",
];

fn cargo(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(args)
        .args(["--offline", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "cargo {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// Each crate of the workspace, and which others it is built from.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |v: &Value| v["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let arrows = packages.iter().map(|p| {
        let dependencies = p["dependencies"].as_array().unwrap().iter();
        // What only tests and examples use is linked into no product.
        let built_from = dependencies
            .filter(|d| d["kind"].as_str() != Some("dev"))
            .map(name)
            .filter(|n| ours.contains(n));
        (name(p), built_from.collect())
    });
    arrows.collect()
}

#[test]
fn no_crate_depends_on_one_above_it() {
    let arrows = arrows();
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (from, to) in &arrows {
        if ABOVE_ALL.contains(&from.as_str()) {
            continue;
        }
        let Some(allowed) = may_use.get(from.as_str()) else {
            panic!("{from} has no row in MAY_USE: say what it may depend on");
        };
        for to in to.iter().filter(|to| !allowed.contains(&to.as_str())) {
            wrong.push(format!("{from} -> {to}"));
        }
    }
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "arrows that docs/ARCHITECTURE.md does not have"
    );
    for (name, _) in MAY_USE {
        assert!(arrows.contains_key(*name), "{name} is no crate any more");
    }
}

#[test]
fn the_picture_itself_has_no_circle() {
    let mut above: BTreeSet<&str> = BTreeSet::new();
    for (name, allowed) in MAY_USE {
        for to in *allowed {
            assert!(above.contains(to), "{name} -> {to} points upward");
        }
        above.insert(name);
    }
}

/// Verifying a receipt and reading an image need no service: who does so offline
/// must not have to trust, or to build, a database and a web server.
#[test]
fn forensics_and_explorer_link_no_server_and_few_crates() {
    for name in ["nrd-sim-forensics", "nrd-sim-explorer"] {
        let tree = cargo(&["tree", "-p", name, "-e", "normal", "--prefix", "none"]);
        let crates: BTreeSet<&str> = tree
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        println!("{name}: {} crates", crates.len());
        assert!(crates.contains(name), "the tree was not read: {tree}");
        assert!(
            crates.len() < MOST_CRATES,
            "{name} is built from {} crates",
            crates.len()
        );
        for server in SERVERS {
            let found: Vec<_> = crates.iter().filter(|c| c.contains(server)).collect();
            assert!(found.is_empty(), "{name} links {found:?}");
        }
    }
}
