//! The returns desk: real devices, good, forged, altered and replayed answers.

mod common;

use common::{EXE, World};
use nrd_sim::base::hex;
use nrd_sim::base::sign;
use nrd_sim::forensics::verify::{Revocation, StatusList, SubjectKind};
use nrd_sim::service::desk::{Challenge, Condition, Desk, answer_text, qr_svg};
use std::path::Path;
use std::process::Command;

const NOW: u64 = 1_800_000_000;

/// A device that is clean, and the answers that it gives.
struct Bench {
    _world: World,
    device: nrd_sim::demo::Child,
    id: String,
    maker: [u8; 32],
    maker_key: [u8; 32],
}

impl Bench {
    fn new() -> Bench {
        let world = World::new();
        let mut device = world.device("tv", "stb");
        device.start(true).unwrap();
        let boot = device.wait("boot", |_| true).unwrap();
        let service = world.dir.path().join("service");
        let key = std::fs::read_to_string(service.join("maker.key")).unwrap();
        Bench {
            id: boot["device_id"].as_str().unwrap().to_owned(),
            maker: world.running.service.keys.maker_public(),
            maker_key: nrd_sim::base::unhex(&key).unwrap(),
            _world: world,
            device,
        }
    }

    fn answer(&mut self, nonce: &[u8; 32]) -> Vec<u8> {
        let file = self.device.dir.join("answer.bin");
        let line = format!("prove-clean {} {}", hex(nonce), file.display());
        self.device.type_line(&line).unwrap();
        self.device.wait("written", |_| true).unwrap();
        std::fs::read(file).unwrap()
    }

    fn list(&self, number: u32, devices: &[&str]) -> Vec<u8> {
        let list = StatusList {
            number,
            issued_at: NOW,
            next_update: NOW + 1000,
            devices: devices.iter().map(|d| (*d).to_owned()).collect(),
            models: Vec::new(),
            agents: Vec::new(),
        };
        list.sign(&sign::keypair(&self.maker_key)).unwrap()
    }
}

#[test]
fn a_desk_is_green_only_for_what_was_proven() {
    let mut b = Bench::new();
    let desk = Desk::new(b.maker);
    let submit = |id: &str, frame: &[u8], now| desk.submit(id, frame, now).unwrap();
    let title = |id: &str, frame: &[u8], now| {
        let verdict = submit(id, frame, now).verdict.unwrap();
        assert!(!verdict.good, "{}", verdict.title);
        verdict.title
    };

    // Good, however the label is typed.
    let first = desk.begin(&b.id.to_lowercase(), NOW).unwrap();
    let good = b.answer(&first.nonce);
    let verdict = submit(&first.id, &good, NOW + 5).verdict.unwrap();
    assert!(verdict.good, "{}: {}", verdict.title, verdict.why);
    let signed = verdict.signed.unwrap();
    assert_eq!(
        (signed.subject, signed.method.name()),
        (SubjectKind::Clean, "purge")
    );
    assert_eq!(signed.revocation, Revocation::NotChecked);
    // Once more the same: it stays so. Another one: not looked at.
    assert!(submit(&first.id, &good, NOW + 6).note.is_none());
    let again = submit(&first.id, b"NRD", NOW + 6);
    assert!(again.verdict.unwrap().good && again.note.is_some());

    // Replayed, from another check and from nowhere.
    let next = desk.begin(&b.id, NOW).unwrap();
    let earlier = "The answer to an earlier question";
    assert_eq!(title(&next.id, &good, NOW), earlier);
    let foreign = b.answer(&[7; 32]);
    assert_eq!(title(&next.id, &foreign, NOW), "Replayed");
    // Too late.
    let fresh = b.answer(&next.nonce);
    assert_eq!(title(&next.id, &fresh, NOW + 86_401), "Nonce too old");
    // Another device's label.
    let other = desk.begin("NRD-STB-0000000000", NOW).unwrap();
    let answer = b.answer(&other.nonce);
    assert_eq!(title(&other.id, &answer, NOW), "Another device");

    // Altered at every byte: never green, whatever it is called.
    for i in 0..fresh.len() {
        let mut altered = fresh.clone();
        altered[i] ^= 0x10;
        title(&next.id, &altered, NOW);
    }
    // Another maker's.
    let strangers = Desk::new([9; 32]);
    let check = strangers.begin(&b.id, NOW).unwrap();
    let answer = b.answer(&check.nonce);
    let verdict = strangers
        .submit(&check.id, &answer, NOW)
        .unwrap()
        .verdict
        .unwrap();
    assert_eq!(verdict.title, "Forged, or another maker’s");
    // And the good one still counts.
    assert!(submit(&next.id, &fresh, NOW).verdict.unwrap().good);
    assert!(desk.submit("0000", &fresh, NOW).is_none());
}

