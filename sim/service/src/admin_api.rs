//! What an operator's tools ask, on a port of its own: `/metrics`, `/healthz`
//! (the process lives), `/readyz` (it can store, and takes work).

use crate::worker::blocking;
use crate::{Error, Service};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// The routes.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(service)
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    match blocking(move || Ok(service.metrics())).await {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(e) => {
            tracing::error!(error = %e, "the metrics were not given");
            failed(&e).into_response()
        }
    }
}

async fn ready(State(service): State<Arc<Service>>) -> Response {
    if service.stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match blocking(move || service.store.healthy()).await {
        Ok(()) => "ready\n".into_response(),
        Err(e) => (failed(&e), format!("{e}\n")).into_response(),
    }
}

fn failed(e: &Error) -> StatusCode {
    if e.internal() {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
