//! Enumerates cuts, tears and second cuts.

use super::judge;
use super::life::{Act, Model, Violation, World, script};
use super::phase::{Moment, REQUIRED, phase};
use crate::hw::{Board, Chip, ChipSpec, Fault, Hardware, Op, OpKind, Tear};
use crate::rig::{Stop, settle};
use nrd_agent::{Agent, State};
use nrd_hal::layout::{Layout, LayoutError};
use serde::Serialize;
use std::collections::BTreeMap;

/// What to explore.
#[derive(Debug, Clone)]
pub struct Options {
    /// Draws tears, unstable bits and the device's randomness.
    pub seed: u64,
    /// 1: one cut. 2: a second cut at every operation of the recovery.
    pub depth: u8,
    /// The flash.
    pub chip: ChipSpec,
    /// Which tears.
    pub tears: Vec<Tear>,
    /// Of the first cuts, how many get second ones: every `stride`-th.
    pub stride: u64,
}

/// What was explored and found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Operations of the script's uncut run.
    pub operations: u64,
    /// First cuts (and silent no-ops).
    pub cuts: u64,
    /// Second cuts.
    pub second_cuts: u64,
    /// First cuts by what they struck.
    pub struck: BTreeMap<String, u64>,
    /// First cuts by the phase of the design that they struck.
    pub phases: BTreeMap<String, u64>,
    /// First cuts by tear mode.
    pub tears: BTreeMap<String, u64>,
    /// Phases of the design that no cut struck.
    pub missed_phases: Vec<String>,
    /// Values that the search for readable records found before a wipe: the
    /// control without which finding none after it means nothing.
    pub control_records: u64,
    /// (Offset, key) pairs that were tried on wiped devices.
    pub trial_opens: u64,
    /// Broken promises, the first twenty with how to see them again.
    pub violations: u64,
    /// Their descriptions.
    pub details: Vec<String>,
}

/// What an observer sees of a settled device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    state: State,
    data: BTreeMap<(u8, u16), Option<Vec<u8>>>,
}

/// Explores; `tick` is told how many of how many operations are done.
pub fn explore(options: &Options, mut tick: impl FnMut(u64, u64)) -> Result<Report, LayoutError> {
    Layout::plan(&options.chip.geometry)?;
    let mut report = Report {
        seed: options.seed,
        ..Report::default()
    };
    let hw = Hardware::new(Chip::new(options.chip, options.seed));
    let mut world = World::new(hw, options.seed);
    let value = 40.max(options.chip.geometry.write_size as usize);
    let acts = script(value.min(300));
    let segments: Vec<&[Act]> = acts.split_inclusive(|a| *a == Act::PowerCycle).collect();

    // The uncut run first: it must itself be without fault, and it says how
    // many operations there are.
    let mut starts = Vec::new();
    for segment in &segments {
        starts.push(world.fork());
        if let Err(v) = run_segment(&mut world, segment, &mut 0) {
            report.violations += 1;
            report.details.push(wrong(v));
            return Ok(report);
        }
        if world.model.active {
            match judge::control(&mut world) {
                Ok(found) => report.control_records += found,
                Err(v) => {
                    report.violations += 1;
                    report.details.push(v);
                    return Ok(report);
                }
            }
        }
    }
    let total = world.chip().ops();
    report.operations = total;
    for (i, (start, segment)) in starts.iter().zip(&segments).enumerate() {
        let from = start.chip().ops();
        let to = match starts.get(i + 1) {
            Some(next) => next.chip().ops(),
            None => total,
        };
        for at in from..to {
            tick(at, total);
            for &tear in &options.tears {
                cut(options, &mut report, start, segment, at, tear);
            }
        }
    }
    report.missed_phases = missed(&report);
    Ok(report)
}

/// Runs the acts of one boot; `done` counts those acknowledged.
fn run_segment(world: &mut World, acts: &[Act], done: &mut usize) -> Result<(), Stop> {
    world.boot(|world, agent| {
        world.rested = None;
        settle(agent)?;
        let now = world.chip().ops();
        world.rested = Some(now);
        for act in acts.iter().skip(*done) {
            let now = world.chip().ops();
            world.act_began = now;
            world.perform(agent, *act)?;
            settle(agent)?;
            world.spy();
            *done += 1;
        }
        Ok(())
    })
}

