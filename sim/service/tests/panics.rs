//! A panic in a worker or a handler is a fault of this program: the person
//! reads so, the device hears 500, and the log has the place. It used to be
//! told as "too late" (409).

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use nrd_sim_base::sample::Samples;
use nrd_sim_service::desk::Condition;
use nrd_sim_service::host::{Host, System};
use nrd_sim_service::pages::{AppState, ByCable, DeskState, Neighbour, Site, pages_and_device_api};
use nrd_sim_service::server::{Ports, Running, ServerOptions, start_with};
use nrd_sim_service::store::Store;
use nrd_sim_service::{Error, Result, Service, ServicePaths, Settings, blocking};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tower::Service as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What a panic message may hold, and no log.
const PERSONAL: &str = "ann@example.org";

/// The machine, until it is told to panic.
struct Panicking(Arc<AtomicBool>);

impl Host for Panicking {
    fn now_s(&self) -> u64 {
        assert!(!self.0.load(Ordering::SeqCst), "{PERSONAL}");
        System.now_s()
    }

    fn fill(&self, out: &mut [u8]) -> Result<()> {
        assert!(!self.0.load(Ordering::SeqCst), "{PERSONAL}");
        System.fill(out)
    }
}

/// Brings a desk, and no device.
struct Nobody;

impl Neighbour for Nobody {
    fn pages(self: Arc<Self>, _: DeskState) -> Router {
        Router::new()
    }

    fn devices(&self) -> Vec<(String, Condition)> {
        Vec::new()
    }

    fn by_cable(&self, _: &str, _: &str) -> Option<ByCable> {
        None
    }
}

