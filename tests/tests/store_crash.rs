//! Databases and services that die in the middle of removals, and what is
//! found afterwards: nothing half done, nothing that was answered lost.

use nrd_agent::State;
use nrd_agent::wire::LockReason;
use nrd_sim::base::{hex, unhex};
use nrd_sim::load::postgres::{Server, signal};
use nrd_sim::service::account::DeviceStatus;
use nrd_sim::service::store::{
    ActivationPhase, ActivationRow, FaultKind, NewActivation, RevocationReason,
};
use nrd_sim::service::{Error, Service, ServicePaths};
use nrd_tests::bench::{Bench, HOME, activate, settings, talk_later};
use nrd_tests::external_tools::skip;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Activations in use, without a device behind them.
fn activations(bench: &Bench, round: u32, n: u32) -> Vec<[u8; 16]> {
    let holder = bench.account(0);
    let store = &bench.service.store;
    let now = bench.service.now_s();
    let made = (0..n).map(|i| {
        let mut id = [round as u8; 16];
        id[..4].copy_from_slice(&i.to_le_bytes());
        let device = format!("CRASH-{round}-{i}");
        let row = nrd_sim::service::store::DeviceRow {
            id: device.clone(),
            public_key: [7; 32],
            model: "Box".into(),
            kind: nrd_agent::wire::DeviceKind::SetTopBox,
            agent_version: "1".into(),
            losses: nrd_agent::wire::Losses::default(),
        };
        store.enroll(&row, &[1; 32], now).unwrap();
        store
            .start_activation(&NewActivation {
                id,
                device: &device,
                epoch: 0,
                code: format!("{round}-{i}"),
                pictogram: 0,
                series: id,
                previous_receipt: None,
                now,
                code_life_s: 600,
            })
            .unwrap();
        store.approve(&id, holder, true, 1, now, 600).unwrap();
        id
    });
    made.collect()
}

/// Wholly removed, or not touched at all.
fn whole(service: &Service, id: &[u8; 16]) -> bool {
    let row: ActivationRow = service.store.activation(id).unwrap().unwrap();
    let orders = service.store.orders(id).unwrap().len();
    match row.phase {
        ActivationPhase::Removing => {
            assert_eq!(row.revoked, Some(RevocationReason::Removed), "{id:?}");
            assert_eq!(orders, 1, "{id:?}: one order");
            assert!(service.store.next_order(id).unwrap().is_some());
            true
        }
        ActivationPhase::Approved => {
            assert_eq!(orders, 0, "{id:?}: an order without a removal");
            false
        }
        other => panic!("{id:?} is {other:?}"),
    }
}

/// Removes from several threads of two processes' services; `strike` falls when
/// `after` removals were answered. Returns those that were answered with `Ok`.
fn removals(
    services: &[Arc<Service>; 2],
    holder: nrd_sim::service::store::AccountId,
    ids: &[[u8; 16]],
    after: usize,
    strike: impl FnOnce() + Send,
) -> Vec<[u8; 16]> {
    let done = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (done, next) = (&done, &next);
            let service = &services[n % 2];
            scope.spawn(move || {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match service.remove(holder, id, HOME) {
                        Ok(()) => done.lock().unwrap().push(*id),
                        Err(Error::Storage(f)) => {
                            assert!(matches!(f.kind, FaultKind::Away | FaultKind::Unsure), "{f}")
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(60);
        while done.lock().unwrap().len() < after && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        strike();
    });
    done.into_inner().unwrap()
}

#[test]
fn postgresql_killed_in_the_middle_of_removals_leaves_nothing_half_done() {
    let Some(server) = Server::start() else {
        return skip("PostgreSQL", "the crash tests on PostgreSQL");
    };
    let mut server = server;
    let bench = Bench::on(Some(server.url()));
    let holder = bench.account(0);
    // The second process shares keys and database, and has a folder of its own.
    let second = tempfile::tempdir().unwrap();
    let place = ServicePaths {
        dir: second.path().to_owned(),
        keys: bench.dir.path().to_owned(),
        database: Some(server.url()),
    };
    let other = Service::open_on(&place, settings()).unwrap();
    let services = [bench.service.clone(), other];
    for round in 0..4 {
        let ids = activations(&bench, round, 120);
        let answered = removals(
            &services,
            holder,
            &ids,
            20 + 11 * round as usize,
            || match round % 2 {
                0 => server.kill(),
                _ => server.stop_at_once(),
            },
        );
        let healthy = bench.service.store.healthy();
        assert!(healthy.is_err(), "no false health while it is away");
        server.switch_on();
        let stored = ids.iter().filter(|id| whole(&bench.service, id)).count();
        for id in &answered {
            assert!(whole(&bench.service, id), "{id:?} was answered, and lost");
        }
        println!(
            "round {round}: {} answered, {stored} stored of {}",
            answered.len(),
            ids.len()
        );
        assert!(answered.len() < ids.len(), "it was struck in the middle");
        // And it goes on, at both processes.
        for (n, id) in ids.iter().enumerate() {
            services[n % 2].remove(holder, id, HOME).unwrap();
            assert!(whole(&bench.service, id));
        }
    }
}

/// Set for the child of the next test: the folder of its service.
const CHILD: &str = "NRD_TEST_REMOVES_IN";

#[test]
fn a_service_killed_in_the_middle_of_removals_on_sqlite_leaves_nothing_half_done() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return remove_until_killed(Path::new(&dir));
    }
    let mut bench = Bench::new();
    for round in 0..5 {
        let ids = activations(&bench, round, 400);
        let home = bench.dir.path();
        let list: Vec<String> = ids.iter().map(|id| hex(id)).collect();
        std::fs::write(home.join("ids"), list.join("\n")).unwrap();
        // The same program, as a process of its own.
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("a_service_killed_in_the_middle_of_removals_on_sqlite_leaves_nothing_half_done")
            .env(CHILD, home)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut answered: Vec<[u8; 16]> = Vec::new();
        for line in lines.map_while(Result::ok) {
            if let Some(id) = line.split("removed ").nth(1) {
                answered.extend(unhex::<16>(id));
            }
            if answered.len() == 15 + 20 * round as usize {
                signal(child.id(), "KILL");
            }
        }
        child.wait().unwrap();
        assert!(answered.len() > 10 && answered.len() < ids.len());
        bench.restart();
        let stored = ids.iter().filter(|id| whole(&bench.service, id)).count();
        for id in &answered {
            assert!(whole(&bench.service, id), "{id:?} was answered, and lost");
        }
        println!(
            "round {round}: {} answered, {stored} stored",
            answered.len()
        );
        let holder = bench.account(0);
        for id in &ids {
            bench.service.remove(holder, id, HOME).unwrap();
            assert!(whole(&bench.service, id));
        }
    }
    let devices = bench.service.devices(bench.account(0)).unwrap();
    assert!(devices.iter().all(|d| d.status == DeviceStatus::Removing));
}

