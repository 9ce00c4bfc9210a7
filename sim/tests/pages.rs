//! What the pages refuse: forms of other sites, other people's devices, what
//! is too large (attack 24).

mod common;

use common::World;
use nrd_sim::demo::Browser;
use ureq::Agent;

struct Raw {
    agent: Agent,
    base: String,
}

struct Answer {
    status: u16,
    text: String,
    location: String,
    cookies: Vec<String>,
    policy: String,
}

impl Raw {
    fn new(world: &World) -> Raw {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // A connection that the service closes after a refusal is not used
            // again.
            .max_idle_connections(0)
            .build();
        Raw {
            agent: config.into(),
            base: format!("http://localhost:{}", world.running.pages_port),
        }
    }

    fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut answer = answer.unwrap();
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (location, policy) = (header("location"), header("content-security-policy"));
        let cookies = answer.headers().get_all("set-cookie").iter();
        let cookies = cookies.map(|c| c.to_str().unwrap().to_owned()).collect();
        Answer {
            status: answer.status().as_u16(),
            text: answer.body_mut().read_to_string().unwrap_or_default(),
            location,
            cookies,
            policy,
        }
    }

    fn get(&self, path: &str) -> Answer {
        Raw::read(self.agent.get(format!("{}{path}", self.base)).call())
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Raw::read(request.send_form(form.iter().copied()))
    }

    fn sign_in(&self, email: &str, password: &str) -> Answer {
        let csrf = field(&self.get("/login").text);
        let form = [
            ("csrf", csrf.as_str()),
            ("email", email),
            ("password", password),
            ("remember", "yes"),
        ];
        self.post("/login", &[], &form)
    }
}

fn field(html: &str) -> String {
    let rest = html
        .split("name=\"csrf\" value=\"")
        .nth(1)
        .expect("a form with its token");
    rest.split('"').next().unwrap().to_owned()
}

const A: (&str, &str) = ("alexandra@example.com", "correct horse battery");
const B: (&str, &str) = ("bilal@example.com", "another staple entirely");

