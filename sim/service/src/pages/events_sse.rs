//! Server-sent events: an open page learns that its account changed.

use super::AppState;
use super::session::Visitor;
use crate::worker::blocking;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{AppendHeaders, Sse};
use futures_util::StreamExt as _;
use futures_util::stream::{Stream, once, unfold};
use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// How often an open stream looks whether its session has ended by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Events carry no content: the page loads itself again. The first says that the
/// stream is not held back on its way.
pub(super) async fn stream(
    State(state): State<AppState>,
    visitor: Visitor,
) -> (
    AppendHeaders<[(&'static str, &'static str); 1]>,
    Sse<impl Stream<Item = Result<Event, Infallible>>>,
) {
    let service = state.service.clone();
    let changes = service.notifier.pages();
    let begun = Event::default().event("begun").data("");
    let events = once(ready(Ok(begun))).chain(unfold(
        (changes, visitor, service),
        |(mut changes, visitor, service)| async move {
            loop {
                if service.stopping() {
                    return None;
                }
                let change = tokio::time::timeout(LOOK_AGAIN, changes.recv()).await;
                let changed = match change {
                    Ok(Ok(whose)) => whose.is_none_or(|w| w == visitor.account),
                    // Some were missed: one of them may have been ours.
                    Ok(Err(RecvError::Lagged(_))) => true,
                    Ok(Err(RecvError::Closed)) => return None,
                    Err(_) => false,
                };
                if !changed && change.is_ok() {
                    continue;
                }
                // The session may have ended with it, or by itself.
                let (asked, cookie) = (service.clone(), visitor.session.clone());
                match blocking(move || asked.session_lasts(&cookie)).await {
                    Ok(true) if changed => break,
                    Ok(true) => {}
                    Ok(false) | Err(_) => return None,
                }
            }
            let event = Event::default().data("changed");
            Some((Ok(event), (changes, visitor, service)))
        },
    ));
    // nginx and others would collect the answer before they pass it on.
    let at_once = AppendHeaders([("x-accel-buffering", "no")]);
    (at_once, Sse::new(events).keep_alive(KeepAlive::default()))
}
