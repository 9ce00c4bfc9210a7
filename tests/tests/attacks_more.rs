//! The rest of the numbered attacks, and that none of the numbers is missing.

use nrd_agent::wire::{OrderKind, OrderResult, OrderSeq};
use nrd_agent::{Class, Error, State, wire};
use nrd_sim::base::sign::signed;
use nrd_sim::device::{Stop, TestBench, settle, talk};
use nrd_sim::explorer::{NAMED, Options, explore};
use nrd_sim::forensics::verify::verify;
use nrd_sim::hw::{Chip, FaultMode, Hardware, PlannedFault};
use nrd_tests::bench::{Bench, activate, talk_later};
use std::collections::BTreeSet;

const VALUE: &[u8] = b"holder@example.org";

fn active(bench: &mut TestBench) {
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        agent.put(Class::Email, 0, VALUE).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
}

#[test]
fn attack_04_a_sequence_run_up_by_a_stolen_key_does_not_block_the_next_key() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-04", 4);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let id = bench.newest(0).id;
    let order = |version: u32, seq: u64| {
        signed(
            &bench.service.keys.order(wire::KeyVersion(version)),
            &wire::Order {
                device_id: wire::DeviceId::new("NRD-04").unwrap(),
                epoch: 0,
                activation_id: wire::ActivationId(id),
                key_version: wire::KeyVersion(version),
                seq: OrderSeq(seq),
                kind: OrderKind::SignOut,
            },
        )
    };
    let mut apply = |order: Vec<u8>| {
        tv.boot(|_, agent| agent.apply_order(&order, &mut [0; 192]).map(|(r, _)| r))
    };
    assert_eq!(apply(order(1, u64::MAX)), Ok(OrderResult::Applied));
    assert_eq!(apply(order(1, 7)), Ok(OrderResult::Stale));
    bench.service.rotate_order_key().unwrap();
    tv.boot(talk_later);
    let mut apply = |order: Vec<u8>| {
        tv.boot(|_, agent| agent.apply_order(&order, &mut [0; 192]).map(|(r, _)| r))
    };
    assert_eq!(apply(order(1, u64::MAX)), Err(Error::KeyRetired));
    assert_eq!(apply(order(2, 1)), Ok(OrderResult::Applied));
}

#[test]
fn attack_17_a_wall_clock_closes_access_on_time_and_never_wipes() {
    const DAY_MS: u64 = 24 * 3_600_000;
    for wall in [None, Some(1), Some(1_800_000_000), Some(u64::MAX / 2)] {
        let mut bench = nrd_tests::test_bench(17);
        active(&mut bench);
        // The service's own clock, so that the lease has a time of issue.
        bench.boot(|service, agent| {
            agent.platform().clock().advance_ms(2 * DAY_MS);
            talk(service, agent).unwrap();
        });
        bench.boot(|_, agent| {
            let clock = agent.platform().clock();
            if let Some(s) = wall {
                clock.set_wall_s(s);
            }
            settle(agent).unwrap();
            let open = agent.state() == State::Active;
            // Only a clock that is far ahead closes, and nothing wipes.
            assert_eq!(open, wall != Some(u64::MAX / 2), "{wall:?}");
            // However the clock is set, powered seconds close access.
            for _ in 0..31 {
                clock.advance_ms(DAY_MS);
                if let Some(s) = wall {
                    clock.set_wall_s(s);
                }
                settle(agent).unwrap();
            }
            assert!(matches!(agent.state(), State::Locked(_)), "{wall:?}");
            let got = agent.get(Class::Email, 0, &mut [0; 64]);
            assert_eq!(got, Err(Error::WrongState));
        });
    }
}

#[test]
fn attack_18_a_cut_at_any_operation_torn_any_way_breaks_no_promise() {
    let named = NAMED.iter().find(|n| n.name == "words-2k").unwrap();
    let options = Options {
        seed: 18,
        depth: 1,
        chip: named.chip,
        start: named.start,
        tears: FaultMode::ALL.to_vec(),
        stride: 1,
        third: 0,
        same_draws: false,
        threads: 2,
    };
    let report = explore(&options, |_, _| {}).unwrap();
    println!("seed 18: {} cuts", report.cuts);
    assert_eq!(report.details, Vec::<String>::new());
    assert_eq!(report.missed_phases, Vec::<String>::new());
}

