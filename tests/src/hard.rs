//! A life on a part that goes bad, and what must hold all the same.
//!
//! Nothing here promises that data survives: the part is beyond its rating.
//! What is held is the rest: a value that is served is the last one that was
//! acknowledged, a loss is said, `Clean` is never said over cells that are not,
//! nothing panics or goes on for ever, and a person's wipe comes to an end.

use nrd_agent::agent::run::LONGEST_PAUSE_MS;
use nrd_agent::wire::{Method, Receipt, peek};
use nrd_agent::{Agent, Class, Error, Next, State};
use nrd_hal::layout::{Layout, logical_sector};
use nrd_hal::{Clock as _, Geometry};
use nrd_sim::device::{AgentBuffers, TestBench, talk};
use nrd_sim::forensics::inspect::{Image, Search, Secret, inspect};
use nrd_sim::hw::{Board, Chip, ChipSpec, Hardware, OpKind, PlannedFault, SplitMix, VirtualRng};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a life has come to.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Values read that were the acknowledged ones.
    pub right: u64,
    /// Reads that were answered with an error that says so.
    pub said: u64,
    /// Reads that were answered with another value than the last one; a fault
    /// at once in a strict life.
    pub stale: Vec<String>,
    /// Keys that were acknowledged and are `NotFound`.
    pub silent: Vec<String>,
    /// Most flash operations that one call to `step` took.
    pub most_ops: u64,
    /// How the last wipe ended.
    pub ended: Option<End>,
}

/// How a person's wipe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Clean, and the cells are.
    Clean,
    /// The device says that some part would not erase.
    Failed,
    /// It never ended: the last error.
    Never(Option<Error>),
}

/// How a boot came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing more to do.
    Idle,
    /// The power went.
    Off,
    /// It says the same error again and again.
    Error(Error),
}

/// Most steps of one boot.
const MAX_STEPS: u32 = 6_000;
/// Most flash operations of one step: a sector's copy of the smallest records,
/// tried twice, with room to spare.
const MAX_OPS: u64 = 400;

/// A class's number, and an id.
pub type Key = (u8, u16);

/// A device, and what it was heard to say.
pub struct Life {
    /// Device, part and service.
    pub bench: TestBench,
    /// Chooses acts.
    pub draws: SplitMix,
    /// Replaces the random generator at each boot.
    pub rng: Option<fn(u64) -> VirtualRng>,
    /// A stale value is a fault at once. Off where that is known to be open
    /// (`docs/KNOWN-ISSUES.md`), unless `NRD_OPEN` is set.
    pub strict: bool,
    /// What has happened.
    pub tally: Tally,
    /// What a read may answer, newest last: one value where it was
    /// acknowledged, several where a write went wrong.
    may: BTreeMap<Key, Vec<Option<Vec<u8>>>>,
    slots: Vec<Vec<u8>>,
    secrets: Vec<Secret>,
    fault: Option<PlannedFault>,
    seed: u64,
    /// An account was on the device since it was last clean.
    held: bool,
}

impl Life {
    /// A device with an account and a few values on a part in order.
    pub fn new(chip: ChipSpec, seed: u64) -> Life {
        let mut life = Life {
            bench: TestBench::new(Hardware::new(Chip::new(chip, seed)), seed),
            draws: SplitMix(seed ^ 0xBAD_F1A5),
            rng: None,
            strict: true,
            tally: Tally::default(),
            may: BTreeMap::new(),
            slots: Vec::new(),
            secrets: Vec::new(),
            fault: None,
            seed,
            held: false,
        };
        life.boot(|life, agent, rest| {
            assert_eq!(rest, Rest::Idle);
            agent.start_activation().expect("a part in order");
            talk(&mut life.bench.service, agent).expect("a part in order");
            assert_eq!(agent.state(), State::Active);
            life.held = true;
            for n in 0..12 {
                life.act(agent, n % 4);
            }
        });
        life
    }

    /// Plans a fault that strikes in a boot to come.
    pub fn plan(&mut self, fault: PlannedFault) {
        self.fault = Some(fault);
    }

    /// Where things lie.
    pub fn layout(&self) -> Layout {
        Layout::plan(&self.bench.hw.chip().spec().geometry).expect("a good geometry")
    }

