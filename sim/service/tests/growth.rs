//! What devices and people leave behind is bounded, by number and by age.

mod common;

use common::{Device, account, honest_receipt};
use nrd_agent::wire::{ActivationId, Ask, RefusalCode};
use nrd_sim_base::sign::signed;
use nrd_sim_service::{Service, Settings};
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
