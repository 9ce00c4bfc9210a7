//! The audit: what is in it, and that nobody changes it.

mod common;

use common::{Device, account};
use nrd_sim_service::audit::{AuditKind, Origin};
use nrd_sim_service::store::AccountId;
use nrd_sim_service::{Service, Settings};
use serde_json::Value;
use std::sync::Arc;
use tempfile::TempDir;

fn service() -> (TempDir, Arc<Service>, AccountId) {
    let home = tempfile::tempdir().unwrap();
    let service = Service::open(home.path(), Settings::default()).unwrap();
    let account = account(&service);
    (home, service, account)
}

fn exported(service: &Service, since: u64, until: u64) -> Vec<Value> {
    let mut lines = Vec::new();
    let count = service.export_audit(since, until, |line| {
        lines.push(serde_json::from_str(line).unwrap());
        Ok(())
    });
    assert_eq!(count.unwrap(), lines.len() as u64);
    lines
}

#[test]
fn who_did_what_to_which_device_is_in_the_audit_by_ids_alone() {
    let (_home, service, account) = service();
    let mut device = Device::new(&service);
    device.activate(7, account);
    let from = Origin {
        address: "192.0.2.77",
        browser: Some([0xB7; 8]),
    };
    service.remove(account, &[7; 16], from).unwrap();
    let session = service
        .sign_in(account, false, "Firefox on Linux", "192.0.2.78")
        .unwrap();
    service.rotate_order_key().unwrap();
    let all = exported(&service, 0, u64::MAX);
    let find = |kind: &str| {
        let found = all.iter().rfind(|entry| entry["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {all:#?}"))
    };
    let removal = find("removal-ordered");
    assert_eq!(removal["actor"], "account-holder");
    assert_eq!(removal["account"], account.0);
    assert_eq!(removal["browser"], "b7b7b7b7b7b7b7b7");
    assert_eq!(removal["activation"], "07".repeat(16));
    assert_eq!(removal["outcome"], "done");
    let order = service.store.orders(&[7; 16]).unwrap().remove(0);
    assert_eq!(removal["order"], nrd_sim_base::hex(&order.digest));
    assert_eq!(find("activated")["activation"], "07".repeat(16));
    assert_eq!(find("order-key-rotated")["number"], 2);
    assert_eq!(find("order-key-rotated")["actor"], "operator");
    let browser = find("signed-in")["browser"].as_str().unwrap();
    assert_eq!(browser.len(), 16);
    let text = format!("{all:?}");
    for personal in ["192.0.2.7", "Firefox", "NRD-STB-1", &session.session] {
        assert!(!text.contains(personal), "{personal} is in {text}");
    }
    // Until before a moment, and from it on.
    let now = service.now_s();
    assert!(exported(&service, 0, now - 100).is_empty());
    assert_eq!(exported(&service, now - 100, now + 100).len(), all.len());
}

#[test]
fn sqlite_refuses_every_change_to_the_audit_but_the_purge_of_what_is_old() {
    let (home, service, account) = service();
    let mut device = Device::new(&service);
    device.activate(7, account);
    let raw = rusqlite::Connection::open(home.path().join("service.db")).unwrap();
    let count = || exported(&service, 0, u64::MAX).len();
    let before = count();
    for change in [
        "UPDATE audit SET account = 9",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = 1",
    ] {
        let refused = raw.execute_batch(change).unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{change}: {refused}");
    }
    assert_eq!(count(), before);
    let now = service.now_s();
    service.advance_s(1000);
    service.remove(account, &[7; 16], "192.0.2.2").unwrap();
    let gone = service.store.purge_audit(now + 500, now + 1000).unwrap();
    assert_eq!(gone.entries, before as u64);
    assert!(gone.oldest.unwrap() >= now - 5 && gone.newest.unwrap() <= now + 5);
    let left = exported(&service, 0, u64::MAX);
    let kinds: Vec<&str> = left.iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["removal-ordered", "audit-purged"]);
    assert_eq!(left[1]["number"], before);
    // What was purged stays said, whatever is purged later.
    service.advance_s(1000);
    let gone = service
        .store
        .purge_audit(now + 1500, service.now_s())
        .unwrap();
    assert_eq!(gone.entries, 1);
    let left = exported(&service, 0, u64::MAX);
    assert!(left.iter().all(|e| e["kind"] == "audit-purged"));
    assert_eq!(left.len(), 2);
    // A purge leaves nothing open, for the old either.
    let old = "INSERT INTO audit (at, kind, outcome) VALUES (1, 'restored', 'done')";
    raw.execute_batch(old).unwrap();
    assert!(raw.execute_batch("DELETE FROM audit WHERE at = 1").is_err());
}