fn remove_until_killed(dir: &Path) {
    let service = Service::open(dir, settings()).unwrap();
    let list = std::fs::read_to_string(dir.join("ids")).unwrap();
    let ids: Vec<[u8; 16]> = list.lines().filter_map(unhex).collect();
    let row = service.store.activation(&ids[0]).unwrap().unwrap();
    let holder = row.account.unwrap();
    std::thread::scope(|scope| {
        for part in ids.chunks(ids.len() / 4) {
            let service = &service;
            scope.spawn(move || {
                for id in part {
                    service.remove(holder, id, HOME).unwrap();
                    println!("removed {}", hex(id));
                }
            });
        }
    });
}

#[test]
fn postgresql_restored_from_a_dump_forgets_no_removal() {
    let Some(server) = Server::start() else {
        return skip("PostgreSQL", "restore of a dump");
    };
    let bench = Bench::on(Some(server.url()));
    let holder = bench.account(0);
    let ids = activations(&bench, 0, 2);
    let port = server.port.to_string();
    let to_it = ["-h", "127.0.0.1", "-U", "postgres", "-p", &port];
    let dump = server.home().join("dump");
    let made = server
        .program("pg_dump")
        .args(to_it)
        .args(["--format=custom", "--file"])
        .arg(&dump)
        .arg("postgres")
        .status();
    // The folder is root's where the test is root's; let its user write there.
    assert!(made.unwrap().success());
    bench.service.remove(holder, &ids[0], HOME).unwrap();
    // The processes are still up: the restore breaks their lines.
    let back = server
        .program("pg_restore")
        .args(to_it)
        .args(["--clean", "--if-exists", "--dbname", "postgres"])
        .arg(&dump)
        .status();
    assert!(back.unwrap().success());
    let row = bench.service.store.activation(&ids[0]).unwrap().unwrap();
    assert_eq!(row.revoked, None, "the dump knows nothing of it");
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    );
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let row = bench.service.store.activation(&ids[0]);
        if row.is_ok_and(|r| r.unwrap().revoked == Some(RevocationReason::Removed)) {
            break;
        }
        assert!(Instant::now() < until, "the log was not replayed");
        std::thread::sleep(Duration::from_millis(100));
    }
    let other = bench.service.store.activation(&ids[1]).unwrap().unwrap();
    assert_eq!(other.revoked, None);
}

