//! Attacks on what the device believes and stores, numbered as in
//! `docs/THREATS.md`; against the real agent and the real service.

use nrd_agent::wire::{
    self, Answer, LockReason, MAX_FRAME, MakerCertificate, Order, OrderKind, OrderOutcome,
    OrderResult, Receipt, RefusalCode, Reply, Request, Statement, decode_signed,
};
use nrd_agent::{Class, Error, State};
use nrd_hal::crypto::RingCrypto;
use nrd_sim::base::sign::{keypair, signed};
use nrd_sim::device::{exchange, settle, talk};
use nrd_sim::forensics::inspect::{Image, Opened, Search, inspect};
use nrd_sim::hw::SplitMix;
use nrd_sim::service::Service;
use nrd_sim::service::account::DeviceStatus;
use nrd_tests::bench::{Bench, Device, HOME, activate, talk_later};
use std::sync::Arc;

const VALUE: &[u8] = b"alexandra@example.com";
const DAY_MS: u64 = 24 * 3_600_000;

fn active(bench: &Bench, id: &'static str, seed: u64) -> Device {
    let holder = bench.account(0);
    let mut tv = bench.device(id, seed);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent.put(Class::Email, 1, VALUE).unwrap();
    });
    tv
}

fn frame(reply: &Reply<'_>) -> Vec<u8> {
    let mut out = [0; MAX_FRAME];
    let n = wire::encode(reply, &mut out).unwrap();
    out[..n].to_vec()
}

fn order(service: &Arc<Service>, version: u32, epoch: u64, id: [u8; 16], device: &str) -> Vec<u8> {
    signed(
        &service.keys.order(wire::KeyVersion(version)),
        &Order {
            device_id: wire::DeviceId::new(device).unwrap(),
            epoch,
            activation_id: wire::ActivationId(id),
            key_version: wire::KeyVersion(version),
            seq: wire::OrderSeq(99),
            kind: OrderKind::Deactivate,
        },
    )
}

