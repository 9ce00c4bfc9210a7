//! When a device speaks, and what a reply may change.

use super::reply;
use nrd_agent::wire::{
    ActivationId, Answer, Ask, DeviceId, Generation, Lease, LeaseTerms, LockReason, MAX_FRAME,
    NextToken, PolicyVersion, RefusalCode, Request, Statement, TokenSecret, peek,
};
use nrd_agent::{Agent, Config, Error, State};
use nrd_sim::base::sign::signed;
use nrd_sim::device::{AgentBuffers, TestBench, exchange, settle, talk};
use nrd_sim::hw::{Board, Chip, Hardware};
use nrd_tests::bench::{Bench, activate, talk_later};

const MINUTE_MS: u64 = 60_000;
const MONTH_MS: u64 = 30 * 24 * 60 * MINUTE_MS;

type Device<'a> = Agent<'a, Board>;

fn active(seed: u64) -> TestBench {
    let mut bench = nrd_tests::test_bench(seed);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    bench
}

fn checked_in<'a>(lease: Option<&'a [u8]>, statement: Option<&'a [u8]>) -> Vec<u8> {
    reply(Answer::CheckedIn {
        lease,
        statement,
        order: None,
        interval_s: 60,
    })
}

/// Waits until something is due and asks; runs `look` on the request.
fn ask<T>(agent: &mut Device<'_>, look: impl FnOnce(Request<'_>) -> T) -> T {
    let ms = agent.next_due_ms().expect("something to say");
    agent.platform().clock().advance_ms(ms);
    settle(agent).unwrap();
    let mut out = [0; MAX_FRAME];
    let n = agent.poll_request(&mut out).unwrap().expect("it is due");
    look(peek(&out[..n]).unwrap())
}

fn nonce(agent: &mut Device<'_>) -> [u8; 16] {
    ask(agent, |r| r.nonce)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn only_what_names_this_device_activation_and_request_locks_or_opens() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-X1", 801);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        talk_later(service, agent);
        let id = ActivationId(bench.newest(0).id);
        let us = DeviceId::new("NRD-X1").unwrap();
        let session = &bench.service.keys.session;
        let statement = |device_id, activation_id, nonce, reason| {
            signed(
                session,
                &Statement {
                    device_id,
                    activation_id,
                    nonce,
                    reason,
                },
            )
        };
        let lease = |device_id, activation_id, nonce, next: Option<u32>| {
            signed(
                session,
                &Lease {
                    device_id,
                    activation_id,
                    nonce,
                    issued_at: 1,
                    terms: LeaseTerms {
                        renew_after_s: 86_400,
                        expires_after_s: 10 * 86_400,
                        max_boots: 500,
                        dead_man_s: 0,
                    },
                    policy: PolicyVersion(1),
                    next: next.map(|g| NextToken {
                        generation: Generation(g),
                        token: TokenSecret([g as u8; 32]),
                    }),
                },
            )
        };
        let other = DeviceId::new("NRD-X2").unwrap();
        let g = agent.status().generation.unwrap();
        let another = ActivationId([9; 16]);
        let revoked = LockReason::Revoked;
        // Each wrong in one thing alone.
        for wrong in 0..3 {
            let n = nonce(agent);
            let s = match wrong {
                0 => statement(other, id, n, revoked),
                1 => statement(us, another, n, revoked),
                _ => statement(us, id, [0; 16], revoked),
            };
            let taken = agent.handle_reply(&checked_in(None, Some(&s)));
            assert_eq!(taken, Err(Error::NotForUs));
            assert_eq!(agent.state(), State::Active);
        }
        for reason in [LockReason::LeaseExpired, LockReason::JournalLost] {
            let s = statement(us, id, nonce(agent), reason);
            let taken = agent.handle_reply(&checked_in(None, Some(&s)));
            assert_eq!(taken, Err(Error::NotForUs));
            assert_eq!(agent.state(), State::Active);
        }
        for reason in [LockReason::TheftSuspected, LockReason::ConsentDue, revoked] {
            let s = statement(us, id, nonce(agent), reason);
            agent.handle_reply(&checked_in(None, Some(&s))).unwrap();
            assert_eq!(agent.state(), State::Locked(reason));
        }
        // Only an open session shows its generation.
        assert_eq!(agent.status().generation, None);
        // Said again, it is not written again.
        let s = statement(us, id, nonce(agent), revoked);
        let before = agent.platform().with_chip(|c| c.ops());
        agent.handle_reply(&checked_in(None, Some(&s))).unwrap();
        assert_eq!(agent.platform().with_chip(|c| c.ops()), before);
        for wrong in 0..3 {
            let n = nonce(agent);
            let l = match wrong {
                0 => lease(other, id, n, None),
                1 => lease(us, another, n, None),
                _ => lease(us, id, [0; 16], None),
            };
            let taken = agent.handle_reply(&checked_in(Some(&l), None));
            assert_eq!(taken, Err(Error::NotForUs));
            assert_eq!(agent.state(), State::Locked(revoked));
        }
        // A good one opens; of the tokens it takes the very next alone.
        for (next, then) in [
            (None, g),
            (Some(g), g),
            (Some(g + 2), g),
            (Some(g + 1), g + 1),
        ] {
            let l = lease(us, id, nonce(agent), next);
            agent.handle_reply(&checked_in(Some(&l), None)).unwrap();
            assert_eq!(agent.state(), State::Active);
            assert_eq!(agent.status().generation, Some(then), "offered {next:?}");
        }
    });
}

