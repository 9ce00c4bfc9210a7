//! Closing comes first in RAM; parts that stop answering; boot loops; time.

use crate::common::{Bench, DAY_S, EMAIL, HOUR_S};
use nrd_agent::agent::CHARGE_S;
use nrd_agent::wire::{
    self, LeaseTerms, LockReason, OrderKind, OrderOutcome, OrderResult, Receipt,
};
use nrd_agent::{Class, Error, State};
use nrd_agent_testkit::Failure;
use nrd_hal::ErrorKind;

/// A write-protect pin, and a part that is worn out.
const UNWRITABLE: [Failure; 2] = [
    Failure::Protected,
    Failure::NoWrites(ErrorKind::OperationFailed),
];
const NOT_STORED: State = State::Locked(LockReason::NotStored);

fn email(b: &mut Bench) -> Result<usize, Error> {
    b.agent.get(Class::Email, 1, &mut [0; 64])
}

/// An activated device whose journal takes no writes from the end of its boot on.
fn protected(failure: Failure) -> Bench {
    let mut b = Bench::active(39);
    b.boot_offline();
    b.port.journal.outage.set(failure);
    assert_eq!(email(&mut b), Ok(EMAIL.len()));
    b
}

#[test]
fn attack_39_a_journal_that_takes_no_writes_closes_access() {
    for failure in UNWRITABLE {
        let mut b = protected(failure);
        let mut open_s = 0;
        // Asked once a minute, without a service, and then with one.
        for minute in 0..120 {
            b.pass(60, 60, minute > 60);
            if b.state() == State::Active {
                assert_eq!(email(&mut b), Ok(EMAIL.len()));
                open_s += 60;
            } else {
                assert_eq!(b.state(), NOT_STORED);
                assert_eq!(email(&mut b), Err(Error::WrongState));
            }
        }
        assert!(
            open_s <= CHARGE_S,
            "open for {open_s} s of {CHARGE_S} s charged"
        );
        // It takes writes again: the device goes on by itself.
        b.end_outages();
        b.pass(180, 10, false);
        assert_eq!(b.state(), State::Active);
        assert_eq!(email(&mut b), Ok(EMAIL.len()));
    }
}

#[test]
fn attack_39_sign_out_and_statements_act_in_ram_first() {
    for failure in UNWRITABLE {
        let mut b = protected(failure);
        b.agent.sign_out().unwrap_err();
        assert_eq!(b.state(), State::SignedOut);
        assert_eq!(email(&mut b), Err(Error::WrongState));
        assert!(b.port.slots.image().iter().flatten().all(|&c| c == 0xFF));
        b.pass(DAY_S, HOUR_S, false);
        assert_eq!(b.state(), State::SignedOut);
        // The power goes before it could be written: no key is left.
        b.boot_offline();
        assert_eq!(b.state(), State::Locked(LockReason::SessionLost));
        assert_eq!(email(&mut b), Err(Error::WrongState));

        for reason in [
            LockReason::Revoked,
            LockReason::TheftSuspected,
            LockReason::ConsentDue,
        ] {
            let mut b = protected(failure);
            b.service.statement = Some(reason);
            b.serve();
            assert_eq!(b.state(), State::Locked(reason));
            assert_eq!(email(&mut b), Err(Error::WrongState));
            b.end_outages();
            b.pass(180, 10, false);
            b.boot_offline();
            assert_eq!(b.state(), State::Locked(reason), "written in the end");
        }

        let mut b = protected(failure);
        let order = b.order(OrderKind::Deactivate);
        let applied = b.agent.apply_order(&order, &mut [0; 192]);
        assert!(applied.is_ok(), "the counter is raised: {applied:?}");
        assert_eq!(b.state(), State::Wiping);
        b.boot_offline();
        assert_eq!(b.state(), State::Clean);
        b.serve();
        assert_eq!(b.receipts(), [b.attempt]);
    }
}

#[test]
fn attack_39_a_boot_that_cannot_charge_does_not_open_until_it_can() {
    for failure in UNWRITABLE {
        let mut b = Bench::active(39);
        b.port.journal.outage.set(failure);
        b.reboot_as_is();
        for _ in 0..60 {
            b.pass(60, 60, true);
            assert_ne!(b.state(), State::Active);
            assert_eq!(email(&mut b), Err(Error::Busy));
        }
        assert_eq!(b.state(), NOT_STORED);
        b.end_outages();
        b.pass(180, 10, false);
        assert_eq!(b.state(), State::Active);
    }
}

