//! Many answers at once: fifty real agents, and whatever a stranger may put among
//! their answers. On the command line and on the page.

mod common;

use common::code::code;
use common::stage::Actor;
use common::{EXE, World};
use nrd_agent::wire::DeviceKind;
use nrd_sim::base::sign;
use nrd_sim::device::exchange;
use nrd_sim::forensics::verify::StatusList;
use nrd_sim::service::desk::{Challenge, Condition, MAX_ROWS, answer_text};
use std::path::PathBuf;
use std::process::{Command, Output};

const NONCE: [u8; 32] = [0x5A; 32];

fn id(n: usize) -> String {
    format!("NRD-STB-{n:04}")
}

/// Clean devices, and a folder for what they answer.
struct Shop {
    world: World,
}

impl Shop {
    fn new() -> Shop {
        let world = World::new();
        for folder in ["answers", "certificates"] {
            std::fs::create_dir(world.dir.path().join(folder)).unwrap();
        }
        Shop { world }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn answer_of(&self, id: &str, model: &str, nonce: [u8; 32]) -> Vec<u8> {
        Actor::new(
            &self.world.running.service,
            id,
            model,
            DeviceKind::SetTopBox,
        )
        .prove(nonce)
    }

    fn answer(&self, n: usize) -> Vec<u8> {
        self.answer_of(&id(n), "Lumen Box 3", NONCE)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path("answers").join(name), bytes).unwrap();
    }

    fn verify_all(&self, answers: &str, more: &[&str]) -> Output {
        let mut call = Command::new(EXE);
        call.args(["verify-all", answers, "--csv", &self.text("out.csv")]);
        call.args(["--maker-root", &self.text("service/maker-root.pub")]);
        call.args(more).output().unwrap()
    }

    fn table(&self) -> Vec<Vec<String>> {
        table(&std::fs::read_to_string(self.path("out.csv")).unwrap())
    }
}

/// Reads a table (RFC 4180) in which every cell is quoted.
fn table(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![]];
    let mut rest = text;
    while !rest.is_empty() {
        let mut cell = String::new();
        rest = rest.strip_prefix('"').expect("every cell is quoted");
        loop {
            let end = rest.find('"').expect("every cell ends");
            cell += &rest[..end];
            rest = &rest[end + 1..];
            match rest.strip_prefix('"') {
                Some(more) => {
                    cell.push('"');
                    rest = more;
                }
                None => break,
            }
        }
        rows.last_mut().unwrap().push(cell);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => {
                rest = rest.strip_prefix("\r\n").expect("a line ends with CRLF");
                rows.push(vec![]);
            }
        }
    }
    rows.pop();
    rows
}

#[test]
fn fifty_answers_are_judged_in_one_go_on_the_command_line() {
    let shop = Shop::new();
    // The question as the desk's file; most answers as files, some in a list, one
    // as a photo.
    let question = shop.text("question.txt");
    std::fs::write(&question, Challenge { nonce: NONCE }.text() + "\n").unwrap();
    for n in 0..46 {
        shop.write(&format!("{}.bin", id(n)), &shop.answer(n));
    }
    let list: Vec<String> = (46..49).map(|n| answer_text(&shop.answer(n))).collect();
    shop.write("list.txt", list.join("\n").as_bytes());
    shop.write("photo.png", &code(&answer_text(&shop.answer(49))));
    let labels: Vec<String> = (0..50).map(id).collect();
    std::fs::write(shop.path("labels.txt"), labels.join("\n")).unwrap();
    let all = [
        "--question",
        &question,
        "--labels",
        &shop.text("labels.txt"),
        "--certificates",
        &shop.text("certificates"),
        "--clerk",
        "Dana Łęcka",
        "--shop",
        "Second, \"Screen\"",
    ];
    let answers = shop.text("answers");
    let out = shop.verify_all(&answers, &all);
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert!(said.contains("50 of 50 proven, from 48 files"), "{said}");
    let rows = shop.table();
    assert_eq!(rows.len(), 51);
    assert_eq!(
        rows[0][..5],
        ["handed in", "device id", "model", "proven", "verdict"]
    );
    for row in &rows[1..] {
        assert_eq!(row.len(), rows[0].len());
        assert_eq!(
            (&*row[2], &*row[3], &*row[4]),
            ("Lumen Box 3", "yes", "Proven clean")
        );
        assert_eq!((&*row[9], &*row[10]), ("Dana Łęcka", "Second, \"Screen\""));
        let certificate = std::fs::read(shop.path("certificates").join(&row[11])).unwrap();
        assert!(certificate.starts_with(b"%PDF"), "{}", row[11]);
    }
    let mut ids: Vec<&String> = rows[1..].iter().map(|row| &row[1]).collect();
    ids.sort();
    assert_eq!(ids, labels.iter().collect::<Vec<_>>());
}

