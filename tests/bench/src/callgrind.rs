//! Counting instructions: this program runs itself under callgrind.
//!
//! A case does its preparation, then calls [`counted`] once; only what runs
//! inside that call is collected. What the flash model itself spends there is
//! taken off again, so that a count is the engine's and its crypto's alone.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Runs `f`; what it spends is what callgrind collects.
#[inline(never)]
pub(crate) fn counted<T>(f: impl FnOnce() -> T) -> T {
    std::hint::black_box(f())
}

/// What a case spent.
#[derive(Debug, Default)]
pub(crate) struct Instructions {
    /// In all, the flash model's left out.
    pub(crate) total: u64,
    /// The flash model's.
    pub(crate) model: u64,
    /// By function, its own instructions.
    pub(crate) own: Vec<(String, u64)>,
    /// Calls into a function, with everything beneath, by caller and callee.
    pub(crate) calls: Vec<(String, String, u64)>,
}

impl Instructions {
    /// The profile, for a person.
    pub(crate) fn text(&self) -> String {
        let mut out = format!(
            "{} instructions; the flash model's {} not counted\n\nown, by function\n",
            self.total, self.model
        );
        for (name, cost) in self.own.iter().take(25) {
            out.push_str(&format!("{cost:>12}  {}\n", plain(name)));
        }
        out.push_str("\ncalls, with all beneath\n");
        for (from, to, cost) in self.calls.iter().take(40) {
            out.push_str(&format!("{cost:>12}  {} -> {}\n", plain(from), plain(to)));
        }
        out
    }
}

/// A symbol without hashes and with its types shortened.
fn plain(name: &str) -> String {
    let short = name.replace("nrd_agent::", "").replace("nrd_hal::", "");
    short.chars().take(100).collect()
}

/// Functions of the flash model.
const MODEL: [&str; 3] = ["nor_read", "nor_program", "nor_erase"];

/// Why nothing can be counted here.
pub(crate) fn missing() -> Option<String> {
    let have = nrd_tests::external_tools::have("valgrind", "the count of instructions");
    (!have).then(|| "valgrind is missing (Debian: apt-get install valgrind)".to_owned())
}

/// Runs `case` of this program under callgrind.
pub(crate) fn run(case: &str) -> Result<Instructions, String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    program(&me, &["--case", case], Some("*callgrind*counted*"))
}

/// Runs a program under callgrind and collects inside functions called
/// `within`, or everything.
pub(crate) fn program(
    program: &Path,
    args: &[&str],
    within: Option<&str>,
) -> Result<Instructions, String> {
    let out = std::env::temp_dir().join(format!("nrd-bench-{}.callgrind", std::process::id()));
    let ran = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .args(within.map(|w| format!("--toggle-collect={w}")))
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(program)
        .args(args)
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    if !ran.status.success() {
        let why = String::from_utf8_lossy(&ran.stderr);
        return Err(why.lines().last().unwrap_or("no output").to_owned());
    }
    let counts = parse(&text);
    match counts.total {
        0 => Err("nothing was collected: the counted function was inlined".to_owned()),
        _ => Ok(counts),
    }
}

/// Reads a callgrind profile without compression.
fn parse(text: &str) -> Instructions {
    let mut out = Instructions::default();
    let mut own: HashMap<String, u64> = HashMap::new();
    let mut calls: HashMap<(String, String), u64> = HashMap::new();
    let (mut within, mut callee) = (String::new(), String::new());
    let mut inclusive = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            name.clone_into(&mut within);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            name.clone_into(&mut callee);
        } else if line.starts_with("calls=") {
            inclusive = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-') {
            let cost = line.split_whitespace().nth(1);
            let cost: u64 = cost.and_then(|c| c.parse().ok()).unwrap_or_default();
            if std::mem::take(&mut inclusive) {
                *calls.entry((within.clone(), callee.clone())).or_default() += cost;
            } else {
                *own.entry(within.clone()).or_default() += cost;
            }
        }
    }
    let all: u64 = own.values().sum();
    let is_model = |name: &str| MODEL.iter().any(|m| name.contains(m));
    out.model = calls
        .iter()
        .filter(|((from, to), _)| is_model(to) && !is_model(from))
        .map(|(_, cost)| cost)
        .sum();
    out.total = all.saturating_sub(out.model);
    out.own = own.into_iter().collect();
    out.own.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
    out.calls = calls.into_iter().map(|((a, b), c)| (a, b, c)).collect();
    out.calls
        .sort_by_key(|(_, _, cost)| std::cmp::Reverse(*cost));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_taken_off_with_everything_beneath_it() {
        let text = "events: Ir\n\nfn=counted\n10 5\ncfn=put\ncalls=1 20\n10 100\n\n\
            fn=put\n20 30\ncfn=<Nor>::nor_read\ncalls=2 40\n21 70\n\n\
            fn=<Nor>::nor_read\n40 60\ncfn=memcpy\ncalls=2 0\n41 10\n\nfn=memcpy\n0 10\n";
        let counts = parse(text);
        assert_eq!((counts.total, counts.model), (35, 70));
        assert_eq!(counts.own[0], ("<Nor>::nor_read".to_owned(), 60));
    }
}
