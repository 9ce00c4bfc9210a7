//! Scenario files: what a story says, checked before anything runs.
//!
//! The format is described in `docs/SIMULATOR.md`. Every complaint names line
//! and column, shows the line, and says what would have been right.

mod table;

use nrd_agent::Class;
use nrd_agent::wire::DeviceKind;
use nrd_sim_base::device_kind;
use nrd_sim_hw::FaultMode;
use std::fmt;
use table::{Doc, Table};

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line itself.
    pub source: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub hint: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = " ".repeat(self.column - 1);
        let FileError {
            line, column, what, ..
        } = self;
        writeln!(f, "line {line}, column {column}: {what}")?;
        write!(f, "  | {}\n  | {mark}^\n  {}", self.source, self.hint)
    }
}

impl std::error::Error for FileError {}

/// A story.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Its name.
    pub title: String,
    /// The story in prose.
    pub story: String,
    /// Everything random follows from it.
    pub seed: u64,
    /// The devices.
    pub devices: Vec<DeviceSpec>,
    /// The account holders.
    pub accounts: Vec<String>,
    /// The terms of every lease.
    pub terms: Terms,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A device of a story.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceSpec {
    /// What the story calls it.
    pub name: String,
    /// Its kind.
    pub kind: DeviceKind,
}

/// Terms that a story may change, all in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Between check-ins.
    pub check_in_s: u64,
    /// Access ends after so many powered seconds without a lease.
    pub expires_after_s: u64,
    /// It wipes itself so many powered seconds later; 0 for never.
    pub dead_man_s: u64,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its line in the file.
    pub line: usize,
    /// Time that passes before it, in milliseconds.
    pub after_ms: u64,
    /// What happens.
    pub act: ScenarioAct,
}

/// A value kept at a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its class.
    pub class: Class,
    /// Its id.
    pub id: u16,
}

/// What happens in a step. Devices and accounts by their place in the story.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    missing_docs,
    reason = "the words of scenario files, told in docs/SIMULATOR.md"
)]
pub enum ScenarioAct {
    /// Nothing but time.
    Wait,
    /// A person activates the device with the code that it shows.
    Activate {
        device: usize,
        account: usize,
        remember: bool,
    },
    /// The product caches a value.
    Put {
        device: usize,
        slot: Slot,
        value: String,
    },
    /// The plug.
    Power { device: usize, on: bool },
    /// The plug is pulled in the middle of the operation that many operations
    /// from now.
    Cut {
        device: usize,
        operation: u64,
        tear: FaultMode,
    },
    /// The network plug.
    Network { device: usize, on: bool },
    /// A person deactivates the device at the device.
    Wipe { device: usize },
    /// A person signs out at the device.
    SignOut { device: usize },
    /// The account holder removes the device on the account page.
    Remove { device: usize, account: usize },
    /// The account holder removes all devices.
    RemoveAll { account: usize },
    /// Somebody copies the flash.
    Image { device: usize, name: String },
    /// Somebody writes an earlier copy back, while the device is off.
    Restore { device: usize, name: String },
    /// Somebody builds a second device with the same fuses and flash.
    Clone { device: usize, name: String },
    /// The wall clock goes wrong by so many seconds.
    Clock { device: usize, off_s: i64 },
    /// The service goes down or comes up.
    Service { up: bool },
    /// A returns desk asks for a proof.
    Prove { device: usize, deep: bool },
    /// Something must be so.
    Expect(Expect),
}

/// What must be so. What is `None` is not looked at.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(
    missing_docs,
    reason = "the words of scenario files, told in docs/SIMULATOR.md"
)]
pub struct Expect {
    pub device: Option<usize>,
    pub account: Option<usize>,
    /// The state that the device's screen tells.
    pub state: Option<String>,
    /// Whose name "Welcome back" shows.
    pub welcomes: Option<String>,
    /// What the account page says of the device.
    pub page: Option<String>,
    /// Which value is looked at, and what it must be; `None` for no value.
    pub value: Option<(Slot, Option<String>)>,
    /// Account bytes that can be read from the flash with every key at hand.
    pub readable: Option<u64>,
    /// What the desk said of the last proof.
    pub proof: Option<String>,
    /// Receipts that wait for the network.
    pub receipts: Option<u64>,
}

