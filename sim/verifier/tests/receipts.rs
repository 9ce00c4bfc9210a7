//! Receipts of real agents, honest and then changed field by field.

use nrd_agent::agent::CheckStep;
use nrd_agent::wire::codec;
use nrd_agent::wire::storage::{DeskMessage, DeviceMessage, MAX_MESSAGE, VERSION};
use nrd_agent::wire::{
    self, ActivationId, Body as _, DeviceKind, Method, OrderKind, Receipt, Subject, WipeReason,
};
use nrd_agent::{Agent, Step};
use nrd_agent_testkit::{Failure, StubService, TestMemory, TestPlatform, keys};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{ErrorKind, MonotonicCounter as _};
use nrd_verifier::{Asked, Known, MakerLists, ModelData, Question, Rule, Verdict, judge};

const MAKER: [u8; 32] = [11; 32];
const DEVICE: [u8; 32] = [12; 32];
const NONCE: [u8; 32] = [0x2A; 32];

/// The model list of these tests: one model.
struct Models;

impl MakerLists for Models {
    fn model(&self, model: &str) -> Option<Option<ModelData>> {
        Some((model == "Test box").then_some(ModelData {
            kind: DeviceKind::Computer,
            sectors: 16,
            vault_bytes: 65536,
            physical: true,
            slots_outside_image: true,
            root_refuses_past: true,
        }))
    }
    fn revoked(&self, device_id: &str, _: &str, agent: [u8; 3]) -> Option<bool> {
        Some(device_id == "NRD-STOLEN" || agent == [9, 9, 9])
    }
}

/// One life: what happens to a device, and what it signed in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Order,
    Local,
    DeadMan,
    VisitEnded,
    Abandoned,
    Recovered,
    FailedSector,
    StuckSlot,
    WornOut,
    TombstoneFailed,
    NewProof,
    CleanProof,
    FailedProof,
    WornProof,
    StoredProof,
}

const LIVES: [Life; 15] = [
    Life::Order,
    Life::Local,
    Life::DeadMan,
    Life::VisitEnded,
    Life::Abandoned,
    Life::Recovered,
    Life::FailedSector,
    Life::StuckSlot,
    Life::WornOut,
    Life::TombstoneFailed,
    Life::NewProof,
    Life::CleanProof,
    Life::FailedProof,
    Life::WornProof,
    Life::StoredProof,
];

type Device<'m> = Agent<'m, TestPlatform>;

fn rest(agent: &mut Device<'_>) {
    for _ in 0..100_000 {
        match agent.step() {
            Ok(Step::Idle) => return,
            // A part that does not answer is asked again later.
            _ => agent.platform().clock.advance_s(1),
        }
    }
    panic!("the agent does not come to rest: {:?}", agent.status());
}

