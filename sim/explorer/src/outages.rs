//! The life of `life.rs` with a part that goes out of order at every operation:
//! the journal takes no writes from there on, or the whole part does not answer
//! for a while. The power stays on.
//!
//! While the fault lasts, acts may fail, and nothing may be open that was not
//! charged or that was closed. Once it is mended, what was acknowledged is there,
//! and the life goes on to its end as after a power cut.

use super::explore::{Options, uncut};
use super::life::{ScriptAct, Violation, World, script};
use super::oracle::{continue_script, look, observe, run_segment, wrong};
use super::report::ExplorerReport;
use nrd_agent::State;
use nrd_agent::wire::LockReason;
use nrd_hal::layout::{Layout, LayoutError};
use nrd_sim_device::{Stop, settle};
use nrd_sim_hw::Worn;

/// How a part goes out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outage {
    /// The journal takes no programs and does not erase, and says so.
    Unwritable,
    /// The part answers none of so many calls, reads included.
    Silent(u64),
}

/// Plays the life once for each operation and outage; `cuts` in the report counts
/// these lives.
///
/// # Errors
/// When the part has no layout.
pub fn outages(options: &Options, kinds: &[Outage]) -> Result<ExplorerReport, LayoutError> {
    let layout = Layout::plan(&options.chip.geometry)?;
    let journal = layout.journal();
    let journal = journal.start..journal.end;
    let mut report = ExplorerReport {
        seed: options.seed,
        ..ExplorerReport::default()
    };
    let value = 40.max(options.chip.geometry.write_size as usize).min(300);
    let acts = script(value);
    let segments = match uncut(options, &acts, value, &mut report) {
        Ok(segments) => segments,
        Err(v) => {
            report.violations += 1;
            report.details.push(v);
            return Ok(report);
        }
    };
    for segment in &segments {
        report.operations += segment.kinds.len() as u64;
        for at in (segment.from..).take(segment.kinds.len()) {
            for &kind in kinds {
                let mut world = segment.start.fork();
                match kind {
                    Outage::Unwritable => {
                        let range = journal.clone();
                        world
                            .chip()
                            .defects()
                            .wear_out(range, Worn::Fails, false, at);
                    }
                    Outage::Silent(calls) => world.chip().defects().silence(at, calls),
                }
                report.cuts += 1;
                if let Err(v) = play(&mut world, segment.acts, kind) {
                    report.violations += 1;
                    report.details.push(format!("operation {at} {kind:?}: {v}"));
                }
            }
        }
    }
    Ok(report)
}

/// One boot of the script with the fault in it, then the rest without.
fn play(world: &mut World, acts: &[ScriptAct], kind: Outage) -> Result<(), Violation> {
    let mut done = 0;
    if let Err(stop) = run_segment(world, acts, &mut done) {
        interrupted(stop)?;
    }
    let act = acts.get(done).copied();
    if kind == Outage::Unwritable {
        // A boot that cannot be charged opens nothing, whatever came before.
        world.bench.power_on(5);
        match look(world, act) {
            Ok(seen) if seen.state == State::Active || seen.data.values().any(Option::is_some) => {
                return Err(format!("open on a journal that takes no writes: {seen:?}"));
            }
            Ok(_) => {}
            Err(v) => interrupted(Stop::Wrong(v))?,
        }
    }
    world.chip().defects().mend();
    world.bench.power_on(2);
    let state = world.boot(|_, agent| settle(agent).map(|()| agent.state()));
    match state.map_err(wrong)? {
        // The keys went; that the device is signed out could not be written.
        State::Locked(LockReason::SessionLost)
            if act == Some(ScriptAct::SignOut) && world.model.active =>
        {
            return continue_script(world, acts, done);
        }
        // A part that does not answer is not erased, and the receipt says so. A
        // person wipes again.
        State::WipeFailed if kind != Outage::Unwritable => return wipe_again(world),
        // Slots that do not answer make a wipe of a sign-out.
        State::Clean if world.model.signed_out => world.model.wiping = true,
        _ => {}
    }
    if kind == Outage::Unwritable {
        // Where the tombstone could not be written, the next boot goes by the
        // counter, and its receipt names no reason but that.
        world.model.acknowledged = [0, 0];
    }
    world.bench.power_on(4);
    observe(world, act)?;
    continue_script(world, acts, done)
}

/// A wipe that failed is repeated, and ends clean.
fn wipe_again(world: &mut World) -> Result<(), Violation> {
    let clean = world.boot(|_, agent| {
        settle(agent)?;
        let asked = agent.deactivate();
        settle(agent)?;
        Ok((asked, agent.is_clean()))
    });
    match clean.map_err(wrong)? {
        (Ok(()), true) => Ok(()),
        (asked, _) => Err(format!("a failed wipe, repeated, is not clean: {asked:?}")),
    }
}

/// What a fault may do to an act: be in its way. Anything else is a violation.
fn interrupted(stop: Stop) -> Result<(), Violation> {
    const MAY: [&str; 7] = [
        "refused without a fault",
        "the agent cannot go on",
        "the agent does not come to rest",
        "a good reply was refused",
        "activation ended in",
        "the wipe ended in",
        "a record is lost: Hardware",
    ];
    match stop {
        Stop::Wrong(v) if MAY.iter().any(|may| v.starts_with(may)) => Ok(()),
        Stop::Wrong(v) if v.contains("receipts delivered of") => Ok(()),
        Stop::Wrong(v) => Err(v),
        Stop::Off => Err("the power went".into()),
    }
}
