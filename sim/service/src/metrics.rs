//! What an operator watches, in Prometheus' text format. No label names a
//! person, a device or an address.

use super::store::{Outbox, Store};
use super::{Result, Service};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicI64;

type Label = [(&'static str, &'static str); 1];
type Pair = [(&'static str, &'static str); 2];

/// A database's clock may differ from ours by this much, in seconds.
pub const CLOCK_TOLERANCE_S: i64 = 5;

/// Every metric.
pub struct Metrics {
    registry: Registry,
    /// Requests of devices, by what became of them.
    pub(super) requests: Family<Label, Counter>,
    /// Time to answer, waiting left out.
    pub(super) answer_s: Histogram,
    /// Time that check-ins waited for an order.
    pub(super) wait_s: Histogram,
    /// Orders entered, by kind.
    pub(super) entered: Family<Label, Counter>,
    /// Receipts kept, by what they say.
    pub(super) receipts: Family<Label, Counter>,
    /// Tokens that were copied.
    pub(super) thefts: Counter,
    /// Connections that were closed at once, by the limit that they met.
    pub(super) connections_refused: Family<Label, Counter>,
    /// Hand-overs, by outbox and result.
    handed: Family<Pair, Counter>,
    waiting: Gauge,
    streams: Gauge,
    orders: Family<Pair, Gauge>,
    backlog: Family<Label, Gauge>,
    oldest_s: Family<Label, Gauge>,
    clock: Gauge<i64, AtomicI64>,
    missing_logs: Gauge,
}

impl Metrics {
    pub(super) fn new(store: &Store) -> Metrics {
        let mut r = Registry::with_prefix("nrd");
        of_the_store(&mut r, store);
        let times = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        let m = Metrics {
            requests: Family::default(),
            answer_s: times(),
            wait_s: Histogram::new([0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 60.0]),
            entered: Family::default(),
            receipts: Family::default(),
            thefts: Counter::default(),
            connections_refused: Family::default(),
            handed: Family::default(),
            waiting: Gauge::default(),
            streams: Gauge::default(),
            orders: Family::default(),
            backlog: Family::default(),
            oldest_s: Family::default(),
            clock: Gauge::default(),
            missing_logs: Gauge::default(),
            registry: Registry::default(),
        };
        let text = |what: &str| what.to_owned();
        r.register(
            "device_requests",
            text("Requests of devices"),
            m.requests.clone(),
        );
        r.register(
            "answer_seconds",
            text("Time to answer a device, waiting left out"),
            m.answer_s.clone(),
        );
        r.register(
            "wait_seconds",
            text("Time that check-ins waited for an order"),
            m.wait_s.clone(),
        );
        r.register(
            "orders_entered",
            text("Orders entered here"),
            m.entered.clone(),
        );
        r.register(
            "receipts_kept",
            text("Receipts kept here"),
            m.receipts.clone(),
        );
        r.register(
            "thefts_suspected",
            text("Copied tokens seen here"),
            m.thefts.clone(),
        );
        r.register(
            "connections_refused",
            text("Connections closed at once because there were too many"),
            m.connections_refused.clone(),
        );
        r.register(
            "handed_over",
            text("Outbox hand-overs tried"),
            m.handed.clone(),
        );
        m.register_gauges(&mut r);
        Metrics { registry: r, ..m }
    }

    /// What goes up and down.
    fn register_gauges(&self, r: &mut Registry) {
        r.register(
            "waiting_devices",
            "Check-ins waiting here now",
            self.waiting.clone(),
        );
        r.register(
            "event_streams",
            "Event streams to browsers here now",
            self.streams.clone(),
        );
        r.register("orders", "Orders in the database", self.orders.clone());
        r.register("outbox_backlog", "Rows in the outbox", self.backlog.clone());
        r.register(
            "outbox_oldest_seconds",
            "Age of the oldest row in the outbox",
            self.oldest_s.clone(),
        );
        r.register(
            "revocation_logs_missing",
            "Revocation logs of a restored database that were not replayed yet",
            self.missing_logs.clone(),
        );
        r.register(
            "clock_difference_seconds",
            "The database's clock less this process's",
            self.clock.clone(),
        );
    }

    /// A hand-over was tried.
    pub(crate) fn handed(&self, which: Outbox, result: &'static str) {
        let labels = [("outbox", name(which)), ("result", result)];
        self.handed.get_or_create(&labels).inc();
    }
}

/// What the store counts by itself.
fn of_the_store(r: &mut Registry, store: &Store) {
    r.register(
        "store_errors",
        "What the database refused",
        store.faults.clone(),
    );
    r.register(
        "store_writes",
        "Transactions for writing",
        store.writes.clone(),
    );
    r.register(
        "revocation_log_unreadable",
        "Lines of the revocation log that were not understood",
        store.unreadable_revocations(),
    );
}

fn name(which: Outbox) -> &'static str {
    match which {
        Outbox::Orders => "orders",
        Outbox::Events => "events",
    }
}

impl Service {
    /// The metrics now. What the database does not tell stays as it was.
    pub fn metrics(&self) -> String {
        let m = &self.metrics;
        m.waiting.set(self.notifier.waiting() as i64);
        m.streams.set(self.notifier.streams() as i64);
        m.missing_logs.set(self.store.missing_logs() as i64);
        if let Err(e) = self.measure_database() {
            tracing::warn!(error = %e, "metrics without the database");
        }
        let mut out = String::new();
        if let Err(e) = encode(&mut out, &m.registry) {
            tracing::error!(error = %e, "metrics are incomplete");
        }
        out
    }

    fn measure_database(&self) -> Result<()> {
        let m = &self.metrics;
        let now = self.now_s();
        for which in [Outbox::Orders, Outbox::Events] {
            let (n, oldest) = self.store.backlog(which)?;
            let label = [("outbox", name(which))];
            m.backlog.get_or_create(&label).set(n as i64);
            let age = oldest.map_or(0, |t| now.saturating_sub(t));
            m.oldest_s.get_or_create(&label).set(age as i64);
        }
        m.orders.clear();
        for (kind, state, n) in self.store.orders_by_state()? {
            let labels = [("kind", kind.name()), ("state", state.name())];
            m.orders.get_or_create(&labels).set(n as i64);
        }
        self.check_clock().map(drop)
    }

    /// The database's clock less this process's, in seconds. Logs an error when
    /// they differ too much, because each process dates leases and codes by its
    /// own clock.
    pub fn check_clock(&self) -> Result<i64> {
        let Some(theirs) = self.store.clock_s()? else {
            return Ok(0);
        };
        let difference = theirs as i64 - self.now_s() as i64;
        let before = self.metrics.clock.set(difference);
        if difference.abs() > CLOCK_TOLERANCE_S && before != difference {
            tracing::error!(
                seconds = difference,
                "the database's clock differs from this machine's: set both by NTP"
            );
        }
        Ok(difference)
    }

    /// Answers every waiting device now; no device waits any more.
    pub fn stop_waiting(&self) {
        self.notifier.stop();
    }

    /// True after [`Service::stop_waiting`].
    pub fn stopping(&self) -> bool {
        self.notifier.stopping()
    }
}

/// Adds one to a counter by label.
pub(super) fn count(family: &Family<Label, Counter>, key: &'static str, value: &'static str) {
    family.get_or_create(&[(key, value)]).inc();
}

/// Milliseconds and below, for histograms.
pub(super) fn seconds_since(start: std::time::Instant) -> f64 {
    start.elapsed().as_secs_f64()
}