#[test]
fn attack_39_a_boot_is_counted_before_it_opens_wherever_in_it_the_journal_fails() {
    for steps in 0..14 {
        let mut b = Bench::new(39);
        b.work();
        b.service.terms = LeaseTerms {
            max_boots: 3,
            ..b.service.terms
        };
        b.activate();
        let mut opened = 0;
        for _ in 0..6 {
            b.reboot();
            for _ in 0..steps {
                b.agent.step().expect("it boots");
            }
            b.port.journal.outage.set(UNWRITABLE[1]);
            b.pass(1200, 60, false);
            assert_ne!(b.state(), State::Active, "at most {CHARGE_S} s are charged");
            b.end_outages();
            b.pass(600, 60, false);
            opened += u32::from(b.state() == State::Active);
        }
        assert_eq!(opened, 3, "after {steps} steps");
        assert_eq!(b.state(), State::Locked(LockReason::LeaseExpired));
    }
}

/// Found: write-protect pulled low after each boot kept access open for 348 powered
/// days, against a lease of 30 and a dead-man of 120.
#[test]
fn attack_39_348_days_without_a_write_do_not_keep_a_device_open() {
    for failure in UNWRITABLE {
        // One long boot. The dead-man comes in RAM.
        let mut b = protected(failure);
        let mut wiped_on = None;
        for day in 1..=348 {
            b.pass(DAY_S, 6 * HOUR_S, false);
            assert_ne!(b.state(), State::Active, "day {day}");
            if b.state() == State::Wiping && wiped_on.is_none() {
                wiped_on = Some(day);
            }
        }
        assert_eq!(wiped_on, Some(120));
        assert!(b.is_blank());
        b.boot_offline();
        b.serve();
        assert_eq!((b.state(), b.receipts()), (State::Clean, vec![b.attempt]));

        // A boot a day: each opens for what it has charged, until the lease is over.
        let mut b = protected(failure);
        let mut open_s = 0;
        for _ in 1..=348 {
            b.boot_offline();
            b.port.journal.outage.set(failure);
            for _ in 0..48 {
                if b.state() == State::Active {
                    open_s += HOUR_S / 2;
                }
                b.pass(HOUR_S / 2, HOUR_S / 2, false);
            }
        }
        // Half an hour a look: access was open at the first look of a boot only.
        assert!(open_s <= 348 * HOUR_S / 2, "open for {open_s} s");
        assert_ne!(b.state(), State::Active);
    }
}

#[test]
fn attack_41_one_outage_of_each_part_needs_no_power_cycle() {
    let outages: [fn(&Bench); 7] = [
        |b| b.port.journal.outage.set(Failure::Silent),
        |b| b.port.vault.outage.set(Failure::Silent),
        |b| b.port.slots.outage.set(Failure::Silent),
        |b| b.port.counter.outage.set(Failure::Silent),
        |b| b.port.rng.outage.set(Failure::Silent),
        |b| b.port.identity.outage.set(Failure::Silent),
        |b| b.outages().iter().for_each(|o| o.set(Failure::Silent)),
    ];
    for (n, outage) in outages.iter().enumerate() {
        // While it runs, and from before its boot on.
        for boots in [false, true] {
            let mut b = Bench::active(41);
            outage(&b);
            if boots {
                b.reboot_as_is();
            }
            b.pass(2 * DAY_S, 900, true);
            b.end_outages();
            b.pass(HOUR_S, 60, true);
            let status = b.agent.status();
            assert_eq!(status.state, State::Active, "outage {n}, boots {boots}");
            assert_eq!(status.fault, None, "outage {n}, boots {boots}");
            assert!(status.losses.is_empty(), "outage {n}, boots {boots}");
            assert_eq!(email(&mut b), Ok(EMAIL.len()));
            b.agent.put(Class::Email, 2, b"again").unwrap();
            b.boot_offline();
            assert_eq!(b.agent.get(Class::Email, 2, &mut [0; 64]), Ok(5));
        }
    }
}