#[test]
fn attack_24_forms_of_other_sites_change_nothing() {
    let world = World::new();
    let mut tv = world.device("tv", "stb");
    tv.start(false).unwrap();
    let code = tv.wait("code", |_| true).unwrap()["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let browser = Browser::new(&world.running.pages_url());
    browser.sign_in(A.0, A.1, false).unwrap();
    browser
        .activate(&code, "Virtual set-top box", true)
        .unwrap();
    tv.wait_state("active").unwrap();

    let raw = Raw::new(&world);
    assert_eq!(raw.sign_in(A.0, A.1).status, 303);
    let list = raw.get("/account/devices");
    let csrf = field(&list.text);
    let remove = list
        .text
        .split("href=\"")
        .find_map(|h| h.split('"').next().filter(|h| h.ends_with("/remove")))
        .unwrap()
        .to_owned();
    let host = raw.base.clone();
    let refused: [(&[(&str, &str)], &str); 7] = [
        (&[], ""),
        (&[], "0000"),
        (&[("Origin", "https://evil.example")], &csrf),
        (&[("Origin", "null")], &csrf),
        (&[("Sec-Fetch-Site", "cross-site")], &csrf),
        (&[("Sec-Fetch-Site", "same-site")], &csrf),
        (&[("Origin", "http://localhost:1")], &csrf),
    ];
    for path in [remove.as_str(), "/account/devices/remove-all", "/logout"] {
        for (headers, token) in refused {
            let answer = raw.post(path, headers, &[("csrf", token)]);
            assert_eq!(answer.status, 403, "{path} {headers:?} {token:?}");
            assert!(answer.text.contains("Nothing was changed"));
        }
    }
    // Another person's form token is worth nothing either.
    let other = Raw::new(&world);
    other.sign_in(B.0, B.1);
    let theirs = field(&other.get("/account/devices").text);
    assert_eq!(raw.post(&remove, &[], &[("csrf", &theirs)]).status, 403);
    // Looking removes nothing.
    assert_eq!(raw.get(&remove).status, 200);
    assert!(
        browser
            .entry("Virtual set-top box")
            .unwrap()
            .contains("<strong>Active</strong>")
    );
    // Nor does another account's own, good form.
    assert_eq!(other.post(&remove, &[], &[("csrf", &theirs)]).status, 404);
    assert_eq!(other.get(&remove).status, 404);
    assert_eq!(
        other.get(&remove.replace("/remove", "/receipt")).status,
        404
    );
    assert!(
        browser
            .entry("Virtual set-top box")
            .unwrap()
            .contains("<strong>Active</strong>")
    );
    // The owner's own form does it.
    let done = raw.post(
        &remove,
        &[("Origin", host.as_str()), ("Sec-Fetch-Site", "same-origin")],
        &[("csrf", &csrf)],
    );
    assert_eq!(done.status, 303);
    tv.wait_state("clean").unwrap();
}

#[test]
fn nobody_gets_in_without_signing_in_and_nobody_is_sent_elsewhere() {
    let world = World::new();
    let raw = Raw::new(&world);
    for path in [
        "/account",
        "/account/devices",
        "/activate",
        "/account/activity",
        "/policy",
        "/account/live",
    ] {
        let answer = raw.get(path);
        assert_eq!(answer.status, 303, "{path}");
        assert_eq!(answer.location, format!("/login?next={path}"));
    }
    assert!(raw.get("/login").policy.contains("default-src 'none'"));
    // A form that was not loaded in this browser.
    let form = [("csrf", "00"), ("email", A.0), ("password", A.1)];
    assert_eq!(raw.post("/login", &[], &form).status, 403);
    let csrf = field(&raw.get("/login").text);
    let form = [
        ("csrf", csrf.as_str()),
        ("email", A.0),
        ("password", A.1),
        ("next", "https://evil.example/"),
    ];
    assert_eq!(raw.post("/login", &[], &form).location, "/account/devices");
}

#[test]
fn cookies_are_closed_to_scripts_and_signing_out_ends_them() {
    let world = World::new();
    let raw = Raw::new(&world);
    let answer = raw.sign_in(A.0, A.1);
    assert_eq!(answer.cookies.len(), 3);
    for c in &answer.cookies {
        assert!(
            c.contains("HttpOnly") && c.contains("SameSite=Lax") && c.contains("Path=/"),
            "{c}"
        );
    }
    let cookies: Vec<&str> = answer
        .cookies
        .iter()
        .map(|c| c.split(';').next().unwrap())
        .collect();
    let stolen = cookies.join("; ");
    let thief = Raw::new(&world);
    let with = |raw: &Raw| {
        Raw::read(
            raw.agent
                .get(format!("{}/account", raw.base))
                .header("Cookie", &stolen)
                .call(),
        )
        .status
    };
    assert_eq!(with(&thief), 200);
    let csrf = field(&raw.get("/account").text);
    assert_eq!(
        raw.post("/logout", &[], &[("csrf", &csrf)]).location,
        "/login"
    );
    assert_eq!(
        with(&thief),
        303,
        "session and remembered computer are both gone"
    );
}

#[test]
fn two_tabs_of_the_login_page_both_work_and_so_does_a_reload() {
    let world = World::new();
    let raw = Raw::new(&world);
    let first = field(&raw.get("/login").text);
    let second = raw.get("/login");
    let with = |password: &str| {
        let form = [
            ("csrf", first.as_str()),
            ("email", "alexandra@example.com"),
            ("password", password),
        ];
        raw.post("/login", &[], &form)
    };
    assert_eq!(with("not this one").status, 401);
    assert_eq!(with("not this one").status, 401, "the same form again");
    let answer = with("correct horse battery");
    assert_eq!(
        (answer.status, answer.location.as_str()),
        (303, "/account/devices")
    );
    // Another browser's page has another token.
    assert_ne!(field(&Raw::new(&world).get("/login").text), first);
    assert_eq!(field(&second.text), first);
}

#[test]
fn nonsense_gets_a_page_with_advice_not_a_failure() {
    let world = World::new();
    let raw = Raw::new(&world);
    raw.sign_in(A.0, A.1);
    let csrf = field(&raw.get("/account").text);
    for path in [
        "/account/devices/zz/remove",
        "/account/devices/00000000000000000000000000000000/remove",
        "/account/devices/%F0%9F/receipt",
        "/account/devices/é/receipt.bin",
        "/pictogram/16",
        "/no/such/page",
    ] {
        let answer = raw.get(path);
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {}",
            answer.status
        );
    }
    let long = "x".repeat(100_000);
    // The service may hang up before it has read it all; then the client may
    // not see the answer.
    let url = format!("{}/activate", raw.base);
    let form = [("csrf", csrf.as_str()), ("code", long.as_str())];
    let refused = (0..10).find_map(|_| raw.agent.post(&url).send_form(form).ok());
    assert_eq!(refused.unwrap().status().as_u16(), 413);
    let answer = raw.post("/activate", &[], &[("csrf", &csrf)]);
    assert_eq!(answer.status, 422);
    let answer = raw.post(
        "/activate",
        &[],
        &[("csrf", &csrf), ("code", "\u{0}é\u{202e}<script>")],
    );
    assert_eq!(answer.status, 404);
    assert!(answer.text.contains("No screen shows this code now"));
    let answer = raw.post("/policy", &[], &[("csrf", &csrf), ("version", "7")]);
    assert_eq!(answer.status, 409);
}
