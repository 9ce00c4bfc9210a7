//! What a store must keep, whichever database is under it: the same checks on
//! SQLite (a file, and in memory) and on a real PostgreSQL, where every check
//! acts through two processes' connections at once.

use nrd_agent::State;
use nrd_agent::wire::{DeviceKind, Losses, OrderKind, OrderResult};
use nrd_sim::load::postgres::Server;
use nrd_sim::service::account::DeviceStatus;
use nrd_sim::service::audit::OperationKind;
use nrd_sim::service::events::EventKind;
use nrd_sim::service::store::{
    AccountId, ActivationPhase, ActivationRow, AuditRow, CheckIn, CheckedIn, DeviceRow, EventRow,
    FaultKind, Fresh, NewActivation, NewReceipt, Outbox, Recall, RevocationReason, Sealed, Store,
    Throttle, TokenUse, Used,
};
use nrd_sim::service::{Error, Result};
use nrd_tests::bench::{Bench, HOME, activate, talk_later};
use nrd_tests::external_tools::skip;
use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

const NOW: u64 = 1_800_000_000;

/// Two handles on one database: two processes where the database allows it.
struct Pair {
    a: Store,
    b: Option<Store>,
    fresh: AtomicU32,
}

impl Pair {
    fn new(a: Store, b: Option<Store>) -> Pair {
        let fresh = AtomicU32::new(1);
        Pair { a, b, fresh }
    }

    fn b(&self) -> &Store {
        self.b.as_ref().unwrap_or(&self.a)
    }

    /// Runs `work` on `n` threads at once, handles in turn.
    fn at_once<T: Send>(&self, n: usize, work: impl Fn(usize, &Store) -> T + Sync) -> Vec<T> {
        let start = Barrier::new(n);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..n)
                .map(|i| {
                    let (start, work) = (&start, &work);
                    let store = if i % 2 == 0 { &self.a } else { self.b() };
                    scope.spawn(move || {
                        start.wait();
                        work(i, store)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    fn number(&self) -> u32 {
        self.fresh.fetch_add(1, Ordering::SeqCst)
    }

    /// An account and an activation of its own, in use.
    fn active(&self) -> (AccountId, ActivationRow) {
        let account = account(&self.a, self.number()).unwrap();
        let row = self.pending();
        self.a.approve(&row.id, account, true, 1, NOW, 600).unwrap();
        let used = check_in(&self.a, &row, 1, None);
        assert_eq!(used, CheckedIn::Token(Used::Good));
        (account, self.a.activation(&row.id).unwrap().unwrap())
    }

    fn pending(&self) -> ActivationRow {
        let n = self.number();
        let device = format!("DEV-{n}");
        enroll(&self.a, &device, 7).unwrap();
        start(&self.a, &device, n, 0).unwrap()
    }
}

fn bytes<const N: usize>(n: u32) -> [u8; N] {
    let mut out = [0x5A; N];
    out[..4].copy_from_slice(&n.to_le_bytes());
    out
}

fn account(store: &Store, n: u32) -> Result<AccountId> {
    store.add_account(&bytes(n), "$argon2id$", 1, |_| Ok(Sealed::default()))
}

fn enroll(store: &Store, id: &str, key: u8) -> Result<()> {
    let row = DeviceRow {
        id: id.to_owned(),
        public_key: [key; 32],
        model: "Box".into(),
        kind: DeviceKind::SetTopBox,
        agent_version: "1.0.0".into(),
        losses: Losses::default(),
    };
    store.enroll(&row, &[1; 32], NOW).map(drop)
}

fn start(store: &Store, device: &str, n: u32, epoch: u64) -> Result<ActivationRow> {
    store.start_activation(&NewActivation {
        id: bytes(n),
        device,
        epoch,
        code: format!("CODE{n}"),
        pictogram: 3,
        series: bytes(n),
        previous_receipt: None,
        now: NOW,
        code_life_s: 600,
    })
}

fn fresh<'a>(device: &'a str, presented: &'a [u8; 32], next: &'a [u8; 32]) -> Fresh<'a> {
    Fresh {
        device,
        presented,
        next,
        now: NOW,
        address: b"sealed",
        agent_version: "1.0.0",
        losses: Losses::default(),
        news: &[],
    }
}

/// A check-in over whatever challenge is in force.
fn check_in(store: &Store, row: &ActivationRow, generation: u32, leased: Option<u64>) -> CheckedIn {
    let mut presented = [1; 32];
    loop {
        let done = store
            .check_in(&CheckIn {
                fresh: fresh(&row.device, &presented, &[1; 32]),
                token: Some(TokenUse {
                    activation: &row.id,
                    generation,
                    leased,
                }),
            })
            .unwrap();
        match done {
            CheckedIn::Stale(current) => presented = current,
            done => return done,
        }
    }
}

fn event() -> EventRow {
    EventRow {
        at: NOW,
        kind: EventKind::RemovalOrdered,
        subject: "Box".into(),
        address: None,
        browser: None,
        activation: None,
        claims: Some(b"claims".to_vec()),
    }
}

/// A signature that says what was signed.
fn sign(
    row: &ActivationRow,
    kind: OrderKind,
    version: u32,
    seq: u64,
) -> Result<([u8; 32], Vec<u8>)> {
    let text = format!("{:?} {kind:?} key {version} seq {seq}", row.id);
    Ok((ring_sha256(text.as_bytes()), text.into_bytes()))
}

fn ring_sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .try_into()
        .unwrap()
}

fn order(
    store: &Store,
    account: AccountId,
    id: &[u8; 16],
    kind: OrderKind,
) -> Result<ActivationRow> {
    store.enter_order(account, id, kind, &event(), NOW, &sign)
}

fn a_challenge_is_consumed_once(pair: &Pair) {
    let row = pair.pending();
    let won = pair.at_once(12, |i, store| {
        let next = [i as u8 + 10; 32];
        let taken = store.take_challenge(&fresh(&row.device, &[1; 32], &next));
        taken.unwrap().is_ok()
    });
    assert_eq!(won.iter().filter(|w| **w).count(), 1);
}

fn an_id_keeps_its_key(pair: &Pair) {
    let results = pair.at_once(8, |i, store| enroll(store, "DEV-KEY", (i % 2) as u8));
    let good = results.iter().filter(|r| r.is_ok()).count();
    assert_eq!(good, 4, "one key won, and stays");
    assert!(
        results
            .iter()
            .all(|r| matches!(r, Ok(()) | Err(Error::WrongState)))
    );
}

fn accounts_get_numbers_of_their_own(pair: &Pair) {
    let base = pair.fresh.fetch_add(100, Ordering::SeqCst);
    let ids = pair.at_once(10, |i, store| account(store, base + i as u32).unwrap());
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 10);
    let again = account(&pair.a, base);
    assert!(
        matches!(&again, Err(Error::Storage(f)) if f.kind == FaultKind::Taken),
        "{again:?}"
    );
}

