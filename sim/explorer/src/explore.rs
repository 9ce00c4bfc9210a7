//! Enumerates cuts, tears, second cuts and some third ones.

use super::judge;
use super::life::{ScriptAct, Start, Violation, World, past, script};
use super::oracle::{continue_script, observe, run_segment, wrong};
use super::phase::{Moment, phase};
use super::report::ExplorerReport;
use nrd_hal::layout::{Layout, LayoutError};
use nrd_sim_device::{Stop, settle};
use nrd_sim_hw::{
    Chip, ChipSpec, FaultMode, Hardware, NonceAudit, Op, OpKind, PlannedFault, SplitMix,
};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What to explore.
#[derive(Debug, Clone)]
pub struct Options {
    /// Draws tears, unstable bits and the device's randomness.
    pub seed: u64,
    /// 1: one cut. 2: a second cut at every operation of the recovery.
    pub depth: u8,
    /// The flash.
    pub chip: ChipSpec,
    /// What it has lived through.
    pub start: Start,
    /// Which tears.
    pub tears: Vec<FaultMode>,
    /// Of the first cuts, how many get second ones: every `stride`-th.
    pub stride: u64,
    /// Of the states after a second cut, one in so many (by its hash) gets a third
    /// cut, at an operation and with a tear that are drawn; 0 for none.
    pub third: u64,
    /// The device's generator gives the same at each boot.
    pub same_draws: bool,
    /// How many threads work.
    pub threads: usize,
}

/// One boot of the script.
pub(super) struct Segment<'a> {
    pub(super) acts: &'a [ScriptAct],
    pub(super) start: World,
    first_boot: bool,
    /// Its operations: the first, and what each does.
    pub(super) from: u64,
    pub(super) kinds: Vec<OpKind>,
}

/// Explores; `tick` is told how many of how many operations are done.
pub fn explore(
    options: &Options,
    tick: impl Fn(u64, u64) + Sync,
) -> Result<ExplorerReport, LayoutError> {
    Layout::plan(&options.chip.geometry)?;
    let mut report = ExplorerReport {
        seed: options.seed,
        ..ExplorerReport::default()
    };
    let audit = Arc::new(NonceAudit::default());
    let value = 40.max(options.chip.geometry.write_size as usize).min(300);
    let acts = script(value);
    let scope_guard = audit.note();
    let segments = match uncut(options, &acts, value, &mut report) {
        Ok(segments) => segments,
        Err(v) => {
            report.violations += 1;
            report.details.push(v);
            return Ok(report);
        }
    };
    drop(scope_guard);
    report.operations = segments.iter().map(|s| s.kinds.len() as u64).sum();
    let todo: Vec<(usize, u64)> = segments
        .iter()
        .enumerate()
        .flat_map(|(n, s)| (s.from..).take(s.kinds.len()).map(move |at| (n, at)))
        .collect();
    let next = AtomicUsize::new(0);
    let reached = Mutex::new(HashSet::new());
    let total = todo.len() as u64;
    let found = std::thread::scope(|scope| {
        let work = || {
            let _noting = audit.note();
            let mut worker = Worker {
                options,
                reached: &reached,
                report: ExplorerReport::default(),
            };
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(segment, at)) = todo.get(n) else {
                    return worker.report;
                };
                worker.cut_at(segment, &segments[segment], at);
                tick(n as u64, total);
            }
        };
        let workers: Vec<_> = (0..options.threads.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .map(|w| w.join().expect("a worker panicked"))
            .collect::<Vec<_>>()
    });
    for part in &found {
        report.add(part);
    }
    report.states = locked(&reached).len() as u64;
    report.seals = audit.seals();
    report.nonces = audit.nonces();
    report.nonces_reused = audit.reused();
    report.note_missed(options.start.is_first());
    Ok(report)
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The uncut run: it must itself be without fault, and it says where each boot
/// begins and how many operations it has.
pub(super) fn uncut<'a>(
    options: &Options,
    acts: &'a [ScriptAct],
    value: usize,
    report: &mut ExplorerReport,
) -> Result<Vec<Segment<'a>>, Violation> {
    let chip = match options.start {
        Start::Blank => Chip::blank(options.chip, options.seed),
        Start::Dirty | Start::Aged | Start::NearlyFull => Chip::new(options.chip, options.seed),
    };
    let mut world = World::new(Hardware::new(chip), options.seed);
    world.bench.same_draws = options.same_draws.then_some(options.seed);
    run_segment(&mut world, &past(options.start, value), &mut 0).map_err(wrong)?;
    if options.start == Start::Aged {
        world.chip().age(90_000);
    }
    let mut segments = Vec::new();
    for acts in acts.split_inclusive(|a| *a == ScriptAct::PowerCycle) {
        let start = world.fork();
        let from = world.chip().ops();
        run_segment(&mut world, acts, &mut 0).map_err(wrong)?;
        if world.model.active {
            report.control_records += judge::control(&mut world)?;
        }
        let kinds = kinds_since(&world, from);
        segments.push(Segment {
            acts,
            start,
            first_boot: segments.is_empty() && options.start.is_first(),
            from,
            kinds,
        });
    }
    // Two owners, and new slots where a class was forgotten.
    match world.slots.len() {
        0..3 => Err("control: the adversary sees no key slots, so it proves nothing".into()),
        _ => Ok(segments),
    }
}

