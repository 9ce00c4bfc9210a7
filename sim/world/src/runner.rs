//! Plays a story in a world, and holds it against what the story expects.

use super::read::{Expect, PAGES, ScenarioAct, Slot, Step, Story};
use super::{Made, World};
use nrd_agent::keypad::{MenuSequence, RemoteKey};
use nrd_agent::wire::{Body as _, LockReason, Receipt};
use nrd_agent::{Agent, State};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{Crypto as _, Geometry};
use nrd_sim_base::hex;
use nrd_sim_base::sample::Sample;
use nrd_sim_device::say;
use nrd_sim_forensics::inspect::{Image, Search, Secret, inspect};
use nrd_sim_forensics::storage_check::StorageCheck;
use nrd_sim_forensics::verify::{Asked, Lists, Question, verify_with};
use nrd_sim_hw::{Board, ChipSpec};
use nrd_sim_service::account::DeviceStatus;
use nrd_sim_service::store::AccountId;
use nrd_sim_service::{Error, Result, Settings};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of a story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioReport {
    /// Its title.
    pub title: String,
    /// Its seed.
    pub seed: u64,
    /// Steps that were played.
    pub steps: usize,
    /// Expectations that were looked at.
    pub expectations: usize,
    /// Virtual seconds that passed.
    pub virtual_s: u64,
    /// Every expectation that broke, every act that could not be done.
    pub failures: Vec<Failure>,
    /// SHA-256 of each device's flash at the end.
    pub flash: BTreeMap<String, String>,
}

/// One thing that is not as the story says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The step's line in the file.
    pub line: usize,
    /// When, virtual seconds since the story began.
    pub at_s: u64,
    /// What, in words.
    pub what: String,
}

/// The part in every device of a story: 256 KiB of a serial NOR flash.
const CHIP: ChipSpec = ChipSpec {
    geometry: Geometry {
        size: 256 * 1024,
        write_size: 1,
        erase_size: 4096,
        best_erase: 65_536,
    },
    can_overwrite: true,
};
/// How long a person at a screen waits for the service, in seconds.
const PATIENCE_S: u64 = 120;
/// From where account holders act.
const ADDRESS: &str = "192.0.2.80";
/// The keys of the menu, in order.
const MENU: [RemoteKey; 12] = {
    use RemoteKey::{Down, Left, Right, Up};
    [Up, Up, Down, Down, Left, Right, Left, Right, Up, Up, Up, Up]
};

struct Run<'s> {
    story: &'s Story,
    world: World,
    accounts: Vec<AccountId>,
    images: BTreeMap<String, Vec<u8>>,
    /// What the desk said of each device's last proof.
    proofs: BTreeMap<usize, &'static str>,
    /// Every text that must not stand on flash in plain.
    secrets: Vec<Secret>,
    /// Activations that were consented to, with their device.
    given: Vec<(usize, [u8; 16])>,
    draws: u64,
}

