//! Makes the photographs of a device's code, reads them, and prints the table
//! of `docs/reports/PHOTOS.md`:
//! `cargo run --release -p nrd-sim --example photos -- [--each N] [--width N] [--kind WORD] [--keep FOLDER] [--other PROGRAM ARGUMENTS…]`.
//!
//! PROGRAM gets a photo's path as its last argument and prints what it read,
//! as `zbarimg --quiet --raw` does.

#[path = "../tests/common/photos.rs"]
mod photos;

use nrd_sim::service::desk::photo::read_photo;
use photos::{Kind, make};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

struct Args {
    each: u64,
    width: usize,
    kind: Option<String>,
    keep: Option<PathBuf>,
    other: Vec<String>,
}

fn args() -> Args {
    let mut args = Args {
        each: 20,
        width: 4000,
        kind: None,
        keep: None,
        other: Vec::new(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        let mut value = || given.next().expect("a value after the option");
        match word.as_str() {
            "--each" => args.each = value().parse().expect("a number"),
            "--width" => args.width = value().parse().expect("a number"),
            "--kind" => args.kind = Some(value()),
            "--keep" => args.keep = Some(value().into()),
            "--other" => args.other = given.by_ref().collect(),
            other => panic!("{other}: no option of this example"),
        }
    }
    args
}

fn main() {
    let args = args();
    let folder = tempfile::tempdir().expect("a folder for a photo");
    println!(
        "| photo | made | read here | slowest, ms | {} |",
        other_name(&args)
    );
    println!("|---|---|---|---|---|");
    let mut all = [0_u64; 3];
    for kind in Kind::ALL {
        if args
            .kind
            .as_ref()
            .is_some_and(|k| *k != format!("{kind:?}"))
        {
            continue;
        }
        let (mut ours, mut theirs, mut slowest) = (0, 0, 0);
        for seed in 1..=args.each {
            let photo = make(kind, seed, args.width);
            if let Some(keep) = &args.keep {
                let name = format!("{kind:?}-{seed}.jpg").to_lowercase();
                std::fs::write(keep.join(name), &photo.jpeg).expect("the photo can be kept");
            }
            let began = Instant::now();
            let read = read_photo(&photo.jpeg);
            slowest = slowest.max(began.elapsed().as_millis());
            if read.as_ref() == Ok(&photo.text) {
                ours += 1;
            } else {
                eprintln!("not read: {kind:?} {seed}");
            }
            let path = folder.path().join("photo.jpg");
            std::fs::write(&path, &photo.jpeg).expect("the photo can be written");
            theirs += u64::from(other_reads(&args, &path, &photo.text));
        }
        println!(
            "| {} | {} | {ours} | {slowest} | {theirs} |",
            kind.words(),
            args.each
        );
        all = [all[0] + args.each, all[1] + ours, all[2] + theirs];
    }
    println!(
        "| **all** | {} | {} ({:.1} %) | | {} ({:.1} %) |",
        all[0],
        all[1],
        100.0 * all[1] as f64 / all[0] as f64,
        all[2],
        100.0 * all[2] as f64 / all[0] as f64
    );
}

fn other_name(args: &Args) -> &str {
    args.other.first().map_or("other", String::as_str)
}

fn other_reads(args: &Args, photo: &Path, text: &str) -> bool {
    let Some((program, rest)) = args.other.split_first() else {
        return false;
    };
    let out = Command::new(program)
        .args(rest)
        .arg(photo)
        .output()
        .expect("the other decoder runs");
    String::from_utf8_lossy(&out.stdout).trim() == text
}
