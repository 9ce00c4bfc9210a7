//! What must hold after a cut: liveness and safety, judged by reads first and
//! by the physical cells at the end.

use super::judge;
use super::life::{Model, ScriptAct, Violation, World};
use nrd_agent::{Agent, State};
use nrd_sim_device::{Stop, settle};
use nrd_sim_hw::Board;
use std::collections::BTreeMap;

/// What an observer sees of a settled device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: State,
    pub(super) data: BTreeMap<(u8, u16), Option<Vec<u8>>>,
}

/// Runs the acts of one boot; `done` counts those acknowledged.
pub(super) fn run_segment(
    world: &mut World,
    acts: &[ScriptAct],
    done: &mut usize,
) -> Result<(), Stop> {
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

pub(super) fn wrong(stop: Stop) -> Violation {
    match stop {
        Stop::Off => "the power went without a cut".into(),
        Stop::Wrong(v) => v,
    }
}

/// After a cut, power on: boots twice with different draws of the unstable
/// bits, holds both against the model, and makes what was observed the truth.
pub(super) fn observe(world: &mut World, act: Option<ScriptAct>) -> Result<(), Violation> {
    let first = look(world, act)?;
    allowed(&world.model, act, &first)?;
    world.bench.power_on(3);
    let second = look(world, act)?;
    if second != first {
        return Err(format!(
            "what was observed changed: {:?} then {:?}",
            first.state, second.state
        ));
    }
    accept(&mut world.model, &first);
    Ok(())
}

/// Goes on with the script, then wipes and judges.
pub(super) fn continue_script(
    world: &mut World,
    segment: &[ScriptAct],
    done: usize,
) -> Result<(), Violation> {
    let mut done = done;
    run_segment(world, segment, &mut done).map_err(wrong)?;
    finish(world)
}

/// Wipes the device and judges the cells.
fn finish(world: &mut World) -> Result<(), Violation> {
    world.chip().plan(None);
    let mut done = 0;
    run_segment(
        world,
        &[ScriptAct::DeactivateHere, ScriptAct::Deliver],
        &mut done,
    )
    .map_err(wrong)?;
    judge::check_flash_contract(world)?;
    if world.bench.service.receipts.is_empty() {
        // Never activated and never wiped: nothing to judge.
        return Ok(());
    }
    judge::clean(world)
}

pub(super) fn look(world: &mut World, act: Option<ScriptAct>) -> Result<Seen, Violation> {
    world.boot(|world, agent| {
        settle(agent).map_err(wrong)?;
        let mut keys: Vec<(u8, u16)> = world.model.data.keys().copied().collect();
        if let Some(ScriptAct::Put(c, id, ..) | ScriptAct::Remove(c, id)) = act {
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
fn allowed(model: &Model, act: Option<ScriptAct>, seen: &Seen) -> Result<(), Violation> {
    let state = seen.state;
    let ending = matches!(
        act,
        Some(ScriptAct::DeactivateHere | ScriptAct::DeactivateByOrder)
    );
    let ok = match (model.active, act) {
        _ if model.wiping => state == State::Clean,
        (true, _) if ending => matches!(state, State::Active | State::Clean),
        (true, Some(ScriptAct::SignOut)) => matches!(state, State::Active | State::SignedOut),
        (true, _) => state == State::Active,
        (false, Some(ScriptAct::Activate)) => matches!(
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
        return if seen.data.values().any(Option::is_some) {
            Err("a record is served outside an activation".into())
        } else {
            Ok(())
        };
    }
    let mut forgotten = None;
    for (key, now) in &seen.data {
        let before = model.data.get(key);
        let same = now.as_ref() == before;
        let fine = match act {
            Some(ScriptAct::Put(c, id, fill, len)) if (c as u8, id) == *key => {
                same || now
                    .as_ref()
                    .is_some_and(|v| v.len() == len.max(12) && v.get(7) == Some(&fill))
            }
            Some(ScriptAct::Remove(c, id)) if (c as u8, id) == *key => same || now.is_none(),
            Some(ScriptAct::Forget(c)) if c as u8 == key.0 => {
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
fn accept(model: &mut Model, seen: &Seen) {
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
