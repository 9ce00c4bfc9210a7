//! Attacks on the real agent, numbered as in `docs/THREATS.md`.

use nrd_agent::wire::{ActivationId, OrderKind, OrderResult};
use nrd_agent::{Agent, Class, Error, State};
use nrd_sim::device::StubService;
use nrd_sim::device::{TestBench, settle, talk};
use nrd_sim::hw::Board;
use nrd_tests::test_bench;

const SECRET: &[u8] = b"holder@example.org";

fn activate(bench: &mut TestBench) {
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        agent.put(Class::Email, 0, SECRET).unwrap();
    });
}

fn order_now(service: &StubService, agent: &mut Agent<'_, Board>, kind: OrderKind) -> Vec<u8> {
    let epoch = agent.platform().with_chip(|c| c.counter());
    service.order(agent.device_id(), epoch, service.activation_id(), 1, kind)
}

fn apply(agent: &mut Agent<'_, Board>, order: &[u8]) -> Result<OrderResult, Error> {
    let mut out = [0; 192];
    agent.apply_order(order, &mut out).map(|(r, _)| r)
}

#[test]
fn attack_01_a_replayed_order_has_no_effect() {
    let mut bench = test_bench(1);
    activate(&mut bench);
    let order = bench.boot(|service, agent| {
        let order = order_now(service, agent, OrderKind::Deactivate);
        assert_eq!(apply(agent, &order), Ok(OrderResult::Applied));
        assert_eq!(apply(agent, &order), Ok(OrderResult::AlreadyApplied));
        settle(agent).unwrap();
        assert_eq!(apply(agent, &order), Ok(OrderResult::AlreadyApplied));
        order
    });
    bench.boot(|_, agent| {
        assert_eq!(apply(agent, &order), Ok(OrderResult::AlreadyApplied));
        assert_eq!(agent.state(), State::Clean);
    });
}

#[test]
fn attack_02_an_order_for_a_former_owner_never_touches_the_next() {
    let mut bench = test_bench(2);
    activate(&mut bench);
    let late = bench.boot(|service, agent| {
        let late = order_now(service, agent, OrderKind::Deactivate);
        agent.deactivate().unwrap();
        talk(service, agent).unwrap();
        late
    });
    activate(&mut bench);
    bench.boot(|_, agent| {
        assert_eq!(apply(agent, &late), Ok(OrderResult::NotApplicable));
        assert_eq!(agent.state(), State::Active);
        let mut out = [0; 64];
        assert_eq!(agent.get(Class::Email, 0, &mut out), Ok(SECRET.len()));
    });
}

#[test]
fn attack_03_withheld_orders_end_in_a_closed_session_and_then_a_wipe() {
    let mut bench = test_bench(3);
    activate(&mut bench);
    let day = 24 * 3_600_000;
    bench.boot(|_, agent| {
        agent.platform().clock().advance_ms(31 * day);
        settle(agent).unwrap();
        assert!(matches!(agent.state(), State::Locked(_)));
        assert_eq!(
            agent.get(Class::Email, 0, &mut [0; 64]),
            Err(Error::WrongState)
        );
    });
    bench.boot(|_, agent| {
        assert!(matches!(agent.state(), State::Locked(_)));
        agent.platform().clock().advance_ms(91 * day);
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
    });
}

#[test]
fn attack_08_a_flash_image_put_back_after_the_wipe_opens_nothing() {
    let mut bench = test_bench(8);
    activate(&mut bench);
    let image = bench.hw.chip().cells().to_vec();
    bench.boot(|_, agent| {
        assert_eq!(agent.state(), State::Active);
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
    });
    bench.hw.chip().restore_image(&image);
    bench.boot(|_, agent| {
        assert_eq!(agent.state(), State::Clean, "the wipe is done again");
        assert!(agent.is_clean());
    });
}

#[test]
fn attack_10_an_image_opens_nothing_on_another_device() {
    let mut bench = test_bench(10);
    activate(&mut bench);
    bench.root = [0xA5; 32];
    bench.boot(|_, agent| {
        assert_ne!(agent.state(), State::Active);
        assert_eq!(
            agent.get(Class::Email, 0, &mut [0; 64]),
            Err(Error::WrongState)
        );
    });
}

#[test]
fn attack_15_a_lost_answer_to_a_renewal_is_not_theft() {
    let mut bench = test_bench(15);
    activate(&mut bench);
    for _ in 0..3 {
        bench.boot(|service, agent| {
            agent.platform().clock().advance_ms(25 * 3_600_000);
            // The service answers; the answer never arrives.
            let mut out = [0; nrd_agent::wire::MAX_FRAME];
            while let Ok(Some(n)) = agent.poll_request(&mut out) {
                let reply = service.answer(&out[..n]);
                if agent.next_due_ms() == Some(0) && n > 300 {
                    agent.handle_reply(&reply).unwrap();
                } else {
                    agent.exchange_failed();
                    break;
                }
            }
        });
    }
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
}

#[test]
fn attack_22_a_wipe_needs_no_network_and_its_receipt_arrives_later() {
    let mut bench = test_bench(22);
    activate(&mut bench);
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
        assert_eq!(agent.status().receipts, 1);
    });
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        assert_eq!(agent.status().receipts, 0);
        assert_eq!(service.receipts.len(), 1);
    });
}

#[test]
fn attack_25_a_stuck_generator_is_refused_for_activation() {
    let mut bench = test_bench(25);
    bench.boot(|_, agent| {
        agent.platform().set_rng(nrd_sim::hw::VirtualRng::stuck());
        assert_eq!(agent.start_activation(), Err(Error::RandomGenerator));
        assert_eq!(agent.state(), State::Clean);
    });
}

