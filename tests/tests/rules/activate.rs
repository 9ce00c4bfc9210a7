//! An attempt to activate: what ends it, and which grant is taken.

use super::reply;
use nrd_agent::wire::{
    ActivationId, Answer, Ask, DeviceId, EndReason, Grant, LeaseTerms, MAX_FRAME, PolicyVersion,
    Receipt, Request, Series, Subject, TokenSecret, WipeReason, peek,
};
use nrd_agent::{Agent, Error, State};
use nrd_sim::base::sign::signed;
use nrd_sim::device::{ServiceEndpoint as _, TestBench, exchange, settle, talk};
use nrd_sim::hw::Board;
use nrd_tests::bench::{Bench, HOME, activate};

type Device<'a> = Agent<'a, Board>;

/// Asks what is due now; runs `look` on the request.
fn ask<T>(agent: &mut Device<'_>, look: impl FnOnce(Request<'_>) -> T) -> T {
    let mut out = [0; MAX_FRAME];
    let n = agent.poll_request(&mut out).unwrap().expect("it is due");
    look(peek(&out[..n]).unwrap())
}

/// Begins an attempt and goes on until a code is on the screen and a poll is due.
fn shows_a_code(bench: &mut impl nrd_sim::device::ServiceEndpoint, agent: &mut Device<'_>) {
    agent.start_activation().unwrap();
    while agent.status().code.is_none() {
        assert!(exchange(bench, agent).unwrap());
    }
    let ms = agent.next_due_ms().unwrap();
    agent.platform().clock().advance_ms(ms);
}

/// Why each wipe was done, as its receipt says.
fn reasons(bench: &mut TestBench) -> Vec<WipeReason> {
    bench.boot(|service, agent| talk(service, agent).unwrap());
    let reason = |frame: &Vec<u8>| match peek::<Receipt<'_>>(frame).unwrap().subject {
        Subject::Wipe { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    bench.service.receipts.iter().map(reason).collect()
}

#[test]
fn a_grant_is_for_one_device_one_attempt_and_one_epoch() {
    let bench = Bench::new();
    let mut tv = bench.device("NRD-A1", 901);
    tv.boot(|service, agent| {
        shows_a_code(service, agent);
        let us = DeviceId::new("NRD-A1").unwrap();
        let other = DeviceId::new("NRD-A2").unwrap();
        let mut offer = |device_id, wrong_attempt: bool, epoch| {
            let (activation_id, due) = ask(agent, |r| match r.ask {
                Ask::ActivatePoll { activation_id, .. } => (activation_id, r.nonce),
                _ => panic!("no poll"),
            });
            assert_ne!(due, [0; 16]);
            let grant = Grant {
                device_id,
                activation_id: if wrong_attempt {
                    ActivationId([9; 16])
                } else {
                    activation_id
                },
                epoch,
                series: Series([3; 16]),
                token: TokenSecret([4; 32]),
                remember: true,
                policy: PolicyVersion(1),
                display_name: "Robin".try_into().unwrap(),
                terms: LeaseTerms {
                    renew_after_s: 100,
                    expires_after_s: 1000,
                    max_boots: 9,
                    dead_man_s: 0,
                },
            };
            let grant = signed(&service.keys.session, &grant);
            let taken = agent.handle_reply(&reply(Answer::Granted { grant: &grant }));
            settle(agent).unwrap();
            let ms = agent.next_due_ms().unwrap();
            agent.platform().clock().advance_ms(ms);
            (taken, agent.state())
        };
        // Each wrong in one thing alone.
        let refused = (Err(Error::NotForUs), State::Activating);
        assert_eq!(offer(other, false, 0), refused);
        assert_eq!(offer(us, true, 0), refused);
        assert_eq!(offer(us, false, 1), refused);
        assert_eq!(offer(us, false, 0), (Ok(()), State::Active));
    });
}

#[test]
fn while_a_grant_is_stored_nothing_is_said() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-A3", 902);
    tv.boot(|service, agent| {
        shows_a_code(service, agent);
        let code = agent.status().code.unwrap().0;
        let row = service.look_up_code(holder, &code).unwrap();
        service.approve(holder, &row, 1, true, HOME).unwrap();
        let mut out = [0; MAX_FRAME];
        let n = agent.poll_request(&mut out).unwrap().unwrap();
        let granted = service.answer(&out[..n]).unwrap();
        agent.handle_reply(&granted).unwrap();
        assert_eq!(agent.state(), State::Activating);
        assert_eq!(agent.next_due_ms(), None);
        assert_eq!(agent.poll_request(&mut out), Ok(None));
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        assert!(agent.next_due_ms().is_some());
    });
}

#[test]
fn a_poll_that_is_answered_not_yet_waits_as_long_as_the_service_says() {
    let mut bench = nrd_tests::test_bench(903);
    bench.boot(|service, agent| {
        shows_a_code(service, agent);
        for interval_s in [7, 1, 500] {
            ask(agent, |r| {
                assert!(matches!(r.ask, Ask::ActivatePoll { .. }))
            });
            let pending = Answer::Pending { interval_s };
            agent.handle_reply(&reply(pending)).unwrap();
            let ms = u64::from(interval_s) * 1000;
            assert_eq!(agent.next_due_ms(), Some(ms));
            agent.platform().clock().advance_ms(ms);
        }
        assert_eq!(agent.state(), State::Activating);
        assert!(agent.status().code.is_some(), "it stays on the screen");
        agent.platform().clock().advance_ms(100_000);
        assert!(agent.status().code.is_none(), "it ended after 600 s");
    });
}

