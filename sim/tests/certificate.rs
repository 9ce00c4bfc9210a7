//! Certificates as PDF: one page, every field, and a code that `verify` reads
//! from paper.

mod common;

use common::{EXE, World, skip};
use nrd_sim::base::hex;
use std::path::Path;
use std::process::{Command, Output};

/// A clean device's answer, and the maker's root that it verifies with.
struct Evidence {
    world: World,
    answer: String,
    root: String,
}

impl Evidence {
    fn new() -> Evidence {
        let world = World::new();
        let mut device = world.device("tv", "stb");
        device.start(true).unwrap();
        let answer = device.dir.join("answer.bin").display().to_string();
        let line = format!("prove-clean {} {answer}", hex(&[0x5A; 32]));
        device.type_line(&line).unwrap();
        device.wait("written", |_| true).unwrap();
        let root = world.dir.path().join("service/maker-root.pub");
        Evidence {
            root: root.display().to_string(),
            answer,
            world,
        }
    }

    fn certificate(&self, more: &[&str]) -> (Output, String) {
        let out = self.world.dir.path().join("certificate.pdf");
        let out = out.display().to_string();
        let made = Command::new(EXE)
            .args(["certificate", &self.answer, "--maker-root", &self.root])
            .args(["--out", &out])
            .args(more)
            .output()
            .unwrap();
        (made, out)
    }

    fn verify(&self, file: &Path) -> Output {
        let file = file.display().to_string();
        Command::new(EXE)
            .args(["verify", &file, "--maker-root", &self.root])
            .output()
            .unwrap()
    }
}

