//! The service as its operator meets it: real processes, a real database, its
//! log, its metrics, its end.

mod common;

use common::{EXE, activate, click_remove, eventually, removal, skip};
use nrd_sim::base::sample::Samples;
use nrd_sim::demo::{Browser, Child};
use nrd_sim::load::device::{Device, Town};
use nrd_sim::load::postgres::Server;
use nrd_sim::load::process::ServiceProcess;
use nrd_sim::service::Keys;
use std::path::Path;
use std::process::{Command, Output};

const EMAIL: &str = "alexandra@example.com";
const PASSWORD: &str = "correct horse battery";

fn exe() -> &'static Path {
    Path::new(EXE)
}

fn browser(service: &ServiceProcess) -> Browser {
    let browser = Browser::new(&format!("http://127.0.0.1:{}", service.pages_port));
    browser.sign_in(EMAIL, PASSWORD, false).unwrap();
    browser
}

fn television(home: &Path, service: &ServiceProcess, ca: &Path) -> Child {
    let url = format!("https://localhost:{}", service.device_port);
    Child::new(exe(), &home.join("tv"), &url, ca, "stb", 5)
}

fn nrd_sim(args: &[&str]) -> Output {
    // One that should have refused would serve for ever.
    let mut bounded = Command::new("timeout");
    bounded.args(["30", EXE]).args(args).output().unwrap()
}

#[test]
fn a_whole_life_leaves_nothing_personal_in_log_and_metrics() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let mut service = ServiceProcess::start(exe(), &dir, &[]).unwrap();
    let stranger = Browser::new(&format!("http://127.0.0.1:{}", service.pages_port));
    assert!(stranger.sign_in(EMAIL, "a wrong guess", false).is_err());
    let browser = browser(&service);
    let mut tv = television(home.path(), &service, &dir.join("ca.pem"));
    tv.start(false).unwrap();
    activate(&mut tv, &browser);
    eventually("a waiting device", || {
        service.metric("nrd_waiting_devices") == Some(1.0)
    });
    click_remove(&browser);
    tv.wait_state("clean").unwrap();
    browser.wait_state("/receipt", "Proven wiped").unwrap();
    let (status, metrics) = service.ops("/metrics").unwrap();
    assert_eq!(status, 200);
    for line in [
        "nrd_orders_entered_total{kind=\"deactivate\"} 1",
        "nrd_receipts_kept_total{says=\"clean\"} 1",
        "nrd_orders{kind=\"deactivate\",state=",
        "nrd_device_requests_total{answer=\"woken\"} 1",
        "nrd_device_requests_total{answer=\"granted\"} 1",
        "nrd_answer_seconds_bucket",
        "nrd_wait_seconds_count",
        "nrd_outbox_backlog{outbox=\"events\"} 0",
        "nrd_clock_difference_seconds 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    assert_eq!(service.ops("/healthz").unwrap().0, 200);
    assert_eq!(service.ops("/readyz").unwrap().0, 200);
    let ended = service.end().unwrap();
    assert!(ended.success(), "{ended}");

    let log = service.log();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["level"].is_string() && line["timestamp"].is_string());
    }
    for event in ["service opened", "order entered", "receipt kept"] {
        assert!(log.contains(event), "{event} is not in:\n{log}");
    }
    let samples = Samples::read(None).unwrap();
    let mut personal: Vec<String> = vec!["127.0.0.1".into(), "a wrong guess".into()];
    for s in &samples.accounts {
        personal.extend([s.email.clone(), s.password.clone(), s.name.clone()]);
        let secrets = s.secrets().into_iter();
        personal.extend(secrets.map(|s| String::from_utf8(s).unwrap()));
    }
    for secret in personal {
        assert!(!log.contains(&secret), "the log holds {secret}");
        assert!(!metrics.contains(&secret), "the metrics hold {secret}");
    }
}

