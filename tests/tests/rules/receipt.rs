//! What receipts and proofs say, and which are kept.

use super::reply;
use nrd_agent::wire::{
    Answer, Ask, Digest, MAX_FRAME, Method, Receipt, RefusalCode, Request, Subject, peek,
    receipt_digest,
};
use nrd_agent::{Agent, Error, State};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::Layout;
use nrd_sim::device::{TestBench, settle, talk};
use nrd_sim::hw::{Board, FaultMode, PlannedFault};

/// A box that was activated; its wipes have something to say.
fn active(seed: u64) -> TestBench {
    let mut bench = nrd_tests::test_bench(seed);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    bench
}

/// Activates anew in front of a service that takes no receipts, and wipes: one
/// more receipt that proves something, undelivered.
fn wipe_another(bench: &mut TestBench) {
    activate_another(bench);
    wipe(bench);
}

fn activate_another(bench: &mut TestBench) {
    bench.boot(|service, agent| {
        let mut refuses = |request: &[u8]| {
            let ask = peek::<Request<'_>>(request).unwrap().ask;
            let receipt = matches!(ask, Ask::Receipt { .. });
            let refused = Answer::Refused {
                code: RefusalCode::Unavailable,
                retry_after_s: 0,
            };
            Some(if receipt {
                reply(refused)
            } else {
                service.answer(request)
            })
        };
        agent.start_activation().unwrap();
        for _ in 0..20 {
            talk(&mut refuses, agent).unwrap();
            if agent.state() == State::Active {
                break;
            }
            let ms = agent.next_due_ms().expect("something to say");
            agent.platform().clock().advance_ms(ms);
        }
        assert_eq!(agent.state(), State::Active);
    });
}

fn clean(seed: u64) -> TestBench {
    let mut bench = active(seed);
    wipe(&mut bench);
    bench
}

fn wipe(bench: &mut TestBench) {
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
    });
}

/// Of each receipt the epoch that ended, and how many were dropped before it.
fn delivered(bench: &mut TestBench) -> Vec<(u64, u16)> {
    bench.boot(|service, agent| {
        talk(service, agent).unwrap();
        assert_eq!(agent.status().receipts, 0);
        assert_eq!(agent.newest_receipt(&mut [0; 640]), Err(Error::NotFound));
    });
    let all = bench.service.receipts.iter().map(|frame| {
        let r: Receipt<'_> = peek(frame).unwrap();
        (r.epoch, r.flags.dropped)
    });
    all.collect()
}

fn proof<T>(agent: &mut Agent<'_, Board>, look: impl FnOnce(Receipt<'_>) -> T) -> T {
    let mut out = [0; 640];
    let n = agent.prove_clean([7; 32], &mut out).unwrap();
    look(peek(&out[..n]).unwrap())
}

#[test]
fn receipts_are_delivered_oldest_first_each_naming_the_one_before() {
    let mut bench = active(401);
    let mut wiped = 0;
    // So that the four places are used in turn, from each of them.
    for round in [3, 2, 4, 1] {
        for kept in 1..=round {
            if wiped == 0 {
                wipe(&mut bench);
            } else {
                wipe_another(&mut bench);
            }
            wiped += 1;
            bench.boot(|_, agent| {
                assert_eq!(agent.status().receipts, kept);
                let mut out = [0; 640];
                let n = agent.newest_receipt(&mut out).unwrap();
                let r: Receipt<'_> = peek(&out[..n]).unwrap();
                assert_eq!(r.epoch + 1, wiped);
            });
        }
        let said = delivered(&mut bench);
        assert_eq!(said, (0..wiped).map(|e| (e, 0)).collect::<Vec<_>>());
    }
    let mut before: Option<Digest> = None;
    for frame in &bench.service.receipts {
        let r: Receipt<'_> = peek(frame).unwrap();
        let Subject::Wipe { previous, .. } = r.subject else {
            panic!("a receipt of a wipe");
        };
        assert_eq!(previous, before);
        before = receipt_digest::<RingCrypto>(frame);
    }
}

#[test]
fn the_fifth_receipt_takes_the_oldest_ones_place_and_the_next_one_counts_it() {
    let mut bench = active(402);
    wipe(&mut bench);
    for _ in 1..7 {
        wipe_another(&mut bench);
    }
    bench.boot(|_, agent| assert_eq!(agent.status().receipts, 4));
    assert_eq!(delivered(&mut bench), [(3, 0), (4, 0), (5, 1), (6, 2)]);
}

#[test]
fn a_receipt_that_gives_way_to_a_resumed_wipes_is_counted_too() {
    let mut bench = active(410);
    wipe(&mut bench);
    for _ in 1..4 {
        wipe_another(&mut bench);
    }
    activate_another(&mut bench);
    bench.boot(|_, agent| agent.deactivate().unwrap());
    bench.boot(|_, agent| assert_eq!(agent.state(), State::Clean));
    wipe_another(&mut bench);
    assert_eq!(delivered(&mut bench), [(2, 0), (3, 0), (4, 0), (5, 1)]);
}

#[test]
fn a_receipt_that_proves_nothing_has_a_place_of_its_own_and_takes_no_others() {
    let mut bench = active(409);
    wipe(&mut bench);
    // Wipes of a device that holds nothing.
    for _ in 0..6 {
        wipe(&mut bench);
    }
    bench.boot(|_, agent| assert_eq!(agent.status().receipts, 2));
    // The seller's first, then the newest of the others, which counts those that
    // gave way to it but the last.
    assert_eq!(delivered(&mut bench), [(0, 0), (6, 4)]);
}