fn boot<R>(
    device: &TestPlatform,
    service: &mut StubService,
    then: impl FnOnce(&mut Device<'_>, &mut StubService) -> R,
) -> R {
    device.reboot();
    let mut memory = TestMemory::default();
    let mut agent = Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
    rest(&mut agent);
    then(&mut agent, service)
}

fn newest(agent: &mut Device<'_>) -> Vec<u8> {
    let mut out = [0; Receipt::MAX];
    let n = agent.newest_receipt(&mut out).unwrap();
    out[..n].to_vec()
}

/// Says `message` to a device whose storage is checked; its newest answer.
fn say(agent: &mut Device<'_>, message: &DeskMessage<'_>) -> Vec<u8> {
    let (mut heard, mut out) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let n = codec::write(b"", message, &mut heard).unwrap();
    let (mut heard, mut answer) = (&heard[..n], Vec::new());
    loop {
        match agent.storage_check(heard, &mut out) {
            CheckStep::Send(n) => answer = out[..n].to_vec(),
            CheckStep::Again => rest(agent),
            CheckStep::Wait => return answer,
        }
        heard = &[];
    }
}

/// The receipt of a storage check whose key is the nonce asked.
fn stored_proof(agent: &mut Device<'_>) -> Vec<u8> {
    let here = say(agent, &DeskMessage::Open { version: VERSION });
    let Some(DeviceMessage::Here { vault, chunk, .. }) = codec::read(&here) else {
        panic!("no check: {here:?}");
    };
    for n in 0..vault / u32::from(chunk) {
        let bytes = vec![n as u8; chunk.into()];
        say(agent, &DeskMessage::Chunk { bytes: &bytes });
    }
    let said = say(agent, &DeskMessage::Key { key: NONCE });
    match codec::read(&said) {
        Some(DeviceMessage::Receipt { frame }) => frame.to_vec(),
        other => panic!("no receipt: {other:?}"),
    }
}

/// The power goes while a grant is being stored, and the attempt is given up.
fn abandoned() -> Vec<u8> {
    for cut in 0..100 {
        let mut service = StubService::new(1);
        let device = TestPlatform::builder()
            .kind(DeviceKind::Computer)
            .build(&service);
        boot(&device, &mut service, |a, s| {
            s.serve(a).unwrap();
            a.start_activation().unwrap();
            device.power.cut_after(cut);
            // The cut ends it one way or another.
            s.serve(a).is_ok()
        });
        let frame = boot(&device, &mut service, |a, _| {
            a.cancel_activation().ok()?;
            rest(a);
            let mut out = [0; Receipt::MAX];
            let n = a.newest_receipt(&mut out).ok()?;
            Some(out[..n].to_vec())
        });
        if let Some(frame) = frame {
            return frame;
        }
    }
    panic!("no cut while a grant was stored");
}

fn live(life: Life) -> Vec<u8> {
    let mut service = StubService::new(1);
    service.remember = life != Life::VisitEnded;
    let worn = matches!(life, Life::WornOut | Life::WornProof);
    let device = TestPlatform::builder()
        .kind(DeviceKind::Computer)
        .counter_steps(if worn { 0 } else { 100 })
        .build(&service);
    let service = &mut service;
    let activate = |agent: &mut Device<'_>, service: &mut StubService| {
        service.serve(agent).unwrap();
        agent.start_activation().unwrap();
        service.serve(agent).unwrap();
    };
    let prove = |agent: &mut Device<'_>| {
        let mut out = [0; Receipt::MAX];
        let n = agent.prove_clean(NONCE, &mut out).unwrap();
        out[..n].to_vec()
    };
    match life {
        Life::NewProof => return boot(&device, service, |a, _| prove(a)),
        Life::StoredProof => {
            return boot(&device, service, |a, _| stored_proof(a));
        }
        Life::Abandoned => return abandoned(),
        _ => {}
    }
    let ordered = boot(&device, service, |a, s| {
        activate(a, s);
        match life {
            Life::Order => {
                let order = {
                    assert!(s.send_order(OrderKind::Deactivate));
                    s.pending.clone().unwrap()
                };
                let mut out = [0; wire::MAX_FRAME];
                a.apply_order(&order, &mut out).unwrap();
            }
            Life::VisitEnded | Life::Recovered => return None,
            Life::DeadMan => {
                for _ in 0..200 {
                    device.clock.advance_s(24 * 3600);
                    rest(a);
                }
            }
            Life::FailedSector | Life::FailedProof => {
                device.vault.outage.set(Failure::Protected);
                a.deactivate().unwrap();
            }
            Life::StuckSlot => {
                device.slots.outage.set(Failure::Protected);
                a.deactivate().unwrap();
            }
            Life::TombstoneFailed => {
                let outage = &device.journal.outage;
                outage.set(Failure::NoWrites(ErrorKind::OperationFailed));
                a.deactivate().unwrap();
                outage.end();
            }
            _ => a.deactivate().unwrap(),
        }
        rest(a);
        if matches!(life, Life::CleanProof | Life::FailedProof | Life::WornProof) {
            Some(prove(a))
        } else {
            Some(newest(a))
        }
    });
    if let Some(frame) = ordered {
        return frame;
    }
    if life == Life::Recovered {
        device.counter.clone().increment().unwrap();
    }
    boot(&device, service, |a, _| newest(a))
}

