//! Every form sent twice, consent as it was shown, and a removal of all devices that
//! stops half way; over HTTP, with devices that are rows alone.

use nrd_sim_base::sample::{Sample, Samples};
use nrd_sim_service::events::EventKind;
use nrd_sim_service::server::{Ports, Running, ServerOptions, start_with};
use nrd_sim_service::store::{AccountId, ActivationPhase};
use nrd_sim_service::{Service, Settings};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use ureq::Agent;

struct Site {
    running: Running,
    holder: Sample,
    account: AccountId,
    dir: TempDir,
}

/// What a browser shows after a form.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    status: u16,
    /// The page's heading.
    heading: String,
}

struct Browser<'s> {
    agent: Agent,
    site: &'s Site,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::open(dir.path(), Settings::default()).unwrap();
        let samples = Samples::read(None).unwrap();
        service.add_samples(&samples).unwrap();
        let ports = Ports { tls: 0, pages: 0 };
        let running = start_with(service, dir.path(), ports, ServerOptions::default()).unwrap();
        let holder = samples.accounts.into_iter().next().unwrap();
        let checked = running
            .service
            .check_password(&holder.email, &holder.password, "192.0.2.1");
        Site {
            account: checked.unwrap(),
            running,
            holder,
            dir,
        }
    }

    fn service(&self) -> &Arc<Service> {
        &self.running.service
    }

    fn db(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("service.db")).unwrap()
    }

    /// A device whose activation is in `phase`, with this code on its screen.
    fn device(&self, n: u8, phase: &str, code: Option<&str>) -> [u8; 16] {
        let (id, now) = ([n; 16], self.service().now_s());
        let account = (phase != "pending").then_some(self.account.0);
        let db = self.db();
        db.execute(
            "INSERT INTO devices (id, public_key, model, kind, agent_version, last_seen) \
             VALUES (?1, zeroblob(32), 'Box', 'set-top-box', '1.0.0', ?2)",
            (format!("NRD-{n}"), now),
        )
        .unwrap();
        db.execute(
            "INSERT INTO activations (id, device, epoch, account, phase, code, pictogram, \
             created, approved, policy, series) \
             VALUES (?1, ?2, 0, ?3, ?4, ?5, 0, ?6, ?6, 1, ?1)",
            (id, format!("NRD-{n}"), account, phase, code, now),
        )
        .unwrap();
        id
    }

    fn phase(&self, id: [u8; 16]) -> ActivationPhase {
        let row = self.service().store.activation(&id).unwrap();
        row.unwrap().phase
    }

    fn entries(&self, kind: EventKind) -> usize {
        let events = self.service().events(self.account, 200).unwrap();
        events.iter().filter(|e| e.kind == kind).count()
    }

    fn orders(&self) -> u32 {
        let sql = "SELECT count(*) FROM orders";
        self.db().query_row(sql, [], |r| r.get(0)).unwrap()
    }

    fn browser(&self) -> Browser<'_> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Browser {
            agent: config.into(),
            site: self,
        }
    }

    fn signed_in(&self) -> Browser<'_> {
        let browser = self.browser();
        let (email, password) = (&self.holder.email, &self.holder.password);
        let login = [("email", email.as_str()), ("password", password.as_str())];
        let shown = browser.twice("/login", "/login", &login);
        assert_eq!(shown.heading, "Manage Netflix ready devices and computers");
        browser
    }
}