/// Plays `story`; `tell` hears of each step before it is played.
///
/// # Errors
/// Where the virtual service cannot be made.
pub fn play(story: &Story, mut tell: impl FnMut(usize, &Step)) -> Result<ScenarioReport> {
    let mut settings = Settings {
        check_in_s: story.terms.check_in_s as u32,
        ..Settings::default()
    };
    settings.terms.expires_after_s = story.terms.expires_after_s as u32;
    settings.terms.dead_man_s = story.terms.dead_man_s as u32;
    settings.terms.renew_after_s = settings
        .terms
        .renew_after_s
        .min(settings.terms.expires_after_s / 2);
    settings.allow_own_terms();
    let mut run = Run {
        story,
        world: World::new(story.seed, settings)?,
        accounts: Vec::new(),
        images: BTreeMap::new(),
        proofs: BTreeMap::new(),
        secrets: Vec::new(),
        given: Vec::new(),
        draws: story.seed,
    };
    for name in &story.accounts {
        let sample = account(name);
        run.secrets
            .extend(sample.secrets().into_iter().map(Secret::new));
        let id = run.world.service.add_account_without_password(&sample)?;
        run.accounts.push(id);
    }
    let clones = story
        .steps
        .iter()
        .filter(|s| matches!(s.act, ScenarioAct::Clone { .. }))
        .count();
    for (n, cast) in story.devices[..story.devices.len() - clones]
        .iter()
        .enumerate()
    {
        let n = run.world.bring(Made {
            id: format!("NRD-STORY-{}", n + 1),
            model: cast.name.clone(),
            kind: cast.kind,
            chip: CHIP,
            longest: 1024,
            records: 64,
        });
        run.world.power_on(n);
    }
    let mut report = ScenarioReport {
        title: story.title.clone(),
        seed: story.seed,
        steps: 0,
        expectations: 0,
        virtual_s: 0,
        failures: Vec::new(),
        flash: BTreeMap::new(),
    };
    for (n, step) in story.steps.iter().enumerate() {
        tell(n, step);
        run.world.pass(step.after_ms);
        report.steps += 1;
        let said = match &step.act {
            ScenarioAct::Expect(e) => {
                report.expectations += 1;
                run.look(e)
            }
            act => run.act(act).err().into_iter().collect(),
        };
        report.failures.extend(said.into_iter().map(|what| Failure {
            line: step.line,
            at_s: run.world.time.ms() / 1000,
            what,
        }));
    }
    report.virtual_s = run.world.time.ms() / 1000;
    for (cast, device) in story.devices.iter().zip(&run.world.devices) {
        let digest = RingCrypto::sha256(device.hardware().chip().cells());
        report.flash.insert(cast.name.clone(), hex(&digest));
    }
    Ok(report)
}

/// An account holder of that name.
fn account(name: &str) -> Sample {
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    Sample {
        email: format!("{}@example.com", plain.to_lowercase()),
        password: String::new(),
        name: name.to_owned(),
        full_name: format!("{name} Example"),
        address: format!("1 {name} Street"),
        payment: format!("Visa 4111 {name}"),
        telephone: format!("+1 555 0100 {name}"),
        profiles: vec![format!("{name}'s profile")],
        activity: Vec::new(),
    }
}

type Said = std::result::Result<(), String>;

