//! The run loop: what a host is told to do, and how often failed work is tried
//! again. The host here is the smallest one: it does what it is told, and its
//! clock moves only while it sleeps.

use nrd_agent::agent::run::{LONGEST_PAUSE_MS, RETRIES_AT_ONCE};
use nrd_agent::lease::LeaseStatus;
use nrd_agent::wire::{LockReason, MAX_FRAME};
use nrd_agent::{Agent, Config, Error, Next, State};
use nrd_hal::Clock as _;
use nrd_sim::device::StubService;
use nrd_sim::device::{AgentBuffers, TestBench, talk};
use nrd_sim::hw::{Board, VirtualRng, Worn};

type Device<'a> = Agent<'a, Board>;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

fn uptime(agent: &mut Device<'_>) -> u64 {
    agent.platform().clock().uptime_ms()
}

/// What a host was told.
#[derive(Default)]
struct Told {
    again: usize,
    posts: Vec<u64>,
    waits: Vec<u64>,
    resets: usize,
}

/// Does what the agent says until its uptime is `until_ms`, or `enough`. With
/// no service, no reply ever comes.
fn run(
    agent: &mut Device<'_>,
    mut service: Option<&mut StubService>,
    until_ms: u64,
    mut enough: impl FnMut(&mut Device<'_>) -> bool,
) -> Told {
    let mut told = Told::default();
    let mut request = [0; MAX_FRAME];
    while !enough(agent) {
        let now = uptime(agent);
        match agent.poll(&mut request) {
            Next::Again => told.again += 1,
            Next::Post(n) => {
                told.posts.push(now);
                match &mut service {
                    Some(service) => {
                        let reply = service.answer(&request[..n]);
                        #[expect(
                            clippy::let_underscore_must_use,
                            reason = "a refused reply shows in the state below"
                        )]
                        let _ = agent.handle_reply(&reply);
                    }
                    None => agent.exchange_failed(),
                }
            }
            Next::WaitUntil(at) => {
                let at = at.unwrap_or(u64::MAX);
                assert!(at > now, "a sleep until {at}, at {now}");
                told.waits.push(at);
                if at >= until_ms {
                    return told;
                }
                agent.platform().clock().advance_ms(at - now);
            }
            Next::Reset => told.resets += 1,
        }
        assert!(told.again + told.posts.len() < 20_000, "it comes to rest");
    }
    told
}

/// Runs until there is nothing to do now.
fn rest(agent: &mut Device<'_>, service: &mut StubService) -> Told {
    let now = uptime(agent);
    run(agent, Some(service), now, |_| false)
}

fn active(seed: u64) -> TestBench {
    let mut bench = nrd_tests::test_bench(seed);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    bench
}

#[test]
fn a_host_that_does_what_it_is_told_activates_and_wipes() {
    let mut bench = nrd_tests::test_bench(1001);
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
    let service = &mut bench.service;
    assert_eq!(agent.state(), State::Booting);
    let told = rest(&mut agent, service);
    assert_eq!(agent.state(), State::Clean);
    assert!(told.again > 0, "the boot takes steps");
    assert_eq!(told.posts.len(), 0, "nothing to say");
    assert_eq!(told.waits, [840_000], "powered time is charged then");

    agent.start_activation().unwrap();
    rest(&mut agent, service);
    assert_eq!(agent.state(), State::Active);

    agent.deactivate().unwrap();
    let told = rest(&mut agent, service);
    assert_eq!(agent.state(), State::Clean);
    assert_eq!(told.resets, 1);
    assert_eq!(service.receipts.len(), 1, "its receipt is delivered");
    assert_eq!(agent.status().fault, None);
}

#[test]
fn a_sleep_ends_when_powered_time_is_to_be_charged() {
    let mut bench = active(1002);
    bench.boot(|service, agent| {
        rest(agent, service);
        let now = uptime(agent);
        let told = run(agent, Some(service), now + 59 * MINUTE_MS, |_| false);
        // As long as the boot has lasted, 15 minutes at least, and a minute before
        // that is used up.
        let charges = [14, 28, 55].map(|m| m * MINUTE_MS);
        assert!(told.waits.starts_with(&charges), "{:?}", told.waits);
        assert!(told.posts.is_empty(), "the next check-in is in an hour");
    });
}

