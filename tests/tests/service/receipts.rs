//! Receipts held against the orders that were given; what a maker's list bars.

use super::{DAY_MS, standing};
use nrd_agent::State;
use nrd_agent::wire::{Ask, LockReason, Receipt, Request, Subject, peek};
use nrd_sim::base::sign::signed;
use nrd_sim::device::{ServiceEndpoint, exchange, settle};
use nrd_sim::forensics::verify::StatusList;
use nrd_sim::hw::device_key;
use nrd_sim::service::account::DeviceStatus;
use nrd_sim::world::InProcess;
use nrd_tests::bench::{Bench, HOME, activate, talk_later};

/// Changes the receipts that pass, and signs them again: a device that lies.
struct Liar<'s> {
    service: &'s mut InProcess,
    key: ring::signature::Ed25519KeyPair,
    order: [u8; 32],
}

impl ServiceEndpoint for Liar<'_> {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let mut said: Request<'_> = peek(request).unwrap();
        let Ask::Receipt { receipt } = said.ask else {
            return self.service.answer(request);
        };
        let mut lie: Receipt<'_> = peek(receipt).unwrap();
        if let Subject::Wipe { order, .. } = &mut lie.subject {
            assert!(order.is_some());
            *order = Some(self.order);
        }
        let lie = signed(&self.key, &lie);
        said.ask = Ask::Receipt { receipt: &lie };
        self.service.answer(&signed(&self.key, &said))
    }
}

#[test]
fn a_receipt_is_held_against_the_orders_that_were_given() {
    let bench = Bench::new();
    let holder = bench.account(0);
    // (what happens to the order, what the account says)
    for (n, id) in ["NRD-STB-O1", "NRD-STB-O2", "NRD-STB-O3", "NRD-STB-O4"]
        .into_iter()
        .enumerate()
    {
        let mut tv = bench.device(id, 60 + n as u64);
        tv.boot(|service, agent| activate(service, agent, holder, true));
        let activation = bench.newest(0).id;
        if n == 2 {
            bench
                .service
                .order_sign_out(holder, &activation, HOME)
                .unwrap();
        }
        let sign_out = bench.service.store.next_order(&activation).unwrap();
        bench.service.remove(holder, &activation, HOME).unwrap();
        let order = bench
            .service
            .store
            .next_order(&activation)
            .unwrap()
            .unwrap();
        let db = bench.dir.path().join("service.db");
        let key = device_key(&tv.root, id);
        tv.boot(|service, agent| {
            // By a stick, before the device hears of the newer key.
            agent.apply_order(&order.frame, &mut [0; 192]).unwrap();
            settle(agent).unwrap();
            match n {
                // The order was signed anew under the next key meanwhile.
                0 => {
                    bench.service.rotate_order_key().unwrap();
                    talk_later(service, agent);
                }
                // A copy that was brought back has forgotten it.
                1 => {
                    let db = rusqlite::Connection::open(db).unwrap();
                    let gone = "DELETE FROM orders WHERE activation = ?1";
                    assert_eq!(db.execute(gone, [&activation]).unwrap(), 1);
                    talk_later(service, agent);
                }
                // The device names an order to sign out, or none of the service's.
                _ => {
                    let order = sign_out.as_ref().map_or([7; 32], |o| o.digest);
                    let mut liar = Liar {
                        service,
                        key,
                        order,
                    };
                    // The service keeps the lie; the device knows only what it signed.
                    while let Ok(true) = exchange(&mut liar, agent) {}
                }
            }
        });
        let expected = if n < 2 {
            DeviceStatus::Wiped
        } else {
            DeviceStatus::WipeFailed
        };
        let row = bench.newest(0);
        assert_eq!(
            (row.id, standing(&bench, 0)),
            (activation, expected),
            "{id}"
        );
        bench.service.advance_s(1);
    }
}

/// A status list that names `devices`, in the service's folder.
fn status_list(bench: &Bench, number: u32, devices: &[&str]) -> std::path::PathBuf {
    let now = bench.service.now_s();
    let list = StatusList {
        number,
        issued_at: now,
        next_update: now + 30 * 86_400,
        devices: devices.iter().map(|&d| d.to_owned()).collect(),
        ..StatusList::default()
    };
    let path = bench.dir.path().join(format!("status-{number}.bin"));
    std::fs::write(&path, list.sign(bench.service.keys.maker()).unwrap()).unwrap();
    path
}

#[test]
fn attack_59_a_device_that_its_maker_bars_gets_nothing_but_its_orders() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-BAR", 59);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let bars = |number, devices: &[&str]| {
        let file = status_list(&bench, number, devices);
        bench.service.use_lists(vec![file]).unwrap();
    };
    bars(1, &["NRD-STB-BAR", "NRD-STB-NEW"]);
    tv.boot(|service, agent| {
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Locked(LockReason::Revoked));
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Barred);
    // Taken off the list, it goes on; and on it once more, it is locked again.
    bars(2, &[]);
    tv.boot(|service, agent| {
        agent.platform().clock().advance_ms(2 * DAY_MS);
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Active);
    });
    bars(3, &["NRD-STB-BAR", "NRD-STB-NEW"]);
    // Its removal reaches it, and what it signs proves nothing.
    bench
        .service
        .remove(holder, &bench.newest(0).id, HOME)
        .unwrap();
    tv.boot(|service, agent| {
        talk_later(service, agent);
        assert!(agent.is_clean());
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::WipeFailed);
    // Nor is it activated, nor a new one enrolled.
    let mut new = bench.device("NRD-STB-NEW", 60);
    for device in [&mut tv, &mut new] {
        device.boot(|service, agent| {
            agent.start_activation().unwrap();
            talk_later(service, agent);
            assert_eq!(
                (agent.state(), agent.status().code),
                (State::Activating, None)
            );
        });
    }
    assert!(bench.service.store.device("NRD-STB-NEW").unwrap().is_none());
    // An older list, and what is none, change nothing.
    for file in [
        status_list(&bench, 2, &[]),
        bench.dir.path().join("maker.key"),
    ] {
        assert!(bench.service.use_lists(vec![file]).is_err());
    }
}
