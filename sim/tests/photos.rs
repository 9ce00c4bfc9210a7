//! Photos of a device's code: made ones are read, hostile ones cost no more
//! than the process that decodes them may have.

mod common;

use common::photos::{Dice, Kind, make};
use common::{EXE, png};
use image::ExtendedColorType;
use nrd_sim::service::desk::photo::{MAX_PIXELS, PhotoError, PhotoReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn read_all(files: Vec<Vec<u8>>) -> Vec<Result<String, PhotoError>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let reader = PhotoReader::with(EXE.into());
    runtime.block_on(async {
        let mut read = Vec::new();
        for file in files {
            read.push(reader.read(file).await);
        }
        read
    })
}

/// A few photos are kept as files, 800 pixels wide.
const KEPT: &str = "tests/photos";

#[test]
fn kept_photos_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT);
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    assert!(names.len() >= 5);
    let read = read_all(names.iter().map(|n| std::fs::read(n).unwrap()).collect());
    for (name, read) in names.iter().zip(read) {
        let text = read.unwrap_or_else(|e| panic!("{}: {e}", name.display()));
        assert!(text.starts_with("NRD:1:ANSWER:"), "{text}");
    }
}

/// The whole set is `cargo run -p nrd-sim --example photos`; this is its
/// first photo of each kind, some as large as a phone takes them.
#[test]
fn photos_of_every_kind_and_twelve_megapixels_are_read() {
    let photos = Kind::ALL.map(|kind| match kind {
        Kind::Sharp | Kind::Noise | Kind::Mixed => make(kind, 1, 4000),
        _ => make(kind, 1, 2000),
    });
    let read = read_all(photos.iter().map(|p| p.jpeg.clone()).collect());
    for ((kind, photo), read) in Kind::ALL.iter().zip(&photos).zip(read) {
        assert_eq!(read, Ok(photo.text.clone()), "{kind:?}, seed 1");
    }
}

/// The width and height of a PNG's header say something else; its checksum fits.
fn claims(mut png: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |s, _| {
            (s >> 1) ^ (0xEDB8_8320 & (s & 1).wrapping_neg())
        })
    })
}

#[test]
fn hostile_pictures_are_refused_and_end_nothing_but_their_process() {
    let small = png(64, 64, ExtendedColorType::Rgba8);
    let photo = make(Kind::Sharp, 1, 1200);
    let mut files = vec![
        (Vec::new(), PhotoError::NoPicture),
        (b"no picture".to_vec(), PhotoError::NoPicture),
        (b"\xFF\xD8\xFF".to_vec(), PhotoError::NoPicture),
        (small[..40].to_vec(), PhotoError::NoPicture),
        (photo.jpeg[..400].to_vec(), PhotoError::NoPicture),
        (small.clone(), PhotoError::NoCode),
        // 2.5 KB and 259 KB that claim or hold a wall of pixels.
        (
            claims(small.clone(), 60_000, 60_000),
            PhotoError::TooManyPixels,
        ),
        (claims(small.clone(), u32::MAX, 1), PhotoError::NoPicture),
        (claims(small, 0, 9), PhotoError::NoPicture),
        (
            png(9000, 9000, ExtendedColorType::L8),
            PhotoError::TooManyPixels,
        ),
        (
            png(5000, 5000, ExtendedColorType::Rgba8),
            PhotoError::NoCode,
        ),
    ];
    assert_eq!(
        MAX_PIXELS, 25_000_000,
        "the last one is as large as allowed"
    );
    // A header that claims 65,500 pixels a side.
    let mut wall = photo.jpeg.clone();
    let frame = wall.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    wall[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    files.push((wall, PhotoError::TooManyPixels));
    let (pictures, expected): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    for (n, (read, expected)) in read_all(pictures).into_iter().zip(expected).enumerate() {
        assert_eq!(read, Err(expected), "picture {n}");
    }
}

#[test]
fn damaged_photos_never_hurt_their_reader() {
    const SEED: u64 = 52;
    println!("seed {SEED}");
    let mut dice = Dice::new(SEED);
    let good = [
        make(Kind::Sharp, 1, 640).jpeg,
        png(200, 150, ExtendedColorType::Rgb8),
    ];
    let damaged = (0..60).map(|n| {
        let mut file = good[n % 2].clone();
        for _ in 0..1 + dice.next() % 8 {
            let at = dice.next() as usize % file.len();
            file[at] = dice.next() as u8;
        }
        file.truncate(file.len() - (dice.next() % 2 * (file.len() as u64 / 3)) as usize);
        file
    });
    for (n, read) in read_all(damaged.collect()).into_iter().enumerate() {
        // A code that survives is read; the process never dies of a panic or
        // of its limits.
        let calm = [
            PhotoError::NoPicture,
            PhotoError::NoCode,
            PhotoError::TooManyPixels,
        ];
        assert!(
            read.as_ref().map_or_else(|e| calm.contains(e), |_| true),
            "{n}: {read:?}"
        );
    }
}

/// Bytes of a page of memory, on the machines that the tests run on.
const PAGE: u64 = 4096;

/// What the process may have is set before its first byte is read.
#[test]
fn the_process_that_decodes_has_no_more_than_a_photo_needs() {
    let mut child = Command::new(EXE)
        .arg("read-photo")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let proc_file = |name: &str| {
        let path = format!("/proc/{}/{name}", child.id());
        std::fs::read_to_string(path).unwrap()
    };
    let limit = |name: &str| {
        let limits = proc_file("limits");
        let line = limits.lines().find(|l| l.starts_with(name)).unwrap();
        let hard = line[name.len()..].split_whitespace().nth(1).unwrap();
        hard.parse::<u64>().ok()
    };
    // The last that is set.
    common::eventually("limits", || limit("Max open files") == Some(3));
    let pages = proc_file("statm");
    let pages: u64 = pages.split_whitespace().next().unwrap().parse().unwrap();
    let space = limit("Max address space").unwrap();
    let grows = space - pages * PAGE;
    assert!(grows <= 64 << 20, "{grows}");
    assert!(limit("Max cpu time").unwrap() <= 4);
    assert_eq!(limit("Max core file size"), Some(0));
    assert_eq!(limit("Max file size"), Some(0));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
