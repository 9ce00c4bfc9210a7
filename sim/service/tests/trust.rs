//! What a device states that it trusts, lost and wiped, and what the service makes
//! of it; with requests made by hand.

mod common;

use common::{Device, FIRST, account, delegation, heard, honest_receipt, service};
use nrd_agent::wire::{
    self, Ask, Delegation, KeyVersion, LeaseTerms, Losses, MAX_FRAME, Method, Receipt, RefusalCode,
    RootChange, SectorCounts, Subject, TrustVersion, WipeReason,
};
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::sign::signed;
use nrd_sim_service::events::EventKind;
use nrd_sim_service::store::ActivationPhase;
use nrd_sim_service::{Error, Service, Settings};
use std::time::{Duration, Instant};

/// FINDINGS S7: the service believed that the device had the new delegation, and
/// the removal was never carried out.
#[test]
fn an_old_hello_posted_again_changes_nothing() {
    let service = service();
    let mut device = Device::new(&service);
    let old = {
        let fresh = Device::new(&service);
        fresh.challenge
    };
    assert_eq!(old, device.challenge, "a Hello takes no challenge away");
    device.challenge = [0; 32];
    device.losses.snapshot = true;
    let hello = device.hello();
    device.losses.snapshot = false;
    device.post(&hello);
    assert_eq!(device.start(1).refused, None);
    let seen = service.store.device("NRD-STB-1").unwrap().unwrap();
    service.advance_s(3600);
    let activation = service.store.activation(&[1; 16]).unwrap().unwrap();

    service.rotate_order_key().unwrap();
    let replayed = heard(&service.answer(&hello, "203.0.113.9").unwrap());
    assert_eq!(replayed.challenge, device.challenge);
    let after = service.store.device("NRD-STB-1").unwrap().unwrap();
    assert_eq!(after.losses, seen.losses, "its losses are not believed");
    let same = service.store.activation(&[1; 16]).unwrap().unwrap();
    assert_eq!(
        same.last_seen, activation.last_seen,
        "it is no sign of life"
    );
    // The device goes on, and gets the delegation that it states to lack: each
    // time, until it states that it has it.
    for _ in 0..2 {
        let told = device.check_in(1);
        assert_ne!(told.refused, Some(RefusalCode::StaleChallenge));
        let new = delegation(&told.delegation.unwrap());
        assert_eq!(new.version.delegation, 2);
        assert_eq!(new.order_key_version, KeyVersion(2));
    }
    device.trust.delegation = 2;
    assert_eq!(device.check_in(1).delegation, None);
    // One that lost it, or never had one, says so with a zero.
    device.trust.delegation = 0;
    assert!(device.check_in(1).delegation.is_some());
}

#[test]
fn a_root_follows_the_one_before_it_and_each_step_is_signed_by_the_last() {
    let service = service();
    let mut device = Device::new(&service);
    let account = account(&service);
    device.activate(1, account);
    assert_eq!(service.replace_root().unwrap(), 1);
    assert_eq!(service.replace_root().unwrap(), 2);
    assert!(service.rotate_order_key().is_ok());
    service.remove(account, &[1; 16], "192.0.2.2").unwrap();

    // An order could not be verified by it yet: it is not sent.
    let first = device.check_in(1);
    let root = service.keys.root_public();
    let step: RootChange =
        wire::decode_signed::<_, RingCrypto>(&first.root.unwrap(), &root).unwrap();
    assert_eq!(
        (step.version, first.delegation, first.order),
        (1, None, None)
    );
    assert_eq!(first.refused, Some(RefusalCode::StaleChallenge));

    device.trust = TrustVersion {
        root: 1,
        delegation: 0,
    };
    let second = device.check_in(1);
    let next: RootChange =
        wire::decode_signed::<_, RingCrypto>(&second.root.unwrap(), &step.root).unwrap();
    assert_eq!(next.version, 2);
    let frame = second.delegation.unwrap();
    let delegation: Delegation = wire::decode_signed::<_, RingCrypto>(&frame, &next.root).unwrap();
    let newest = TrustVersion {
        root: 2,
        delegation: 2,
    };
    // Its own number began anew; the order key's did not fall.
    assert_eq!(delegation.version, newest);
    assert_eq!(delegation.order_key_version, KeyVersion(4));
    let order: wire::Order =
        wire::decode_signed::<_, RingCrypto>(&second.order.unwrap(), &delegation.order_key)
            .unwrap();
    assert_eq!(order.key_version, KeyVersion(4));

    device.trust = newest;
    let third = device.check_in(1);
    assert_eq!((third.root, third.delegation), (None, None));
    assert!(third.order.is_some());
}

