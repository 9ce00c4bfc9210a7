//! The pages in a real Chromium: by script and without, wide and narrow.
//! Screenshots go to the folder that is printed.

mod common;

use common::World;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};

/// A ChromeDriver that ends with its test.
struct Driver {
    process: Process,
    port: u16,
}

impl Driver {
    /// `None` where there is no ChromeDriver, said loudly; a failure where
    /// everything is required.
    fn start() -> Option<Driver> {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let started = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match started {
            Ok(process) => process,
            Err(e) => {
                assert!(
                    std::env::var_os("NRD_REQUIRE_ALL").is_none(),
                    "a browser is required, but chromedriver does not start: {e}"
                );
                println!(
                    "SKIPPED: no chromedriver here ({e}); the pages were NOT tried in a browser"
                );
                return None;
            }
        };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "chromedriver does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Driver { process, port })
    }

    async fn open(&self, width: u32, script: bool) -> Client {
        let mut caps = Capabilities::new();
        let prefs = match script {
            true => json!({}),
            false => json!({ "profile.managed_default_content_settings.javascript": 2 }),
        };
        let mut options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync",
                format!("--window-size={width},900")],
            "prefs": prefs,
        });
        if width < 500 {
            // A headless window is no narrower than 500; a phone is.
            options["mobileEmulation"] =
                json!({ "deviceMetrics": { "width": width, "height": 780, "pixelRatio": 2 } });
        }
        caps.insert("goog:chromeOptions".into(), options);
        caps.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
        ClientBuilder::new(HttpConnector::new())
            .capabilities(caps)
            .connect(&format!("http://127.0.0.1:{}", self.port))
            .await
            .expect("a browser session")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the page complained about: scripts that failed, rules that were broken.
#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }
    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (
            http::Method::POST,
            Some(json!({ "type": "browser" }).to_string()),
        )
    }
}

/// A person at a browser.
struct Person<'w> {
    world: &'w World,
    client: Client,
    name: &'static str,
    script: bool,
    shots: PathBuf,
    shot: u32,
}

