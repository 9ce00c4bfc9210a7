//! The reference service and the real agent, over the real database.

use nrd_agent::wire::{Ask, LockReason, OrderResult, Receipt, Request, Subject, peek};
use nrd_agent::{Class, State};
use nrd_sim::base::sign::signed;
use nrd_sim::device::{ServiceEndpoint, exchange, settle, talk};
use nrd_sim::forensics::verify::StatusList;
use nrd_sim::hw::device_key;
use nrd_sim::service::account::{CodeError, DeviceStatus};
use nrd_sim::service::events::EventKind;
use nrd_sim::service::login::{LoginError, Remembered};
use nrd_sim::service::store::ActivationPhase;
use nrd_sim::service::{Error, Service};
use nrd_sim::world::InProcess;
use nrd_tests::bench::{Bench, HOME, activate, talk_later};
use std::sync::Arc;

const DAY_MS: u64 = 24 * 3_600_000;

fn standing(bench: &Bench, n: usize) -> DeviceStatus {
    let devices = bench.service.devices(bench.account(n)).unwrap();
    devices[0].status
}

#[test]
fn a_device_is_activated_remembered_removed_wiped_and_proven() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-1", 1);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        assert_eq!(agent.state(), State::Active);
        agent
            .put(Class::Email, 1, b"alexandra@example.com")
            .unwrap();
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Active);
    tv.boot(|service, agent| {
        assert_eq!(agent.state(), State::Active);
        let mut name = [0; 32];
        let n = agent.display_name(&mut name).unwrap();
        assert_eq!(&name[..n], b"Alexandra");
        bench
            .service
            .remove(holder, &bench.newest(0).id, HOME)
            .unwrap();
        assert_eq!(standing(&bench, 0), DeviceStatus::Removing);
        // One exchange a step, so that every state is seen.
        let mut seen = vec![standing(&bench, 0)];
        while exchange(service, agent).unwrap() {
            seen.push(standing(&bench, 0));
        }
        seen.dedup();
        assert_eq!(seen, [DeviceStatus::Removing, DeviceStatus::Wiped]);
        assert!(agent.is_clean());
    });
    let receipt = bench.service.store.receipt(holder, &bench.newest(0).id);
    assert!(receipt.unwrap().len() > 100);
}

/// Loses the answers that `lose` picks.
struct Lossy<'s> {
    service: &'s mut Arc<Service>,
    lose: u32,
}

impl ServiceEndpoint for Lossy<'_> {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let answer = Service::answer(self.service, request, HOME).ok();
        if self.lose > 0 {
            self.lose -= 1;
            return None;
        }
        answer
    }
}

#[test]
fn attack_15_a_renewal_whose_answer_is_lost_is_answered_the_same_again() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-15", 15);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        for lost in 1..4 {
            agent.platform().clock().advance_ms(2 * DAY_MS);
            let mut lossy = Lossy {
                service: &mut service.0,
                lose: lost,
            };
            for _ in 0..30 {
                talk(&mut lossy, agent).unwrap();
                agent.platform().clock().advance_ms(3_600_000);
            }
            // The hour is charged before anything is served.
            settle(agent).unwrap();
            assert_eq!(agent.state(), State::Active);
            assert_eq!(standing(&bench, 0), DeviceStatus::Active);
        }
    });
    let row = bench.newest(0);
    assert!(row.generation >= 3, "generation {}", row.generation);
    // And over a power cut between the answer and its use.
    tv.boot(|service, agent| {
        agent.platform().clock().advance_ms(2 * DAY_MS);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    assert_eq!(bench.newest(0).revoked, None);
}

#[test]
fn attack_16_and_09_a_restored_or_copied_session_is_read_as_theft() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-16", 16);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let mut thief = tv.copy();
    tv.boot(|service, agent| {
        for _ in 0..2 {
            agent.platform().clock().advance_ms(2 * DAY_MS);
            talk(service, agent).unwrap();
        }
    });
    assert!(bench.newest(0).generation >= 2);
    thief.boot(|service, agent| {
        agent.put(Class::Email, 1, b"still here").unwrap();
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Locked(LockReason::TheftSuspected));
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Theft);
    tv.boot(|service, agent| {
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Locked(LockReason::TheftSuspected));
    });
    let events = bench.service.events(holder, 10).unwrap();
    assert!(events.iter().any(|e| e.kind == EventKind::TheftSuspected));
    // A person at the page can still remove it, and it dies.
    bench
        .service
        .remove(holder, &bench.newest(0).id, HOME)
        .unwrap();
    tv.boot(|service, agent| {
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Clean);
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Wiped);
}

