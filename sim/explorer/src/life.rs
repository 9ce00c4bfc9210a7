//! The life of a device as a script, and the model it is held against.

use nrd_agent::wire::{OrderKind, WipeReason};
use nrd_agent::{Agent, Class, Error, State};
use nrd_hal::layout::Layout;
use nrd_sim_device::{AgentBuffers, Stop, TestBench, settle, talk};
use nrd_sim_forensics::inspect::{Secret, key_slots};
use nrd_sim_hw::{Board, Chip, Hardware, OpKind};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::MutexGuard;

/// A promise that was broken, and how.
pub type Violation = String;

/// One act of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptAct {
    Activate,
    Put(Class, u16, u8, usize),
    Forget(Class),
    Remove(Class, u16),
    Renew,
    /// Time passes until the journal has been compacted while the device is on.
    WearJournal,
    PowerCycle,
    SignOut,
    /// Fills the vault with values of this length, and leaves room for what
    /// the script has in it at once.
    Fill(usize),
    DeactivateHere,
    DeactivateByOrder,
    Deliver,
}

/// The script: two owners, so that the second finds nothing of the first.
pub(super) fn script(value: usize) -> Vec<ScriptAct> {
    use ScriptAct::*;
    let mut s = vec![
        Activate,
        Put(Class::Email, 0, b'e', value),
        Put(Class::Payment, 0, b'p', value),
        Put(Class::PostalAddress, 1, b'a', value / 2),
        PowerCycle,
        Renew,
        Put(Class::Email, 0, b'f', value),
        Forget(Class::Payment),
        Put(Class::Payment, 0, b'q', value / 3 + 1),
        Remove(Class::PostalAddress, 1),
    ];
    // Enough updates that both logs go round.
    s.extend((0..12).map(|i| Put(Class::Activity, i % 3, b'0' + i as u8, value)));
    s.extend([
        WearJournal,
        PowerCycle,
        Renew,
        DeactivateByOrder,
        Deliver,
        PowerCycle,
        Activate,
        Put(Class::Name, 7, b'n', value),
        SignOut,
        PowerCycle,
        Activate,
        Put(Class::Telephone, 0, b't', 16),
        PowerCycle,
        DeactivateHere,
        Deliver,
    ]);
    s
}

/// What the device has lived through before the first cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Start {
    /// Erased, as some factories deliver.
    Blank,
    /// Cells hold anything.
    Dirty,
    /// Three owners came and went; blocks have been erased 90,000 times.
    Aged,
    /// A vault as full as it gets with this script to come.
    NearlyFull,
}

impl Start {
    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Start::Blank => "blank",
            Start::Dirty => "dirty",
            Start::Aged => "aged",
            Start::NearlyFull => "nearly full",
        }
    }

    /// True when the script begins with the first boot of all.
    pub(super) fn is_first(self) -> bool {
        match self {
            Start::Blank | Start::Dirty => true,
            Start::Aged | Start::NearlyFull => false,
        }
    }
}

/// The acts of the past, which are not cut.
pub(super) fn past(start: Start, value: usize) -> Vec<ScriptAct> {
    use ScriptAct::*;
    match start {
        Start::Blank | Start::Dirty => Vec::new(),
        Start::Aged => (0..3)
            .flat_map(|_| {
                [
                    Activate,
                    Put(Class::Profiles, 9, b'o', value),
                    Put(Class::Profiles, 9, b'p', value),
                    DeactivateHere,
                    Deliver,
                ]
            })
            .collect(),
        Start::NearlyFull => vec![Activate, Fill(value)],
    }
}

/// Records that the script has in the vault at once, at most.
const LIVE: u16 = 9;

/// What the outside knows: what was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Model {
    pub(super) active: bool,
    pub(super) signed_out: bool,
    pub(super) data: BTreeMap<(u8, u16), Vec<u8>>,
    /// A wipe was acknowledged or seen and must reach its receipt.
    pub(super) wiping: bool,
    pub(super) receipts: usize,
    /// Wipes acknowledged by a call that returned `Ok`: local, ordered.
    pub(super) acknowledged: [usize; 2],
}

fn number(c: Class) -> u8 {
    c as u8
}

/// A device on the bench, and what is known of it.
pub(super) struct World {
    pub(super) bench: TestBench,
    pub(super) model: Model,
    /// Account values that were ever stored.
    pub(super) secrets: Vec<Secret>,
    /// Tokens and activation secrets ever seen.
    pub(super) keys: Vec<[u8; 32]>,
    /// The same, to be looked for.
    pub(super) key_texts: Vec<Secret>,
    /// Every key slot ever seen, as one who read the part each time has them.
    pub(super) slots: Vec<Vec<u8>>,
    /// (Offset, key) pairs that the judge has tried.
    pub(super) trials: u64,
    /// The chip's operation count when the present boot came to rest, and when
    /// the present act began.
    pub(super) rested: Option<u64>,
    pub(super) act_began: u64,
}

