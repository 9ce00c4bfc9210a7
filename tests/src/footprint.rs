//! What the bare-metal image costs: sizes by origin, and panic paths.
//!
//! Reads what binutils say about the linked image, so that it counts what is
//! really in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Where the code of an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `nrd-agent`, `nrd-hal`, and what was inlined into the image's own loop.
    Agent,
    /// `serde`, `postcard`, `heapless`: the frames.
    Frames,
    /// RustCrypto and dalek.
    Crypto,
    /// `core`, the compiler's helpers, start-up code.
    Runtime,
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
    /// The largest functions: bytes and name.
    pub largest: Vec<(u64, String)>,
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
    for line in run("arm-none-eabi-nm", &["-S", "-C"], image).lines() {
        let mut words = line.splitn(4, ' ');
        let (_, size, kind, name) = (words.next(), words.next(), words.next(), words.next());
        let (Some(size), Some(kind), Some(name)) = (size, kind, name) else {
            continue;
        };
        let Ok(size) = u64::from_str_radix(size, 16) else {
            continue;
        };
        if !matches!(kind, "t" | "T") {
            continue;
        }
        *out.by_origin.entry(origin(name)).or_default() += size;
        out.largest.push((size, name.to_owned()));
    }
    out.largest
        .sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    out.panics = panics(&calls(&run("arm-none-eabi-objdump", &["-d", "-C"], image)));
    out
}

/// Whose a function is, by the crate that defines it: the first name of a path,
/// or for a trait's method that of the type.
fn origin(name: &str) -> Origin {
    let mut krate = name;
    if let Some(at) = name.find("::") {
        krate = &name[..at];
    }
    let krate = krate
        .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default();
    match krate {
        _ if is_provider(name) => Origin::Crypto,
        k if k.starts_with("nrd_") => Origin::Agent,
        "postcard" | "serde_core" | "serde" | "heapless" | "cobs" => Origin::Frames,
        "curve25519_dalek" | "ed25519_dalek" | "aes" | "aes_gcm" | "ctr" | "sha2" | "polyval"
        | "ghash" | "hmac" | "hkdf" | "hybrid_array" | "digest" | "subtle" | "cipher"
        | "block_buffer" | "aead" | "signature" | "crypto_common" | "universal_hash"
        | "zeroize" => Origin::Crypto,
        _ if name.contains("nrd_agent::") => Origin::Agent,
        _ if name.contains("serde_core::") => Origin::Frames,
        _ => Origin::Runtime,
    }
}

/// The adapter around the crypto crates; their code is inlined into it.
fn is_provider(name: &str) -> bool {
    name.starts_with("<nrd_hal::crypto::")
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
        if origin(f) != Origin::Agent {
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
    fn code_is_counted_for_the_crate_that_defines_it() {
        for (name, whose) in [
            (
                "nrd_agent::wire::decode::<nrd_agent::wire::object::Order>",
                Origin::Agent,
            ),
            (
                "<nrd_agent::log::Log>::step::<nrd_m33::board::Flash>",
                Origin::Agent,
            ),
            (
                "<nrd_hal::crypto::rustcrypto::RustCrypto as nrd_hal::crypto::Crypto>::verify",
                Origin::Crypto,
            ),
            ("<curve25519_dalek::scalar::Scalar>::reduce", Origin::Crypto),
            (
                "<&mut postcard::de::Deserializer>::try_take",
                Origin::Frames,
            ),
            ("compiler_builtins::mem::memmove", Origin::Runtime),
        ] {
            assert_eq!(origin(name), whose, "{name}");
        }
    }
}
