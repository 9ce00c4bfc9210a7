//! `tests/vectors/wire.json`: every ask, answer, subject, order, refusal and
//! record with its decoded values, and bytes that must be refused, each with the
//! reason. `tests/reader/wire.py`, written from `docs/WIRE.md` alone, must read all
//! of them as the agent does.
//!
//! Made by `NRD_WRITE_VECTORS=1 cargo test -p nrd-tests --test vectors_wire`.

use nrd_agent::lease::StoredLease;
use nrd_agent::order::SeenOrders;
use nrd_agent::state::{
    Activation, Attempt, PersistedState, SignedOut, Snapshot, Tombstone, WipePhase,
};
use nrd_agent::wire::codec::{self, Code};
use nrd_agent::wire::*;
use nrd_agent::{Error, wire};
use nrd_hal::crypto::{RingCrypto, RustCrypto};
use nrd_sim::base::hex;
use nrd_sim::base::sign::{keypair, public, signed};
use nrd_tests::external_tools;
use ring::signature::Ed25519KeyPair;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE: &str = "tests/vectors/wire.json";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The one key that signs here: what signs what is the page's.
fn key() -> Ed25519KeyPair {
    keypair(&[9; 32])
}

/// Arrays of bytes as hexadecimal digits. Pairs are pairs.
fn readable(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> = items
                .iter()
                .map(|v| v.as_u64().and_then(|n| u8::try_from(n).ok()))
                .collect();
            match bytes.filter(|b| b.len() != 2) {
                Some(bytes) => json!(hex(&bytes)),
                None => items.into_iter().map(readable).collect(),
            }
        }
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, readable(v))).collect(),
        other => other,
    }
}

#[derive(Default)]
struct Vectors {
    accepted: Vec<Value>,
    refused: Vec<Value>,
}

impl Vectors {
    fn accept(&mut self, name: &str, ty: &str, bytes: &[u8], value: impl Serialize) {
        let value = readable(serde_json::to_value(value).unwrap());
        self.accepted
            .push(json!({ "name": name, "type": ty, "bytes": hex(bytes), "value": value }));
    }

    fn signed<'a, B: Body<'a> + Serialize>(&mut self, name: &str, ty: &str, body: &B) -> Vec<u8> {
        let frame = signed(&key(), body);
        self.accept(name, ty, &frame, body);
        frame
    }

    fn unsigned<'a, B: Body<'a> + Serialize>(&mut self, name: &str, ty: &str, body: &B) -> Vec<u8> {
        let mut out = [0; MAX_FRAME];
        let n = wire::encode(body, &mut out).unwrap();
        self.accept(name, ty, &out[..n], body);
        out[..n].to_vec()
    }

    /// What travels in no frame: a record of the journal.
    fn record<'a, T: Code<'a> + Serialize>(&mut self, name: &str, ty: &str, value: &T) {
        let mut out = [0; MAX_FRAME];
        let n = codec::write(b"", value, &mut out).unwrap();
        self.accept(name, ty, &out[..n], value);
    }

    /// Bytes that both providers refuse, for the same reason.
    fn refuse<'a, B: Body<'a>>(&mut self, name: &str, ty: &str, bytes: &'a [u8], why: Error) {
        let key = public(&key());
        let verdicts = if ty == "Reply" {
            [wire::decode::<B>(bytes).err(), Some(why)]
        } else {
            [
                wire::decode_signed::<B, RingCrypto>(bytes, &key).err(),
                wire::decode_signed::<B, RustCrypto>(bytes, &key).err(),
            ]
        };
        assert_eq!(verdicts, [Some(why); 2], "{ty}, {name}");
        let words = match why {
            Error::TooLong => "too long",
            Error::WrongType => "wrong type",
            Error::BadSignature => "bad signature",
            _ => "malformed",
        };
        self.refused
            .push(json!({ "name": name, "type": ty, "bytes": hex(bytes), "reason": words }));
    }

