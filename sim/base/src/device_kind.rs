//! Kinds of devices as people read and type them.
//!
//! One table: a new kind is a row here beside its variant in
//! `nrd_agent::wire::DeviceKind`, and the compiler asks for the row.

use nrd_agent::wire::DeviceKind;

/// What people read and type for a kind.
struct Words {
    /// In a sentence.
    name: &'static str,
    /// On the command line and in scenario files.
    typed: &'static str,
    /// In a serial number: `NRD-STB-…`.
    serial: &'static str,
}

fn words(kind: DeviceKind) -> Words {
    let (name, typed, serial) = match kind {
        DeviceKind::SetTopBox => ("set-top box", "stb", "STB"),
        DeviceKind::Console => ("game console", "console", "CON"),
        DeviceKind::Computer => ("computer", "computer", "PC"),
    };
    Words {
        name,
        typed,
        serial,
    }
}

/// The kind in a sentence, such as "game console".
pub fn name(kind: DeviceKind) -> &'static str {
    words(kind).name
}

/// The kind as a heading, such as "Game console".
///
/// ```
/// use nrd_agent::wire::DeviceKind;
/// assert_eq!(nrd_sim_base::device_kind::heading(DeviceKind::Console), "Game console");
/// ```
pub fn heading(kind: DeviceKind) -> String {
    let mut rest = name(kind).chars();
    let first = rest.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}

/// The kind as people type it, such as "stb".
pub fn typed(kind: DeviceKind) -> &'static str {
    words(kind).typed
}

/// The kind's part of a serial number, such as "STB".
pub fn serial(kind: DeviceKind) -> &'static str {
    words(kind).serial
}

/// Every kind with the word that people type for it.
pub fn choices() -> Vec<(&'static str, DeviceKind)> {
    let all = DeviceKind::ALL.iter();
    all.map(|&kind| (typed(kind), kind)).collect()
}

/// The kind that a typed word means.
///
/// # Errors
/// A sentence that names the word and the known ones.
///
/// ```
/// use nrd_agent::wire::DeviceKind;
/// use nrd_sim_base::device_kind::parse;
/// assert_eq!(parse("stb"), Ok(DeviceKind::SetTopBox));
/// assert_eq!(
///     parse("toaster").unwrap_err(),
///     "`toaster` is no kind of device; known are stb, console, computer"
/// );
/// ```
pub fn parse(word: &str) -> Result<DeviceKind, String> {
    let found = choices().into_iter().find(|(typed, _)| *typed == word);
    found.map(|(_, kind)| kind).ok_or_else(|| {
        let known: Vec<_> = choices().into_iter().map(|(typed, _)| typed).collect();
        let word: String = word.chars().take(24).collect();
        format!(
            "`{word}` is no kind of device; known are {}",
            known.join(", ")
        )
    })
}