impl World {
    pub(super) fn new(hw: Hardware, seed: u64) -> Self {
        World {
            bench: TestBench::new(hw, seed),
            model: Model::default(),
            secrets: Vec::new(),
            keys: Vec::new(),
            key_texts: Vec::new(),
            slots: Vec::new(),
            trials: 0,
            rested: None,
            act_began: 0,
        }
    }

    /// Copies the key slots, and notes every token of the present series.
    pub(super) fn spy(&mut self) {
        let found: Vec<Vec<u8>> = {
            let chip = self.chip();
            let slots = Layout::plan(&chip.spec().geometry).map(|l| key_slots(chip.cells(), &l));
            let slots = slots.into_iter().flatten();
            let whole = slots.filter(|s| s.starts_with(b"NRS1"));
            whole.map(|s| s[..256].to_vec()).collect()
        };
        for generation in 1..=3 {
            let token = self.bench.service.present_token(generation);
            if !self.keys.contains(&token) {
                self.keep_key(token);
            }
        }
        for slot in found {
            if !self.slots.contains(&slot) {
                if let Some(secret) = slot[32..].first_chunk() {
                    self.keep_key(*secret);
                }
                self.slots.push(slot);
            }
        }
    }

    fn keep_key(&mut self, key: [u8; 32]) {
        self.keys.push(key);
        self.key_texts.push(Secret::new(key));
    }

    /// A copy that goes on independently.
    pub(super) fn fork(&self) -> World {
        World {
            bench: self.bench.fork(),
            model: self.model.clone(),
            secrets: self.secrets.clone(),
            keys: self.keys.clone(),
            key_texts: self.key_texts.clone(),
            slots: self.slots.clone(),
            trials: 0,
            rested: None,
            act_began: 0,
        }
    }

    /// This whole world as a number: cells, unstable bits, wear, counter and
    /// slots, draws, the service, what was acknowledged, what the adversary
    /// has. Two worlds of one number have one future; with a million of them
    /// the odds that two share a number by chance are 1 in 37 million.
    pub(super) fn state(&self, rest: impl Hash) -> u64 {
        let mut h = DefaultHasher::new();
        self.bench.hash_into(&mut h);
        (&self.model, &self.keys, &self.slots).hash(&mut h);
        for secret in &self.secrets {
            secret.text().hash(&mut h);
        }
        rest.hash(&mut h);
        h.finish()
    }