#[test]
fn a_status_list_revokes_and_an_old_one_checks_nothing() {
    let mut b = Bench::new();
    let desk = Desk::new(b.maker);
    let check = desk.begin(&b.id, NOW).unwrap();
    let answer = b.answer(&check.nonce);
    let revocation = |now| {
        let verdict = desk.read(&answer, now);
        verdict.signed.unwrap().revocation
    };
    desk.take_list(&b.list(4, &[])).unwrap();
    assert!(matches!(
        revocation(NOW),
        Revocation::Good { number: 4, .. }
    ));
    assert!(matches!(
        revocation(NOW + 1001),
        Revocation::OutOfDate { .. }
    ));
    assert!(matches!(
        revocation(NOW - 100_000),
        Revocation::OutOfDate { .. }
    ));
    let id = b.id.clone();
    desk.take_list(&b.list(5, &[&id])).unwrap();
    assert!(revocation(NOW + 1001).revoked(), "however old the list is");
    let verdict = desk
        .submit(&check.id, &answer, NOW)
        .unwrap()
        .verdict
        .unwrap();
    assert_eq!((verdict.good, verdict.title), (false, "Revoked"));
    // Never back to an older list, nor to a stranger's.
    assert!(desk.take_list(&b.list(4, &[])).is_err());
    let mut forged = b.list(6, &[]);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(desk.take_list(&forged).is_err());
    assert!(desk.take_list(&answer).is_err());
    assert!(revocation(NOW).revoked());
}

