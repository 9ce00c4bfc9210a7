//! A real Chromium, driven by ChromeDriver, and a person who uses it.

use super::axe;
use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a page may take to say what it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ChromeDriver that ends with its test.
pub(crate) struct Driver {
    process: Process,
    port: u16,
}

/// How a browser window is opened.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) script: bool,
    pub(crate) dark: bool,
}

impl Window {
    pub(crate) const DESKTOP: Window = Window {
        width: 1200,
        height: 900,
        script: true,
        dark: false,
    };
    pub(crate) const PHONE: Window = Window {
        width: 360,
        height: 780,
        ..Window::DESKTOP
    };

    fn phone(self) -> bool {
        self.width < 500
    }
}

impl Driver {
    /// `None` where there is no ChromeDriver, said loudly; a failure where
    /// everything is required.
    pub(crate) fn start() -> Option<Driver> {
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

    pub(crate) async fn open(&self, window: Window) -> Client {
        let mut caps = Capabilities::new();
        let prefs = if window.script {
            json!({})
        } else {
            json!({ "profile.managed_default_content_settings.javascript": 2 })
        };
        let mut args: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ]
        .map(String::from)
        .to_vec();
        args.push(format!("--window-size={},{}", window.width, window.height));
        if window.dark {
            args.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let mut options = json!({ "args": args, "prefs": prefs });
        if window.phone() {
            // A headless window is no narrower than 500; a phone is.
            options["mobileEmulation"] = json!({ "deviceMetrics":
                { "width": window.width, "height": window.height, "pixelRatio": 2 } });
        }
        caps.insert("goog:chromeOptions".into(), options);
        // The proxy of a test has a certificate of its own.
        caps.insert("acceptInsecureCerts".into(), json!(true));
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
        // Asked to, it ends its browsers too, whatever became of the test.
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5)));
        let asked = ureq::Agent::from(config.build())
            .get(format!("http://127.0.0.1:{}/shutdown", self.port))
            .call();
        if asked.is_err() {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "it may have ended by itself"
            )]
            let _ = self.process.kill();
        }
        #[expect(
            clippy::let_underscore_must_use,
            reason = "it may have ended by itself"
        )]
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

/// A command of Chrome's own debugging protocol.
#[derive(Debug)]
pub(crate) struct Cdp(pub(crate) &'static str, pub(crate) Value);

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }
    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({ "cmd": self.0, "params": self.1 });
        (http::Method::POST, Some(body.to_string()))
    }
}

/// A person at a browser.
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) name: String,
    base: String,
    window: Window,
    shots: PathBuf,
    shot: u32,
}

impl Person {
    /// `base` is the pages' address.
    pub(crate) async fn at(driver: &Driver, base: &str, name: &str, window: Window) -> Person {
        let shots = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/screenshots");
        std::fs::create_dir_all(&shots).unwrap();
        println!("{name}: screenshots in {}", shots.display());
        Person {
            client: driver.open(window).await,
            name: name.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            window,
            shots,
            shot: 0,
        }
    }

    pub(crate) async fn go(&self, path: &str) {
        let url = format!("{}{path}", self.base);
        self.client.goto(&url).await.unwrap();
    }

    pub(crate) async fn find(&self, css: &str) -> Element {
        self.client
            .find(Locator::Css(css))
            .await
            .unwrap_or_else(|e| panic!("{}: no {css}: {e}", self.name))
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) {
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
    pub(crate) async fn click(&self, css: &str) {
        for _ in 0..20 {
            match self.find(css).await.click().await {
                Ok(()) => return,
                Err(e) if e.is_stale_element_reference() => {}
                Err(e) => panic!("{}: {css} is not pressed: {e}", self.name),
            }
        }
        panic!("{}: {css} never holds still", self.name);
    }

    pub(crate) async fn text(&self) -> String {
        // Not through an element, which a page that is changing may lose.
        let text = self.run("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Runs a script of the test's own: it runs even where the page's may not.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    /// Waits until what `script` returns satisfies `good`.
    pub(crate) async fn wait_until(&self, script: &str, good: impl Fn(&Value) -> bool, what: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.run(script).await;
            if good(&now) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{}: never {what:?}, but {now}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the browser is at `path`: a form's answer has arrived.
    pub(crate) async fn arrive(&self, path: &str) {
        let until = Instant::now() + PATIENCE;
        while self.client.current_url().await.unwrap().path() != path {
            assert!(Instant::now() < until, "{}: never at {path}", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a text; without scripts by loading the page again.
    pub(crate) async fn wait_for(&self, text: &str) {
        let began = Instant::now();
        let until = began + PATIENCE;
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
            if !self.window.script && began.elapsed() > Duration::from_secs(1) {
                self.client.refresh().await.unwrap();
            }
        }
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) {
        self.go("/login").await;
        self.type_into("#email", email).await;
        self.type_into("#password", password).await;
        self.click("main button").await;
        self.arrive("/account/devices").await;
    }

    /// A picture of the whole page, however long it is.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let size = self
            .run("return [document.documentElement.scrollHeight]")
            .await;
        let height = size[0]
            .as_u64()
            .unwrap_or(0)
            .max(self.window.height.into())
            .min(9000);
        let metrics = json!({ "width": self.window.width, "height": height,
            "deviceScaleFactor": 1, "mobile": self.window.phone() });
        let set = Cdp("Emulation.setDeviceMetricsOverride", metrics);
        self.client.issue_cmd(set).await.unwrap();
        let png = self.client.screenshot().await.unwrap();
        let clear = Cdp("Emulation.clearDeviceMetricsOverride", json!({}));
        self.client.issue_cmd(clear).await.unwrap();
        png
    }

    /// Looks at the page: a picture, and what any page must keep.
    pub(crate) async fn look(&mut self, what: &str) {
        self.shot += 1;
        let file = format!("{}-{:02}-{what}.png", self.name, self.shot);
        let png = self.client.screenshot().await.unwrap();
        std::fs::write(self.shots.join(file), png).unwrap();
        let found = self
            .run(
                "const all = (s) => [...document.querySelectorAll(s)];
                 const named = (e) => e.labels?.length || e.ariaLabel || e.type === 'hidden' || e.closest('label');
                 const clear = (e) => { const r = e.getBoundingClientRect(); return r.height > 0 && r.height < 43.5; };
                 return {
                   wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                   h1: all('h1').length,
                   lang: document.documentElement.lang,
                   nameless: all('input, textarea, select').filter((e) => !named(e)).length,
                   pictureless: all('img').filter((e) => !e.alt).length,
                   empty: all('button, a').filter((e) => !e.textContent.trim() && !e.ariaLabel).length,
                   small: all('main button, main .button, main summary').filter(clear).length,
                   ids: all('[id]').length - new Set(all('[id]').map((e) => e.id)).size,
                 };",
            )
            .await;
        let expected = json!({ "wide": 0, "h1": 1, "lang": "en", "nameless": 0, "pictureless": 0,
            "empty": 0, "small": 0, "ids": 0 });
        assert_eq!(found, expected, "{} at {what}", self.name);
        // axe-core waits for timers, which run only where scripts do.
        if self.window.script {
            axe::check(&self.client, &format!("{} at {what}", self.name)).await;
        }
        self.complaints(what).await;
    }

    /// The browser has nothing to complain about.
    pub(crate) async fn complaints(&self, what: &str) {
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