fn a_removal_entered_at_two_places_is_one_order(pair: &Pair) {
    let (account, row) = pair.active();
    let rows = pair.at_once(8, |_, store| {
        order(store, account, &row.id, OrderKind::Deactivate).unwrap()
    });
    assert!(rows.iter().all(|r| r.phase == ActivationPhase::Removing));
    assert_eq!(pair.a.orders(&row.id).unwrap().len(), 1);
    let told = pair.a.events(account, i64::MAX, 50).unwrap();
    assert_eq!(
        told.iter()
            .filter(|(_, e)| e.kind == EventKind::RemovalOrdered)
            .count(),
        1
    );
}

fn no_two_orders_have_one_number(pair: &Pair) {
    let (account, row) = pair.active();
    pair.at_once(16, |_, store| {
        order(store, account, &row.id, OrderKind::SignOut).unwrap()
    });
    let orders = pair.a.orders(&row.id).unwrap();
    let texts: HashSet<Vec<u8>> = orders.into_iter().map(|o| o.frame).collect();
    assert_eq!(texts.len(), 16, "sixteen orders, sixteen numbers");
}

fn a_rotation_leaves_no_order_with_the_old_key(pair: &Pair) {
    let (account, row) = pair.active();
    let known = pair.a.newest_order_key().unwrap();
    pair.at_once(12, |i, store| match i {
        3 | 6 => {
            let make = |_, version: u32| Ok(version.to_le_bytes().to_vec());
            let version = store.delegate(known, &make, NOW, &sign).unwrap();
            assert_eq!(version, known + 1, "one of the two rotated, both know it");
        }
        _ => drop(order(store, account, &row.id, OrderKind::SignOut).unwrap()),
    });
    let newest = pair.a.newest_order_key().unwrap();
    assert_eq!(newest, known + 1);
    // What the device is handed, one after the other, is always the new key's.
    let mut heard = 0;
    while let Some(next) = pair.b().next_order(&row.id).unwrap() {
        assert_eq!(next.key_version, newest);
        pair.a
            .outcome(&next.digest, &row.device, OrderResult::Applied, NOW)
            .unwrap();
        heard += 1;
    }
    assert_eq!(heard, 10);
}

