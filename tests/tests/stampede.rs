//! A town whose power comes back, comes and goes, or whose service is away.

use nrd_agent::State;
use nrd_tests::bench::{Bench, HOME, activate};

const MIN_15_MS: u64 = 15 * 60 * 1000;

#[test]
fn a_town_that_gets_its_power_back_spreads_over_the_window() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut arrivals = Vec::new();
    for n in 0..60 {
        // Every device with draws of its own, as real ones.
        let mut tv = bench.device("NRD-TOWN", 9000 + n);
        tv.boot(|service, agent| activate(service, agent, holder, true));
        tv.boot(|_, agent| {
            assert_eq!(agent.next_due_ms(), Some(0), "at once unless spread");
            agent.spread_first_contact(60);
            arrivals.push(agent.next_due_ms().unwrap());
        });
        bench.service.advance_s(2);
        // The id is one device's; the next starts anew.
        let id = bench.newest(0).id;
        bench.service.remove(holder, &id, HOME).unwrap();
        tv.boot(|service, agent| {
            nrd_sim::device::talk(service, agent).unwrap();
            assert!(agent.is_clean());
        });
        break_identity(&bench, n);
    }
    println!("{arrivals:?}");
    assert!(arrivals.iter().all(|&ms| ms < 60_000));
    for tenth in 0..10 {
        let n = arrivals.iter().filter(|&&ms| ms / 6000 == tenth).count();
        assert!(n < 20, "{n} of 60 in one tenth of the window");
    }
}

/// The store knows an id by its first key: another box needs another id, or the
/// test a store that forgets.
fn break_identity(bench: &Bench, _: u64) {
    let db = rusqlite::Connection::open(bench.dir.path().join("service.db")).unwrap();
    db.execute_batch(
        "PRAGMA foreign_keys = OFF; DELETE FROM orders; DELETE FROM receipts; \
         DELETE FROM activations; DELETE FROM devices",
    )
    .unwrap();
}

#[test]
fn a_back_off_outlives_reboots_and_an_answer_ends_it() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-FLAP", 77);
    tv.boot(|service, agent| activate(service, agent, holder, true));
    let longest = |agent: &mut nrd_agent::Agent<'_, nrd_sim::hw::Board>, window| {
        (0..60)
            .map(|_| {
                agent.spread_first_contact(window);
                agent.next_due_ms().unwrap()
            })
            .max()
            .unwrap()
    };
    // The grant was answered: this boot begins without a debt.
    tv.boot(|_, agent| assert!(longest(agent, 10) < 10_000));
    for _ in 0..3 {
        tv.boot(|_, agent| assert_eq!(agent.state(), State::Active));
    }
    // Four boots without an answer: sixteen times the window.
    tv.boot(|_, agent| {
        let ms = longest(agent, 10);
        assert!((40_000..160_000).contains(&ms), "{ms}");
        // And a failed exchange goes on from there, not from two seconds.
        let ms = (0..60)
            .map(|_| {
                agent.exchange_failed();
                agent.next_due_ms().unwrap()
            })
            .max()
            .unwrap();
        assert!((60_000..MIN_15_MS).contains(&ms), "{ms}");
    });
    for _ in 0..12 {
        tv.boot(|_, _| ());
    }
    tv.boot(|service, agent| {
        assert!(longest(agent, 10) < MIN_15_MS, "capped");
        let due = agent.next_due_ms().unwrap();
        agent.platform().clock().advance_ms(due);
        nrd_sim::device::talk(service, agent).unwrap();
        // The next write after the answer says so: powered time is charged.
        agent.platform().clock().advance_ms(2 * MIN_15_MS);
        nrd_sim::device::settle(agent).unwrap();
    });
    tv.boot(|_, agent| assert!(longest(agent, 10) < 10_000, "the debt is paid"));
}

#[test]
fn a_person_at_a_code_and_a_receipt_are_not_held_up() {
    let bench = Bench::new();
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-PERSON", 78);
    tv.boot(|_, agent| agent.start_activation().unwrap());
    tv.boot(|service, agent| {
        assert_eq!(agent.state(), State::Activating);
        agent.spread_first_contact(600);
        assert_eq!(agent.next_due_ms(), Some(0));
        agent.cancel_activation().unwrap();
        nrd_sim::device::settle(agent).unwrap();
        activate(service, agent, holder, true);
        agent.deactivate().unwrap();
        nrd_sim::device::settle(agent).unwrap();
    });
    tv.boot(|_, agent| {
        assert!(agent.status().receipts > 0);
        agent.spread_first_contact(600);
        assert_eq!(agent.next_due_ms(), Some(0));
    });
}