#[test]
fn an_attempt_given_up_before_its_grant_is_no_wipe_and_another_one_can_begin() {
    let mut bench = nrd_tests::test_bench(904);
    bench.boot(|service, agent| {
        assert_eq!(agent.cancel_activation(), Err(Error::WrongState));
        shows_a_code(service, agent);
        agent.cancel_activation().unwrap();
        assert_eq!(agent.state(), State::Clean);
        assert_eq!(agent.cancel_activation(), Err(Error::WrongState));
        settle(agent).unwrap();
        assert_eq!(
            agent.state(),
            State::Clean,
            "nothing was written but the journal"
        );
        assert!(agent.status().code.is_none());
        assert_eq!(agent.next_due_ms(), None, "nothing to say");
    });
    assert_eq!(bench.hw.chip().counter(), 0);
    assert_eq!(reasons(&mut bench), []);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        assert_eq!(agent.cancel_activation(), Err(Error::WrongState));
        assert_eq!(agent.state(), State::Active);
    });
}

#[test]
fn an_attempt_given_up_while_its_grant_is_stored_is_wiped_with_a_receipt() {
    // From the grant's arrival to the step before it is in force.
    for steps in 0..4 {
        let mut bench = nrd_tests::test_bench(908);
        bench.boot(|service, agent| {
            agent.start_activation().unwrap();
            let mut out = [0; MAX_FRAME];
            loop {
                let n = agent.poll_request(&mut out).unwrap().expect("it is due");
                let polls = matches!(
                    peek::<Request<'_>>(&out[..n]).unwrap().ask,
                    Ask::ActivatePoll { .. }
                );
                agent.handle_reply(&service.answer(&out[..n])).unwrap();
                if polls {
                    break;
                }
            }
            for _ in 0..steps {
                agent.step().unwrap();
            }
            agent.cancel_activation().unwrap();
            assert_eq!(agent.state(), State::Wiping, "{steps} steps");
            settle(agent).unwrap();
            assert!(agent.is_clean());
        });
        assert_eq!(bench.hw.chip().counter(), 1);
        assert_eq!(reasons(&mut bench), [WipeReason::Abandoned]);
    }
}

#[test]
fn after_a_wipe_during_an_attempt_another_one_can_begin() {
    let mut bench = nrd_tests::test_bench(909);
    bench.boot(|service, agent| {
        shows_a_code(service, agent);
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert!(agent.is_clean());
    });
    assert_eq!(reasons(&mut bench), [WipeReason::Local]);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        assert_eq!(agent.cancel_activation(), Err(Error::WrongState));
        assert_eq!(agent.state(), State::Active);
    });
}

fn ended(agent: &mut Device<'_>) -> Result<(), Error> {
    ask(agent, |_| ());
    let reason = EndReason::Expired;
    agent.handle_reply(&reply(Answer::ActivationEnded { reason }))
}

#[test]
fn an_attempt_that_the_service_ends_leaves_the_device_as_it_was() {
    let mut bench = nrd_tests::test_bench(905);
    // Of a clean device; while it starts, and while it polls.
    bench.boot(|service, agent| {
        for polls in [false, true] {
            if !polls {
                agent.start_activation().unwrap()
            } else {
                shows_a_code(service, agent)
            }
            if !polls {
                exchange(service, agent).unwrap();
            }
            ended(agent).unwrap();
            settle(agent).unwrap();
            assert_eq!(agent.state(), State::Clean);
            assert!(agent.status().code.is_none());
            assert_eq!(agent.next_due_ms(), None, "nothing to say");
        }
    });
    assert_eq!(bench.hw.chip().counter(), 0, "no wipe");
    // Of one that signed out, whose sign-out the service knows of.
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        agent.sign_out().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::SignedOut);
        shows_a_code(service, agent);
        ended(agent).unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::SignedOut);
        ask(agent, |r| assert!(matches!(r.ask, Ask::CheckIn { .. })));
    });
    bench.boot(|_, agent| assert_eq!(agent.state(), State::SignedOut));
    assert_eq!(reasons(&mut bench), []);
}

#[test]
fn an_end_that_comes_while_it_polls_for_nothing_is_malformed() {
    let mut bench = nrd_tests::test_bench(906);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        let ms = agent.next_due_ms().unwrap();
        agent.platform().clock().advance_ms(ms);
        settle(agent).unwrap();
        assert_eq!(ended(agent), Err(Error::Malformed));
        assert_eq!(agent.state(), State::Active);
    });
}

#[test]
fn a_device_that_signed_out_and_is_being_wiped_is_not_activated() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-A4", 907);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent.sign_out().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::SignedOut);
        agent.deactivate().unwrap();
        assert_eq!(agent.start_activation(), Err(Error::WrongState));
        assert_eq!(agent.state(), State::Wiping);
        settle(agent).unwrap();
        assert!(agent.is_clean());
    });
}