/// What is still to come after a cut, and how it came to it.
struct Rest {
    /// The boot of the script.
    n: usize,
    /// Its acts that were acknowledged.
    done: usize,
    /// The cuts so far, in words.
    name: String,
}

impl Rest {
    /// After one more cut.
    fn then(&self, at: u64, tear: FaultMode) -> Rest {
        Rest {
            name: format!("{}, then operation {at} {tear:?}", self.name),
            ..*self
        }
    }
}

/// One of the threads.
struct Worker<'a> {
    options: &'a Options,
    /// States that were reached, by any worker.
    reached: &'a Mutex<HashSet<u64>>,
    report: ExplorerReport,
}

impl Worker<'_> {
    /// Every tear of one operation.
    fn cut_at(&mut self, n: usize, segment: &Segment<'_>, at: u64) {
        let mut images = Vec::new();
        let kind = segment.kinds[(at - segment.from) as usize];
        for tear in tears(self.options, kind) {
            images.push((tear, self.cut(n, segment, at, tear)));
        }
        let mut count = BTreeMap::<u64, u32>::new();
        for (_, image) in &images {
            *count.entry(*image).or_default() += 1;
        }
        for (tear, image) in images {
            if count.get(&image) == Some(&1) {
                *self.report.distinct.entry(tear.name().into()).or_default() += 1;
            }
        }
    }

    /// One first cut; the image that it left.
    fn cut(&mut self, n: usize, segment: &Segment<'_>, at: u64, tear: FaultMode) -> u64 {
        let unstable = !matches!(
            tear,
            FaultMode::Nothing | FaultMode::Complete | FaultMode::NoOp
        );
        let mut world = segment.start.fork();
        world.chip().plan(Some(PlannedFault { at, tear, unstable }));
        self.report.cuts += 1;
        *self.report.tears.entry(tear.name().into()).or_default() += 1;
        let mut done = 0;
        let ended = run_segment(&mut world, segment.acts, &mut done);
        let struck = world.chip().struck();
        let act = segment.acts.get(done);
        if let Some(op) = struck {
            *self.report.struck.entry(place(&world, op)).or_default() += 1;
            let phase = struck_phase(&world, op, at, segment.first_boot, act);
            if !phase.is_empty() {
                *self.report.phases.entry(phase.into()).or_default() += 1;
            }
        }
        let image = world.chip().image_hash();
        let name = format!("operation {at} {tear:?} in {act:?}");
        if let Err(Stop::Wrong(v)) = ended {
            self.note(&name, Err(v));
            return image;
        }
        // A silent no-op comes here as well: what was acknowledged must be
        // there at the next boot.
        let rest = Rest { n, done, name };
        if self.arrives(&mut world, &rest).is_none() {
            return image;
        }
        let again = self.options.depth >= 2
            && ended == Err(Stop::Off)
            && at.is_multiple_of(self.options.stride.max(1));
        let cut = again.then(|| world.fork());
        self.judge(&mut world, segment.acts, &rest);
        if let Some(cut) = cut {
            self.second(&cut, segment.acts, &rest);
        }
        image
    }

    /// Counts this world; its state when it is new.
    fn is_new(&mut self, world: &World, rest: &Rest, seen: bool) -> Option<u64> {
        let state = world.state((rest.n, rest.done, seen));
        let new = locked(self.reached).insert(state);
        self.report.pruned += u64::from(!new);
        new.then_some(state)
    }

    /// Power comes back after a cut; the state, unless another path has led to
    /// it before.
    fn arrives(&mut self, world: &mut World, rest: &Rest) -> Option<u64> {
        world.bench.power_on(2);
        self.is_new(world, rest, false)
    }

    /// Judges a world whose power has just come back.
    fn judge(&mut self, world: &mut World, acts: &[ScriptAct], rest: &Rest) {
        let act = acts.get(rest.done).copied();
        let outcome = match observe(world, act) {
            Ok(()) if self.is_new(world, rest, true).is_none() => Ok(()),
            Ok(()) => continue_script(world, acts, rest.done),
            Err(v) => Err(v),
        };
        self.report.trial_opens += world.trials;
        self.note(&rest.name, outcome);
    }

    /// Cuts again at every operation of the recovery.
    fn second(&mut self, cut: &World, acts: &[ScriptAct], rest: &Rest) {
        for (at, kind) in recovery(cut, 1) {
            for tear in tears(self.options, kind) {
                let mut world = cut.fork();
                let ended = boot_with_fault(&mut world, 1, at, tear);
                self.report.second_cuts += 1;
                let rest = rest.then(at, tear);
                if let Err(Stop::Wrong(v)) = ended {
                    self.note(&rest.name, Err(v));
                    continue;
                }
                let Some(state) = self.arrives(&mut world, &rest) else {
                    continue;
                };
                // By the state, so that the choice does not depend on which
                // thread came first.
                let third = self.options.third;
                let again = third > 0 && state.is_multiple_of(third) && ended == Err(Stop::Off);
                let twice = again.then(|| world.fork());
                self.judge(&mut world, acts, &rest);
                if let Some(twice) = twice {
                    self.third(&twice, acts, &rest);
                }
            }
        }
    }

    /// Cuts once more, at an operation and with a tear that are drawn.
    fn third(&mut self, twice: &World, acts: &[ScriptAct], rest: &Rest) {
        let ops = recovery(twice, 4);
        let mut draw = SplitMix(twice.state(rest.n));
        if ops.is_empty() {
            return;
        }
        let (at, kind) = ops[draw.below(ops.len() as u64) as usize];
        let tears: Vec<FaultMode> = tears(self.options, kind).collect();
        if tears.is_empty() {
            return;
        }
        let tear = tears[draw.below(tears.len() as u64) as usize];
        let mut world = twice.fork();
        let ended = boot_with_fault(&mut world, 4, at, tear);
        self.report.third_cuts += 1;
        let rest = rest.then(at, tear);
        match ended {
            Err(Stop::Wrong(v)) => self.note(&rest.name, Err(v)),
            _ if self.arrives(&mut world, &rest).is_some() => {
                self.judge(&mut world, acts, &rest);
            }
            _ => {}
        }
    }

    fn note(&mut self, name: &str, outcome: Result<(), Violation>) {
        if let Err(v) = outcome {
            self.report.violations += 1;
            if self.report.details.len() < 20 {
                let seed = self.options.seed;
                self.report
                    .details
                    .push(format!("seed {seed}, {name}: {v}"));
            }
        }
    }
}

