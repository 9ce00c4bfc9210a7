//! Delivers the messages of the store's outboxes: orders to a broker, security
//! events to a receiver. At least once, oldest first; a row goes only when the
//! other side has said that it has it.
//!
//! | file | what |
//! |---|---|
//! | `mqtt.rs` | orders to an MQTT broker, a topic a device |
//! | `push.rs` | security event tokens to a receiver, RFC 8935 |
//! | `jose.rs` | signs the tokens, and publishes the key |

pub mod jose;
pub mod mqtt;
pub mod push;

use crate::store::{Outbox, OutboxMessage};
use crate::{Service, worker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest pause between two tries, in seconds.
const LONGEST_S: u64 = 15 * 60;
/// No other process takes a row that was taken within this time, in seconds.
const LEASE_S: u64 = 60;
/// Pause after the database did not answer.
const AWAY: Duration = Duration::from_secs(1);
/// How often an idle outbox is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A thread that empties an outbox. Dropping it ends the thread.
pub struct OutboxWorker {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl OutboxWorker {
    /// Runs `work` until it is to stop.
    fn start(
        name: &str,
        work: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> std::io::Result<OutboxWorker> {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if let Err(e) = worker::catch(|| work(&theirs)) {
                    tracing::error!(error = %e, "an outbox is not emptied any more");
                }
            })?;
        Ok(OutboxWorker {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for OutboxWorker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Its panic was caught and logged by the thread itself.
            #[expect(
                clippy::let_underscore_must_use,
                reason = "a panic of that thread is in the log already"
            )]
            let _ = thread.join();
        }
    }
}

/// Sleeps, unless it is to stop.
fn pause(stop: &AtomicBool, how_long: Duration) {
    let until = Instant::now() + how_long;
    while !stop.load(Ordering::SeqCst) && Instant::now() < until {
        std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Seconds to wait after the nth failure: full jitter, doubling, bounded.
fn back_off_s(tries: u32) -> u64 {
    let cap = (1u64 << tries.min(10)).min(LONGEST_S);
    // Without randomness every process waits one second: too often, but safe.
    let draw = getrandom::u64().unwrap_or(0);
    1 + draw % cap
}

/// The rows that are due, taken for [`LEASE_S`] seconds. None while the
/// database cannot tell; then this pauses, so that the log is not flooded.
fn take_due(service: &Service, which: Outbox, limit: u32, stop: &AtomicBool) -> Vec<OutboxMessage> {
    let due = match service.store.backlog(which) {
        Ok((0, _)) => return Vec::new(),
        Ok(_) => service
            .store
            .take_due(which, service.now_s(), LEASE_S, limit),
        Err(e) => Err(e),
    };
    due.unwrap_or_else(|e| {
        tracing::warn!(error = %e, "the outbox was not read");
        pause(stop, AWAY);
        Vec::new()
    })
}

/// Puts a row back, to be tried again later.
fn put_back(service: &Service, which: Outbox, id: i64, tries: u32) {
    service.metrics.handed(which, "failed");
    let due = service.now_s() + back_off_s(tries);
    // If this fails the row stays leased, and is due again after the lease.
    if let Err(e) = service.store.try_again(id, due) {
        tracing::warn!(error = %e, "a row stays leased in the outbox for now");
    }
}

/// The other side has taken a row.
fn taken(service: &Service, which: Outbox, id: i64) {
    service.metrics.handed(which, "taken");
    // If this fails the row is sent once more: the other side has seen it.
    if let Err(e) = service.store.handed_over(id) {
        tracing::warn!(error = %e, "a row that was taken stays in the outbox for now");
    }
}
