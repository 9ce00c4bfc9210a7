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
