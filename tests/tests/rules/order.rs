//! Which delegations and orders a device takes.

use nrd_agent::wire::{
    self, Answer, Delegation, KeyVersion, LockReason, MAX_FRAME, Order, OrderKind, OrderResult,
    OrderSeq, Reply, TrustVersion,
};
use nrd_agent::{Agent, Class, Config, Error, State};
use nrd_hal::layout::Layout;
use nrd_sim::base::sign::{keypair, public, signed};
use nrd_sim::device::StubService;
use nrd_sim::device::{AgentBuffers, ServiceEndpoint, TestBench, exchange, settle, talk};
use nrd_sim::hw::Board;

const DAY_MS: u64 = 24 * 3_600_000;
const ROOT: [u8; 32] = [1; 32];
const ORDERS: [u8; 32] = [2; 32];

/// An service whose delegation the test makes.
struct Service<'a> {
    service: &'a mut StubService,
    delegation: Vec<u8>,
}

impl ServiceEndpoint for Service<'_> {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let bytes = self.service.answer(request);
        let mut reply: Reply<'_> = wire::decode(&bytes).unwrap();
        reply.delegation = Some(&self.delegation);
        Some(frame(&reply))
    }
}

fn frame(reply: &Reply<'_>) -> Vec<u8> {
    let mut out = [0; MAX_FRAME];
    let n = wire::encode(reply, &mut out).unwrap();
    out[..n].to_vec()
}

/// The version of a delegation under the root that the firmware pins.
fn under_first_root(delegation: u32) -> TrustVersion {
    TrustVersion {
        root: 0,
        delegation,
    }
}

/// The delegation that every test begins with.
fn first(service: &StubService) -> Delegation {
    Delegation {
        version: under_first_root(5),
        order_key_version: KeyVersion(3),
        order_key: public(&keypair(&ORDERS)),
        ..wire::peek(service.delegation()).unwrap()
    }
}

fn by_root(d: &Delegation) -> Vec<u8> {
    signed(&keypair(&ROOT), d)
}

fn boot<T>(
    bench: &mut TestBench,
    then: impl FnOnce(&mut Service<'_>, &mut Agent<'_, Board>, &Delegation) -> T,
) -> T {
    let config = Config {
        service_root: public(&keypair(&ROOT)),
        ..bench.config()
    };
    let mut ram = AgentBuffers::default();
    let mut agent = Agent::new(bench.board(), config, ram.lend()).unwrap();
    settle(&mut agent).unwrap();
    let first = first(&bench.service);
    let mut service = Service {
        service: &mut bench.service,
        delegation: by_root(&first),
    };
    then(&mut service, &mut agent, &first)
}

fn active(seed: u64) -> TestBench {
    let mut bench = nrd_tests::test_bench(seed);
    boot(&mut bench, |service, agent, _| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        agent.put(Class::Email, 0, b"holder@example.org").unwrap();
    });
    bench
}

/// Offers a delegation in a reply that says nothing else; how many operations of
/// the flash that took.
fn offer(agent: &mut Agent<'_, Board>, delegation: &Delegation) -> u64 {
    if let Some(ms) = agent.next_due_ms() {
        agent.platform().clock().advance_ms(ms);
    }
    settle(agent).unwrap();
    agent.poll_request(&mut [0; MAX_FRAME]).unwrap().unwrap();
    let before = agent.platform().with_chip(|c| c.ops());
    let reply = frame(&Reply {
        challenge: [1; 32],
        root: None,
        delegation: Some(&by_root(delegation)),
        answer: Answer::CheckedIn {
            lease: None,
            statement: None,
            order: None,
            interval_s: 1,
        },
    });
    agent.handle_reply(&reply).unwrap();
    agent.platform().with_chip(|c| c.ops()) - before
}

fn order(service: &Service<'_>, agent: &mut Agent<'_, Board>, kind: OrderKind) -> Vec<u8> {
    signed(
        &keypair(&ORDERS),
        &Order {
            device_id: *agent.device_id(),
            epoch: agent.platform().with_chip(|c| c.counter()),
            activation_id: service.service.activation_id(),
            key_version: KeyVersion(3),
            seq: OrderSeq(1),
            kind,
        },
    )
}

fn apply(agent: &mut Agent<'_, Board>, order: &[u8]) -> Result<OrderResult, Error> {
    agent.apply_order(order, &mut [0; 192]).map(|(r, _)| r)
}

