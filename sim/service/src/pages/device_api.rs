//! The device API over HTTP: `POST /device/v1`, a request frame in, a reply
//! frame out.

use super::AppState;
use crate::Error;
use crate::worker::{self, catch_async};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, middleware};
use nrd_agent::wire::MAX_FRAME;
use std::net::SocketAddr;

const MEDIA_TYPE: &str = "application/octet-stream";

/// The route.
pub(super) fn router(state: AppState) -> Router {
    Router::new()
        .route(nrd_agent::tls::PATH, post(answer))
        .layer(DefaultBodyLimit::max(MAX_FRAME))
        .layer(middleware::from_fn(catch_panics))
        .with_state(state)
}

async fn answer(
    State(state): State<AppState>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Response {
    let address = from.ip().to_string();
    let answer = state.service.answer_waiting(body.to_vec(), address);
    match worker::on(&state.devices, answer).await {
        Ok(reply) => ([(header::CONTENT_TYPE, MEDIA_TYPE)], reply).into_response(),
        Err(e) => failed(&e),
    }
}

async fn catch_panics(request: Request, next: Next) -> Response {
    match catch_async(next.run(request)).await {
        Ok(response) => response,
        Err(e) => failed(&e),
    }
}

/// Never a false success: after any 5xx the device backs off and asks again.
fn failed(e: &Error) -> Response {
    tracing::error!(error = %e, "a device was not answered");
    let status = if e.internal() {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    status.into_response()
}