impl Person<'_> {
    async fn go(&mut self, path: &str) {
        let url = format!("http://localhost:{}{path}", self.world.running.pages_port);
        self.client.goto(&url).await.unwrap();
    }

    async fn find(&self, css: &str) -> fantoccini::elements::Element {
        self.client
            .find(Locator::Css(css))
            .await
            .unwrap_or_else(|e| panic!("{}: no {css}: {e}", self.name))
    }

    async fn type_into(&self, css: &str, text: &str) {
        // The page may put a new field in place before this one is entered.
        for _ in 0..20 {
            let field = self.find(css).await;
            match field.clear().await {
                Ok(()) => return field.send_keys(text).await.unwrap(),
                Err(e) if e.is_stale_element_reference() => {}
                Err(e) => panic!("{}: {css} takes no text: {e}", self.name),
            }
        }
        panic!("{}: {css} never holds still", self.name);
    }

    /// A person presses what is there now, not what was there before.
    async fn click(&self, css: &str) {
        for _ in 0..20 {
            match self.find(css).await.click().await {
                Ok(()) => return,
                Err(e) if e.is_stale_element_reference() => {}
                Err(e) => panic!("{}: {css} is not pressed: {e}", self.name),
            }
        }
        panic!("{}: {css} never holds still", self.name);
    }

    async fn text(&self) -> String {
        // Not through an element, which a page that is changing may lose.
        let text = self
            .client
            .execute("return document.body.innerText", vec![]);
        text.await.unwrap().as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the browser is at `path`: a form's answer has arrived.
    async fn arrive(&self, path: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.client.current_url().await.unwrap().path() != path {
            assert!(Instant::now() < until, "{}: never at {path}", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a text; without scripts by loading the page again.
    async fn wait_for(&self, text: &str) {
        let began = Instant::now();
        let until = began + Duration::from_secs(20);
        loop {
            let now = self.text().await;
            if now.contains(text) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{}: never said {text:?}, but:\n{now}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(100));
            // Not at once: loading again would end a form that is on its way.
            if !self.script && began.elapsed() > Duration::from_secs(1) {
                self.client.refresh().await.unwrap();
            }
        }
    }

    /// Looks at the page: a picture, and what any page must keep.
    async fn look(&mut self, what: &str) {
        self.shot += 1;
        let file = self
            .shots
            .join(format!("{}-{:02}-{what}.png", self.name, self.shot));
        std::fs::write(&file, self.client.screenshot().await.unwrap()).unwrap();
        // WebDriver's own scripts run even where the page's may not.
        let found = self
            .client
            .execute(
                "const all = (s) => [...document.querySelectorAll(s)];
                 const named = (e) => e.labels?.length || e.ariaLabel || e.type === 'hidden' || e.closest('label');
                 return {
                   wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                   h1: all('h1').length,
                   lang: document.documentElement.lang,
                   nameless: all('input').filter((e) => !named(e)).length,
                   pictureless: all('img').filter((e) => !e.alt).length,
                   empty: all('button, a').filter((e) => !e.textContent.trim()).length,
                   small: all('button, .button, summary').filter((e) => e.getBoundingClientRect().height > 0
                     && !e.classList.contains('link') && e.getBoundingClientRect().height < 44).length,
                   ids: all('[id]').length - new Set(all('[id]').map((e) => e.id)).size,
                 };",
                vec![],
            )
            .await
            .unwrap();
        let expected = json!({ "wide": 0, "h1": 1, "lang": "en", "nameless": 0, "pictureless": 0,
            "empty": 0, "small": 0, "ids": 0 });
        assert_eq!(found, expected, "{} at {what}", self.name);
        let log: Value = self.client.issue_cmd(BrowserLog).await.unwrap();
        let complaints: Vec<&Value> = log
            .as_array()
            .into_iter()
            .flatten()
            // A refused password answers 401, a wrong code 404: meant so.
            .filter(|l| {
                !l["message"]
                    .as_str()
                    .unwrap_or_default()
                    .contains("responded with a status of 4")
            })
            .collect();
        assert!(
            complaints.is_empty(),
            "{} at {what}: {complaints:?}",
            self.name
        );
    }
}

/// The whole story of one person with a set-top box, as they see it.
async fn story(world: &World, driver: &Driver, name: &'static str, width: u32, script: bool) {
    let shots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    println!("{name}: screenshots in {}", shots.display());
    let client = driver.open(width, script).await;
    let mut p = Person {
        world,
        client,
        name,
        script,
        shots,
        shot: 0,
    };

    // Signing in: first wrongly. The password is in no answer.
    p.go("/").await;
    p.look("login").await;
    p.type_into("#email", "alexandra@example.com").await;
    p.type_into("#password", "not this one").await;
    p.click("main button").await;
    p.wait_for("password is wrong").await;
    assert!(!p.client.source().await.unwrap().contains("not this one"));
    p.look("login-wrong").await;
    p.type_into("#password", "correct horse battery").await;
    p.click("main button").await;
    p.wait_for("Your Account").await;
    p.go("/account").await;
    p.wait_for("ending in 8861").await;
    assert!(
        !p.text().await.contains("4929"),
        "the whole card number on a page"
    );
    p.look("account").await;

    // Activation.
    let mut tv = world.device("tv", "stb");
    tv.start(false).unwrap();
    let shown = tv.wait("code", |_| true).unwrap();
    p.go("/activate").await;
    p.look("activate").await;
    p.type_into("#code", "BBBB-BBBB").await;
    p.click("main button").await;
    p.wait_for("No screen shows this code now").await;
    p.look("activate-wrong").await;
    p.type_into("#code", &shown["code"].as_str().unwrap().to_lowercase())
        .await;
    p.click("main button").await;
    p.wait_for("Is this your device?").await;
    p.wait_for(shown["pictogram"].as_str().unwrap()).await;
    p.look("confirm").await;
    p.click("button[value=allow]").await;
    p.arrive("/account/devices").await;
    p.wait_for("Active").await;
    tv.wait_state("active").unwrap();
    p.look("devices").await;

    // A name of one's own, hostile to careless templates.
    p.click("summary").await;
    p.type_into("input[name=name]", "Bed <b>& \"TV\"</b>").await;
    p.click("details button").await;
    p.wait_for("Bed <b>& \"TV\"</b>").await;

    // Removal while the box is offline, then its plug comes back.
    tv.type_line("network off").unwrap();
    p.click("a.danger").await;
    p.wait_for("This cannot be undone").await;
    p.look("remove").await;
    p.click("main button.danger").await;
    p.arrive("/account/devices").await;
    p.wait_for("Removal ordered").await;
    p.look("removal-ordered").await;
    p.client
        .execute("window.sameDocument = true", vec![])
        .await
        .unwrap();
    tv.type_line("network on").unwrap();
    p.wait_for("Proven wiped").await;
    let same = p
        .client
        .execute("return window.sameDocument === true", vec![])
        .await
        .unwrap();
    assert_eq!(
        same,
        json!(script),
        "live with a script, by loading again without"
    );
    p.look("proven-wiped").await;
    p.click("a[href$='/receipt']").await;
    p.wait_for("Receipt of a wipe").await;
    p.look("receipt").await;
    p.go("/account/activity").await;
    p.wait_for("A device proved that it is wiped").await;
    p.look("activity").await;

    // A new policy, and consent.
    world.running.service.store.raise_policy(2).unwrap();
    p.go("/account").await;
    p.wait_for("privacy policy has changed").await;
    p.go("/policy").await;
    p.look("policy").await;
    p.click("main button").await;
    p.arrive("/account").await;
    p.wait_for("version 2").await;

    // The computer is on the list; signing out takes it off.
    p.go("/account/devices").await;
    p.wait_for("this computer").await;
    p.click("nav button").await;
    p.arrive("/login").await;
    p.wait_for("On a public or shared computer").await;
    let account = world.running.service.check_password(
        "alexandra@example.com",
        "correct horse battery",
        "127.0.0.1",
    );
    let computers = world
        .running
        .service
        .store
        .computers(account.unwrap())
        .unwrap();
    assert!(computers.is_empty());
    p.go("/nothing/here").await;
    p.look("nothing-here").await;
    p.client.close().await.unwrap();
}

fn tell(name: &'static str, width: u32, script: bool) {
    let Some(driver) = Driver::start() else {
        return;
    };
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(story(&world, &driver, name, width, script));
}

#[test]
fn the_pages_tell_the_story_on_a_desktop() {
    tell("desktop", 1200, true);
}

#[test]
fn the_pages_tell_the_story_on_a_phone() {
    tell("phone", 360, true);
}

#[test]
fn the_pages_tell_the_story_without_scripts() {
    tell("no-script", 1200, false);
}

#[test]
fn the_pages_can_be_used_by_keyboard_alone() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = driver.open(1200, true).await;
        let url = format!("http://localhost:{}/login", world.running.pages_port);
        client.goto(&url).await.unwrap();
        let tab = "\u{e004}";
        let active = async |client: &Client| client.active_element().await.unwrap();
        let body = client.find(Locator::Css("body")).await.unwrap();
        body.send_keys(tab).await.unwrap();
        assert_eq!(
            active(&client).await.text().await.unwrap(),
            "Skip to content"
        );
        // Past the brand to the form.
        for _ in 0..2 {
            active(&client).await.send_keys(tab).await.unwrap();
        }
        active(&client)
            .await
            .send_keys("alexandra@example.com")
            .await
            .unwrap();
        active(&client).await.send_keys(tab).await.unwrap();
        active(&client)
            .await
            .send_keys("correct horse battery\u{e007}")
            .await
            .unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while !client
            .current_url()
            .await
            .unwrap()
            .path()
            .starts_with("/account")
        {
            assert!(Instant::now() < until, "the form was not sent");
            std::thread::sleep(Duration::from_millis(50));
        }
        client.close().await.unwrap();
    });
}
