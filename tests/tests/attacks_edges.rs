//! Attacks at the edges of what a device does: calls that come too early, a stolen
//! session key, frames that do not verify. Numbered as in `docs/THREATS.md`;
//! against the real agent and the real service. The whole table of calls and
//! phases is in `agent/tests/calls/`.

use nrd_agent::lease::LeaseStatus;
use nrd_agent::wire::codec;
use nrd_agent::wire::storage::{CheckRefusal, DeviceMessage, VERSION};
use nrd_agent::wire::{
    self, Answer, Grant, Lease, LeaseTerms, LockReason, MAX_FRAME, Order, OrderKind, OrderResult,
    Reply, Request, Statement,
};
use nrd_agent::{Agent, Class, Error, State};
use nrd_sim::base::sign::{keypair, signed};
use nrd_sim::device::{AgentBuffers, ServiceEndpoint as _, settle};
use nrd_sim::hw::Board;
use nrd_sim::service::account::DeviceStatus;
use nrd_sim::world::InProcess;
use nrd_tests::bench::{Bench, Device, HOME, activate, talk_later};

const VALUE: &[u8] = b"alexandra@example.com";
const DAY_S: u32 = 24 * 3600;
const DAY_MS: u64 = 24 * 3_600_000;

fn active(bench: &Bench, id: &'static str, seed: u64) -> Device {
    let holder = bench.account(0);
    let mut tv = bench.device(id, seed);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent.put(Class::Email, 1, VALUE).unwrap();
        // The service hears that the grant arrived.
        talk_later(service, agent);
    });
    tv
}

fn status(bench: &Bench) -> DeviceStatus {
    bench.service.devices(bench.account(0)).unwrap()[0].status
}

fn checked_in<'a>(lease: Option<&'a [u8]>, statement: Option<&'a [u8]>) -> Answer<'a> {
    Answer::CheckedIn {
        lease,
        statement,
        order: None,
        interval_s: 60,
    }
}

fn reply(answer: Answer<'_>) -> Vec<u8> {
    let mut out = [0; MAX_FRAME];
    let reply = Reply {
        challenge: [1; 32],
        root: None,
        delegation: None,
        answer,
    };
    let n = wire::encode(&reply, &mut out).unwrap();
    out[..n].to_vec()
}

/// Asks what is due next; the nonce of the request.
fn asks(agent: &mut Agent<'_, Board>) -> [u8; 16] {
    let ms = agent.next_due_ms().expect("something to say");
    agent.platform().clock().advance_ms(ms);
    settle(agent).unwrap();
    let mut out = [0; MAX_FRAME];
    let n = agent.poll_request(&mut out).unwrap().expect("it is due");
    wire::peek::<Request<'_>>(&out[..n]).unwrap().nonce
}

/// Every byte that the device keeps, and its counter.
fn kept(agent: &mut Agent<'_, Board>) -> (Vec<u8>, u64) {
    let chip = |c: &mut nrd_sim::hw::Chip| (c.cells().to_vec(), c.counter());
    agent.platform().with_chip(chip)
}

/// The call in a phase where it has nothing to do: refused, and nothing is written.
fn refuses_the_rest(agent: &mut Agent<'_, Board>, with: Error) {
    let before = (kept(agent), agent.state());
    let mut out = [0; 64];
    assert_eq!(agent.start_activation(), Err(with));
    assert_eq!(agent.sign_out(), Err(with));
    assert_eq!(agent.put(Class::Email, 2, b"second"), Err(with));
    assert_eq!(agent.get(Class::Email, 1, &mut out), Err(with));
    assert_eq!(agent.remove(Class::Email, 1), Err(with));
    assert_eq!(agent.forget(Class::Email), Err(with));
    let proof = agent.prove_clean([9; 32], &mut [0; 640]);
    assert_eq!(proof, Err(with));
    let check = nrd_sim::device::say(agent, &[0, VERSION]);
    let reason = match with {
        Error::Busy => CheckRefusal::Busy,
        _ => CheckRefusal::NotClean,
    };
    let refused = DeviceMessage::Refused { reason };
    assert_eq!(codec::read(&check[0]), Some(refused));
    assert!(!agent.is_clean());
    assert_eq!((kept(agent), agent.state()), before, "nothing has changed");
}

