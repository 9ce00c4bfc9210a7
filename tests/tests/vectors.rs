//! The files of `tests/vectors/`: what a compatible device or service must
//! produce, byte for byte. They are made by `NRD_WRITE_VECTORS=1 cargo test -p
//! nrd-tests --test vectors` and compared in every other run.

use nrd_agent::wire::storage::{BlockOrder, digest_block};
use nrd_agent::wire::*;
use nrd_agent::{Class, State};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::{RingCrypto, RustCrypto};
use nrd_sim::base::sign::{keypair, public, signed};
use nrd_sim::base::{hex, unhex};
use nrd_sim::device::{TestBench, talk};
use nrd_sim::forensics::inspect::{Image, Search, inspect};
use nrd_sim::hw::{Chip, Hardware, RootKey, device_key, maker_certificate};
use nrd_tests::part;
use serde_json::{Value, json};
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Compares with the file, or writes it.
fn same(name: &str, bytes: &[u8]) {
    let path = folder().join(name);
    if std::env::var_os("NRD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let kept = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(
        kept == bytes,
        "{name} is not what the code makes: the format changed. If that is meant, say so in \
         docs/SPEC.md and CHANGELOG.md and write the vectors again"
    );
}

fn same_json(name: &str, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    same(name, text.as_bytes());
}

const ROOT: [u8; 32] = [0x5A; 32];

