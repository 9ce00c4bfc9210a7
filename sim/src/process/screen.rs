//! What the screen shows: lines for people, or JSON lines for machines.

use super::wipe_cost::WipeCost;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::Write as _;

/// Where to show it.
pub struct Screen {
    json: bool,
    bar: Option<ProgressBar>,
    pages: String,
}

/// One thing to show. Also the JSON lines' format: `event`, then its fields.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Show<'a> {
    /// The device was switched on.
    Boot { device_id: &'a str, model: &'a str },
    /// The state changed.
    State {
        state: &'static str,
        reason: Option<&'static str>,
        name: Option<String>,
    },
    /// A code to type on the website.
    Code { code: &'a str, pictogram: String },
    /// How far a wipe has come.
    Wipe { done: u32, total: u32 },
    /// A returns desk is heard on this port of the loopback interface.
    Link { port: u16 },
    /// How far a storage check has come: bytes stored, read back, erased.
    Fill { done: u32, total: u32 },
    /// A wipe ended.
    Wiped { cost: WipeCost },
    /// Account data was cached.
    Cached { records: usize, bytes: usize },
    /// The menu behind the key sequence opened.
    Menu,
    /// An order arrived by another channel.
    Order { result: String },
    /// A token was renewed.
    Renewed { generation: u32 },
    /// An exchange failed.
    Failed { code: u16, text: String },
    /// A file was written.
    Written { file: &'a str, bytes: usize },
    /// Something the person should read.
    Note { text: String },
    /// A command could not be carried out.
    Refused { text: String },
}

impl Screen {
    /// A screen; `pages` is the address that people are sent to.
    pub fn new(json: bool, pages: String) -> Screen {
        Screen {
            json,
            bar: None,
            pages,
        }
    }

    pub(super) fn show(&mut self, what: &Show<'_>) {
        let mut out = std::io::stdout().lock();
        if self.json {
            if let Ok(line) = serde_json::to_string(what) {
                // Nobody reads any more: nothing to be done.
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "a closed standard output stops no device"
                )]
                let _ = writeln!(out, "{line}");
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "a closed standard output stops no device"
                )]
                let _ = out.flush();
            }
            return;
        }
        let progress = match what {
            Show::Wipe { done, total } => {
                Some((done, total, "wiping {bar:40} {pos}/{len} sectors"))
            }
            Show::Fill { done, total } => {
                Some((done, total, "storage check {bar:40} {bytes}/{total_bytes}"))
            }
            _ => None,
        };
        if let Some((done, total, template)) = progress {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new(u64::from(*total));
                if let Ok(style) = ProgressStyle::with_template(&format!("  {template}")) {
                    bar.set_style(style);
                }
                bar
            });
            bar.set_position(u64::from(*done));
            return;
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        #[expect(
            clippy::let_underscore_must_use,
            reason = "a closed standard output stops no device"
        )]
        let _ = writeln!(out, "{}", self.line(what));
        #[expect(
            clippy::let_underscore_must_use,
            reason = "a closed standard output stops no device"
        )]
        let _ = out.flush();
    }

    fn line(&self, what: &Show<'_>) -> String {
        match what {
            Show::Boot { device_id, model } => format!("[on]     {model}, {device_id}"),
            Show::State {
                state,
                reason,
                name,
            } => match (*state, name) {
                ("active", Some(name)) => format!("[active] Welcome back, {name}."),
                (state, _) => match reason {
                    Some(reason) => format!("[{state}] {reason}"),
                    None => format!("[{state}]"),
                },
            },
            Show::Code { code, pictogram } => format!(
                "[code]   {code}   with a {pictogram}\n         Type it at {}activate",
                self.pages
            ),
            Show::Wipe { .. } | Show::Fill { .. } => String::new(),
            Show::Link { port } => format!("[link]   a desk is heard on localhost:{port}"),
            Show::Wiped { cost } => format!(
                "[wiped]  the keys were dead after {} operations ({:.1} ms modelled); all of it took {:.0} ms, {} sectors",
                cost.flash_ops_to_key_death,
                cost.modelled_ms_to_key_death,
                cost.modelled_ms_total,
                cost.sectors_erased
            ),
            Show::Cached { records, bytes } => {
                format!("[cache]  {records} records of the account, {bytes} bytes, sealed")
            }
            Show::Menu => "[menu]   type `sign-out`, `deactivate yes`, or `close`".to_owned(),
            Show::Order { result } => format!("[order]  {result}"),
            Show::Renewed { .. } => "[lease]  renewed".to_owned(),
            Show::Failed { text, .. } => format!("[net]    {text}; trying again later"),
            Show::Written { file, bytes } => format!("[file]   {file}, {bytes} bytes"),
            Show::Note { text } => format!("         {text}"),
            Show::Refused { text } => format!("[no]     {text}"),
        }
    }
}
