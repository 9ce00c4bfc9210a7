//! What a device states that it trusts, lost and wiped, and what the service makes
//! of it; with requests made by hand.

use nrd_agent::wire::{
    self, ActivationId, Answer, Ask, Delegation, DeviceId, DeviceKind, KeyVersion, LeaseTerms,
    Losses, MAX_FRAME, MakerCertificate, Method, Receipt, ReceiptFlags, RefusalCode, Reply,
    Request, RootChange, SectorCounts, Subject, TrustVersion, WipeReason,
};
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::sign::{keypair, public, signed};
use nrd_sim_service::events::EventKind;
use nrd_sim_service::host::System;
use nrd_sim_service::store::{AccountId, ActivationPhase, ActivationRow, Sealed};
use nrd_sim_service::{Error, Keys, Service, Settings};
use ring::signature::Ed25519KeyPair;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A device of which there is nothing but its key.
struct Device {
    service: Arc<Service>,
    key: Ed25519KeyPair,
    certificate: Vec<u8>,
    id: DeviceId,
    challenge: [u8; 32],
    trust: TrustVersion,
    losses: Losses,
}

/// What a reply says of roots and keys, and its answer.
struct Heard {
    challenge: [u8; 32],
    root: Option<Vec<u8>>,
    delegation: Option<Vec<u8>>,
    refused: Option<RefusalCode>,
    order: Option<Vec<u8>>,
}

const FIRST: TrustVersion = TrustVersion {
    root: 0,
    delegation: 1,
};

fn service() -> Arc<Service> {
    let keys = Keys::new(&[1; 32], &[2; 32], &[3; 32]);
    Service::in_memory(keys, Settings::default(), System).unwrap()
}

impl Device {
    fn new(service: &Arc<Service>) -> Device {
        let key = keypair(&[9; 32]);
        let id = DeviceId::new("NRD-STB-1").unwrap();
        let certificate = MakerCertificate {
            device_id: id,
            public_key: public(&key),
            model: "Box".try_into().unwrap(),
            kind: DeviceKind::SetTopBox,
        };
        let mut device = Device {
            service: service.clone(),
            certificate: signed(service.keys.maker(), &certificate),
            key,
            id,
            challenge: [0; 32],
            trust: FIRST,
            losses: Losses::default(),
        };
        let frame = device.hello();
        device.post(&frame);
        device
    }

    fn request(&self, ask: Ask<'_>) -> Vec<u8> {
        let request = Request {
            device_id: self.id,
            challenge: self.challenge,
            nonce: [7; 16],
            agent_version: [1, 0, 0],
            trust: self.trust,
            losses: self.losses,
            ask,
        };
        signed(&self.key, &request)
    }

    fn hello(&self) -> Vec<u8> {
        self.request(Ask::Hello {
            certificate: &self.certificate,
        })
    }

    /// Posts a frame; the challenge of the reply is the next one.
    fn post(&mut self, frame: &[u8]) -> Heard {
        let heard = heard(&self.service.answer(frame, "192.0.2.1").unwrap());
        self.challenge = heard.challenge;
        heard
    }

    fn start(&mut self, id: u8) -> Heard {
        let frame = self.request(Ask::ActivateStart {
            activation_id: ActivationId([id; 16]),
            epoch: 0,
            previous_receipt: None,
        });
        self.post(&frame)
    }

    fn check_in_frame(&self, id: u8, wait_s: u16) -> Vec<u8> {
        self.request(Ask::CheckIn {
            activation_id: ActivationId([id; 16]),
            epoch: 0,
            proof: None,
            renew: false,
            wait_s,
            powered_s: 0,
            policy: Default::default(),
        })
    }

    fn check_in(&mut self, id: u8) -> Heard {
        let frame = self.check_in_frame(id, 0);
        self.post(&frame)
    }

    fn activate(&mut self, id: u8, account: AccountId) -> ActivationRow {
        self.start(id);
        let row = self.service.store.activation(&[id; 16]).unwrap().unwrap();
        self.service
            .approve(account, &row, 1, true, "192.0.2.2")
            .unwrap()
    }
}

fn heard(reply: &[u8]) -> Heard {
    let reply: Reply<'_> = wire::decode(reply).unwrap();
    let (refused, order) = match reply.answer {
        Answer::Refused { code, .. } => (Some(code), None),
        Answer::CheckedIn { order, .. } => (None, order.map(<[u8]>::to_vec)),
        _ => (None, None),
    };
    Heard {
        challenge: reply.challenge,
        root: reply.root.map(<[u8]>::to_vec),
        delegation: reply.delegation.map(<[u8]>::to_vec),
        refused,
        order,
    }
}

fn account(service: &Service) -> AccountId {
    let sealed = |_| Ok(Sealed::default());
    service
        .store
        .add_account(&[1; 32], "$argon2id$", 1, sealed)
        .unwrap()
}

fn delegation(frame: &[u8]) -> Delegation {
    wire::peek(frame).unwrap()
}

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

