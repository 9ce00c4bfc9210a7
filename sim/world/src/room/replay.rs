//! A session in the living room as a file, and the same session again.
//!
//! The file holds what each device heard (`recording.rs`) and the SHA-256 of its
//! flash at the end. Replay again, without any service, every device must end
//! with the same flash, to the last bit. Account pages are not in it: what they
//! brought about is, as the replies of the service.

use super::PLANS;
use super::device::{Inner, Parts};
use super::device_thread::boot;
use super::recording::{Off, Replay, unhex_all};
use crate::runner::{Failure, ScenarioReport};
use nrd_sim_base::sample::Samples;
use nrd_sim_base::sign::keypair;
use nrd_sim_base::{hex, unhex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version of the format.
const FORMAT: u32 = 1;
/// The key that tells a recording from a story.
const MARK: &str = "recording = ";

/// A session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    title: String,
    recording: u32,
    seed: u64,
    /// The public key that the devices trust, hexadecimal.
    service_root: String,
    device: Vec<Recorded>,
}

/// One device of a session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    pub(super) id: String,
    /// Its maker certificate, hexadecimal: receipts repeat it.
    pub(super) certificate: String,
    /// SHA-256 of its flash at the end, hexadecimal.
    pub(super) flash: String,
    pub(super) tape: String,
}

/// True when this text is a recording, not a story.
pub fn is_recording(text: &str) -> bool {
    text.lines().any(|l| l.starts_with(MARK))
}

impl Recording {
    pub(super) fn new(seed: u64, root: &[u8; 32], device: Vec<Recorded>) -> Recording {
        Recording {
            title: format!("A session in the living room, seed {seed}"),
            recording: FORMAT,
            seed,
            service_root: hex(root),
            device,
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        let text = toml::to_string_pretty(self).ok()?;
        let about = "# Play it again: nrd-sim run THIS-FILE. It holds what the virtual devices heard, the\n\
                     # tokens of their virtual account among it.\n";
        Some(about.to_owned() + &text)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(text: &str) -> Result<Recording, String> {
        let recording: Recording = toml::from_str(text).map_err(|e| e.to_string())?;
        match recording.recording {
            FORMAT => Ok(recording),
            other => Err(format!(
                "recordings of format {other} are not known here: record it again"
            )),
        }
    }

    /// Plays it again.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn play(&self) -> Result<ScenarioReport, String> {
        let service_root =
            unhex(&self.service_root).ok_or("`service_root` is no 64 hexadecimal digits")?;
        let samples = Samples::read(None).map_err(|e| e.to_string())?;
        let mut report = ScenarioReport {
            title: self.title.clone(),
            seed: self.seed,
            steps: 0,
            expectations: self.device.len(),
            virtual_s: 0,
            failures: Vec::new(),
            flash: BTreeMap::new(),
        };
        for device in &self.device {
            let at = PLANS.iter().position(|p| p.id == device.id);
            let at = at.ok_or_else(|| format!("there is no device `{}` in a room", device.id))?;
            let mut inner = Inner::new(Parts {
                number: at + 1,
                plan: &PLANS[at],
                seed: self.seed,
                // What this one certifies is replaced by what was recorded.
                maker: &keypair(&[0; 32]),
                service_root,
                samples: &samples.accounts,
                slow: 0,
                news: Arc::new(|| {}),
            });
            inner.certificate = unhex_all(&device.certificate)
                .ok_or_else(|| format!("the certificate of `{}` is no hexadecimal", device.id))?;
            inner.plug.put_in();
            let mut tape = Replay::new(&device.tape)
                .map_err(|why| format!("the tape of `{}`, {why}", device.id))?;
            report.steps += tape.events();
            live(&inner, &mut tape);
            let flash = hex(&inner.flash());
            let mut wrong = |what: String| {
                report.failures.push(Failure {
                    line: 0,
                    at_s: 0,
                    what,
                });
            };
            if let Some((line, text)) = tape.misfit {
                // A reply may be long.
                let text: String = text.chars().take(32).collect();
                wrong(format!(
                    "{}: line {line} of its tape, `{text}`, is not what happens next",
                    device.id
                ));
            } else if flash != device.flash {
                wrong(format!(
                    "{} ends with other flash than it was recorded with",
                    device.id
                ));
            }
            report.flash.insert(device.id.clone(), flash);
        }
        Ok(report)
    }
}

/// The whole life of a device, from its tape.
fn live(inner: &Inner, tape: &mut Replay<'_>) {
    let mut network = true;
    while !tape.is_over() {
        match tape.off() {
            Some(Off::Network(on)) => network = on,
            Some(Off::On { seed, wall_s, cut }) => {
                boot(inner, tape, (seed, wall_s, cut), &mut network);
                if !tape.is_over() {
                    inner.power_off();
                }
            }
            Some(Off::Nothing) | None => {}
        }
    }
}