#[test]
fn attack_31_an_order_for_an_abandoned_attempt_is_not_applicable() {
    let mut bench = test_bench(31);
    activate(&mut bench);
    bench.boot(|service, agent| {
        let epoch = agent.platform().with_chip(|c| c.counter());
        let order = service.order(
            agent.device_id(),
            epoch,
            ActivationId([9; 16]),
            1,
            OrderKind::Deactivate,
        );
        assert_eq!(apply(agent, &order), Ok(OrderResult::NotApplicable));
        assert_eq!(agent.state(), State::Active);
    });
}

#[test]
fn attack_34_an_erased_journal_is_locked_and_never_fresh() {
    let mut bench = test_bench(34);
    activate(&mut bench);
    let mut image = bench.hw.chip().cells().to_vec();
    let layout = nrd_hal::layout::Layout::plan(&bench.hw.chip().spec().geometry).unwrap();
    let journal = layout.journal();
    image[journal.start as usize..journal.end as usize].fill(0xFF);
    bench.hw.chip().restore_image(&image);
    bench.boot(|_, agent| {
        assert!(matches!(agent.state(), State::Locked(_)));
        assert_eq!(agent.start_activation(), Err(Error::WrongState));
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean, "a local wipe still works");
    });
}

#[test]
fn attack_36_early_power_cuts_do_not_stop_powered_time() {
    let mut bench = test_bench(36);
    activate(&mut bench);
    // Cut a second after every boot: each costs a full charge.
    let boots = 31 * 24 * 3600 / nrd_agent::agent::CHARGE_S;
    for _ in 0..boots {
        bench.boot(|_, agent| agent.platform().clock().advance_ms(1000));
    }
    bench.boot(|_, agent| assert!(matches!(agent.state(), State::Locked(_))));
}

#[test]
fn an_order_that_does_not_verify_changes_nothing() {
    let mut bench = test_bench(40);
    activate(&mut bench);
    bench.boot(|service, agent| {
        let good = order_now(service, agent, OrderKind::Deactivate);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(apply(agent, &bad).is_err(), "byte {at}");
        }
        for n in 0..good.len() {
            assert!(apply(agent, &good[..n]).is_err());
        }
        assert_eq!(agent.state(), State::Active);
    });
}

#[test]
fn a_returns_desk_gets_a_proof_of_a_clean_device_alone() {
    let mut bench = test_bench(41);
    activate(&mut bench);
    bench.boot(|_, agent| {
        let mut out = [0; 1024];
        assert_eq!(agent.prove_clean([7; 32], &mut out), Err(Error::WrongState));
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert!(agent.prove_clean([7; 32], &mut out).is_ok());
    });
}

/// However much room the records leave: parts of every write size, device ids
/// of many lengths.
#[test]
fn a_tombstone_always_finds_room_however_full_the_journal() {
    const ID: &str = "NRD-0123456789-ABCDEFGHIJKLMNOPQ";
    let mut stuck = 0;
    for unit in [1, 4, 16, 32, 64, 128, 256] {
        for len in (1..=ID.len()).step_by(2) {
            // A sector is at least 16 write units (SPEC §2).
            let erase = if unit == 256 { 4096 } else { 2048 };
            let chip = nrd_sim::hw::Chip::new(nrd_tests::part(unit, erase, 9), 51);
            let mut bench = TestBench::new(nrd_sim::hw::Hardware::new(chip), 51);
            bench.call_it(&ID[..len]);
            activate(&mut bench);
            for n in 0..6 {
                bench.boot(|_, agent| {
                    agent.deactivate().unwrap();
                    let rest = settle(agent);
                    let state = agent.state();
                    let wedged = (rest, state) != (Ok(()), State::Clean);
                    if wedged {
                        println!("write size {unit}, id of {len}, wipe {n}: {state:?}");
                        stuck += 1;
                    }
                });
            }
            bench.boot(|service, agent| {
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "refused or not: what is asked for comes below"
                )]
                let _ = talk(service, agent);
                for frame in &service.receipts {
                    let r: nrd_agent::wire::Receipt<'_> = nrd_agent::wire::peek(frame).unwrap();
                    assert!(
                        !r.flags.tombstone_failed,
                        "write size {unit}, id of {len}: no room for a tombstone"
                    );
                }
            });
        }
    }
    assert_eq!(stuck, 0, "wipes that did not end");
}

#[test]
fn wipe_after_wipe_without_a_network_ends_clean_on_the_smallest_journal() {
    for sectors in [9, 10, 12] {
        let chip = nrd_sim::hw::Chip::new(nrd_tests::part(4, 2048, sectors), 50);
        let mut bench = TestBench::new(nrd_sim::hw::Hardware::new(chip), 50);
        activate(&mut bench);
        for n in 0..7 {
            bench.boot(|_, agent| {
                agent.deactivate().unwrap();
                settle(agent).unwrap();
                assert_eq!(agent.state(), State::Clean, "{sectors} sectors, wipe {n}");
            });
        }
        // The newest receipts are delivered, and the next owner is welcome.
        bench.boot(|service, agent| {
            talk(service, agent).unwrap();
            assert!(!service.receipts.is_empty());
            for frame in &service.receipts {
                let r: nrd_agent::wire::Receipt<'_> = nrd_agent::wire::peek(frame).unwrap();
                assert!(
                    !r.flags.tombstone_failed,
                    "{sectors} sectors: no room for a tombstone"
                );
            }
        });
        activate(&mut bench);
    }
}