    /// The chip.
    pub(super) fn chip(&self) -> MutexGuard<'_, Chip> {
        self.bench.hw.chip()
    }

    /// Builds the device anew, as a boot does, and runs `then` on it.
    pub(super) fn boot<T>(
        &mut self,
        then: impl FnOnce(&mut World, &mut Agent<'_, Board>) -> T,
    ) -> T {
        let board = self.bench.board();
        let mut ram = AgentBuffers::default();
        let mut agent =
            Agent::new(board, self.bench.config(), ram.lend()).expect("the geometry was checked");
        then(self, &mut agent)
    }

    fn journal_erased_since(&self, began: u64) -> bool {
        let chip = self.chip();
        let Ok(layout) = Layout::plan(&chip.spec().geometry) else {
            return true;
        };
        let journal = layout.journal();
        let since = &chip.trace()[began as usize..];
        since
            .iter()
            .any(|op| op.kind == OpKind::Erase && journal.contains(&op.at))
    }

    fn keep_secret(&mut self, secret: Vec<u8>) {
        if !self.secrets.iter().any(|s| s.text() == secret) {
            self.secrets.push(Secret::new(secret));
        }
    }

    /// What was forgotten must not be readable with an older slot, from the
    /// moment that it was acknowledged.
    fn older_slot_is_gone(&self) -> Result<(), Stop> {
        let chip = self.chip();
        let Ok(layout) = Layout::plan(&chip.spec().geometry) else {
            return Ok(());
        };
        let slots = key_slots(chip.cells(), &layout);
        let kept = slots.iter().filter(|s| s.iter().any(|b| *b != 0xFF));
        match kept.count() {
            1 => Ok(()),
            n => Err(Stop::Wrong(format!("forgotten, but {n} slots hold keys"))),
        }
    }

    fn off(&self) -> bool {
        self.chip().is_off()
    }

    fn talk(&mut self, agent: &mut Agent<'_, Board>) -> Result<(), Stop> {
        talk(&mut self.bench.service, agent)
    }

    /// Performs one act on a settled agent. [`Stop::Off`]: the power went.
    #[expect(clippy::too_many_lines, reason = "one act of the script an arm")]
    pub(super) fn perform(
        &mut self,
        agent: &mut Agent<'_, Board>,
        act: ScriptAct,
    ) -> Result<(), Stop> {
        match act {
            ScriptAct::PowerCycle => {}
            ScriptAct::Activate => {
                if !matches!(agent.state(), State::Activating | State::Active) {
                    self.done(agent.start_activation())?;
                }
                self.talk(agent)?;
                if agent.state() != State::Active {
                    return Err(Stop::Wrong(format!(
                        "activation ended in {:?}",
                        agent.state()
                    )));
                }
                self.model.active = true;
                self.model.signed_out = false;
                self.keep_secret(b"Alexandra".to_vec());
            }
            ScriptAct::Put(class, id, fill, len) => {
                let value = secret_value(fill, len);
                self.keep_secret(value.clone());
                self.done(agent.put(class, id, &value))?;
                self.model.data.insert((number(class), id), value);
            }
            ScriptAct::Fill(len) => {
                let mut kept = Vec::new();
                for id in 1000..1400 {
                    let value = secret_value(b'0' + (id % 40) as u8, len);
                    match agent.put(Class::Profiles, id, &value) {
                        Err(Error::Full) => break,
                        r => self.done(r)?,
                    }
                    settle(agent)?;
                    kept.push((id, value));
                }
                let keep = kept.len().saturating_sub(usize::from(LIVE) + 2);
                for (n, (id, value)) in kept.into_iter().enumerate() {
                    if n < keep {
                        self.keep_secret(value.clone());
                        self.model.data.insert((number(Class::Profiles), id), value);
                    } else {
                        self.done(agent.remove(Class::Profiles, id))?;
                        settle(agent)?;
                    }
                }
            }
            ScriptAct::Remove(class, id) => {
                match agent.remove(class, id) {
                    Err(Error::NotFound) => {}
                    r => self.done(r)?,
                }
                self.model.data.remove(&(number(class), id));
            }
            ScriptAct::Forget(class) => {
                self.done(agent.forget(class))?;
                self.older_slot_is_gone()?;
                self.model.data.retain(|k, _| k.0 != number(class));
            }
            ScriptAct::Renew => {
                // The first check-in brings the successor, the second uses it.
                for _ in 0..2 {
                    agent.platform().clock().advance_ms(25 * 3_600_000);
                    self.talk(agent)?;
                }
                if self.bench.service.suspected > 0 {
                    return Err(Stop::Wrong("the honest device passes for a thief".into()));
                }
            }
            ScriptAct::WearJournal => {
                let began = self.chip().ops();
                while !self.journal_erased_since(began) {
                    // Powered time is charged ahead: one record each time.
                    agent.platform().clock().advance_ms(16 * 60_000);
                    settle(agent)?;
                }
            }
            ScriptAct::SignOut => {
                if agent.state() != State::SignedOut {
                    self.done(agent.sign_out())?;
                }
                self.model.active = false;
                self.model.signed_out = true;
                self.model.data.clear();
                self.talk(agent)?;
            }
            ScriptAct::DeactivateHere => {
                if agent.state() != State::Clean {
                    self.done(agent.deactivate())?;
                    self.gone(WipeReason::Local);
                }
                settle(agent)?;
                self.wiped(agent)?;
            }
            ScriptAct::DeactivateByOrder => {
                if agent.state() != State::Clean {
                    let id = self.bench.service.activation_id();
                    let epoch = agent.platform().with_chip(|c| c.counter());
                    let order = self.bench.service.order(
                        agent.device_id(),
                        epoch,
                        id,
                        1,
                        OrderKind::Deactivate,
                    );
                    if agent.state() == State::Active {
                        let mut out = [0u8; 192];
                        let r = agent.apply_order(&order, &mut out).map(|_| ());
                        self.done(r)?;
                        self.gone(WipeReason::Order);
                    }
                }
                settle(agent)?;
                self.wiped(agent)?;
            }
            ScriptAct::Deliver => {
                self.talk(agent)?;
                if self.bench.service.receipts.len() != self.model.receipts {
                    return Err(Stop::Wrong(format!(
                        "{} receipts delivered of {}",
                        self.bench.service.receipts.len(),
                        self.model.receipts
                    )));
                }
            }
        }
        Ok(())
    }

    fn gone(&mut self, reason: WipeReason) {
        self.model.acknowledged[usize::from(reason != WipeReason::Local)] += 1;
        self.model.active = false;
        self.model.signed_out = false;
        self.model.data.clear();
        self.model.wiping = true;
    }

    fn wiped(&mut self, agent: &mut Agent<'_, Board>) -> Result<(), Stop> {
        if agent.state() != State::Clean {
            return Err(Stop::Wrong(format!(
                "the wipe ended in {:?}",
                agent.state()
            )));
        }
        if self.model.wiping {
            self.model.wiping = false;
            self.model.receipts += 1;
        }
        Ok(())
    }

    fn done<E: std::fmt::Debug>(&self, r: Result<(), E>) -> Result<(), Stop> {
        match r {
            _ if self.off() => Err(Stop::Off),
            Ok(()) => Ok(()),
            Err(e) => Err(Stop::Wrong(format!("refused without a fault: {e:?}"))),
        }
    }
}

/// A value that no chance produces, so that a search for it means something.
fn secret_value(fill: u8, len: usize) -> Vec<u8> {
    let mut v = format!("SECRET-{}-", fill as char).into_bytes();
    let mut x = u32::from(fill).wrapping_mul(2_654_435_761);
    while v.len() < len.max(12) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        v.push(x as u8);
    }
    v
}
