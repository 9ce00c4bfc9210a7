//! What receipts and proofs say, and which are kept.

use super::reply;
use nrd_agent::wire::{Digest, MAX_FRAME, Method, Receipt, Subject, peek, receipt_digest};
use nrd_agent::{Agent, Error, State};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::Layout;
use nrd_sim::device::{Rig, settle, talk};
use nrd_sim::hw::{Board, Fault, Tear};

/// A box that was activated; its wipes have something to say.
fn active(seed: u64) -> Rig {
    let mut rig = nrd_tests::rig(seed);
    rig.boot(|authority, agent| {
        agent.start_activation().unwrap();
        talk(authority, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    rig
}

fn clean(seed: u64) -> Rig {
    let mut rig = active(seed);
    wipe(&mut rig);
    rig
}

fn wipe(rig: &mut Rig) {
    rig.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
    });
}

/// Of each receipt the epoch that ended, and how many were dropped before it.
fn delivered(rig: &mut Rig) -> Vec<(u64, u16)> {
    rig.boot(|authority, agent| {
        talk(authority, agent).unwrap();
        assert_eq!(agent.status().receipts, 0);
        assert_eq!(agent.newest_receipt(&mut [0; 640]), Err(Error::NotFound));
    });
    let all = rig.authority.receipts.iter().map(|frame| {
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
    let mut rig = active(401);
    let mut wiped = 0;
    // So that the four places are used in turn, from each of them.
    for round in [3, 2, 4, 1] {
        for kept in 1..=round {
            wipe(&mut rig);
            wiped += 1;
            rig.boot(|_, agent| {
                assert_eq!(agent.status().receipts, kept);
                let mut out = [0; 640];
                let n = agent.newest_receipt(&mut out).unwrap();
                let r: Receipt<'_> = peek(&out[..n]).unwrap();
                assert_eq!(r.epoch + 1, wiped);
            });
        }
        let said = delivered(&mut rig);
        assert_eq!(said, (0..wiped).map(|e| (e, 0)).collect::<Vec<_>>());
    }
    let mut before: Option<Digest> = None;
    for frame in &rig.authority.receipts {
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
    let mut rig = active(402);
    for _ in 0..7 {
        wipe(&mut rig);
    }
    rig.boot(|_, agent| assert_eq!(agent.status().receipts, 4));
    assert_eq!(delivered(&mut rig), [(3, 0), (4, 0), (5, 1), (6, 2)]);
}

#[test]
fn a_receipt_that_a_cut_makes_stored_again_is_not_counted_as_dropped() {
    let rig = active(403);
    let (from, to) = {
        let mut rig = rig.fork();
        let from = rig.hw.chip().ops();
        wipe(&mut rig);
        (from, rig.hw.chip().ops())
    };
    let mut cuts = 0;
    for at in from..to {
        let mut rig = rig.fork();
        let board = rig.board();
        let mut ram = nrd_sim::device::Ram::default();
        let mut agent = Agent::new(board, rig.config(), ram.memory()).unwrap();
        settle(&mut agent).unwrap();
        rig.hw.chip().plan(Some(Fault {
            at,
            tear: Tear::Nothing,
            unstable: false,
        }));
        let _ = agent.deactivate();
        let _ = settle(&mut agent);
        drop(agent);
        if rig.hw.chip().struck().is_none() {
            continue;
        }
        cuts += 1;
        rig.power_on(at);
        wipe(&mut rig);
        wipe(&mut rig);
        let said = delivered(&mut rig);
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
    let mut rig = clean(404);
    let layout = Layout::plan(&rig.hw.chip().spec().geometry).unwrap();
    rig.boot(|_, agent| {
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
        let rig = nrd_tests::rig(405);
        let geometry = rig.hw.chip().spec().geometry;
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
        let mut rig = clean(405);
        rig.boot(|_, agent| {
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
    let mut rig = active(406);
    let vault = Layout::plan(&rig.hw.chip().spec().geometry)
        .unwrap()
        .vault_start;
    rig.boot(|_, agent| {
        assert!(!agent.is_clean());
        let refused = agent.prove_clean([7; 32], &mut [0; 640]);
        assert_eq!(refused, Err(Error::WrongState));
    });
    rig.hw.chip().stick(vault + 5 * 4096, 1, false);
    rig.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::WipeFailed);
        assert!(!agent.is_clean());
        assert_eq!(proof(agent, |r| r.method), Method::Failed);
    });
}

#[test]
fn a_digest_of_another_receipt_drops_none() {
    use nrd_agent::wire::Answer;
    let mut rig = clean(407);
    rig.boot(|authority, agent| {
        let mut out = [0; MAX_FRAME];
        agent.poll_request(&mut out).unwrap().unwrap();
        agent.handle_reply(&reply(Answer::Welcome)).unwrap();
        agent.poll_request(&mut out).unwrap().unwrap();
        let wrong = Answer::ReceiptStored {
            digest: Digest::default(),
        };
        agent.handle_reply(&reply(wrong)).unwrap();
        assert_eq!(agent.status().receipts, 1);
        talk(authority, agent).unwrap();
        assert_eq!(agent.status().receipts, 0);
    });
}

#[test]
fn a_proof_names_the_epoch_and_a_counter_that_takes_no_more_steps() {
    let mut rig = active(408);
    wipe(&mut rig);
    rig.boot(|_, agent| {
        let said = proof(agent, |r| (r.epoch, r.flags.counter_worn_out));
        assert_eq!(said, (1, false));
    });
    rig.hw.chip().wear_out_counter(0);
    rig.boot(|authority, agent| {
        agent.start_activation().unwrap();
        talk(authority, agent).unwrap();
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        assert!(agent.is_clean());
        let said = proof(agent, |r| (r.epoch, r.flags.counter_worn_out));
        assert_eq!(said, (1, true));
        talk(authority, agent).unwrap();
    });
    let flags = rig.authority.receipts.iter().map(|frame| {
        let r: Receipt<'_> = peek(frame).unwrap();
        (r.epoch, r.flags.counter_worn_out)
    });
    assert_eq!(flags.collect::<Vec<_>>(), [(0, false), (1, true)]);
}