/// Found: 501 boots of five seconds locked, 11,520 of them (16 hours) wiped.
#[test]
fn attack_43_a_boot_loop_closes_access_and_destroys_nothing() {
    let mut b = Bench::active(43);
    let mut closed_at = None;
    for boot in 1..=11_520 {
        b.boot_offline();
        match b.state() {
            State::Active => assert_eq!(closed_at, None),
            State::Locked(LockReason::LeaseExpired) => {
                closed_at.get_or_insert(boot);
            }
            other => panic!("boot {boot}: {other:?}"),
        }
        b.pass(5, 5, false);
    }
    assert_eq!(closed_at, Some(501));
    b.agent.try_again();
    b.serve();
    assert_eq!(b.state(), State::Active);
    assert_eq!(email(&mut b), Ok(EMAIL.len()));
}

/// Found (FINDINGS D17): a 32-bit tick in milliseconds falls back after 49.7 days; no
/// check-in came for 49.7 days, and a lease of 30 days was open after 40.
#[test]
fn an_uptime_that_wraps_after_49_days_hides_neither_check_ins_nor_the_end_of_a_lease() {
    fn pass_wrapping(b: &mut Bench, true_ms: &mut u64, s: u64, online: bool) {
        *true_ms += s * 1000;
        b.port.clock.set_uptime_ms(*true_ms % (1 << 32));
        if online { b.serve() } else { b.work() }
    }
    let mut b = Bench::active(17);
    let mut true_ms = 0;
    let mut silent_hours = 0;
    for hour in 0..60 * 24 {
        let posts = b.posts;
        pass_wrapping(&mut b, &mut true_ms, HOUR_S, true);
        // The time between the last look before the wrap and the first one after it
        // cannot be seen: the check-in of that hour comes in the next.
        silent_hours = if b.posts > posts { 0 } else { silent_hours + 1 };
        assert!(silent_hours < 2, "no check-in until hour {hour}");
        assert_eq!(b.state(), State::Active);
    }
    // From day 60 on without a service: over the wrap of day 99.4.
    for day in 0..40 {
        for _ in 0..24 {
            pass_wrapping(&mut b, &mut true_ms, HOUR_S, false);
        }
        let closed = b.state() == State::Locked(LockReason::LeaseExpired);
        assert_eq!(closed, day >= 29, "day {day}: {:?}", b.state());
    }
}

/// The dead-man counts what has passed for certain, and waits for its whole time;
/// under a lock that the service stated, too.
#[test]
fn the_dead_man_comes_when_its_time_has_passed_and_not_before() {
    for lock in [
        None,
        Some(LockReason::ConsentDue),
        Some(LockReason::Revoked),
    ] {
        let mut b = Bench::new(3);
        b.work();
        b.service.terms = LeaseTerms {
            expires_after_s: 10 * 3600,
            dead_man_s: 10 * 3600,
            ..b.service.terms
        };
        b.activate();
        if lock.is_some() {
            b.service.statement = lock;
            b.agent.try_again();
            b.serve();
        }
        b.pass(20 * HOUR_S - 60, 600, lock.is_some());
        let reason = lock.unwrap_or(LockReason::LeaseExpired);
        assert_eq!(b.state(), State::Locked(reason));
        b.pass(60, 60, false);
        b.serve();
        assert_eq!((b.state(), b.receipts()), (State::Clean, vec![b.attempt]));
    }
}

/// A host that slept polled nothing: what was used up meanwhile is charged when it
/// asks.
#[test]
fn a_host_that_slept_is_not_told_that_its_memory_takes_no_writes() {
    let mut b = Bench::active(39);
    b.port.clock.advance_s(2 * HOUR_S);
    assert_eq!(email(&mut b), Ok(EMAIL.len()));
    b.port.clock.advance_s(2 * HOUR_S);
    assert_eq!(b.state(), State::Active);
}

/// What the device answers to this order.
fn applied(b: &mut Bench, order: &[u8]) -> Result<OrderResult, Error> {
    let applied = b.agent.apply_order(order, &mut [0; 192]);
    applied.map(|(result, _)| result)
}

#[test]
fn a_sign_out_that_stands_in_ram_alone_is_answered_once_it_is_written() {
    for failure in UNWRITABLE {
        let mut b = protected(failure);
        let order = b.order(OrderKind::SignOut);
        applied(&mut b, &order).unwrap_err();
        assert_eq!(b.state(), State::SignedOut);
        assert_eq!(applied(&mut b, &order), Err(Error::Busy));
        b.end_outages();
        b.pass(180, 10, false);
        let again = applied(&mut b, &order);
        assert_eq!(again, Ok(OrderResult::AlreadyApplied));
    }
}

