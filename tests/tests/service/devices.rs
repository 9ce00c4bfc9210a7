//! A device's life at the service: activated, renewed, copied, removed, signed out.

use super::{DAY_MS, standing};
use nrd_agent::wire::{LockReason, OrderResult};
use nrd_agent::{Class, State};
use nrd_sim::device::{ServiceEndpoint, exchange, settle, talk};
use nrd_sim::service::account::DeviceStatus;
use nrd_sim::service::events::EventKind;
use nrd_sim::service::store::ActivationPhase;
use nrd_sim::service::{Error, Service};
use nrd_tests::bench::{Bench, HOME, activate, talk_later};
use std::sync::Arc;

#[test]
fn a_device_is_activated_remembered_removed_wiped_and_proven() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-1", 1);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        assert_eq!(agent.state(), State::Active);
        agent
            .put(Class::Email, 1, b"alexandra@example.com")
            .unwrap();
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Active);
    tv.boot(|service, agent| {
        assert_eq!(agent.state(), State::Active);
        let mut name = [0; 32];
        let n = agent.display_name(&mut name).unwrap();
        assert_eq!(&name[..n], b"Alexandra");
        bench
            .service
            .remove(holder, &bench.newest(0).id, HOME)
            .unwrap();
        assert_eq!(standing(&bench, 0), DeviceStatus::Removing);
        // One exchange a step, so that every state is seen.
        let mut seen = vec![standing(&bench, 0)];
        while exchange(service, agent).unwrap() {
            seen.push(standing(&bench, 0));
        }
        seen.dedup();
        assert_eq!(seen, [DeviceStatus::Removing, DeviceStatus::Wiped]);
        assert!(agent.is_clean());
    });
    let receipt = bench.service.store.receipt(holder, &bench.newest(0).id);
    assert!(receipt.unwrap().len() > 100);
}

/// Loses the answers that `lose` picks.
struct Lossy<'s> {
    service: &'s mut Arc<Service>,
    lose: u32,
}

impl ServiceEndpoint for Lossy<'_> {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let answer = Service::answer(self.service, request, HOME).ok();
        if self.lose > 0 {
            self.lose -= 1;
            return None;
        }
        answer
    }
}

#[test]
fn attack_15_a_renewal_whose_answer_is_lost_is_answered_the_same_again() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-15", 15);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        for lost in 1..4 {
            agent.platform().clock().advance_ms(2 * DAY_MS);
            let mut lossy = Lossy {
                service: &mut service.0,
                lose: lost,
            };
            for _ in 0..30 {
                talk(&mut lossy, agent).unwrap();
                agent.platform().clock().advance_ms(3_600_000);
            }
            // The hour is charged before anything is served.
            settle(agent).unwrap();
            assert_eq!(agent.state(), State::Active);
            assert_eq!(standing(&bench, 0), DeviceStatus::Active);
        }
    });
    let row = bench.newest(0);
    assert!(row.generation >= 3, "generation {}", row.generation);
    // And over a power cut between the answer and its use.
    tv.boot(|service, agent| {
        agent.platform().clock().advance_ms(2 * DAY_MS);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
    });
    assert_eq!(bench.newest(0).revoked, None);
}

#[test]
fn attack_16_and_09_a_restored_or_copied_session_is_read_as_theft() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-16", 16);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let mut thief = tv.copy();
    tv.boot(|service, agent| {
        for _ in 0..2 {
            agent.platform().clock().advance_ms(2 * DAY_MS);
            talk(service, agent).unwrap();
        }
    });
    assert!(bench.newest(0).generation >= 2);
    thief.boot(|service, agent| {
        agent.put(Class::Email, 1, b"still here").unwrap();
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Locked(LockReason::TheftSuspected));
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Theft);
    tv.boot(|service, agent| {
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Locked(LockReason::TheftSuspected));
    });
    let events = bench.service.events(holder, 10).unwrap();
    assert!(events.iter().any(|e| e.kind == EventKind::TheftSuspected));
    // A person at the page can still remove it, and it dies.
    bench
        .service
        .remove(holder, &bench.newest(0).id, HOME)
        .unwrap();
    tv.boot(|service, agent| {
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Clean);
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Wiped);
}

#[test]
fn attack_14_a_request_signed_for_later_is_refused() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-14", 14);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent.platform().clock().advance_ms(DAY_MS);
        let mut out = [0; 1536];
        let n = agent.poll_request(&mut out).unwrap().unwrap();
        let kept = out[..n].to_vec();
        agent.exchange_failed();
        agent.platform().clock().advance_ms(DAY_MS);
        talk(service, agent).unwrap();
        let before = bench.newest(0).generation;
        let reply = Service::answer(service, &kept, HOME).unwrap();
        let reply: nrd_agent::wire::Reply<'_> = nrd_agent::wire::decode(&reply).unwrap();
        assert!(matches!(
            reply.answer,
            nrd_agent::wire::Answer::Refused {
                code: nrd_agent::wire::RefusalCode::StaleChallenge,
                ..
            }
        ));
        assert_eq!(bench.newest(0).generation, before);
        assert_eq!(bench.newest(0).revoked, None);
    });
}