#[test]
fn keys() {
    let h = |salt: &[u8], ikm: &[u8], info: &[&[u8]]| RustCrypto::hkdf(salt, ikm, info);
    let expand =
        |base: &[u8; 32], info: &[&[u8]]| RustCrypto::hmac(base, &[info.concat().as_slice(), &[1]]);
    let slot = h(b"nrd/1/fixed", &ROOT, &[b"nrd/1/slot"]);
    let journal = h(b"nrd/1/fixed", &ROOT, &[b"nrd/1/journal"]);
    let vault = h(
        b"nrd/1/epoch",
        &ROOT,
        &[b"nrd/1/vault", &3u64.to_le_bytes()],
    );
    // The simulator's root key is this derivation.
    assert_eq!(slot, RootKey::derive_any(&ROOT, b"nrd/1/slot", None));
    assert_eq!(vault, RootKey::derive_any(&ROOT, b"nrd/1/vault", Some(3)));
    let (id, secret, salt) = ([0x11; 16], [0x22; 32], [0x33; 16]);
    let activation = h(&id, &[vault, secret].concat(), &[b"nrd/1/activation"]);
    let class = |n: u8, generation: u32| {
        let generation = generation.to_le_bytes();
        expand(&activation, &[b"nrd/1/class", &[n], &generation, &salt])
    };
    let master = [0x44; 32];
    let series = [0x55; 16];
    let token = RustCrypto::hmac(&master, &[b"nrd/1/token\0", &series, &2u32.to_le_bytes()]);
    let (challenge, nonce) = ([0x66; 32], [0x77; 16]);
    let proof = RustCrypto::hmac(&token, &[PROOF_CONTEXT, &challenge, &nonce]);
    // Three blocks: the key's first bytes are odd, so block 1 comes before block 0.
    let key = [0x89; 32];
    let order: Vec<u32> = BlockOrder::new(&key, 3).collect();
    let stored = order.iter().fold([0; 32], |digest, n| {
        digest_block::<RustCrypto>(&key, &digest, *n, &[*n as u8; 256])
    });
    same_json(
        "keys.json",
        &json!({
            "root": hex(&ROOT),
            "slot_key": hex(&slot),
            "journal_base": hex(&journal),
            "journal_header_key": hex(&expand(&journal, &[b"nrd/1/sector"])),
            "journal_nonce_key": hex(&expand(&journal, &[b"nrd/1/nonce"])),
            "journal_class_key": hex(&expand(&journal, &[b"nrd/1/class", &[0; 21]])),
            "epoch": 3,
            "vault_base": hex(&vault),
            "activation_id": hex(&id),
            "activation_secret": hex(&secret),
            "activation_key": hex(&activation),
            "salt": hex(&salt),
            "class_keys_of_salt_generation_0": (0..8).map(|n| hex(&class(n, 0))).collect::<Vec<_>>(),
            "class_3_of_salt_generation_7": hex(&class(3, 7)),
            "token_master": hex(&master),
            "series": hex(&series),
            "token_of_generation_2": hex(&token),
            "challenge": hex(&challenge),
            "request_nonce": hex(&nonce),
            "token_proof": hex(&proof),
            "storage_key": hex(&key),
            "storage_order_of_3_blocks": order,
            "storage_digest_of_256_bytes_each_of_0_1_and_2": hex(&stored),
        }),
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn frames() {
    let (maker, root, order, session) = (
        keypair(&[1; 32]),
        keypair(&[2; 32]),
        keypair(&[3; 32]),
        keypair(&[4; 32]),
    );
    let device = device_key(&ROOT, "NRD-VECTOR-1");
    let id = DeviceId::new("NRD-VECTOR-1").unwrap();
    let activation_id = ActivationId([0x11; 16]);
    let terms = LeaseTerms {
        renew_after_s: 86_400,
        expires_after_s: 2_592_000,
        max_boots: 500,
        dead_man_s: 7_776_000,
    };
    let trust = TrustVersion {
        root: 0,
        delegation: 1,
    };
    let certificate = maker_certificate(
        &maker,
        "NRD-VECTOR-1",
        public(&device),
        "Virtual box",
        DeviceKind::SetTopBox,
    );
    let the_order = signed(
        &order,
        &Order {
            device_id: id,
            epoch: 3,
            activation_id,
            key_version: KeyVersion(1),
            seq: OrderSeq(1),
            kind: OrderKind::Deactivate,
        },
    );
    let receipt = signed(
        &device,
        &Receipt {
            certificate: &certificate,
            subject: Subject::Wipe {
                reason: WipeReason::Order,
                order: Some(RingCrypto::sha256(&the_order)),
                activation_id,
                previous: None,
            },
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
                root_refuses_past: true,
                ..Default::default()
            },
            agent_version: [0, 1, 0],
            powered_s: 123_456,
            wall_s: Some(1_795_478_400),
        },
    );
    let request = signed(
        &device,
        &Request {
            device_id: id,
            challenge: [0x66; 32],
            nonce: [0x77; 16],
            agent_version: [0, 1, 0],
            trust,
            losses: Losses {
                receipt: true,
                ..Losses::default()
            },
            ask: Ask::CheckIn {
                activation_id,
                epoch: 3,
                proof: Some(TokenProof {
                    generation: Generation(2),
                    mac: [0x99; 32],
                }),
                renew: true,
                wait_s: 20,
                powered_s: 90_000,
                policy: PolicyVersion(1),
            },
        },
    );
    let mut out = [0; MAX_FRAME];
    let n = encode(
        &Reply {
            challenge: [0xAA; 32],
            root: None,
            delegation: None,
            answer: Answer::CheckedIn {
                lease: None,
                statement: None,
                order: Some(&the_order),
                interval_s: 3600,
            },
        },
        &mut out,
    )
    .unwrap();
    let frames = json!({
        "maker_public": hex(&public(&maker)),
        "service_root_public": hex(&public(&root)),
        "order_public": hex(&public(&order)),
        "session_public": hex(&public(&session)),
        "device_public": hex(&public(&device)),
        "certificate": hex(&certificate),
        "delegation": hex(&signed(&root, &Delegation {
            version: trust,
            order_key_version: KeyVersion(1),
            order_key: public(&order),
            session_key: public(&session),
            time_version: 1,
            time_floor: 1_700_000_000,
            bounds: TermBounds {
                expires_min_s: 86_400,
                expires_max_s: 5_184_000,
                boots_min: 50,
                dead_man_min_s: 2_592_000,
            },
        })),
        "root_change": hex(&signed(&root, &RootChange {
            version: 1,
            root: public(&keypair(&[5; 32])),
        })),
        "order": hex(&the_order),
        "order_digest": hex(&RingCrypto::sha256(&the_order)),
        "outcome": hex(&signed(&device, &OrderOutcome {
            device_id: id,
            order: RingCrypto::sha256(&the_order),
            result: OrderResult::Applied,
            epoch: 3,
        })),
        "grant": hex(&signed(&session, &Grant {
            device_id: id,
            activation_id,
            epoch: 3,
            series: Series([0x55; 16]),
            token: TokenSecret([0xBB; 32]),
            remember: true,
            policy: PolicyVersion(1),
            display_name: "Alexandra".try_into().unwrap(),
            terms,
        })),
        "lease": hex(&signed(&session, &Lease {
            device_id: id,
            activation_id,
            nonce: [0x77; 16],
            issued_at: 1_795_478_400,
            terms,
            policy: PolicyVersion(1),
            next: Some(NextToken { generation: Generation(3), token: TokenSecret([0xCC; 32]) }),
        })),
        "statement": hex(&signed(&session, &Statement {
            device_id: id,
            activation_id,
            nonce: [0x77; 16],
            reason: LockReason::ConsentDue,
        })),
        "receipt": hex(&receipt),
        "receipt_digest": hex(&receipt_digest::<RingCrypto>(&receipt).unwrap()),
        "request": hex(&request),
        "reply": hex(&out[..n]),
    });
    same_json("frames.json", &frames);
    same("receipt.bin", &receipt);
    same("maker-root.pub", (hex(&public(&maker)) + "\n").as_bytes());
}

/// A whole part, before and after a wipe: slot, sector headers, sealed
/// records.
#[test]
fn images() {
    let spec = part(4, 2048, 9);
    let mut bench = TestBench::new(Hardware::new(Chip::new(spec, 7)), 7);
    bench.boot(|service, agent| {
        agent.start_activation().unwrap();
        talk(service, agent).unwrap();
        assert_eq!(agent.state(), State::Active);
        agent
            .put(Class::Email, 1, b"alexandra@example.com")
            .unwrap();
        agent.put(Class::Payment, 1, b"Visa 8861").unwrap();
    });
    let active = bench.hw.chip().cells().to_vec();
    bench.boot(|service, agent| {
        agent.deactivate().unwrap();
        talk(service, agent).unwrap();
    });
    let wiped = bench.hw.chip().cells().to_vec();
    let search = || Search {
        root: Some(bench.root),
        epochs: vec![0, 1],
        ..Search::default()
    };
    let look = |cells: &[u8]| {
        let image = Image {
            cells,
            geometry: spec.geometry,
        };
        inspect(&image, &search()).unwrap()
    };
    let (before, after) = (look(&active), look(&wiped));
    assert!(before.readable_bytes > 0 && after.readable_bytes == 0);
    same("active.bin", &active);
    same("wiped.bin", &wiped);
    same_json(
        "images.json",
        &json!({
            "root": hex(&bench.root),
            "write_size": 4,
            "erase_size": 2048,
            "sectors": 9,
            "active": { "slots": before.slots, "opened": before.opened, "readable_bytes": before.readable_bytes },
            "wiped": { "slots": after.slots, "opened": after.opened, "readable_bytes": 0 },
        }),
    );
}

#[test]
fn the_files_verify_by_themselves() {
    let receipt = std::fs::read(folder().join("receipt.bin")).unwrap();
    let maker = std::fs::read_to_string(folder().join("maker-root.pub")).unwrap();
    let v = nrd_sim::forensics::verify::verify(&receipt, &unhex(&maker).unwrap(), None).unwrap();
    assert_eq!(
        (v.device_id.as_str(), v.method.name()),
        ("NRD-VECTOR-1", "purge")
    );
}