fn honest_receipt(certificate: &[u8], activation: [u8; 16], powered_s: u32) -> Receipt<'_> {
    Receipt {
        certificate,
        subject: Subject::Wipe {
            reason: WipeReason::Local,
            order: None,
            activation_id: ActivationId(activation),
            previous: None,
        },
        epoch: 0,
        counter: 1,
        method: Method::Purge,
        sectors: SectorCounts {
            total: 58,
            erased: 58,
            failed: 0,
        },
        flags: ReceiptFlags {
            slots_blank: true,
            ..ReceiptFlags::default()
        },
        agent_version: [1, 0, 0],
        powered_s,
        wall_s: None,
    }
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

/// An honest receipt that this device signs; `powered_s` makes it one of its own.
fn wiped(device: &Device, activation: [u8; 16], powered_s: u32) -> Vec<u8> {
    let receipt = honest_receipt(&device.certificate, activation, powered_s);
    signed(&device.key, &receipt)
}

/// FINDINGS S10: one device key made 2,000 activations and 2,000 receipts, and
/// nothing was ever deleted.
#[test]
fn attack_59_one_device_key_fills_no_database() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::open(home.path(), Settings::default()).unwrap();
    let account = account(&service);
    let mut device = Device::new(&service);
    device.activate(1, account);
    let db = rusqlite::Connection::open(home.path().join("service.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, u32>(0)).unwrap();

    // Attempts: so many a day, then the device is told to slow down.
    let mut begun = 0;
    for n in 0..500u16 {
        let mut id = [0xAA; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let ask = device.request(Ask::ActivateStart {
            activation_id: ActivationId(id),
            epoch: 7,
            previous_receipt: None,
        });
        match device.post(&ask).refused {
            None => begun += 1,
            Some(code) => assert_eq!(code, RefusalCode::SlowDown),
        }
    }
    assert_eq!(begun, 300);
    // Receipts of the account's own activation: the first ones stay, whatever
    // follows. The same one again is no other.
    let mut kept = 0;
    for n in 0..40 {
        let receipt = wiped(&device, [1; 16], n / 2);
        let ask = device.request(Ask::Receipt { receipt: &receipt });
        match device.post(&ask).refused {
            None => kept += 1,
            Some(code) => assert_eq!(code, RefusalCode::SlowDown),
        }
    }
    assert_eq!(kept, 32);
    assert_eq!(count("SELECT count(*) FROM receipts"), 16);
    // Receipts of activations that nobody had: the newest stay.
    for n in 0..100 {
        let receipt = wiped(&device, [0xBB; 16], 1000 + n);
        let ask = device.request(Ask::Receipt { receipt: &receipt });
        assert_eq!(device.post(&ask).refused, None, "receipt {n}");
    }
    assert_eq!(count("SELECT count(*) FROM receipts"), 16 + 64);

    // A day later the attempts are gone but the newest, which keeps the epoch.
    service.purge().unwrap();
    assert_eq!(count("SELECT count(*) FROM activations"), 301);
    service.advance_s(86_400 + 10);
    service.purge().unwrap();
    assert_eq!(count("SELECT count(*) FROM activations"), 2);
    let old = device.request(Ask::ActivateStart {
        activation_id: ActivationId([9; 16]),
        epoch: 6,
        previous_receipt: None,
    });
    assert_eq!(device.post(&old).refused, Some(RefusalCode::BadRequest));
    let next = device.request(Ask::ActivateStart {
        activation_id: ActivationId([9; 16]),
        epoch: 7,
        previous_receipt: None,
    });
    assert_eq!(device.post(&next).refused, None);
    // After 400 days what nobody had is gone, and the account's receipts are not.
    service.advance_s(400 * 86_400);
    service.purge().unwrap();
    assert_eq!(count("SELECT count(*) FROM receipts"), 16);
    assert_eq!(service.devices(account).unwrap().len(), 1);
}

#[test]
fn what_accounts_and_guessers_leave_behind_is_bounded() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::open(home.path(), Settings::default()).unwrap();
    let account = account(&service);
    let db = rusqlite::Connection::open(home.path().join("service.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, u32>(0)).unwrap();
    // Guessers that make e-mail addresses up: once their address waits, nothing more
    // is remembered of them.
    for n in 0..200 {
        let email = format!("p{n}@example.com");
        drop(service.check_password(&email, "guess", "203.0.113.9"));
    }
    let tries = count("SELECT count(*) FROM attempts");
    assert!((50..60).contains(&tries), "{tries} rows of tries");
    let first = service
        .sign_in(account, true, "Firefox", "192.0.2.1")
        .unwrap();
    for _ in 0..150 {
        service.advance_s(1);
        service
            .sign_in(account, true, "Firefox", "192.0.2.1")
            .unwrap();
    }
    assert_eq!(count("SELECT count(*) FROM sessions"), 100);
    assert_eq!(count("SELECT count(*) FROM computers"), 100);
    assert!(
        !service.session_lasts(&first.session).unwrap(),
        "the oldest ends"
    );
    let now = service.now_s();
    db.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 7000) \
         INSERT INTO events (account, at, kind, subject) \
         SELECT {}, {now}, 'signed-in', '' FROM n",
        account.0
    ))
    .unwrap();
    service.purge().unwrap();
    assert_eq!(count("SELECT count(*) FROM events"), 5000);
    service.advance_s(401 * 86_400);
    service.purge().unwrap();
    for table in ["attempts", "sessions", "computers", "events"] {
        assert_eq!(
            count(&format!("SELECT count(*) FROM {table}")),
            0,
            "{table}"
        );
    }
}