/// A file's name, what it holds, and the verdict on it.
fn bad_files(shop: &Shop, good: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut altered = shop.answer(2);
    let middle = altered.len() - 100;
    altered[middle] ^= 1;
    vec![
        ("b-again.bin", good.to_vec(), "Handed in before"),
        ("c-altered.bin", altered, "Altered"),
        (
            "d-old.bin",
            shop.answer_of(&id(3), "Lumen Box 3", [9; 32]),
            "Replayed",
        ),
        (
            "e-stranger.bin",
            shop.answer_of("NRD-STB-X", "Lumen Box 3", NONCE),
            "Not on the list",
        ),
        (
            "f-state.txt",
            b"NRD:1:STATE:ACTIVE\n".to_vec(),
            "Still on an account",
        ),
        ("g-nothing.bin", Vec::new(), "Not read"),
        (
            "h-noise.bin",
            (0..9000_u32).map(|n| ((n * n) >> 3) as u8).collect(),
            "Not read",
        ),
        (
            "i-frame.bin",
            b"nrd/1/receipt\0\xFF\xFF\xFF".to_vec(),
            "Not an answer",
        ),
        (
            "j-picture.png",
            code("something else")[..90].to_vec(),
            "Not read",
        ),
        ("=HYPERLINK(\u{1b}[2J)\n.bin", b"zz".to_vec(), "Not read"),
    ]
}

/// Whatever lies among good answers costs its own row.
#[test]
fn one_bad_file_never_stops_the_others() {
    let shop = Shop::new();
    let good = [0, 1].map(|n| shop.answer(n));
    shop.write("a-good.bin", &good[0]);
    shop.write("z-good.bin", &good[1]);
    let bad = bad_files(&shop, &good[0]);
    for (name, bytes, _) in &bad {
        shop.write(name, bytes);
    }
    // Ten gigabytes that take no room, and a pipe that nobody writes to.
    let huge = std::fs::File::create(shop.path("answers").join("k-huge.bin")).unwrap();
    huge.set_len(10 << 30).unwrap();
    let pipe = shop.path("answers").join("l-pipe");
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    std::fs::write(
        shop.path("labels.txt"),
        (0..6).map(id).collect::<Vec<_>>().join(" "),
    )
    .unwrap();
    let question = Challenge { nonce: NONCE }.text();
    let labels = shop.text("labels.txt");
    let with = ["--question", &question, "--labels", &labels];
    let out = shop.verify_all(&shop.text("answers"), &with);
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{said}");
    let steering = |c: char| c.is_control() && c != '\n';
    assert!(!said.contains(steering), "{said:?}");

    let rows = shop.table();
    let row = |given: &str| {
        let found = rows.iter().find(|row| row[0].contains(given));
        found.unwrap_or_else(|| panic!("{given}: {rows:?}"))
    };
    for (name, _, verdict) in &bad {
        let name = if name.starts_with('=') {
            "HYPERLINK"
        } else {
            name
        };
        assert_eq!((&*row(name)[3], &*row(name)[4]), ("no", *verdict), "{name}");
    }
    for name in ["k-huge.bin", "l-pipe"] {
        assert_eq!(row(name)[4], "Not read");
    }
    for name in ["a-good.bin", "z-good.bin"] {
        assert_eq!((&*row(name)[3], &*row(name)[4]), ("yes", "Proven clean"));
    }
    assert_eq!(row("HYPERLINK")[0], "'=HYPERLINK(\\u{1b}[2J)\\u{a}.bin");
    // Whose answer is missing: those that sent none, and those whose answer is none.
    let silent: Vec<_> = rows.iter().filter(|r| r[4] == "No answer yet").collect();
    let silent: Vec<&str> = silent.iter().map(|r| r[1].as_str()).collect();
    assert_eq!(silent, [id(2), id(4), id(5)]);
    let raw = std::fs::read_to_string(shop.path("out.csv")).unwrap();
    let steering = |c: char| c.is_control() && c != '\r' && c != '\n';
    assert!(!raw.contains(steering));
}

