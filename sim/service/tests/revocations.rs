//! Revocations that outlive the database, and databases that are brought back.

mod common;

use common::{Device, account};
use nrd_sim_service::store::{RevocationReason, Store, restore_sqlite, revocation_line};
use nrd_sim_service::{Service, Settings};
use std::io::Write as _;
use std::path::Path;

fn append(dir: &Path, text: &str) {
    let mut how = std::fs::OpenOptions::new();
    let log = how.append(true).open(dir.join("revocations.log"));
    log.unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_long_log_is_sent_in_batches_and_at_the_next_start_only_what_is_new() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let line = |n: u32| {
        let mut id = [0xA7; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        revocation_line(id, RevocationReason::Removed, 1_800_000_000)
    };
    append(home.path(), &(0..20_000).map(line).collect::<String>());
    let done = store.replay().unwrap();
    assert_eq!((done.lines, done.statements), (20_000, 3));
    drop(store);
    let store = Store::open(home.path()).unwrap();
    append(home.path(), &(20_000..20_002).map(line).collect::<String>());
    let done = store.replay().unwrap();
    assert_eq!((done.lines, done.statements), (2, 1));
    // A log that is not the one that was applied is applied wholly.
    let log = home.path().join("revocations.log");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, &text[text.len() / 2..]).unwrap();
    assert_eq!(store.replay().unwrap().lines, 10_001);
    assert_eq!(store.replay().unwrap().lines, 0);
}

/// Monday's copy after Wednesday's, and Wednesday's after Monday's.
#[test]
fn databases_of_different_days_restored_in_either_order_forget_no_removal() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let open = || Service::open(&dir, Settings::default()).unwrap();
    let service = open();
    let account = account(&service);
    let mut device = Device::new(&service);
    for id in 1..=4 {
        device.activate(id, account);
    }
    drop(device);
    let copy = |day: &str| home.path().join(day);
    let remove = |service: &Service, id: u8| {
        service.remove(account, &[id; 16], "192.0.2.2").unwrap();
    };
    let (monday, wednesday) = (copy("monday.db"), copy("wednesday.db"));
    service.store.back_up(&monday).unwrap();
    remove(&service, 1);
    service.store.back_up(&wednesday).unwrap();
    remove(&service, 2);
    drop(service);
    let db = dir.join("service.db");
    let check = |from: &Path, removed: &[u8]| {
        restore_sqlite(&db, from).unwrap();
        let service = open();
        for id in 1..=4 {
            let row = service.store.activation(&[id; 16]).unwrap().unwrap();
            assert_eq!(row.revoked.is_some(), removed.contains(&id), "{id}");
        }
        service
    };
    let service = check(&wednesday, &[1, 2]);
    remove(&service, 3);
    service.shorten_revocations().unwrap();
    drop(service);
    drop(check(&monday, &[1, 2, 3]));
    drop(check(&wednesday, &[1, 2, 3]));
}
