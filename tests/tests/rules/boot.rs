//! What a boot makes of slots, counter and journal that do not fit.

use nrd_agent::wire::{LockReason, Receipt, Subject, WipeReason, peek};
use nrd_agent::{Agent, Class, Error, Next, State};
use nrd_hal::layout::Layout;
use nrd_sim::device::{AgentBuffers, TestBench, settle, talk};
use nrd_sim::hw::{Board, Chip, Hardware, OpKind, Worn};
use std::ops::Range;

const LOST: State = State::Locked(LockReason::JournalLost);
const MAIL: &[u8] = b"holder@example.org";
const CARD: &[u8] = b"Visa 8861";

fn active(seed: u64) -> TestBench {
    let mut bench = nrd_tests::test_bench(seed);
    activate(&mut bench);
    bench
}

fn activate(bench: &mut TestBench) {
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        agent.put(Class::Email, 0, MAIL).unwrap();
        agent.put(Class::Payment, 0, CARD).unwrap();
    });
}

fn wipe(bench: &mut TestBench) {
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
    });
}

fn get(agent: &mut Agent<'_, Board>, class: Class) -> Result<Vec<u8>, Error> {
    let mut out = [0; 64];
    agent.get(class, 0, &mut out).map(|n| out[..n].to_vec())
}

fn layout(bench: &TestBench) -> Layout {
    Layout::plan(&bench.hw.chip().spec().geometry).unwrap()
}

fn slot(bench: &TestBench, n: u32) -> Range<usize> {
    let l = layout(bench);
    let at = (l.slot_start + n * l.slot_size) as usize;
    at..at + l.slot_size as usize
}

fn cells(bench: &TestBench) -> Vec<u8> {
    bench.hw.chip().cells().to_vec()
}

fn is_blank(bench: &TestBench, n: u32) -> bool {
    cells(bench)[slot(bench, n)].iter().all(|&b| b == 0xFF)
}

/// Puts `bytes` into slot `n`, as somebody with a programmer does.
fn put_slot(bench: &TestBench, n: u32, bytes: &[u8]) {
    let mut image = cells(bench);
    image[slot(bench, n)].copy_from_slice(bytes);
    bench.hw.chip().restore_image(&image);
}

/// Why the newest wipe was done, as its receipt says.
fn reason(bench: &mut TestBench) -> WipeReason {
    bench.boot(|service, agent| talk(service, agent).unwrap());
    let frame = bench.service.receipts.last().unwrap();
    match peek::<Receipt<'_>>(frame).unwrap().subject {
        Subject::Wipe { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_counter_is_asked_eight_times_before_a_boot_says_so_and_the_boot_goes_on_once_it_answers() {
    let silent = State::Locked(LockReason::NotAnswering);
    for (mute, state, tries) in [(7, State::Active, 7), (8, silent, 8)] {
        let mut bench = active(601);
        bench.hw.chip().defects().silence_counter(mute, 0);
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
        let mut errors = 0;
        while agent.state() == State::Booting {
            errors += u32::from(agent.step().is_err());
        }
        assert_eq!((agent.state(), errors), (state, tries), "{mute} mute reads");
        settle(&mut agent).unwrap();
        assert_eq!(agent.state(), State::Active, "by itself, in the same boot");
    }
}

/// A boot that cannot be charged stays closed, whichever of its steps the journal
/// takes as its last.
#[test]
fn a_boot_opens_only_once_it_is_charged() {
    let bench = active(613);
    let journal = layout(&bench).journal();
    let written = |agent: &mut Agent<'_, Board>| {
        agent.platform().with_chip(|c| {
            let mut programs = c.trace().iter().filter(|o| o.kind == OpKind::Program);
            programs.rfind(|o| journal.contains(&o.at)).map(|o| o.at)
        })
    };
    // The last step of the boot that writes to the journal.
    let (mut charge, mut steps) = (0, 0);
    {
        let mut bench = bench.fork();
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
        while agent.state() == State::Booting {
            let before = written(&mut agent);
            agent.step().unwrap();
            if written(&mut agent) != before {
                charge = steps;
            }
            steps += 1;
        }
    }
    assert!(charge > 0 && charge < steps, "{charge} of {steps}");
    for n in 0..steps {
        let mut bench = bench.fork();
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
        for _ in 0..n {
            agent.step().unwrap();
        }
        agent.platform().with_chip(|c| {
            let since = c.ops();
            c.defects()
                .wear_out(journal.clone(), Worn::Fails, false, since);
        });
        for _ in 0..60 {
            let next = agent.poll_work();
            assert!(n > charge || agent.state() != State::Active, "step {n}");
            if let Next::WaitUntil(Some(_)) = next {
                agent.platform().clock().advance_ms(1_000);
            }
        }
        let closed = State::Locked(LockReason::NotStored);
        let then = if n > charge { State::Active } else { closed };
        assert_eq!(agent.state(), then, "step {n}, charged in {charge}");
    }
}

#[test]
fn a_counter_below_the_journals_epoch_locks_and_nothing_is_wiped() {
    let mut bench = active(602);
    wipe(&mut bench);
    activate(&mut bench);
    let image = cells(&bench);
    let spec = bench.hw.chip().spec();
    bench.hw = Hardware::new(Chip::new(spec, 602));
    bench.hw.chip().restore_image(&image);
    bench.boot(|_, agent| {
        assert_eq!(agent.state(), LOST);
        assert_eq!(get(agent, Class::Email), Err(Error::WrongState));
    });
    assert_eq!(cells(&bench)[slot(&bench, 0)], image[slot(&bench, 0)]);
}

#[test]
fn an_erased_journal_behind_a_counter_that_moved_is_no_fresh_device() {
    let mut bench = active(603);
    wipe(&mut bench);
    let mut image = cells(&bench);
    let journal = layout(&bench).journal();
    image[journal.start as usize..journal.end as usize].fill(0xFF);
    bench.hw.chip().restore_image(&image);
    bench.boot(|_, agent| {
        assert_eq!(agent.state(), LOST);
        assert_eq!(agent.start_activation(), Err(Error::WrongState));
    });
}

#[test]
fn a_clean_device_with_anything_in_either_slot_is_wiped_again() {
    for n in [0, 1] {
        let mut bench = active(604);
        wipe(&mut bench);
        let at = slot(&bench, n).start as u32;
        bench.hw.chip().rot(at, 1);
        bench.boot(|_, agent| assert!(agent.is_clean(), "slot {n}"));
        assert_eq!(reason(&mut bench), WipeReason::Recovered, "slot {n}");
        assert_eq!(bench.hw.chip().counter(), 2);
    }
}

#[test]
fn a_boot_takes_the_slot_of_this_activation_and_effaces_a_former_owners() {
    let mut bench = active(605);
    let former = cells(&bench)[slot(&bench, 0)].to_vec();
    wipe(&mut bench);
    activate(&mut bench);
    let ours = cells(&bench)[slot(&bench, 0)].to_vec();
    put_slot(&bench, 1, &ours);
    put_slot(&bench, 0, &former);
    bench.boot(|_, agent| {
        assert_eq!(agent.state(), State::Active);
        assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL));
    });
    assert!(is_blank(&bench, 0) && !is_blank(&bench, 1));
}