#[test]
fn a_sleep_ends_when_the_lease_does() {
    let mut bench = nrd_tests::test_bench(1003);
    bench.boot(|service, agent| {
        // So that the lease does not end when powered time is charged anyway.
        agent.platform().clock().advance_ms(137_000);
        agent.start_activation().unwrap();
        rest(agent, service);
        let Some(LeaseStatus::Open { left_s, .. }) = agent.status().lease else {
            panic!("not open");
        };
        let end = uptime(agent) + u64::from(left_s) * 1000;
        run(agent, None, u64::MAX, |a| a.state() != State::Active);
        assert_eq!(agent.state(), State::Locked(LockReason::LeaseExpired));
        assert!(uptime(agent) <= end + 1000, "{} of {end}", uptime(agent));
    });
}

#[test]
fn a_step_that_fails_for_ever_backs_off_and_the_conversation_goes_on() {
    let mut bench = active(1004);
    bench.boot(|service, agent| {
        rest(agent, service);
        // The flash loses its supply; the processor goes on.
        agent.platform().with_chip(|c| c.power_off());
        let start = uptime(agent) + 15 * MINUTE_MS;
        let told = run(agent, Some(service), start + 3 * HOUR_MS, |_| false);
        assert!(agent.status().fault.is_some());
        assert_eq!(told.again, usize::from(RETRIES_AT_ONCE), "then with pauses");
        let pauses: Vec<u64> = told.waits.windows(2).map(|w| w[1] - w[0]).collect();
        assert_eq!(pauses[..4], [250, 500, 1_000, 2_000]);
        assert!(pauses.iter().all(|&p| p <= u64::from(LONGEST_PAUSE_MS)));
        assert!((180..240).contains(&pauses.len()), "{}", pauses.len());
        assert!(!told.posts.is_empty(), "the check-in of every hour");

        // A wipe does not wait for the pause of other work.
        agent.platform().with_chip(|c| c.power_on(1));
        agent.deactivate().unwrap();
        assert_eq!(agent.work_fault(), None);
        assert_eq!(agent.poll(&mut [0; MAX_FRAME]), Next::Again);
    });
}

#[test]
fn a_boot_that_fails_goes_on_when_the_part_answers_again() {
    let mut bench = active(1005);
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
    agent.platform().with_chip(|c| c.power_off());
    let told = run(&mut agent, None, HOUR_MS, |_| false);
    let silent = State::Locked(LockReason::NotAnswering);
    assert_eq!(agent.state(), silent);
    assert_eq!(agent.status().fault, Some(Error::Hardware));
    assert_eq!(told.again, 1 + usize::from(RETRIES_AT_ONCE));

    agent.platform().with_chip(|c| c.power_on(1));
    let until = uptime(&mut agent) + u64::from(LONGEST_PAUSE_MS) + 1;
    run(&mut agent, None, until, |a| a.state() == State::Active);
    assert_eq!(agent.state(), State::Active);
    assert_eq!(agent.status().fault, None, "progress clears it");
}

#[test]
fn a_generator_that_answers_nothing_backs_off() {
    let mut bench = active(1006);
    bench.boot(|service, agent| {
        agent.platform().set_rng(VirtualRng::mute());
        let told = run(agent, Some(service), HOUR_MS, |_| false);
        assert_eq!(agent.status().fault, Some(Error::RandomGenerator));
        assert!(told.posts.is_empty());
        // 2 s, 4 s, … 15 min, and the charges in between.
        assert!((9..20).contains(&told.waits.len()), "{:?}", told.waits);

        agent.platform().set_rng(VirtualRng::new(1));
        run(agent, Some(service), 2 * HOUR_MS, |a| {
            a.status().fault.is_none()
        });
        assert_eq!(agent.status().fault, None, "a reply was taken");
    });
}