fn one_series_is_renewed_once_whoever_is_asked(pair: &Pair) {
    let (_, row) = pair.active();
    for generation in 2..5 {
        // A retry after a lost answer reaches another process: the same again.
        let used = pair.at_once(6, |_, store| check_in(store, &row, generation, Some(NOW)));
        assert!(used.iter().all(|u| *u == CheckedIn::Token(Used::Good)));
    }
    let row = pair.a.activation(&row.id).unwrap().unwrap();
    assert_eq!(row.generation, 4);
    let old = check_in(pair.b(), &row, 3, Some(NOW));
    assert_eq!(old, CheckedIn::Token(Used::Theft));
}

fn a_removal_wins_over_a_renewal(pair: &Pair) {
    for _ in 0..6 {
        let (account, row) = pair.active();
        let done = pair.at_once(2, |i, store| match i {
            0 => {
                order(store, account, &row.id, OrderKind::Deactivate).unwrap();
                // From here on the token is void everywhere.
                check_in(pair.b(), &row, 1, Some(NOW))
            }
            _ => check_in(store, &row, 1, Some(NOW)),
        });
        assert_eq!(done[0], CheckedIn::Token(Used::Over));
        let row = pair.a.activation(&row.id).unwrap().unwrap();
        assert_eq!(row.phase, ActivationPhase::Removing);
        assert_eq!(row.revoked, Some(RevocationReason::Removed));
    }
}

fn consent_is_given_once_and_ends_earlier_epochs(pair: &Pair) {
    let (_, row) = pair.active();
    let (holder, n) = (account(&pair.a, pair.number()).unwrap(), pair.number());
    let newer = start(pair.b(), &row.device, n, 1).unwrap();
    let given = pair.at_once(4, |_, store| {
        store.approve(&newer.id, holder, true, 1, NOW, 600)
    });
    assert_eq!(given.iter().filter(|g| g.is_ok()).count(), 1);
    let old = pair.a.activation(&row.id).unwrap().unwrap();
    assert_eq!(
        (old.phase, old.revoked),
        (ActivationPhase::Ended, Some(RevocationReason::Superseded))
    );
    let below = start(&pair.a, &row.device, pair.number(), 0);
    assert!(matches!(below, Err(Error::WrongState)), "{below:?}");
}

fn a_receipt_counts_once(pair: &Pair) {
    let (account, row) = pair.active();
    order(&pair.a, account, &row.id, OrderKind::Deactivate).unwrap();
    let digest = bytes(pair.number());
    pair.at_once(6, |_, store| {
        let receipt = NewReceipt {
            digest: &digest,
            device: &row.device,
            activation: &row.id,
            frame: b"receipt",
            clean: true,
            now: NOW,
        };
        let wiped = |_: &ActivationRow| {
            Ok(EventRow {
                kind: EventKind::Wiped,
                ..event()
            })
        };
        store.keep_receipt(&receipt, wiped).unwrap()
    });
    let told = pair.a.events(account, i64::MAX, 50).unwrap();
    assert_eq!(
        told.iter()
            .filter(|(_, e)| e.kind == EventKind::Wiped)
            .count(),
        1
    );
    assert_eq!(pair.a.receipt(account, &row.id).unwrap(), b"receipt");
    let row = pair.a.activation(&row.id).unwrap().unwrap();
    assert_eq!(row.phase, ActivationPhase::Wiped);
}

