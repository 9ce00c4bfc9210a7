//! Order keys are replaced while orders wait and removals go on.

mod common;

use common::{Device, account, delegation};
use nrd_agent::wire::{self, KeyVersion};
use nrd_sim_service::store::AccountId;
use nrd_sim_service::{Service, Settings};
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
    // One removal between every two batches, on a thread of its own: a rotation that
    // holds on to anything would never let it end.
    let mut left = mine.iter();
    let mut removed = 0;
    let version = service.rotate_order_key_with(|| {
        let Some(&id) = left.next() else { return };
        let (done, is_done) = std::sync::mpsc::channel();
        let service = service.clone();
        std::thread::spawn(move || {
            let removal = service.remove(account, &[id; 16], "192.0.2.2");
            done.send(removal.is_ok()).unwrap();
        });
        let answered = is_done.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(answered, Ok(true), "a removal between two batches");
        removed += 1;
    });
    assert_eq!(version.unwrap(), 2);
    assert_eq!(removed, 49, "one between each two of 50 batches");
    for id in left {
        service.remove(account, &[*id; 16], "192.0.2.2").unwrap();
    }
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
