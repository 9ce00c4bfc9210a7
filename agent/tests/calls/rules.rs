//! What holds in every cell, whatever its word.

use crate::common::{Bench, HOUR_S};
use crate::each::{CALLS, refusal};
use crate::faults::FAULTS;
use crate::phases::{PHASES, Phase};
use crate::table::Table;
use crate::{SPEC, broken, brought, call, cell, phase};
use nrd_agent::wire::{ActivationId, LockReason};
use nrd_agent::{Error, State};

/// Every byte that a device keeps.
fn kept(b: &Bench) -> (Vec<u8>, Vec<u8>, [[u8; 256]; 2]) {
    let p = &b.port;
    (p.journal.image(), p.vault.image(), p.slots.image())
}

#[test]
fn a_call_that_is_refused_changes_nothing() {
    let mut refused = 0;
    for call in CALLS {
        for phase in PHASES {
            let mut bench = brought(phase);
            let (before, state) = (kept(&bench), bench.state());
            let Err(e) = (call.make)(&mut bench) else {
                continue;
            };
            if refusal(e).is_none() {
                continue;
            }
            assert_eq!(bench.state(), state, "{} × {}", call.name, phase.name);
            let same = kept(&bench) == before;
            assert!(same, "{} × {} has written", call.name, phase.name);
            refused += 1;
        }
    }
    println!("{refused} refused calls");
    assert!(refused > 200);
}

/// Where a device must be after a power cut that follows a call which was
/// acknowledged, and left this state behind.
fn after_a_cut(left: State) -> &'static [State] {
    match left {
        State::Wiping => &[State::Clean, State::WipeFailed],
        State::SignedOut => &[State::SignedOut],
        State::Activating => &[State::Activating],
        State::Clean => &[State::Clean],
        State::Filling => &[State::Clean],
        State::Active => &[State::Active],
        State::Locked(_) | State::Booting | State::WipeFailed => &[],
    }
}

#[test]
fn what_a_call_acknowledged_outlives_a_power_cut_right_after_it() {
    let mut tried = 0;
    for call in CALLS {
        for phase in PHASES {
            let mut bench = brought(phase);
            let state = bench.state();
            if (call.make)(&mut bench).is_err() || bench.state() == state {
                continue;
            }
            let left = bench.state();
            bench.boot_offline();
            let now = bench.state();
            let cell = format!("{} × {}: {left:?}, then {now:?}", call.name, phase.name);
            assert!(after_a_cut(left).contains(&now), "{cell}");
            tried += 1;
        }
    }
    println!("{tried} acknowledged changes");
    assert!(tried > 50);
}

/// Calls that close, and end what they close.
const CLOSING: &[&str] = &[
    "`deactivate`",
    "`sign_out`",
    "`apply_order` (deactivate)",
    "`apply_order` (sign out)",
];
const HELD: &[&str] = &["active", "lease expired", "revoked", "session lost"];

fn held() -> impl Iterator<Item = &'static Phase> {
    PHASES.iter().filter(|p| HELD.contains(&p.name))
}

/// Found: a deactivation answered `Ok` although neither tombstone, counter nor
/// slots could be written, and the device was signed in again after a power cut.
#[test]
fn what_closes_closes_at_once_and_ok_means_for_good_with_any_two_parts_out_of_order() {
    let (mut tried, mut ok) = (0, 0);
    for name in CLOSING {
        for phase in held() {
            for (n, first) in FAULTS.iter().enumerate() {
                for second in &FAULTS[n..] {
                    let cell = format!("{name} × {}: {}, {}", phase.name, first.name, second.name);
                    let mut bench = broken(phase, first);
                    (second.set)(&bench);
                    let before = bench.state();
                    let made = (call(name).make)(&mut bench);
                    let after = bench.state();
                    // An order is verified with what the journal and the counter say;
                    // where they do not answer it changes nothing, and is asked for
                    // again.
                    let unread = name.contains("apply_order") && after == before;
                    assert!(unread || after != before, "{cell}: open after {made:?}");
                    assert!(!unread || made.is_err(), "{cell}: {made:?}");
                    tried += 1;
                    if made.is_err() {
                        continue;
                    }
                    ok += 1;
                    bench.boot_offline();
                    let now = bench.state();
                    let good = after_a_cut(after).contains(&now);
                    assert!(good, "{cell}: {after:?}, and after a cut {now:?}");
                }
            }
        }
    }
    println!("{tried} calls, {ok} acknowledged");
}