/// The order is signed again while the device waits for it: with a key that it
/// does not have yet.
#[test]
fn a_waiting_check_in_is_told_of_a_rotation_with_the_order_that_follows_it() {
    let service = service();
    let mut device = Device::new(&service);
    let account = account(&service);
    device.activate(1, account);
    let frame = device.check_in_frame(1, 20);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let waiting = runtime.spawn(
        service
            .clone()
            .answer_waiting(frame, "192.0.2.1".to_owned()),
    );
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!waiting.is_finished(), "it waits");
    service.rotate_order_key().unwrap();
    service.remove(account, &[1; 16], "192.0.2.2").unwrap();
    let told = heard(&runtime.block_on(waiting).unwrap().unwrap());
    let order: wire::Order = wire::peek(&told.order.unwrap()).unwrap();
    let sent = delegation(&told.delegation.unwrap());
    assert_eq!(order.key_version, sent.order_key_version);
}

#[test]
fn default_terms_lie_between_what_the_root_allows() {
    let service = service();
    let frame = service.store.delegation().unwrap().unwrap().frame;
    let bounds = delegation(&frame).bounds;
    let terms = service.settings.terms;
    assert_eq!(terms.held_between(&bounds), terms);
    let hostile = LeaseTerms {
        renew_after_s: 0,
        expires_after_s: 0,
        max_boots: 0,
        dead_man_s: 1,
    };
    let held = hostile.held_between(&bounds);
    assert!(held.expires_after_s >= 86_400 && held.max_boots >= 50);
    assert!(held.dead_man_s >= 30 * 86_400);
    let endless = LeaseTerms {
        expires_after_s: u32::MAX,
        ..hostile
    };
    assert!(endless.held_between(&bounds).expires_after_s <= 60 * 86_400);
}

#[test]
fn what_a_device_lost_is_an_entry_once_and_gone_when_it_states_it_no_more() {
    let service = service();
    let mut device = Device::new(&service);
    let account = account(&service);
    device.activate(1, account);
    let entries = |kind| {
        let all = service.events(account, 100).unwrap();
        all.iter().filter(|e| e.kind == kind).count()
    };
    for (losses, kind) in [
        (
            Losses {
                session: true,
                ..Losses::default()
            },
            EventKind::SessionLost,
        ),
        (
            Losses {
                receipt: true,
                ..Losses::default()
            },
            EventKind::ReceiptLost,
        ),
        (
            Losses {
                snapshot: true,
                ..Losses::default()
            },
            EventKind::MemoryDamaged,
        ),
    ] {
        device.losses = losses;
        device.check_in(1);
        device.start(2);
        device.check_in(1);
        assert_eq!(entries(kind), 1, "{kind:?}");
        let shown = service.devices(account).unwrap();
        assert_eq!(shown[0].row.losses, losses);
        device.losses = Losses::default();
        device.check_in(1);
        let shown = service.devices(account).unwrap();
        assert_eq!(shown[0].row.losses, Losses::default());
        // A second one is news again.
        device.losses = losses;
        device.check_in(1);
        assert_eq!(entries(kind), 2, "{kind:?}");
        device.losses = Losses::default();
    }
    // The delegation is sent again at once: nobody needs to know.
    let before = service.events(account, 100).unwrap().len();
    device.losses.delegation = true;
    device.check_in(1);
    assert_eq!(service.events(account, 100).unwrap().len(), before);
}

/// A device without a readable snapshot introduces itself and can say no more.
#[test]
fn a_hello_over_the_challenge_in_force_is_believed_and_no_other() {
    let service = service();
    let mut device = Device::new(&service);
    let account = account(&service);
    device.activate(1, account);
    device.losses.snapshot = true;
    let challenge = std::mem::take(&mut device.challenge);
    let stale = device.hello();
    device.post(&stale);
    assert_eq!(device.challenge, challenge);
    let lost = |service: &Service| service.devices(account).unwrap()[0].row.losses.snapshot;
    assert!(!lost(&service));
    let fresh = device.hello();
    device.post(&fresh);
    assert!(lost(&service));
    assert_ne!(device.challenge, challenge, "it is used up");
    assert!(fresh.len() <= MAX_FRAME);
}

