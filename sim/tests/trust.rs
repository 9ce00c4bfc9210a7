//! Roots that follow each other, and losses, with the real agent and the real
//! service: over the requests that a device makes by itself.

mod common;

use common::World;
use common::stage::Actor;
use nrd_agent::wire::{self, DeviceKind, LockReason, MAX_FRAME, Request, TrustVersion};
use nrd_agent::{Agent, Next, State};
use nrd_sim::base::sample::Samples;
use nrd_sim::demo::Browser;
use nrd_sim::hw::{Board, ChipSpec};
use nrd_sim::service::account::DeviceStatus;
use nrd_sim::service::events::EventKind;
use nrd_sim::service::store::AccountId;
use nrd_sim::service::{Service, Settings};
use nrd_sim::world::Made;
use std::sync::Arc;
use tempfile::TempDir;

const HOME: &str = "198.51.100.4";

fn service() -> (TempDir, Arc<Service>, AccountId) {
    let home = tempfile::tempdir().unwrap();
    let service = Service::open(home.path(), Settings::default()).unwrap();
    service.add_samples(&Samples::read(None).unwrap()).unwrap();
    (home, service, AccountId(1))
}

/// Talks for as long as the agent has something to say within a minute, 30
/// requests at most; returns what each request stated to trust.
fn talk(service: &Service, agent: &mut Agent<'_, Board>) -> Vec<TrustVersion> {
    let mut stated = Vec::new();
    let mut frame = [0; MAX_FRAME];
    while stated.len() < 30 {
        match agent.poll(&mut frame) {
            Next::Again | Next::Reset => {}
            Next::Post(n) => {
                let request: Request<'_> = wire::peek(&frame[..n]).unwrap();
                stated.push(request.trust);
                let reply = service.answer(&frame[..n], HOME).unwrap();
                agent.handle_reply(&reply).unwrap();
            }
            Next::WaitUntil(until) => {
                let now = nrd_hal::Clock::uptime_ms(&mut agent.platform().clock());
                match until.map(|at| at.saturating_sub(now)) {
                    Some(ms) if ms <= 60_000 => agent.platform().clock().advance_ms(ms),
                    _ => return stated,
                }
            }
        }
    }
    stated
}

fn first(service: &Service, account: AccountId) -> DeviceStatus {
    service.devices(account).unwrap()[0].status
}

#[test]
fn attack_48_a_device_that_missed_two_root_changes_follows_both_and_obeys_the_new_order_key() {
    let (home, service, account) = service();
    let mut tv = Actor::new(&service, "NRD-STB-48", "Lumen Box 3", DeviceKind::SetTopBox);
    tv.activate(account, true, false);
    // While it is off, the service's root is replaced twice.
    assert_eq!(service.replace_root().unwrap(), 1);
    assert_eq!(service.replace_root().unwrap(), 2);
    let id = service.devices(account).unwrap()[0].row.id;
    service.remove(account, &id, HOME).unwrap();
    // The chain outlives the process that made it.
    drop(service);
    let service = Service::open(home.path(), Settings::default()).unwrap();

    let stated = tv.boot(|_, agent| {
        let stated = talk(&service, agent);
        assert_eq!(agent.state(), State::Clean, "the order was obeyed");
        stated
    });
    let at = |root, delegation| TrustVersion { root, delegation };
    let mut steps = stated;
    steps.dedup();
    assert_eq!(steps, [at(0, 1), at(1, 0), at(2, 1)]);
    assert_eq!(first(&service, account), DeviceStatus::Wiped);
    // The next boot begins where this one ended, and so does the next owner.
    let stated = tv.boot(|_, agent| {
        agent.start_activation().unwrap();
        talk(&service, agent)
    });
    assert_eq!(stated.len(), 30, "it polls while its code is on the screen");
    assert!(stated.iter().all(|v| *v == at(2, 1)), "{stated:?}");
}

