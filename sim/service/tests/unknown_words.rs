//! A word in the database that this program does not know is an error that
//! names the column, never a default.
//!
//! The words are written past the store, as a newer program or an altered file
//! would have them.

use nrd_agent::wire::{DeviceKind, Losses, OrderKind, OrderResult};
use nrd_sim_service::events::EventKind;
use nrd_sim_service::store::{
    AccountId, ActivationPhase, ActivationRow, CheckIn, CheckedIn, DeviceRow, EventRow, Fresh,
    NewActivation, RevocationReason, Sealed, Store, TokenUse, Used, WORD_COLUMNS,
};
use nrd_sim_service::{Error, Result};
use rusqlite::Connection;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

const NOW: u64 = 1_800_000_000;
const DEVICE: &str = "DEV-1";
const ACTIVATION: [u8; 16] = [7; 16];

/// A store in a file, with one device, one activation in use, one order and
/// one event; and a second connection to it, past the store.
struct Fixture {
    store: Store,
    account: AccountId,
    /// How often an order was signed.
    signed: AtomicU32,
    raw: Connection,
    _dir: TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let raw = Connection::open(dir.path().join("service.db")).unwrap();
        raw.pragma_update(None, "ignore_check_constraints", true)
            .unwrap();
        let account = store
            .add_account(&[1; 32], "$argon2id$", 1, |_| Ok(Sealed::default()))
            .unwrap();
        let fixture = Fixture {
            store,
            account,
            signed: AtomicU32::new(0),
            raw,
            _dir: dir,
        };
        fixture.fill();
        fixture
    }

    fn fill(&self) {
        let device = DeviceRow {
            id: DEVICE.to_owned(),
            public_key: [2; 32],
            model: "Box".to_owned(),
            kind: DeviceKind::SetTopBox,
            agent_version: "1.0.0".to_owned(),
            losses: Losses::default(),
        };
        self.store.enroll(&device, &[1; 32], NOW).unwrap();
        self.start().unwrap();
        self.store
            .approve(&ACTIVATION, self.account, true, 1, NOW, 600)
            .unwrap();
        assert_eq!(self.check_in().unwrap(), CheckedIn::Token(Used::Good));
        self.delegate(0).unwrap();
        self.order(OrderKind::SignOut).unwrap();
    }

    fn start(&self) -> Result<ActivationRow> {
        self.store.start_activation(&NewActivation {
            id: ACTIVATION,
            device: DEVICE,
            epoch: 0,
            code: "CODE".to_owned(),
            pictogram: 3,
            series: [3; 16],
            previous_receipt: None,
            now: NOW,
            code_life_s: 600,
        })
    }

    fn check_in(&self) -> Result<CheckedIn> {
        self.store.check_in(&CheckIn {
            fresh: Fresh {
                device: DEVICE,
                presented: &[1; 32],
                next: &[1; 32],
                now: NOW,
                address: b"sealed",
                agent_version: "1.0.0",
                losses: Losses::default(),
                news: &[],
            },
            token: Some(TokenUse {
                activation: &ACTIVATION,
                generation: 1,
                leased: None,
            }),
        })
    }

    fn sign(
        &self,
        row: &ActivationRow,
        kind: OrderKind,
        version: u32,
        seq: u64,
    ) -> Result<([u8; 32], Vec<u8>)> {
        let n = self.signed.fetch_add(1, Ordering::SeqCst);
        let frame = format!("{:?} {kind:?} {version} {seq}", row.id);
        Ok(([n as u8 + 10; 32], frame.into_bytes()))
    }

    fn order(&self, kind: OrderKind) -> Result<ActivationRow> {
        let event = EventRow {
            at: NOW,
            kind: EventKind::SignOutOrdered,
            subject: "Box".to_owned(),
            address: None,
            browser: None,
            activation: None,
            claims: None,
        };
        let sign = |row: &ActivationRow, kind, version, seq| self.sign(row, kind, version, seq);
        self.store
            .enter_order(self.account, &ACTIVATION, kind, &event, NOW, &sign)
    }

    fn delegate(&self, known: u32) -> Result<u32> {
        let sign = |row: &ActivationRow, kind, version, seq| self.sign(row, kind, version, seq);
        self.store
            .delegate(known, &|_, key| Ok(vec![key as u8]), NOW, &sign)
    }

    fn set(&self, table: &str, column: &str, word: &str) {
        // Whoever alters a file is not held by what it says.
        let free = "DROP TRIGGER IF EXISTS audit_is_not_changed";
        self.raw.execute_batch(free).unwrap();
        let sql = format!("UPDATE {table} SET {column} = ?1");
        assert!(self.raw.execute(&sql, [word]).unwrap() > 0, "{sql}");
    }

    /// Every row of a table, as text: to see that nothing was changed.
    fn rows(&self, table: &str) -> Vec<String> {
        let sql = format!("SELECT * FROM {table}");
        let mut s = self.raw.prepare(&sql).unwrap();
        let n = s.column_count();
        let rows = s.query_map([], |r| {
            let cells = (0..n).map(|i| r.get_ref(i).map(|v| format!("{v:?}")));
            Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
        });
        rows.unwrap().map(|row| row.unwrap()).collect()
    }
}

