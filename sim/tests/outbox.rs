//! What is handed to others: orders to a real broker, security events to a
//! receiver that verifies them with another library.

mod common;

use common::{EXE, activate, click_remove, eventually, skip};
use nrd_sim::base::sample::Samples;
use nrd_sim::demo::{Browser, Child};
use nrd_sim::load::broker::Mosquitto;
use nrd_sim::load::postgres::free_port;
use nrd_sim::load::process::ServiceProcess;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

fn start(dir: &Path, more: &[&str]) -> (ServiceProcess, Browser) {
    let service = ServiceProcess::start(Path::new(EXE), dir, more).unwrap();
    let browser = Browser::new(&format!("http://127.0.0.1:{}", service.pages_port));
    browser
        .sign_in("alexandra@example.com", "correct horse battery", false)
        .unwrap();
    (service, browser)
}

fn television(home: &Path, service: &ServiceProcess) -> Child {
    let url = format!("https://localhost:{}", service.device_port);
    let ca = home.join("service/ca.pem");
    Child::new(Path::new(EXE), &home.join("tv"), &url, &ca, "stb", 9)
}

/// Hears every order, as an eavesdropper at the broker does.
fn eavesdrop(broker: &Mosquitto) -> (Client, Receiver<(String, Vec<u8>)>) {
    let options = MqttOptions::new("eavesdropper", "127.0.0.1", broker.port);
    let (client, mut connection) = Client::new(options, 16);
    client.subscribe("nrd/1/order/#", QoS::AtLeastOnce).unwrap();
    let (tell, heard) = channel();
    let (ready, is_ready) = channel();
    std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.send(())),
                Ok(Event::Incoming(Packet::Publish(p))) => {
                    if tell.send((p.topic, p.payload.to_vec())).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    is_ready.recv_timeout(Duration::from_secs(20)).unwrap();
    (client, heard)
}

#[test]
fn an_order_by_the_broker_removes_and_a_repeated_or_late_one_does_nothing() {
    let Some(broker) = Mosquitto::start() else {
        return skip("mosquitto", "orders by MQTT");
    };
    let home = tempfile::tempdir().unwrap();
    // By check-ins alone the order would take an hour.
    let more = ["--mqtt", &broker.url(), "--check-in", "3600"];
    let (service, people) = start(&home.path().join("service"), &more);
    let mut tv = television(home.path(), &service)
        .option("--wait", Some("0"))
        .option("--mqtt", Some(&broker.url()));
    let (eve, heard) = eavesdrop(&broker);
    let patience = Duration::from_secs(20);
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    // Past the check-in that follows an activation.
    std::thread::sleep(Duration::from_millis(500));
    click_remove(&people);
    let applied = tv.wait("order", |_| true).unwrap();
    assert_eq!(applied["result"], "applied");
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
    let (topic, first) = heard.recv_timeout(patience).unwrap();
    // The broker repeats it: the device is clean, and stays so.
    let again = |frame: &[u8]| {
        eve.publish(&topic, QoS::AtLeastOnce, false, frame.to_vec())
            .unwrap();
    };
    again(&first);
    tv.wait("order", |_| true).unwrap();
    // The next owner's device hears the former owner's order, twice, late.
    tv.type_line("activate").unwrap();
    activate(&mut tv, &people);
    again(&first);
    again(&first);
    for _ in 0..2 {
        let judged = tv.wait("order", |_| true).unwrap();
        let result = judged["result"].as_str().unwrap();
        assert!(
            ["already applied", "not applicable"].contains(&result),
            "{judged}"
        );
    }
    // Not touched.
    people.wait_state("/remove\"", "Active").unwrap();
    // Garbage is no order.
    again(b"\x00\xFF nonsense");
    tv.wait("order", |_| true).unwrap();
    // Reordered: the newer first, then the old one again.
    click_remove(&people);
    let applied = tv.wait("order", |v| v["result"] == "applied").unwrap();
    assert_eq!(applied["result"], "applied");
    tv.wait_state("clean").unwrap();
    again(&first);
    eventually("both are proven", || {
        let text = people.get("/account/devices").unwrap().text();
        text.matches("<strong>Proven wiped</strong>").count() == 2
    });
    eventually("nothing is left to hand over", || {
        service.metric("nrd_outbox_backlog{outbox=\"orders\"}") == Some(0.0)
    });
    let taken = "nrd_handed_over_total{outbox=\"orders\",result=\"taken\"}";
    assert_eq!(service.metric(taken), Some(2.0));
}

#[test]
fn with_the_broker_away_a_removal_works_by_check_in_and_the_backlog_shows() {
    let Some(mut broker) = Mosquitto::start() else {
        return skip("mosquitto", "a broker that is away");
    };
    broker.switch_off();
    let home = tempfile::tempdir().unwrap();
    let more = ["--mqtt", &broker.url()];
    let (service, people) = start(&home.path().join("service"), &more);
    let mut tv = television(home.path(), &service);
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    click_remove(&people);
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
    let backlog = "nrd_outbox_backlog{outbox=\"orders\"}";
    let away = "nrd_handed_over_total{outbox=\"orders\",result=\"broker away\"}";
    let missed = service.metric(away).unwrap_or(0.0);
    eventually("the broker is missed once more", || {
        service.metric(away) > Some(missed)
    });
    assert_eq!(service.metric(backlog), Some(1.0));
    assert!(service.log().contains("the broker is away"));
    broker.switch_on();
    eventually("the backlog is handed over", || {
        service.metric(backlog) == Some(0.0)
    });
    // Nonsense is refused at the start.
    let out = Command::new(EXE)
        .args(["serve", "--mqtt", "http://x", "--dir"])
        .arg(home.path().join("x"))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("mqtt://host:1883"), "{said}");
}