    /// The cells of the last program in each of journal and vault: what a cut
    /// may have torn, so that nobody can tell rot there from a cut.
    pub fn tails(&self) -> Vec<Range<u32>> {
        let layout = self.layout();
        let chip = self.bench.hw.chip();
        let last = |from: u32, to: u32| {
            let mut ops = chip.trace().iter().rev();
            ops.find(|o| o.kind == OpKind::Program && (from..to).contains(&o.at))
                .map(|o| o.at..o.at + o.len)
        };
        let journal = last(layout.journal_start, layout.slot_start);
        let vault = last(layout.vault_start, layout.journal_start);
        journal.into_iter().chain(vault).collect()
    }

    /// The headers of the newest sectors. Rot of more than a bit there is an open
    /// fault of `docs/KNOWN-ISSUES.md`, and left out unless `NRD_OPEN` is set.
    fn newest_headers(&self) -> Vec<Range<u32>> {
        if std::env::var_os("NRD_OPEN").is_some() {
            return Vec::new();
        }
        let layout = self.layout();
        let geometry = self.bench.hw.chip().spec().geometry;
        let header = |tail: Range<u32>| {
            let (from, size) = if tail.start >= layout.journal_start {
                (layout.journal_start, layout.journal_size)
            } else {
                (layout.vault_start, layout.vault_size)
            };
            let sector = logical_sector(&Geometry { size, ..geometry });
            let start = from + (tail.start - from) / sector * sector;
            start..start + 64.max(geometry.write_size)
        };
        self.tails().into_iter().map(header).collect()
    }

    /// An address in `range` that holds something and is no tail.
    pub fn written(&mut self, range: Range<u32>) -> u32 {
        let mut tails = self.tails();
        tails.extend(self.newest_headers());
        for _ in 0..4_000 {
            let at = range.start + self.draws.below(u64::from(range.end - range.start)) as u32;
            let blank = self.bench.hw.chip().cells()[at as usize] == 0xFF;
            if !blank && !tails.iter().any(|t| t.contains(&at)) {
                return at;
            }
        }
        range.start
    }

