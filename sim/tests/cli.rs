//! The command line: what it answers to good and bad input.

mod common;

use common::{EXE, World};
use nrd_sim::demo::Browser;
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    Command::new(EXE)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Refused: a clear text on standard error with what to do, status 2.
fn refused(args: &[&str], says: &str) {
    let out = run(args);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {err}");
    assert!(err.contains(says), "{args:?} does not say {says:?}: {err}");
    assert!(
        err.contains("try:") || err.contains("--help"),
        "{args:?} gives no advice: {err}"
    );
    assert!(!err.contains("panicked"), "{err}");
}

fn last_line(out: &Output) -> Value {
    let text = String::from_utf8_lossy(&out.stdout);
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn the_demo_tells_the_whole_story() {
    let out = run(&["demo", "--headless", "--json", "--seed", "7"]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{err}");
    let d = last_line(&out);
    assert_eq!(d["seed"], 7);
    assert!(
        d["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["ok"] == true)
    );
    for held in [
        "restored_after_power_cycle",
        "renewed_after_lost_answer",
        "receipt_verified",
        "late_order_refused",
    ] {
        assert_eq!(d[held], true, "{held}");
    }
    assert!(d["account_bytes_readable_before_wipe"].as_u64().unwrap() > 0);
    assert_eq!(d["account_bytes_readable_after_wipe"], 0);
    assert_eq!(d["plaintext_hits"], 0);
    // Tombstone, counter step, one program over the live slot.
    assert_eq!(d["wipe"]["flash_ops_to_key_death"], 3);
    assert!(d["wipe"]["sectors_erased"].as_u64().unwrap() >= 58);
}

#[test]
fn powercut_reports_no_violation_over_three_geometries() {
    for (sector, sectors, write) in [("4096", "10", "4"), ("2048", "9", "1"), ("256", "66", "32")] {
        let out = run(&[
            "powercut",
            "--seed",
            "7",
            "--depth",
            "1",
            "--torn",
            "all",
            "--json",
            "--sector-size",
            sector,
            "--sectors",
            sectors,
            "--write-size",
            write,
        ]);
        let r = last_line(&out);
        assert_eq!(r["seed"], 7);
        assert_eq!(r["violations"], 0, "{r}");
        assert!(r["operations"].as_u64().unwrap() > 100);
        // Eight tears strike every operation; the ninth, an erase that programs
        // first, strikes erases alone.
        let (cuts, operations) = (r["cuts"].as_u64(), r["operations"].as_u64());
        let erases = cuts.zip(operations).and_then(|(c, n)| c.checked_sub(n * 8));
        assert!(erases.is_some_and(|e| 0 < e && Some(e) < operations), "{r}");
        assert!(r["control_records"].as_u64().unwrap() > 0);
        assert_eq!(out.status.code(), Some(0));
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_advice() {
    refused(&["powercut", "--sector-size", "1000"], "sector size");
    refused(&["powercut", "--sectors", "3"], "too small");
    refused(&["powercut", "--torn", "sideways"], "sideways");
    refused(&["demo", "--loud"], "--loud");
    refused(&["bake"], "bake");
    refused(
        &[
            "serve",
            "--dir",
            "x",
            "--renew-after",
            "9",
            "--expires-after",
            "5",
        ],
        "--renew-after",
    );
    // Devices would hold it at a day, as the service root has signed.
    refused(
        &[
            "serve",
            "--dir",
            "x",
            "--renew-after",
            "9",
            "--expires-after",
            "600",
        ],
        "--expires-after is 600",
    );
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    refused(
        &["serve", "--dir", dir, "--port", &port, "--pages-port", "0"],
        &port,
    );
    refused(
        &["serve", "--dir", dir, "--port", "0", "--pages-port", &port],
        &port,
    );
}

#[test]
fn a_service_folder_that_is_none_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let folder = dir.path().to_str().unwrap();
    let serve = ["serve", "--dir", folder, "--port", "0", "--pages-port", "0"];
    std::fs::write(at("file"), "x").unwrap();
    refused(
        &[
            "serve",
            "--dir",
            at("file").to_str().unwrap(),
            "--port",
            "0",
        ],
        "file",
    );
    std::fs::write(at("service.db"), "this is no database at all, only text").unwrap();
    refused(&serve, "database");
    let kept = std::fs::read_to_string(at("service.db")).unwrap();
    assert!(kept.starts_with("this is no database"), "nothing is lost");
    std::fs::write(at("root.key"), "short").unwrap();
    refused(&serve, "root.key");
    std::fs::write(
        at("accounts.toml"),
        "[[account]]\nemail = \"a@example.com\"\nage = 3\n",
    )
    .unwrap();
    let accounts = at("accounts.toml");
    let args = [
        "serve",
        "--dir",
        folder,
        "--port",
        "0",
        "--accounts",
        accounts.to_str().unwrap(),
    ];
    refused(&args, "accounts.toml");
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("service.key");
    std::fs::write(&key, "00".repeat(32)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let folder = dir.path().to_str().unwrap();
    refused(
        &["serve", "--dir", folder, "--port", "0", "--pages-port", "0"],
        "chmod 600",
    );
}

fn device_args<'a>(dir: &'a str, url: &'a str, ca: &'a str) -> Vec<&'a str> {
    vec!["device", "--dir", dir, "--service", url, "--ca", ca]
}

#[test]
fn a_device_folder_that_is_corrupted_or_foreign_is_refused_and_left_alone() {
    let world = World::new();
    let (url, ca) = (world.running.device_url(), world.ca());
    let ca = ca.to_str().unwrap();
    let dir = world.dir.path().join("tv");
    let folder = dir.to_str().unwrap();
    // Made, then ended by its closed keyboard and a kill.
    let mut tv = world.device("tv", "stb");
    tv.start(true).unwrap();
    tv.wait_state("clean").unwrap();
    refused(
        &device_args(folder, &url, ca),
        "another process runs this device",
    );
    tv.pull_the_plug();

    let flash = std::fs::read(dir.join("flash.bin")).unwrap();
    std::fs::write(dir.join("flash.bin"), &flash[..1000]).unwrap();
    refused(&device_args(folder, &url, ca), "1000 bytes");
    assert_eq!(std::fs::read(dir.join("flash.bin")).unwrap().len(), 1000);
    std::fs::write(dir.join("flash.bin"), &flash).unwrap();

    let json = std::fs::read_to_string(dir.join("device.json")).unwrap();
    for broken in [
        "",
        "{}",
        "not json",
        &json.replace("4096", "4095"),
        &json.replace("262144", "8192"),
    ] {
        std::fs::write(dir.join("device.json"), broken).unwrap();
        refused(&device_args(folder, &url, ca), "device.json");
    }
    std::fs::write(dir.join("device.json"), &json).unwrap();

    // Another service's CA: the pinned one counts.
    let other = World::new();
    refused(
        &device_args(folder, &url, other.ca().to_str().unwrap()),
        "another CA",
    );
    refused(&device_args(folder, &url, "/no/such/ca.pem"), "ca.pem");
    refused(&device_args(folder, "here", ca), "here");
    let key = dir.join("root.key");
    refused(
        &device_args(
            world.dir.path().join("new").to_str().unwrap(),
            &url,
            key.to_str().unwrap(),
        ),
        "PEM",
    );
    refused(
        &[&device_args(folder, &url, ca)[..], &["--id", "a b"]].concat(),
        "device id",
    );

    // After all this it still starts.
    tv.start(true).unwrap();
    tv.wait_state("clean").unwrap();
}

#[test]
fn a_flash_of_random_bytes_is_locked_never_fresh_and_can_be_wiped_here() {
    let world = World::new();
    let mut tv = world.device("tv", "stb");
    tv.start(true).unwrap();
    tv.wait_state("clean").unwrap();
    // The counter has moved: this device is not new.
    tv.open_menu().unwrap();
    tv.type_line("deactivate yes").unwrap();
    tv.wait("wiped", |_| true).unwrap();
    tv.pull_the_plug();
    let path = tv.dir.join("flash.bin");
    let mut draws = nrd_sim::hw::SplitMix(5);
    let noise: Vec<u8> = (0..262_144).map(|_| draws.draw() as u8).collect();
    std::fs::write(&path, noise).unwrap();
    tv.start(false).unwrap();
    tv.wait_state("locked").unwrap();
    tv.open_menu().unwrap();
    tv.type_line("deactivate yes").unwrap();
    tv.wait_state("clean").unwrap();
}

#[test]
fn a_service_that_is_down_or_imitated_is_said_and_nothing_is_lost() {
    let world = World::new();
    let mut tv = world.device("tv", "stb");
    tv.start(false).unwrap();
    let code = tv.wait("code", |_| true).unwrap()["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let browser = Browser::new(&world.running.pages_url());
    browser
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    browser
        .activate(&code, "Virtual set-top box", true)
        .unwrap();
    tv.wait_state("active").unwrap();
    tv.pull_the_plug();
    // Somebody else's service, on another port, with a root of its own.
    let other = World::new();
    let mut fooled = nrd_sim::demo::Child::new(
        Path::new(EXE),
        &tv.dir,
        &other.running.device_url(),
        &world.ca(),
        "stb",
        9,
    );
    fooled.start(false).unwrap();
    fooled.wait_state("active").unwrap();
    let failed = fooled.wait("failed", |_| true).unwrap();
    assert!(
        failed["text"].as_str().unwrap().contains("pinned root"),
        "{failed}"
    );
    fooled.pull_the_plug();
    // Nothing listens at all.
    let mut alone = nrd_sim::demo::Child::new(
        Path::new(EXE),
        &tv.dir,
        "https://localhost:9",
        &world.ca(),
        "stb",
        10,
    );
    alone.start(false).unwrap();
    alone.wait_state("active").unwrap();
    let failed = alone.wait("failed", |_| true).unwrap();
    assert!(
        failed["text"].as_str().unwrap().contains("is it running"),
        "{failed}"
    );
}

#[test]
fn a_device_killed_again_and_again_goes_on_where_it_was() {
    let world = World::new();
    let mut tv = world.device("tv", "stb");
    tv.start(false).unwrap();
    let code = tv.wait("code", |_| true).unwrap()["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let browser = Browser::new(&world.running.pages_url());
    browser
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    browser
        .activate(&code, "Virtual set-top box", true)
        .unwrap();
    tv.wait_state("active").unwrap();
    let seed = 77;
    println!("seed {seed}");
    let mut draws = nrd_sim::hw::SplitMix(seed);
    for _ in 0..15 {
        tv.pull_the_plug();
        tv.start(false).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(draws.below(80)));
    }
    tv.wait_state("active").unwrap();
    tv.open_menu().unwrap();
    tv.type_line("deactivate yes").unwrap();
    for _ in 0..15 {
        std::thread::sleep(std::time::Duration::from_millis(draws.below(20)));
        tv.pull_the_plug();
        tv.start(true).unwrap();
    }
    tv.wait_state("clean").unwrap();
    browser
        .wait_state("Virtual set-top box", "Proven wiped")
        .unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn verify_says_what_is_wrong_with_a_receipt() {
    let world = World::new();
    let mut tv = world.device("tv", "stb");
    tv.start(true).unwrap();
    tv.wait_state("clean").unwrap();
    let at = |name: &str| world.dir.path().join(name).to_str().unwrap().to_owned();
    let nonce = "ab".repeat(32);
    tv.type_line(&format!("prove-clean {nonce} {}", at("clean.bin")))
        .unwrap();
    tv.wait("written", |_| true).unwrap();
    let maker = at("service/maker-root.pub");
    let other = World::new();
    let wrong_maker = other.dir.path().join("service/maker-root.pub");
    for name in ["clean.bin"] {
        let good = run(&[
            "verify",
            &at(name),
            "--maker-root",
            &maker,
            "--nonce",
            &nonce,
            "--json",
        ]);
        assert_eq!(
            good.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&good.stderr)
        );
        assert_eq!(last_line(&good)["verified"], true);
        assert_eq!(last_line(&good)["clean"], true);
        let other_nonce = "cd".repeat(32);
        for (args, says) in [
            (
                vec!["--maker-root", maker.as_str(), "--nonce", &other_nonce],
                "nonce",
            ),
            (
                vec!["--maker-root", wrong_maker.to_str().unwrap()],
                "maker root",
            ),
        ] {
            let bad = run(&[&["verify", &at(name)], &args[..]].concat());
            assert_eq!(bad.status.code(), Some(1));
            assert!(
                String::from_utf8_lossy(&bad.stderr).contains(says),
                "{args:?}"
            );
        }
        // Every byte counts, and every length.
        let frame = std::fs::read(at(name)).unwrap();
        for i in (0..frame.len()).step_by(7) {
            let mut altered = frame.clone();
            altered[i] ^= 4;
            std::fs::write(at("altered.bin"), &altered).unwrap();
            let bad = run(&[
                "verify",
                &at("altered.bin"),
                "--maker-root",
                &maker,
                "--json",
            ]);
            assert_eq!(bad.status.code(), Some(1), "byte {i}");
            assert_eq!(last_line(&bad)["verified"], false);
            std::fs::write(at("altered.bin"), &frame[..i]).unwrap();
            let bad = run(&["verify", &at("altered.bin"), "--maker-root", &maker]);
            assert_eq!(bad.status.code(), Some(1), "length {i}");
        }
    }
    refused(
        &["verify", "/no/such/file", "--maker-root", &maker],
        "No such file",
    );
    refused(
        &["verify", &at("clean.bin"), "--maker-root", &at("clean.bin")],
        "no public key",
    );
    refused(
        &[
            "verify",
            &at("clean.bin"),
            "--maker-root",
            &maker,
            "--nonce",
            "12",
        ],
        "no question of a desk",
    );
}

#[test]
fn inspect_refuses_what_is_no_image_and_never_repeats_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("odd.bin"), vec![0xFF; 1000]).unwrap();
    refused(&["inspect", &at("odd.bin")], "sizes");
    refused(&["inspect", &at("none.bin")], "none.bin");
    std::fs::write(at("flash.bin"), vec![0xFF; 65_536]).unwrap();
    refused(
        &["inspect", &at("flash.bin"), "--root-key", "12"],
        "64 hexadecimal digits",
    );
    refused(
        &["inspect", &at("flash.bin"), "--root-key", &"é".repeat(32)],
        "64 hexadecimal digits",
    );
    refused(
        &["inspect", &at("flash.bin"), "--sector-size", "7"],
        "sizes",
    );
    let mut cells = vec![0xFF; 65_536];
    cells[40_000..40_014].copy_from_slice(b"hunter2hunter2");
    std::fs::write(at("flash.bin"), &cells).unwrap();
    let found = run(&["inspect", &at("flash.bin"), "--secret", "hunter2hunter2"]);
    assert_eq!(found.status.code(), Some(1));
    let text = String::from_utf8_lossy(&found.stdout);
    assert!(
        text.contains("secret 1, plain") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn inspect_opens_with_the_key_slots_of_an_older_image_what_it_cannot_open_without() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors");
    let text = std::fs::read_to_string(format!("{vectors}/images.json")).unwrap();
    let images: serde_json::Value = serde_json::from_str(&text).unwrap();
    let root = images["root"].as_str().unwrap();
    let active = format!("{vectors}/active.bin");
    // The same part with both key slots erased: its last two sectors.
    let mut cells = std::fs::read(&active).unwrap();
    let slots = cells.len() - 2 * 2048;
    cells[slots..].fill(0xFF);
    let dir = tempfile::tempdir().unwrap();
    let keyless = dir.path().join("keyless.bin");
    std::fs::write(&keyless, &cells).unwrap();
    let readable = |more: &[&str]| {
        let part = ["--sector-size", "2048", "--write-size", "4", "--json"];
        let args = ["inspect", keyless.to_str().unwrap(), "--root-key", root];
        let found = run(&[&args[..], &part, more].concat());
        let report: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
        report["readable_bytes"].as_u64().unwrap()
    };
    assert_eq!(readable(&[]), 0);
    assert!(readable(&["--older-image", &active]) > 0);
}

/// Runs the program where files may not grow beyond `blocks` of 512 bytes: a
/// full disk that needs no disk of its own.
#[cfg(unix)]
fn cramped(blocks: u32, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, EXE]).args(args);
    command
}

#[cfg(unix)]
#[test]
fn attack_26_a_full_disk_never_says_removed_and_loses_nothing() {
    use std::io::{BufRead as _, BufReader};
    let world = World::new();
    let mut tv = world.device("tv", "stb");
    tv.start(false).unwrap();
    let code = tv.wait("code", |_| true).unwrap()["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let browser = Browser::new(&world.running.pages_url());
    browser
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    browser
        .activate(&code, "Virtual set-top box", true)
        .unwrap();
    tv.wait_state("active").unwrap();
    browser.wait_state("Virtual set-top box", "Active").unwrap();
    tv.pull_the_plug();
    let World { dir, running, .. } = world;
    drop(running);

    // The same service again, as a process that fills its disk up.
    let home = dir.path().join("service");
    let home = home.to_str().unwrap();
    let args = ["serve", "--dir", home, "--port", "0", "--pages-port", "0"];
    let pages = |command: &mut Command| {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let line = out
            .lines()
            .map_while(Result::ok)
            .find(|l| l.starts_with("pages"))
            .unwrap();
        (process, line.split_whitespace().nth(1).unwrap().to_owned())
    };
    // Room to sign in, not to go on for ever.
    let (mut full, url) = pages(&mut cramped(400, &args));
    let person = Browser::new(&url);
    person
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    let entry = person.entry("Virtual set-top box").unwrap();
    let ask = entry
        .split('"')
        .find(|h| h.ends_with("/remove"))
        .unwrap()
        .to_owned();
    let form = person.get(&ask).unwrap().text();
    // Sign-ins are written down until there is no more room.
    let full_up = (0..300).any(|_| {
        let another = Browser::new(&url);
        let tried = another.sign_in("bilal@example.com", "another staple entirely", true);
        tried.is_err_and(|e| e.contains("503"))
    });
    assert!(full_up, "the disk is full at last");
    let refused = person.submit_from(&form, &ask, &[]).unwrap();
    assert_eq!(refused.status, 503);
    let text = refused.text();
    assert!(
        text.contains("Nothing was changed, and nothing was removed"),
        "{text}"
    );
    full.kill().unwrap();
    full.wait().unwrap();
    // With room again everything is as it was, and removing works.
    let (mut again, url) = pages(Command::new(EXE).args(args));
    let person = Browser::new(&url);
    person
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    let entry = person.entry("Virtual set-top box").unwrap();
    assert!(entry.contains("<strong>Active</strong>"), "{entry}");
    again.kill().unwrap();
    again.wait().unwrap();
}

#[cfg(unix)]
#[test]
fn a_device_whose_disk_is_full_says_so_and_goes_on_later() {
    let world = World::new();
    let mut tv = world.device("tv", "stb");
    tv.start(true).unwrap();
    tv.wait_state("clean").unwrap();
    tv.pull_the_plug();
    let (url, ca) = (world.running.device_url(), world.ca());
    let args = device_args(tv.dir.to_str().unwrap(), &url, ca.to_str().unwrap());
    // No byte of any file may be written: the boot's own record fails.
    let out = cramped(0, &args).stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{err}");
    assert!(
        err.contains("cannot be written") && err.contains("nothing is lost"),
        "{err}"
    );
    tv.start(true).unwrap();
    tv.wait_state("clean").unwrap();
}