    /// The faults that any frame can have.
    fn faults<'a, B: Body<'a>>(&mut self, ty: &str, frame: &[u8]) {
        let keep = |bytes: Vec<u8>| -> &'static [u8] { bytes.leak() };
        let is_signed = ty != "Reply";
        let open = B::CONTEXT.len();
        let end = frame.len() - if is_signed { 64 } else { 0 };
        let again = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if is_signed {
                let signature = key().sign(&bytes);
                bytes.extend_from_slice(signature.as_ref());
            }
            keep(bytes)
        };
        let mut long = frame.to_vec();
        long.resize(B::MAX + 1, 0);
        self.refuse::<B>("one byte above the bound", ty, keep(long), Error::TooLong);
        let mut other = frame.to_vec();
        other[4] = b'2';
        self.refuse::<B>("of version 2", ty, keep(other), Error::WrongType);
        let mut other = frame.to_vec();
        other.remove(open - 1);
        self.refuse::<B>(
            "no zero byte behind the type",
            ty,
            keep(other),
            Error::WrongType,
        );
        self.refuse::<B>("nothing", ty, &[], Error::WrongType);
        let mut longer = frame[..end].to_vec();
        longer.push(0);
        self.refuse::<B>(
            "a byte behind the body",
            ty,
            again(&longer),
            Error::Malformed,
        );
        let short = &frame[..end - 1];
        self.refuse::<B>(
            "the body's last byte is gone",
            ty,
            again(short),
            Error::Malformed,
        );
        let none = &frame[..open];
        self.refuse::<B>("no body", ty, again(none), Error::Malformed);
        if is_signed {
            let mut other = frame.to_vec();
            other[open] ^= 1;
            self.refuse::<B>("a bit of the body", ty, keep(other), Error::BadSignature);
            let mut other = frame.to_vec();
            *other.last_mut().unwrap() ^= 1;
            self.refuse::<B>(
                "a bit of the signature",
                ty,
                keep(other),
                Error::BadSignature,
            );
            let short = keep(frame[..open + 63].to_vec());
            let name = "63 bytes behind the type";
            self.refuse::<B>(name, ty, short, Error::BadSignature);
            let short = keep(frame[..63].to_vec());
            let name = "63 bytes in all";
            self.refuse::<B>(name, ty, short, Error::WrongType);
        }
    }

    /// One byte of a body put for others, and signed anew.
    fn spoil<'a, B: Body<'a>>(
        &mut self,
        (name, ty): (&str, &str),
        frame: &[u8],
        at: usize,
        take: usize,
        put: &[u8],
    ) {
        let is_signed = ty != "Reply";
        let end = frame.len() - if is_signed { 64 } else { 0 };
        let mut bytes = frame[..end].to_vec();
        let at = B::CONTEXT.len() + at;
        bytes.splice(at..at + take, put.iter().copied());
        if is_signed {
            let signature = key().sign(&bytes);
            bytes.extend_from_slice(signature.as_ref());
        }
        self.refuse::<B>(name, ty, bytes.leak(), Error::Malformed);
    }
}

const ID: ActivationId = ActivationId([0x11; 16]);
const TERMS: LeaseTerms = LeaseTerms {
    renew_after_s: 86_400,
    expires_after_s: 2_592_000,
    max_boots: 500,
    dead_man_s: 0,
};
const LONGEST_TERMS: LeaseTerms = LeaseTerms {
    renew_after_s: u32::MAX,
    expires_after_s: u32::MAX,
    max_boots: u16::MAX,
    dead_man_s: u32::MAX,
};
const TRUST: TrustVersion = TrustVersion {
    root: 1,
    delegation: 128,
};

fn device() -> DeviceId {
    DeviceId::new("NRD-1").unwrap()
}