fn certificate(model: &str) -> Vec<u8> {
    let public = keys::public(&keys::keypair(&DEVICE));
    let maker = keys::keypair(&MAKER);
    keys::certificate(&maker, "NRD-TEST-0001", public, model, DeviceKind::Computer)
}

fn root() -> [u8; 32] {
    keys::public(&keys::keypair(&MAKER))
}

fn sign(receipt: &Receipt<'_>) -> Vec<u8> {
    keys::signed(&keys::keypair(&DEVICE), receipt)
}

/// All that a verifier may know of this life.
fn verdict(frame: &[u8], honest: &Receipt<'_>) -> Verdict {
    let root = root();
    let mut orders = Vec::new();
    let mut question = Question {
        lists: &Models,
        device_id: Some("nrd-test-0001"),
        ..Question::new(&root)
    };
    match &honest.subject {
        Subject::Wipe {
            activation_id,
            order,
            ..
        } => {
            orders.extend(*order);
            question.known = Some(Known {
                activation_id: *activation_id,
                epoch: honest.epoch,
                orders: Some(&orders),
            });
        }
        Subject::Clean { .. } => {
            question.asked = Some(Asked {
                nonce: &NONCE,
                earlier: &[],
            });
        }
        Subject::Stored { digest, .. } => {
            question.asked = Some(Asked {
                nonce: &NONCE,
                earlier: &[],
            });
            question.stored = Some(digest);
        }
    }
    judge::<RingCrypto>(frame, &question).unwrap().verdict
}

fn fails(life: Life) -> bool {
    matches!(
        life,
        Life::FailedSector | Life::StuckSlot | Life::FailedProof
    )
}

#[test]
fn honest_receipts_of_every_life_are_proven_or_failed() {
    for life in LIVES {
        let frame = live(life);
        let mut receipt: Receipt<'_> = wire::peek(&frame).unwrap();
        let certificate = certificate("Test box");
        receipt.certificate = &certificate;
        let wanted = if fails(life) {
            Verdict::Failed
        } else {
            Verdict::Proven
        };
        assert_eq!(
            verdict(&sign(&receipt), &receipt),
            wanted,
            "{life:?}: {receipt:?}"
        );
        // Each life is the one that it is called.
        let reason = match &receipt.subject {
            Subject::Wipe { reason, .. } => Some(*reason),
            Subject::Clean { .. } | Subject::Stored { .. } => None,
        };
        let expected = match life {
            Life::Order => Some(WipeReason::Order),
            Life::DeadMan => Some(WipeReason::DeadMan),
            Life::VisitEnded => Some(WipeReason::VisitEnded),
            Life::Abandoned => Some(WipeReason::Abandoned),
            Life::Recovered => Some(WipeReason::Recovered),
            Life::Local
            | Life::FailedSector
            | Life::StuckSlot
            | Life::WornOut
            | Life::TombstoneFailed => Some(WipeReason::Local),
            Life::NewProof
            | Life::CleanProof
            | Life::FailedProof
            | Life::WornProof
            | Life::StoredProof => None,
        };
        assert_eq!(reason, expected, "{life:?}");
        assert_eq!(
            receipt.flags.counter_worn_out,
            matches!(life, Life::WornOut | Life::WornProof)
        );
        assert_eq!(
            receipt.flags.tombstone_failed,
            life == Life::TombstoneFailed
        );
    }
}

