//! The service behind a real nginx on this machine, over TLS.

mod common;

use common::chromium::{Driver, Person, Window};
use common::{EXE, activate, click_remove, skip};
use nrd_sim::base::sample::Samples;
use nrd_sim::demo::{Browser, Child};
use nrd_sim::load::postgres::{free_port, signal};
use nrd_sim::service::address::Proxies;
use nrd_sim::service::server::{Ports, Running, ServerOptions, start_with};
use nrd_sim::service::{Service, Settings};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where nginx asks its upstream from. Browsers ask it from 127.0.0.1, which is no
/// trusted proxy.
const PROXY: &str = "127.0.0.9";

/// A running nginx before a running service; both end with it.
struct Behind {
    running: Running,
    nginx: Process,
    port: u16,
    home: TempDir,
}

impl Drop for Behind {
    fn drop(&mut self) {
        // Killed, it would leave its workers behind.
        signal(self.nginx.id(), "TERM");
        self.nginx.wait().unwrap();
    }
}

impl Behind {
    /// `None` where there is no nginx. `location` is added to the lines that every
    /// location needs.
    fn nginx(location: &str) -> Option<Behind> {
        // A system service's path is not a person's.
        let names = ["nginx", "/usr/sbin/nginx"];
        let found = names.iter().find(|name| {
            let version = Command::new(name).arg("-v").stderr(Stdio::null()).status();
            version.is_ok_and(|s| s.success())
        });
        let Some(program) = found else {
            skip("nginx", "the service behind a real proxy");
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("service");
        let settings = Settings {
            poll_s: 1,
            check_in_s: 2,
            ..Settings::default()
        };
        let service = Service::open(&dir, settings).unwrap();
        service.add_samples(&Samples::read(None).unwrap()).unwrap();
        let port = free_port();
        let options = ServerOptions {
            public_origin: Some(format!("https://localhost:{port}").parse().unwrap()),
            proxies: Proxies {
                trusted: vec![PROXY.parse().unwrap()],
                ..Proxies::default()
            },
            ..ServerOptions::default()
        };
        let running = start_with(service, &dir, Ports { tls: 0, pages: 0 }, options).unwrap();
        certificate(home.path());
        let at = home.path().display();
        let config = format!(
            "daemon off; pid {at}/pid; error_log {at}/errors; user root;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n\
             access_log off; client_body_temp_path {at}/1; proxy_temp_path {at}/2;\n\
             fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;\n\
             server {{\n\
             listen 127.0.0.1:{port} ssl; listen [::1]:{port} ssl;\n\
             ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;\n\
             location / {{ proxy_pass http://127.0.0.1:{}; proxy_bind {PROXY}; {location} }}\n\
             }}\n}}\n",
            running.pages_port
        );
        let file = home.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let nginx = Command::new(program)
            .arg("-e")
            .arg(home.path().join("errors"))
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let behind = Behind {
            running,
            nginx,
            port,
            home,
        };
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let errors = || std::fs::read_to_string(behind.home.path().join("errors"));
            assert!(
                Instant::now() < until,
                "nginx does not listen: {:?}",
                errors()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(behind)
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn browser(&self) -> Browser {
        Browser::trusting(&self.url(), &self.home.path().join("cert.pem")).unwrap()
    }

    fn device(&self, seed: u64) -> Child {
        let (home, url) = (self.home.path(), self.running.device_url());
        let ca: PathBuf = home.join("service/ca.pem");
        Child::new(Path::new(EXE), &home.join("tv"), &url, &ca, "stb", seed)
    }

    /// The addresses in the account's activity, newest first.
    fn addresses(&self) -> Vec<String> {
        let service = &self.running.service;
        let account = service.check_password(EMAIL, PASSWORD, "192.0.2.250");
        let events = service.events(account.unwrap(), 50).unwrap();
        events.into_iter().filter_map(|e| e.address).collect()
    }
}

const EMAIL: &str = "alexandra@example.com";
const PASSWORD: &str = "correct horse battery";

/// A certificate for localhost that is its own root.
fn certificate(home: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(home.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(home.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// Signs in, activates a device and removes it: all through the proxy.
fn a_life(behind: &Behind) {
    let browser = behind.browser();
    browser.sign_in(EMAIL, PASSWORD, true).unwrap();
    let mut tv = behind.device(11);
    tv.start(false).unwrap();
    activate(&mut tv, &browser);
    browser.wait_state("/remove\"", "Active").unwrap();
    click_remove(&browser);
    tv.wait_state("clean").unwrap();
    browser.wait_state("/receipt", "Proven wiped").unwrap();
    // Another browser without its cookies is nobody.
    let stranger = behind.browser().get("/account/devices").unwrap();
    assert!(stranger.text().contains("E-mail address"));
}

#[test]
fn a_whole_life_goes_through_nginx_with_its_default_headers() {
    let Some(behind) = Behind::nginx("") else {
        return;
    };
    a_life(&behind);
    // Nobody has said who asked.
    let mut addresses = behind.addresses();
    addresses.dedup();
    assert_eq!(addresses, [PROXY]);
}

#[test]
fn a_whole_life_goes_through_nginx_as_operations_sets_it_up() {
    let line = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
    let operations = include_str!("../../docs/OPERATIONS.md");
    assert!(operations.contains(line), "OPERATIONS advises another line");
    let Some(behind) = Behind::nginx(line) else {
        return;
    };
    a_life(&behind);
    // The browser's own.
    let mut addresses = behind.addresses();
    addresses.dedup();
    assert_eq!(addresses, ["127.0.0.1"]);
}

/// The first event never arrives: nginx waits for more than a stream ever says.
#[test]
fn a_page_whose_events_are_held_back_follows_by_asking() {
    let buffers = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;";
    let Some(behind) = Behind::nginx(buffers) else {
        return;
    };
    let Some(driver) = Driver::start() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = format!("{}/", behind.url());
        let p = Person::at(&driver, &url, "held-back", Window::DESKTOP).await;
        p.sign_in(EMAIL, PASSWORD).await;
        p.wait_for("No device is activated").await;
        p.run("window.sameDocument = true").await;
        let mut tv = behind.device(12);
        tv.start(false).unwrap();
        activate(&mut tv, &{
            let other = behind.browser();
            other.sign_in(EMAIL, PASSWORD, false).unwrap();
            other
        });
        p.wait_for("Virtual set-top box").await;
        let same = p.run("return window.sameDocument === true").await;
        assert_eq!(same, serde_json::json!(true), "it did not load again");
        p.client.close().await.unwrap();
    });
}
