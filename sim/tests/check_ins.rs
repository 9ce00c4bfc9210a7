//! Challenges of devices at rest at two services on one PostgreSQL.

#[path = "../service/tests/common/mod.rs"]
mod by_hand;
mod common;

use by_hand::heard;
use by_hand::remembered::{Remembered, writes};
use common::skip;
use nrd_agent::wire::RefusalCode;
use nrd_sim::load::postgres::Server;
use nrd_sim::service::{Service, ServicePaths, Settings};
use std::path::Path;
use std::sync::Arc;

const STALE: Option<RefusalCode> = Some(RefusalCode::StaleChallenge);

fn process(home: &Path, name: &str, server: &Server) -> Arc<Service> {
    let place = ServicePaths {
        dir: home.join(name),
        keys: home.join("keys"),
        database: Some(server.url()),
    };
    Service::open_on(&place, Settings::default()).unwrap()
}

#[test]
fn a_challenge_is_accepted_once_over_two_processes_on_postgresql() {
    let Some(server) = Server::start() else {
        return skip("PostgreSQL", "challenges over two processes");
    };
    let home = tempfile::tempdir().unwrap();
    let both = ["a", "b"].map(|name| process(home.path(), name, &server));
    let mut tv = Remembered::at(&both[0]);
    let (mut held, mut of_the_row) = (0, 0);
    for round in 0..120 {
        // Posted to both at once, four times each.
        let frame = tv.frame(false);
        let told: Vec<_> = std::thread::scope(|scope| {
            let post = |n: usize| {
                let (service, frame) = (&both[n % 2], &frame);
                scope.spawn(move || (n % 2, heard(&service.answer(frame, "192.0.2.1").unwrap())))
            };
            let all: Vec<_> = (0..8).map(post).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let taken: Vec<_> = told.iter().filter(|(_, h)| h.refused.is_none()).collect();
        assert!(
            told.iter()
                .all(|(_, h)| h.refused.is_none() || h.refused == STALE)
        );
        let [(at, taken)] = taken[..] else {
            panic!("{} of 8 were accepted in round {round}", taken.len());
        };
        // Held at that process, so the other answers `StaleChallenge` with the
        // row's, which both take.
        tv.device.challenge = taken.challenge;
        tv.device.service = both[1 - at].clone();
        if round % 3 == 0 {
            assert_eq!(tv.check_in().refused, STALE);
            of_the_row += 1;
        } else {
            held += 1;
        }
    }
    assert!(held > 0 && of_the_row > 0);
    assert_eq!(tv.now().revoked, None);
}

#[test]
fn a_check_in_at_rest_writes_nothing_to_postgresql() {
    let Some(server) = Server::start() else {
        return skip("PostgreSQL", "check-ins at rest");
    };
    let home = tempfile::tempdir().unwrap();
    let service = process(home.path(), "a", &server);
    // Its own upkeep writes as well.
    server.sql("ALTER SYSTEM SET autovacuum = off");
    server.sql("SELECT pg_reload_conf()");
    let mut tv = Remembered::at(&service);
    // Numbers of transactions are given to those alone that write.
    let newest = || server.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())");
    let (written, counted) = (newest(), writes(&service));
    for _ in 0..500 {
        assert_eq!(tv.check_in().refused, None);
    }
    assert_eq!(newest(), written);
    assert_eq!(writes(&service), counted);
}
