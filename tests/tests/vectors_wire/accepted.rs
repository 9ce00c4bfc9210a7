//! Every ask, answer and signed object, with its values.

use crate::make::{Vectors, key};
use crate::records::records;
use crate::refused::refused;
use nrd_agent::wire::*;
use nrd_sim::base::sign::public;

pub(crate) const ID: ActivationId = ActivationId([0x11; 16]);
pub(crate) const TERMS: LeaseTerms = LeaseTerms {
    renew_after_s: 86_400,
    expires_after_s: 2_592_000,
    max_boots: 500,
    dead_man_s: 0,
};
pub(crate) const LONGEST_TERMS: LeaseTerms = LeaseTerms {
    renew_after_s: u32::MAX,
    expires_after_s: u32::MAX,
    max_boots: u16::MAX,
    dead_man_s: u32::MAX,
};
pub(crate) const TRUST: TrustVersion = TrustVersion {
    root: 1,
    delegation: 128,
};

pub(crate) fn device() -> DeviceId {
    DeviceId::new("NRD-1").unwrap()
}

pub(crate) fn request(ask: Ask<'_>) -> Request<'_> {
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

pub(crate) fn reply(answer: Answer<'_>) -> Reply<'_> {
    Reply {
        challenge: [0xAA; 32],
        root: None,
        delegation: None,
        answer,
    }
}

pub(crate) fn receipt(certificate: &[u8], subject: Subject) -> Receipt<'_> {
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
pub(crate) fn vectors() -> Vectors {
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