/// A deactivation before the boot is done, at each of its steps; everything else
/// waits.
///
/// Found: it wiped nobody's activation, and the account page said "active" for
/// ever.
#[test]
fn attack_40_a_wipe_asked_for_during_the_boot_ends_the_activation_that_was_held() {
    let mut steps = 0;
    loop {
        let bench = Bench::new();
        let mut tv = active(&bench, "NRD-40A", 40);
        assert_eq!(status(&bench), DeviceStatus::Active);
        let booting = tv.power_on(|service, agent| {
            for _ in 0..steps {
                agent.step().unwrap();
            }
            if agent.state() != State::Booting {
                return false;
            }
            refuses_the_rest(agent, Error::Busy);
            agent.deactivate().unwrap();
            settle(agent).unwrap();
            assert!(agent.is_clean(), "step {steps}");
            talk_later(service, agent);
            true
        });
        if !booting {
            break;
        }
        assert_eq!(status(&bench), DeviceStatus::Wiped, "step {steps}");
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps of a boot");
}

/// Calls while a grant is stored, and while a wipe goes on, at each of their steps.
#[test]
fn attack_40_calls_while_a_grant_is_stored_or_a_wipe_goes_on_skip_nothing() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-40B", 41);
    tv.boot(|service, agent| {
        agent.start_activation().unwrap();
        let mut out = [0; MAX_FRAME];
        let mut approved = false;
        while let Some(n) = agent.poll_request(&mut out).unwrap() {
            let answer = service.answer(&out[..n]).unwrap();
            agent.handle_reply(&answer).unwrap();
            if let (Some((code, _)), false) = (agent.status().code, approved) {
                let row = service.look_up_code(holder, &code).unwrap();
                service.approve(holder, &row, 1, true, HOME).unwrap();
                approved = true;
            }
        }
        let mut storing = 0;
        while agent.state() == State::Activating {
            refuses_the_rest(agent, Error::WrongState);
            agent.step().unwrap();
            storing += 1;
        }
        assert!(storing > 3, "{storing} steps to store a grant");
        assert_eq!(agent.state(), State::Active);
        agent.put(Class::Email, 1, VALUE).unwrap();
        talk_later(service, agent);
    });
    assert_eq!(status(&bench), DeviceStatus::Active);
    tv.boot(|service, agent| {
        agent.deactivate().unwrap();
        let mut wiping = 0;
        while agent.state() == State::Wiping {
            refuses_the_rest(agent, Error::WrongState);
            // Asked for again it is the same wipe.
            agent.deactivate().unwrap();
            agent.step().unwrap();
            wiping += 1;
        }
        assert!(wiping > 5, "{wiping} steps of a wipe");
        assert!(agent.is_clean());
        assert_eq!(agent.status().receipts, 1);
        talk_later(service, agent);
    });
    assert_eq!(status(&bench), DeviceStatus::Wiped);
}