#[test]
fn the_command_line_makes_lists_and_verifies_with_them() {
    let mut b = Bench::new();
    let dir = b.device.dir.parent().unwrap().to_owned();
    let answer = b.answer(&[3; 32]);
    let path = |name: &str| dir.join(name).display().to_string();
    let (root, key) = (path("service/maker-root.pub"), path("service/maker.key"));
    std::fs::write(path("a.txt"), answer_text(&answer)).unwrap();
    let run = |args: &[&str]| {
        let out = Command::new(EXE).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        (out.status.code().unwrap(), text)
    };
    let (a, list, id) = (path("a.txt"), path("list.bin"), b.id.clone());
    let (code, text) = run(&["verify", &a, "--maker-root", &root, "--device", &id]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Revocation not checked"), "{text}");
    assert_eq!(
        run(&["verify", &a, "--maker-root", &root, "--device", "X"]).0,
        1
    );
    let made = ["status-list", &list, "--maker-key", &key, "--number", "1"];
    assert_eq!(run(&made).0, 0);
    let with_list = ["verify", &a, "--maker-root", &root, "--status-list", &list];
    let (code, text) = run(&with_list);
    assert!(code == 0 && text.contains("Revocation checked"), "{text}");
    assert_eq!(
        run(&["status-list", &list, "--show", "--maker-root", &root]).0,
        0
    );
    let made = [&made[..4], &["--number", "2", "--agent", "0.1.0"]].concat();
    assert_eq!(run(&made).0, 0);
    let (code, text) = run(&with_list);
    assert!(code == 1 && text.starts_with("REVOKED"), "{text}");
    // Nonsense.
    assert_eq!(
        run(&[
            "status-list",
            &list,
            "--maker-key",
            &key,
            "--number",
            "3",
            "--agent",
            "1"
        ])
        .0,
        2
    );
    assert_eq!(run(&["status-list", &list]).0, 2);
    assert_eq!(
        run(&["status-list", &a, "--show", "--maker-root", &root]).0,
        1
    );
    assert_eq!(
        run(&["verify", &a, "--maker-root", &root, "--status-list", &a]).0,
        2
    );
    assert!(Path::new(&list).exists());
}

#[test]
fn a_code_is_short_enough_for_a_phone_and_reads_back() {
    let challenge = Challenge { nonce: [0x5A; 32] };
    let svg = qr_svg(&challenge.text(), "x").unwrap();
    assert!(svg.contains("viewBox=\"0 0 37 37\""), "{}", &svg[..80]);
    // The largest answer still fits a code.
    let answer = answer_text(&[0xFF; 640]);
    assert!(qr_svg(&answer, "x").is_some());
}

/// As a device takes it: typed, scanned, from a stick, from a picture of the code.
#[test]
fn a_question_is_taken_as_text_as_a_file_and_as_a_picture() {
    let mut b = Bench::new();
    let dir = b.device.dir.parent().unwrap().to_owned();
    let path = |name: &str| dir.join(name).display().to_string();
    // Digits of base45 with spaces among them.
    let question = Challenge {
        nonce: std::array::from_fn(|n| [0x0E, 0x61][n % 2]),
    };
    let text = question.text();
    assert!(text.contains("  1  1"), "{text}");
    std::fs::write(path("question.txt"), &text).unwrap();
    std::fs::write(path("question.png"), common::code::code(&text)).unwrap();
    std::fs::write(path("other.txt"), "no question").unwrap();
    let root = path("service/maker-root.pub");
    let verify = |file: &str, more: &[&str]| {
        let out = Command::new(EXE)
            .args(["verify", file, "--maker-root", &root])
            .args(more)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let given = [
        text.clone(),
        hex(&question.nonce),
        path("question.txt"),
        path("question.png"),
    ];
    for (n, question) in given.iter().enumerate() {
        let file = path(&format!("answer-{n}.bin"));
        let line = format!("prove-clean {question} {file}");
        b.device.type_line(&line).unwrap();
        b.device.wait("written", |_| true).unwrap();
        assert_eq!(verify(&file, &["--question", question]).0, Some(0));
    }
    let answer = path("answer-0.bin");
    let other = Challenge { nonce: [7; 32] }.text();
    assert_eq!(verify(&answer, &["--question", &other]).0, Some(1));
    for none in [path("other.txt"), path("nowhere"), "12".to_owned()] {
        assert_eq!(verify(&answer, &["--question", &none]).0, Some(2), "{none}");
        let line = format!("prove-clean {none} {}", path("none.bin"));
        b.device.type_line(&line).unwrap();
        b.device.wait("refused", |_| true).unwrap();
    }
    assert!(!Path::new(&path("none.bin")).exists());

    // A device that cannot answer writes its state in the place of the answer, and
    // whoever reads it is told what that means.
    b.device.type_line("activate").unwrap();
    b.device.wait_state("activating").unwrap();
    let file = path("state.bin");
    let line = format!("prove-clean {text} {file}");
    b.device.type_line(&line).unwrap();
    b.device.wait("written", |_| true).unwrap();
    let said = std::fs::read_to_string(&file).unwrap();
    assert_eq!(said, "NRD:1:STATE:ACTIVATING");
    let words = Condition::parse(&said).unwrap().words();
    let (code, _, told) = verify(&file, &[]);
    assert_eq!(code, Some(1));
    for part in [words.title, words.means, words.next] {
        assert!(told.contains(part), "{told}");
    }
    let (_, json, _) = verify(&file, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["verified"], &json["next"]),
        (&false.into(), &words.next.into())
    );
}