impl Run<'_> {
    fn name(&self, device: usize) -> &str {
        &self.story.devices[device].name
    }

    fn must_be_on(&self, device: usize) -> Said {
        if self.world.devices[device].is_on() {
            Ok(())
        } else {
            Err(format!("{} is off: switch it on first", self.name(device)))
        }
    }

    #[expect(clippy::too_many_lines, reason = "one step of a story an arm")]
    fn act(&mut self, act: &ScenarioAct) -> Said {
        match act {
            ScenarioAct::Wait | ScenarioAct::Expect(_) => {}
            ScenarioAct::Activate {
                device,
                account,
                remember,
            } => {
                self.activate(*device, *account, *remember)?;
            }
            ScenarioAct::Put {
                device,
                slot,
                value,
            } => {
                self.must_be_on(*device)?;
                self.secrets.push(Secret::new(value.as_str()));
                let put = self.world.devices[*device]
                    .with(|agent| agent.put(slot.class, slot.id, value.as_bytes()));
                self.world.call(*device);
                if let Some(Err(e)) = put
                    && self.world.devices[*device].is_on()
                {
                    return Err(format!("{} does not keep it: {e}", self.name(*device)));
                }
            }
            ScenarioAct::Power { device, on: true } => self.world.power_on(*device),
            ScenarioAct::Power { device, on: false } => self.world.power_off(*device),
            ScenarioAct::Cut {
                device,
                operation,
                tear,
            } => {
                self.must_be_on(*device)?;
                self.world.devices[*device].plan_cut(*operation, *tear);
            }
            ScenarioAct::Network { device, on } => {
                self.world.network(*device, *on);
                self.nudge(*device);
            }
            ScenarioAct::Wipe { device } => {
                self.at_the_device(*device, |agent| agent.deactivate())?
            }
            ScenarioAct::SignOut { device } => {
                self.at_the_device(*device, |agent| agent.sign_out())?
            }
            ScenarioAct::Remove { device, account } => {
                let id = self
                    .given
                    .iter()
                    .rev()
                    .find(|(d, _)| d == device)
                    .map(|(_, id)| *id);
                let id = id.ok_or_else(|| format!("{} was never activated", self.name(*device)))?;
                let account = self.accounts[*account];
                let done = self.world.service.remove(account, &id, ADDRESS);
                done.map_err(|e| self.page_says(&e))?;
            }
            ScenarioAct::RemoveAll { account } => {
                let account = self.accounts[*account];
                let done = self.world.service.remove_all(account, ADDRESS);
                done.map_err(|half| self.page_says(&half.error))?;
            }
            ScenarioAct::Image { device, name } => {
                let cells = self.world.devices[*device]
                    .hardware()
                    .chip()
                    .cells()
                    .to_vec();
                self.images.insert(name.clone(), cells);
            }
            ScenarioAct::Restore { device, name } => {
                if self.world.devices[*device].is_on() {
                    return Err(format!("{} is on: switch it off first", self.name(*device)));
                }
                let cells = self.images.get(name).cloned().unwrap_or_default();
                self.world.devices[*device]
                    .hardware()
                    .chip()
                    .restore_image(&cells);
            }
            ScenarioAct::Clone { device, .. } => {
                let copy = self.world.clone_device(*device);
                self.world.power_on(copy);
            }
            ScenarioAct::Clock { device, off_s } => {
                self.world.skew(*device, *off_s);
                self.nudge(*device);
            }
            ScenarioAct::Service { up } => self.world.service_down = !up,
            ScenarioAct::Prove { device, deep } => self.prove(*device, *deep)?,
        }
        Ok(())
    }

    fn page_says(&self, e: &Error) -> String {
        format!("the account page refuses: {e}")
    }

    /// Calls a device that is on.
    fn nudge(&mut self, device: usize) {
        if self.world.devices[device].is_on() {
            self.world.call(device);
        }
    }

    /// A person at the device opens the menu and chooses.
    fn at_the_device<E: std::fmt::Display>(
        &mut self,
        device: usize,
        choose: impl FnOnce(&mut nrd_agent::Agent<'_, nrd_sim_hw::Board>) -> std::result::Result<(), E>,
    ) -> Said {
        self.must_be_on(device)?;
        let mut menu = MenuSequence::default();
        let mut open = false;
        for (n, key) in MENU.iter().enumerate() {
            open = menu.press(*key, n as u64 * 300);
        }
        if !open {
            return Err("the menu does not open".to_owned());
        }
        let done = self.world.devices[device].with(choose);
        self.nudge(device);
        match done {
            // What a device whose power went says, nobody hears.
            Some(Err(e)) if self.world.devices[device].is_on() => {
                Err(format!("{} refuses: {e}", self.name(device)))
            }
            _ => Ok(()),
        }
    }

    fn activate(&mut self, device: usize, account: usize, remember: bool) -> Said {
        self.must_be_on(device)?;
        let begun = self.world.devices[device].with(|agent| agent.start_activation());
        if let Some(Err(e)) = begun {
            return Err(format!("{} does not activate: {e}", self.name(device)));
        }
        let mut consented = false;
        for _ in 0..PATIENCE_S {
            self.nudge(device);
            let d = &mut self.world.devices[device];
            match d.state() {
                None => return Ok(()),
                Some(State::Active) => return Ok(()),
                Some(State::Clean | State::SignedOut) => {
                    return Err(format!("the service refuses {}", self.name(device)));
                }
                _ => {}
            }
            let code = d.with(|agent| agent.status().code.map(|(code, _)| code.to_string()));
            if let (false, Some(Some(code))) = (consented, code) {
                let account = self.accounts[account];
                let service = &self.world.service;
                let row = service.look_up_code(account, &code);
                let row = row.map_err(|_| format!("the account page does not know {code}"))?;
                let given = service.approve(account, &row, 1, remember, ADDRESS);
                given.map_err(|e| self.page_says(&e))?;
                self.given.push((device, row.id));
                consented = true;
            }
            self.world.pass(1000);
        }
        let state = self.state(device);
        Err(format!(
            "{} waits for the service for {PATIENCE_S} s; its state is {state}",
            self.name(device)
        ))
    }

    fn prove(&mut self, device: usize, deep: bool) -> Said {
        self.must_be_on(device)?;
        self.draws = self
            .draws
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let nonce = RingCrypto::sha256(&self.draws.to_le_bytes());
        let answer = self.world.devices[device].with(|agent| {
            if deep {
                return check_storage(agent, &nonce);
            }
            let mut out = [0; Receipt::MAX];
            let n = agent.prove_clean(nonce, &mut out).ok()?;
            Some((nonce, None, out[..n].to_vec()))
        });
        let said = match answer.flatten() {
            Some((nonce, stored, frame)) => {
                let maker = self.world.service.keys.maker_public();
                let question = Question {
                    asked: Some(Asked {
                        nonce: &nonce,
                        earlier: &[],
                    }),
                    stored: stored.as_ref(),
                    ..Question::new(&maker)
                };
                match verify_with(&frame, question, &Lists::default(), 0) {
                    Ok(v) if v.clean => "proven",
                    _ => "refused",
                }
            }
            None => "no-answer",
        };
        self.proofs.insert(device, said);
        self.nudge(device);
        Ok(())
    }

    fn state(&mut self, device: usize) -> String {
        let reason = |r: LockReason| format!("locked ({})", r.name());
        match self.world.devices[device].state() {
            None => "off".to_owned(),
            Some(State::Clean) => "clean".to_owned(),
            Some(State::Activating) => "activating".to_owned(),
            Some(State::Active) => "active".to_owned(),
            Some(State::Locked(r)) => reason(r),
            Some(State::SignedOut) => "signed-out".to_owned(),
            Some(State::Wiping) => "wiping".to_owned(),
            Some(State::WipeFailed) => "wipe-failed".to_owned(),
            Some(State::Filling) => "filling".to_owned(),
            Some(State::Booting) => "booting".to_owned(),
        }
    }

    /// What the account page says of the device's newest activation there.
    fn page(&self, device: usize, account: usize) -> std::result::Result<&'static str, String> {
        let list = self.world.service.devices(self.accounts[account]);
        let list = list.map_err(|e| self.page_says(&e))?;
        let id = &self.world.devices[device].made().id;
        let of_device = list.iter().find(|d| d.row.device == *id);
        Ok(of_device.map_or("not listed", |d| status_name(d.status)))
    }

    /// What is not as expected.
    fn look(&mut self, e: &Expect) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(device) = e.device else { return wrong };
        let name = self.name(device).to_owned();
        if self.world.devices[device].is_on() {
            self.world.call(device);
        }
        if let Some(want) = &e.state {
            let is = self.state(device);
            let same = is == *want
                || is
                    .strip_prefix(want.as_str())
                    .is_some_and(|r| r.starts_with(' '));
            if !same {
                wrong.push(format!("{name} should be {want}, and is {is}"));
            }
        }
        if let Some(want) = &e.welcomes {
            let mut out = [0; 64];
            let shown = self.world.devices[device].with(|agent| {
                agent
                    .display_name(&mut out)
                    .map(|n| String::from_utf8_lossy(&out[..n]).into_owned())
            });
            match shown {
                Some(Ok(shown)) if shown == *want => {}
                Some(Ok(shown)) => {
                    wrong.push(format!(
                        "{name} should welcome {want}, and welcomes {shown}"
                    ));
                }
                Some(Err(e)) => wrong.push(format!(
                    "{name} should welcome {want}, and welcomes nobody: {e}"
                )),
                None => wrong.push(format!("{name} should welcome {want}, and is off")),
            }
        }
        if let (Some(want), Some(account)) = (&e.page, e.account) {
            match self.page(device, account) {
                Ok(says) if says == want => {}
                Ok(says) => wrong.push(format!(
                    "{}'s page should say {want} of {name}, and says {says}",
                    self.story.accounts[account]
                )),
                Err(e) => wrong.push(e),
            }
        }
        if let Some((slot, want)) = &e.value {
            wrong.extend(self.value(device, *slot, want.as_deref()));
        }
        if let Some(want) = e.readable {
            match self.readable(device) {
                Ok(is) if is == want => {}
                Ok(is) => wrong.push(format!(
                    "{want} bytes of accounts should be readable on {name}'s flash, and {is} are"
                )),
                Err(e) => wrong.push(e),
            }
        }
        if let Some(want) = &e.proof {
            let said = self.proofs.get(&device).copied().unwrap_or("no-answer");
            if said != want {
                wrong.push(format!("{name}'s proof should be {want}, and is {said}"));
            }
        }
        if let Some(want) = e.receipts {
            let is = self.world.devices[device].with(|agent| u64::from(agent.status().receipts));
            if is != Some(want) {
                let is = is.map_or("it is off".to_owned(), |n| format!("{n} do"));
                wrong.push(format!("{want} receipts should wait at {name}, and {is}"));
            }
        }
        wrong
    }

    fn value(&mut self, device: usize, slot: Slot, want: Option<&str>) -> Option<String> {
        let name = self.name(device).to_owned();
        let mut out = [0; 2048];
        let got = self.world.devices[device].with(|agent| {
            let n = agent.get(slot.class, slot.id, &mut out);
            n.map(|n| String::from_utf8_lossy(&out[..n]).into_owned())
        });
        let is = match &got {
            Some(Ok(value)) => Some(value.as_str()),
            _ => None,
        };
        (is != want).then(|| {
            // The value itself is personal: it is not repeated.
            let why = match got {
                None => "it is off".to_owned(),
                Some(Err(e)) => format!("there is none: {e}"),
                Some(Ok(_)) => "there is another".to_owned(),
            };
            match want {
                Some(_) => format!("{name} should still have that value, and {why}"),
                None => format!("{name} should not have a value there, and has one"),
            }
        })
    }

    /// Account bytes that an adversary with the root and every epoch reads.
    fn readable(&self, device: usize) -> std::result::Result<u64, String> {
        let device = &self.world.devices[device];
        let chip = device.hardware().chip();
        let image = Image {
            cells: chip.cells(),
            geometry: chip.spec().geometry,
        };
        let search = Search {
            root: Some(device.root()),
            epochs: (0..=chip.counter()).collect(),
            secrets: self.secrets.clone(),
            ..Search::default()
        };
        let report = inspect(&image, &search).map_err(|e| format!("{e:?}"))?;
        Ok((report.readable_bytes + report.plaintext_hits.len()) as u64)
    }
}