#[test]
fn operations_lists_every_kind_of_the_audit_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATIONS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, table) = text
        .split_once("| kind | actor | when |\n|---|---|---|\n")
        .unwrap();
    let listed: Vec<(&str, &str)> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`'), cells[2])
        })
        .collect();
    let known: Vec<(&str, &str)> = AuditKind::all()
        .map(|kind| (kind.name(), kind.actor().name()))
        .collect();
    assert_eq!(listed, known);
}

/// A device that says the same again and again, or answers an order anew each time.
#[test]
fn a_device_does_not_fill_the_audit() {
    use nrd_agent::wire::{ActivationId, Ask, Losses, OrderOutcome, OrderResult};
    let (_home, service, account) = service();
    let mut device = Device::new(&service);
    device.activate(7, account);
    service
        .order_sign_out(account, &[7; 16], "192.0.2.2")
        .unwrap();
    let order = service.store.orders(&[7; 16]).unwrap().remove(0).digest;
    let once = |device: &mut Device, n: usize| {
        device.losses = Losses {
            session: n.is_multiple_of(2),
            ..Losses::default()
        };
        let result = match n % 2 {
            0 => OrderResult::Applied,
            _ => OrderResult::Stale,
        };
        let outcome = OrderOutcome {
            device_id: device.id,
            order,
            result,
            epoch: 0,
        };
        let signed = nrd_sim_base::sign::signed(&device.key, &outcome);
        let frame = device.request(Ask::Outcome { outcome: &signed });
        device.post(&frame);
        let frame = device.request(Ask::SignedOut {
            activation_id: ActivationId([7; 16]),
            epoch: 0,
        });
        device.post(&frame);
    };
    once(&mut device, 0);
    let first = exported(&service, 0, u64::MAX);
    let answered = first.iter().find(|e| e["kind"] == "order-answered");
    assert_eq!(answered.unwrap()["outcome"], "done");
    for n in 1..20 {
        once(&mut device, n);
    }
    let grown = exported(&service, 0, u64::MAX).len() - first.len();
    assert!(grown <= 1, "{grown} more entries");
}

/// What a receiver of security events is told of a device's two owners.
#[test]
fn no_receiver_of_security_events_can_follow_a_device_to_its_next_owner() {
    use nrd_sim_service::store::{Outbox, Sealed};
    let (_home, service, first) = service();
    let sealed = |_| Ok(Sealed::default());
    let second = service
        .store
        .add_account(&[2; 32], "$argon2id$", 1, sealed)
        .unwrap();
    service.store.use_outbox(Outbox::Events, true).unwrap();
    let mut device = Device::new(&service);
    for (id, account) in [(1, first), (2, second), (3, second)] {
        device.activate(id, account);
        service.remove(account, &[id; 16], "192.0.2.2").unwrap();
    }
    let due = service
        .store
        .take_due(Outbox::Events, service.now_s(), 60, 10)
        .unwrap();
    let told: Vec<Value> = due
        .iter()
        .map(|row| serde_json::from_slice(&row.body).unwrap())
        .collect();
    let [one, two, three] = told.as_slice() else {
        panic!("{told:#?}");
    };
    let part = |told: &Value, name: &str| told["sub_id"][name]["id"].as_str().unwrap().to_owned();
    for name in ["user", "device", "session"] {
        assert_ne!(part(one, name), part(two, name), "{name}");
    }
    // At one account it is the same device, and the owner's receiver may know that.
    assert_eq!(part(two, "device"), part(three, "device"));
    assert!(told.iter().all(|t| !t.to_string().contains("NRD-STB-1")));
    assert!(due.iter().all(|row| !row.topic.contains("NRD-STB-1")));
}