#[test]
fn attack_14_a_request_signed_for_later_is_refused() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-14", 14);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent.platform().clock().advance_ms(DAY_MS);
        let mut out = [0; 1536];
        let n = agent.poll_request(&mut out).unwrap().unwrap();
        let kept = out[..n].to_vec();
        agent.exchange_failed();
        agent.platform().clock().advance_ms(DAY_MS);
        talk(service, agent).unwrap();
        let before = bench.newest(0).generation;
        let reply = Service::answer(service, &kept, HOME).unwrap();
        let reply: nrd_agent::wire::Reply<'_> = nrd_agent::wire::decode(&reply).unwrap();
        assert!(matches!(
            reply.answer,
            nrd_agent::wire::Answer::Refused {
                code: nrd_agent::wire::RefusalCode::StaleChallenge,
                ..
            }
        ));
        assert_eq!(bench.newest(0).generation, before);
        assert_eq!(bench.newest(0).revoked, None);
    });
}

#[test]
fn attack_02_at_the_service_a_late_order_gets_a_signed_not_applicable() {
    let bench = Bench::new();
    let (first, second) = (bench.account(0), bench.account(1));
    let mut tv = bench.device("NRD-STB-2", 2);
    tv.boot(|service, agent| activate(service, agent, first, true));
    let old = bench.newest(0).id;
    bench.service.remove(first, &old, HOME).unwrap();
    let order = bench.service.store.next_order(&old).unwrap().unwrap();
    // The box is wiped by hand without a network, and sold.
    tv.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
    });
    tv.boot(|service, agent| {
        activate(service, agent, second, true);
        let mut out = [0; 192];
        let (result, _) = agent.apply_order(&order.frame, &mut out).unwrap();
        assert_eq!(result, OrderResult::NotApplicable);
        assert_eq!(agent.state(), State::Active);
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Wiped);
    assert_eq!(standing(&bench, 1), DeviceStatus::Active);
}

#[test]
fn attack_05_a_rotated_order_key_signs_what_waits_again() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-5", 5);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let id = bench.newest(0).id;
    bench.service.remove(holder, &id, HOME).unwrap();
    let stolen = bench.service.store.next_order(&id).unwrap().unwrap();
    assert_eq!(bench.service.rotate_order_key().unwrap(), 2);
    let again = bench.service.store.next_order(&id).unwrap().unwrap();
    assert_eq!(again.key_version, 2);
    tv.boot(|service, agent| {
        // The delegation travels with the first reply; after it the old key's
        // order is worth nothing.
        exchange(service, agent).unwrap();
        let mut out = [0; 192];
        let refused = agent.apply_order(&stolen.frame, &mut out);
        assert_eq!(refused, Err(nrd_agent::Error::KeyRetired), "nothing signed");
        assert_eq!(agent.state(), State::Active);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Wiped);
}

/// Changes the receipts that pass, and signs them again: a device that lies.
struct Liar<'s> {
    service: &'s mut InProcess,
    key: ring::signature::Ed25519KeyPair,
    order: [u8; 32],
}