/// A dump of the database, and the dump brought back over it.
fn dump_and_restore(server: &Server, between: impl FnOnce()) {
    let port = server.port.to_string();
    let to_it = ["-h", "127.0.0.1", "-U", "postgres", "-p", &port];
    let dump = server.home().join("dump");
    let mut made = server.program("pg_dump");
    made.args(to_it)
        .args(["--format=custom", "--file"])
        .arg(&dump);
    assert!(made.arg("postgres").status().unwrap().success());
    between();
    let mut back = server.program("pg_restore");
    back.args(to_it)
        .args(["--clean", "--if-exists", "--dbname", "postgres"]);
    assert!(back.arg(&dump).status().unwrap().success());
}

#[test]
fn after_a_restore_no_token_is_renewed_until_every_log_was_replayed() {
    let Some(mut server) = Server::start() else {
        return skip("PostgreSQL", "logs of two processes after a restore");
    };
    let mut bench = Bench::on(Some(server.url()));
    let holder = bench.account(0);
    let second = tempfile::tempdir().unwrap();
    let (url, keys) = (server.url(), bench.dir.path().to_owned());
    let open = |dir: &Path| {
        let place = ServicePaths {
            dir: dir.to_owned(),
            keys: keys.clone(),
            database: Some(url.clone()),
        };
        Service::open_on(&place, settings()).unwrap()
    };
    let b = open(second.path());
    let mut tv = bench.device("NRD-STB-FENCE", 91);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        talk_later(service, agent);
    });
    let id = bench.newest(0).id;
    let generation = |bench: &Bench| {
        let row = bench.service.store.activation(&id).unwrap().unwrap();
        (row.generation, row.revoked)
    };
    let first = generation(&bench);
    // The removal is in the second process's log alone, and that one is down.
    dump_and_restore(&server, || {
        b.remove(holder, &id, HOME).unwrap();
        drop(b);
    });
    bench.service = open(&keys);
    assert_eq!(bench.service.store.missing_logs(), 1);
    assert!(
        bench
            .service
            .metrics()
            .contains("nrd_revocation_logs_missing 1\n")
    );
    let two_days = 2 * 24 * 3_600_000;
    tv.service = bench.service.clone();
    tv.boot(|service, agent| {
        // A new token counts when it is used.
        for _ in 0..2 {
            agent.platform().clock().advance_ms(two_days);
            talk_later(service, agent);
        }
        assert_eq!(agent.state(), State::Active, "what it has goes on");
    });
    assert_eq!(
        generation(&bench),
        first,
        "a removed device has a new token"
    );
    // Removals go on, of others as well.
    let more = activations(&bench, 3, 1);
    bench.service.remove(holder, &more[0], HOME).unwrap();
    // The second process comes up, and the first hears of it.
    let b = open(second.path());
    eventually(|| bench.service.store.missing_logs() == 0);
    assert_eq!(generation(&bench).1, Some(RevocationReason::Removed));
    tv.boot(|service, agent| {
        agent.platform().clock().advance_ms(two_days);
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Locked(LockReason::Revoked));
    });
    // A start over the same database is no restore, nor is one of the server.
    bench.service = open(&keys);
    assert_eq!(bench.service.store.missing_logs(), 0);
    drop(b);
    server.stop_at_once();
    server.switch_on();
    bench.service = open(&keys);
    assert_eq!(bench.service.store.missing_logs(), 0);
    // A process whose disk is lost does not come back: an operator says so.
    dump_and_restore(&server, || ());
    bench.service = open(&keys);
    let logs = bench.service.store.known_logs().unwrap();
    let missing: Vec<_> = logs.iter().filter(|log| log.missing).collect();
    assert_eq!((logs.len(), missing.len()), (2, 1));
    assert!(bench.service.store.forget_log(&missing[0].name).unwrap());
    eventually(|| bench.service.store.missing_logs() == 0);
}

fn eventually(done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "it did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_full_disk_under_postgresql_is_said_and_removes_nothing_falsely() {
    let Some(server) = Server::start() else {
        return skip("PostgreSQL", "a full disk under it");
    };
    let bench = Bench::on(Some(server.url()));
    let holder = bench.account(0);
    let ids = activations(&bench, 0, 1);
    // What the server answers when a table cannot grow (SQLSTATE 53100).
    server.sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON orders EXECUTE FUNCTION full_disk()",
    );
    match bench.service.remove(holder, &ids[0], HOME) {
        Err(Error::Storage(fault)) => {
            assert_eq!(fault.kind, FaultKind::Full, "{fault}");
            assert!(fault.to_string().contains("make room"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!whole(&bench.service, &ids[0]), "no false success");
    let standing = bench.service.devices(holder).unwrap().remove(0).status;
    assert!(!matches!(
        standing,
        DeviceStatus::Removing | DeviceStatus::Delivered | DeviceStatus::Wiped
    ));
    server.sql("DROP TRIGGER full_disk ON orders");
    bench.service.remove(holder, &ids[0], HOME).unwrap();
    assert!(whole(&bench.service, &ids[0]), "it goes on with room");
}