impl Browser<'_> {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.site.running.pages_port)
    }

    fn get(&self, path: &str) -> String {
        let mut answer = self.agent.get(self.url(path)).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    /// Fills in the form of `html` that posts to `action`, and sends it.
    fn submit(&self, html: &str, action: &str, fields: &[(&str, &str)]) -> (Shown, String) {
        let form = html
            .split("<form")
            .find(|form| form.contains(&format!("action=\"{action}\"")));
        let form = form.unwrap_or_else(|| panic!("no form for {action} in:\n{html}"));
        let form = form.split("</form").next().unwrap();
        let value = |input: &str, name: &str| {
            let rest = input.split(&format!("{name}=\"")).nth(1)?;
            Some(rest.split('"').next()?.to_owned())
        };
        let hidden = form
            .split("<input")
            .filter(|i| i.contains("type=\"hidden\""));
        let mut all: Vec<(String, String)> = hidden
            .map(|i| (value(i, "name").unwrap(), value(i, "value").unwrap()))
            .collect();
        all.extend(fields.iter().map(|(n, v)| ((*n).into(), (*v).into())));
        let pairs = all.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let mut answer = self.agent.post(self.url(action)).send_form(pairs).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let heading = text.split("<h1>").nth(1).unwrap_or_default();
        let shown = Shown {
            status: answer.status().as_u16(),
            heading: heading.split('<').next().unwrap_or_default().to_owned(),
        };
        (shown, text)
    }

    /// Sends the same form three times, as impatient people do: each time the same
    /// answer.
    fn twice_from(&self, html: &str, action: &str, fields: &[(&str, &str)]) -> Shown {
        let (first, _) = self.submit(html, action, fields);
        for _ in 0..2 {
            let (again, text) = self.submit(html, action, fields);
            assert_eq!(again, first, "{action}:\n{text}");
        }
        assert_eq!(first.status, 200, "{action}");
        first
    }

    fn twice(&self, at: &str, action: &str, fields: &[(&str, &str)]) -> Shown {
        self.twice_from(&self.get(at), action, fields)
    }
}

const LIST: &str = "/account/devices";

#[test]
fn a_form_that_is_sent_twice_gets_the_answer_of_the_first() {
    let site = Site::new();
    let browser = site.signed_in();
    let service = site.service();
    let allowed = site.device(1, "pending", Some("BBBBBBBB"));
    let declined = site.device(2, "pending", Some("CCCCCCCC"));
    for (code, decision) in [("BBBBBBBB", "allow"), ("CCCCCCCC", "decline")] {
        let code = [("code", code)];
        let html = browser.get("/activate");
        let (_, question) = browser.submit(&html, "/activate", &code);
        browser.twice_from(&question, "/activate/confirm", &[("decision", decision)]);
    }
    assert_eq!(site.phase(allowed), ActivationPhase::Approved);
    assert_eq!(site.phase(declined), ActivationPhase::Ended);
    assert_eq!(site.entries(EventKind::Activated), 1);
    assert_eq!(site.entries(EventKind::Declined), 1);
    // Nobody waits because of a second press of "allow".
    assert!(service.look_up_code(site.account, "DDDDDDDD").is_err());

    let path = |id: [u8; 16], what: &str| format!("{LIST}/{}/{what}", nrd_sim_base::hex(&id));
    browser.twice(LIST, &path(allowed, "rename"), &[("name", "Kitchen")]);
    let active = site.device(3, "active", None);
    let form = browser.get(LIST);
    browser.twice_from(&form, &path(active, "sign-out"), &[]);
    assert_eq!(
        (site.entries(EventKind::SignOutOrdered), site.orders()),
        (1, 1)
    );
    // The device was faster than the second press, in each way it can be.
    let sql = "UPDATE orders SET outcome = 'applied'; \
               UPDATE activations SET phase = 'signed-out' WHERE phase = 'active'";
    site.db().execute_batch(sql).unwrap();
    browser.submit(&form, &path(active, "sign-out"), &[]);
    assert_eq!(site.orders(), 1, "it has signed out");
    let ask = browser.get(&path(active, "remove"));
    browser.twice_from(&ask, &path(active, "remove"), &[]);
    assert_eq!(
        (site.entries(EventKind::RemovalOrdered), site.orders()),
        (1, 2)
    );
    for phase in ["delivered", "wiped", "wipe-failed", "ended"] {
        let sql = "UPDATE activations SET phase = ?1 WHERE phase NOT IN ('approved', 'active')";
        site.db().execute(sql, [phase]).unwrap();
        let (shown, _) = browser.submit(&ask, &path(active, "remove"), &[]);
        assert_eq!(shown.status, 200, "{phase}");
        let again = browser.get(&path(active, "remove"));
        assert!(again.contains("<h1>Manage"), "the question has an answer");
    }
    assert_eq!(site.orders(), 2);
    browser.twice(LIST, &path(active, "hide"), &[]);

    site.device(4, "active", None);
    let ask = browser.get(&format!("{LIST}/remove-all"));
    browser.twice_from(&ask, &format!("{LIST}/remove-all"), &[]);
    assert_eq!(site.entries(EventKind::RemovalOrdered), 3);

    service.store.raise_policy(2).unwrap();
    browser.twice("/policy", "/policy", &[]);
    assert_eq!(site.entries(EventKind::Consented), 1);

    let elsewhere = service.sign_in(site.account, true, "Firefox", "192.0.2.1");
    let cookie = elsewhere.unwrap().remember.unwrap();
    let forget = format!("/account/computers/{}/remove", &cookie[..32]);
    browser.twice(LIST, &forget, &[]);
    assert_eq!(site.entries(EventKind::ComputerRemoved), 1);
    let list = browser.get(LIST);
    for _ in 0..2 {
        let (shown, page) = browser.submit(&list, "/logout", &[]);
        assert_eq!(shown.heading, "Sign in");
        assert!(!page.contains("not carried out"), "{page}");
    }
}