fn status_name(s: DeviceStatus) -> &'static str {
    let at = match s {
        DeviceStatus::Unconfirmed => 0,
        DeviceStatus::Active => 1,
        DeviceStatus::SigningOut => 2,
        DeviceStatus::ConsentDue => 3,
        DeviceStatus::Offline => 4,
        DeviceStatus::LeaseOver => 5,
        DeviceStatus::SignedOut => 6,
        DeviceStatus::Theft => 7,
        DeviceStatus::Removing => 8,
        DeviceStatus::Delivered => 9,
        DeviceStatus::Wiped => 10,
        DeviceStatus::WipeFailed => 11,
        DeviceStatus::Ended => 12,
        DeviceStatus::SessionLost => 13,
        DeviceStatus::Damaged => 14,
        DeviceStatus::Barred => 15,
    };
    PAGES[at]
}

/// A nonce, the digest of what was stored under it, and the answer's frame.
type Proof = ([u8; 32], Option<[u8; 32]>, Vec<u8>);

/// A storage check over a cable that takes no time.
fn check_storage(agent: &mut Agent<'_, Board>, seed: &[u8; 32]) -> Option<Proof> {
    let mut drawn = 0u32;
    let random = |out: &mut [u8]| {
        for block in out.chunks_mut(32) {
            let bytes = RingCrypto::hmac(seed, &[&drawn.to_le_bytes()]);
            block.copy_from_slice(&bytes[..block.len()]);
            drawn += 1;
        }
        Ok(())
    };
    let check = StorageCheck::new(None, random);
    let bounded = check.run(|message| say(agent, message), || Duration::ZERO);
    bounded.ok().map(|b| (b.key, Some(b.digest), b.receipt))
}