fn request(ask: Ask<'_>) -> Request<'_> {
    Request {
        device_id: device(),
        challenge: [0x66; 32],
        nonce: [0x77; 16],
        agent_version: [0, 1, 0],
        trust: TRUST,
        losses: Losses {
            receipt: true,
            ..Losses::default()
        },
        ask,
    }
}

fn reply(answer: Answer<'_>) -> Reply<'_> {
    Reply {
        challenge: [0xAA; 32],
        root: None,
        delegation: None,
        answer,
    }
}

fn receipt(certificate: &[u8], subject: Subject) -> Receipt<'_> {
    Receipt {
        certificate,
        subject,
        epoch: 3,
        counter: 4,
        method: Method::Purge,
        sectors: SectorCounts {
            total: 58,
            erased: 58,
            failed: 0,
        },
        flags: ReceiptFlags {
            slots_blank: true,
            ..Default::default()
        },
        agent_version: [0, 1, 0],
        powered_s: 123_456,
        wall_s: None,
    }
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn vectors() -> Vectors {
    let mut v = Vectors::default();
    let certificate = MakerCertificate {
        device_id: device(),
        public_key: public(&key()),
        model: "Virtual box".try_into().unwrap(),
        kind: DeviceKind::SetTopBox,
    };
    let certificate_frame = v.signed("a certificate", "MakerCertificate", &certificate);
    let longest = MakerCertificate {
        device_id: DeviceId::new(&"~".repeat(32)).unwrap(),
        model: "ü".repeat(16).as_str().try_into().unwrap(),
        kind: DeviceKind::Computer,
        ..certificate.clone()
    };
    v.signed("the longest certificate", "MakerCertificate", &longest);
    let root_change = v.signed(
        "a root",
        "RootChange",
        &RootChange {
            version: 1,
            root: [5; 32],
        },
    );
    let delegation = v.signed(
        "a delegation",
        "Delegation",
        &Delegation {
            version: TRUST,
            order_key_version: KeyVersion(u32::MAX),
            order_key: [3; 32],
            session_key: [4; 32],
            time_version: 0,
            time_floor: u64::MAX,
            bounds: TermBounds {
                expires_min_s: 86_400,
                expires_max_s: 5_184_000,
                boots_min: 50,
                dead_man_min_s: 2_592_000,
            },
        },
    );
    let order = |kind| Order {
        device_id: device(),
        epoch: 3,
        activation_id: ID,
        key_version: KeyVersion(1),
        seq: OrderSeq(127),
        kind,
    };
    let mut order_frame = Vec::new();
    for kind in OrderKind::ALL.iter().rev() {
        order_frame = v.signed(&format!("order: {}", kind.name()), "Order", &order(*kind));
    }
    let mut outcome = Vec::new();
    for result in OrderResult::ALL {
        let body = OrderOutcome {
            device_id: device(),
            order: [0xDE; 32],
            result: *result,
            epoch: 3,
        };
        outcome = v.signed(
            &format!("outcome: {}", result.name()),
            "OrderOutcome",
            &body,
        );
    }
    let grant = v.signed(
        "a grant",
        "Grant",
        &Grant {
            device_id: device(),
            activation_id: ID,
            epoch: 3,
            series: Series([0x55; 16]),
            token: TokenSecret([0xBB; 32]),
            remember: true,
            policy: PolicyVersion(1),
            display_name: "Jürgen".try_into().unwrap(),
            terms: TERMS,
        },
    );
    let lease = Lease {
        device_id: device(),
        activation_id: ID,
        nonce: [0x77; 16],
        issued_at: 1_795_478_400,
        terms: LONGEST_TERMS,
        policy: PolicyVersion(1),
        next: Some(NextToken {
            generation: Generation(3),
            token: TokenSecret([0xCC; 32]),
        }),
    };
    let lease_frame = v.signed("a lease with a token", "Lease", &lease);
    v.signed(
        "a lease without a token",
        "Lease",
        &Lease {
            next: None,
            terms: TERMS,
            ..lease
        },
    );
    let mut statement = Vec::new();
    for reason in LockReason::ALL.iter().filter(|r| r.is_stated()) {
        let body = Statement {
            device_id: device(),
            activation_id: ID,
            nonce: [0x77; 16],
            reason: *reason,
        };
        statement = v.signed(&format!("statement: {}", reason.name()), "Statement", &body);
    }
    let mut receipt_frame = Vec::new();
    for reason in WipeReason::ALL {
        let subject = Subject::Wipe {
            reason: *reason,
            order: (*reason == WipeReason::Order).then_some([0xDE; 32]),
            activation_id: ID,
            previous: (*reason == WipeReason::Local).then_some([0xAF; 32]),
        };
        let body = receipt(&certificate_frame, subject);
        receipt_frame = v.signed(
            &format!("receipt: wiped, {}", reason.name()),
            "Receipt",
            &body,
        );
    }
    for method in Method::ALL {
        let subject = Subject::Clean { nonce: [0x99; 32] };
        let body = Receipt {
            method: *method,
            wall_s: Some(1_795_478_400),
            ..receipt(&certificate_frame, subject)
        };
        v.signed(
            &format!("receipt: clean, {}", method.name()),
            "Receipt",
            &body,
        );
    }
    let stored = Subject::Stored {
        key: [0x89; 32],
        digest: [0x8A; 32],
        bytes: 118_784,
    };
    v.signed(
        "receipt: stored",
        "Receipt",
        &receipt(&certificate_frame, stored),
    );

    let proof = TokenProof {
        generation: Generation(2),
        mac: [0x99; 32],
    };
    let check_in = |proof, renew| Ask::CheckIn {
        activation_id: ID,
        epoch: 3,
        proof,
        renew,
        wait_s: 300,
        powered_s: 90_000,
        policy: PolicyVersion(1),
    };
    let asks = [
        (
            "hello",
            Ask::Hello {
                certificate: &certificate_frame,
            },
        ),
        (
            "activate start",
            Ask::ActivateStart {
                activation_id: ID,
                epoch: 0,
                previous_receipt: None,
            },
        ),
        (
            "activate start after a wipe",
            Ask::ActivateStart {
                activation_id: ID,
                epoch: u64::MAX,
                previous_receipt: Some([0xAF; 32]),
            },
        ),
        (
            "activate poll",
            Ask::ActivatePoll {
                activation_id: ID,
                epoch: 3,
            },
        ),
        ("activate cancel", Ask::ActivateCancel { activation_id: ID }),
        ("check-in", check_in(Some(proof), true)),
        ("check-in without a token", check_in(None, false)),
        ("outcome", Ask::Outcome { outcome: &outcome }),
        (
            "receipt",
            Ask::Receipt {
                receipt: &receipt_frame,
            },
        ),
        (
            "signed out",
            Ask::SignedOut {
                activation_id: ID,
                epoch: 3,
            },
        ),
    ];
    let mut request_frame = Vec::new();
    for (name, ask) in asks {
        let first = request_frame.is_empty();
        let frame = v.signed(&format!("ask: {name}"), "Request", &request(ask));
        if first || name == "check-in without a token" {
            request_frame = frame;
        }
    }

    let mut answers = vec![
        ("welcome".to_owned(), Answer::Welcome),
        (
            "code".to_owned(),
            Answer::Code {
                user_code: "BCDFGHJK".try_into().unwrap(),
                pictogram: 15,
                expires_in_s: 600,
                interval_s: 5,
            },
        ),
        ("pending".to_owned(), Answer::Pending { interval_s: 128 }),
        ("granted".to_owned(), Answer::Granted { grant: &grant }),
        (
            "checked in, nothing".to_owned(),
            Answer::CheckedIn {
                lease: None,
                statement: None,
                order: None,
                interval_s: 3600,
            },
        ),
        (
            "checked in, lease and statement".to_owned(),
            Answer::CheckedIn {
                lease: Some(&lease_frame),
                statement: Some(&statement),
                order: None,
                interval_s: 0,
            },
        ),
        (
            "checked in, order".to_owned(),
            Answer::CheckedIn {
                lease: None,
                statement: None,
                order: Some(&order_frame),
                interval_s: u32::MAX,
            },
        ),
        ("noted".to_owned(), Answer::Noted),
        (
            "receipt stored".to_owned(),
            Answer::ReceiptStored { digest: [0xAF; 32] },
        ),
    ];
    for reason in EndReason::ALL {
        let answer = Answer::ActivationEnded { reason: *reason };
        answers.push((format!("ended, {}", reason.name()), answer));
    }
    for code in RefusalCode::ALL {
        let answer = Answer::Refused {
            code: *code,
            retry_after_s: 60,
        };
        answers.push((format!("refused, {}", code.name()), answer));
    }
    let mut reply_frame = Vec::new();
    for (name, answer) in answers {
        let frame = v.unsigned(&format!("answer: {name}"), "Reply", &reply(answer));
        if name == "code" {
            reply_frame = frame;
        }
    }
    let news = Reply {
        root: Some(&root_change),
        delegation: Some(&delegation),
        ..reply(Answer::Welcome)
    };
    v.unsigned(
        "answer: welcome, with a root and a delegation",
        "Reply",
        &news,
    );

    records(&mut v);
    refused(
        &mut v,
        &[
            ("MakerCertificate", &certificate_frame),
            ("RootChange", &root_change),
            ("Delegation", &delegation),
            ("Order", &order_frame),
            ("OrderOutcome", &outcome),
            ("Grant", &grant),
            ("Lease", &lease_frame),
            ("Statement", &statement),
            ("Receipt", &receipt_frame),
            ("Request", &request_frame),
            ("Reply", &reply_frame),
        ],
    );
    v
}

fn records(v: &mut Vectors) {
    let mut seen = SeenOrders::default();
    seen.note(KeyVersion(1), OrderSeq(9));
    seen.note(KeyVersion(2), OrderSeq(300));
    let states = [
        ("clean", PersistedState::Clean),
        (
            "activating",
            PersistedState::Activating(Attempt {
                id: ID,
                epoch: 3,
                before: Some(ActivationId([0x22; 16])),
                storing: true,
            }),
        ),
        (
            "active, locked",
            PersistedState::Active(Activation {
                id: ID,
                epoch: 3,
                slot_generation: 2,
                remember: true,
                lease: StoredLease {
                    terms: TERMS,
                    stored_at_s: 1000,
                    stored_used_s: 900,
                    stored_in_boot: 7,
                    issued_at: 1_795_478_400,
                },
                policy: PolicyVersion(1),
                lock: Some(LockReason::ConsentDue),
                seen,
            }),
        ),
        ("failed", PersistedState::Failed),
        (
            "signed out",
            PersistedState::SignedOut(SignedOut {
                id: ID,
                epoch: 3,
                service_notified: false,
                seen: SeenOrders::default(),
            }),
        ),
        ("filling", PersistedState::Filling),
    ];
    for (name, state) in states {
        let snapshot = Snapshot {
            state,
            last_receipt: Some([0xAF; 32]),
            ..Snapshot::fresh(3)
        };
        v.record(&format!("snapshot: {name}"), "Snapshot", &snapshot);
    }
    for (name, phase) in [
        ("keys", WipePhase::Keys),
        ("vault", WipePhase::Vault(8192)),
        ("receipt", WipePhase::Receipt),
    ] {
        let tombstone = Tombstone {
            reason: WipeReason::Order,
            order: Some([0xDE; 32]),
            activation_id: ID,
            wipe: 4,
            epoch: 3,
            target_epoch: 4,
            phase,
            sectors: SectorCounts::default(),
            slot_stuck: false,
            counter_worn_out: false,
            tombstone_failed: true,
        };
        v.record(&format!("tombstone: {name}"), "Tombstone", &tombstone);
    }
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn refused(v: &mut Vectors, frames: &[(&str, &Vec<u8>)]) {
    let of = |name: &str| frames.iter().find(|f| f.0 == name).unwrap().1;
    macro_rules! faults {
        ($($t:ident)*) => {$( v.faults::<$t>(stringify!($t), of(stringify!($t))); )*};
    }
    faults!(MakerCertificate RootChange Delegation Order OrderOutcome Grant Lease);
    faults!(Statement Receipt Request Reply);

    let f = of("MakerCertificate");
    let kind = f.len() - 64 - MakerCertificate::CONTEXT.len() - 1;
    let ty = "MakerCertificate";
    v.spoil::<MakerCertificate>(("an empty device id", ty), f, 0, 6, &[0]);
    v.spoil::<MakerCertificate>(("a space in the device id", ty), f, 1, 1, b" ");
    v.spoil::<MakerCertificate>(
        ("a device id that is no ASCII", ty),
        f,
        1,
        2,
        "é".as_bytes(),
    );
    let long = [&[33][..], &[b'x'; 33]].concat();
    v.spoil::<MakerCertificate>(("a device id of 33 bytes", ty), f, 0, 6, &long);
    v.spoil::<MakerCertificate>(
        ("a length in two bytes where one does", ty),
        f,
        0,
        1,
        &[0x85, 0],
    );
    v.spoil::<MakerCertificate>(("a length beyond the end", ty), f, 38, 1, &[0x7F]);
    v.spoil::<MakerCertificate>(("a model that is no UTF-8", ty), f, 39, 1, &[0xFF]);
    let long = [&[33][..], &[b'x'; 33]].concat();
    v.spoil::<MakerCertificate>(("a model of 33 bytes", ty), f, 38, 12, &long);
    v.spoil::<MakerCertificate>(("a kind of device that there is not", ty), f, kind, 1, &[3]);

    let f = of("RootChange");
    let ty = "RootChange";
    v.spoil::<RootChange>(
        ("a version above 2³² − 1", ty),
        f,
        0,
        1,
        &[0x80, 0x80, 0x80, 0x80, 0x10],
    );
    v.spoil::<RootChange>(("a version in its longer form", ty), f, 0, 1, &[0x81, 0x00]);

    let f = of("Order");
    let ty = "Order";
    let last = f.len() - 64 - Order::CONTEXT.len() - 1;
    let eleven = [
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01,
    ];
    v.spoil::<Order>(("an epoch of eleven bytes", ty), f, 6, 1, &eleven);
    let big = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02];
    v.spoil::<Order>(("an epoch of 2⁶⁴", ty), f, 6, 1, &big);
    v.spoil::<Order>(("a kind of order that there is not", ty), f, last, 1, &[2]);

    let f = of("Grant");
    let ty = "Grant";
    let at = 6 + 16 + 1 + 16 + 32;
    v.spoil::<Grant>(("a boolean of 2", ty), f, at, 1, &[2]);
    let terms = f.len() - 64 - Grant::CONTEXT.len() - 3;
    v.spoil::<Grant>(("boots above 65,535", ty), f, terms, 2, &[0x80, 0x80, 0x04]);

    let f = of("Lease");
    let option = 6 + 16 + 16 + 5 + 5 + 5 + 3 + 5 + 1;
    v.spoil::<Lease>(("an option of 2", "Lease"), f, option, 1, &[2]);

    let f = of("Statement");
    let last = f.len() - 64 - Statement::CONTEXT.len() - 1;
    v.spoil::<Statement>(
        ("a reason that there is not", "Statement"),
        f,
        last,
        1,
        &[8],
    );

    let f = of("Receipt");
    let subject = 2 + of("MakerCertificate").len();
    v.spoil::<Receipt>(
        ("a subject that there is not", "Receipt"),
        f,
        subject,
        1,
        &[3],
    );
    v.spoil::<Receipt>(
        ("a reason that there is not", "Receipt"),
        f,
        subject + 1,
        1,
        &[6],
    );

    let f = of("Request");
    let ask = 6 + 32 + 16 + 3 + 3 + 4;
    v.spoil::<Request>(("an ask that there is not", "Request"), f, ask, 1, &[8]);
    v.spoil::<Request>(("a loss of 2", "Request"), f, ask - 1, 1, &[2]);

    let f = of("Reply");
    v.spoil::<Reply>(("an answer that there is not", "Reply"), f, 34, 1, &[9]);
    v.spoil::<Reply>(("a root that is 2", "Reply"), f, 32, 1, &[2]);
    let long = [&[13][..], &[b'B'; 13]].concat();
    v.spoil::<Reply>(("a code of 13 letters", "Reply"), f, 35, 9, &long);
}

#[test]
fn every_ask_answer_and_record_has_a_vector_and_what_must_be_refused_too() {
    let v = vectors();
    println!("{} accepted, {} refused", v.accepted.len(), v.refused.len());
    assert!(v.accepted.len() >= 60 && v.refused.len() >= 60);
    let value = json!({
        "public_key": hex(&public(&key())),
        "accepted": v.accepted,
        "refused": v.refused,
    });
    let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
    let path = root().join(FILE);
    if std::env::var_os("NRD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{FILE} is not what the code makes: the format changed. If that is meant, say so in \
         docs/SPEC.md and CHANGELOG.md and write the vectors again (CONTRIBUTING.md)"
    );
}

/// A reader in another language, which knows `docs/WIRE.md` and no line of ours.
#[test]
fn a_reader_made_of_the_page_alone_reads_and_refuses_the_same() {
    let python = "/usr/bin/python3";
    let knows = Command::new(python)
        .args(["-c", "import cryptography"])
        .output();
    if !knows.is_ok_and(|o| o.status.success()) {
        return external_tools::skip("python3-cryptography", "a reader in another language");
    }
    let out = Command::new(python)
        .arg("tests/reader/wire.py")
        .args(["docs/WIRE.md", FILE])
        .current_dir(root())
        .output()
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    println!("{said}{errors}");
    assert!(out.status.success(), "{said}{errors}");
    let v = vectors();
    let counts = format!("{} read, {} refused", v.accepted.len(), v.refused.len());
    assert!(said.contains(&counts), "{said}");
}