/// A receipt with one field changed; and whether an honest device in some other
/// state could have signed exactly that.
#[expect(clippy::too_many_lines, reason = "one field after the other")]
fn changed<'a>(honest: &Receipt<'a>) -> Vec<(&'static str, bool, Receipt<'a>)> {
    let mut out = Vec::new();
    let mut add = |name, could_be, change: &dyn Fn(&mut Receipt<'a>)| {
        let mut receipt = honest.clone();
        change(&mut receipt);
        if receipt != *honest {
            out.push((name, could_be, receipt));
        }
    };
    let worn = honest.flags.counter_worn_out;
    let wipe = matches!(honest.subject, Subject::Wipe { .. });
    for method in [Method::Purge, Method::Clear, Method::Failed] {
        add("method", false, &|r| r.method = method);
    }
    for n in [0, 1, 2, 3, 15, 17, u32::MAX] {
        add("total", false, &|r| r.sectors.total = n);
        add("erased", false, &|r| r.sectors.erased = n);
        add("failed", false, &|r| r.sectors.failed = n);
    }
    for by in [1u64, 2, 1 << 40, u64::MAX] {
        // A worn counter stands anywhere from the epoch on (rule 4): it may not
        // have answered.
        add("counter", worn, &|r| r.counter = r.counter.wrapping_add(by));
        add("counter", worn, &|r| r.counter = r.counter.wrapping_sub(by));
        add("epoch", worn, &|r| r.epoch = r.epoch.wrapping_add(by));
        add("epoch", worn, &|r| r.epoch = r.epoch.wrapping_sub(by));
    }
    add("slots_blank", false, &|r| r.flags.slots_blank ^= true);
    add("slots_outside_image", false, &|r| {
        r.flags.slots_outside_image ^= true;
    });
    add("root_refuses_past", false, &|r| {
        r.flags.root_refuses_past ^= true;
    });
    // A counter that took its last step, and did not answer afterwards, says that
    // it is worn out; a worn one that says it is not, stands where it must not.
    add("counter_worn_out", true, &|r| {
        r.flags.counter_worn_out ^= true;
    });
    // Any wipe may meet a journal that takes no writes.
    add("tombstone_failed", wipe, &|r| {
        r.flags.tombstone_failed ^= true;
    });
    // What a device lived through, which version it runs and what its clock said
    // are its own: no other field speaks of them.
    add("dropped", true, &|r| r.flags.dropped ^= 7);
    add("agent_version", true, &|r| r.agent_version[0] ^= 3);
    add("agent_version", false, &|r| r.agent_version = [9, 9, 9]);
    add("powered_s", true, &|r| r.powered_s ^= 12345);
    add("wall_s", true, &|r| r.wall_s = Some(1_800_000_001));
    for reason in [
        WipeReason::Order,
        WipeReason::Local,
        WipeReason::DeadMan,
        WipeReason::VisitEnded,
        WipeReason::Abandoned,
        WipeReason::Recovered,
    ] {
        let is_order = reason == WipeReason::Order;
        let was_order = matches!(honest.subject, Subject::Wipe { order: Some(_), .. });
        // The same device could have been wiped for another reason, if it was on
        // an account; with an order, never without its digest.
        add("reason", !is_order && !was_order, &|r| {
            if let Subject::Wipe { reason: was, .. } = &mut r.subject {
                *was = reason;
            }
        });
    }
    for other in [None, Some([7; 32])] {
        add("order", false, &|r| {
            if let Subject::Wipe { order, .. } = &mut r.subject {
                *order = other;
            }
        });
        // The chain is held by whoever has the receipt before.
        add("previous", true, &|r| {
            if let Subject::Wipe { previous, .. } = &mut r.subject {
                *previous = other;
            }
        });
    }
    for id in [ActivationId::default(), ActivationId([7; 16])] {
        add("activation_id", false, &|r| {
            if let Subject::Wipe { activation_id, .. } = &mut r.subject {
                *activation_id = id;
            }
        });
    }
    add("nonce", false, &|r| match &mut r.subject {
        Subject::Clean { nonce: key } | Subject::Stored { key, .. } => key[31] ^= 1,
        Subject::Wipe { .. } => {}
    });
    add("digest", false, &|r| {
        if let Subject::Stored { digest, .. } = &mut r.subject {
            digest[0] ^= 1;
        }
    });
    for n in [0, 1, 65535, 65537, u32::MAX] {
        add("bytes", false, &|r| {
            if let Subject::Stored { bytes, .. } = &mut r.subject {
                *bytes = n;
            }
        });
    }
    add("subject", false, &|r| {
        r.subject = match r.subject {
            Subject::Wipe { .. } => Subject::Clean { nonce: NONCE },
            Subject::Clean { .. } | Subject::Stored { .. } => Subject::Wipe {
                reason: WipeReason::Order,
                order: None,
                activation_id: ActivationId([1; 16]),
                previous: None,
            },
        };
    });
    out
}