/// A model is the maker's text; a device of a maker without care steers nothing.
#[test]
fn a_model_steers_neither_terminal_nor_table_nor_page() {
    let shop = Shop::new();
    let model = "=cmd|' /C x'!A0\u{1b}[31m\u{202e}\r\n";
    shop.write("a.bin", &shop.answer_of(&id(1), model, NONCE));
    let question = Challenge { nonce: NONCE }.text();
    let out = shop.verify_all(&shop.text("answers"), &["--question", &question]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let shown = "=cmd|' /C x'!A0\\u{1b}[31m\\u{202e}\\u{d}\\u{a}";
    assert_eq!(shop.table()[1][2], format!("'{shown}"));

    let file = shop.text("answers/a.bin");
    let root = shop.text("service/maker-root.pub");
    let verify = |more: &[&str]| {
        let out = Command::new(EXE)
            .args(["verify", &file, "--maker-root", &root])
            .args(more)
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap()
    };
    let steers =
        |text: &str| text.contains(|c: char| c != '\n' && c.is_control() || c == '\u{202e}');
    // Barred by its model: the list's own words are its model's too.
    let service = shop.path("service");
    let key = std::fs::read_to_string(service.join("maker.key")).unwrap();
    let list = StatusList {
        number: 1,
        issued_at: 1,
        next_update: 2,
        models: vec![model.to_owned()],
        ..StatusList::default()
    };
    let key = sign::keypair(&nrd_sim::base::unhex(&key).unwrap());
    std::fs::write(shop.path("list.bin"), list.sign(&key).unwrap()).unwrap();
    let barred = ["--status-list", &shop.text("list.bin")];
    for text in [verify(&[]), verify(&["--json"]), verify(&barred)] {
        assert!(text.contains("/C x"), "{text}");
        assert!(!steers(&text), "{text:?}");
    }
    assert!(verify(&barred).contains("REVOKED"));

    // On the page, in its check and its certificate.
    let page = Page::new(&shop);
    let batch = page.begin("");
    let nonce = page.nonce(&batch);
    let answer = shop.answer_of(&id(1), model, nonce);
    page.hand_in(&batch, &[("files", "=1\u{202e}.bin", &answer)]);
    let shown = page.get(&batch);
    assert!(shown.contains("Proven clean") && !steers(&shown), "{shown}");
    let check = link(&shown, "/desk/checks/");
    for path in [check.clone(), format!("{check}/certificate")] {
        let shown = page.get(&path);
        assert!(shown.contains("/C x") && !steers(&shown), "{path}: {shown}");
    }
    let table = page.get(&format!("{batch}/verdicts.csv"));
    assert!(!steers(&table.replace('\r', "")), "{table:?}");
}

/// Its model would stand on the account's pages.
#[test]
fn a_device_whose_model_steers_is_not_enrolled() {
    let world = World::new();
    let service = &world.running.service;
    for (id, model, known) in [
        ("NRD-A", "Lumen\u{202e}", false),
        ("NRD-B", "Lumen é", true),
    ] {
        let mut device = Actor::new(service, id, model, DeviceKind::SetTopBox);
        device.boot(|service, agent| {
            agent.start_activation().unwrap();
            for _ in 0..4 {
                agent.platform().clock().advance_ms(5_000);
                // A refusal is no failure of the exchange.
                exchange(service, agent).unwrap();
            }
        });
        assert_eq!(service.store.device(id).unwrap().is_some(), known, "{id}");
    }
}

/// No file makes these commands hold more than what an answer may be: they run
/// with half a gigabyte of address space.
#[test]
fn a_file_of_any_size_is_refused_in_bounded_memory() {
    let shop = Shop::new();
    let huge = std::fs::File::create(shop.path("huge.bin")).unwrap();
    huge.set_len(10 << 30).unwrap();
    let root = shop.text("service/maker-root.pub");
    let huge = shop.text("huge.bin");
    shop.write("x.bin", b"x");
    let x = shop.text("answers/x.bin");
    let limited = |args: &[&str]| {
        let limit = "ulimit -v 524288; exec \"$0\" \"$@\"";
        let out = Command::new("sh")
            .args(["-c", limit, EXE])
            .args(args)
            .output();
        let out = out.unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {out:?}");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains("too large for what it should be"), "{said}");
    };
    for endless in ["/dev/zero", &huge] {
        limited(&["verify", endless, "--maker-root", &root]);
        limited(&["verify", &x, "--maker-root", endless]);
        limited(&["verify", &x, "--maker-root", &root, "--question", endless]);
        limited(&[
            "verify",
            &x,
            "--maker-root",
            &root,
            "--status-list",
            endless,
        ]);
        limited(&["verify-all", &x, "--maker-root", &root, "--labels", endless]);
    }
}

/// The desk's pages, as a program without a browser sends forms.
struct Page {
    base: String,
    agent: ureq::Agent,
}

impl Page {
    fn new(shop: &Shop) -> Page {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        Page {
            base: shop
                .world
                .running
                .pages_url()
                .trim_end_matches('/')
                .to_owned(),
            agent: config.build().into(),
        }
    }

    fn get(&self, path: &str) -> String {
        let url = format!("{}{path}", self.base);
        let mut page = self.agent.get(url).call().unwrap();
        page.body_mut().read_to_string().unwrap()
    }

    /// Begins a batch; its path.
    fn begin(&self, labels: &str) -> String {
        let url = format!("{}/desk/batches", self.base);
        let sent = self
            .agent
            .post(url)
            .header("Origin", &self.base)
            .send_form([("labels", labels)])
            .unwrap();
        let page = sent.into_body().read_to_string().unwrap();
        let inside = link(&page, "/desk/batches/");
        inside.rsplit_once('/').unwrap().0.to_owned()
    }

    fn nonce(&self, batch: &str) -> [u8; 32] {
        let text = self.get(&format!("{batch}/question.txt"));
        Challenge::parse(&text).unwrap().nonce
    }

    /// Posts a form; status and page.
    fn post(&self, batch: &str, parts: &[(&str, &str, &[u8])]) -> (u16, String) {
        let mut body = Vec::new();
        for (field, file, bytes) in parts {
            let head = format!(
                "--b0undary\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file}\"\r\n\r\n"
            );
            body.extend(head.as_bytes());
            body.extend(*bytes);
            body.extend(b"\r\n");
        }
        body.extend(b"--b0undary--\r\n");
        let sent = self
            .agent
            .post(format!("{}{batch}", self.base))
            .header("Origin", &self.base)
            .header("Content-Type", "multipart/form-data; boundary=b0undary")
            .send(&body[..])
            .unwrap();
        let status = sent.status().as_u16();
        (
            status,
            sent.into_body().read_to_string().unwrap_or_default(),
        )
    }

    /// Hands it in and waits until all of it is read.
    fn hand_in(&self, batch: &str, parts: &[(&str, &str, &[u8])]) {
        let (status, page) = self.post(batch, parts);
        assert_eq!(status, 200, "{page}");
        common::eventually("all read", || !self.get(batch).contains("being read"));
    }
}

/// The first link on a page that begins so.
fn link(page: &str, start: &str) -> String {
    let from = page.find(&format!("href=\"{start}")).expect(start) + "href=\"".len();
    page[from..].split('"').next().unwrap().to_owned()
}

#[test]
fn the_page_takes_fifty_answers_and_bad_ones_among_them() {
    let shop = Shop::new();
    let page = Page::new(&shop);
    let labels: Vec<String> = (0..51).map(id).collect();
    let batch = page.begin(&labels.join("\n"));
    let nonce = page.nonce(&batch);
    let answers: Vec<Vec<u8>> = (0..50)
        .map(|n| shop.answer_of(&id(n), "Lumen Box 3", nonce))
        .collect();
    let photo = code(&answer_text(&answers[49]));
    let pasted = [
        answer_text(&answers[48]),
        "NRD:1:STATE:WIPING".to_owned(),
        answer_text(&answers[47]),
    ];
    let pasted = pasted.join("\n");
    let mut parts: Vec<(&str, &str, &[u8])> = answers[..47]
        .iter()
        .map(|a| ("files", "answer.bin", &a[..]))
        .collect();
    parts.push(("files", "photo.png", &photo));
    parts.push(("files", "noise.bin", b"\xFF\xD8\xFF noise"));
    parts.push(("text", "", pasted.as_bytes()));
    page.hand_in(&batch, &parts);
    let shown = page.get(&batch);
    assert!(shown.contains("50 of 53 proven clean."), "{shown}");
    assert!(shown.contains(Condition::In(nrd_agent::State::Wiping).words().title));
    assert_eq!(shown.matches("No answer yet").count(), 1);
    assert_eq!(shown.matches("/certificate\">").count(), 50);
    let check = link(&shown, "/desk/checks/");
    assert!(page.get(&check).contains("Proven clean"));
    assert!(
        page.get(&format!("{check}/certificate"))
            .contains("Certificate of sanitization")
    );
    let rows = table(&page.get(&format!("{batch}/verdicts.csv")));
    assert_eq!(rows.len(), 1 + 53);
    let linked = |row: &&Vec<String>| row[11].starts_with("/desk/checks/");
    assert_eq!(rows.iter().filter(linked).count(), 50);

    // Nothing, an unknown batch, labels that are none, too many files.
    assert_eq!(page.post(&batch, &[]).0, 400);
    assert_eq!(page.post("/desk/batches/0000", &parts).0, 404);
    let many: Vec<(&str, &str, &[u8])> = vec![("files", "x", b"zz"); MAX_ROWS];
    page.hand_in(&batch, &many);
    let rows = table(&page.get(&format!("{batch}/verdicts.csv")));
    assert_eq!(rows.len(), 1 + MAX_ROWS + 1, "full, and one is missing");
    // 52 rows stood there, so 52 of the 500 found no room: the clerk is told.
    let shown = page.get(&batch);
    assert!(
        shown.contains("52 more were handed in and not judged"),
        "{shown}"
    );
    // More than one form may hold is refused as it arrives.
    let huge = vec![0_u8; 65 << 20];
    let refused = page.agent.post(format!("{}{batch}", page.base))
        .header("Origin", &page.base)
        .header("Content-Type", "multipart/form-data; boundary=b0undary")
        .send(&[&b"--b0undary\r\nContent-Disposition: form-data; name=\"files\"; filename=\"h\"\r\n\r\n"[..], &huge, b"\r\n--b0undary--\r\n"].concat()[..]);
    // The connection may end before all of it was sent.
    assert!(refused.is_err() || refused.is_ok_and(|r| r.status().as_u16() == 413));
    assert!(page.get(&batch).contains("Many devices"));
}