#[test]
fn a_failed_exchange_backs_off_from_2_s_doubling_to_15_minutes_with_full_jitter() {
    let mut bench = active(802);
    bench.boot(|_, agent| {
        // The boots before it without an answer count as well: here one.
        let mut longest = Vec::new();
        for n in 1..60u32 {
            let cap = (2_000 << n.min(20)).min(15 * MINUTE_MS);
            agent.exchange_failed();
            let due = agent.next_due_ms().unwrap();
            assert!(due < cap, "{due} after {n} failures");
            if n > 10 {
                longest.push(due);
            }
        }
        println!("{longest:?}");
        let long = longest.iter().filter(|&&ms| ms > 10 * MINUTE_MS).count();
        let short = longest.iter().filter(|&&ms| ms < 5 * MINUTE_MS).count();
        assert!(long > 5 && short > 5);
    });
}

#[test]
fn a_request_is_given_when_it_is_due_and_not_before() {
    let mut bench = active(803);
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        let ms = agent.next_due_ms().unwrap();
        assert_eq!(ms, 3_600_000, "as the service said");
        let mut out = [0; MAX_FRAME];
        agent.platform().clock().advance_ms(ms - 1);
        settle(agent).unwrap();
        assert_eq!(agent.poll_request(&mut out), Ok(None));
        assert_eq!(agent.next_due_ms(), Some(1));
        agent.platform().clock().advance_ms(1);
        assert!(agent.poll_request(&mut out).unwrap().is_some());
        // A reply is taken once.
        let answer = checked_in(None, None);
        assert_eq!(agent.handle_reply(&answer), Ok(()));
        assert_eq!(agent.handle_reply(&answer), Err(Error::WrongState));
    });
}

#[test]
fn the_first_check_in_of_a_boot_does_not_wait_and_the_next_does_at_once() {
    let mut bench = active(804);
    let config = Config {
        wait_s: 25,
        ..bench.config()
    };
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(bench.board(), config, ram.lend()).unwrap();
    settle(&mut agent).unwrap();
    exchange(&mut bench.service, &mut agent).unwrap();
    let wait = |agent: &mut Device<'_>| {
        let wait = ask(agent, |r| match r.ask {
            Ask::CheckIn { wait_s, .. } => wait_s,
            _ => panic!("no check-in"),
        });
        agent.handle_reply(&checked_in(None, None)).unwrap();
        (wait, agent.next_due_ms())
    };
    assert_eq!(wait(&mut agent), (0, Some(0)));
    assert_eq!(wait(&mut agent), (25, Some(60_000)));
    assert_eq!(wait(&mut agent), (25, Some(60_000)));
}

#[test]
fn a_refusal_says_how_long_to_wait_and_a_stale_challenge_costs_no_wait() {
    let mut bench = active(805);
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        let hello = |agent: &mut Device<'_>| ask(agent, |r| matches!(r.ask, Ask::Hello { .. }));
        for (code, retry_after_s, due) in [
            // One retry is free; then the back-off begins, of which the service's
            // word is the floor.
            (RefusalCode::StaleChallenge, 30, 0..1),
            (RefusalCode::StaleChallenge, 0, 0..2_000),
            (RefusalCode::BadRequest, 30, 30_000..30_001),
            (RefusalCode::SlowDown, 1, 1_000..8_000),
            (RefusalCode::Unavailable, 0, 0..16_000),
            (RefusalCode::UnknownDevice, 30, 0..32_000),
        ] {
            assert!(!hello(agent), "the device is known");
            let refused = Answer::Refused {
                code,
                retry_after_s,
            };
            agent.handle_reply(&reply(refused)).unwrap();
            let ms = agent.next_due_ms().unwrap();
            assert!(due.contains(&ms), "{code:?}: {ms}");
        }
        assert!(hello(agent), "it introduces itself again");
    });
}

#[test]
fn a_check_in_asks_for_a_lease_when_it_is_time_and_when_it_is_locked() {
    let mut bench = active(806);
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        let renew = |agent: &mut Device<'_>| {
            ask(agent, |r| match r.ask {
                Ask::CheckIn { renew, .. } => renew,
                _ => panic!("no check-in"),
            })
        };
        assert!(!renew(agent));
        agent.handle_reply(&checked_in(None, None)).unwrap();
        agent.platform().clock().advance_ms(25 * 60 * MINUTE_MS);
        assert!(renew(agent), "after a day");
        agent.handle_reply(&checked_in(None, None)).unwrap();
        agent.platform().clock().advance_ms(MONTH_MS);
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Locked(LockReason::LeaseExpired));
        assert!(renew(agent), "when it has run out");
    });
}

