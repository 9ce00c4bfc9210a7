//! When the device talks, and how often; where a person stands and waits.

use crate::common::{Bench, HOUR_S};
use nrd_agent::wire::{
    Ask, KeyVersion, LockReason, MAX_FRAME, Order, OrderKind, OrderSeq, RefusalCode,
};
use nrd_agent::{Error, Next, State};
use nrd_agent_testkit::{Failure, keys};

/// The most requests that an hour without progress may cost: the back-off doubles
/// from 2 s to 15 min.
const AN_HOUR: u32 = 60;

/// Requests in an hour of one-second polls, once the device has nothing else to do.
fn posts_in_an_hour(b: &mut Bench) -> u32 {
    let before = b.posts;
    b.pass(HOUR_S, 1, true);
    b.posts - before
}

/// Found (FINDINGS D14): two databases behind one name answered `StaleChallenge` in
/// turn, and one device made 162 TLS connections a second.
#[test]
fn a_service_that_refuses_for_ever_is_asked_ever_more_seldom() {
    type Refuse = fn(&Ask<'_>) -> Option<RefusalCode>;
    let refusals: [Refuse; 7] = [
        |_| Some(RefusalCode::StaleChallenge),
        |ask| {
            let hello = matches!(ask, Ask::Hello { .. });
            (!hello).then_some(RefusalCode::UnknownDevice)
        },
        |_| Some(RefusalCode::BadRequest),
        |_| Some(RefusalCode::UnknownActivation),
        |_| Some(RefusalCode::SlowDown),
        |_| Some(RefusalCode::Unavailable),
        |_| Some(RefusalCode::UnknownMaker),
    ];
    for (n, refuse) in refusals.into_iter().enumerate() {
        for start in [Bench::active, Bench::activating] {
            let mut b = start(14);
            b.agent.try_again();
            b.refuse = refuse;
            let (state, posts) = (b.state(), posts_in_an_hour(&mut b));
            assert!(
                (2..AN_HOUR).contains(&posts),
                "refusal {n}: {posts} requests"
            );
            assert_eq!(b.state(), state, "no refusal changes anything");
        }
    }
}

/// Found (FINDINGS D15): a service that refused a receipt got 1,439 of them in a day
/// and not one request to activate.
#[test]
fn a_receipt_that_is_refused_waits_its_turn_and_the_next_owner_gets_on() {
    let mut b = Bench::active(15);
    b.agent.deactivate().unwrap();
    b.work();
    b.refuse = |ask| {
        let receipt = matches!(ask, Ask::Receipt { .. });
        receipt.then_some(RefusalCode::BadRequest)
    };
    let posts = posts_in_an_hour(&mut b);
    assert!(posts < AN_HOUR, "{posts} requests");
    b.agent.start_activation().unwrap();
    b.pass(120, 1, true);
    assert_eq!(b.state(), State::Active);
    assert_eq!(b.agent.status().receipts, 1, "kept");
    let posts = posts_in_an_hour(&mut b);
    assert!(posts < AN_HOUR, "{posts} requests");
    b.refuse = |_| None;
    b.pass(HOUR_S, 60, true);
    assert_eq!(b.service.receipts.len(), 1, "delivered in the end");
}

/// Found (FINDINGS D14): an order under a retired key was asked for again without a
/// pause, 3,000 requests in 13 s.
#[test]
fn an_order_that_cannot_be_verified_is_asked_for_ever_more_seldom_and_not_answered() {
    for key_version in [1, 2] {
        let mut b = Bench::active(14);
        let forged = Order {
            device_id: *b.agent.device_id(),
            epoch: b.epoch,
            activation_id: b.attempt,
            key_version: KeyVersion(key_version),
            seq: OrderSeq(7),
            kind: OrderKind::Deactivate,
        };
        b.service.pending = Some(keys::signed(&keys::keypair(&[5; 32]), &forged));
        b.agent.try_again();
        let posts = posts_in_an_hour(&mut b);
        assert!((2..AN_HOUR).contains(&posts), "{posts} requests");
        assert_eq!(b.service.outcomes.len(), 0);
        assert_eq!(b.state(), State::Active);
    }
}

/// Found (FINDINGS D14): a generator or a signer that answered an error left the
/// next request due at once.
#[test]
fn a_request_that_cannot_be_made_is_tried_ever_more_seldom() {
    let outages: [fn(&Bench); 2] = [
        |b| b.port.rng.outage.set(Failure::Silent),
        |b| b.port.identity.outage.set(Failure::Silent),
    ];
    for outage in outages {
        let mut b = Bench::active(14);
        outage(&b);
        b.agent.try_again();
        let mut tries = 0;
        for _ in 0..HOUR_S {
            let due = b.agent.next_due_ms() == Some(0);
            tries += u32::from(due);
            let next = b.agent.poll(&mut [0; MAX_FRAME]);
            assert!(matches!(next, Next::Again | Next::WaitUntil(_)), "{next:?}");
            if due {
                assert_ne!(b.agent.next_due_ms(), Some(0));
            }
            b.port.clock.advance_s(1);
        }
        assert!((2..AN_HOUR).contains(&tries), "{tries} tries in an hour");
        assert_eq!(b.state(), State::Active);
        // And then it goes on.
        b.end_outages();
        b.pass(HOUR_S, 60, true);
        assert_eq!(b.agent.status().fault, None);
    }
}

/// So many exchanges fail on their way, each as soon as it is due.
fn fail(b: &mut Bench, times: u32) {
    for _ in 0..times {
        let mut request = [0; MAX_FRAME];
        loop {
            match b.agent.poll(&mut request) {
                Next::Again | Next::Reset => {}
                Next::Post(_) => break,
                Next::WaitUntil(_) => b.port.clock.advance_s(1),
            }
        }
        b.agent.exchange_failed();
    }
}

/// Found (FINDINGS D18): after an outage the next try came in 733 s, and nothing
/// could hasten it.
#[test]
fn a_network_that_is_back_ends_a_back_off_and_a_person_ends_every_wait() {
    let mut b = Bench::activating(18);
    b.service.pending_polls = 0;
    fail(&mut b, 12);
    assert!(b.agent.next_due_ms().is_some_and(|ms| ms > 0));
    b.agent.network_up();
    assert_eq!(b.agent.next_due_ms(), Some(0));
    b.serve();
    assert_eq!(b.state(), State::Active);

    // A wait that the service asked for: the network does not end it, a person does.
    b.agent.try_again();
    b.service.refuse_next(RefusalCode::SlowDown, 600);
    b.serve();
    assert!(b.agent.next_due_ms() >= Some(600_000 - 1));
    b.agent.network_up();
    assert!(b.agent.next_due_ms() >= Some(600_000 - 1));
    b.agent.try_again();
    assert_eq!(b.agent.next_due_ms(), Some(0));

    // Work of the agent's own that failed, as well.
    let mut b = Bench::active(18);
    b.reboot();
    b.port.counter.outage.set(Failure::Silent);
    b.pass(2 * HOUR_S, 60, false);
    b.end_outages();
    assert_eq!(b.state(), State::Locked(LockReason::NotAnswering));
    b.agent.try_again();
    b.work();
    assert_eq!(b.state(), State::Active);
}

/// Found (FINDINGS D18): a code that had ended an hour ago was still on the screen.
#[test]
fn a_code_leaves_the_screen_when_it_ends_and_the_agent_wakes_for_it() {
    let mut b = Bench::activating(18);
    assert!(b.agent.status().code.is_some());
    let mut wakes = Vec::new();
    for _ in 0..599 {
        b.port.clock.advance_s(1);
        assert!(b.agent.status().code.is_some());
        // No network: every request is given up.
        match b.agent.poll(&mut [0; MAX_FRAME]) {
            Next::Post(_) => b.agent.exchange_failed(),
            Next::WaitUntil(at) => wakes.push(at),
            Next::Again | Next::Reset => {}
        }
    }
    assert!(wakes.iter().all(|at| at.is_some_and(|ms| ms <= 601_000)));
    b.port.clock.advance_s(2);
    assert_eq!(b.agent.status().code, None);
}

/// Found (FINDINGS D19): a peer that sent a byte every three seconds held one
/// exchange past every limit.
#[test]
fn an_exchange_has_a_deadline_in_time() {
    let mut b = Bench::active(19);
    b.agent.try_again();
    let mut request = [0; MAX_FRAME];
    let Next::Post(n) = b.agent.poll(&mut request) else {
        panic!("a check-in is due");
    };
    let reply = b.answer(&request[..n]);
    // The host is still posting. The agent asks for nothing else, and wakes.
    for _ in 0..59 {
        b.port.clock.advance_s(1);
        let Next::WaitUntil(Some(at)) = b.agent.poll(&mut request) else {
            panic!("one exchange at a time");
        };
        assert!(at <= 61_000);
    }
    b.port.clock.advance_s(2);
    // Given up: what comes now is of no exchange.
    let next = b.agent.poll(&mut request);
    assert!(
        matches!(next, Next::WaitUntil(Some(_))),
        "backs off: {next:?}"
    );
    assert_eq!(b.agent.handle_reply(&reply), Err(Error::WrongState));
    b.pass(60, 1, true);
    assert_eq!(b.state(), State::Active);
}

/// An answer ends the back-off, and gives back the one retry without a pause.
#[test]
fn after_an_answer_the_pauses_begin_anew() {
    let mut b = Bench::active(18);
    for _ in 0..2 {
        for _ in 0..12 {
            b.agent.try_again();
            assert!(b.agent.poll_request(&mut [0; MAX_FRAME]).unwrap().is_some());
            b.agent.exchange_failed();
        }
        // Asked once more, at once, over the new challenge; and then answered.
        b.service.refuse_next(RefusalCode::StaleChallenge, 0);
        let posts = b.posts;
        b.agent.try_again();
        b.serve();
        assert_eq!(b.posts - posts, 2);
        b.agent.try_again();
        assert!(b.agent.poll_request(&mut [0; MAX_FRAME]).unwrap().is_some());
        b.agent.exchange_failed();
        let pause = b.agent.next_due_ms().unwrap();
        assert!(pause <= 2_000, "{pause} ms");
        b.agent.try_again();
        b.serve();
    }
}

/// A part that failed once and then answered has failed no more: said while the boot
/// or the wipe still runs.
#[test]
fn a_fault_is_over_with_the_next_piece_of_a_boot() {
    let mut b = Bench::active(41);
    b.reboot();
    b.port.counter.outage.set(Failure::Silent);
    while b.agent.work_fault().is_none() {
        assert_eq!(b.agent.poll_work(), Next::Again);
    }
    b.end_outages();
    assert_eq!(b.agent.poll_work(), Next::Again);
    assert_eq!((b.agent.work_fault(), b.state()), (None, State::Booting));
}

/// Of two reports that the service refuses, each waits from its own refusal on.
#[test]
fn the_report_that_was_refused_first_is_the_next_to_be_said() {
    let mut b = Bench::active(19);
    assert!(b.service.send_order(OrderKind::Deactivate));
    b.refuse = |ask| {
        let report = matches!(ask, Ask::Outcome { .. } | Ask::Receipt { .. });
        report.then_some(RefusalCode::BadRequest)
    };
    // The outcome is refused while the wipe runs, the receipt five minutes later.
    b.agent.try_again();
    assert_eq!(b.exchange(), Ok(true));
    assert_eq!(b.state(), State::Wiping);
    assert_eq!(b.exchange(), Ok(true));
    b.port.clock.advance_s(300);
    b.work();
    let posts = b.posts;
    b.serve();
    assert_eq!((b.state(), b.posts - posts), (State::Clean, 1));
    assert_eq!(b.agent.next_due_ms(), Some(600_000));
}

/// Found: the receipt of a wipe whose exchange was lost in a service that was killed
/// waited 15 minutes, with nothing else left to say. A refusal does wait so long.
#[test]
fn the_only_report_left_waits_for_the_back_off_alone_when_it_was_lost() {
    let mut b = Bench::active(20);
    b.agent.deactivate().unwrap();
    b.work();
    fail(&mut b, 1);
    assert_eq!(b.state(), State::Clean);
    // The first window is 2 s, the second 4 s, whatever is drawn.
    assert!(b.agent.next_due_ms() <= Some(2_000));
    fail(&mut b, 1);
    assert!(b.agent.next_due_ms() <= Some(4_000));
    // An answer to something else in between does not make it a refusal: here the
    // service that comes back asks the device to introduce itself.
    b.refuse = |ask| {
        let receipt = matches!(ask, Ask::Receipt { .. });
        receipt.then_some(RefusalCode::StaleChallenge)
    };
    b.pass(4, 1, true);
    assert!(b.agent.next_due_ms() <= Some(8_000));
    b.refuse = |ask| {
        let receipt = matches!(ask, Ask::Receipt { .. });
        receipt.then_some(RefusalCode::BadRequest)
    };
    b.pass(8, 1, true);
    assert_eq!(b.agent.status().receipts, 1, "refused, and kept");
    assert!(b.agent.next_due_ms() > Some(890_000));
    b.refuse = |_| None;
    b.pass(900, 10, true);
    assert_eq!(b.agent.status().receipts, 0, "delivered");
}