impl ServiceEndpoint for Liar<'_> {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let mut said: Request<'_> = peek(request).unwrap();
        let Ask::Receipt { receipt } = said.ask else {
            return self.service.answer(request);
        };
        let mut lie: Receipt<'_> = peek(receipt).unwrap();
        if let Subject::Wipe { order, .. } = &mut lie.subject {
            assert!(order.is_some());
            *order = Some(self.order);
        }
        let lie = signed(&self.key, &lie);
        said.ask = Ask::Receipt { receipt: &lie };
        self.service.answer(&signed(&self.key, &said))
    }
}

#[test]
fn a_receipt_is_held_against_the_orders_that_were_given() {
    let bench = Bench::new();
    let holder = bench.account(0);
    // (what happens to the order, what the account says)
    for (n, id) in ["NRD-STB-O1", "NRD-STB-O2", "NRD-STB-O3", "NRD-STB-O4"]
        .into_iter()
        .enumerate()
    {
        let mut tv = bench.device(id, 60 + n as u64);
        tv.boot(|service, agent| activate(service, agent, holder, true));
        let activation = bench.newest(0).id;
        if n == 2 {
            bench
                .service
                .order_sign_out(holder, &activation, HOME)
                .unwrap();
        }
        let sign_out = bench.service.store.next_order(&activation).unwrap();
        bench.service.remove(holder, &activation, HOME).unwrap();
        let order = bench
            .service
            .store
            .next_order(&activation)
            .unwrap()
            .unwrap();
        let db = bench.dir.path().join("service.db");
        let key = device_key(&tv.root, id);
        tv.boot(|service, agent| {
            // By a stick, before the device hears of the newer key.
            agent.apply_order(&order.frame, &mut [0; 192]).unwrap();
            settle(agent).unwrap();
            match n {
                // The order was signed anew under the next key meanwhile.
                0 => {
                    bench.service.rotate_order_key().unwrap();
                    talk_later(service, agent);
                }
                // A copy that was brought back has forgotten it.
                1 => {
                    let db = rusqlite::Connection::open(db).unwrap();
                    let gone = "DELETE FROM orders WHERE activation = ?1";
                    assert_eq!(db.execute(gone, [&activation]).unwrap(), 1);
                    talk_later(service, agent);
                }
                // The device names an order to sign out, or none of the service's.
                _ => {
                    let order = sign_out.as_ref().map_or([7; 32], |o| o.digest);
                    let mut liar = Liar {
                        service,
                        key,
                        order,
                    };
                    // The service keeps the lie; the device knows only what it signed.
                    while let Ok(true) = exchange(&mut liar, agent) {}
                }
            }
        });
        let expected = if n < 2 {
            DeviceStatus::Wiped
        } else {
            DeviceStatus::WipeFailed
        };
        let row = bench.newest(0);
        assert_eq!(
            (row.id, standing(&bench, 0)),
            (activation, expected),
            "{id}"
        );
        bench.service.advance_s(1);
    }
}