#[test]
fn attack_50_no_field_changed_and_signed_again_is_proven() {
    let mut judged = 0;
    for life in LIVES {
        let frame = live(life);
        let mut honest: Receipt<'_> = wire::peek(&frame).unwrap();
        let certificate = certificate("Test box");
        honest.certificate = &certificate;
        for (field, could_be, receipt) in changed(&honest) {
            let verdict = verdict(&sign(&receipt), &honest);
            assert!(
                verdict != Verdict::Proven || could_be,
                "{life:?}, {field}: {receipt:?}"
            );
            judged += 1;
        }
        // Another maker's word on the model.
        for model in ["Other box", ""] {
            let certificate = self::certificate(model);
            let receipt = Receipt {
                certificate: &certificate,
                ..honest.clone()
            };
            assert_ne!(verdict(&sign(&receipt), &honest), Verdict::Proven);
        }
    }
    assert!(judged > 500, "{judged}");
}

/// The rules that a changed receipt breaks, held against all that may be known.
fn broken(life: Life, lists: &dyn MakerLists, change: impl FnOnce(&mut Receipt<'_>)) -> Vec<Rule> {
    let frame = live(life);
    let mut receipt: Receipt<'_> = wire::peek(&frame).unwrap();
    let certificate = certificate("Test box");
    receipt.certificate = &certificate;
    let honest = receipt.clone();
    change(&mut receipt);
    let root = root();
    let orders;
    let stored;
    let mut question = Question {
        lists,
        previous_counter: Some(honest.epoch),
        ..Question::new(&root)
    };
    match &honest.subject {
        Subject::Wipe {
            activation_id,
            order,
            ..
        } => {
            orders = [order.unwrap_or_default()];
            question.known = Some(Known {
                activation_id: *activation_id,
                epoch: honest.epoch,
                orders: Some(&orders),
            });
        }
        Subject::Clean { .. } => {}
        Subject::Stored { digest, .. } => {
            stored = *digest;
            question.stored = Some(&stored);
        }
    }
    match judge::<RingCrypto>(&sign(&receipt), &question)
        .unwrap()
        .verdict
    {
        Verdict::Contradictory(broken) => broken.iter().collect(),
        verdict => panic!("{life:?} is {verdict:?}"),
    }
}

fn order(r: &mut Receipt<'_>, to: Option<[u8; 32]>) {
    if let Subject::Wipe { order, .. } = &mut r.subject {
        *order = to;
    }
}

fn activation(r: &mut Receipt<'_>, to: ActivationId) {
    if let Subject::Wipe { activation_id, .. } = &mut r.subject {
        *activation_id = to;
    }
}

fn bytes(r: &mut Receipt<'_>, to: u32) {
    if let Subject::Stored { bytes, .. } = &mut r.subject {
        *bytes = to;
    }
}

/// Each rule has a receipt that breaks it and no other: none stands there in vain.
#[test]
fn each_rule_is_broken_by_itself() {
    type Change = fn(&mut Receipt<'_>);
    // Rules 12 and 9 meet in the bytes of a storage check, 16 and 8 in the id.
    let cases: [(Life, &[Rule], Change); 18] = [
        (Life::FailedSector, &[Rule::SectorsAddUp], |r| {
            r.sectors.erased += 1;
        }),
        (Life::Local, &[Rule::MethodAndFindings], |r| {
            r.flags.slots_blank = false;
        }),
        (Life::Local, &[Rule::CounterAfterWipe], |r| r.counter += 1),
        (Life::CleanProof, &[Rule::CounterAtProof], |r| {
            r.counter += 1
        }),
        (Life::CleanProof, &[Rule::TombstoneOfProof], |r| {
            r.flags.tombstone_failed = true;
        }),
        (Life::Order, &[Rule::ReasonAndOrder], |r| order(r, None)),
        (
            Life::Order,
            &[Rule::ReasonAndActivation, Rule::KnownActivation],
            |r| activation(r, ActivationId::default()),
        ),
        (Life::StoredProof, &[Rule::StoredBytes], |r| {
            if let Subject::Stored { digest, .. } = &mut r.subject {
                digest[0] ^= 1;
            }
        }),
        (
            Life::StoredProof,
            &[Rule::StoredBytes, Rule::ModelBytes],
            |r| {
                bytes(r, 0);
            },
        ),
        (Life::StoredProof, &[Rule::ModelBytes], |r| {
            bytes(r, 65_536 * 2)
        }),
        (Life::Local, &[Rule::ModelSectors], |r| {
            r.sectors.total -= 1;
            r.sectors.erased -= 1;
        }),
        (
            Life::Local,
            &[Rule::SectorsTooFew, Rule::ModelSectors],
            |r| {
                r.sectors.total = 2;
                r.sectors.erased = 2;
            },
        ),
        (Life::Local, &[Rule::ModelMethod], |r| {
            r.method = Method::Clear;
        }),
        (Life::Local, &[Rule::ModelSlots], |r| {
            r.flags.slots_outside_image ^= true;
        }),
        (Life::Local, &[Rule::ModelRoot], |r| {
            r.flags.root_refuses_past ^= true;
        }),
        (Life::Order, &[Rule::KnownActivation], |r| {
            activation(r, ActivationId([7; 16]));
        }),
        (Life::Order, &[Rule::KnownOrder], |r| {
            order(r, Some([7; 32]));
        }),
        (Life::Local, &[Rule::KnownEpoch], |r| {
            r.epoch += 1;
            r.counter += 1;
        }),
    ];
    for (life, rules, change) in cases {
        assert_eq!(broken(life, &Models, change), rules, "{life:?}");
    }
}

#[test]
fn a_counter_that_went_back_and_another_kind_break_their_rules() {
    // An older epoch is as consistent as the present one, and the counter tells.
    let went_back = broken(Life::Local, &Models, |r| {
        r.epoch = r.epoch.wrapping_sub(1);
        r.counter = r.counter.wrapping_sub(1);
    });
    assert!(went_back.contains(&Rule::KnownCounter), "{went_back:?}");
    let other_kind = broken(Life::Local, &Consoles, |_| {});
    assert_eq!(other_kind, [Rule::ModelKind]);
    for (n, rule) in Rule::ALL.iter().enumerate() {
        assert_eq!(*rule as usize, n + 1);
    }
}

/// Another list, by which the model is a console.
struct Consoles;

impl MakerLists for Consoles {
    fn model(&self, model: &str) -> Option<Option<ModelData>> {
        let of = |data| ModelData {
            kind: DeviceKind::Console,
            ..data
        };
        Models.model(model).map(|data| data.map(of))
    }
    fn revoked(&self, _: &str, _: &str, _: [u8; 3]) -> Option<bool> {
        None
    }
}

#[test]
fn an_answer_to_an_earlier_question_is_told_from_a_strangers() {
    let frame = live(Life::CleanProof);
    let service = StubService::new(1);
    let root = service.maker_key();
    let ask = |nonce: &[u8; 32], earlier: &[[u8; 32]]| {
        let question = Question {
            asked: Some(Asked { nonce, earlier }),
            ..Question::new(&root)
        };
        judge::<RingCrypto>(&frame, &question).unwrap().verdict
    };
    assert_eq!(ask(&NONCE, &[]), Verdict::Proven);
    assert_eq!(ask(&[1; 32], &[NONCE]), Verdict::Replayed);
    assert_eq!(ask(&[1; 32], &[]), Verdict::NotThisQuestion);
}

#[test]
fn attack_52_any_bytes_are_judged_without_panic() {
    let root = root();
    let question = Question::new(&root);
    let honest = live(Life::Local);
    for len in 0..honest.len() {
        assert!(judge::<RingCrypto>(&honest[..len], &question).is_err());
    }
    for at in 0..honest.len() {
        for bit in 0..8 {
            let mut frame = honest.clone();
            frame[at] ^= 1 << bit;
            assert!(judge::<RingCrypto>(&frame, &question).is_err());
        }
    }
    // Refused for its length, before a byte of it is read.
    let mut huge = honest.clone();
    huge.resize(64 << 20, 0x5A);
    assert!(judge::<RingCrypto>(&huge, &question).is_err());
}
