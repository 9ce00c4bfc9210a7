//! Server-sent events: an open page learns that its account changed.

use super::AppState;
use super::session::Visitor;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{Stream, unfold};
use std::convert::Infallible;
use tokio::sync::broadcast::error::RecvError;

/// Events carry no content: the page loads itself again.
pub(super) async fn stream(
    State(state): State<AppState>,
    visitor: Visitor,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let service = state.service.clone();
    let changes = service.notifier.pages();
    let events = unfold(
        (changes, visitor.account, service),
        |(mut changes, account, service)| async move {
            loop {
                if service.stopping() {
                    return None;
                }
                match changes.recv().await {
                    Ok(whose) if whose.is_none_or(|w| w == account) => break,
                    Ok(_) => {}
                    // Some were missed: one of them may have been ours.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return None,
                }
            }
            let event = Event::default().data("changed");
            Some((Ok(event), (changes, account, service)))
        },
    );
    Sse::new(events).keep_alive(KeepAlive::default())
}
