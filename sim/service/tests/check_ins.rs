//! Check-ins of a device at rest, which write nothing, and what must hold all the
//! same.

mod common;

use common::remembered::{Remembered, WAIT_S, writes};
use common::{Heard, heard};
use nrd_agent::wire::{DeviceKind, MakerCertificate, RefusalCode};
use nrd_sim_base::sign::{public, signed};
use nrd_sim_service::store::RevocationReason;
use nrd_sim_service::{Service, Settings};
use std::path::Path;
use std::sync::Arc;

const STALE: Option<RefusalCode> = Some(RefusalCode::StaleChallenge);

fn open(dir: &Path) -> Arc<Service> {
    Service::open(dir, Settings::default()).unwrap()
}

#[test]
fn a_check_in_at_rest_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path());
    let mut tv = Remembered::at(&service);
    // Another connection sees whether anything was committed.
    let other = rusqlite::Connection::open(dir.path().join("service.db")).unwrap();
    let version = || -> i64 {
        let version = other.pragma_query_value(None, "data_version", |r| r.get(0));
        version.unwrap()
    };
    let (counted, seen) = (writes(&service), version());
    for _ in 0..1000 {
        assert_eq!(tv.check_in().refused, None);
    }
    assert_eq!(writes(&service), counted);
    assert_eq!(version(), seen);
    // What is new of it is written.
    tv.device.losses.receipt = true;
    assert_eq!(tv.check_in().refused, None);
    assert_eq!(writes(&service), counted + 1);
    assert_ne!(version(), seen);
    assert!(tv.now().losses.receipt);
}

#[test]
fn a_device_that_waits_is_noted_once_in_an_hour() {
    let service = common::service();
    let mut tv = Remembered::at(&service);
    let (before, first) = (writes(&service), tv.now().last_seen);
    let check_ins = 10 * 3600 / WAIT_S;
    for _ in 0..check_ins {
        service.advance_s(WAIT_S);
        assert_eq!(tv.check_in().refused, None);
        let heard = tv.now().last_seen;
        assert!(service.now_s() - heard <= 3600, "as late as is said");
    }
    let written = writes(&service) - before;
    assert!((9..=10).contains(&written), "{written} writes");
    assert!(written as f64 / check_ins as f64 <= 0.05);
    assert!(tv.now().last_seen > first + 8 * 3600);
}

#[test]
fn a_held_challenge_is_accepted_once() {
    let service = common::service();
    let mut tv = Remembered::at(&service);
    for _ in 0..50 {
        let frame = tv.frame(false);
        let told: Vec<Heard> = std::thread::scope(|scope| {
            let post = || heard(&service.answer(&frame, "192.0.2.1").unwrap());
            let all: Vec<_> = (0..8).map(|_| scope.spawn(post)).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let taken: Vec<&Heard> = told.iter().filter(|h| h.refused.is_none()).collect();
        let [taken] = taken[..] else {
            panic!("{} of 8 were accepted", taken.len());
        };
        assert!(
            told.iter()
                .all(|h| h.refused.is_none() || h.refused == STALE)
        );
        tv.device.challenge = taken.challenge;
    }
}

#[test]
fn a_lost_answer_costs_one_retry() {
    let service = common::service();
    let mut tv = Remembered::at(&service);
    for renew in [false, true] {
        let frame = tv.frame(renew);
        let lost = service.answer(&frame, "192.0.2.1").unwrap();
        assert_eq!(heard(&lost).refused, None);
        assert_eq!(tv.device.post(&frame).refused, STALE);
        let again = tv.frame(renew);
        assert_eq!(tv.device.post(&again).refused, None);
        assert_eq!(tv.now().generation, 1);
    }
}

#[test]
fn a_process_started_anew_takes_no_challenge_that_it_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let mut tv = Remembered::at(&open(dir.path()));
    tv.device.service = open(dir.path());
    assert_eq!(tv.check_in().refused, STALE);
    assert_eq!(tv.check_in().refused, None);
    let before = writes(&tv.device.service);
    assert_eq!(tv.check_in().refused, None);
    assert_eq!(writes(&tv.device.service), before, "at rest again");
}

#[test]
fn a_removal_is_heard_by_a_device_at_rest() {
    let service = common::service();
    let mut tv = Remembered::at(&service);
    let holder = tv.row.account.unwrap();
    assert_eq!(tv.check_in().order, None);
    service.remove(holder, &tv.row.id, "192.0.2.2").unwrap();
    let before = writes(&service);
    let frame = tv.frame(false);
    let told = tv.device.post(&frame);
    assert!(told.order.is_some());
    assert_eq!(writes(&service), before);
    // Nothing is held in the place of what was taken.
    let again = heard(&service.answer(&frame, "192.0.2.1").unwrap());
    assert_eq!((again.refused, again.order), (STALE, None));
    // Over the challenge that came with it, which any process takes.
    tv.device.challenge = told.challenge;
    assert!(tv.check_in().order.is_some());
}

/// A request that was kept back on its way to one process, while the device went
/// on at another, shows an older token: so does a thief.
#[test]
fn a_request_kept_back_is_no_theft() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(dir.path()), open(dir.path()));
    let mut tv = Remembered::at(&a);
    let kept = tv.frame(false);
    tv.device.service = b.clone();
    assert_eq!(tv.check_in().refused, STALE);
    assert_eq!(tv.check_in().refused, None);
    // It would change nothing, and is over all the same.
    assert_eq!(heard(&a.answer(&kept, "192.0.2.1").unwrap()).refused, STALE);

    tv.device.service = a.clone();
    assert_eq!(tv.check_in().refused, STALE);
    assert_eq!(tv.check_in().refused, None);
    let kept = tv.frame(false);
    tv.device.service = b.clone();
    assert_eq!(tv.check_in().refused, STALE);
    let renewal = tv.frame(true);
    assert_eq!(tv.device.post(&renewal).refused, None);
    tv.generation = 2;
    assert_eq!(tv.check_in().refused, None);
    assert_eq!(tv.now().generation, 2);

    let late = heard(&a.answer(&kept, "192.0.2.1").unwrap());
    assert_eq!(late.refused, STALE);
    assert_eq!(tv.now().revoked, None);
    assert_eq!(tv.check_in().refused, None);
}