/// The operations of an uncut recovery.
fn recovery(cut: &World, salt: u64) -> Vec<(u64, OpKind)> {
    let mut probe = cut.fork();
    let from = probe.chip().ops();
    probe.bench.power_on(salt);
    #[expect(
        clippy::let_underscore_must_use,
        reason = "a probe: only the operations it makes are counted"
    )]
    let _ = probe.boot(|_, agent| settle(agent));
    (from..).zip(kinds_since(&probe, from)).collect()
}

fn kinds_since(world: &World, from: u64) -> Vec<OpKind> {
    let chip = world.chip();
    chip.trace()[from as usize..]
        .iter()
        .map(|o| o.kind)
        .collect()
}

/// The tears that make sense for an operation: only an erase programs first.
fn tears(options: &Options, kind: OpKind) -> impl Iterator<Item = FaultMode> {
    let all = options.tears.iter().copied();
    all.filter(move |&t| t != FaultMode::Preprogram || kind == OpKind::Erase)
}

fn boot_with_fault(world: &mut World, salt: u64, at: u64, tear: FaultMode) -> Result<(), Stop> {
    world.bench.power_on(salt);
    world.chip().plan(Some(PlannedFault {
        at,
        tear,
        unstable: at.is_multiple_of(2),
    }));
    world.boot(|_, agent| settle(agent))
}

/// What an operation struck, in the words of the design.
fn place(world: &World, op: Op) -> String {
    let chip = world.chip();
    let Ok(layout) = Layout::plan(&chip.spec().geometry) else {
        return "?".into();
    };
    let what = match op.kind {
        OpKind::Count => return "counter step".into(),
        OpKind::Program => "program",
        OpKind::Erase => "erase",
    };
    let part = match op.at {
        at if layout.slot(0).contains(&at) => "slot A",
        at if layout.slot(1).contains(&at) => "slot B",
        at if layout.journal().contains(&at) => "journal",
        _ => "vault",
    };
    format!("{part} {what}")
}

/// The phase of the design that a struck operation belongs to.
fn struck_phase(
    world: &World,
    op: Op,
    at: u64,
    first: bool,
    act: Option<&ScriptAct>,
) -> &'static str {
    let chip = world.chip();
    let Ok(layout) = Layout::plan(&chip.spec().geometry) else {
        return "";
    };
    let began = world.act_began.min(at) as usize;
    let moment = Moment {
        first_boot: first,
        booting: world.rested.is_none_or(|rested| at < rested),
        act: act.copied(),
        before: &chip.trace()[began..at as usize],
    };
    phase(&layout, op, &moment)
}