#[test]
fn attack_06_trust_never_goes_back_to_an_older_delegation() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-06", 6);
    let id = bench.newest(0).id;
    let (_, first) = bench.service.store.delegation().unwrap().unwrap();
    bench.service.rotate_order_key().unwrap();
    tv.boot(talk_later);
    let forged = signed(
        &keypair(&[66; 32]),
        &wire::peek::<wire::Delegation>(&first).unwrap(),
    );
    for (offered, refused) in [(&first, false), (&forged, true)] {
        tv.boot(|service, agent| {
            exchange(service, agent).unwrap();
            agent.platform().clock().advance_ms(DAY_MS);
            let mut out = [0; MAX_FRAME];
            agent.poll_request(&mut out).unwrap().unwrap();
            let reply = frame(&Reply {
                challenge: [1; 32],
                delegation: Some(offered),
                answer: Answer::CheckedIn {
                    lease: None,
                    statement: None,
                    order: None,
                    interval_s: 1,
                },
            });
            assert_eq!(agent.handle_reply(&reply).is_err(), refused);
        });
        tv.boot(|service, agent| {
            let old = order(service, 1, 0, id, "NRD-06");
            let (result, _) = agent.apply_order(&old, &mut [0; 192]).unwrap();
            assert_eq!(result, OrderResult::KeyRetired);
            assert_eq!(agent.state(), State::Active);
        });
    }
    tv.boot(|service, agent| {
        let new = order(service, 2, 0, id, "NRD-06");
        let (result, _) = agent.apply_order(&new, &mut [0; 192]).unwrap();
        assert_eq!(result, OrderResult::Applied);
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one attack after another")]
fn attack_07_no_reply_destroys_and_only_a_signed_fresh_statement_locks() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-07", 7);
    let id = wire::ActivationId(bench.newest(0).id);
    let statement = |key: &ring::signature::Ed25519KeyPair, nonce, reason| {
        signed(
            key,
            &Statement {
                device_id: wire::DeviceId::new("NRD-07").unwrap(),
                activation_id: id,
                nonce,
                reason,
            },
        )
    };
    let session = &bench.service.keys.session;
    let forged = statement(&keypair(&[7; 32]), [0; 16], LockReason::Revoked);
    let stale = statement(session, [9; 16], LockReason::Revoked);
    let refusals = [
        RefusalCode::StaleChallenge,
        RefusalCode::UnknownDevice,
        RefusalCode::BadRequest,
        RefusalCode::UnknownActivation,
        RefusalCode::SlowDown,
        RefusalCode::Unavailable,
        RefusalCode::UnknownMaker,
    ];
    let mut answers: Vec<Answer<'_>> = refusals
        .into_iter()
        .map(|code| Answer::Refused {
            code,
            retry_after_s: 1,
        })
        .collect();
    for reason in [
        wire::EndReason::Denied,
        wire::EndReason::Expired,
        wire::EndReason::Cancelled,
    ] {
        answers.push(Answer::ActivationEnded { reason });
    }
    for s in [&forged, &stale] {
        answers.push(Answer::CheckedIn {
            lease: None,
            statement: Some(s),
            order: None,
            interval_s: 1,
        });
    }
    answers.push(Answer::CheckedIn {
        lease: Some(&forged),
        statement: None,
        order: Some(&forged),
        interval_s: 1,
    });
    tv.boot(|service, agent| {
        for answer in &answers {
            talk_later(service, agent);
            agent.platform().clock().advance_ms(DAY_MS);
            let mut out = [0; MAX_FRAME];
            agent.poll_request(&mut out).unwrap().unwrap();
            #[expect(
                clippy::let_underscore_must_use,
                reason = "refused or not: what is asked for comes below"
            )]
            let _ = agent.handle_reply(&frame(&Reply {
                challenge: [1; 32],
                delegation: None,
                answer: answer.clone(),
            }));
            settle(agent).unwrap();
            assert_eq!(agent.state(), State::Active);
            assert_eq!(agent.get(Class::Email, 1, &mut [0; 64]), Ok(VALUE.len()));
        }
        // Signed and fresh: locks, for each reason that a statement may name.
        for reason in [LockReason::Revoked, LockReason::LeaseExpired] {
            talk_later(service, agent);
            agent.platform().clock().advance_ms(DAY_MS);
            let mut out = [0; MAX_FRAME];
            let n = agent.poll_request(&mut out).unwrap().unwrap();
            let request: Request<'_> = wire::peek(&out[..n]).unwrap();
            let fresh = statement(session, request.nonce, reason);
            let taken = agent.handle_reply(&frame(&Reply {
                challenge: [1; 32],
                delegation: None,
                answer: Answer::CheckedIn {
                    lease: None,
                    statement: Some(&fresh),
                    order: None,
                    interval_s: 1,
                },
            }));
            let locks = reason == LockReason::Revoked;
            assert_eq!(taken.is_ok(), locks);
            assert_eq!(agent.state() == State::Locked(reason), locks);
        }
        // Locked, not destroyed: a lease opens it again.
        talk_later(service, agent);
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Active);
        assert_eq!(agent.get(Class::Email, 1, &mut [0; 64]), Ok(VALUE.len()));
    });
}

fn records(tv: &Device) -> Vec<Opened> {
    let chip = tv.hw.chip();
    let image = Image {
        cells: chip.cells(),
        geometry: chip.spec().geometry,
    };
    let search = Search {
        root: Some(tv.root),
        ..Search::default()
    };
    inspect(&image, &search).unwrap().opened
}

fn record(tv: &Device, class: &str, id: u16) -> Opened {
    let found = records(tv).into_iter();
    found
        .filter(|o| o.class == class && o.id == id)
        .max_by_key(|o| o.seq)
        .expect("the record is on flash")
}

/// Where a record's parts begin: its check bits, its nonce, its text.
const CHECK: usize = 10;
const NONCE: usize = 12;
const TEXT: usize = 20;

/// Rewrites a record's header and its check bits: what only an attacker does.
fn forge(tv: &Device, at: u32, change: impl Fn(&mut [u8])) {
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_IBM_3740);
    let mut cells = tv.hw.chip().cells().to_vec();
    let header = &mut cells[at as usize..at as usize + NONCE];
    let check = |header: &[u8]| crc.checksum(&header[..CHECK]).to_le_bytes();
    assert_eq!(header[CHECK..], check(header), "no record's header");
    change(header);
    let check = check(header);
    header[CHECK..].copy_from_slice(&check);
    tv.hw.chip().restore_image(&cells);
}