#[test]
fn a_boot_takes_no_slot_of_an_activation_before_the_sign_out() {
    let mut bench = active(606);
    let former = cells(&bench)[slot(&bench, 0)].to_vec();
    bench.boot(|service, agent| {
        agent.sign_out().unwrap();
        talk(service, agent).unwrap();
    });
    activate(&mut bench);
    let ours = cells(&bench)[slot(&bench, 0)].to_vec();
    put_slot(&bench, 1, &ours);
    put_slot(&bench, 0, &former);
    bench.boot(|_, agent| assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL)));
    assert!(is_blank(&bench, 0) && !is_blank(&bench, 1));
}

#[test]
fn a_slot_from_before_a_class_was_forgotten_is_effaced_and_brings_nothing_back() {
    let mut bench = active(607);
    let former = cells(&bench)[slot(&bench, 0)].to_vec();
    bench.boot(|_, agent| agent.forget(Class::Payment).unwrap());
    assert!(is_blank(&bench, 0) && !is_blank(&bench, 1));
    put_slot(&bench, 0, &former);
    for _ in 0..2 {
        bench.boot(|_, agent| {
            assert_eq!(agent.state(), State::Active);
            assert_eq!(get(agent, Class::Payment), Err(Error::NotFound));
            assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL));
        });
        assert!(is_blank(&bench, 0) && !is_blank(&bench, 1));
    }
}

#[test]
fn a_boot_with_nothing_to_finish_erases_no_slot_and_opens_the_session() {
    let mut bench = active(608);
    for forgotten in [false, true] {
        if forgotten {
            bench.boot(|_, agent| agent.forget(Class::Payment).unwrap());
        }
        let since = bench.hw.chip().ops() as usize;
        bench.boot(|_, agent| assert!(agent.status().generation.is_some()));
        let slots = layout(&bench).slot_start;
        let chip = bench.hw.chip();
        let mut after = chip.trace()[since..].iter();
        assert!(!after.any(|o| o.kind == OpKind::Erase && o.at >= slots));
    }
}

#[test]
fn a_sign_out_whose_slot_will_not_die_becomes_a_wipe_that_fails() {
    let mut bench = active(609);
    let at = slot(&bench, 0).start as u32;
    // Part of the epoch, which is 0.
    bench.hw.chip().stick(at + 8, 1, false);
    bench.boot(|_, agent| {
        agent.sign_out().unwrap();
        assert_eq!(agent.state(), State::Wiping);
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::WipeFailed);
    });
    assert_eq!(reason(&mut bench), WipeReason::Recovered);
}