/// A lock that could not be written says nothing of the wipe after it, which the
/// counter holds.
#[test]
fn an_order_whose_wipe_is_under_way_is_answered_whatever_else_is_unwritten() {
    let mut b = protected(UNWRITABLE[1]);
    b.service.statement = Some(LockReason::Revoked);
    b.serve();
    let order = b.order(OrderKind::Deactivate);
    assert_eq!(applied(&mut b, &order), Ok(OrderResult::Applied));
    let again = applied(&mut b, &order);
    assert_eq!(again, Ok(OrderResult::AlreadyApplied));
}

#[test]
fn a_wipe_that_nothing_holds_can_be_asked_for_again_until_something_does() {
    for failure in UNWRITABLE {
        // The delegation is in RAM.
        let mut b = Bench::active(39);
        b.port.journal.outage.set(failure);
        b.port.counter.outage.set(Failure::Silent);
        let order = b.order(OrderKind::Deactivate);
        for _ in 0..2 {
            b.agent.deactivate().unwrap_err();
            assert_eq!(applied(&mut b, &order), Err(Error::Busy));
            b.work();
        }
        b.port.journal.outage.end();
        b.agent.deactivate().unwrap();
        b.boot_offline();
        b.serve();
        assert_eq!((b.state(), b.receipts()), (State::Clean, vec![b.attempt]));
    }
}

/// The boot of a wipe waits neither for the counter nor for room to charge itself,
/// and what its tombstone holds nobody need ask for again.
#[test]
fn a_wipe_that_an_earlier_boot_began_is_for_good_though_nothing_can_be_written() {
    let mut resumed = 0;
    for steps in 0..16 {
        let mut b = Bench::active(44);
        // Nothing but the tombstone says that a wipe was begun.
        b.port.counter.outage.set(UNWRITABLE[1]);
        b.agent.deactivate().unwrap();
        b.reboot_as_is();
        for _ in 0..steps {
            b.agent.step().expect("it boots");
        }
        b.port.journal.outage.set(UNWRITABLE[1]);
        b.work();
        if b.state() == State::Wiping {
            resumed += 1;
            b.agent.deactivate().expect("it is on flash");
        }
    }
    println!("{resumed} of 16");
    assert!(resumed > 8);
}

/// What a wipe and an answer say of the epoch while the counter does not answer.
#[test]
fn a_counter_that_fell_silent_has_the_value_that_was_read_last() {
    let mut b = Bench::active(41);
    b.agent.deactivate().unwrap();
    b.serve();
    b.activate();
    assert_eq!(b.epoch, 1);
    b.port.counter.outage.set(Failure::Silent);
    let order = b.order(OrderKind::Deactivate);
    let mut out = [0; 192];
    let (_, n) = b.agent.apply_order(&order, &mut out).unwrap();
    let outcome: OrderOutcome = wire::peek(&out[..n]).unwrap();
    assert_eq!((outcome.result, outcome.epoch), (OrderResult::Applied, 1));
    b.work();
    b.end_outages();
    b.serve();
    let receipt: Receipt<'_> = wire::peek(b.service.receipts.last().unwrap()).unwrap();
    assert_eq!((receipt.epoch, receipt.counter), (1, 1));
}

/// A person does not wait for the counter; it is raised from where it stands once it
/// answers, not from a guess.
#[test]
fn a_wipe_that_began_before_the_counter_was_read_ends_the_epoch_that_it_was_in() {
    let mut b = Bench::active(41);
    b.agent.deactivate().unwrap();
    b.serve();
    b.activate();
    b.reboot();
    b.port.counter.outage.set(Failure::Silent);
    b.pass(HOUR_S, 60, false);
    assert_eq!(b.state(), State::Locked(LockReason::NotAnswering));
    b.agent.deactivate().unwrap();
    b.end_outages();
    b.work();
    b.serve();
    assert_eq!(b.state(), State::Clean);
    let receipt: Receipt<'_> = wire::peek(b.service.receipts.last().unwrap()).unwrap();
    assert_eq!((receipt.epoch, receipt.counter), (1, 2));
}