#[test]
fn a_receipt_that_a_cut_makes_stored_again_is_not_counted_as_dropped() {
    let bench = active(403);
    let (from, to) = {
        let mut bench = bench.fork();
        let from = bench.hw.chip().ops();
        wipe(&mut bench);
        (from, bench.hw.chip().ops())
    };
    let mut cuts = 0;
    for at in from..to {
        let mut bench = bench.fork();
        let board = bench.board();
        let mut ram = nrd_sim::device::AgentBuffers::default();
        let mut agent = Agent::new(board, bench.config(), ram.lend()).unwrap();
        settle(&mut agent).unwrap();
        bench.hw.chip().plan(Some(PlannedFault {
            at,
            tear: FaultMode::Nothing,
            unstable: false,
        }));
        #[expect(
            clippy::let_underscore_must_use,
            reason = "a part that fails: what is asked for comes below"
        )]
        let _ = agent.deactivate();
        #[expect(
            clippy::let_underscore_must_use,
            reason = "a part that fails: what is asked for comes below"
        )]
        let _ = settle(&mut agent);
        drop(agent);
        if bench.hw.chip().struck().is_none() {
            continue;
        }
        cuts += 1;
        bench.power_on(at);
        // One more, for a receipt says what was dropped before it; a second one
        // would take its place.
        wipe(&mut bench);
        let said = delivered(&mut bench);
        assert!(
            said.iter().all(|(_, dropped)| *dropped == 0),
            "cut at {at}: {said:?}"
        );
    }
    println!("{cuts} cuts");
    assert!(cuts > 10);
}

#[test]
fn a_clean_device_proves_it_and_counts_every_sector() {
    let mut bench = clean(404);
    let layout = Layout::plan(&bench.hw.chip().spec().geometry).unwrap();
    bench.boot(|_, agent| {
        assert!(agent.is_clean());
        let (method, sectors, blank) = proof(agent, |r| (r.method, r.sectors, r.flags.slots_blank));
        assert_eq!((method, blank), (Method::Purge, true));
        assert_eq!(sectors.total, layout.vault_size / 4096);
        assert_eq!((sectors.erased, sectors.failed), (sectors.total, 0));
    });
}

#[test]
fn one_bit_in_a_slot_or_in_the_vault_and_no_proof_says_clean() {
    let layout = {
        let bench = nrd_tests::test_bench(405);
        let geometry = bench.hw.chip().spec().geometry;
        Layout::plan(&geometry).unwrap()
    };
    let last = layout.vault_start + layout.vault_size - 1;
    for (at, slots_blank, failed) in [
        (layout.slot_start, false, 0),
        (layout.slot_start + layout.slot_size + 255, false, 0),
        (layout.vault_start, true, 1),
        (layout.vault_start + 4096, true, 1),
        (last, true, 1),
    ] {
        let mut bench = clean(405);
        bench.boot(|_, agent| {
            agent.platform().with_chip(|c| c.rot(at, 1));
            assert!(!agent.is_clean(), "bit at {at}");
            let (method, sectors, blank) =
                proof(agent, |r| (r.method, r.sectors, r.flags.slots_blank));
            assert_eq!(method, Method::Failed, "bit at {at}");
            assert_eq!(blank, slots_blank, "bit at {at}");
            assert_eq!(sectors.failed, failed, "bit at {at}");
            assert_eq!(sectors.erased, sectors.total - failed, "bit at {at}");
        });
    }
}

#[test]
fn a_device_in_use_is_not_clean_and_one_whose_wipe_failed_proves_just_that() {
    let mut bench = active(406);
    let vault = Layout::plan(&bench.hw.chip().spec().geometry)
        .unwrap()
        .vault_start;
    bench.boot(|_, agent| {
        assert!(!agent.is_clean());
        let refused = agent.prove_clean([7; 32], &mut [0; 640]);
        assert_eq!(refused, Err(Error::WrongState));
    });
    bench.hw.chip().stick(vault + 5 * 4096, 1, false);
    bench.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::WipeFailed);
        assert!(!agent.is_clean());
        assert_eq!(proof(agent, |r| r.method), Method::Failed);
    });
}

#[test]
fn a_digest_of_another_receipt_drops_none() {
    let mut bench = clean(407);
    bench.boot(|service, agent| {
        let mut out = [0; MAX_FRAME];
        agent.poll_request(&mut out).unwrap().unwrap();
        agent.handle_reply(&reply(Answer::Welcome)).unwrap();
        agent.poll_request(&mut out).unwrap().unwrap();
        let wrong = Answer::ReceiptStored {
            digest: Digest::default(),
        };
        assert_eq!(agent.handle_reply(&reply(wrong)), Err(Error::NotForUs));
        assert_eq!(agent.status().receipts, 1);
        agent.try_again();
        talk(service, agent).unwrap();
        assert_eq!(agent.status().receipts, 0);
    });
}

#[test]
fn a_proof_names_the_epoch_and_a_counter_that_takes_no_more_steps() {
    let mut bench = active(408);
    wipe(&mut bench);
    bench.boot(|_, agent| {
        let said = proof(agent, |r| (r.epoch, r.flags.counter_worn_out));
        assert_eq!(said, (1, false));
    });
    bench.hw.chip().wear_out_counter(0);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert!(agent.is_clean());
        let said = proof(agent, |r| (r.epoch, r.flags.counter_worn_out));
        assert_eq!(said, (1, true));
        talk(service, agent).unwrap();
    });
    let flags = bench.service.receipts.iter().map(|frame| {
        let r: Receipt<'_> = peek(frame).unwrap();
        (r.epoch, r.flags.counter_worn_out)
    });
    assert_eq!(flags.collect::<Vec<_>>(), [(0, false), (1, true)]);
}