/// With the session key, a thief signs leases with any terms. Those between which
/// the root's delegation holds them are of `Settings::default`: open for at least a
/// day and at most 60, at least 50 boots, the dead-man 30 days after the end.
#[test]
fn attack_42_terms_of_a_stolen_session_key_are_held_between_the_roots_bounds() {
    let hostile = [
        // As short as can be: a wipe within seconds, where it is believed.
        LeaseTerms {
            renew_after_s: 0,
            expires_after_s: 0,
            max_boots: 0,
            dead_man_s: 1,
        },
        // Open for ever, and never wiped.
        LeaseTerms {
            renew_after_s: u32::MAX,
            expires_after_s: u32::MAX,
            max_boots: u16::MAX,
            dead_man_s: 0,
        },
        // Sums that overflow.
        LeaseTerms {
            renew_after_s: u32::MAX,
            expires_after_s: u32::MAX,
            max_boots: 0,
            dead_man_s: u32::MAX,
        },
    ];
    let open_s = [DAY_S, 60 * DAY_S, 60 * DAY_S];
    for ((n, id), terms) in (42..).zip(["NRD-42A", "NRD-42B", "NRD-42C"]).zip(hostile) {
        let bench = Bench::new();
        let mut tv = active(&bench, id, n);
        let activation = wire::ActivationId(bench.newest(0).id);
        let expires_after_s = open_s[n as usize - 42];
        tv.boot(|_, agent| {
            agent.platform().clock().advance_ms(2 * DAY_MS);
            let nonce = loop {
                // The first request of a boot introduces the device.
                let nonce = asks(agent);
                if agent.handle_reply(&reply(Answer::Welcome)).is_err() {
                    break asks(agent);
                }
                assert_ne!(nonce, [0; 16]);
            };
            let lease = Lease {
                device_id: *agent.device_id(),
                activation_id: activation,
                nonce,
                issued_at: bench.service.now_s(),
                terms,
                policy: wire::PolicyVersion(1),
                next: None,
            };
            let lease = signed(&bench.service.keys.session, &lease);
            agent
                .handle_reply(&reply(checked_in(Some(&lease), None)))
                .unwrap();
            settle(agent).unwrap();
            let Some(LeaseStatus::Open { left_s, .. }) = agent.status().lease else {
                panic!("{terms:?}: {:?}", agent.status());
            };
            assert_eq!(left_s, expires_after_s, "{terms:?}");
            let ms = |s: u32| u64::from(s) * 1000;
            agent.platform().clock().advance_ms(ms(expires_after_s - 1));
            settle(agent).unwrap();
            assert_eq!(agent.state(), State::Active, "{terms:?}");
            // Closed at the end of its life, and destroyed no sooner than the root
            // allows.
            agent.platform().clock().advance_ms(2000);
            settle(agent).unwrap();
            let closed = State::Locked(LockReason::LeaseExpired);
            assert_eq!(agent.state(), closed, "{terms:?}");
            agent.platform().clock().advance_ms(ms(30 * DAY_S - 3600));
            settle(agent).unwrap();
            assert_eq!(agent.state(), closed, "{terms:?}");
        });
        // Nothing was destroyed: a good lease opens it again.
        tv.boot(|service, agent| {
            talk_later(service, agent);
            talk_later(service, agent);
            assert_eq!(agent.state(), State::Active);
            assert!(agent.display_name(&mut [0; 64]).is_ok(), "{terms:?}");
        });
    }
}