fn a_remembered_computer_is_recalled_by_one(pair: &Pair) {
    let holder = account(&pair.a, pair.number()).unwrap();
    let series: [u8; 16] = bytes(pair.number());
    pair.a
        .add_computer(&series, holder, &[0; 32], "Firefox", NOW)
        .unwrap();
    let won = pair.at_once(6, |i, store| {
        let next = [i as u8 + 1; 32];
        store.recall(&series, &[0; 32], &next, NOW).unwrap()
    });
    let good = won.iter().filter(|r| matches!(r, Recall::Good(_)));
    assert_eq!(good.count(), 1);
    assert!(!won.contains(&Recall::Unknown));
    let late = pair
        .b()
        .recall(&series, &[0; 32], &[9; 32], NOW + 31 * 86_400);
    assert_eq!(late.unwrap(), Recall::Stolen(holder));
    assert!(pair.a.computers(holder).unwrap().is_empty());
}

fn throttle(scope: [u8; 32]) -> [Throttle; 1] {
    [Throttle {
        scope,
        free: 5,
        longest_s: 900,
    }]
}

fn tries_are_counted_at_every_place(pair: &Pair) {
    let scope = throttle(bytes(pair.number()));
    let tried = pair.at_once(8, |_, store| store.reserve_try(&scope, NOW).unwrap());
    assert_eq!(tried.iter().filter(|t| t.is_ok()).count(), 5);
    assert_eq!(pair.b().reserve_try(&scope, NOW).unwrap(), Err(2));
    assert_eq!(pair.b().reserve_try(&scope, NOW + 2).unwrap(), Ok(()));
    assert_eq!(pair.a.reserve_try(&scope, NOW + 2).unwrap(), Err(4));
    // A good try takes itself from the count, and nothing else.
    pair.b().give_try_back(&scope, NOW + 2).unwrap();
    assert_eq!(pair.a.reserve_try(&scope, NOW + 2).unwrap(), Ok(()));
    assert_eq!(pair.a.reserve_try(&scope, NOW + 2).unwrap(), Err(4));
    // Where one scope must wait, no other is used up.
    let other = throttle(bytes(pair.number()));
    let both = [other[0].clone(), scope[0].clone()];
    assert_eq!(pair.a.reserve_try(&both, NOW + 2).unwrap(), Err(4));
    for _ in 0..5 {
        assert_eq!(pair.a.reserve_try(&other, NOW + 2).unwrap(), Ok(()));
    }
}

fn an_outbox_holds_what_happened_and_gives_it_to_one(pair: &Pair) {
    let (account, row) = pair.active();
    for which in [Outbox::Orders, Outbox::Events] {
        pair.a.use_outbox(which, false).unwrap();
    }
    order(&pair.a, account, &row.id, OrderKind::SignOut).unwrap();
    assert_eq!(pair.a.backlog(Outbox::Orders).unwrap().0, 0);
    for which in [Outbox::Orders, Outbox::Events] {
        pair.a.use_outbox(which, true).unwrap();
    }
    for _ in 0..20 {
        order(pair.b(), account, &row.id, OrderKind::SignOut).unwrap();
    }
    let nobody = order(
        &pair.a,
        AccountId(account.0 + 1000),
        &row.id,
        OrderKind::SignOut,
    );
    assert!(matches!(nobody, Err(Error::NotFound)));
    for which in [Outbox::Orders, Outbox::Events] {
        assert_eq!(pair.b().backlog(which).unwrap().0, 20);
        let taken = pair.at_once(4, |_, store| {
            let due = store.take_due(which, NOW, 60, 7).unwrap();
            due.into_iter().map(|d| d.id).collect::<Vec<_>>()
        });
        let all: Vec<i64> = taken.into_iter().flatten().collect();
        let each: HashSet<i64> = all.iter().copied().collect();
        assert_eq!((all.len(), each.len()), (20, 20), "each to one taker");
        assert!(pair.a.take_due(which, NOW, 60, 9).unwrap().is_empty());
        // A taker that died: due again after its time.
        let again = pair.b().take_due(which, NOW + 61, 60, 100).unwrap();
        assert_eq!(again.len(), 20);
        assert!(again.iter().all(|d| d.tries == 2));
        for d in again {
            pair.a.handed_over(d.id).unwrap();
        }
        assert_eq!(pair.b().backlog(which).unwrap(), (0, None));
        pair.a.use_outbox(which, false).unwrap();
    }
}