#[test]
fn attack_02_at_the_service_a_late_order_gets_a_signed_not_applicable() {
    let bench = Bench::new();
    let (first, second) = (bench.account(0), bench.account(1));
    let mut tv = bench.device("NRD-STB-2", 2);
    tv.boot(|service, agent| activate(service, agent, first, true));
    let old = bench.newest(0).id;
    bench.service.remove(first, &old, HOME).unwrap();
    let order = bench.service.store.next_order(&old).unwrap().unwrap();
    // The box is wiped by hand without a network, and sold.
    tv.boot(|_, agent| {
        agent.deactivate().unwrap();
        settle(agent).unwrap();
    });
    tv.boot(|service, agent| {
        activate(service, agent, second, true);
        let mut out = [0; 192];
        let (result, _) = agent.apply_order(&order.frame, &mut out).unwrap();
        assert_eq!(result, OrderResult::NotApplicable);
        assert_eq!(agent.state(), State::Active);
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Wiped);
    assert_eq!(standing(&bench, 1), DeviceStatus::Active);
}

#[test]
fn attack_05_a_rotated_order_key_signs_what_waits_again() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-5", 5);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let id = bench.newest(0).id;
    bench.service.remove(holder, &id, HOME).unwrap();
    let stolen = bench.service.store.next_order(&id).unwrap().unwrap();
    assert_eq!(bench.service.rotate_order_key().unwrap(), 2);
    let again = bench.service.store.next_order(&id).unwrap().unwrap();
    assert_eq!(again.key_version, 2);
    tv.boot(|service, agent| {
        // The delegation travels with the first reply; after it the old key's
        // order is worth nothing.
        exchange(service, agent).unwrap();
        let mut out = [0; 192];
        let refused = agent.apply_order(&stolen.frame, &mut out);
        assert_eq!(refused, Err(nrd_agent::Error::KeyRetired), "nothing signed");
        assert_eq!(agent.state(), State::Active);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Clean);
    });
    assert_eq!(standing(&bench, 0), DeviceStatus::Wiped);
}

#[test]
fn a_removal_in_the_middle_of_a_check_in_hands_its_order_out_at_once() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-RACE", 52);
    for round in 0..100 {
        tv.boot(|service, agent| {
            activate(service, agent, holder, true);
            agent.platform().clock().advance_ms(2 * DAY_MS);
            let id = bench.newest(0).id;
            std::thread::scope(|scope| {
                let removal = scope.spawn(|| {
                    // At another moment of the check-in each time.
                    std::thread::sleep(std::time::Duration::from_micros(round % 12 * 40));
                    bench.service.remove(holder, &id, HOME).unwrap();
                });
                talk(service, agent).unwrap();
                removal.join().unwrap();
            });
            // It heard the order, or nothing of the removal yet; never that it
            // is closed, without the order that goes with it.
            let state = agent.state();
            assert!(
                matches!(state, State::Active | State::Clean),
                "{state:?} in round {round}"
            );
            talk_later(service, agent);
            assert_eq!(agent.state(), State::Clean, "round {round}");
        });
        bench.service.advance_s(1);
    }
}

#[test]
fn a_new_policy_locks_until_consent_and_destroys_nothing() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-S10", 10);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent
            .put(Class::Email, 1, b"alexandra@example.com")
            .unwrap();
        bench.service.store.raise_policy(2).unwrap();
        agent.platform().clock().advance_ms(DAY_MS);
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Locked(LockReason::ConsentDue));
        assert!(matches!(
            bench.service.consent(holder, 1, HOME),
            Err(Error::WrongState)
        ));
        bench.service.consent(holder, 2, HOME).unwrap();
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Active);
        assert_eq!(agent.status().policy, Some(2));
        assert_eq!(agent.get(Class::Email, 1, &mut [0; 64]), Ok(21));
    });
}

#[test]
fn signing_out_here_or_there_keeps_the_device_on_the_list_and_signing_in_again_replaces_it() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-OUT", 41);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        bench
            .service
            .order_sign_out(holder, &bench.newest(0).id, HOME)
            .unwrap();
        talk_later(service, agent);
        assert_eq!(agent.state(), State::SignedOut);
        assert_eq!(standing(&bench, 0), DeviceStatus::SignedOut);
        bench.service.advance_s(5);
        activate(service, agent, holder, true);
        assert_eq!(agent.state(), State::Active);
        agent.sign_out().unwrap();
        talk_later(service, agent);
        assert_eq!(standing(&bench, 0), DeviceStatus::SignedOut);
    });
    let living = bench.service.devices(holder).unwrap();
    assert_eq!(living.iter().filter(|d| !d.over()).count(), 1);
}

/// Found by the model checker: the page said "Removal ordered" of it until the
/// device's next wipe.
#[test]
fn a_removal_of_a_signed_out_activation_ends_when_the_device_is_activated_again() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STB-AGAIN", 42);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent.sign_out().unwrap();
        talk_later(service, agent);
        let before = bench.newest(0).id;
        bench.service.remove(holder, &before, HOME).unwrap();
        assert_eq!(standing(&bench, 0), DeviceStatus::Removing);
        bench.service.advance_s(5);
        activate(service, agent, holder, true);
        talk_later(service, agent);
        let row = bench.service.store.activation(&before).unwrap().unwrap();
        assert_eq!(row.phase, ActivationPhase::Ended);
        assert_eq!(agent.state(), State::Active);
        assert_eq!(standing(&bench, 0), DeviceStatus::Active);
    });
}
