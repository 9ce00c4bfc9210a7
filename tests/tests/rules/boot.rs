//! What a boot makes of slots, counter and journal that do not fit.

use nrd_agent::wire::{LockReason, Receipt, Subject, WipeReason, peek};
use nrd_agent::{Agent, Class, Error, State};
use nrd_hal::layout::Layout;
use nrd_sim::device::{Ram, Rig, settle, talk};
use nrd_sim::hw::{Board, Chip, Hardware, OpKind};
use std::ops::Range;

const LOST: State = State::Locked(LockReason::JournalLost);
const MAIL: &[u8] = b"holder@example.org";
const CARD: &[u8] = b"Visa 8861";

fn active(seed: u64) -> Rig {
    let mut rig = nrd_tests::rig(seed);
    activate(&mut rig);
    rig
}

fn activate(rig: &mut Rig) {
    rig.boot(|authority, agent| {
        agent.start_activation().unwrap();
        talk(authority, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        agent.put(Class::Email, 0, MAIL).unwrap();
        agent.put(Class::Payment, 0, CARD).unwrap();
    });
}

fn wipe(rig: &mut Rig) {
    rig.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
    });
}

fn get(agent: &mut Agent<'_, Board>, class: Class) -> Result<Vec<u8>, Error> {
    let mut out = [0; 64];
    agent.get(class, 0, &mut out).map(|n| out[..n].to_vec())
}

fn layout(rig: &Rig) -> Layout {
    Layout::plan(&rig.hw.chip().spec().geometry).unwrap()
}

fn slot(rig: &Rig, n: u32) -> Range<usize> {
    let l = layout(rig);
    let at = (l.slot_start + n * l.slot_size) as usize;
    at..at + l.slot_size as usize
}

fn cells(rig: &Rig) -> Vec<u8> {
    rig.hw.chip().cells().to_vec()
}

fn is_blank(rig: &Rig, n: u32) -> bool {
    cells(rig)[slot(rig, n)].iter().all(|&b| b == 0xFF)
}

/// Puts `bytes` into slot `n`, as somebody with a programmer does.
fn put_slot(rig: &Rig, n: u32, bytes: &[u8]) {
    let mut image = cells(rig);
    image[slot(rig, n)].copy_from_slice(bytes);
    rig.hw.chip().restore_image(&image);
}

/// Why the newest wipe was done, as its receipt says.
fn reason(rig: &mut Rig) -> WipeReason {
    rig.boot(|authority, agent| talk(authority, agent).unwrap());
    let frame = rig.authority.receipts.last().unwrap();
    match peek::<Receipt<'_>>(frame).unwrap().subject {
        Subject::Wipe { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_counter_is_asked_eight_times_before_a_boot_goes_on_without_it() {
    for (mute, state) in [(7, State::Active), (8, LOST)] {
        let mut rig = active(601);
        rig.hw.chip().defects().silence_counter(mute, 0);
        let mut ram = Ram::default();
        let mut agent = Agent::new(rig.board(), rig.config(), ram.memory()).unwrap();
        let mut errors = 0;
        while agent.state() == State::Booting {
            errors += u32::from(agent.step().is_err());
        }
        assert_eq!((agent.state(), errors), (state, 7), "{mute} mute reads");
        drop(agent);
        rig.boot(|_, agent| assert_eq!(agent.state(), State::Active, "at the next boot"));
    }
}

#[test]
fn a_counter_below_the_journals_epoch_locks_and_nothing_is_wiped() {
    let mut rig = active(602);
    wipe(&mut rig);
    activate(&mut rig);
    let image = cells(&rig);
    let spec = rig.hw.chip().spec();
    rig.hw = Hardware::new(Chip::new(spec, 602));
    rig.hw.chip().restore_image(&image);
    rig.boot(|_, agent| {
        assert_eq!(agent.state(), LOST);
        assert_eq!(get(agent, Class::Email), Err(Error::WrongState));
    });
    assert_eq!(cells(&rig)[slot(&rig, 0)], image[slot(&rig, 0)]);
}

#[test]
fn an_erased_journal_behind_a_counter_that_moved_is_no_fresh_device() {
    let mut rig = active(603);
    wipe(&mut rig);
    let mut image = cells(&rig);
    let journal = layout(&rig).journal();
    image[journal.start as usize..journal.end as usize].fill(0xFF);
    rig.hw.chip().restore_image(&image);
    rig.boot(|_, agent| {
        assert_eq!(agent.state(), LOST);
        assert_eq!(agent.start_activation(), Err(Error::WrongState));
    });
}

#[test]
fn a_clean_device_with_anything_in_either_slot_is_wiped_again() {
    for n in [0, 1] {
        let mut rig = active(604);
        wipe(&mut rig);
        let at = slot(&rig, n).start as u32;
        rig.hw.chip().rot(at, 1);
        rig.boot(|_, agent| assert!(agent.is_clean(), "slot {n}"));
        assert_eq!(reason(&mut rig), WipeReason::Recovered, "slot {n}");
        assert_eq!(rig.hw.chip().counter(), 2);
    }
}

#[test]
fn a_boot_takes_the_slot_of_this_activation_and_effaces_a_former_owners() {
    let mut rig = active(605);
    let former = cells(&rig)[slot(&rig, 0)].to_vec();
    wipe(&mut rig);
    activate(&mut rig);
    let ours = cells(&rig)[slot(&rig, 0)].to_vec();
    put_slot(&rig, 1, &ours);
    put_slot(&rig, 0, &former);
    rig.boot(|_, agent| {
        assert_eq!(agent.state(), State::Active);
        assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL));
    });
    assert!(is_blank(&rig, 0) && !is_blank(&rig, 1));
}