/// Rots the text of every copy of these journal records (class 0, salt
/// generation 0); how many there were.
fn rot_records(bench: &TestBench, ids: &[u8]) -> usize {
    let journal = layout(bench).journal();
    let image = cells(bench);
    let found = (journal.start as usize..journal.end as usize).step_by(4);
    let copies: Vec<_> = found
        .filter(|&at| image[at] < 192 && image[at + 1] == 0 && ids.contains(&image[at + 2]))
        .filter(|&at| image[at + 3..].starts_with(&[0, 0, 0]))
        .collect();
    for &at in &copies {
        for byte in 20..24 {
            bench.hw.chip().rot(at as u32 + byte, 0xFF);
        }
    }
    copies.len()
}

/// A device whose wipe was begun, and nothing but its tombstone says so: the
/// counter took no step, no slot was zeroed. Other records follow it.
fn only_a_tombstone(seed: u64) -> TestBench {
    let mut bench = active(seed);
    bench.hw.chip().defects().silence_counter(0, u64::MAX);
    bench.boot(|_, agent| agent.deactivate().unwrap());
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
    while agent.state() == State::Booting {
        agent.step().unwrap();
    }
    assert_eq!(agent.state(), State::Wiping);
    drop(agent);
    bench.hw.chip().defects().mend_counter();
    bench
}

#[test]
fn a_tombstone_that_rotted_is_still_one() {
    let mut bench = only_a_tombstone(610);
    assert!(rot_records(&bench, &[2]) > 0);
    bench.boot(|_, agent| assert!(agent.is_clean()));
    assert_eq!(reason(&mut bench), WipeReason::Recovered);
}

#[test]
fn a_journal_that_rotted_as_a_whole_locks_and_wipes_nothing_by_itself() {
    let mut bench = only_a_tombstone(612);
    assert!(rot_records(&bench, &[1, 2]) > 1);
    let slot_a = cells(&bench)[slot(&bench, 0)].to_vec();
    bench.boot(|_, agent| assert_eq!(agent.state(), LOST));
    assert_eq!(cells(&bench)[slot(&bench, 0)], slot_a);
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert!(agent.is_clean(), "a person still can");
    });
}

#[test]
fn a_journal_that_lost_its_snapshot_is_locked_and_never_fresh() {
    // Signed out: no slot, the counter as the factory left it.
    let mut bench = active(611);
    bench.boot(|service, agent| {
        agent.sign_out().unwrap();
        talk(service, agent).unwrap();
    });
    let journal = layout(&bench).journal();
    let mut image = cells(&bench);
    // Every copy of its record: class 0, id 1, salt generation 0.
    for at in (journal.start as usize..journal.end as usize).step_by(4) {
        if image[at + 1..].starts_with(&[0, 1, 0, 0, 0]) {
            image[at..at + 12].fill(0);
        }
    }
    assert_ne!(image, cells(&bench));
    bench.hw.chip().restore_image(&image);
    bench.boot(|_, agent| {
        assert_eq!(agent.state(), LOST);
        assert_eq!(agent.start_activation(), Err(Error::WrongState));
    });
}

/// Cells that a cut left half-way may be more than an error-correcting code mends:
/// that slot was read, and holds nothing.
#[test]
fn a_slot_that_reads_with_an_error_beyond_its_code_stops_no_boot() {
    // Slot 0 holds the keys.
    for (n, then) in [
        (1, State::Active),
        (0, State::Locked(LockReason::SessionLost)),
    ] {
        let mut bench = active(614);
        let range = slot(&bench, n);
        let range = range.start as u32..range.end as u32;
        bench.hw.chip().defects().spoil(range);
        bench.boot(|_, agent| assert_eq!(agent.state(), then, "slot {n}"));
    }
}

/// The key outlives the power cut of a sign-out in no slot.
#[test]
fn a_sign_out_that_a_cut_left_its_slots_is_finished_at_the_next_boot() {
    let mut bench = active(615);
    let ours = cells(&bench)[slot(&bench, 0)].to_vec();
    bench.boot(|service, agent| {
        agent.sign_out().unwrap();
        talk(service, agent).unwrap();
    });
    let since = bench.hw.chip().ops() as usize;
    bench.boot(|_, agent| assert_eq!(agent.state(), State::SignedOut));
    let erased = |bench: &TestBench, since: usize| {
        let slots = layout(bench).slot_start;
        let chip = bench.hw.chip();
        let mut ops = chip.trace()[since..].iter();
        ops.any(|o| o.kind == OpKind::Erase && o.at >= slots)
    };
    assert!(!erased(&bench, since), "nothing is left to finish");
    for n in [0, 1] {
        put_slot(&bench, n, &ours);
        bench.boot(|_, agent| assert_eq!(agent.state(), State::SignedOut));
        assert!(is_blank(&bench, 0) && is_blank(&bench, 1));
    }
}