/// FINDINGS D16: the screen and the page said "Active", after 30 days "connect
/// it" of a device that was connected, and after 120 it wiped itself.
#[test]
fn a_lost_session_is_said_at_once_on_screen_and_page_and_ends_with_a_new_sign_in() {
    let (_home, service, account) = service();
    let mut tv = Actor::new(&service, "NRD-STB-16", "Lumen Box 3", DeviceKind::SetTopBox);
    tv.activate(account, true, false);
    assert_eq!(first(&service, account), DeviceStatus::Active);
    let lost = service.devices(account).unwrap()[0].row.id;
    tv.spoil_slots();
    for _ in 0..2 {
        tv.boot(|_, agent| {
            assert_eq!(agent.state(), State::Locked(LockReason::SessionLost));
            talk(&service, agent);
            assert_eq!(agent.state(), State::Locked(LockReason::SessionLost));
        });
    }
    assert_eq!(first(&service, account), DeviceStatus::SessionLost);
    let entries = || {
        let all = service.events(account, 100).unwrap();
        all.iter()
            .filter(|e| e.kind == EventKind::SessionLost)
            .count()
    };
    assert_eq!(entries(), 1);

    // The way out costs no more than was lost: no wipe, no epoch.
    tv.activate(account, true, false);
    tv.boot(|_, agent| {
        talk(&service, agent);
        assert_eq!(agent.state(), State::Active);
    });
    let devices = service.devices(account).unwrap();
    let of = |old: bool| devices.iter().find(|d| (d.row.id == lost) == old).unwrap();
    assert_eq!(of(false).status, DeviceStatus::Active);
    assert_eq!(of(true).status, DeviceStatus::Ended);
    assert_eq!(of(false).row.epoch, of(true).row.epoch);
    assert_eq!(entries(), 1);
}

/// The page says it in plain words, and what the way out is.
#[test]
fn a_damaged_memory_and_a_lost_session_stand_on_the_account_page() {
    let world = World::new();
    let service = &world.running.service;
    let account = AccountId(1);
    let mut tv = Actor::new(service, "NRD-STB-17", "Lumen Box 3", DeviceKind::SetTopBox);
    tv.activate(account, true, false);
    let browser = Browser::new(&world.running.pages_url());
    let samples = Samples::read(None).unwrap();
    let first = &samples.accounts[0];
    browser
        .sign_in(&first.email, &first.password, false)
        .unwrap();
    let says = |id: &str, text: &str| browser.entry(id).unwrap().contains(text);
    let lost = "Its session was lost: sign in again at the device";
    let damaged = "Its memory was damaged: it is locked until a person resets it";
    assert!(!says("NRD-STB-17", lost) && !says("NRD-STB-17", damaged));
    tv.spoil_slots();
    tv.boot(|_, agent| talk(service, agent));
    assert!(says("NRD-STB-17", lost) && !says("NRD-STB-17", damaged));

    let mut tv = Actor::new(service, "NRD-STB-18", "Lumen Box 3", DeviceKind::SetTopBox);
    tv.activate(account, true, false);
    tv.spoil_journal();
    tv.boot(|_, agent| {
        assert_eq!(agent.state(), State::Locked(LockReason::JournalLost));
        talk(service, agent);
    });
    assert!(says("NRD-STB-18", damaged));
    assert!(says("NRD-STB-18", "<strong>Memory damaged</strong>"));
    let activity = browser.get("/account/activity").unwrap().text();
    assert!(activity.contains("memory was damaged"), "{activity}");
    // The page takes it back when a person has reset the device.
    tv.boot(|_, agent| {
        agent.deactivate().unwrap();
        talk(service, agent);
        assert_eq!(agent.state(), State::Clean);
    });
    assert!(!says("NRD-STB-18", damaged));
}

/// FINDINGS D18: after an outage the next try came in 733 s, and nothing could
/// hasten it.
#[test]
fn a_network_that_comes_up_ends_the_wait() {
    let mut world = nrd_sim::world::World::new(7, Settings::default()).unwrap();
    let tv = world.bring(Made {
        id: "NRD-STB-19".to_owned(),
        model: "Lumen Box 3".to_owned(),
        kind: DeviceKind::SetTopBox,
        chip: ChipSpec {
            geometry: nrd_hal::Geometry {
                size: 64 * 1024,
                write_size: 4,
                erase_size: 4096,
                best_erase: 4096,
            },
            can_overwrite: false,
        },
        longest: 128,
        records: 8,
    });
    world.network(tv, false);
    world.power_on(tv);
    let started = world.devices[tv].with(|agent| agent.start_activation());
    assert_eq!(started, Some(Ok(())));
    world.call(tv);
    world.pass(3 * 3_600_000);
    let shows_code = |world: &mut nrd_sim::world::World| {
        let status = world.devices[tv].with(|agent| agent.status());
        status.unwrap().code.is_some()
    };
    assert!(!shows_code(&mut world));
    world.network(tv, true);
    assert!(shows_code(&mut world), "no time has passed since");
}