#[test]
fn a_boot_takes_no_slot_of_an_activation_before_the_sign_out() {
    let mut rig = active(606);
    let former = cells(&rig)[slot(&rig, 0)].to_vec();
    rig.boot(|authority, agent| {
        agent.sign_out().unwrap();
        talk(authority, agent).unwrap();
    });
    activate(&mut rig);
    let ours = cells(&rig)[slot(&rig, 0)].to_vec();
    put_slot(&rig, 1, &ours);
    put_slot(&rig, 0, &former);
    rig.boot(|_, agent| assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL)));
    assert!(is_blank(&rig, 0) && !is_blank(&rig, 1));
}

#[test]
fn a_slot_from_before_a_class_was_forgotten_is_effaced_and_brings_nothing_back() {
    let mut rig = active(607);
    let former = cells(&rig)[slot(&rig, 0)].to_vec();
    rig.boot(|_, agent| agent.forget(Class::Payment).unwrap());
    assert!(is_blank(&rig, 0) && !is_blank(&rig, 1));
    put_slot(&rig, 0, &former);
    for _ in 0..2 {
        rig.boot(|_, agent| {
            assert_eq!(agent.state(), State::Active);
            assert_eq!(get(agent, Class::Payment), Err(Error::NotFound));
            assert_eq!(get(agent, Class::Email).as_deref(), Ok(MAIL));
        });
        assert!(is_blank(&rig, 0) && !is_blank(&rig, 1));
    }
}

#[test]
fn a_boot_with_nothing_to_finish_erases_no_slot_and_opens_the_session() {
    let mut rig = active(608);
    for forgotten in [false, true] {
        if forgotten {
            rig.boot(|_, agent| agent.forget(Class::Payment).unwrap());
        }
        let since = rig.hw.chip().ops() as usize;
        rig.boot(|_, agent| assert!(agent.status().generation.is_some()));
        let slots = layout(&rig).slot_start;
        let chip = rig.hw.chip();
        let mut after = chip.trace()[since..].iter();
        assert!(!after.any(|o| o.kind == OpKind::Erase && o.at >= slots));
    }
}

#[test]
fn a_sign_out_whose_slot_will_not_die_becomes_a_wipe_that_fails() {
    let mut rig = active(609);
    let at = slot(&rig, 0).start as u32;
    // Part of the epoch, which is 0.
    rig.hw.chip().stick(at + 8, 1, false);
    rig.boot(|_, agent| {
        agent.sign_out().unwrap();
        assert_eq!(agent.state(), State::Wiping);
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::WipeFailed);
    });
    assert_eq!(reason(&mut rig), WipeReason::Recovered);
}

/// Rots the text of every copy of these journal records (class 0, salt
/// generation 0); how many there were.
fn rot_records(rig: &Rig, ids: &[u8]) -> usize {
    let journal = layout(rig).journal();
    let image = cells(rig);
    let found = (journal.start as usize..journal.end as usize).step_by(4);
    let copies: Vec<_> = found
        .filter(|&at| image[at] < 192 && image[at + 1] == 0 && ids.contains(&image[at + 2]))
        .filter(|&at| image[at + 3..].starts_with(&[0, 0, 0]))
        .collect();
    for &at in &copies {
        for byte in 20..24 {
            rig.hw.chip().rot(at as u32 + byte, 0xFF);
        }
    }
    copies.len()
}

/// A device whose wipe was begun, and nothing but its tombstone says so: the
/// counter took no step, no slot was zeroed. Other records follow it.
fn only_a_tombstone(seed: u64) -> Rig {
    let mut rig = active(seed);
    rig.hw.chip().defects().silence_counter(0, u64::MAX);
    rig.boot(|_, agent| agent.deactivate().unwrap());
    let mut ram = Ram::default();
    let mut agent = Agent::new(rig.board(), rig.config(), ram.memory()).unwrap();
    while agent.state() == State::Booting {
        agent.step().unwrap();
    }
    assert_eq!(agent.state(), State::Wiping);
    drop(agent);
    rig.hw.chip().defects().mend_counter();
    rig
}

#[test]
fn a_tombstone_that_rotted_is_still_one() {
    let mut rig = only_a_tombstone(610);
    assert!(rot_records(&rig, &[2]) > 0);
    rig.boot(|_, agent| assert!(agent.is_clean()));
    assert_eq!(reason(&mut rig), WipeReason::Recovered);
}

#[test]
fn a_journal_that_rotted_as_a_whole_locks_and_wipes_nothing_by_itself() {
    let mut rig = only_a_tombstone(612);
    assert!(rot_records(&rig, &[1, 2]) > 1);
    let slot_a = cells(&rig)[slot(&rig, 0)].to_vec();
    rig.boot(|_, agent| assert_eq!(agent.state(), LOST));
    assert_eq!(cells(&rig)[slot(&rig, 0)], slot_a);
    rig.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert!(agent.is_clean(), "a person still can");
    });
}

#[test]
fn a_journal_that_lost_its_snapshot_is_locked_and_never_fresh() {
    // Signed out: no slot, the counter as the factory left it.
    let mut rig = active(611);
    rig.boot(|authority, agent| {
        agent.sign_out().unwrap();
        talk(authority, agent).unwrap();
    });
    let journal = layout(&rig).journal();
    let mut image = cells(&rig);
    // Every copy of its record: class 0, id 1, salt generation 0.
    for at in (journal.start as usize..journal.end as usize).step_by(4) {
        if image[at + 1..].starts_with(&[0, 1, 0, 0, 0]) {
            image[at..at + 12].fill(0);
        }
    }
    assert_ne!(image, cells(&rig));
    rig.hw.chip().restore_image(&image);
    rig.boot(|_, agent| {
        assert_eq!(agent.state(), LOST);
        assert_eq!(agent.start_activation(), Err(Error::WrongState));
    });
}