/// A question that reads a column, and its name.
type Ask = (&'static str, fn(&Fixture) -> Result<()>);

const ACTIVATION_READERS: &[Ask] = &[
    ("the activation", |f| {
        f.store.activation(&ACTIVATION).map(drop)
    }),
    ("the account's list", |f| {
        f.store.activations(f.account).map(drop)
    }),
    ("what a check-in needs", |f| {
        f.store.check_in_context(DEVICE, &ACTIVATION).map(drop)
    }),
    ("starting again", |f| f.start().map(drop)),
    ("a removal", |f| f.order(OrderKind::Deactivate).map(drop)),
    ("a rotation", |f| f.delegate(1).map(drop)),
];

/// Each column that holds a word, and every question that reads it.
const READERS: &[(&str, &[Ask])] = &[
    (
        "devices.kind",
        &[
            ("the device", |f| f.store.device(DEVICE).map(drop)),
            ("the activation", |f| {
                f.store.activation(&ACTIVATION).map(drop)
            }),
            ("the account's list", |f| {
                f.store.activations(f.account).map(drop)
            }),
            ("what a check-in needs", |f| {
                f.store.check_in_context(DEVICE, &ACTIVATION).map(drop)
            }),
        ],
    ),
    ("activations.phase", ACTIVATION_READERS),
    ("activations.revoked", ACTIVATION_READERS),
    (
        "orders.kind",
        &[
            ("an answer", |f| {
                let [order] = f.store.orders(&ACTIVATION)?.try_into().unwrap();
                f.store
                    .outcome(&order.digest, DEVICE, OrderResult::Applied, NOW)
                    .map(drop)
            }),
            ("a rotation", |f| f.delegate(1).map(drop)),
            ("the metrics", |f| f.store.orders_by_state().map(drop)),
            ("the next order", |f| {
                f.store.next_order(&ACTIVATION).map(drop)
            }),
        ],
    ),
    (
        "orders.outcome",
        &[("the metrics", |f| f.store.orders_by_state().map(drop))],
    ),
    (
        "events.kind",
        &[("security activity", |f| {
            f.store.events(f.account, i64::MAX, 10).map(drop)
        })],
    ),
    (
        "audit.kind",
        &[("an export", |f| f.store.audit(0, 0, u64::MAX).map(drop))],
    ),
    (
        "audit.outcome",
        &[("an export", |f| f.store.audit(0, 0, u64::MAX).map(drop))],
    ),
];

#[test]
fn an_unknown_word_in_any_column_is_an_error_that_names_the_column() {
    let listed: Vec<&str> = READERS.iter().map(|r| r.0).collect();
    assert_eq!(
        listed, WORD_COLUMNS,
        "every column that holds a word is tried"
    );
    for (place, asks) in READERS {
        let (table, column) = place.split_once('.').unwrap();
        for (name, ask) in *asks {
            let f = Fixture::new();
            f.set(table, column, "pause");
            let before: Vec<_> = TABLES.iter().map(|t| f.rows(t)).collect();
            let signed = f.signed.load(Ordering::SeqCst);
            let refused = ask(&f).expect_err(name);
            assert_eq!(
                refused.to_string(),
                format!("{place} holds a word that this program does not know: \"pause\""),
                "{name}"
            );
            let after: Vec<_> = TABLES.iter().map(|t| f.rows(t)).collect();
            assert_eq!(after, before, "{place}: {name} changed something");
            assert_eq!(
                f.signed.load(Ordering::SeqCst),
                signed,
                "{place}: {name} signed something"
            );
        }
    }
}

const TABLES: [&str; 5] = ["devices", "activations", "orders", "events", "delegations"];

#[test]
fn a_rotation_over_an_unknown_order_word_signs_nothing_and_rotates_nothing() {
    let f = Fixture::new();
    f.order(OrderKind::SignOut).unwrap();
    // One of two waiting orders: the other one could be signed again.
    let changed = f
        .raw
        .execute("UPDATE orders SET kind = 'pause' WHERE seq = 2", []);
    assert_eq!(changed.unwrap(), 1);
    let signed = f.signed.load(Ordering::SeqCst);
    let refused = f.delegate(1);
    assert!(
        matches!(refused, Err(Error::UnknownWord { .. })),
        "{refused:?}"
    );
    assert_eq!(
        f.signed.load(Ordering::SeqCst),
        signed,
        "nothing was signed"
    );
    assert_eq!(
        f.store.delegation().unwrap().unwrap().order_key,
        1,
        "the old key stays"
    );
    let waiting = f.store.orders(&ACTIVATION).unwrap();
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().all(|o| o.key_version == 1));
    // Once the word is mended it goes through.
    f.set("orders", "kind", "sign-out");
    assert_eq!(f.delegate(1).unwrap(), 2);
    assert_eq!(f.signed.load(Ordering::SeqCst), signed + 2);
}

