//! Kinds of devices as people read, type and see them, and what sets one kind
//! apart from another.
//!
//! One table: a new kind is a row here beside its variant in
//! `nrd_agent::wire::DeviceKind`, and the compiler asks for the row. Nobody
//! else compares a kind: it once was "not a computer" in four places.

use nrd_agent::wire::DeviceKind;

/// What there is to say of a kind.
struct Traits {
    /// In a sentence.
    name: &'static str,
    /// On the command line and in scenario files.
    typed: &'static str,
    /// In a serial number: `NRD-STB-…`.
    serial: &'static str,
    /// Its picture: what stands inside an SVG of 24 by 24.
    picture: &'static str,
    /// Its user may be one of many, so that they are asked whether it shall
    /// remember them.
    shared: bool,
    /// A battery keeps its clock while the plug is out.
    battery_clock: bool,
}

fn traits(kind: DeviceKind) -> Traits {
    match kind {
        DeviceKind::SetTopBox => Traits {
            name: "set-top box",
            typed: "stb",
            serial: "STB",
            picture: r#"<path d="M3 5h18v11H3zM8 20h8M12 16v4"/>"#,
            shared: false,
            battery_clock: false,
        },
        DeviceKind::Console => Traits {
            name: "game console",
            typed: "console",
            serial: "CON",
            picture: r#"<path d="M7 8h10a5 5 0 0 1 5 5v1.5a3 3 0 0 1-5.4 1.8L15.500 15h-7l-1.100 1.300A3 3 0 0 1 2 14.500V13a5 5 0 0 1 5-5z"/><path d="M7 10.500v3M5.500 12h3M15.500 12h.01M18 11h.01"/>"#,
            shared: false,
            battery_clock: true,
        },
        DeviceKind::Computer => Traits {
            name: "computer",
            typed: "computer",
            serial: "PC",
            picture: r#"<path d="M5 5h14v10H5zM2.500 19h19"/>"#,
            shared: true,
            battery_clock: true,
        },
    }
}

/// The kind in a sentence, such as "game console".
pub fn name(kind: DeviceKind) -> &'static str {
    traits(kind).name
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
    traits(kind).typed
}

/// The kind's part of a serial number, such as "STB".
pub fn serial(kind: DeviceKind) -> &'static str {
    traits(kind).serial
}

/// What stands inside an `<svg viewBox="0 0 24 24">`. A type of its own, for
/// templates write it unescaped: a word in its place once made a page's picture
/// vanish.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    /// The SVG elements.
    pub svg: &'static str,
}

/// The kind's picture.
pub fn picture(kind: DeviceKind) -> Picture {
    Picture {
        svg: traits(kind).picture,
    }
}

/// True when the kind always remembers its account; false when its user is
/// asked first.
pub fn remembers_always(kind: DeviceKind) -> bool {
    !traits(kind).shared
}

/// True when a battery keeps the kind's clock while the plug is out; without
/// one the device wakes without knowing the time of day.
pub fn has_battery_clock(kind: DeviceKind) -> bool {
    traits(kind).battery_clock
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