#[test]
fn an_end_by_sigterm_answers_who_waits_and_the_next_start_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let mut service = ServiceProcess::start(exe(), &dir, &[]).unwrap();
    let keys = Keys::open(&dir).unwrap();
    let town = Town::new(&dir.join("ca.pem"), &[service.device_port]).unwrap();
    let people = browser(&service);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut devices = Vec::new();
    for n in 0..6 {
        let mut device = Device::new(&keys, town.clone(), n, 20).unwrap();
        runtime.block_on(async {
            let code = device.code().await.unwrap();
            people.activate(&code, "Virtual", true).unwrap();
            device.until(Device::is_active).await.unwrap();
            // "Still here"; the next one waits.
            device.exchange().await.unwrap();
        });
        devices.push(device);
    }
    let waits: Vec<_> = devices
        .into_iter()
        .map(|mut device| {
            runtime.spawn(async move {
                device.exchange().await.unwrap();
                device
            })
        })
        .collect();
    eventually("six waiting devices", || {
        service.metric("nrd_waiting_devices") == Some(6.0)
    });
    let ended = service.end().unwrap();
    assert!(ended.success(), "{ended}");
    let mut devices: Vec<Device> = waits
        .into_iter()
        .map(|w| runtime.block_on(w).unwrap())
        .collect();
    for device in &devices {
        assert_eq!(device.failures, 0, "an answer was lost");
    }
    // The same folder again, at other ports.
    let service = ServiceProcess::start(exe(), &dir, &[]).unwrap();
    town.ports[0].store(service.device_port, std::sync::atomic::Ordering::SeqCst);
    let people = browser(&service);
    let all = "/account/devices/remove-all";
    assert_eq!(people.submit(all, all, &[]).unwrap().status, 200);
    for device in &mut devices {
        runtime
            .block_on(device.until(Device::is_done))
            .expect("removed, wiped, proven");
        assert_eq!(device.hw.chip().counter(), 1);
    }
}

#[test]
fn an_order_key_rotated_beside_a_running_service_is_used_by_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let service = ServiceProcess::start(exe(), &dir, &[]).unwrap();
    let people = browser(&service);
    let mut tv = television(home.path(), &service, &dir.join("ca.pem"));
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    let text = dir.display().to_string();
    let out = nrd_sim(&["rotate-order-key", "--dir", &text]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success() && said.contains("order key 2"),
        "{said}"
    );
    click_remove(&people);
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
    let store = nrd_sim::service::store::Store::open(&dir).unwrap();
    assert_eq!(store.delegation().unwrap().unwrap().order_key, 2);
    // Nonsense gets a word of what to do.
    let nowhere = home.path().join("nowhere").display().to_string();
    let out = nrd_sim(&["rotate-order-key", "--dir", &nowhere]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no service has its keys here"));
}

#[test]
fn a_root_replaced_beside_a_running_service_is_followed_over_tls() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let service = ServiceProcess::start(exe(), &dir, &[]).unwrap();
    let people = browser(&service);
    let mut tv = television(home.path(), &service, &dir.join("ca.pem"));
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    let text = dir.display().to_string();
    for version in 1..=2 {
        let out = nrd_sim(&["replace-root", "--dir", &text]);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let expected = format!("service root {version} is in force");
        assert!(out.status.success() && said.contains(&expected), "{said}");
        assert!(dir.join(format!("root-{version}.key")).exists());
    }
    click_remove(&people);
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
    // Without the newest root's secret nothing more can be delegated.
    std::fs::remove_file(dir.join("root-2.key")).unwrap();
    for command in ["rotate-order-key", "replace-root"] {
        let out = nrd_sim(&[command, "--dir", &text]);
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains("root-2.key"));
    }
}