#[test]
fn attack_13_the_database_holds_no_token_and_no_personal_data_in_plain() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-13", 13);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let row = bench.newest(0);
    let signed_in = bench
        .service
        .sign_in(holder, true, "Firefox", HOME)
        .unwrap();
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(bench.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("service.db") {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    let holds = |secret: &[u8]| bytes.windows(secret.len()).any(|w| w == secret);
    assert!(holds(b"NRD-STB-13"), "the search finds what is there");
    for secret in bench.samples.iter().flat_map(|s| s.secrets()) {
        assert!(!holds(&secret), "personal data in plain");
    }
    for s in &bench.samples {
        assert!(!holds(s.email.as_bytes()) && !holds(s.password.as_bytes()));
    }
    assert!(!holds(HOME.as_bytes()), "an address in plain");
    for generation in 0..4 {
        let token = bench.service.keys.token(&row.series, generation);
        assert!(!holds(token.as_ref()), "a token in plain");
    }
    let cookie = signed_in.remember.unwrap();
    let token: [u8; 32] = nrd_sim::base::unhex(&cookie[32..]).unwrap();
    assert!(!holds(&token) && !holds(&cookie.as_bytes()[32..]));
    assert!(!holds(signed_in.session.as_bytes()));
}

#[test]
fn attack_23_codes_cannot_be_guessed_and_expire() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-23", 23);
    let code = tv.boot(|service, agent| {
        agent.start_activation().unwrap();
        exchange(service, agent).unwrap();
        exchange(service, agent).unwrap();
        agent.status().code.unwrap().0
    });
    // However it is typed.
    let spaced = format!(" {}-{} ", &code[..4].to_lowercase(), &code[4..]);
    assert!(bench.service.look_up_code(holder, &spaced).is_ok());
    for _ in 0..5 {
        let wrong = bench.service.look_up_code(holder, "BBBBBBBB");
        assert!(matches!(wrong, Err(CodeError::Unknown)));
    }
    let locked = bench.service.look_up_code(holder, &code);
    assert!(matches!(locked, Err(CodeError::Wait(1..))));
    bench.service.advance_s(601);
    let expired = bench.service.look_up_code(holder, &code);
    assert!(matches!(expired, Err(CodeError::Unknown)));
    tv.boot(|service, agent| {
        // The next boot asks again and gets another code.
        talk(service, agent).unwrap_err();
        assert_ne!(agent.status().code.unwrap().0, code);
    });
}

#[test]
fn attack_24_password_guessing_is_slowed_and_says_nothing() {
    let bench = Bench::new();
    let email = bench.samples[0].email.clone();
    let good = bench.samples[0].password.clone();
    for _ in 0..5 {
        let wrong = bench.service.check_password(&email, "guess", HOME);
        assert!(matches!(wrong, Err(LoginError::Wrong)));
    }
    let slowed = bench.service.check_password(&email, &good, "203.0.113.9");
    assert!(matches!(slowed, Err(LoginError::Wait(1..))));
    let unknown = bench
        .service
        .check_password("nobody@example.com", "x", HOME);
    assert!(matches!(unknown, Err(LoginError::Wrong)));
    bench.service.advance_s(60);
    assert!(bench.service.check_password(&email, &good, HOME).is_ok());
}

#[test]
fn a_copied_remember_me_cookie_is_noticed_and_everything_of_it_is_void() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let first = bench
        .service
        .sign_in(holder, true, "Firefox", HOME)
        .unwrap();
    let cookie = first.remember.unwrap();
    let Remembered::SignedIn(second) = bench.service.recall(&cookie, HOME).unwrap() else {
        panic!("a good cookie was refused");
    };
    let next = second.remember.clone().expect("a new value");
    // At once again: an answer was lost. Later: theft.
    assert!(matches!(
        bench.service.recall(&cookie, HOME).unwrap(),
        Remembered::SignedIn(_)
    ));
    // Its successor is used, and then it comes once more: a copy exists.
    let Remembered::SignedIn(third) = bench.service.recall(&next, HOME).unwrap() else {
        panic!("the successor was refused");
    };
    let next = third.remember.expect("a new value");
    assert!(matches!(
        bench.service.recall(&cookie, HOME).unwrap(),
        Remembered::Stolen
    ));
    assert!(matches!(
        bench.service.recall(&next, HOME).unwrap(),
        Remembered::Unknown
    ));
    assert!(
        bench
            .service
            .session(&second.session, true)
            .unwrap()
            .is_none()
    );
    let events = bench.service.events(holder, 5).unwrap();
    assert!(events.iter().any(|e| e.kind == EventKind::ComputerStolen));
}