/// States as a screen tells them.
pub const STATES: [&str; 10] = [
    "off",
    "clean",
    "activating",
    "active",
    "locked",
    "signed-out",
    "wiping",
    "wipe-failed",
    "booting",
    "filling",
];
/// What an account page says of a device.
pub const PAGES: [&str; 16] = [
    "unconfirmed",
    "active",
    "signing-out",
    "consent-due",
    "offline",
    "lease-over",
    "signed-out",
    "theft-suspected",
    "removal-ordered",
    "delivered",
    "proven-wiped",
    "wipe-failed",
    "over",
    "session-lost",
    "memory-damaged",
    "barred",
];
/// What a desk says.
pub const PROOFS: [&str; 3] = ["proven", "refused", "no-answer"];
/// Classes of cached values: all but the agent's own.
fn classes() -> Vec<(&'static str, Class)> {
    let callers = Class::ALL.iter().filter(|c| **c != Class::Session);
    callers.map(|&c| (c.name(), c)).collect()
}
/// Tears that a power cut can leave. A silent fault is none: the power stays on.
fn tears() -> Vec<(&'static str, FaultMode)> {
    let cuts = FaultMode::ALL.into_iter().filter(|tear| !tear.is_silent());
    cuts.map(|tear| (tear.name(), tear)).collect()
}
/// The largest part of a story is its steps; more are a mistake.
const MAX_STEPS: usize = 10_000;
const MAX_DEVICES: usize = 64;
/// Longest that one step waits: ten years.
const MAX_AFTER_MS: u64 = 10 * 365 * 86_400_000;

/// Reads a file.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(text: &str) -> Result<Story, FileError> {
    let doc = Doc::new(text);
    let root = doc.parse()?;
    let mut top = Table::new(&doc, root.get_ref(), root.span());
    let title = top.text("title")?;
    let mut story = Story {
        title,
        story: top.maybe_text("story")?.unwrap_or_default(),
        seed: top.maybe_number("seed", u64::MAX >> 1)?.unwrap_or(1),
        devices: Vec::new(),
        accounts: Vec::new(),
        terms: Terms {
            check_in_s: top.maybe_duration_s("check_in")?.unwrap_or(3600),
            expires_after_s: top.maybe_duration_s("access_ends")?.unwrap_or(30 * 86_400),
            dead_man_s: top.maybe_duration_s("wipes_itself")?.unwrap_or(90 * 86_400),
        },
        steps: Vec::new(),
    };
    for mut t in top.tables("device", MAX_DEVICES)? {
        let name = t.new_name(
            "name",
            &story
                .devices
                .iter()
                .map(|d| d.name.as_str())
                .collect::<Vec<_>>(),
        )?;
        let kind = t
            .maybe_one_of("kind", &device_kind::choices())?
            .unwrap_or(DeviceKind::SetTopBox);
        t.done("a device", &["name", "kind"])?;
        story.devices.push(DeviceSpec { name, kind });
    }
    for mut t in top.tables("account", MAX_DEVICES)? {
        let known: Vec<&str> = story.accounts.iter().map(String::as_str).collect();
        let name = t.new_name("name", &known)?;
        t.done("an account", &["name"])?;
        story.accounts.push(name);
    }
    let mut images = Vec::new();
    for t in top.tables("step", MAX_STEPS)? {
        let step = step(t, &mut story, &mut images)?;
        story.steps.push(step);
    }
    top.done(
        "a story",
        &[
            "title",
            "story",
            "seed",
            "check_in",
            "access_ends",
            "wipes_itself",
            "device",
            "account",
            "step",
        ],
    )?;
    Ok(story)
}

/// What a step can do, and what it needs beside `after` and `do`.
const ACTS: [(&str, &[&str]); 19] = [
    ("wait", &[]),
    ("activate", &["device", "account", "remember"]),
    ("put", &["device", "class", "id", "value"]),
    ("power-off", &["device"]),
    ("power-on", &["device"]),
    ("cut", &["device", "operation", "tear"]),
    ("offline", &["device"]),
    ("online", &["device"]),
    ("wipe", &["device"]),
    ("sign-out", &["device"]),
    ("remove", &["device", "account"]),
    ("remove-all", &["account"]),
    ("image", &["device", "name"]),
    ("restore", &["device", "name"]),
    ("clone", &["device", "name"]),
    ("clock", &["device", "off"]),
    ("service-down", &[]),
    ("service-up", &[]),
    ("prove", &["device", "deep"]),
];
const EXPECTS: [&str; 12] = [
    "after", "expect", "account", "state", "welcomes", "page", "class", "id", "value", "readable",
    "proof", "receipts",
];