/// Text that is not one of a few words.
const FREE_TEXT: &[&str] = &[
    "accounts.password",
    "activations.code",
    "activations.device",
    "activations.name",
    "computers.browser",
    "devices.agent_version",
    "devices.id",
    "devices.model",
    "events.subject",
    "meta.key",
    "outbox.topic",
    "owners.name",
    "receipts.device",
    "sessions.csrf",
    // Compared in statements, read by none.
    "outbox.kind",
];

#[test]
fn every_text_column_is_known_to_hold_words_or_free_text() {
    let f = Fixture::new();
    let sql = "SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c \
               WHERE t.type = 'table' AND c.type = 'TEXT' AND t.name NOT LIKE 'sqlite_%' ORDER BY 1";
    let mut s = f.raw.prepare(sql).unwrap();
    let found: Vec<String> = s
        .query_map([], |r| r.get(0))
        .unwrap()
        .map(|row| row.unwrap())
        .collect();
    let mut known: Vec<&str> = WORD_COLUMNS.iter().chain(FREE_TEXT).copied().collect();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn an_unknown_word_is_shown_only_when_it_looks_like_one() {
    let f = Fixture::new();
    for personal in [
        "ann@example.org",
        "Ann",
        "a word that is far too long to be one of ours",
    ] {
        f.set("devices", "kind", personal);
        let refused = f.store.device(DEVICE).unwrap_err().to_string();
        assert!(!refused.contains(personal), "{refused}");
        assert!(
            refused.ends_with(&format!("{} bytes", personal.len())),
            "{refused}"
        );
    }
}

#[test]
fn what_is_no_truth_value_or_no_text_is_an_error_too() {
    let f = Fixture::new();
    let breaks: [&str; 3] = [
        "UPDATE activations SET remember = 2",
        "UPDATE activations SET chain_gap = 7",
        // Not UTF-8; a cast keeps the column's type.
        "UPDATE devices SET model = CAST(x'ff41' AS TEXT)",
    ];
    for sql in breaks {
        f.raw.execute_batch("SAVEPOINT whole").unwrap();
        f.raw
            .execute_batch(&format!("{sql}; RELEASE whole"))
            .unwrap();
        let refused = f.store.activation(&ACTIVATION);
        assert!(
            matches!(refused, Err(Error::Storage(_))),
            "{sql}: {refused:?}"
        );
        f.raw
            .execute_batch("UPDATE activations SET remember = 1, chain_gap = 0; UPDATE devices SET model = 'Box'")
            .unwrap();
        f.store.activation(&ACTIVATION).unwrap();
    }
}

/// The other direction: what this program can write, the database takes. A new
/// phase without a migration would only fail when somebody comes to it. Kinds of
/// orders need none: the database has no list of them.
#[test]
fn every_word_that_the_program_knows_is_one_that_the_database_takes() {
    let fixture = Fixture::new();
    let raw = &fixture.raw;
    raw.pragma_update(None, "ignore_check_constraints", false)
        .unwrap();
    let take = |table: &str, column: &str, words: Vec<&str>| {
        assert!(!words.is_empty());
        for word in words {
            let sql = format!("UPDATE {table} SET {column} = ?1");
            let rows = raw.execute(&sql, [word]);
            assert!(rows.is_ok_and(|n| n > 0), "{table}.{column}: {word}");
        }
    };
    let kinds = OrderKind::ALL.iter().map(|k| k.name()).collect();
    take("orders", "kind", kinds);
    let reasons = RevocationReason::ALL.iter().map(|r| r.name()).collect();
    take("activations", "revoked", reasons);
    let phases = ActivationPhase::ALL.iter().map(|p| p.name()).collect();
    take("activations", "phase", phases);
    // The check itself works, where the database has one.
    assert!(
        raw.execute("UPDATE activations SET phase = 'pause'", [])
            .is_err(),
        "an unknown phase is refused by the database"
    );
}
