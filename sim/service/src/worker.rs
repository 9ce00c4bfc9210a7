//! Runs work on worker threads, and turns a panic into an error.
//!
//! A panic is a fault of this program. It used to be told as "too late"
//! (409), as if another request had been faster, and no log knew of it. Now
//! it is [`Error::Internal`], which names the file and the line that
//! panicked. The panic's own message is left out, because it may hold
//! whatever the program was working on, personal data included.

use super::{Error, Result};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

thread_local! {
    /// Work under [`catch`] runs on this thread now.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// Where the newest caught panic happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of caught work leave their place, and nothing on the standard
/// error output. Every other panic goes the way it went before.
///
/// Only a panic hook learns the place: what unwinds carries the message alone.
fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if CATCHING.get() {
                let place = info
                    .location()
                    .map(|l| format!("{}:{}", l.file(), l.line()));
                PLACE.set(place);
            } else {
                before(info);
            }
        }));
    });
}

/// Runs `work`; a panic in it is an [`Error::Internal`] that names the place.
///
/// `work` must leave nothing half done that others see when it panics: the
/// store rolls back, and locks are taken over (`PoisonError::into_inner`) only
/// where each change is a single assignment.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T> {
    install_hook();
    let outer = CATCHING.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    done.map_err(|_| {
        let place = PLACE
            .take()
            .unwrap_or_else(|| "an unknown place".to_owned());
        Error::Internal(format!("panic at {place}"))
    })
}

/// [`catch`] for a future.
pub(crate) async fn catch_async<F: Future>(work: F) -> Result<F::Output> {
    let mut work = pin!(work);
    // A future that panicked is not polled again: this answers `Ready`.
    std::future::poll_fn(|cx| match catch(|| work.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(out)) => Poll::Ready(Ok(out)),
        Err(e) => Poll::Ready(Err(e)),
    })
    .await
}

/// Runs blocking work off the async threads.
///
/// # Errors
/// What `work` answers; [`Error::Internal`] when it panics; [`Error::Stopping`]
/// when the runtime stops before it began.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(|| catch(work)).await {
        Ok(done) => done.flatten(),
        Err(e) if e.is_panic() => Err(Error::Internal("panic in a worker".to_owned())),
        Err(_) => Err(Error::Stopping),
    }
}

/// Runs `work` on another runtime, and its [`blocking`] work on the threads of that
/// one. It ends when this future is dropped.
///
/// # Errors
/// As those of [`blocking`].
pub(crate) async fn on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    // A set ends its tasks with itself.
    let mut tasks = JoinSet::new();
    tasks.spawn_on(catch_async(work), runtime);
    match tasks.join_next().await {
        Some(Ok(done)) => done.flatten(),
        Some(Err(e)) if e.is_panic() => Err(Error::Internal("panic in a task".to_owned())),
        Some(Err(_)) | None => Err(Error::Stopping),
    }
}