fn a_failure_takes_nothing_of_others_along(pair: &Pair) {
    let taken = pair.number();
    account(&pair.a, taken).unwrap();
    let holder = account(&pair.a, pair.number()).unwrap();
    let base = pair.fresh.fetch_add(100, Ordering::SeqCst);
    let done = pair.at_once(16, |i, store| match i % 4 {
        0 => account(store, taken).map(drop),
        _ => store.add_session(&bytes(base + i as u32), holder, "csrf", None, NOW),
    });
    for (i, done) in done.iter().enumerate() {
        assert_eq!(done.is_ok(), i % 4 != 0, "{i}: {done:?}");
        let id = bytes(base + i as u32);
        let found = pair.b().session(&id, NOW, 60, 60, true).unwrap();
        assert_eq!(found.is_some(), i % 4 != 0, "{i}");
    }
}

/// What a call has answered, others see at once: it is committed, not only on
/// its way.
fn what_was_answered_is_stored(pair: &Pair) {
    for _ in 0..20 {
        let seen = pair.at_once(16, |_, store| {
            let [mut scope] = throttle(bytes(pair.number()));
            scope.free = 1;
            let scope = [scope];
            store.reserve_try(&scope, NOW).unwrap().unwrap();
            store.reserve_try(&scope, NOW).unwrap()
        });
        assert!(seen.iter().all(|wait| *wait == Err(2)), "{seen:?}");
    }
}

fn other_keys_are_refused(pair: &Pair) {
    let ours = [("service.key", [1; 32])];
    pair.a.belongs_to(&ours).unwrap();
    pair.b().belongs_to(&ours).unwrap();
    let refused = pair.b().belongs_to(&[("service.key", [2; 32])]);
    assert!(
        matches!(&refused, Err(Error::OtherKeys(name)) if name == "service.key"),
        "{refused:?}"
    );
}

fn a_number_that_no_column_holds_is_an_error(pair: &Pair) {
    let row = pair.pending();
    let refused = start(&pair.a, &row.device, pair.number(), u64::MAX);
    assert!(matches!(refused, Err(Error::Storage(_))), "{refused:?}");
    assert_eq!(
        pair.a.activation(&row.id).unwrap().unwrap().phase,
        row.phase
    );
}

