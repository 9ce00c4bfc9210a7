//! The agent's log (feature `log`): it tells the story, and no secret.

use log::{LevelFilter, Log, Metadata, Record};
use nrd_agent::Class;
use nrd_sim::base::hex;
use nrd_sim::device::{settle, talk};
use nrd_tests::bench::{Bench, activate};
use std::sync::Mutex;

struct Kept(Mutex<Vec<String>>);

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        if record.target().starts_with("nrd_agent") {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

/// What was logged so far.
fn lines() -> String {
    KEPT.0.lock().unwrap().join("\n")
}

#[test]
fn the_log_tells_the_story_and_no_secret() {
    log::set_logger(&KEPT).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let bench = Bench::new();
    let mut device = bench.device("NRD-LOG-1", 11);
    let email = bench.samples[0].email.clone();
    device.boot(|service, agent| {
        activate(service, agent, bench.account(0), true);
        agent.put(Class::Email, 1, email.as_bytes()).unwrap();
    });
    device.boot(|service, agent| {
        agent.exchange_failed();
        agent.exchange_failed();
        agent.deactivate().unwrap();
        assert!(lines().contains("wipe begins in epoch 0"), "at once");
        settle(agent).unwrap();
        talk(service, agent).unwrap();
    });
    let lines = lines();
    println!("{lines}");
    let begun = lines.matches("wipe begins").count();
    assert_eq!(begun, 1, "its progress is none of the story");
    for told in [
        "boot 1 in epoch 0",
        "activated in epoch 0",
        "exchange failed, 1 in a row",
        "exchange failed, 2 in a row",
        "wipe ended: ",
    ] {
        assert!(lines.contains(told), "{told:?} is missing");
    }
    // Numbers and fixed words only: nothing long enough to be a key, no name.
    for secret in [&email, &bench.samples[0].name, &hex(&device.root)] {
        assert!(!lines.contains(secret.as_str()));
    }
    let longest = lines
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::len)
        .max();
    assert!(longest < Some(16), "a word of {longest:?} characters");
}