/// Orders that wait for as many devices, under the order key in force, in a database
/// that nobody else uses. The activations' ids begin with `from`.
fn waiting_orders(home: &std::path::Path, account: AccountId, from: u8, number: u32) {
    let mut db = rusqlite::Connection::open(home.join("service.db")).unwrap();
    let tx = db.transaction().unwrap();
    for n in 0..number {
        let mut id = [from; 16];
        id[1..5].copy_from_slice(&n.to_be_bytes());
        let device = format!("NRD-W-{from}-{n}");
        let put = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            tx.prepare_cached(sql).unwrap().execute(values).unwrap();
        };
        put(
            "INSERT INTO devices (id, public_key, model, kind, agent_version, last_seen) \
             VALUES (?1, zeroblob(32), 'Box', 'set-top-box', '1.0.0', 0)",
            &[&device],
        );
        put(
            "INSERT INTO activations (id, device, epoch, account, phase, revoked, pictogram, \
             created, policy, series) VALUES (?1, ?2, 0, ?3, 'removing', 'removed', 0, 0, 1, ?1)",
            &[&id, &device, &account.0],
        );
        put(
            "INSERT INTO orders VALUES (?1, ?1, \
             (SELECT max(version) FROM delegations), 1, 'deactivate', x'00', 0, NULL)",
            &[&id],
        );
    }
    tx.commit().unwrap();
}

/// FINDINGS S6: 25 s in one transaction, and a removal meanwhile failed.
#[test]
fn attack_56_while_an_order_key_is_rotated_over_many_orders_removals_go_on() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::open(home.path(), Settings::default()).unwrap();
    let account = account(&service);
    let mut device = Device::new(&service);
    waiting_orders(home.path(), account, 1, 10_000);
    let mine: Vec<u8> = (200..=250).collect();
    for id in &mine {
        device.activate(*id, account);
    }
    let db = rusqlite::Connection::open(home.path().join("service.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, u32>(0)).unwrap();
    let removed_meanwhile = std::thread::scope(|scope| {
        let rotation = scope.spawn(|| service.rotate_order_key().unwrap());
        let mut removed = 0;
        while service.store.newest_order_key().unwrap() == 1 {
            std::thread::yield_now();
        }
        for id in &mine {
            service.remove(account, &[*id; 16], "192.0.2.2").unwrap();
            let finished = rotation.is_finished();
            removed += u32::from(!finished);
        }
        assert_eq!(rotation.join().unwrap(), 2);
        removed
    });
    println!("{removed_meanwhile} removals during the rotation");
    assert!(removed_meanwhile > 10, "only {removed_meanwhile} meanwhile");
    let waiting = "SELECT count(*) FROM orders WHERE outcome IS NULL";
    assert_eq!(count(waiting), 10_000 + 51);
    assert_eq!(count(&format!("{waiting} AND key_version = 2")), 10_051);
    let of_each = "SELECT count(DISTINCT activation) FROM orders WHERE outcome IS NULL";
    assert_eq!(count(of_each), 10_051, "one for each activation");
}

/// The rotation was cut off, or has not come to it yet.
#[test]
fn an_order_under_a_retired_key_is_signed_again_when_its_device_asks() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::open(home.path(), Settings::default()).unwrap();
    let account = account(&service);
    let mut device = Device::new(&service);
    device.activate(0xEE, account);
    assert_eq!(service.rotate_order_key().unwrap(), 2);
    waiting_orders(home.path(), account, 1, 500);
    let db = rusqlite::Connection::open(home.path().join("service.db")).unwrap();
    let sql = "INSERT INTO orders VALUES (zeroblob(32), ?1, 1, 1, 'deactivate', x'00', 0, NULL)";
    db.execute(sql, [[0xEE; 16]]).unwrap();
    db.execute("UPDATE orders SET key_version = 1", []).unwrap();
    let left = || {
        let sql = "SELECT count(*) FROM orders WHERE outcome IS NULL AND key_version = 1";
        db.query_row(sql, [], |r| r.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(left(), 501);
    let told = device.check_in(0xEE);
    let order: wire::Order = wire::peek(&told.order.unwrap()).unwrap();
    assert_eq!(order.key_version, KeyVersion(2));
    let told = delegation(&told.delegation.unwrap());
    assert_eq!(told.order_key_version, KeyVersion(2));
    assert_eq!(left(), 500, "that one alone");
    // What is left is signed by the next who looks after the house.
    service.sign_waiting_again().unwrap();
    assert_eq!(left(), 0);
}