#[test]
fn a_root_whose_key_is_not_here_signs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::open(home.path(), Settings::default()).unwrap();
    assert_eq!(service.replace_root().unwrap(), 1);
    let key = home.path().join("root-1.key");
    let away = home.path().join("elsewhere");
    std::fs::rename(&key, &away).unwrap();
    let before = service.store.delegation().unwrap().unwrap().version;
    for refused in [service.rotate_order_key(), service.replace_root()] {
        assert!(
            matches!(&refused, Err(Error::File(path, _)) if *path == key),
            "{refused:?}"
        );
    }
    assert_eq!(service.store.delegation().unwrap().unwrap().version, before);
    assert_eq!(service.store.roots().unwrap().len(), 1);
    // It comes back, also after a restart.
    std::fs::rename(&away, &key).unwrap();
    drop(service);
    let service = Service::open(home.path(), Settings::default()).unwrap();
    assert_eq!(service.replace_root().unwrap(), 2);
    assert!(home.path().join("root-2.key").exists());
}

/// A database of the release before: its delegation has a form that no device
/// reads any more, and its order key's version must not fall.
#[test]
fn a_database_from_before_roots_had_versions_gets_a_delegation_in_todays_form() {
    let home = tempfile::tempdir().unwrap();
    let raw = rusqlite::Connection::open(home.path().join("service.db")).unwrap();
    for step in [
        include_str!("../src/store/migrations/1.sql"),
        include_str!("../src/store/migrations/2.sql"),
    ] {
        raw.execute_batch(&step.replace("NUMBERED INTEGER", "INTEGER"))
            .unwrap();
    }
    raw.execute_batch(
        "PRAGMA user_version = 2; UPDATE meta SET value = 2 WHERE key = 'schema'; \
         INSERT INTO delegations VALUES (3, x'00'); \
         INSERT INTO devices VALUES ('NRD-STB-1', zeroblob(32), 'Box', 'set-top-box', '1.0.0', \
         3, NULL, 0, NULL);",
    )
    .unwrap();
    drop(raw);
    let service = Service::open(home.path(), Settings::default()).unwrap();
    let row = service.store.delegation().unwrap().unwrap();
    assert_eq!((row.order_key, row.version), (4, FIRST));
    assert_eq!(delegation(&row.frame).order_key_version, KeyVersion(4));
    let device = service.store.device("NRD-STB-1").unwrap().unwrap();
    assert_eq!(device.losses, Losses::default());
}

/// What becomes of an activation whose device signs `change` of an honest receipt.
fn phase_after(change: impl FnOnce(&mut Receipt<'_>)) -> ActivationPhase {
    let service = service();
    let account = account(&service);
    let mut device = Device::new(&service);
    device.activate(1, account);
    let certificate = device.certificate.clone();
    let mut receipt = honest_receipt(&certificate, [1; 16], 5);
    change(&mut receipt);
    let frame = signed(&device.key, &receipt);
    let request = device.request(Ask::Receipt { receipt: &frame });
    assert_eq!(device.post(&request).refused, None, "it is kept");
    let row = service.store.activation(&[1; 16]).unwrap().unwrap();
    let devices = service.devices(account).unwrap();
    assert_eq!(devices.len(), 1);
    row.phase
}

/// FINDINGS R1: the page said "Proven wiped" for each of these, well signed.
#[test]
fn attack_50_a_receipt_that_contradicts_itself_is_kept_and_proves_nothing() {
    assert_eq!(phase_after(|_| {}), ActivationPhase::Wiped);
    let contradictions: [fn(&mut Receipt<'_>); 7] = [
        |r| r.flags.slots_blank = false,
        |r| r.sectors.failed = 5,
        |r| r.sectors.erased = 0,
        |r| r.sectors = SectorCounts::default(),
        |r| r.counter = 0,
        |r| {
            r.epoch = 4;
            r.counter = 5;
        },
        |r| {
            if let Subject::Wipe { reason, .. } = &mut r.subject {
                *reason = WipeReason::Order;
            }
        },
    ];
    for (n, change) in contradictions.into_iter().enumerate() {
        assert_eq!(phase_after(change), ActivationPhase::WipeFailed, "case {n}");
    }
    let failed = phase_after(|r| {
        r.method = Method::Failed;
        r.sectors.erased = 57;
        r.sectors.failed = 1;
    });
    assert_eq!(failed, ActivationPhase::WipeFailed);
}