    /// One boot. `then` is given how it came to rest.
    pub fn boot<T>(&mut self, then: impl FnOnce(&mut Life, &mut Agent<'_, Board>, Rest) -> T) -> T {
        let salt = self.draws.draw();
        self.bench.power_on(salt);
        self.bench.hw.chip().plan(self.fault);
        let mut board = self.bench.board();
        if let Some(rng) = self.rng {
            board.set_rng(rng(self.seed));
        }
        let mut ram = AgentBuffers::default();
        let mut agent =
            Agent::new(board, self.bench.config(), ram.lend()).expect("a good geometry");
        let rest = self.rest(&mut agent);
        then(self, &mut agent, rest)
    }

    /// Steps until idle, bounded in steps and in the work of each.
    pub fn rest(&mut self, agent: &mut Agent<'_, Board>) -> Rest {
        for _ in 0..MAX_STEPS {
            let before = self.bench.hw.chip().ops();
            let next = agent.poll_work();
            let ops = self.bench.hw.chip().ops() - before;
            self.tally.most_ops = self.tally.most_ops.max(ops);
            assert!(
                ops <= MAX_OPS,
                "seed {}: {ops} operations in one step",
                self.seed
            );
            if self.bench.hw.chip().is_off() {
                return Rest::Off;
            }
            match (next, agent.work_fault()) {
                (Next::Again | Next::Reset, _) => {}
                (Next::Post(_) | Next::WaitUntil(_), None) => {
                    self.look(agent);
                    return Rest::Idle;
                }
                // Pauses grow; a part that answers to none of the short ones
                // does not answer in this boot.
                (Next::Post(_) | Next::WaitUntil(_), Some(e)) => {
                    let now_ms = agent.platform().clock().uptime_ms();
                    let pause_ms = match next {
                        Next::WaitUntil(Some(at)) => at.saturating_sub(now_ms),
                        _ => 0,
                    };
                    if pause_ms >= LONGEST_PAUSE_MS.into() {
                        self.look(agent);
                        return Rest::Error(e);
                    }
                    agent.platform().clock().advance_ms(pause_ms.max(1));
                }
            }
        }
        panic!("seed {}: the device does not come to rest", self.seed);
    }

    /// Spies on the slots, and judges a device that says it is clean.
    fn look(&mut self, agent: &mut Agent<'_, Board>) {
        let state = agent.state();
        let layout = self.layout();
        {
            let chip = self.bench.hw.chip();
            for n in 0..2 {
                let from = (layout.slot_start + n * layout.slot_size) as usize;
                let slot = &chip.cells()[from..from + 256];
                if slot.starts_with(b"NRS1") && !self.slots.iter().any(|s| s == slot) {
                    self.slots.push(slot.to_vec());
                }
            }
        }
        match state {
            State::Clean if self.held => {
                self.held = false;
                self.may.clear();
                self.clean_cells();
            }
            State::Wiping | State::WipeFailed | State::SignedOut => self.may.clear(),
            _ => {}
        }
    }

    /// The physical cells under a device that says `Clean`.
    fn clean_cells(&self) {
        let seed = self.seed;
        let layout = self.layout();
        let chip = self.bench.hw.chip();
        for (name, start, size) in [
            ("slot A", layout.slot_start, layout.slot_size),
            (
                "slot B",
                layout.slot_start + layout.slot_size,
                layout.slot_size,
            ),
            ("vault", layout.vault_start, layout.vault_size),
        ] {
            let range = start as usize..(start + size) as usize;
            let cell = chip.cells()[range.clone()].iter().position(|&c| c != 0xFF);
            assert_eq!(cell, None, "seed {seed}: clean, but {name} is not erased");
            let shaky = chip.unstable()[range].iter().position(|&u| u != 0);
            assert_eq!(shaky, None, "seed {seed}: clean, but {name} reads unstably");
        }
        let search = Search {
            root: Some(self.bench.root),
            epochs: (0..=chip.counter() + 1).collect(),
            slots: self.slots.clone(),
            secrets: self.secrets.clone(),
            ..Search::default()
        };
        let image = Image {
            cells: chip.cells(),
            geometry: chip.spec().geometry,
        };
        let report = inspect(&image, &search).expect("a good geometry");
        assert!(
            report.opened.is_empty(),
            "seed {seed}: clean, but a record opens"
        );
        assert!(
            report.plaintext_hits.is_empty(),
            "seed {seed}: clean, but a value stands in plain"
        );
    }

    /// Reads every key that was ever written.
    pub fn read_all(&mut self, agent: &mut Agent<'_, Board>) {
        for key in self.may.keys().copied().collect::<Vec<_>>() {
            self.read(agent, key);
        }
    }

    fn read(&mut self, agent: &mut Agent<'_, Board>, key: Key) {
        let mut out = [0; 512];
        let Some(class) = Class::from_number(key.0) else {
            return;
        };
        let got = agent.get(class, key.1, &mut out);
        let Some(may) = self.may.get_mut(&key) else {
            return;
        };
        match got {
            Ok(n) => {
                let value = Some(out[..n].to_vec());
                if !may.contains(&value) {
                    let say = format!("seed {}: {key:?} is served with an older value", self.seed);
                    assert!(!self.strict, "{say}");
                    self.tally.stale.push(say);
                }
                self.tally.right += 1;
                *may = vec![value];
            }
            Err(Error::NotFound) if may.contains(&None) => *may = vec![None],
            Err(Error::NotFound) => {
                let say = format!("seed {}: {key:?} is gone without a word", self.seed);
                self.tally.silent.push(say);
                *may = vec![None];
            }
            Err(_) => self.tally.said += 1,
        }
    }

    /// One act of a drawn kind.
    pub fn act(&mut self, agent: &mut Agent<'_, Board>, n: u64) {
        let class = [Class::Email, Class::Payment, Class::Activity][self.draws.below(3) as usize];
        let key = (class as u8, self.draws.below(3) as u16);
        match n {
            0..6 => {
                let mut value = format!("SECRET-{}-", self.draws.draw()).into_bytes();
                value.resize(20 + self.draws.below(100) as usize, b'#');
                self.secrets.push(Secret::new(value.clone()));
                let done = agent.put(class, key.1, &value);
                self.note(key, Some(value), done);
            }
            6 => {
                let done = agent.remove(class, key.1);
                if done != Err(Error::NotFound) {
                    self.note(key, None, done);
                }
            }
            7 => {
                let done = agent.forget(class);
                for (key, may) in &mut self.may {
                    match done {
                        Ok(()) if key.0 == class as u8 => *may = vec![None],
                        _ if key.0 == class as u8 => may.push(None),
                        _ => {}
                    }
                }
            }
            8 => {
                agent.platform().clock().advance_ms(25 * 3_600_000);
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "the part may be broken: the judge looks at what was acknowledged"
                )]
                let _ = talk(&mut self.bench.service, agent);
            }
            _ => {
                agent.platform().clock().advance_ms(16 * 60_000);
            }
        }
        self.rest(agent);
        self.read(agent, key);
    }

    /// Puts new values until the cache is full, and takes a few out again.
    pub fn fill(&mut self, agent: &mut Agent<'_, Board>) {
        let class = Class::Profiles;
        let mut kept = Vec::new();
        for id in 0..600 {
            let value = format!("PROFILE-{id}-{}", self.draws.draw()).into_bytes();
            let done = agent.put(class, id, &value);
            let full = done == Err(Error::Full);
            self.secrets.push(Secret::new(value.clone()));
            self.note((class as u8, id), Some(value), done);
            self.rest(agent);
            if full {
                break;
            }
            kept.push(id);
        }
        for id in kept.into_iter().rev().take(12) {
            let done = agent.remove(class, id);
            self.note((class as u8, id), None, done);
            self.rest(agent);
        }
    }

    fn note(&mut self, key: Key, value: Option<Vec<u8>>, done: Result<(), Error>) {
        let may = self.may.entry(key).or_insert_with(|| vec![None]);
        match done {
            Ok(()) => *may = vec![value],
            Err(Error::WrongState | Error::Busy | Error::Full) => {}
            Err(_) => may.push(value),
        }
    }

    /// `boots` boots of a few acts each.
    pub fn go_on(&mut self, boots: u32) {
        for _ in 0..boots {
            self.boot(|life, agent, rest| {
                if rest == Rest::Idle {
                    life.read_all(agent);
                    for _ in 0..life.draws.below(12) {
                        let n = life.draws.below(10);
                        life.act(agent, n);
                    }
                }
            });
        }
    }

    /// A person wipes the device, in the boot under way and in three more.
    pub fn end(&mut self) -> End {
        let mut end = End::Never(None);
        for _ in 0..4 {
            end = self.boot(|life, agent, _| {
                let asked = match agent.state() {
                    State::Clean | State::WipeFailed | State::Wiping => Ok(()),
                    _ => agent.deactivate(),
                };
                let rest = life.rest(agent);
                match (agent.state(), asked, rest) {
                    (State::Clean, ..) => End::Clean,
                    (State::WipeFailed, ..) => End::Failed,
                    (_, Err(e), _) | (_, _, Rest::Error(e)) => End::Never(Some(e)),
                    _ => End::Never(None),
                }
            });
            if !matches!(end, End::Never(_)) {
                break;
            }
        }
        self.tally.ended = Some(end.clone());
        end
    }

    /// Counts stale values, unless `NRD_OPEN` is set.
    pub fn lenient(&mut self) {
        self.strict = std::env::var_os("NRD_OPEN").is_some();
    }

    /// What was acknowledged, where it is one value.
    pub fn clone_told(&self) -> BTreeMap<Key, Option<Vec<u8>>> {
        let one = self.may.iter().filter(|(_, may)| may.len() == 1);
        one.map(|(k, may)| (*k, may[0].clone())).collect()
    }

    /// Whatever the device says: the keys and the data of the account are gone
    /// from the cells.
    pub fn dead(&self) {
        self.clean_cells();
    }

    /// Delivers the receipts; what they claim of the newest wipe.
    pub fn receipt(&mut self) -> Option<Method> {
        self.boot(|life, agent, _| {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "the part may be broken: the judge looks at what was acknowledged"
            )]
            let _ = talk(&mut life.bench.service, agent);
        });
        let frame = self.bench.service.receipts.last()?;
        peek::<Receipt<'_>>(frame).ok().map(|r| r.method)
    }
}