#[test]
fn a_delegation_that_brings_nothing_newer_is_not_written() {
    let mut bench = active(301);
    boot(&mut bench, |service, agent, first| {
        talk(service, agent).unwrap();
        assert_eq!(offer(agent, first), 0, "known already");
        let older = Delegation {
            version: under_first_root(4),
            ..*first
        };
        assert_eq!(offer(agent, &older), 0, "older, although no key falls");
        let falling = Delegation {
            version: under_first_root(6),
            order_key_version: KeyVersion(2),
            ..*first
        };
        assert_eq!(offer(agent, &falling), 0, "its order key falls");
        // None of them hinders what is good.
        let newer = Delegation {
            version: under_first_root(6),
            ..*first
        };
        assert!(offer(agent, &newer) > 0, "newer, under the same order key");
        assert_eq!(offer(agent, &newer), 0, "known now");
        let order = order(service, agent, OrderKind::Deactivate);
        assert_eq!(apply(agent, &order), Ok(OrderResult::Applied));
    });
}

#[test]
fn only_a_newer_version_of_time_moves_the_floor_of_wall_time() {
    let mut bench = active(302);
    boot(&mut bench, |service, agent, _| {
        agent.platform().clock().advance_ms(2 * DAY_MS);
        talk(service, agent).unwrap();
    });
    boot(&mut bench, |service, agent, first| {
        exchange(service, agent).unwrap();
        // The lease was issued at 1,800,000,000 and lasts 30 days.
        agent.platform().clock().set_wall_s(1_900_000_000);
        assert_eq!(agent.state(), State::Locked(LockReason::LeaseExpired));
        for (version, time_version, time_floor, then) in [
            (6, 2, 2_000_000_000, State::Active),
            (7, 2, 1, State::Active),
            (8, 1, 1, State::Active),
            (9, 3, 1, State::Locked(LockReason::LeaseExpired)),
        ] {
            let newer = Delegation {
                version: under_first_root(version),
                time_version,
                time_floor,
                ..*first
            };
            assert!(offer(agent, &newer) > 0);
            agent.platform().clock().set_wall_s(1_900_000_000);
            assert_eq!(agent.state(), then, "version {version}");
        }
    });
}

#[test]
fn a_delegation_that_rotted_is_taken_again_although_it_is_no_newer() {
    let mut bench = active(303);
    // Its record: length and class, id 3, salt generation 0.
    let len = by_root(&first(&bench.service)).len() as u8;
    let header = [len, 0, 3, 0, 0, 0];
    let mut chip = bench.hw.chip();
    let journal = Layout::plan(&chip.spec().geometry).unwrap().journal();
    let copies: Vec<u32> = (journal.start..journal.end)
        .filter(|&at| chip.cells()[at as usize..].starts_with(&header))
        .collect();
    assert!(!copies.is_empty());
    for at in copies {
        for byte in 20..24 {
            chip.rot(at + byte, 0xFF);
        }
    }
    drop(chip);
    boot(&mut bench, |service, agent, _| {
        let order = order(service, agent, OrderKind::SignOut);
        assert_eq!(apply(agent, &order), Err(Error::WrongState));
        talk(service, agent).unwrap();
        assert_eq!(apply(agent, &order), Ok(OrderResult::Applied));
    });
}

#[test]
fn a_person_can_sign_out_of_an_active_device_only() {
    let mut bench = active(304);
    boot(&mut bench, |_, agent, _| {
        agent.sign_out().unwrap();
        assert_eq!(agent.state(), State::SignedOut);
        let got = agent.get(Class::Email, 0, &mut [0; 64]);
        assert_eq!(got, Err(Error::WrongState));
        assert_eq!(agent.sign_out(), Err(Error::WrongState));
    });
    let mut bench = active(305);
    boot(&mut bench, |service, agent, _| {
        let order = order(service, agent, OrderKind::SignOut);
        agent.deactivate().unwrap();
        assert_eq!(agent.sign_out(), Err(Error::WrongState));
        assert_eq!(apply(agent, &order), Ok(OrderResult::NotApplicable));
        assert_eq!(agent.state(), State::Wiping);
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
        assert_eq!(agent.sign_out(), Err(Error::WrongState));
    });
}