#[test]
fn attack_26_a_database_that_cannot_store_never_says_removed() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-26", 26);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let id = bench.newest(0).id;
    let other = rusqlite::Connection::open(bench.dir.path().join("service.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let refused = bench.service.remove(holder, &id, HOME);
    assert!(matches!(refused, Err(Error::Storage(_))), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(bench.newest(0).phase, ActivationPhase::Active);
    assert!(bench.service.store.next_order(&id).unwrap().is_none());
    // And it works when the database is back.
    bench.service.remove(holder, &id, HOME).unwrap();
    assert_eq!(bench.newest(0).phase, ActivationPhase::Removing);
}

#[test]
fn attack_38_a_restored_database_neither_forgets_a_removal_nor_cries_theft() {
    let mut bench = Bench::new();
    let holder = bench.account(0);
    let mut removed = bench.device("NRD-STB-38A", 38);
    let mut kept = bench.device("NRD-STB-38B", 39);
    removed.boot(|service, agent| activate(service, agent, holder, true));
    let removed_id = bench.newest(0).id;
    bench.service.advance_s(1);
    kept.boot(|service, agent| activate(service, agent, holder, true));
    let kept_id = bench.newest(0).id;
    let db = bench.dir.path().join("service.db");
    let backup = bench.dir.path().join("backup.db");
    rusqlite::Connection::open(&db)
        .unwrap()
        .execute("VACUUM INTO ?", [backup.to_str().unwrap()])
        .unwrap();
    kept.boot(|service, agent| {
        for _ in 0..3 {
            agent.platform().clock().advance_ms(2 * DAY_MS);
            talk(service, agent).unwrap();
        }
    });
    bench.service.remove(holder, &removed_id, HOME).unwrap();
    // The disk dies; last night's backup comes back.
    let (lost, _) = (bench.service.clone(), ());
    for suffix in ["-wal", "-shm", ""] {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "what is not there needs no removal"
        )]
        let _ = std::fs::remove_file(format!("{}{suffix}", db.display()));
    }
    drop(lost);
    std::fs::copy(&backup, &db).unwrap();
    bench.restart();
    removed.service = bench.service.clone();
    kept.service = bench.service.clone();
    removed.boot(|service, agent| {
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Locked(LockReason::Revoked));
    });
    kept.boot(|service, agent| {
        agent.platform().clock().advance_ms(2 * DAY_MS);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    let row = bench.service.store.activation(&kept_id).unwrap().unwrap();
    assert_eq!(row.revoked, None);
    assert!(row.generation >= 3);
}

/// What a disk, a copying tool or another program may leave in the revocation
/// log costs its own line.
#[test]
fn attack_57_a_line_of_the_revocation_log_that_is_torn_or_foreign_costs_itself_alone() {
    use std::io::Write as _;
    let mut bench = Bench::new();
    let holder = bench.account(0);
    let mut removed = bench.device("NRD-STB-57A", 57);
    let mut before = bench.device("NRD-STB-57B", 58);
    let mut kept = bench.device("NRD-STB-57C", 59);
    let mut ids = Vec::new();
    for tv in [&mut removed, &mut before, &mut kept] {
        bench.service.advance_s(1);
        tv.boot(|service, agent| activate(service, agent, holder, true));
        ids.push(bench.newest(0).id);
    }
    let db = bench.dir.path().join("service.db");
    let backup = bench.dir.path().join("backup.db");
    bench.service.store.back_up(&backup).unwrap();
    let log = bench.dir.path().join("revocations.log");
    let id = |n: usize| nrd_sim::base::hex(&ids[n]);
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    let huge = vec![b'7'; 3 << 20];
    for line in [
        format!("{} remo", id(2)).as_bytes(),
        format!("2 {} removed 1800000000", id(2)).as_bytes(),
        format!("2 {} removed 1800000000 00000000", id(2)).as_bytes(),
        format!("{} lost", id(2)).as_bytes(),
        b"\xff\xfe\0\xc3 no text",
        &huge,
        // As older versions wrote it: it counts.
        format!("{} removed", id(1)).as_bytes(),
    ] {
        file.write_all(line).unwrap();
        file.write_all(b"\n").unwrap();
    }
    bench.service.remove(holder, &ids[0], HOME).unwrap();
    // The end of the file is torn as well.
    file.write_all(format!("\n2 {} re", id(2)).as_bytes())
        .unwrap();
    for suffix in ["-wal", "-shm", ""] {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "what is not there needs no removal"
        )]
        let _ = std::fs::remove_file(format!("{}{suffix}", db.display()));
    }
    std::fs::copy(&backup, &db).unwrap();
    bench.restart();
    let text = bench.service.metrics();
    assert!(
        text.contains("nrd_revocation_log_unreadable_total 7\n"),
        "no alarm: {text}"
    );
    for tv in [&mut removed, &mut before] {
        tv.service = bench.service.clone();
        tv.boot(|service, agent| {
            talk_later(service, agent);
            assert_eq!(agent.state(), State::Locked(LockReason::Revoked));
        });
    }
    kept.service = bench.service.clone();
    kept.boot(|service, agent| {
        agent.platform().clock().advance_ms(2 * DAY_MS);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    // Shortened, it says the same and raises the alarm no more.
    bench.service.shorten_revocations().unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() < 400);
    std::fs::copy(&backup, &db).unwrap();
    bench.restart();
    let text = bench.service.metrics();
    assert!(text.contains("nrd_revocation_log_unreadable_total 0\n"));
    for (id, revoked) in ids.iter().zip([true, true, false]) {
        let row = bench.service.store.activation(id).unwrap().unwrap();
        assert_eq!(row.revoked.is_some(), revoked);
    }
}