#[test]
fn attack_11_a_record_moved_to_another_place_is_never_served() {
    let bench = Bench::new();
    type Forgery<'f> = (&'f str, &'f dyn Fn(&mut [u8]));
    let forgeries: [Forgery<'_>; 4] = [
        ("another id", &|h| h[2] = 9),
        ("another class", &|h| h[1] = (4 << 5) | (h[1] & 0x1F)),
        ("another sequence number", &|h| h[6] ^= 0x40),
        ("another salt generation", &|h| h[4] ^= 1),
    ];
    for (n, (what, change)) in forgeries.into_iter().enumerate() {
        let id = ["NRD-11A", "NRD-11B", "NRD-11C", "NRD-11D"][n];
        let mut tv = active(&bench, id, 110 + n as u64);
        forge(&tv, record(&tv, "e-mail", 1).offset, change);
        tv.boot(|_, agent| {
            for (class, id) in [(Class::Email, 1), (Class::Email, 9), (Class::Payment, 1)] {
                let served = agent.get(class, id, &mut [0; 64]);
                assert!(served.is_err(), "{what}: {class:?} {id}: {served:?}");
            }
        });
    }
    // Device A's record on device B, at the very place of B's own.
    let a = active(&bench, "NRD-11E", 115);
    let mut b = active(&bench, "NRD-11F", 116);
    let (from, to) = (record(&a, "e-mail", 1), record(&b, "e-mail", 1));
    let size = TEXT + 4 + VALUE.len() + 16;
    let bytes = a.hw.chip().cells()[from.offset as usize..][..size].to_vec();
    let mut cells = b.hw.chip().cells().to_vec();
    cells[to.offset as usize..][..size].copy_from_slice(&bytes);
    b.hw.chip().restore_image(&cells);
    b.boot(|_, agent| {
        let mut out = [0; 64];
        assert!(agent.get(Class::Email, 1, &mut out).is_err());
        assert!(!out.starts_with(VALUE));
    });
}

#[test]
fn attack_12_a_damaged_record_is_reported_or_read_right_never_wrong() {
    let bench = Bench::new();
    let tv = active(&bench, "NRD-12", 12);
    let at = record(&tv, "e-mail", 1).offset as usize;
    let cells = tv.hw.chip().cells().to_vec();
    let mut outcomes = [0; 2];
    for byte in 0..TEXT + 4 + VALUE.len() + 16 {
        for damage in [0x01u8, 0x80, 0xFF] {
            let mut tv = tv.copy();
            let mut cells = cells.clone();
            cells[at + byte] ^= damage;
            tv.hw.chip().restore_image(&cells);
            tv.boot(|_, agent| {
                let mut out = [0; 64];
                match agent.get(Class::Email, 1, &mut out) {
                    Ok(n) => {
                        assert_eq!(&out[..n], VALUE, "byte {byte} ^ {damage:#x}");
                        outcomes[0] += 1;
                    }
                    Err(e) => {
                        assert!(matches!(e, Error::Corrupt | Error::NotFound), "{e:?}");
                        outcomes[1] += 1;
                    }
                }
            });
        }
    }
    println!("read right {}, reported {}", outcomes[0], outcomes[1]);
    assert!(outcomes[1] > 100, "the damage was done");
}

#[test]
fn attack_21_an_image_put_back_after_the_proof_opens_nothing_anywhere() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-21", 21);
    let image = tv.hw.chip().cells().to_vec();
    tv.boot(|service, agent| {
        agent.deactivate().unwrap();
        talk_later(service, agent);
        let mut out = [0; 640];
        let n = agent.prove_clean([5; 32], &mut out).unwrap();
        let maker = service.keys.maker_public();
        let v = nrd_sim::forensics::verify::verify(&out[..n], &maker, Some(&[5; 32])).unwrap();
        assert!(v.clean);
    });
    tv.hw.chip().restore_image(&image);
    tv.boot(|service, agent| {
        assert_ne!(agent.state(), State::Active);
        assert!(agent.get(Class::Email, 1, &mut [0; 64]).is_err());
        #[expect(
            clippy::let_underscore_must_use,
            reason = "refused or not: what is asked for comes below"
        )]
        let _ = talk(service, agent);
        assert_ne!(agent.state(), State::Active);
    });
    let devices = bench.service.devices(bench.account(0)).unwrap();
    assert_eq!(devices[0].status, DeviceStatus::Wiped);
}