fn cut(
    options: &Options,
    report: &mut Report,
    start: &World,
    segment: &[Act],
    at: u64,
    tear: Tear,
) {
    let unstable = !matches!(tear, Tear::Nothing | Tear::Complete | Tear::NoOp);
    let mut world = start.fork();
    world.chip().plan(Some(Fault { at, tear, unstable }));
    report.cuts += 1;
    *report.tears.entry(tear.name().into()).or_default() += 1;
    let mut done = 0;
    let ended = run_segment(&mut world, segment, &mut done);
    let struck = world.chip().struck();
    if let Some(op) = struck {
        *report.struck.entry(place(&world, op)).or_default() += 1;
        let phase = struck_phase(&world, op, at, start.chip().ops() == 0, segment.get(done));
        if !phase.is_empty() {
            *report.phases.entry(phase.into()).or_default() += 1;
        }
    }
    let name = format!("operation {at} {tear:?} in {:?}", segment.get(done));
    let outcome = match ended {
        Err(Stop::Wrong(v)) => Err(v),
        // A silent no-op: what was acknowledged must be there at the next boot.
        Ok(()) => after_cut(&mut world, segment, done),
        Err(Stop::Off) => {
            if options.depth >= 2 && at.is_multiple_of(options.stride.max(1)) {
                second(options, report, &world, segment, done, &name);
            }
            after_cut(&mut world, segment, done)
        }
    };
    report.trial_opens += world.trials;
    note(report, options, &name, outcome);
}

/// Cuts again at every operation of the recovery.
fn second(
    options: &Options,
    report: &mut Report,
    cut: &World,
    segment: &[Act],
    done: usize,
    name: &str,
) {
    // How many operations an uncut recovery takes.
    let mut probe = cut.fork();
    let from = probe.chip().ops();
    probe.rig.power_on(1);
    let _ = probe.boot(|_, agent| settle(agent));
    let to = probe.chip().ops();
    for at in from..to {
        for &tear in &options.tears {
            let mut world = cut.fork();
            world.rig.power_on(1);
            world.chip().plan(Some(Fault {
                at,
                tear,
                unstable: at % 2 == 0,
            }));
            report.second_cuts += 1;
            let settled = world.boot(|_, agent| settle(agent));
            let outcome = match settled {
                Err(Stop::Wrong(v)) => Err(v),
                _ => after_cut(&mut world, segment, done),
            };
            report.trial_opens += world.trials;
            note(
                report,
                options,
                &format!("{name}, then operation {at} {tear:?}"),
                outcome,
            );
        }
    }
}

fn note(report: &mut Report, options: &Options, name: &str, outcome: Result<(), Violation>) {
    if let Err(v) = outcome {
        report.violations += 1;
        if report.details.len() < 20 {
            report
                .details
                .push(format!("seed {}, {name}: {v}", options.seed));
        }
    }
}

fn wrong(stop: Stop) -> Violation {
    match stop {
        Stop::Off => "the power went without a cut".into(),
        Stop::Wrong(v) => v,
    }
}

/// After a cut: boots twice with different draws of the unstable bits, holds
/// both against the model, goes on with the script, then wipes and judges.
fn after_cut(world: &mut World, segment: &[Act], done: usize) -> Result<(), Violation> {
    world.rig.power_on(2);
    let act = segment.get(done).copied();
    let first = look(world, act)?;
    allowed(&world.model, act, &first)?;
    world.rig.power_on(3);
    let second = look(world, act)?;
    if second != first {
        return Err(format!(
            "what was observed changed: {:?} then {:?}",
            first.state, second.state
        ));
    }
    adopt(&mut world.model, &first);
    let mut done = done;
    run_segment(world, segment, &mut done).map_err(wrong)?;
    finish(world)
}

/// Wipes the device and judges the cells.
fn finish(world: &mut World) -> Result<(), Violation> {
    world.chip().plan(None);
    let mut done = 0;
    run_segment(world, &[Act::DeactivateHere, Act::Deliver], &mut done).map_err(wrong)?;
    judge::manners(world)?;
    if world.rig.authority.receipts.is_empty() {
        // Never activated and never wiped: nothing to judge.
        return Ok(());
    }
    judge::clean(world)
}

fn look(world: &mut World, act: Option<Act>) -> Result<Seen, Violation> {
    world.boot(|world, agent| {
        settle(agent).map_err(wrong)?;
        let mut keys: Vec<(u8, u16)> = world.model.data.keys().copied().collect();
        if let Some(Act::Put(c, id, ..) | Act::Remove(c, id)) = act {
            keys.push((c as u8, id))
        }
        let data = keys
            .into_iter()
            .map(|(class, id)| Ok(((class, id), read(agent, class, id)?)))
            .collect::<Result<_, Violation>>()?;
        Ok(Seen {
            state: agent.state(),
            data,
        })
    })
}