#[test]
fn a_removal_in_the_middle_of_a_check_in_hands_its_order_out_at_once() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-RACE", 52);
    for round in 0..100 {
        tv.boot(|service, agent| {
            activate(service, agent, holder, true);
            agent.platform().clock().advance_ms(2 * DAY_MS);
            let id = bench.newest(0).id;
            std::thread::scope(|scope| {
                let removal = scope.spawn(|| {
                    // At another moment of the check-in each time.
                    std::thread::sleep(std::time::Duration::from_micros(round % 12 * 40));
                    bench.service.remove(holder, &id, HOME).unwrap();
                });
                talk(service, agent).unwrap();
                removal.join().unwrap();
            });
            // It heard the order, or nothing of the removal yet; never that it
            // is closed, without the order that goes with it.
            let state = agent.state();
            assert!(
                matches!(state, State::Active | State::Clean),
                "{state:?} in round {round}"
            );
            talk_later(service, agent);
            assert_eq!(agent.state(), State::Clean, "round {round}");
        });
        bench.service.advance_s(1);
    }
}

#[test]
fn a_new_policy_locks_until_consent_and_destroys_nothing() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-S10", 10);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent
            .put(Class::Email, 1, b"alexandra@example.com")
            .unwrap();
        bench.service.store.raise_policy(2).unwrap();
        agent.platform().clock().advance_ms(DAY_MS);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Locked(LockReason::ConsentDue));
        assert!(matches!(
            bench.service.consent(holder, 1, HOME),
            Err(Error::WrongState)
        ));
        bench.service.consent(holder, 2, HOME).unwrap();
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Active);
        assert_eq!(agent.status().policy, Some(2));
        assert_eq!(agent.get(Class::Email, 1, &mut [0; 64]), Ok(21));
    });
}

#[test]
fn nobody_removes_or_sees_what_is_not_theirs() {
    let bench = Bench::new();
    let (holder, other) = (bench.account(0), bench.account(1));
    let mut tv = bench.device("NRD-STB-IDOR", 40);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let id = bench.newest(0).id;
    let s = &bench.service;
    assert!(matches!(s.remove(other, &id, HOME), Err(Error::NotFound)));
    assert!(matches!(
        s.order_sign_out(other, &id, HOME),
        Err(Error::NotFound)
    ));
    assert!(matches!(
        s.store.rename(other, &id, "x"),
        Err(Error::NotFound)
    ));
    assert!(matches!(s.store.receipt(other, &id), Err(Error::NotFound)));
    assert!(s.devices(other).unwrap().is_empty());
    assert_eq!(bench.newest(0).phase, ActivationPhase::Active);
}

