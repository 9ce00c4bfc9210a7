//! The returns desk is a server of its own: what strangers do to it reaches nobody
//! else, and the account site has none.

mod common;

use common::{EXE, eventually, png};
use image::ExtendedColorType;
use nrd_sim::demo::Browser;
use nrd_sim::load::device::{Device, Town};
use nrd_sim::load::process::ServiceProcess;
use nrd_sim::service::Keys;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// `nrd-sim desk` on a free port, killed at the end.
struct DeskProcess {
    child: Child,
    port: u16,
}

impl DeskProcess {
    fn start(maker_root: &Path) -> DeskProcess {
        let mut child = Command::new(EXE)
            .args(["desk", "--port", "0", "--maker-root"])
            .arg(maker_root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let rest = line.split("localhost:").nth(1).unwrap();
        let port = rest.split('/').next().unwrap().parse().unwrap();
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        DeskProcess { child, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Hands in a picture; the page that answers, or nothing where the desk closes the
    /// connection.
    fn hand_in(&self, agent: &ureq::Agent, picture: &[u8]) -> Option<String> {
        let mut body = b"--b0undary\r\nContent-Disposition: form-data; name=\"photo\"; \
            filename=\"photo.png\"\r\n\r\n"
            .to_vec();
        body.extend(picture);
        body.extend(b"\r\n--b0undary--\r\n");
        let sent = agent
            .post(self.url("/desk/read"))
            .header("Content-Type", "multipart/form-data; boundary=b0undary")
            .send(&body[..]);
        sent.ok()?.into_body().read_to_string().ok()
    }
}

impl Drop for DeskProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

/// Forms that hold hostile pictures at once: more than the desk takes.
const FLOOD: usize = 20;
/// What honest people ask meanwhile.
const ROUNDS: usize = 40;

#[test]
fn attack_52_hostile_pictures_at_the_desk_cost_pages_and_devices_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let service = ServiceProcess::start(Path::new(EXE), &dir, &[]).unwrap();
    let desk = DeskProcess::start(&dir.join("maker-root.pub"));
    // As many pixels as a photo may have: read to the end, again and again.
    let picture = png(5000, 5000, ExtendedColorType::Rgba8);
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flood = || {
        let agent = agent();
        while !stop.load(Ordering::Relaxed) {
            let page = desk.hand_in(&agent, &picture).unwrap_or_default();
            if page.contains("in a moment") {
                refused.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..FLOOD {
            scope.spawn(flood);
        }
        let is_full = |before| {
            eventually("a desk that takes no more", || {
                refused.load(Ordering::Relaxed) > before + FLOOD
            });
        };
        let honest = || {
            is_full(0);
            let pages = format!("http://127.0.0.1:{}", service.pages_port);
            let person = Browser::new(&pages);
            person.sign_in("alexandra@example.com", "correct horse battery", false)?;
            let town = Town::new(&dir.join("ca.pem"), &[service.device_port])?;
            let keys = Keys::open(&dir).map_err(|e| e.to_string())?;
            let mut tv = Device::new(&keys, town.clone(), 1, 0)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let code = tv.code().await?;
                person.activate(&code, "Virtual", true)?;
                tv.until(Device::is_active).await
            })?;
            let (mut shown, mut answered) = (0, 0);
            for _ in 0..ROUNDS {
                shown += usize::from(person.get("/account/devices")?.status == 200);
                let asked = runtime.block_on(async {
                    let mut line = town.connect(0).await?;
                    line.post(b"no frame").await
                });
                answered += usize::from(asked.is_ok());
            }
            let ready = service.ops("/readyz")?.0;
            // It was full all the time.
            is_full(refused.load(Ordering::Relaxed));
            Ok::<_, String>((shown, answered, tv.failures, ready))
        };
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(honest));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(seen.unwrap(), Ok((ROUNDS, ROUNDS, 0, 200)));
    });
}

/// Status of a request by hand: a `Host` as one likes.
fn status(port: u16, host: &str, method: &str, path: &str, more: &str) -> String {
    use std::io::Write as _;
    let mut line = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}");
    line.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn the_account_site_has_no_desk_and_the_desk_is_for_its_own_machine() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("service");
    let service = ServiceProcess::start(Path::new(EXE), &dir, &[]).unwrap();
    let desk = DeskProcess::start(&dir.join("maker-root.pub"));
    let tls = format!("https://localhost:{}", service.device_port);
    let over_tls = Browser::trusting(&tls, &dir.join("ca.pem")).unwrap();
    let pages = ["/desk", "/desk/read", "/desk/batches", "/desk/states"];
    for path in pages {
        let of = |port| status(port, "localhost", "GET", path, "");
        assert_eq!(of(service.pages_port), "404", "{path}");
        assert_eq!(over_tls.get(path).unwrap().status, 404, "{path}");
        assert_eq!(of(desk.port), "200", "{path}");
        let post = "Content-Length: 0\r\n";
        let posted = status(service.pages_port, "localhost", "POST", path, post);
        assert_eq!(posted, "404", "{path}");
    }
    let person = Browser::new(&format!("http://127.0.0.1:{}", service.pages_port));
    let login = person.get("/login").unwrap().text();
    assert!(!login.contains("/desk"), "a link to what is not there");

    // A name of an attacker that leads to this machine, and a form from elsewhere.
    let begin = |host: &str, origin: &str| {
        let more = format!(
            "Origin: {origin}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: 17\r\n\r\ndevice_id=NRD-STB"
        );
        status(desk.port, host, "POST", "/desk", &more)
    };
    let own = format!("localhost:{}", desk.port);
    assert_eq!(begin(&own, &format!("http://{own}")), "303");
    assert_eq!(begin(&own, "http://evil.example"), "403");
    assert_eq!(
        begin("evil.example", "http://evil.example"),
        "421",
        "a rebound name"
    );
    // Names of the clerk: a cookie of this port, which no other server overwrites.
    let named = agent()
        .post(desk.url("/desk/names"))
        .config()
        .max_redirects(0)
        .build()
        .send_form([("clerk", "Dana"), ("shop", "Second Screen")])
        .unwrap();
    let cookie = named.headers().get("set-cookie").unwrap().to_str().unwrap();
    let name = format!("desk_names-{}=", desk.port);
    assert!(cookie.starts_with(&name), "{cookie}");
}