/// FINDINGS S14: recorded was the version in force at the click.
#[test]
fn consent_is_recorded_for_the_policy_that_was_shown() {
    let site = Site::new();
    let browser = site.signed_in();
    let service = site.service();
    let id = site.device(1, "pending", Some("BBBBBBBB"));
    let html = browser.get("/activate");
    let (_, question) = browser.submit(&html, "/activate", &[("code", "BBBBBBBB")]);
    service.store.raise_policy(2).unwrap();
    let allow = [("decision", "allow")];
    let (shown, again) = browser.submit(&question, "/activate/confirm", &allow);
    assert_eq!(shown.status, 409);
    assert!(again.contains("Read version 2, then decide"), "{again}");
    assert_eq!(site.phase(id), ActivationPhase::Pending);
    // A version that nobody was shown is none either.
    let forged = again.replace("name=\"policy\" value=\"2\"", "name=\"policy\" value=\"3\"");
    let (shown, _) = browser.submit(&forged, "/activate/confirm", &allow);
    assert_eq!(
        (shown.status, site.phase(id)),
        (409, ActivationPhase::Pending)
    );
    browser.twice_from(&again, "/activate/confirm", &allow);
    let row = service.store.activation(&id).unwrap().unwrap();
    assert_eq!((row.phase, row.policy), (ActivationPhase::Approved, 2));

    // The policy's own page.
    let page = browser.get("/policy");
    service.store.raise_policy(3).unwrap();
    let (shown, _) = browser.submit(&page, "/policy", &[]);
    assert_eq!(shown.status, 409);
    assert_eq!(service.account(site.account).unwrap().policy, 1);
    browser.twice("/policy", "/policy", &[]);
    assert_eq!(service.account(site.account).unwrap().policy, 3);
}

/// FINDINGS S16: "nothing was done", though 120 removals were ordered.
#[test]
fn a_removal_of_all_devices_that_stops_half_way_says_what_it_did() {
    let site = Site::new();
    let browser = site.signed_in();
    let devices: Vec<_> = (1..=5).map(|n| site.device(n, "active", None)).collect();
    let all = format!("{LIST}/remove-all");
    let ask = browser.get(&all);
    let trigger = "CREATE TRIGGER no_more BEFORE INSERT ON orders \
                   WHEN (SELECT count(*) FROM orders) >= 2 \
                   BEGIN SELECT RAISE(ABORT, 'no more'); END";
    site.db().execute_batch(trigger).unwrap();
    let (shown, text) = browser.submit(&ask, &all, &[]);
    assert_eq!(shown.status, 503);
    assert!(
        text.contains("The removal of 2 devices was ordered, and stays ordered."),
        "{text}"
    );
    assert!(text.contains("those of 3 devices were not."), "{text}");
    let ordered = |site: &Site| {
        let removing = |id: &&[u8; 16]| site.phase(**id) == ActivationPhase::Removing;
        devices.iter().filter(removing).count()
    };
    assert_eq!(ordered(&site), 2);
    // Pressed again, nothing at all: then it says that.
    let (_, text) = browser.submit(&ask, &all, &[]);
    assert!(
        text.contains("Nothing was changed, and nothing was removed"),
        "{text}"
    );
    site.db().execute_batch("DROP TRIGGER no_more").unwrap();
    browser.twice_from(&ask, &all, &[]);
    assert_eq!((ordered(&site), site.orders()), (5, 5));
}
