//! The C interface: its header, a hostile caller, and a whole life of two C
//! programs (x86-64 and aarch64) against the real service over real TLS.

use nrd_agent::wire::DeviceKind;
use nrd_hal::Geometry;
use nrd_sim::base::sample::Samples;
use nrd_sim::base::sign;
use nrd_sim::base::{hex, unhex};
use nrd_sim::demo::Browser;
use nrd_sim::forensics::inspect::{Image, Search, Secret, inspect};
use nrd_sim::forensics::storage_check::{Next, NoRandom, StorageCheck};
use nrd_sim::forensics::verify::{Asked, Lists, Question, verify_with};
use nrd_sim::hw::maker_certificate;
use nrd_sim::service::server::{Ports, Running, start};
use nrd_sim::service::{Service, Settings};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

use nrd_tests::external_tools::{cargo, have, rustc_with_source, skip};

const C_FLAGS: [&str; 6] = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O1",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where a C program runs.
#[derive(Clone, Copy)]
enum Machine {
    Here,
    Aarch64,
}

/// Builds the static library; its path.
fn library(machine: Machine) -> PathBuf {
    // A folder each: cargo builds one at a time in a folder.
    let target = root().join(match machine {
        Machine::Here => "target/capi",
        Machine::Aarch64 => "target/capi-aarch64",
    });
    let mut build = cargo(&root());
    build
        .args(["rustc", "--locked", "-p", "nrd-agent-capi", "--lib"])
        .args(["--crate-type", "staticlib", "--profile", "device"])
        .args(["--features", "runtime", "--target-dir"])
        .arg(&target);
    let folder = match machine {
        Machine::Here => "device",
        Machine::Aarch64 => {
            build
                .args([
                    "-Zbuild-std=core,alloc",
                    "--target",
                    "aarch64-unknown-linux-gnu",
                ])
                .env("RUSTC", rustc_with_source().expect("checked before"))
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc");
            "aarch64-unknown-linux-gnu/device"
        }
    };
    let built = build.output().unwrap();
    let text = String::from_utf8_lossy(&built.stderr);
    assert!(
        built.status.success(),
        "the library does not build:\n{text}"
    );
    target.join(folder).join("libnrd_agent_capi.a")
}

/// Compiles a C program of `tests/firmware/linux` against the library.
fn program(source: &str, machine: Machine, flags: &[&str], dir: &Path) -> PathBuf {
    let out = dir.join(source.replace(".c", ".elf"));
    let compiler = match machine {
        Machine::Here => "cc",
        Machine::Aarch64 => "aarch64-linux-gnu-gcc",
    };
    let built = Command::new(compiler)
        .args(C_FLAGS)
        .args(flags)
        .arg("-I")
        .arg(root().join("agent/capi/include"))
        .arg(root().join("tests/firmware/linux").join(source))
        .arg(library(machine))
        .arg("-o")
        .arg(&out)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{source} does not build:\n{text}");
    out
}

#[test]
fn the_header_is_what_the_source_says() {
    let kept = fs::read_to_string(nrd_tests::header::path()).unwrap();
    assert!(
        kept == nrd_tests::header::text(),
        "the header is old: cargo run -p nrd-tests --bin header"
    );
}

struct World {
    dir: TempDir,
    running: Running,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("service");
        let settings = Settings {
            poll_s: 1,
            ..Settings::default()
        };
        let service = Service::open(&home, settings).unwrap();
        service.add_samples(&Samples::read(None).unwrap()).unwrap();
        let running = start(service, &home, Ports { tls: 0, pages: 0 }).unwrap();
        World { dir, running }
    }

    /// What the factory puts into a device's folder.
    fn make(&self, name: &str, kind: DeviceKind) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        let service = self.dir.path().join("service");
        let key = |file: &str| -> [u8; 32] {
            unhex(fs::read_to_string(service.join(file)).unwrap().trim()).unwrap()
        };
        let id = format!("NRD-C-{}", name.to_uppercase());
        let seed = [0x33; 32];
        let maker = sign::keypair(&key("maker.key"));
        let public = sign::public(&sign::keypair(&seed));
        let certificate = maker_certificate(&maker, &id, public, "C firmware", kind);
        let pem = fs::read(service.join("ca.pem")).unwrap();
        let ca = CertificateDer::from_pem_slice(&pem).unwrap();
        let files: [(&str, &[u8]); 6] = [
            ("device.id", id.as_bytes()),
            ("root.key", &[0x44; 32]),
            ("device.key", &seed),
            ("certificate.bin", &certificate),
            ("service-root.bin", &key("service-root.pub")),
            ("ca.der", &ca),
        ];
        for (file, bytes) in files {
            fs::write(dir.join(file), bytes).unwrap();
        }
        dir
    }

    /// Host and port of the device's side.
    fn authority(&self) -> String {
        let url = self.running.device_url();
        url.trim_start_matches("https://").to_owned()
    }
}