#[test]
fn attack_20_a_receipt_forged_altered_of_another_device_or_old_does_not_verify() {
    let mut bench = nrd_tests::test_bench(20);
    active(&mut bench);
    let (proof, receipt) = bench.boot(|service, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        talk(service, agent).unwrap();
        let mut out = [0; 1024];
        let n = agent.prove_clean([7; 32], &mut out).unwrap();
        (out[..n].to_vec(), service.receipts[0].clone())
    });
    let maker = bench.service.maker_key();
    assert!(verify(&proof, &maker, Some(&[7; 32])).is_ok());
    assert!(verify(&receipt, &maker, None).is_ok());
    assert!(
        verify(&proof, &maker, Some(&[8; 32])).is_err(),
        "an old proof"
    );
    assert!(
        verify(&receipt, &maker, Some(&[7; 32])).is_err(),
        "a receipt for a proof"
    );
    assert!(verify(&receipt, &[1; 32], None).is_err(), "another maker");
    for at in 0..receipt.len() {
        let mut bad = receipt.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(verify(&bad, &maker, None).is_err(), "byte {at}");
    }
    for n in 0..receipt.len() {
        assert!(verify(&receipt[..n], &maker, None).is_err());
    }
    // Another device's signature under this device's certificate.
    let forged = {
        let body: wire::Receipt<'_> = wire::peek(&receipt).unwrap();
        signed(&nrd_sim::base::sign::keypair(&[66; 32]), &body)
    };
    assert!(verify(&forged, &maker, None).is_err());
}

#[test]
fn attack_33_what_reads_valid_once_and_invalid_later_never_flips() {
    let chip = || Hardware::new(Chip::new(nrd_tests::part(4, 2048, 9), 33));
    let ops = {
        let mut bench = TestBench::new(chip(), 33);
        active(&mut bench);
        bench.boot(|_, agent| {
            let from = agent.platform().with_chip(|c| c.ops());
            agent.deactivate().unwrap();
            agent.platform().with_chip(|c| c.ops()) - from
        })
    };
    let (mut clean, mut kept) = (0, 0);
    for n in 0..ops {
        for tear in [FaultMode::AllButOne, FaultMode::Weak, FaultMode::Random] {
            let mut bench = TestBench::new(chip(), 33);
            active(&mut bench);
            println!("seed 33, operation {n} {tear:?}");
            bench.boot(|_, agent| {
                let at = agent.platform().with_chip(|c| c.ops()) + n;
                agent.platform().with_chip(|c| {
                    c.plan(Some(PlannedFault {
                        at,
                        tear,
                        unstable: true,
                    }))
                });
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "refused or not: what is asked for comes below"
                )]
                let _ = agent.deactivate();
                assert_eq!(settle(agent), Err(Stop::Off));
            });
            let mut seen = None;
            for salt in 0..8 {
                bench.power_on(salt);
                let now = bench.boot(|_, agent| agent.state());
                assert!(matches!(now, State::Active | State::Clean), "{now:?}");
                assert_eq!(*seen.get_or_insert(now), now, "boot {salt}");
            }
            match seen {
                Some(State::Clean) => clean += 1,
                _ => kept += 1,
            }
        }
    }
    println!("{clean} cuts left a wipe, {kept} left the session");
    assert!(clean > 0 && kept > 0);
}

/// The numbers in the names of all tests called `attack_NN…`.
fn numbers(text: &str) -> BTreeSet<u32> {
    let names = text.split("fn attack_").skip(1);
    names
        .flat_map(|name| {
            let name = name.split('(').next().unwrap_or_default();
            name.split('_').map_while(|word| match word {
                "and" => Some(None),
                word => word.parse::<u32>().ok().map(Some),
            })
        })
        .flatten()
        .collect()
}

#[test]
fn every_number_of_the_attack_list_has_a_test_and_a_row() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    let mut folders: Vec<_> = ["agent/tests", "tests/tests", "sim/tests"]
        .map(|folder| root.join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.extend(numbers(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    let all: BTreeSet<u32> = (1..=49).collect();
    assert_eq!(&all - &found, BTreeSet::new(), "without a test");
    let threats = std::fs::read_to_string(root.join("docs/THREATS.md")).unwrap();
    for n in all {
        let row = threats.lines().find(|l| l.starts_with(&format!("| {n} |")));
        assert!(
            row.is_some_and(|r| !r.contains("| — |")),
            "row {n} shows no test"
        );
    }
}
