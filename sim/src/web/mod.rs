//! The pages that a person uses, and the device's door.
//!
//! Every page is rendered here and works without a script; with one, the pages
//! under `/account` follow what happens. Secrets are in no page and no address.
//!
//! | file | what |
//! |---|---|
//! | `guard.rs` | who is asking: sessions, remembered computers, cross-site requests, headers |
//! | `auth.rs` | signing in and out |
//! | `account.rs` | Your Account, security activity, privacy policy |
//! | `devices.rs` | Manage Netflix ready devices and computers |
//! | `receipt.rs` | a receipt to view and download |
//! | `activate.rs` | typing a code, consent |
//! | `live.rs` | tells open pages that something changed |
//! | `door.rs` | `POST /device/v1` |
//! | `view.rs` | times and states in words |
//! | `errors.rs` | what a person reads when something fails |

mod account;
mod activate;
mod auth;
mod devices;
mod door;
mod errors;
mod guard;
mod live;
mod receipt;
mod view;

use crate::service::Service;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, middleware};
use std::sync::Arc;

/// Largest form, in bytes.
const MAX_FORM: usize = 16 * 1024;

/// What every handler can reach.
#[derive(Clone)]
pub struct Site {
    /// The service.
    pub service: Arc<Service>,
    /// The pages come over TLS: cookies are marked so.
    pub tls: bool,
}

/// The pages.
pub fn pages(site: Site) -> Router {
    Router::new()
        .route("/", get(account::home))
        .route("/login", get(auth::form).post(auth::submit))
        .route("/logout", post(auth::leave))
        .route("/account", get(account::show))
        .route("/account/activity", get(account::activity))
        .route("/policy", get(account::policy).post(account::consent))
        .route("/account/devices", get(devices::list))
        .route(
            "/account/devices/remove-all",
            get(devices::ask_all).post(devices::remove_all),
        )
        .route(
            "/account/devices/{id}/remove",
            get(devices::ask).post(devices::remove),
        )
        .route("/account/devices/{id}/sign-out", post(devices::sign_out))
        .route("/account/devices/{id}/rename", post(devices::rename))
        .route("/account/devices/{id}/hide", post(devices::hide))
        .route("/account/devices/{id}/receipt", get(receipt::show))
        .route("/account/devices/{id}/receipt.bin", get(receipt::download))
        .route(
            "/account/computers/{series}/remove",
            post(devices::remove_computer),
        )
        .route("/activate", get(activate::form).post(activate::look_up))
        .route("/activate/confirm", post(activate::confirm))
        .route("/account/live", get(live::stream))
        .route("/pictogram/{n}", get(activate::pictogram))
        .route("/.well-known/jwks.json", get(key_set))
        .route("/style.css", get(style))
        .route("/live.js", get(script))
        .route("/icon.svg", get(icon))
        .fallback(errors::nothing_here)
        .layer(middleware::from_fn_with_state(
            site.clone(),
            guard::identify,
        ))
        .layer(middleware::from_fn(guard::headers))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .with_state(site)
}

/// The pages and the device's door.
pub fn whole(site: Site) -> Router {
    door::router(site.clone()).merge(pages(site))
}

/// The key that signs security events told outside.
async fn key_set(State(site): State<Site>) -> impl IntoResponse {
    let text = crate::outbox::jose::key_set(&site.service.keys).to_string();
    ([(header::CONTENT_TYPE, "application/jwk-set+json")], text)
}

async fn style() -> impl IntoResponse {
    asset(
        "text/css; charset=utf-8",
        include_str!("../../assets/style.css"),
    )
}

async fn script() -> impl IntoResponse {
    asset(
        "text/javascript; charset=utf-8",
        include_str!("../../assets/live.js"),
    )
}

async fn icon() -> impl IntoResponse {
    asset("image/svg+xml", include_str!("../../assets/icon.svg"))
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "max-age=300"),
        ],
        text,
    )
}