/// Boots close, as many as the root allows; they never destroy.
#[test]
fn attack_42_a_lease_of_a_stolen_session_key_allows_the_boots_of_the_root() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-42D", 45);
    tv.boot(|service, agent| {
        agent.start_activation().unwrap();
        let mut out = [0; MAX_FRAME];
        // The thief answers the poll.
        loop {
            let n = agent.poll_request(&mut out).unwrap().expect("it is due");
            let request: Request<'_> = wire::peek(&out[..n]).unwrap();
            if let wire::Ask::ActivatePoll {
                activation_id,
                epoch,
            } = request.ask
            {
                let grant = Grant {
                    device_id: request.device_id,
                    activation_id,
                    epoch,
                    series: wire::Series([3; 16]),
                    token: wire::TokenSecret([4; 32]),
                    remember: true,
                    policy: wire::PolicyVersion(1),
                    display_name: "Robin".try_into().unwrap(),
                    terms: LeaseTerms {
                        renew_after_s: 0,
                        expires_after_s: u32::MAX,
                        max_boots: 0,
                        dead_man_s: 1,
                    },
                };
                let grant = signed(&bench.service.keys.session, &grant);
                agent
                    .handle_reply(&reply(Answer::Granted { grant: &grant }))
                    .unwrap();
                break;
            }
            let answer = service.answer(&out[..n]).unwrap();
            agent.handle_reply(&answer).unwrap();
        }
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    for boot in 1..=60 {
        let closed = State::Locked(LockReason::LeaseExpired);
        let then = if boot <= 50 { State::Active } else { closed };
        tv.boot(|_, agent| assert_eq!(agent.state(), then, "boot {boot}"));
    }
    assert!(bench.service.devices(holder).unwrap().is_empty());
}

/// What does not verify, over any channel, gets no signed answer and leaves every
/// byte of the device as it was.
///
/// Found: a frame with a garbage signature and another key version got an answer
/// signed by the device.
#[test]
fn attack_46_a_frame_that_does_not_verify_gets_no_signed_answer_and_changes_nothing() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-46", 46);
    let activation_id = wire::ActivationId(bench.newest(0).id);
    let order = |key_version: u32, seq| Order {
        device_id: wire::DeviceId::new("NRD-46").unwrap(),
        epoch: 0,
        activation_id,
        key_version: wire::KeyVersion(key_version),
        seq: wire::OrderSeq(seq),
        kind: OrderKind::Deactivate,
    };
    let real = |version| bench.service.keys.order(wire::KeyVersion(version));
    let thief = keypair(&[46; 32]);
    let mut frames: Vec<(String, Vec<u8>, Error)> = Vec::new();
    for version in [0, 2, 3, u32::MAX] {
        // Garbage, and even what the key of that version would sign.
        frames.push((
            format!("garbage under version {version}"),
            signed(&thief, &order(version, 1)),
            Error::KeyRetired,
        ));
        frames.push((
            format!("signed under version {version}"),
            signed(&real(version), &order(version, 1)),
            Error::KeyRetired,
        ));
    }
    let good = signed(&real(1), &order(1, 1));
    let foreign = signed(&thief, &order(1, 1));
    frames.push(("another's key".into(), foreign, Error::BadSignature));
    let session = signed(&bench.service.keys.session, &order(1, 1));
    frames.push(("the session key's".into(), session, Error::BadSignature));
    let statement = Statement {
        device_id: wire::DeviceId::new("NRD-46").unwrap(),
        activation_id,
        nonce: [0; 16],
        reason: LockReason::Revoked,
    };
    let statement = signed(&real(1), &statement);
    frames.push(("another object".into(), statement, Error::WrongType));
    for at in good.len() - 64..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        frames.push((format!("signature byte {at}"), bad, Error::BadSignature));
    }
    tv.boot(|service, agent| {
        // Over USB or a broker.
        for (what, frame, error) in &frames {
            let before = (kept(agent), agent.status());
            let mut out = [0xA5; 192];
            assert_eq!(agent.apply_order(frame, &mut out), Err(*error), "{what}");
            assert_eq!(out, [0xA5; 192], "{what}: something was written");
            assert_eq!((kept(agent), agent.status()), before, "{what}");
        }
        // In a reply: the next request is no outcome.
        for (what, frame, error) in frames.iter().take(10) {
            no_outcome_follows(service, agent, what, frame, *error);
        }
        assert_eq!(agent.get(Class::Email, 1, &mut [0; 64]), Ok(VALUE.len()));
        // The good one is still good.
        let (result, n) = agent.apply_order(&good, &mut [0; 192]).unwrap();
        assert!(n > 64);
        assert_eq!(result, OrderResult::Applied);
    });
}

fn no_outcome_follows(
    service: &mut InProcess,
    agent: &mut Agent<'_, Board>,
    what: &str,
    frame: &[u8],
    error: Error,
) {
    talk_later(service, agent);
    asks(agent);
    let before = kept(agent);
    let order = Answer::CheckedIn {
        lease: None,
        statement: None,
        order: Some(frame),
        interval_s: 1,
    };
    assert_eq!(agent.handle_reply(&reply(order)), Err(error), "{what}");
    assert_eq!(kept(agent), before, "{what}");
    assert_eq!(agent.state(), State::Active, "{what}");
    agent.try_again();
    let mut out = [0; MAX_FRAME];
    let n = agent.poll_request(&mut out).unwrap().expect("it is due");
    let ask = wire::peek::<Request<'_>>(&out[..n]).unwrap().ask;
    assert!(!matches!(ask, wire::Ask::Outcome { .. }), "{what}");
    agent.exchange_failed();
}

/// A boot from its first step, for calls that come too early.
trait PowerOn {
    fn power_on<T>(&mut self, then: impl FnOnce(&mut InProcess, &mut Agent<'_, Board>) -> T) -> T;
}

impl PowerOn for Device {
    fn power_on<T>(&mut self, then: impl FnOnce(&mut InProcess, &mut Agent<'_, Board>) -> T) -> T {
        self.draws += 1;
        let maker = self.service.keys.maker();
        let board = Board::new(&self.hw, self.root, self.draws, maker, self.id, self.kind);
        let config = nrd_agent::Config {
            root_version: 0,
            service_root: self.service.keys.root_public(),
            factory_epoch: 0,
            wait_s: 0,
        };
        let mut ram = AgentBuffers::default();
        let mut agent = Agent::new(board.unwrap(), config, ram.lend()).unwrap();
        then(&mut InProcess(self.service.clone()), &mut agent)
    }
}