/// Keeps the errors of the log, a line each.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Errors {
    fn enabled(&self, m: &Metadata<'_>) -> bool {
        *m.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A running service whose clock panics on demand.
struct World {
    running: Running,
    panic: Arc<AtomicBool>,
    errors: Errors,
    _dir: tempfile::TempDir,
    /// The log belongs to the process: one test at a time.
    _turn: MutexGuard<'static, ()>,
}

impl World {
    fn new() -> World {
        static TURN: Mutex<()> = Mutex::new(());
        static ERRORS: std::sync::OnceLock<Errors> = std::sync::OnceLock::new();
        let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        let errors = ERRORS.get_or_init(|| {
            let errors = Errors::default();
            tracing::subscriber::set_global_default(errors.clone()).unwrap();
            errors
        });
        errors.0.lock().unwrap().clear();
        let dir = tempfile::tempdir().unwrap();
        let panic = Arc::new(AtomicBool::new(false));
        let host = Panicking(panic.clone());
        let paths = ServicePaths::folder(dir.path());
        let service = Service::open_with(&paths, Settings::default(), host).unwrap();
        service.add_samples(&Samples::read(None).unwrap()).unwrap();
        let options = ServerOptions {
            neighbour: Some(Arc::new(Nobody)),
            ..ServerOptions::default()
        };
        let ports = Ports { tls: 0, pages: 0 };
        let running = start_with(service, dir.path(), ports, options).unwrap();
        World {
            running,
            panic,
            errors: errors.clone(),
            _dir: dir,
            _turn: turn,
        }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        // A cookie, so that the worker that looks the session up asks the clock.
        let url = format!("http://127.0.0.1:{}{path}", self.running.pages_port);
        let port = self.running.pages_port;
        let cookie = format!("session-{port}={}", "a7".repeat(32));
        let mut answer = agent.get(&url).header("Cookie", &cookie).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    }

    /// The one error of the log since the last call.
    fn logged(&self) -> String {
        let mut lines = std::mem::take(&mut *self.errors.0.lock().unwrap());
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }
}

/// The fault is told as one: on the page, and in the log with its place.
fn is_told(world: &World, status: u16, page: &str) {
    assert_eq!(status, 500, "{page}");
    assert!(page.contains("Something went wrong on our side"), "{page}");
    assert!(
        !page.contains("Too late") && !page.contains(PERSONAL),
        "{page}"
    );
    let log = world.logged();
    assert!(log.contains("panic at"), "{log}");
    assert!(
        log.contains("tests/panics.rs:"),
        "the place is named: {log}"
    );
    assert!(!log.contains(PERSONAL), "{log}");
}

#[test]
fn a_panic_in_a_worker_is_told_as_a_fault_of_this_program() {
    let world = World::new();
    assert_eq!(world.get("/login").0, 200);
    world.panic.store(true, Ordering::SeqCst);
    let (status, page) = world.get("/login");
    is_told(&world, status, &page);
    // It concerns that request alone.
    world.panic.store(false, Ordering::SeqCst);
    assert_eq!(world.get("/login").0, 200);
    assert!(world.errors.0.lock().unwrap().is_empty());
}

#[test]
fn a_panic_in_a_handler_is_told_as_a_fault_of_this_program() {
    let world = World::new();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into();
    let url = format!("http://127.0.0.1:{}/desk", world.running.pages_port);
    let form = [("device_id", "NRD-1"), ("depth", "quick")];
    assert_eq!(agent.post(&url).send_form(form).unwrap().status(), 303);
    // The desk asks the clock on the handler's own thread.
    world.panic.store(true, Ordering::SeqCst);
    let mut answer = agent.post(&url).send_form(form).unwrap();
    let page = answer.body_mut().read_to_string().unwrap();
    is_told(&world, answer.status().as_u16(), &page);
    let policy = answer.headers().get("content-security-policy");
    assert!(policy.is_some(), "the page has the headers of every page");
    world.panic.store(false, Ordering::SeqCst);
    assert_eq!(agent.post(&url).send_form(form).unwrap().status(), 303);
}

#[test]
fn a_device_is_answered_500_and_not_503_after_a_panic() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let state = AppState {
        service: world.running.service.clone(),
        desk: world.running.desk.clone(),
        neighbour: None,
        photos: Default::default(),
        devices: runtime.handle().clone(),
        site: Site::local(true, 1),
    };
    let mut api = pages_and_device_api(state);
    let mut post = || {
        let mut request = Request::post(nrd_agent::tls::PATH)
            .body(Body::from("no frame"))
            .unwrap();
        let from = SocketAddr::from(([192, 0, 2, 7], 1));
        request.extensions_mut().insert(ConnectInfo(from));
        runtime.block_on(api.call(request)).unwrap().status()
    };
    // A refusal is an answer.
    assert_eq!(post(), 200);
    world.panic.store(true, Ordering::SeqCst);
    assert_eq!(post(), 500);
    let log = world.logged();
    assert!(log.contains("a device was not answered"), "{log}");
    assert!(
        log.contains("panic at sim/service/tests/panics.rs:"),
        "{log}"
    );
    assert!(!log.contains(PERSONAL), "{log}");
    world.panic.store(false, Ordering::SeqCst);
    assert_eq!(post(), 200);
}

#[test]
fn a_panic_in_the_store_is_no_fault_of_the_database_and_takes_nothing_along() {
    let store = Store::in_memory().unwrap();
    let panicked = store.add_account(&[1; 32], "", 1, |_| panic!("{PERSONAL}"));
    match panicked {
        Err(Error::Internal(what)) => {
            assert!(what.contains("panics.rs:"), "{what}");
            assert!(!what.contains(PERSONAL), "{what}");
        }
        other => panic!("{other:?}"),
    }
    store
        .add_account(&[1; 32], "", 1, |_| Ok(Default::default()))
        .unwrap();
}

#[test]
fn a_worker_answers_what_its_work_answers() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        assert_eq!(blocking(|| Ok(7)).await.unwrap(), 7);
        let late = blocking(|| Err::<(), _>(Error::WrongState)).await;
        assert!(matches!(late, Err(Error::WrongState)));
        let panicked = blocking(|| -> Result<()> { panic!() }).await;
        assert!(matches!(panicked, Err(Error::Internal(_))), "{panicked:?}");
    });
}
