//! The device's door: `POST /device/v1`, a request frame in, a reply frame out.

use super::AppState;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use nrd_agent::wire::MAX_FRAME;
use std::net::SocketAddr;

const MEDIA_TYPE: &str = "application/octet-stream";

/// The route.
pub(super) fn router(state: AppState) -> Router {
    Router::new()
        .route(nrd_agent::tls::PATH, post(answer))
        .layer(DefaultBodyLimit::max(MAX_FRAME))
        .with_state(state)
}

async fn answer(
    State(state): State<AppState>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Response {
    let address = from.ip().to_string();
    match state.service.answer_waiting(body.to_vec(), address).await {
        Ok(reply) => ([(header::CONTENT_TYPE, MEDIA_TYPE)], reply).into_response(),
        // Never a false success: the device backs off and asks again.
        Err(e) => {
            tracing::error!(error = %e, "a device was not answered");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