#[test]
fn attack_27_no_bytes_make_the_agent_panic_or_change_its_state() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-27", 27);
    let id = bench.newest(0).id;
    let seed = 27;
    println!("seed {seed}");
    let mut draws = SplitMix(seed);
    tv.boot(|service, agent| {
        let good = order(service, 1, 0, [1; 16], "NRD-27");
        let reply = {
            agent.platform().clock().advance_ms(DAY_MS);
            let mut out = [0; MAX_FRAME];
            let n = agent.poll_request(&mut out).unwrap().unwrap();
            let reply = service.clone();
            let answer = Service::answer(&reply, &out[..n], HOME).unwrap();
            agent.exchange_failed();
            answer
        };
        // Less than a lease in all.
        for _ in 0..2000 {
            let mut bytes = match draws.below(3) {
                0 => good.clone(),
                1 => reply.clone(),
                _ => (0..draws.below(1600)).map(|_| draws.draw() as u8).collect(),
            };
            for _ in 0..draws.below(4) {
                let at = draws.below(bytes.len() as u64) as usize;
                match draws.below(3) {
                    0 if !bytes.is_empty() => bytes[at] ^= 1 << draws.below(8),
                    1 => bytes.truncate(at),
                    _ => bytes.push(draws.draw() as u8),
                }
            }
            let untouched = bytes == reply;
            #[expect(
                clippy::let_underscore_must_use,
                reason = "refused or not: what is asked for comes below"
            )]
            let _ = agent.apply_order(&bytes, &mut [0; 192]);
            agent.platform().clock().advance_ms(16 * 60_000);
            let mut out = [0; MAX_FRAME];
            if agent.poll_request(&mut out).is_ok_and(|n| n.is_some()) && !untouched {
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "refused or not: what is asked for comes below"
                )]
                let _ = agent.handle_reply(&bytes);
            }
        }
        settle(agent).unwrap();
        assert_eq!(agent.get(Class::Email, 1, &mut [0; 64]), Ok(VALUE.len()));
        // And it still takes what is good.
        let good = order(service, 1, 0, id, "NRD-27");
        let (result, _) = agent.apply_order(&good, &mut [0; 192]).unwrap();
        assert_eq!(result, OrderResult::Applied);
    });
}

#[test]
fn attack_32_equal_values_under_a_dead_generator_do_not_look_alike() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-32", 32);
    tv.stuck = true;
    tv.boot(|_, agent| {
        for id in [20, 21] {
            agent
                .put(Class::Email, id, b"the same value twice")
                .unwrap();
        }
        agent
            .put(Class::Email, 20, b"the same value twice")
            .unwrap();
    });
    let opened = records(&tv);
    let chip = tv.hw.chip();
    let mut nonces = Vec::new();
    let mut texts = Vec::new();
    for o in opened.iter().filter(|o| [20, 21].contains(&o.id)) {
        let at = o.offset as usize;
        nonces.push(chip.cells()[at + NONCE..at + TEXT].to_vec());
        texts.push(chip.cells()[at + TEXT..at + TEXT + 20].to_vec());
    }
    assert_eq!(nonces.len(), 3);
    for list in [&mut nonces, &mut texts] {
        list.sort();
        list.dedup();
        assert_eq!(list.len(), 3, "two of three are alike");
    }
}