#[expect(
    clippy::too_many_lines,
    reason = "one verb of the scenario language an arm"
)]
fn step(
    mut t: Table<'_, '_>,
    story: &mut Story,
    images: &mut Vec<String>,
) -> Result<Step, FileError> {
    let after_ms = t.maybe_duration_s("after")?.unwrap_or(0) * 1000;
    if after_ms > MAX_AFTER_MS {
        return Err(t.wrong(
            "after",
            "more than ten years",
            "shorter waits, if need be several",
        ));
    }
    let line = t.line();
    if t.has("expect") {
        let act = ScenarioAct::Expect(expect(&mut t, story)?);
        t.done("an expectation", &EXPECTS)?;
        return Ok(Step {
            line,
            after_ms,
            act,
        });
    }
    let names = ACTS.map(|(name, _)| (name, name));
    let verb = t.one_of("do", &names)?;
    let devices: Vec<&str> = story.devices.iter().map(|d| d.name.as_str()).collect();
    let accounts: Vec<&str> = story.accounts.iter().map(String::as_str).collect();
    let needs = ACTS
        .iter()
        .find(|(name, _)| *name == verb)
        .map_or(&[][..], |(_, keys)| keys);
    let device = if needs.contains(&"device") {
        t.known("device", "device", &devices)?
    } else {
        0
    };
    let account = if needs.contains(&"account") {
        t.known("account", "account", &accounts)?
    } else {
        0
    };
    let act = match verb {
        "activate" => ScenarioAct::Activate {
            device,
            account,
            remember: t.maybe_flag("remember")?.unwrap_or(true),
        },
        "put" => ScenarioAct::Put {
            device,
            slot: slot(&mut t)?,
            value: t.text("value")?,
        },
        "power-off" | "power-on" => ScenarioAct::Power {
            device,
            on: verb == "power-on",
        },
        "cut" => ScenarioAct::Cut {
            device,
            operation: t.number("operation", 1_000_000)?,
            tear: t
                .maybe_one_of("tear", &tears())?
                .unwrap_or(FaultMode::Random),
        },
        "offline" | "online" => ScenarioAct::Network {
            device,
            on: verb == "online",
        },
        "wipe" => ScenarioAct::Wipe { device },
        "sign-out" => ScenarioAct::SignOut { device },
        "remove" => ScenarioAct::Remove { device, account },
        "remove-all" => ScenarioAct::RemoveAll { account },
        "image" => {
            let known: Vec<&str> = images.iter().map(String::as_str).collect();
            let name = t.new_name("name", &known)?;
            images.push(name.clone());
            ScenarioAct::Image { device, name }
        }
        "restore" => {
            let known: Vec<&str> = images.iter().map(String::as_str).collect();
            let n = t.known("name", "image", &known)?;
            ScenarioAct::Restore {
                device,
                name: images[n].clone(),
            }
        }
        "clone" => {
            let name = t.new_name("name", &devices)?;
            let kind = story.devices[device].kind;
            story.devices.push(DeviceSpec {
                name: name.clone(),
                kind,
            });
            ScenarioAct::Clone { device, name }
        }
        "clock" => ScenarioAct::Clock {
            device,
            off_s: t.signed_duration_s("off")?,
        },
        "service-down" | "service-up" => ScenarioAct::Service {
            up: verb == "service-up",
        },
        "prove" => ScenarioAct::Prove {
            device,
            deep: t.maybe_flag("deep")?.unwrap_or(false),
        },
        "wait" => ScenarioAct::Wait,
        // A verb that `ACTS` lists and nothing above carries out.
        _ => return Err(t.wrong("do", "nothing carries this out", "another verb")),
    };
    let mut allowed = vec!["after", "do"];
    allowed.extend(needs);
    t.done(&format!("`{verb}`"), &allowed)?;
    Ok(Step {
        line,
        after_ms,
        act,
    })
}

fn slot(t: &mut Table<'_, '_>) -> Result<Slot, FileError> {
    Ok(Slot {
        class: t.one_of("class", &classes())?,
        id: t.maybe_number("id", u64::from(u16::MAX))?.unwrap_or(1) as u16,
    })
}

fn expect(t: &mut Table<'_, '_>, story: &Story) -> Result<Expect, FileError> {
    let devices: Vec<&str> = story.devices.iter().map(|d| d.name.as_str()).collect();
    let accounts: Vec<&str> = story.accounts.iter().map(String::as_str).collect();
    let own = |names: &[&'static str]| names.iter().map(|n| (*n, *n)).collect::<Vec<_>>();
    let mut e = Expect {
        device: Some(t.known("expect", "device", &devices)?),
        state: t.maybe_one_of("state", &own(&STATES))?.map(str::to_owned),
        welcomes: t.maybe_text("welcomes")?,
        page: t.maybe_one_of("page", &own(&PAGES))?.map(str::to_owned),
        readable: t.maybe_number("readable", u64::from(u32::MAX))?,
        proof: t.maybe_one_of("proof", &own(&PROOFS))?.map(str::to_owned),
        receipts: t.maybe_number("receipts", 255)?,
        ..Expect::default()
    };
    if e.page.is_some() {
        e.account = Some(t.known("account", "account", &accounts)?);
    }
    if t.has("class") {
        let slot = slot(t)?;
        let value = t.text("value")?;
        e.value = Some((slot, Some(value).filter(|v| v != "none")));
    }
    let nothing = Expect {
        device: e.device,
        ..Expect::default()
    };
    if e == nothing {
        return Err(t.wrong(
            "expect",
            "nothing is expected of it",
            "add at least one of: state, welcomes, page (with account), class (with value), readable, proof, receipts",
        ));
    }
    Ok(e)
}
