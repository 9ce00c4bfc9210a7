//! The C header by itself: as C and as C++, and that the hostile caller
//! (`tests/firmware/linux/abuse.c`) tries every pointer of every call.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nrd_tests::external_tools::have;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compiles a source that uses the header.
fn compile(compiler: &str, standard: &str, source: &str) {
    let dir = tempfile::tempdir().unwrap();
    let name = if compiler == "cc" { "use.c" } else { "use.cc" };
    let file = dir.path().join(name);
    fs::write(&file, source).unwrap();
    let out = Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-Werror", "-fsyntax-only"])
        .arg("-I")
        .arg(root().join("agent/capi/include"))
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{compiler} {standard}:\n{source}\n{said}"
    );
}

#[test]
fn the_header_compiles_alone_and_beside_the_standard_headers_of_c_and_cpp() {
    // What C++ declares with `noexcept` must not be declared again.
    let c = ["<stdlib.h>", "<string.h>"];
    let cpp = ["<cstdlib>", "<string>", "<memory>", "<vector>"];
    let use_it = "int f(NrdAgent *a) { return nrd_agent_close(a); }\n";
    for (compiler, standards, headers) in [
        ("cc", ["-std=c99", "-std=c11"], &c[..]),
        ("c++", ["-std=c++11", "-std=c++17"], &cpp[..]),
    ] {
        if !have(compiler, "the header beside standard headers") {
            continue;
        }
        let others: String = headers.iter().map(|h| format!("#include {h}\n")).collect();
        let ours = "#include \"nrd_agent.h\"\n";
        for standard in standards {
            for order in [
                format!("{ours}{use_it}"),
                format!("{ours}{others}{use_it}"),
                format!("{others}{ours}{ours}{use_it}"),
            ] {
                compile(compiler, standard, &order);
            }
        }
    }
}

/// Calls of an agent, with the number of their pointers beside the agent's own.
fn calls(header: &str) -> Vec<(String, usize)> {
    let code: String = header
        .lines()
        .filter(|line| !line.starts_with("//"))
        .flat_map(|line| [line.trim(), " "])
        .collect();
    code.split(';')
        .filter_map(|prototype| {
            let (head, parameters) = prototype.split_once("(struct NrdAgent *agent")?;
            let name = head.rsplit(' ').next()?.to_owned();
            Some((name, parameters.matches('*').count()))
        })
        .collect()
}

#[test]
fn the_hostile_caller_leads_every_pointer_of_every_call_into_the_agent() {
    let header = fs::read_to_string(nrd_tests::header::path()).unwrap();
    let abuse = fs::read_to_string(root().join("tests/firmware/linux/abuse.c")).unwrap();
    let calls = calls(&header);
    assert!(calls.len() > 20, "only {} calls were found", calls.len());
    let mut pointers = 0;
    for (name, expected) in calls {
        let tried = abuse.matches(&format!("OWN({name}(")).count();
        assert!(
            tried >= expected,
            "{name}: {tried} of {expected} pointers are tried"
        );
        pointers += expected;
    }
    assert!(pointers > 25, "only {pointers} pointers were found");
}

#[test]
fn the_header_says_what_a_callback_may_not_do() {
    let header = fs::read_to_string(nrd_tests::header::path()).unwrap();
    let opening = header.split("*/").next().unwrap();
    for word in [
        "Callbacks",
        "longjmp",
        "exception",
        "nrd_agent_abandon",
        "NRD_E_OVERLAP",
    ] {
        assert!(opening.contains(word), "{word}");
    }
}