/// A check and its name.
type Check = (&'static str, fn(&Pair));

fn an_audit_keeps_what_is_not_purged(pair: &Pair) {
    let add = |at| {
        let row = AuditRow::new(at, OperationKind::PolicyRaised);
        pair.a.add_audit(&row).unwrap();
    };
    let there = |since, until| pair.b().audit(0, since, until).unwrap().len();
    for at in [1000, 2000, 3000] {
        add(at);
    }
    assert_eq!((there(0, 2000), there(0, 2001), there(0, 4000)), (1, 2, 3));
    let gone = pair.a.purge_audit(2500, 2600).unwrap();
    assert_eq!((gone.oldest, gone.newest), (Some(1000), Some(2000)));
    let left = pair.b().audit(0, 0, 4000).unwrap();
    let left: Vec<(u64, Option<u64>)> = left.iter().map(|(_, r)| (r.at, r.number)).collect();
    assert_eq!(left, [(3000, None), (2600, Some(2))]);
}

const CHECKS: &[Check] = &[
    ("a challenge is consumed once", a_challenge_is_consumed_once),
    ("an id keeps its key", an_id_keeps_its_key),
    ("account numbers", accounts_get_numbers_of_their_own),
    ("one removal", a_removal_entered_at_two_places_is_one_order),
    ("order numbers", no_two_orders_have_one_number),
    ("rotation", a_rotation_leaves_no_order_with_the_old_key),
    ("one renewal", one_series_is_renewed_once_whoever_is_asked),
    ("removal wins", a_removal_wins_over_a_renewal),
    ("consent", consent_is_given_once_and_ends_earlier_epochs),
    ("receipts", a_receipt_counts_once),
    ("computers", a_remembered_computer_is_recalled_by_one),
    ("attempts", tries_are_counted_at_every_place),
    ("outbox", an_outbox_holds_what_happened_and_gives_it_to_one),
    ("failures", a_failure_takes_nothing_of_others_along),
    ("answered is stored", what_was_answered_is_stored),
    ("keys", other_keys_are_refused),
    ("audit", an_audit_keeps_what_is_not_purged),
    ("numbers", a_number_that_no_column_holds_is_an_error),
];

fn conform(pair: &Pair) {
    for (name, check) in CHECKS {
        println!("{}: {name}", pair.a.database());
        check(pair);
    }
}

/// A whole life of a real agent.
fn a_life(bench: &Bench) {
    let holder = bench.account(0);
    let mut tv = bench.device("NRD-STORE-1", 71);
    tv.boot(|service, agent| {
        activate(service, agent, holder, true);
        agent.platform().clock().advance_ms(2 * 24 * 3_600_000);
        talk_later(service, agent);
        assert_eq!(bench.newest(0).generation, 1);
        talk_later(service, agent);
        let id = bench.newest(0).id;
        bench.service.remove(holder, &id, HOME).unwrap();
        talk_later(service, agent);
        assert_eq!(agent.state(), State::Clean);
    });
    let devices = bench.service.devices(holder).unwrap();
    assert_eq!(devices[0].status, DeviceStatus::Wiped);
}

#[test]
fn sqlite_keeps_what_a_store_must_keep() {
    conform(&Pair::new(Store::in_memory().unwrap(), None));
    let dir = tempfile::tempdir().unwrap();
    conform(&Pair::new(Store::open(dir.path()).unwrap(), None));
    a_life(&Bench::new());
}

#[test]
fn postgresql_keeps_what_a_store_must_keep() {
    let Some(server) = Server::start() else {
        return skip("PostgreSQL", "the store's suite on PostgreSQL");
    };
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let open = |n: usize| Store::postgres(&server.url(), dirs[n].path());
    // Two first starts at once.
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| open(0).unwrap());
        (open(1).unwrap(), a.join().unwrap())
    });
    conform(&Pair::new(a, Some(b)));
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    let bench = Bench::on(Some(server.url()));
    a_life(&bench);

    // Nobody changes the audit, not even past the service.
    let entries = server.sql("SELECT count(*) FROM audit");
    assert!(entries.parse::<u32>().unwrap() > 3, "{entries}");
    for change in [
        "UPDATE audit SET at = 0",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ] {
        let refused = server.sql(&format!(
            "CREATE TEMP TABLE said AS SELECT ''::text AS what; \
             DO $$ BEGIN {change}; EXCEPTION WHEN raise_exception THEN \
             UPDATE said SET what = SQLERRM; END $$; SELECT what FROM said"
        ));
        assert_eq!(refused, "the audit is append-only", "{change}");
    }
    assert_eq!(server.sql("SELECT count(*) FROM audit"), entries);

    // A clock that differs from the database's is said, and metered.
    assert!(bench.service.check_clock().unwrap().abs() <= 2);
    bench.service.advance_s(3600);
    let difference = bench.service.check_clock().unwrap();
    assert!((-3602..=-3598).contains(&difference), "{difference}");
    let metrics = bench.service.metrics();
    assert!(
        metrics.contains("nrd_clock_difference_seconds -3"),
        "{metrics}"
    );

    // A database of a newer program is left alone.
    server.sql("UPDATE meta SET value = 99 WHERE key = 'schema'");
    let refused = open(0).err().expect("refused").to_string();
    assert!(refused.contains("newer version"), "{refused}");
    // One that is not there is said to be away.
    let url = format!("postgres://postgres@127.0.0.1:{}/x", 9);
    let away = Store::postgres(&url, dirs[0].path()).err();
    assert!(
        matches!(&away, Some(Error::Storage(f)) if f.kind == FaultKind::Away),
        "{away:?}"
    );
    assert!(Store::postgres("mysql://x", dirs[0].path()).is_err());
}

#[test]
fn sqlite_of_an_older_schema_is_brought_up_and_of_a_newer_one_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = || rusqlite::Connection::open(dir.path().join("service.db")).unwrap();
    // As version 1 wrote it.
    let first = include_str!("../../sim/service/src/store/migrations/1.sql")
        .replace("NUMBERED INTEGER", "INTEGER");
    db().execute_batch(&first).unwrap();
    db().execute_batch(
        "PRAGMA user_version = 1; \
         INSERT INTO accounts VALUES (5, x'01', 'p', 1, x'', x'', x'', x'', x'', x'')",
    )
    .unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.account(AccountId(5)).unwrap().password, "p");
    assert_eq!(store.backlog(Outbox::Events).unwrap(), (0, None));
    drop(store);
    db().execute_batch("PRAGMA user_version = 99").unwrap();
    let refused = Store::open(dir.path()).err().expect("refused").to_string();
    assert!(refused.contains("newer version"), "{refused}");
}