/// A running C program; killed when dropped.
struct Host {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Host {
    fn start(program: &Path, machine: Machine, dir: &Path, authority: &str) -> Host {
        let mut command = match machine {
            Machine::Here => Command::new(program),
            Machine::Aarch64 => {
                let mut qemu = Command::new("qemu-aarch64");
                qemu.arg(program);
                qemu
            }
        };
        let mut process = command
            .arg(dir)
            .arg(authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                println!("  | {line}");
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let input = process.stdin.take().unwrap();
        Host {
            process,
            input,
            lines,
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Waits for a line that begins so; the rest of it.
    fn wait(&self, begin: &str) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|e| panic!("the program never said {begin:?}: {e}"));
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Ends it between two instructions, whatever it is doing.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const EMAIL: &str = "alexandra@example.com";

/// Activated, killed, recognised, removed on the page, wiped, proven.
fn whole_life(name: &str, machine: Machine, kind: DeviceKind, flags: &[&str]) {
    let world = World::new();
    let dir = world.make(name, kind);
    let program = program("host.c", machine, flags, world.dir.path());
    let authority = world.authority();
    // The port first, on a board of its own.
    let bench = world.make("bench", kind);
    let host = Host::start(&program, machine, &bench, "conformance");
    assert_eq!(host.wait("conformance"), "0 every part keeps its promises");
    let begin = || Host::start(&program, machine, &dir, &authority);

    let mut host = begin();
    println!("agent memory: {} bytes", host.wait("memory"));
    host.wait("state clean");
    host.say("activate");
    let code = host.wait("code");
    let pages = format!("http://localhost:{}", world.running.pages_port);
    let browser = Browser::new(&pages);
    browser
        .sign_in(EMAIL, "correct horse battery", true)
        .unwrap();
    browser.activate(&code, "C firmware", true).unwrap();
    assert_eq!(host.wait("state active"), "Alexandra");
    host.say(&format!("put 3 1 {EMAIL}"));
    assert!(host.wait("put").starts_with("0 "));
    host.kill();

    let (readable, hits) = read_flash(&dir);
    assert!(readable > 0, "the search finds nothing");
    assert_eq!(hits, 0);

    // Recognised without a word, and what it stored is there.
    let mut host = begin();
    assert_eq!(host.wait("state active"), "Alexandra");
    host.say("get 3 1");
    assert_eq!(host.wait("got"), EMAIL);

    let entry = browser.wait_state("C firmware", "Active").unwrap();
    let remove = entry
        .split("href=\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|href| href.ends_with("/remove"))
        .unwrap()
        .to_owned();
    browser.submit(&remove, &remove, &[]).unwrap();
    host.wait("state clean");
    println!(
        "HTTPS held at most {} bytes of heap",
        host.wait("restart heap")
    );
    browser.wait_state("C firmware", "Proven wiped").unwrap();
    host.say("get 3 1");
    assert!(host.wait("get").starts_with("-2 "));
    let maker = world.running.service.keys.maker_public();
    storage_check(&mut host, &maker);
    host.say("quit");
    assert!(host.process.wait().unwrap().success());

    assert_eq!(read_flash(&dir), (0, 0));
    println!("account bytes readable with the root key: {readable} before, 0 after");
}

/// A storage check of the whole flash of the C program.
fn storage_check(host: &mut Host, maker: &[u8; 32]) {
    let random = SystemRandom::new();
    let mut check = StorageCheck::new(Some(Duration::from_secs(60)), |out: &mut [u8]| {
        random.fill(out).map_err(|_| NoRandom)
    });
    let begun = Instant::now();
    let bounded = loop {
        match check.next(begun.elapsed()).unwrap() {
            Next::Send(message) => host.say(&format!("cable {}", hex(&message))),
            Next::Wait => {
                let said = host.wait("cable");
                let byte = |n: usize| u8::from_str_radix(&said[n..n + 2], 16).unwrap();
                let said: Vec<u8> = (0..said.len()).step_by(2).map(byte).collect();
                check.take(&said, begun.elapsed()).unwrap();
            }
            Next::Done(bounded) => break bounded,
        }
    };
    let question = Question {
        asked: Some(Asked {
            nonce: &bounded.key,
            earlier: &[],
        }),
        stored: Some(&bounded.digest),
        ..Question::new(maker)
    };
    let signed = verify_with(&bounded.receipt, question, &Lists::default(), 0).unwrap();
    assert!(signed.clean);
    println!("{} bytes stored and read back", bounded.bytes());
}

/// Account bytes that open with the root key in hand, and plain finds.
fn read_flash(dir: &Path) -> (usize, usize) {
    let cells = fs::read(dir.join("flash.bin")).unwrap();
    let geometry = Geometry {
        size: cells.len() as u32,
        write_size: 1,
        erase_size: 4096,
        best_erase: 65536,
    };
    let image = Image {
        cells: &cells,
        geometry,
    };
    let search = Search {
        root: Some([0x44; 32]),
        epochs: vec![0, 1, 2],
        secrets: vec![Secret::new(EMAIL)],
        ..Search::default()
    };
    let report = inspect(&image, &search).unwrap();
    (report.readable_bytes, report.plaintext_hits.len())
}

#[test]
fn a_c_program_on_this_machine_lives_a_whole_life() {
    if !have("cc", "the C host on this machine") {
        return;
    }
    whole_life("console", Machine::Here, DeviceKind::Console, &[]);
}

#[test]
fn a_c_program_on_an_aarch64_set_top_lives_a_whole_life() {
    let what = "the C host on aarch64";
    if !have("aarch64-linux-gnu-gcc", what) || !have("qemu-aarch64", what) {
        return;
    }
    if rustc_with_source().is_none() {
        return skip("a compiler with the library's source", what);
    }
    whole_life(
        "settop",
        Machine::Aarch64,
        DeviceKind::SetTopBox,
        &["-static"],
    );
}

#[test]
fn attack_47_a_c_program_s_clock_judges_certificates() {
    let what = "the C host with a clock";
    if !have("cc", what) {
        return;
    }
    let world = World::new();
    // 2001, now, and 2100: before the service's certificate, in it, and after.
    let now_s = world.running.service.now_s();
    for (clock_s, said) in [
        (1_000_000_000, "exchange -106 "),
        (now_s, "code "),
        (4_102_444_800, "exchange -106 "),
        // Not set: what the service signed counts, and that is nothing yet.
        (0, "code "),
    ] {
        let dir = world.make(&format!("clock{clock_s}"), DeviceKind::Computer);
        let flag = format!("-DHOST_CLOCK_S={clock_s}u");
        let program = program("host.c", Machine::Here, &[&flag], world.dir.path());
        let mut host = Host::start(&program, Machine::Here, &dir, &world.authority());
        host.wait("state clean");
        host.say("activate");
        host.wait(said);
        host.kill();
    }
}

#[test]
fn a_careless_or_hostile_c_caller_gets_numbers_and_loses_nothing() {
    let what = "the C caller under sanitizers";
    if !have("cc", what) {
        return;
    }
    let world = World::new();
    let dir = world.make("abuse", DeviceKind::Computer);
    let flags = [
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ];
    let program = program("abuse.c", Machine::Here, &flags, world.dir.path());
    let run = Command::new(program)
        .current_dir(&dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    println!("{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{text}");
    assert!(text.ends_with("every check passed\n"));
    assert!(text.matches("ok  ").count() > 60);
}

/// The first fenced C of a text, each line without `margin`.
fn first_c(text: &str, margin: &str) -> String {
    let from = format!("{margin}```c\n");
    let (_, rest) = text.split_once(&from).expect("a block of C");
    rest.lines()
        .take_while(|line| line.trim_end() != format!("{margin}```").trim_end())
        .map(|line| line.strip_prefix(margin).unwrap_or(line).to_owned() + "\n")
        .collect()
}

#[test]
fn the_loops_of_header_and_porting_run_as_they_stand_there() {
    let what = "the documented C loops";
    if !have("cc", what) {
        return;
    }
    let world = World::new();
    let dir = world.make("loops", DeviceKind::SetTopBox);
    let header = fs::read_to_string(nrd_tests::header::path()).unwrap();
    let porting = fs::read_to_string(root().join("docs/PORTING.md")).unwrap();
    let includes = world.dir.path();
    fs::write(includes.join("header_loop.inc"), first_c(&header, "// ")).unwrap();
    fs::write(includes.join("porting_loop.inc"), first_c(&porting, "")).unwrap();
    let include = format!("-I{}", includes.display());
    let flags = ["-g", "-fsanitize=address,undefined", include.as_str()];
    let program = program("loops.c", Machine::Here, &flags, includes);
    let run = Command::new(program)
        .current_dir(&dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    println!("{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{text}");
    assert_eq!(text.matches("then a reset").count(), 2);
}
