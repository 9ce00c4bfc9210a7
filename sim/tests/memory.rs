//! Attack 30: the memory of a real device process after its wipe, read through
//! the operating system and searched for every secret.
#![cfg(target_os = "linux")]

mod common;

use common::World;
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_hal::layout::Layout;
use nrd_sim::base::sample::Samples;
use nrd_sim::base::unhex;
use nrd_sim::demo::{Browser, Child};
use nrd_sim::forensics::inspect::class_key;
use nrd_sim::hw::{Made, RootKey};
use std::io::{Read as _, Seek as _, SeekFrom};

/// Every byte of a process's writable memory, region by region.
fn memory(pid: u32) -> Vec<(String, Vec<u8>)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut mem = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut out = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else {
            continue;
        };
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|n| u64::from_str_radix(n, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        if mem.seek(SeekFrom::Start(from)).is_ok() && mem.read_exact(&mut bytes).is_ok() {
            out.push((words.last().unwrap_or("anonymous").to_owned(), bytes));
        }
    }
    out
}

/// Where each secret stands, if anywhere.
fn found(pid: u32, secrets: &[(&'static str, Vec<u8>)]) -> Vec<String> {
    let regions = memory(pid);
    let total: usize = regions.iter().map(|(_, b)| b.len()).sum();
    assert!(
        total > 100_000,
        "only {total} bytes of memory could be read"
    );
    let mut out = Vec::new();
    for (name, secret) in secrets {
        for (region, bytes) in &regions {
            let n = memchr::memmem::find_iter(bytes, secret).count();
            if n > 0 {
                out.push(format!("{name}: {n} times in {region}"));
            }
        }
    }
    out
}

const ACCOUNT: &str = r#"
[[account]]
email = "zephyrine@example.com"
password = "a password of her own"
name = "Zephyrine-Quillfeather"
full_name = "x"
address = "x"
payment = "Visa 1"
telephone = "x"
profiles = []
activity = []
"#;

#[test]
fn attack_30_nothing_of_the_account_is_left_in_the_memory_of_the_process() {
    let world = World::new();
    let samples: Samples = toml::from_str(ACCOUNT).unwrap();
    let service = &world.running.service;
    service.add_samples(&samples).unwrap();
    let mut tv: Child = world.device("tv", "stb");
    tv.start(false).unwrap();
    let code = tv.wait("code", |_| true).unwrap()["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let browser = Browser::new(&world.running.pages_url());
    browser
        .sign_in("zephyrine@example.com", "a password of her own", false)
        .unwrap();
    browser
        .activate(&code, "Virtual set-top box", true)
        .unwrap();
    tv.wait_state("active").unwrap();
    browser.wait_state("Virtual set-top box", "Active").unwrap();
    tv.type_line("advance 90000").unwrap();
    tv.wait("renewed", |_| true).unwrap();
    browser.wait_state("Virtual set-top box", "Active").unwrap();

    // Everything that opens the account, from the root and the flash.
    let account = service
        .check_password(
            "zephyrine@example.com",
            "a password of her own",
            "127.0.0.1",
        )
        .unwrap();
    let row = service.devices(account).unwrap().remove(0).row;
    let flash = tv.flash().unwrap();
    let part = Made::read(&tv.dir).unwrap().chip().geometry;
    let slot = Layout::plan(&part).unwrap().slot(0);
    let slot = &flash[slot.start as usize..slot.end as usize];
    let secret = slot[32..64].to_vec();
    let root: [u8; 32] = unhex(&std::fs::read_to_string(tv.dir.join("root.key")).unwrap()).unwrap();
    let base = RootKey::derive_any(&root, b"nrd/1/vault", Some(0));
    let activation = RingCrypto::hkdf(
        &row.id,
        &[&base[..], &secret].concat(),
        &[b"nrd/1/activation"],
    );
    let class = |n: u8| {
        let at = 64 + 20 * usize::from(n);
        let (generation, salt) = (&slot[at..at + 4], &slot[at + 4..at + 20]);
        class_key(&activation, n, generation, salt)
    };
    let mut secrets = vec![
        ("display name", b"Zephyrine-Quillfeather".to_vec()),
        ("activation secret", secret),
        ("vault base", base.to_vec()),
        ("activation key", activation.to_vec()),
        ("session class key", class(0).to_vec()),
        ("name class key", class(1).to_vec()),
        ("token 1", service.keys.token(&row.series, 1).to_vec()),
        ("token 2", service.keys.token(&row.series, 2).to_vec()),
        ("token 3", service.keys.token(&row.series, 3).to_vec()),
    ];
    // The control: while it is active, the same search finds what must be there.
    let before = found(tv.pid().unwrap(), &secrets);
    for must in ["activation secret", "session class key", "token 2"] {
        assert!(
            before.iter().any(|f| f.starts_with(must)),
            "{must} not found: {before:?}"
        );
    }
    // The vault's base key opens nothing without the activation secret.
    secrets.retain(|(name, _)| *name != "vault base");
    service.remove(account, &row.id, "127.0.0.1").unwrap();
    tv.wait("wiped", |_| true).unwrap();
    browser
        .wait_state("Virtual set-top box", "Proven wiped")
        .unwrap();
    let after = found(tv.pid().unwrap(), &secrets);
    assert_eq!(after, Vec::<String>::new(), "before: {before:?}");
}
