//! The storage check between two processes: `nrd-sim desk --link` and
//! `nrd-sim device --link`, over a socket as over a cable.

mod common;

use common::{EXE, World, activate};
use embedded_io_adapters::std::FromStd;
use nrd_agent::wire::storage::MAX_MESSAGE;
use nrd_hal::messages::Messages;
use nrd_sim::demo::{Browser, Child};
use nrd_sim::forensics::storage_check::{Next, NoRandom, StorageCheck};
use nrd_sim::service::desk::Condition;
use serde_json::Value;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const EMAIL: &str = "alexandra@example.com";

struct Bench {
    world: World,
    device: Child,
    id: String,
    /// Where a desk reaches the device.
    link: String,
}

impl Bench {
    fn new() -> Bench {
        let world = World::new();
        let device = world.device("tv", "stb").option("--link", Some("0"));
        let mut bench = Bench {
            world,
            device,
            id: String::new(),
            link: String::new(),
        };
        bench.switch_on(true);
        bench
    }

    fn switch_on(&mut self, idle: bool) {
        self.device.start(idle).unwrap();
        let port = self.device.wait("link", |_| true).unwrap();
        self.link = format!("127.0.0.1:{}", port["port"]);
        let boot = self.device.wait("boot", |_| true).unwrap();
        self.id = boot["device_id"].as_str().unwrap().to_owned();
    }

    fn at(&self, name: &str) -> String {
        self.world.dir.path().join(name).display().to_string()
    }

    /// What a desk says, with its exit status.
    fn desk(&self, more: &[&str]) -> (i32, Value) {
        let root = self.at("service/maker-root.pub");
        let desk = [
            "desk",
            "--maker-root",
            &root,
            "--link",
            &self.link,
            "--json",
        ];
        // The debug build of a device on a busy machine is no measure of time.
        let patient = ["--limit", "60000"];
        let patient = if more.contains(&"--limit") {
            &[][..]
        } else {
            &patient
        };
        let out = Command::new(EXE)
            .args(desk)
            .args(patient)
            .args(more)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        println!("{text}{}", String::from_utf8_lossy(&out.stderr));
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        (out.status.code().unwrap(), json)
    }

    /// Begins a check of its own and leaves it after so many chunks.
    fn leave_after(&self, chunks: usize) {
        let stream = TcpStream::connect(&self.link).unwrap();
        let mut cable = Messages::new(FromStd::new(stream));
        let any = |out: &mut [u8]| -> Result<(), NoRandom> {
            out.fill(0xA7);
            Ok(())
        };
        let mut check = StorageCheck::new(None, any);
        let mut buffer = [0; MAX_MESSAGE];
        while check.progress().0 < 256 * chunks as u64 || check.progress().1 == 0 {
            match check.next(Duration::ZERO).unwrap() {
                Next::Send(message) => cable.send(&message).unwrap(),
                Next::Wait => {
                    let said = cable.receive(&mut buffer).unwrap();
                    check.take(said, Duration::ZERO).unwrap();
                }
                Next::Done(_) => panic!("it was to be left"),
            }
        }
    }
}

/// Link time, not wall time: what a cable of 1 Mbit/s would carry in three seconds,
/// both directions one after the other, is enough for 256 KiB.
#[test]
fn a_desk_checks_the_storage_of_a_device_process_within_the_cable_s_time() {
    let bench = Bench::new();
    let receipt = bench.at("receipt.bin");
    let (code, said) = bench.desk(&["--device", &bench.id, "--receipt", &receipt]);
    assert_eq!((code, &said["bounded"]), (0, &Value::Bool(true)));
    let number = |name: &str| said[name].as_u64().unwrap();
    let bytes = number("bytes");
    assert_eq!(bytes, number("vault"), "it declares nothing further");
    let crossed = number("bytes_to_device") + number("bytes_from_device");
    println!("{crossed} bytes crossed the cable for {bytes}");
    assert!(crossed > bytes, "random bytes do not compress");
    assert!(crossed * 8 * (256 << 10) <= 3_000_000 * bytes);
    for limit in ["declare", "accomplice"] {
        let not_shown = said["not_shown"].to_string();
        assert!(not_shown.contains(limit), "{limit}: {not_shown}");
    }

    // Whoever was not at the cable has the device's own statement.
    let root = bench.at("service/maker-root.pub");
    let out = Command::new(EXE)
        .args(["verify", &receipt, "--maker-root", &root])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("Only the desk that drew the bytes"), "{text}");

    // Once more, with a wrong label, and with no time at all.
    let (code, said) = bench.desk(&["--device", "NRD-STB-0000000000"]);
    assert_eq!((code, &said["bounded"]), (1, &Value::Bool(false)));
    let (code, said) = bench.desk(&["--device", &bench.id, "--limit", "0"]);
    let why = said["why"].as_str().unwrap();
    assert!(code == 1 && why.contains("0 ms are allowed"), "{why}");
}

#[test]
fn a_check_that_is_cut_proves_nothing_and_is_done_again_from_the_start() {
    let mut bench = Bench::new();
    bench.device.wait_state("clean").unwrap();
    // The desk goes, then the power.
    bench.leave_after(20);
    bench.device.wait_state("filling").unwrap();
    bench.device.wait_state("clean").unwrap();
    bench.leave_after(3);
    bench.device.pull_the_plug();
    bench.switch_on(true);
    bench.device.wait_state("clean").unwrap();
    let (code, _) = bench.desk(&["--device", &bench.id]);
    assert_eq!(code, 0);
}

#[test]
fn a_device_on_an_account_says_so_and_noise_on_the_cable_changes_nothing() {
    let mut bench = Bench::new();
    bench.device.wait_state("clean").unwrap();
    // A message of noise, one of a length that no message has, and half of one.
    for noise in [&[4, 0, 9, 9, 9, 9][..], &[0xFF; 600], &[9, 0, 1]] {
        use std::io::Write as _;
        let mut stream = TcpStream::connect(&bench.link).unwrap();
        stream.write_all(noise).unwrap();
    }
    let browser = Browser::new(&bench.world.running.pages_url());
    browser
        .sign_in(EMAIL, "correct horse battery", true)
        .unwrap();
    bench.device.type_line("activate").unwrap();
    activate(&mut bench.device, &browser);
    let (code, said) = bench.desk(&["--device", &bench.id]);
    let why = said["why"].as_str().unwrap();
    assert!(code == 1 && why.contains("it is on an account"), "{why}");
    let says = |said: &serde_json::Value, condition: Condition| {
        let words = condition.words();
        assert_eq!(said["state"], words.title);
        assert_eq!(said["next"], words.next);
    };
    says(&said, Condition::NotClean);
    // And a desk that finds nobody is told what to do.
    bench.device.pull_the_plug();
    let (code, said) = bench.desk(&["--device", &bench.id]);
    assert_eq!(code, 2);
    says(&said, Condition::Off);
}
