//! What the bare-metal image costs: sizes by origin, and panic paths.
//!
//! Reads what binutils say about the linked image, so that it counts what is
//! really in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the code of an image comes from: the crate and file of each
/// instruction, after inlining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `nrd-agent` and `nrd-hal`: state, log, keys, orders, wipe, receipts.
    Device,
    /// `nrd-agent`: the conversation with the service, and its frames.
    Conversation,
    /// The image's own loop and port.
    Port,
    /// RustCrypto and dalek.
    Crypto,
    /// `core`, the compiler's helpers, start-up code.
    Runtime,
}

impl Origin {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Origin::Device => "agent: state, log, keys, orders, wipe, receipts",
            Origin::Conversation => "agent: conversation with the service, frames",
            Origin::Port => "port and loop",
            Origin::Crypto => "crypto (AES-256-GCM, SHA-2, Ed25519 verify and sign)",
            Origin::Runtime => "core, start-up",
        }
    }
}

/// An image, measured.
#[derive(Debug, Default)]
pub struct Footprint {
    /// Bytes of code and constants.
    pub text: u64,
    /// Initialised and zeroed RAM, the emulated flash left out.
    pub ram: u64,
    /// Code by origin, in bytes.
    pub by_origin: BTreeMap<Origin, u64>,
    /// Code of the agent by source file, largest first, in bytes.
    pub by_file: Vec<(u64, String)>,
    /// Functions of the agent, its port and its loop that can reach a panic, and
    /// where they go.
    pub panics: Vec<(String, String)>,
}

fn run(tool: &str, args: &[&str], image: &Path) -> String {
    let out = Command::new(tool)
        .args(args)
        .arg(image)
        .output()
        .unwrap_or_else(|e| panic!("{tool}: {e}"));
    assert!(out.status.success(), "{tool} refuses {}", image.display());
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Measures an image for Arm.
///
/// # Panics
/// Where binutils are missing or do not understand the image.
pub fn measure(image: &Path) -> Footprint {
    let mut out = Footprint::default();
    for line in run("arm-none-eabi-size", &["-A"], image).lines() {
        let mut words = line.split_whitespace();
        let (Some(section), Some(Ok(size))) = (words.next(), words.next().map(str::parse::<u64>))
        else {
            continue;
        };
        match section {
            ".vector_table" | ".text" | ".rodata" => out.text += size,
            ".data" | ".bss" => out.ram += size,
            _ => {}
        }
    }
    let code = run("arm-none-eabi-objdump", &["-d", "-C"], image);
    let mut files: BTreeMap<String, u64> = BTreeMap::new();
    for (origin, file, size) in sources(image, &instructions(&code)) {
        *out.by_origin.entry(origin).or_default() += size;
        if matches!(origin, Origin::Device | Origin::Conversation) {
            *files.entry(file).or_default() += size;
        }
    }
    out.by_file = files.into_iter().map(|(file, n)| (n, file)).collect();
    out.by_file
        .sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    out.panics = panics(&calls(&code));
    out
}

/// Functions of an image that call a panic site, whosever they are, and the
/// site: for an image that holds one library and nothing else.
///
/// # Panics
/// Where binutils are missing or do not understand the image.
pub fn panic_sites(image: &Path) -> Vec<(String, String)> {
    let code = run("arm-none-eabi-objdump", &["-d", "-C"], image);
    let mut found = Vec::new();
    for (f, to) in calls(&code) {
        // The machinery of panics itself does not count.
        if !can_panic(&f) {
            let sites = to.into_iter().filter(|t| can_panic(t));
            found.extend(sites.map(|t| (f.clone(), t)));
        }
    }
    found
}

/// Address and length of each instruction of a disassembly.
fn instructions(disassembly: &str) -> Vec<(u64, u64)> {
    let parse = |line: &str| {
        let (address, rest) = line.split_once(":\t")?;
        let address = u64::from_str_radix(address.trim(), 16).ok()?;
        let code = rest.split('\t').next()?;
        let digits = code.chars().filter(char::is_ascii_hexdigit).count() as u64;
        Some((address, digits / 2))
    };
    disassembly.lines().filter_map(parse).collect()
}

/// Whose each instruction is: the innermost frame outside `core` that it was
/// inlined from.
fn sources(image: &Path, code: &[(u64, u64)]) -> Vec<(Origin, String, u64)> {
    let mut child = Command::new("arm-none-eabi-addr2line")
        .args(["-a", "-i", "-e"])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("arm-none-eabi-addr2line: {e}"));
    let mut input = child.stdin.take().expect("it is piped");
    let addresses: String = code.iter().map(|(a, _)| format!("{a:#x}\n")).collect();
    let feed = std::thread::spawn(move || input.write_all(addresses.as_bytes()));
    let out = child.wait_with_output().expect("addr2line ends");
    feed.join().expect("it does not panic").expect("it reads");
    let text = String::from_utf8_lossy(&out.stdout);
    let mut found = Vec::new();
    let mut sizes = code.iter().map(|(_, n)| *n);
    let mut frames: Vec<&str> = Vec::new();
    let mut size = 0;
    for line in text.lines().chain(["0x"]) {
        if line.starts_with("0x") {
            if let Some((origin, file)) = whose(&frames) {
                found.push((origin, file, size));
            }
            frames.clear();
            size = sizes.next().unwrap_or_default();
        } else {
            frames.push(line);
        }
    }
    found
}