#[test]
fn signing_out_here_or_there_keeps_the_device_on_the_list_and_signing_in_again_replaces_it() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-OUT", 41);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        bench
            .service
            .order_sign_out(holder, &bench.newest(0).id, HOME)
            .unwrap();
        talk_later(service, agent);
        assert_eq!(agent.state(), State::SignedOut);
        assert_eq!(standing(&bench, 0), DeviceStatus::SignedOut);
        bench.service.advance_s(5);
        activate(service, agent, holder, true);
        assert_eq!(agent.state(), State::Active);
        agent.sign_out().unwrap();
        talk_later(service, agent);
        assert_eq!(standing(&bench, 0), DeviceStatus::SignedOut);
    });
    let living = bench.service.devices(holder).unwrap();
    assert_eq!(living.iter().filter(|d| !d.over()).count(), 1);
}

/// Found by the model checker: the page said "Removal ordered" of it until the
/// device's next wipe.
#[test]
fn a_removal_of_a_signed_out_activation_ends_when_the_device_is_activated_again() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-AGAIN", 42);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent.sign_out().unwrap();
        talk_later(service, agent);
        let before = bench.newest(0).id;
        bench.service.remove(holder, &before, HOME).unwrap();
        assert_eq!(standing(&bench, 0), DeviceStatus::Removing);
        bench.service.advance_s(5);
        activate(service, agent, holder, true);
        talk_later(service, agent);
        let row = bench.service.store.activation(&before).unwrap().unwrap();
        assert_eq!(row.phase, ActivationPhase::Ended);
        assert_eq!(agent.state(), State::Active);
        assert_eq!(standing(&bench, 0), DeviceStatus::Active);
    });
}

/// A status list that names `devices`, in the service's folder.
fn status_list(bench: &Bench, number: u32, devices: &[&str]) -> std::path::PathBuf {
    let now = bench.service.now_s();
    let list = StatusList {
        number,
        issued_at: now,
        next_update: now + 30 * 86_400,
        devices: devices.iter().map(|&d| d.to_owned()).collect(),
        ..StatusList::default()
    };
    let path = bench.dir.path().join(format!("status-{number}.bin"));
    std::fs::write(&path, list.sign(bench.service.keys.maker()).unwrap()).unwrap();
    path
}

#[test]
fn attack_59_a_device_that_its_maker_bars_gets_nothing_but_its_orders() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-BAR", 59);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let bars = |number, devices: &[&str]| {
        let file = status_list(&bench, number, devices);
        bench.service.use_lists(vec![file]).unwrap();
    };
    bars(1, &["NRD-STB-BAR", "NRD-STB-NEW"]);
    tv.boot(|service, agent| {
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Locked(LockReason::Revoked));
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Barred);
    // Taken off the list, it goes on; and on it once more, it is locked again.
    bars(2, &[]);
    tv.boot(|service, agent| {
        agent.platform().clock().advance_ms(2 * DAY_MS);
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Active);
    });
    bars(3, &["NRD-STB-BAR", "NRD-STB-NEW"]);
    // Its removal reaches it, and what it signs proves nothing.
    bench
        .service
        .remove(holder, &bench.newest(0).id, HOME)
        .unwrap();
    tv.boot(|service, agent| {
        talk_later(service, agent);
        assert!(agent.is_clean());
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::WipeFailed);
    // Nor is it activated, nor a new one enrolled.
    let mut new = bench.device("NRD-STB-NEW", 60);
    for device in [&mut tv, &mut new] {
        device.boot(|service, agent| {
            agent.start_activation().unwrap();
            talk_later(service, agent);
            assert_eq!(
                (agent.state(), agent.status().code),
                (State::Activating, None)
            );
        });
    }
    assert!(bench.service.store.device("NRD-STB-NEW").unwrap().is_none());
    // An older list, and what is none, change nothing.
    for file in [
        status_list(&bench, 2, &[]),
        bench.dir.path().join("maker.key"),
    ] {
        assert!(bench.service.use_lists(vec![file]).is_err());
    }
}