#[test]
fn attack_35_one_wrong_signed_time_bricks_nothing() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-35", 35);
    let century = 100 * 365 * 86_400;
    tv.boot(|service, agent| {
        agent.platform().clock().set_wall_s(bench.service.now_s());
        service.advance_s(century);
        agent.platform().clock().advance_ms(2 * DAY_MS);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    // The next boots: a right wall clock, far below the floor, counts for
    // nothing; powered seconds carry the lease.
    for _ in 0..3 {
        tv.boot(|_, agent| {
            agent.platform().clock().set_wall_s(1_795_478_400);
            settle(agent).unwrap();
            assert_eq!(agent.state(), State::Active);
            agent.platform().clock().advance_ms(DAY_MS);
        });
    }
    tv.boot(|_, agent| {
        agent.platform().clock().advance_ms(30 * DAY_MS);
        settle(agent).unwrap();
        assert_eq!(agent.state(), State::Locked(LockReason::LeaseExpired));
    });
}

#[test]
fn attack_37_no_signature_of_one_kind_passes_as_another() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-37", 37);
    tv.boot(|service, agent| {
        agent.platform().clock().advance_ms(DAY_MS);
        let mut request = [0; MAX_FRAME];
        let n = agent.poll_request(&mut request).unwrap().unwrap();
        agent.exchange_failed();
        agent.deactivate().unwrap();
        settle(agent).unwrap();
        // A "nonce" that is the beginning of a request.
        let nonce: [u8; 32] = request[..32].try_into().unwrap();
        let mut receipt = [0; 640];
        let m = agent.prove_clean(nonce, &mut receipt).unwrap();
        let cert = wire::peek::<Receipt<'_>>(&receipt[..m])
            .unwrap()
            .certificate;
        let maker = service.keys.maker_public();
        let key = decode_signed::<MakerCertificate, RingCrypto>(cert, &maker)
            .unwrap()
            .public_key;
        assert!(decode_signed::<Receipt<'_>, RingCrypto>(&receipt[..m], &key).is_ok());
        assert!(decode_signed::<Request<'_>, RingCrypto>(&request[..n], &key).is_ok());
        assert!(decode_signed::<Request<'_>, RingCrypto>(&receipt[..m], &key).is_err());
        assert!(decode_signed::<Receipt<'_>, RingCrypto>(&request[..n], &key).is_err());
        assert!(decode_signed::<OrderOutcome, RingCrypto>(&request[..n], &key).is_err());
        // Nor by exchanging the type's name: the signature covers it.
        let mut renamed = b"nrd/1/request\0".to_vec();
        renamed.extend_from_slice(&receipt[b"nrd/1/receipt\0".len()..m]);
        assert_eq!(
            decode_signed::<Request<'_>, RingCrypto>(&renamed, &key).err(),
            Some(Error::BadSignature)
        );
    });
}

#[test]
fn attack_s8_values_past_their_retention_are_gone_and_others_stay() {
    let bench = Bench::new();
    let mut tv = active(&bench, "NRD-S8", 80);
    tv.boot(|service, agent| {
        agent.put(Class::Payment, 1, b"Visa 8861").unwrap();
        for _ in 0..4 {
            agent.platform().clock().advance_ms(10 * DAY_MS);
            talk(service, agent).unwrap();
            assert_eq!(agent.state(), State::Active);
        }
        assert_eq!(
            agent.get(Class::Payment, 1, &mut [0; 64]),
            Err(Error::NotFound)
        );
        assert_eq!(agent.get(Class::Email, 1, &mut [0; 64]), Ok(VALUE.len()));
    });
}

#[test]
fn a_computer_without_the_tick_forgets_with_its_power_and_a_box_has_no_choice() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut pc = bench.device("NRD-S2-PC", 2);
    pc.kind = wire::DeviceKind::Computer;
    pc.boot(|service, agent| {
        activate(service, agent, holder, false);
        agent.put(Class::Email, 1, VALUE).unwrap();
    });
    assert!(!bench.newest(0).remember);
    // Nothing of it opens, even with the root, before anything was wiped.
    assert!(records(&pc).is_empty());
    pc.boot(|service, agent| {
        assert_eq!(agent.state(), State::Clean);
        talk_later(service, agent);
    });
    let devices = bench.service.devices(holder).unwrap();
    assert_eq!(devices[0].status, DeviceStatus::Wiped);
    bench.service.advance_s(1);
    let mut tv = bench.device("NRD-S2-TV", 3);
    tv.boot(|service, agent| activate(service, agent, holder, false));
    assert!(
        bench.newest(0).remember,
        "a Netflix ready device always remembers"
    );
    tv.boot(|_, agent| assert_eq!(agent.state(), State::Active));
}