/// Runs a tool of poppler; `None` where there is none.
fn tool(name: &str, args: &[&str]) -> Option<String> {
    let Ok(out) = Command::new(name).args(args).output() else {
        skip(name, "a look into the PDF");
        return None;
    };
    assert!(out.status.success(), "{name}: {out:?}");
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

const FIELDS: [&str; 31] = [
    "Certificate of sanitization",
    "NIST SP 800-88 Rev. 2",
    "Device maker",
    "Model",
    "Serial number (device id)",
    "Property or asset number",
    "Media type",
    "Source (person or number)",
    "Method",
    "Clear",
    "Purge",
    "Technique",
    "Cryptographic erase",
    "Tool and version",
    "Verification, by the device",
    "Date, by the device",
    "Question answered",
    "Destination",
    "Recycling",
    "Back to the maker",
    "Sanitization performed by",
    "Validated by",
    "Name",
    "Title",
    "Organization",
    "Place",
    "Phone",
    "Signature",
    "Validation",
    "Dana Łęcka",
    "Second Screen",
];

#[test]
fn a_pdf_is_one_page_with_every_field_and_its_code_verifies_from_paper() {
    let evidence = Evidence::new();
    for (paper, size) in [
        (&[][..], "595.28 x 841.89 pts (A4)"),
        (&["--letter"][..], "612 x 792 pts (letter)"),
    ] {
        let names = ["--clerk", "Dana Łęcka", "--shop", "Second Screen"];
        let (made, pdf) = evidence.certificate(&[&names, paper].concat());
        assert!(made.status.success(), "{made:?}");
        let Some(about) = tool("pdfinfo", &[&pdf]) else {
            return;
        };
        let line = |name: &str| {
            let line = about.lines().find(|l| l.starts_with(name)).unwrap();
            line[name.len()..].trim().to_owned()
        };
        assert_eq!(line("Pages:"), "1", "{size}");
        assert_eq!(line("Page size:"), size);
        let text = tool("pdftotext", &["-layout", &pdf, "-"]).unwrap();
        for field in FIELDS {
            assert!(text.contains(field), "{field} is not in:\n{text}");
        }
        // Printed, and photographed at 150 dots an inch.
        let picture = evidence.world.dir.path().join("paper");
        let picture = picture.display().to_string();
        tool(
            "pdftoppm",
            &["-r", "150", "-png", "-singlefile", &pdf, &picture],
        )
        .unwrap();
        let read = evidence.verify(Path::new(&format!("{picture}.png")));
        assert!(read.status.success(), "{read:?}");
        let from_file = evidence.verify(Path::new(&evidence.answer));
        assert_eq!(read.stdout, from_file.stdout);
    }
}

#[test]
fn nothing_is_certified_that_does_not_verify() {
    let evidence = Evidence::new();
    let refused = |more: &[&str], code| {
        let (made, pdf) = evidence.certificate(more);
        assert_eq!(made.status.code(), Some(code), "{more:?}: {made:?}");
        assert!(!Path::new(&pdf).exists(), "{more:?}");
    };
    refused(&["--device", "NRD-STB-0000000000"], 1);
    refused(&["--nonce", &hex(&[1; 32])], 1);
    refused(&["--clerk", &"x".repeat(61)], 2);
    refused(&["--clerk", "two\nlines"], 2);
    // The font has Latin, Greek and Cyrillic letters; a name is never printed
    // as boxes.
    refused(&["--clerk", "山田"], 2);
    let mut altered = std::fs::read(&evidence.answer).unwrap();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    std::fs::write(&evidence.answer, altered).unwrap();
    refused(&[], 1);
}

#[test]
fn a_receipt_is_held_against_its_makers_model_list() {
    let evidence = Evidence::new();
    let file = |name: &str| evidence.world.dir.path().join(name).display().to_string();
    let key = file("service/maker.key");
    let run = |args: &[&str]| Command::new(EXE).args(args).output().unwrap();
    let verify = |list: &str| {
        let with = ["--maker-root", &evidence.root, "--model-list", list];
        run(&[&["verify", &evidence.answer], &with[..]].concat())
    };
    let list = |number: &str, model: &str, sectors: u32| {
        let (from, out) = (file("models.toml"), file(&format!("models-{number}.bin")));
        let text = format!(
            "[[model]]\nname = {model:?}\nkind = \"set-top-box\"\nsectors = {sectors}\n\
             vault_bytes = {}\nphysical = true\nslots_outside_image = false\n\
             root_refuses_past = true\n",
            sectors * 4096
        );
        std::fs::write(&from, text).unwrap();
        let key = ["--maker-key", &key, "--number", number];
        let made = run(&[&["model-list", &out, "--from", &from], &key[..]].concat());
        assert!(made.status.success(), "{made:?}");
        out
    };
    let before = run(&[
        "verify",
        &evidence.answer,
        "--maker-root",
        &evidence.root,
        "--json",
    ]);
    let said: serde_json::Value = serde_json::from_slice(&before.stdout).unwrap();
    let model = said["model"].as_str().unwrap();
    let sectors = u32::try_from(said["sectors"].as_u64().unwrap()).unwrap();

    let good = verify(&list("1", model, sectors));
    let text = String::from_utf8_lossy(&good.stdout);
    assert_eq!(good.status.code(), Some(0), "{text}");
    assert!(
        !text.contains("model list"),
        "nothing is left to say: {text}"
    );
    let fewer = verify(&list("2", model, sectors - 1));
    let text = String::from_utf8_lossy(&fewer.stdout);
    assert_eq!(fewer.status.code(), Some(3), "{text}");
    assert!(
        text.contains("contradicts itself") && text.contains("sectors"),
        "{text}"
    );
    let unknown = verify(&list("3", "Another box", sectors));
    let text = String::from_utf8_lossy(&unknown.stdout);
    assert_eq!(unknown.status.code(), Some(1), "{text}");
    assert!(text.contains("nothing to hold it against"), "{text}");

    // What is no list, and what is no form.
    assert_eq!(verify(&evidence.answer).status.code(), Some(2));
    std::fs::write(file("models.toml"), "[[model]]\nname = 5\n").unwrap();
    let key = ["--maker-key", &key, "--number", "4"];
    let args = [
        &["model-list", &file("x.bin"), "--from", &file("models.toml")],
        &key[..],
    ];
    let refused = run(&args.concat());
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