/// A device whose parts were out of order, and answer again, comes to where it would
/// have come without the outage, or stays where it was; without a power cycle.
#[test]
fn attack_41_after_an_outage_the_agent_goes_on_by_itself() {
    let mut tried = 0;
    for call in CALLS {
        for phase in PHASES.iter().filter(|p| !p.outage) {
            let mut whole = brought(phase);
            let _done = (call.make)(&mut whole);
            whole.pass(HOUR_S / 2, 60, true);
            let mut untouched = brought(phase);
            untouched.pass(HOUR_S / 2, 60, true);
            for fault in FAULTS {
                let cell = format!("{} × {} × {}", call.name, phase.name, fault.name);
                let mut bench = broken(phase, fault);
                let made = (call.make)(&mut bench);
                bench.work();
                bench.end_outages();
                bench.pass(HOUR_S / 2, 60, true);
                assert_eq!(bench.agent.work_fault(), None, "{cell}");
                let (now, whole, untouched) = (bench.state(), whole.state(), untouched.state());
                // A wipe that met a part out of order reports it; a sign-out whose
                // slots would not erase ends in a wipe, and one whose session could
                // not be read at the boot is known as lost.
                let reported = [State::WipeFailed, State::Clean, State::SignedOut];
                let good = now == whole
                    || (now == untouched && made.is_err())
                    || (whole != State::Active && reported.contains(&now));
                assert!(
                    good,
                    "{cell}: {made:?}, {now:?}, not {whole:?} or {untouched:?}"
                );
                tried += 1;
            }
        }
    }
    println!("{tried} outages");
}

/// During the boot, whatever its step, a call ends as before its first one.
///
/// Found: a deactivation before the boot was done wiped nobody's activation, with a
/// receipt that named none.
#[test]
fn during_the_boot_a_wipe_is_noted_and_everything_else_is_busy_at_each_step() {
    let mut steps = 0;
    loop {
        let mut bench = Bench::active(1);
        let (attempt, before) = (bench.attempt, kept(&bench));
        bench.reboot();
        for _ in 0..steps {
            bench.agent.step().expect("it boots");
        }
        if bench.state() != State::Booting {
            break;
        }
        if steps == 0 {
            assert_eq!(kept(&bench), before);
        }
        for call in CALLS.iter().filter(|c| c.name != "`deactivate`") {
            match (call.make)(&mut bench) {
                Err(Error::Busy) | Ok("done" | "quiet" | "no") => {}
                other => panic!("{} at step {steps}: {other:?}", call.name),
            }
            assert_eq!(bench.state(), State::Booting, "{}", call.name);
        }
        bench.agent.deactivate().expect("noted");
        bench.serve();
        assert_eq!(bench.state(), State::Clean, "step {steps}");
        assert!(bench.is_blank());
        assert_eq!(bench.receipts(), [attempt], "step {steps}");
        steps += 1;
    }
    println!("{steps} steps of a boot");
    assert!(steps > 5);
}

/// A receipt names the activation that ended, in every phase that has one.
#[test]
fn every_wipe_names_the_activation_that_it_ends() {
    for phase in PHASES {
        let mut bench = brought(phase);
        let attempt = bench.attempt;
        bench.agent.deactivate().expect("it works in every state");
        bench.end_outages();
        bench.work();
        bench.agent.try_again();
        bench.serve();
        let State::Clean = bench.state() else {
            panic!("{}: {:?}", phase.name, bench.state());
        };
        let receipts = bench.receipts();
        let last = receipts.last().expect("a receipt");
        // Nothing was ever stored, or nothing is known.
        let nobody = ["fresh", "clean", "activating", "failed", "filling"];
        if nobody.contains(&phase.name) || phase.state == State::Locked(LockReason::JournalLost) {
            assert_eq!(*last, ActivationId::default(), "{}", phase.name);
        } else if phase.name == "activating anew" {
            assert_ne!(*last, ActivationId::default(), "{}", phase.name);
            assert_ne!(*last, attempt, "{}: nothing was granted", phase.name);
        } else {
            assert_eq!(*last, attempt, "{}", phase.name);
        }
    }
}

/// The words of a phase hold at each of its steps, not at the first one alone.
#[test]
fn attack_40_a_phase_has_one_word_at_each_of_its_steps() {
    let table = Table::between(SPEC, "<!-- calls x phases -->");
    let mut checked = 0;
    for name in ["storing", "wiping: keys", "filling"] {
        let after = |steps: u32| {
            let mut bench = brought(phase(name));
            for _ in 0..steps {
                bench.agent.step().expect("it goes on");
            }
            bench
        };
        let mut steps = 0;
        while after(steps).state() == phase(name).state {
            for call in CALLS {
                let said = table.cell(call.name, name);
                let seen = cell(call, &mut after(steps));
                assert_eq!(seen, said, "{} × {name}, step {steps}", call.name);
                checked += 1;
            }
            steps += 1;
        }
        assert!(steps > 3, "{name}");
    }
    println!("{checked} cells at each step");
}