/// The broker has taken it and nobody listened: it is gone there, and not here.
#[test]
fn an_order_that_was_published_while_nobody_listened_comes_with_the_next_check_in() {
    let Some(broker) = Mosquitto::start() else {
        return skip("mosquitto", "an order that nobody heard");
    };
    let home = tempfile::tempdir().unwrap();
    let more = ["--mqtt", &broker.url(), "--check-in", "3600"];
    let (service, people) = start(&home.path().join("service"), &more);
    let mut tv = television(home.path(), &service).option("--wait", Some("0"));
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    tv.pull_the_plug();
    click_remove(&people);
    let taken = "nrd_handed_over_total{outbox=\"orders\",result=\"taken\"}";
    eventually("the broker has it", || service.metric(taken) == Some(1.0));
    // It never subscribed before: the broker keeps nothing for it.
    let mut tv = television(home.path(), &service)
        .option("--wait", Some("0"))
        .option("--mqtt", Some(&broker.url()));
    tv.start(true).unwrap();
    tv.type_line("advance 3600").unwrap();
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
}

/// Debian's own, whose `python3-jwt` is wanted.
const PYTHON: &str = "/usr/bin/python3";

fn python_knows_jwt() -> bool {
    let asked = Command::new(PYTHON)
        .args([
            "-c",
            "import jwt; from cryptography.hazmat.primitives.asymmetric import ed25519",
        ])
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|s| s.success())
}

#[test]
fn security_events_reach_a_receiver_that_fails_hangs_and_verifies_with_another_library() {
    if !python_knows_jwt() {
        return skip("python3-jwt", "security events to an independent receiver");
    }
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/events");
    let issuer = "https://account.example.com";
    let more = [
        "--events",
        &url,
        "--issuer",
        issuer,
        "--events-audience",
        "the receiver",
    ];
    let (service, people) = start(&home.path().join("service"), &more);
    let mut tv = television(home.path(), &service);
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    click_remove(&people);
    tv.wait_state("clean").unwrap();
    // Nobody listens yet: the removal is not held up, the events wait.
    people.wait_state("/receipt", "Proven wiped").unwrap();
    let backlog = "nrd_outbox_backlog{outbox=\"events\"}";
    assert_eq!(service.metric(backlog), Some(2.0));

    let keys = format!(
        "http://127.0.0.1:{}/.well-known/jwks.json",
        service.pages_port
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/receiver.py");
    let mut receiver = Command::new(PYTHON)
        .args([script, &port.to_string(), &keys, "the receiver", issuer])
        .args(["500", "hang", "400"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(receiver.stdout.take().unwrap()).lines();
    let mut seen: Vec<Value> = Vec::new();
    let until = Instant::now() + Duration::from_secs(90);
    while seen.iter().filter(|v| v["mode"] == "good").count() < 2 {
        assert!(Instant::now() < until, "{seen:#?}");
        let line = lines.next().unwrap().unwrap();
        seen.push(serde_json::from_str(&line).unwrap());
    }
    eventually("both were taken", || service.metric(backlog) == Some(0.0));
    let _ = receiver.kill();
    let _ = receiver.wait();
    let posts: Vec<&Value> = seen.iter().filter(|v| v["mode"] != "listening").collect();
    assert!(posts.len() >= 5, "{posts:#?}");
    let mut told = std::collections::BTreeMap::new();
    for post in &posts {
        assert!(post.get("refused").is_none(), "{post:#}");
        assert_eq!(post["forged"], false);
        assert_eq!(post["header"]["alg"], "EdDSA");
        let claims = &post["claims"];
        let (event, facts) = claims["events"].as_object().unwrap().iter().next().unwrap();
        assert!(facts["event_timestamp"].is_u64());
        assert_eq!(claims["sub_id"]["format"], "complex");
        assert_eq!(claims["sub_id"]["session"]["format"], "opaque");
        told.entry(event.clone())
            .or_insert_with(Vec::new)
            .push(claims["jti"].as_str().unwrap().to_owned());
        let text = post.to_string();
        for s in &Samples::read(None).unwrap().accounts {
            for secret in s.secrets() {
                assert!(!text.contains(&String::from_utf8(secret).unwrap()));
            }
            assert!(!text.contains(&s.email) && !text.contains(&s.name));
        }
    }
    // Sent again is the same event.
    for (event, mut jtis) in told.clone() {
        jtis.dedup();
        assert_eq!(jtis.len(), 1, "{event}");
    }
    let revoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
    let expected = [revoked, "urn:nrd:secevent:device-wiped"];
    assert_eq!(
        told.keys().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
    let log = service.log();
    assert!(
        log.contains("access_denied"),
        "the receiver's word is in the log"
    );
    let failed = "nrd_handed_over_total{outbox=\"events\",result=\"failed\"}";
    assert!(service.metric(failed) >= Some(3.0));
}