#[test]
fn a_device_with_nothing_to_say_says_nothing() {
    let mut bench = nrd_tests::test_bench(807);
    bench.boot(|service, agent| {
        assert_eq!(agent.next_due_ms(), None, "fresh");
        agent.deactivate().unwrap();
        assert_eq!(
            agent.next_due_ms(),
            None,
            "a person's wipe waits for its end"
        );
        settle(agent).unwrap();
        agent.spread_first_contact(600);
        assert_eq!(agent.next_due_ms(), Some(0), "a receipt is not held up");
        talk(service, agent).unwrap();
        assert_eq!(agent.next_due_ms(), None, "its receipt is delivered");
        agent.start_activation().unwrap();
        agent.spread_first_contact(600);
        assert_eq!(agent.next_due_ms(), Some(0), "a person waits");
    });
}

#[test]
fn the_first_contact_is_spread_over_the_window_once() {
    let mut bench = active(808);
    let mut longest = 0;
    for _ in 0..30 {
        bench.boot(|service, agent| {
            agent.spread_first_contact(10);
            let ms = agent.next_due_ms().unwrap();
            // Doubled for each boot without an answer, at most 15 minutes.
            assert!(ms < 20_000, "{ms}");
            longest = longest.max(ms);
            agent.platform().clock().advance_ms(ms);
            talk(service, agent).unwrap();
            let due = agent.next_due_ms();
            agent.spread_first_contact(1);
            assert_eq!(agent.next_due_ms(), due, "it was answered");
        });
    }
    assert!(longest > 5_000, "{longest}");
    bench.boot(|_, agent| {
        let longest = (0..60).map(|_| {
            agent.spread_first_contact(u32::MAX);
            agent.next_due_ms().unwrap()
        });
        let longest = longest.max().unwrap();
        assert!(
            (10 * MINUTE_MS..15 * MINUTE_MS).contains(&longest),
            "{longest}"
        );
    });
}

#[test]
fn a_wipe_that_no_order_asked_for_says_nothing_before_its_end() {
    let mut bench = active(809);
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        let ms = agent.next_due_ms().unwrap();
        agent.platform().clock().advance_ms(ms);
        agent.deactivate().unwrap();
        assert_eq!(agent.next_due_ms(), None, "though there is a challenge");
        assert_eq!(agent.poll_request(&mut [0; MAX_FRAME]), Ok(None));
        settle(agent).unwrap();
        assert_eq!(agent.next_due_ms(), Some(0), "the receipt");
    });
}

#[test]
fn before_the_boot_is_done_nothing_is_said() {
    let mut bench = active(810);
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
    while agent.state() == State::Booting {
        assert_eq!(agent.next_due_ms(), None);
        assert_eq!(agent.poll_request(&mut [0; MAX_FRAME]), Ok(None));
        agent.step().unwrap();
    }
    assert_eq!(agent.next_due_ms(), Some(0));
}

#[test]
fn a_person_who_waits_at_a_code_is_not_held_up_by_a_crowd() {
    let mut bench = nrd_tests::test_bench(811);
    bench.boot(|_, agent| {
        agent.start_activation().unwrap();
        for _ in 0..20 {
            agent.spread_first_contact(600);
            assert_eq!(agent.next_due_ms(), Some(0));
        }
    });
}

#[test]
fn what_was_lost_is_said_at_once_where_the_journal_no_longer_fits_its_counter() {
    let mut bench = active(814);
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
    });
    // Its flash on another part, whose counter never moved.
    let image = bench.hw.chip().cells().to_vec();
    let spec = bench.hw.chip().spec();
    bench.hw = Hardware::new(Chip::new(spec, 814));
    bench.hw.chip().restore_image(&image);
    bench.boot(|service, agent| {
        assert_eq!(agent.state(), State::Locked(LockReason::JournalLost));
        assert_eq!(agent.status().receipts, 1);
        for _ in 0..20 {
            agent.spread_first_contact(600);
            assert_eq!(agent.next_due_ms(), Some(0));
        }
        talk(service, agent).unwrap();
        assert_eq!(agent.next_due_ms(), None, "it has said what it lost");
        // The receipt waits for a person's wipe, which needs the journal.
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.status().receipts, 0);
        assert_eq!(service.receipts.len(), 2);
    });
}

#[test]
fn neither_a_consent_that_is_due_nor_another_lock_holds_the_dead_man() {
    let bench = Bench::new();
    for (n, id, reason) in [
        (0, "NRD-X3", LockReason::ConsentDue),
        (1, "NRD-X4", LockReason::Revoked),
    ] {
        let holder = bench.account(n);
        let mut tv = bench.device(id, 812 + n as u64);
        tv.boot(|service, agent| {
            activate(service, agent, holder, true);
            talk_later(service, agent);
            let statement = Statement {
                device_id: DeviceId::new(id).unwrap(),
                activation_id: ActivationId(bench.newest(n).id),
                nonce: nonce(agent),
                reason,
            };
            let s = signed(&bench.service.keys.session, &statement);
            agent.handle_reply(&checked_in(None, Some(&s))).unwrap();
            agent.platform().clock().advance_ms(24 * MONTH_MS);
            settle(agent).unwrap();
            assert!(agent.is_clean(), "the dead-man wiped it");
        });
    }
}
