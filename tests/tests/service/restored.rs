//! The database: what it holds, what it cannot store, and one brought back from a copy.

use super::DAY_MS;
use nrd_agent::State;
use nrd_agent::wire::LockReason;
use nrd_sim::device::talk;
use nrd_sim::service::Error;
use nrd_sim::service::store::ActivationPhase;
use nrd_tests::bench::{Bench, HOME, activate, talk_later};

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