/// The origin and the file of an instruction with these frames, innermost
/// first.
fn whose(frames: &[&str]) -> Option<(Origin, String)> {
    for frame in frames {
        let path = frame.split(':').next().unwrap_or_default();
        let after = |part: &str| path.split_once(part).map(|(_, rest)| rest.to_owned());
        if let Some(file) = after("/agent/src/") {
            let talk = file.starts_with("wire/")
                || file.ends_with("exchange.rs")
                || file.ends_with("activate.rs");
            let origin = if talk {
                Origin::Conversation
            } else {
                Origin::Device
            };
            return Some((origin, format!("agent/{file}")));
        }
        if let Some(file) = after("/hal/src/") {
            let origin = if file.starts_with("crypto/") {
                Origin::Crypto
            } else {
                Origin::Device
            };
            return Some((origin, format!("hal/{file}")));
        }
        if path.contains("/firmware/m33/") {
            return Some((Origin::Port, String::new()));
        }
        let crates = ["/heapless-", "/cortex-m-", "/embedded-", "/rand_core-"];
        if path.contains("/registry/") && !crates.iter().any(|c| path.contains(c)) {
            return Some((Origin::Crypto, String::new()));
        }
    }
    (!frames.is_empty()).then(|| (Origin::Runtime, String::new()))
}

/// The adapter around the crypto crates; their code is inlined into it.
fn is_provider(name: &str) -> bool {
    name.starts_with("<nrd_hal::crypto::")
}

/// True for a function of the agent, or of the image's loop and port, into which
/// the agent is inlined.
fn is_ours(name: &str) -> bool {
    !is_provider(name)
        && (name.starts_with("nrd_") || name.contains("nrd_agent::") || name.contains("<nrd_"))
}

type Calls = BTreeMap<String, BTreeSet<String>>;

/// Who calls whom, from a disassembly.
fn calls(disassembly: &str) -> Calls {
    let mut calls = Calls::new();
    let mut within = String::new();
    for line in disassembly.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|l| l.split_once('<')) {
            within = name.1.to_owned();
            continue;
        }
        let Some((code, target)) = line.rsplit_once(" <") else {
            continue;
        };
        let branches = code
            .split('\t')
            .nth(2)
            .or_else(|| code.split('\t').nth(1))
            .is_some_and(|m| m.trim_start().starts_with('b'));
        if let Some(target) = target.strip_suffix('>')
            && branches
            && !target.contains("+0x")
        {
            calls
                .entry(within.clone())
                .or_default()
                .insert(target.to_owned());
        }
    }
    calls
}

/// A function of `core` that panics, or can.
fn can_panic(name: &str) -> bool {
    const SITES: [&str; 9] = [
        "core::panicking::",
        "core::slice::index::slice_",
        "core::slice::copy_from_slice_impl",
        "core::result::unwrap_failed",
        "core::option::unwrap_failed",
        "core::option::expect_failed",
        "core::str::slice_error",
        "core::cell::panic_",
        "core::slice::sort::",
    ];
    SITES.iter().any(|s| name.contains(s))
}

/// Panic sites that functions of the agent reach, straight or through code that
/// the linker moved out of line.
fn panics(calls: &Calls) -> Vec<(String, String)> {
    let outlined: BTreeSet<&String> = calls
        .iter()
        .filter(|(f, to)| f.starts_with("OUTLINED") && to.iter().any(|t| can_panic(t)))
        .map(|(f, _)| f)
        .collect();
    let mut found = Vec::new();
    for (f, to) in calls {
        // The image's own loop and port count too: the linker inlines the agent
        // into them.
        if !is_ours(f) {
            continue;
        }
        for t in to.iter().filter(|t| can_panic(t) || outlined.contains(t)) {
            found.push((f.clone(), t.clone()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_to_a_panic_is_found_and_a_jump_within_is_not() {
        let text = "10000100 <nrd_agent::log::step>:\n\
            10000104:\tf000 f800 \tbl\t10000200 <core::panicking::panic_bounds_check>\n\
            10000108:\te7fe      \tb.n\t10000108 <nrd_agent::log::step+0x8>\n\
            10000200 <nrd_agent::clean>:\n\
            10000204:\tf000 f800 \tbl\t10000300 <nrd_agent::log::step>\n\
            10000400 <sha2::compress>:\n\
            10000404:\tf000 f800 \tbl\t10000200 <core::panicking::panic>\n";
        let found = panics(&calls(text));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "nrd_agent::log::step");
    }

    #[test]
    fn code_is_counted_for_the_innermost_file_that_is_not_core() {
        for (frames, origin) in [
            (
                &[
                    "/x/library/core/src/option.rs:9",
                    "/x/agent/src/log/open.rs:7",
                ][..],
                Origin::Device,
            ),
            (&["/x/agent/src/wire/codec.rs:3"], Origin::Conversation),
            (
                &[
                    "/r/registry/src/i/sha2-0.11.1/src/a.rs:1",
                    "/x/agent/src/wire/mod.rs:3",
                ],
                Origin::Crypto,
            ),
            (&["/x/hal/src/crypto/rustcrypto.rs:3"], Origin::Crypto),
            (&["/x/tests/firmware/m33/src/board.rs:3"], Origin::Port),
            (&["/x/library/core/src/str/mod.rs:3"], Origin::Runtime),
        ] {
            assert_eq!(whose(frames).map(|w| w.0), Some(origin), "{frames:?}");
        }
        assert_eq!(
            instructions("10000104:\tf000 f800 \tbl\tx\n  108:\te7fe      \tb.n\ty\n"),
            [(0x1000_0104, 4), (0x108, 2)]
        );
    }
}