#[test]
fn a_copied_token_is_found_over_a_held_challenge() {
    let service = common::service();
    let mut tv = Remembered::at(&service);
    let renewal = tv.frame(true);
    tv.device.post(&renewal);
    tv.generation = 2;
    tv.check_in();
    tv.check_in();
    // A copy of the flash that went on with the token before.
    tv.generation = 1;
    tv.check_in();
    assert_eq!(tv.now().revoked, Some(RevocationReason::Theft));
}

#[test]
fn attack_55_a_recorded_hello_sent_again_changes_nothing() {
    let service = common::service();
    let mut tv = Remembered::at(&service);
    tv.device.losses.snapshot = true;
    let resting = std::mem::take(&mut tv.device.challenge);
    let recorded = tv.device.hello();
    tv.device.challenge = resting;
    tv.device.losses.snapshot = false;
    // Its agent was updated since: what the old one says of it is over.
    tv.device.agent_version = [1, 1, 0];
    assert_eq!(tv.check_in().refused, None);
    let resting = tv.device.challenge;
    service.advance_s(600);
    let (before, written) = (tv.now(), writes(&service));
    for _ in 0..1000 {
        let told = heard(&service.answer(&recorded, "203.0.113.9").unwrap());
        assert_eq!(told.refused, None);
        assert_ne!(told.challenge, tv.device.challenge);
    }
    assert_eq!(writes(&service), written);
    let after = tv.now();
    assert_eq!(after.losses, before.losses, "its losses are not believed");
    assert_eq!(after.last_seen, before.last_seen, "it is no sign of life");
    assert_eq!(after.last_address, before.last_address);
    assert_eq!(after.agent_version, "1.1.0");
    // Nor with a certificate that says something else.
    let older = MakerCertificate {
        device_id: tv.device.id,
        public_key: public(&tv.device.key),
        model: "Box, first made".try_into().unwrap(),
        kind: DeviceKind::SetTopBox,
    };
    let newer = std::mem::replace(
        &mut tv.device.certificate,
        signed(service.keys.maker(), &older),
    );
    (tv.device.challenge, tv.device.agent_version) = ([0; 32], [1, 0, 0]);
    let recorded = tv.device.hello();
    (tv.device.challenge, tv.device.agent_version) = (resting, [1, 1, 0]);
    tv.device.certificate = newer;
    service.answer(&recorded, "203.0.113.9").unwrap();
    assert_eq!(tv.now().agent_version, "1.1.0");
    let written = writes(&service);
    // It pushed out no challenge: the device goes on without a retry.
    assert_eq!(tv.check_in().refused, None);
    assert_eq!(writes(&service), written);
}