#[test]
fn a_reply_that_is_refused_backs_off_and_is_shown() {
    let mut bench = active(1007);
    bench.boot(|_, agent| {
        let mut request = [0; MAX_FRAME];
        let mut tries = 0;
        while uptime(agent) < HOUR_MS {
            match agent.poll(&mut request) {
                Next::Post(_) => {
                    tries += 1;
                    agent.handle_reply(b"no frame").unwrap_err();
                    assert_eq!(agent.status().fault, Some(Error::WrongType));
                }
                Next::WaitUntil(Some(at)) => {
                    let now = uptime(agent);
                    agent.platform().clock().advance_ms(at - now);
                }
                Next::Again => {}
                other => panic!("{other:?}"),
            }
        }
        assert!((5..40).contains(&tries), "{tries}");
    });
}

#[test]
fn a_grant_that_cannot_be_stored_is_asked_for_with_pauses() {
    let mut bench = nrd_tests::test_bench(1008);
    let slots = {
        let geometry = bench.hw.chip().spec().geometry;
        let layout = nrd_hal::layout::Layout::plan(&geometry).unwrap();
        layout.slot_start..layout.slot_start + 2 * layout.slot_size
    };
    bench.boot(|service, agent| {
        let wear = |c: &mut nrd_sim::hw::Chip| {
            c.defects().wear_out(slots, Worn::Fails, true, 0);
        };
        agent.platform().with_chip(wear);
        agent.start_activation().unwrap();
        let told = run(agent, Some(service), HOUR_MS, |_| false);
        assert_eq!(agent.state(), State::Activating);
        assert!((8..60).contains(&told.posts.len()), "{}", told.posts.len());
    });
}

#[test]
fn a_request_in_flight_is_waited_for_a_minute() {
    let mut bench = active(1009);
    bench.boot(|_, agent| {
        let mut request = [0; MAX_FRAME];
        assert!(matches!(agent.poll(&mut request), Next::Post(_)));
        let posted = uptime(agent);
        while uptime(agent) < posted + MINUTE_MS {
            match agent.poll(&mut request) {
                Next::WaitUntil(Some(at)) => {
                    let now = uptime(agent);
                    assert!(at > now);
                    agent.platform().clock().advance_ms(at - now);
                }
                Next::Again => {}
                other => panic!("{other:?}"),
            }
        }
        // Then it has failed: a reply that comes after all is none.
        assert!(matches!(agent.poll(&mut request), Next::WaitUntil(Some(_))));
        assert_eq!(agent.handle_reply(b"late"), Err(Error::WrongState));
        let until = uptime(agent) + HOUR_MS;
        let told = run(agent, None, until, |_| false);
        assert!(!told.posts.is_empty(), "then it asks again");
    });
}

#[test]
fn a_request_that_may_wait_for_an_order_is_waited_for_as_much_longer() {
    for wait_s in [0, 50, 600] {
        let mut bench = active(1011);
        let config = Config {
            wait_s,
            ..bench.config()
        };
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(bench.board(), config, ram.lend()).unwrap();
        let poll = |agent: &mut Device<'_>| loop {
            match agent.poll(&mut [0; MAX_FRAME]) {
                Next::Again => {}
                next => return next,
            }
        };
        assert!(matches!(poll(&mut agent), Next::Post(_)));
        let ends = uptime(&mut agent) + MINUTE_MS + 1000 * u64::from(wait_s);
        assert_eq!(poll(&mut agent), Next::WaitUntil(Some(ends)), "{wait_s} s");
    }
}

#[test]
fn the_first_contact_can_be_spread_before_the_first_poll() {
    let mut bench = active(1010);
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(bench.board(), bench.config(), ram.lend()).unwrap();
    agent.spread_first_contact(600);
    let told = run(&mut agent, None, 1, |_| false);
    assert_eq!(
        agent.state(),
        State::Active,
        "the boot itself is not held up"
    );
    assert!(told.posts.is_empty(), "the first contact is");
    let told = run(&mut agent, None, 20 * MINUTE_MS, |_| false);
    assert!(!told.posts.is_empty());
}