#[test]
fn a_backup_made_while_it_runs_comes_back_and_forgets_no_removal() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let text = dir.display().to_string();
    let copy = home.path().join("copy.db").display().to_string();
    let mut service = ServiceProcess::start(exe(), &dir, &[]).unwrap();
    let mut people = browser(&service);
    let mut tv = television(home.path(), &service, &dir.join("ca.pem"));
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    tv.pull_the_plug();
    let out = nrd_sim(&["backup", "--dir", &text, "--to", &copy]);
    assert!(out.status.success(), "{out:?}");
    let again = nrd_sim(&["backup", "--dir", &text, "--to", &copy]);
    assert_eq!(again.status.code(), Some(2), "a backup replaces nothing");
    click_remove(&people);
    // Not under a running service.
    let out = nrd_sim(&["restore", "--dir", &text, "--from", &copy]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(service.end().unwrap().success());
    let out = nrd_sim(&["restore", "--dir", &text, "--from", &copy]);
    assert!(out.status.success(), "{out:?}");
    let damaged = home.path().join("damaged").display().to_string();
    std::fs::write(&damaged, b"no database at all").unwrap();
    let out = nrd_sim(&["restore", "--dir", &text, "--from", &damaged]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    // The removal came after the copy; it still counts: the token is void.
    service = ServiceProcess::start(exe(), &dir, &[]).unwrap();
    people = browser(&service);
    let mut tv = television(home.path(), &service, &dir.join("ca.pem"));
    tv.start(true).unwrap();
    tv.wait_state("locked").unwrap();
    // And a person can remove it again, with its wipe.
    click_remove(&people);
    tv.type_line("advance 3600").unwrap();
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
}

#[test]
fn a_database_that_goes_away_is_said_and_metered_and_nothing_is_removed_falsely() {
    let Some(mut server) = Server::start() else {
        return skip("PostgreSQL", "two service processes on one database");
    };
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    let (url, shared) = (server.url(), keys.display().to_string());
    let more = ["--database", &url, "--keys", &shared];
    let [a, b] = ["a", "b"]
        .map(|name| ServiceProcess::start(exe(), &home.path().join(name), &more).unwrap());
    // A third with keys of its own is refused.
    let other = home.path().join("other").display().to_string();
    let out = nrd_sim(&["serve", "--dir", &other, "--database", &url, "--port", "0"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(
        said.contains("another root.key") && said.contains("--keys"),
        "{said}"
    );

    let people = browser(&b);
    let mut tv = television(home.path(), &a, &keys.join("ca.pem")).option("--wait", Some("20"));
    tv.start(false).unwrap();
    activate(&mut tv, &people);
    let waits = |s: &ServiceProcess| s.metric("nrd_waiting_devices") == Some(1.0);
    eventually("a device waiting at one process", || waits(&a));

    let ask = removal(&people);
    let form = people.get(&ask).unwrap().text();
    server.kill();
    let refused = people.submit_from(&form, &ask, &[]).unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("Nothing was changed"));
    for s in [&a, &b] {
        let (status, text) = s.ops("/readyz").unwrap();
        assert_eq!(status, 503);
        assert!(text.contains("does not answer"), "{text}");
        assert_eq!(s.ops("/healthz").unwrap().0, 200);
    }
    assert!(b.metric("nrd_store_errors_total{kind=\"away\"}").unwrap() >= 1.0);
    server.switch_on();
    for s in [&a, &b] {
        eventually("ready again", || s.ops("/readyz").unwrap().0 == 200);
    }
    assert!(
        people.entry("<strong>Active</strong>").is_ok(),
        "not removed"
    );
    // The line that wakes it was broken, and stands again.
    eventually("it waits again", || waits(&a));
    click_remove(&people);
    tv.wait_state("clean").unwrap();
    people.wait_state("/receipt", "Proven wiped").unwrap();
    let out = nrd_sim(&[
        "serve",
        "--dir",
        &other,
        "--database",
        "postgres://127.0.0.1:9/x",
    ]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2));
    assert!(
        said.contains("does not answer") && said.contains("try:"),
        "{said}"
    );
}