fn read(agent: &mut Agent<'_, Board>, class: u8, id: u16) -> Result<Option<Vec<u8>>, Violation> {
    let class = nrd_agent::Class::from_number(class).ok_or("no such class")?;
    let mut out = vec![0; 1024];
    match agent.get(class, id, &mut out) {
        Ok(n) => Ok(Some(out[..n].to_vec())),
        Err(nrd_agent::Error::NotFound | nrd_agent::Error::WrongState) => Ok(None),
        Err(e) => Err(format!("a record is lost: {e:?}")),
    }
}

/// Holds what is seen against what was acknowledged and what was in flight.
fn allowed(model: &Model, act: Option<Act>, seen: &Seen) -> Result<(), Violation> {
    let state = seen.state;
    let ending = matches!(act, Some(Act::DeactivateHere | Act::DeactivateByOrder));
    let ok = match (model.active, act) {
        _ if model.wiping => state == State::Clean,
        (true, _) if ending => matches!(state, State::Active | State::Clean),
        (true, Some(Act::SignOut)) => matches!(state, State::Active | State::SignedOut),
        (true, _) => state == State::Active,
        (false, Some(Act::Activate)) => matches!(
            state,
            State::Clean | State::Activating | State::Active | State::SignedOut
        ),
        (false, _) if ending => true,
        (false, _) if model.signed_out => state == State::SignedOut,
        (false, _) => state == State::Clean,
    };
    if !ok {
        return Err(format!("state {state:?} after a cut in {act:?}"));
    }
    if state != State::Active {
        return match seen.data.values().any(Option::is_some) {
            true => Err("a record is served outside an activation".into()),
            false => Ok(()),
        };
    }
    let mut forgotten = None;
    for (key, now) in &seen.data {
        let before = model.data.get(key);
        let same = now.as_ref() == before;
        let fine = match act {
            Some(Act::Put(c, id, fill, len)) if (c as u8, id) == *key => {
                same || now
                    .as_ref()
                    .is_some_and(|v| v.len() == len.max(12) && v.get(7) == Some(&fill))
            }
            Some(Act::Remove(c, id)) if (c as u8, id) == *key => same || now.is_none(),
            Some(Act::Forget(c)) if c as u8 == key.0 => {
                let gone = now.is_none();
                let consistent = *forgotten.get_or_insert(gone) == gone;
                consistent && (same || gone)
            }
            _ => same,
        };
        if !fine {
            return Err(format!(
                "record {key:?} is {} after a cut in {act:?}",
                if now.is_some() { "changed" } else { "lost" }
            ));
        }
    }
    Ok(())
}

/// What was observed is from now on what is so.
fn adopt(model: &mut Model, seen: &Seen) {
    match seen.state {
        State::Active => {
            model.active = true;
            model.signed_out = false;
            for (key, value) in &seen.data {
                match value {
                    Some(v) => model.data.insert(*key, v.clone()),
                    None => model.data.remove(key),
                };
            }
        }
        State::SignedOut => {
            model.active = false;
            model.signed_out = true;
            model.data.clear();
        }
        State::Clean => {
            if model.active || model.signed_out || model.wiping {
                // The wipe in flight, or the one acknowledged, has ended.
                model.receipts += 1;
            }
            model.active = false;
            model.signed_out = false;
            model.wiping = false;
            model.data.clear();
        }
        _ => {}
    }
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
        at if at < layout.slot_size => "slot A",
        at if at < layout.journal_start => "slot B",
        at if at < layout.vault_start => "journal",
        _ => "vault",
    };
    format!("{part} {what}")
}

/// The phase of the design that a struck operation belongs to.
fn struck_phase(world: &World, op: Op, at: u64, first: bool, act: Option<&Act>) -> &'static str {
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

fn missed(report: &Report) -> Vec<String> {
    let parts = [
        "counter step",
        "slot A program",
        "slot A erase",
        "slot B program",
        "slot B erase",
        "journal program",
        "journal erase",
        "vault program",
        "vault erase",
    ];
    let parts = parts.iter().filter(|p| !report.struck.contains_key(**p));
    let phases = REQUIRED.iter().filter(|p| !report.phases.contains_key(**p));
    parts.chain(phases).map(|p| (*p).to_owned()).collect()
}
