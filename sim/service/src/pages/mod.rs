//! The pages that a person uses, and the device API over HTTP.
//!
//! Every page is rendered here and works without a script; with one, the pages
//! under `/account` follow what happens. Secrets are in no page and no address.
//!
//! | file | what |
//! |---|---|
//! | `site.rs` | how browsers reach the pages: origin, proxies, cross-site requests |
//! | `session.rs` | who is asking: sessions, remembered computers; headers |
//! | `auth.rs` | signing in and out |
//! | `account.rs` | Your Account, security activity, privacy policy |
//! | `devices.rs` | Manage Netflix ready devices and computers |
//! | `receipt.rs` | a receipt to view and download |
//! | `certificate.rs` | a certificate of sanitization to print |
//! | `activate.rs` | typing a code, consent |
//! | `desk/` | the returns desk |
//! | `events_sse.rs` | server-sent events: an open page learns of changes |
//! | `device_api.rs` | `POST /device/v1` |
//! | `device_status.rs` | a device's status in words |
//! | `assets.rs` | style sheets, scripts, the icon |
//! | `errors.rs` | what a person reads when something fails |

mod account;
mod activate;
mod assets;
mod auth;
mod certificate;
mod desk;
mod device_api;
mod device_status;
mod devices;
mod errors;
mod events_sse;
mod receipt;
mod session;
mod site;

pub use assets::file;
pub use desk::{ByCable, DeskState, Neighbour, Uploads, alone as desk_alone};
pub use errors::{PageError, PageResult, render};
pub use site::{NoOrigin, PublicOrigin, Site};

use crate::Service;
use crate::desk::Desk;
use crate::desk::photo::PhotoReader;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, middleware};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Largest form, in bytes.
const MAX_FORM: usize = 16 * 1024;

/// What every handler can reach.
#[derive(Clone)]
pub struct AppState {
    /// The service.
    pub service: Arc<Service>,
    /// The returns desk of a neighbour; without one no page leads to it.
    pub desk: Arc<Desk>,
    /// Devices beside the desk, with pages of their own.
    pub neighbour: Option<Arc<dyn Neighbour>>,
    /// What reads photos of codes at the desk.
    pub photos: PhotoReader,
    /// Where requests of devices are answered: on threads of their own, so that
    /// no number of pages keeps a device waiting for one.
    pub devices: Handle,
    /// How browsers reach the pages.
    pub site: Site,
}

impl AppState {
    /// The desk, on the service's time.
    fn desk_state(&self) -> DeskState {
        let service = self.service.clone();
        DeskState {
            desk: self.desk.clone(),
            now: Arc::new(move || service.now_s()),
            neighbour: self.neighbour.clone(),
            photos: self.photos.clone(),
            uploads: desk::Uploads::default(),
            site: self.site.clone(),
        }
    }
}

/// The pages. A returns desk is among them only where devices stand beside it, as in
/// a living room on one machine: it costs what strangers hand in, so a service that
/// strangers reach has none, and a desk runs as a server of its own.
pub fn pages(state: AppState) -> Router {
    let site = state.site.clone();
    let beside = state.neighbour.clone().map_or_else(Router::new, |n| {
        desk::routes(state.desk_state()).merge(n.pages(state.desk_state()))
    });
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
            "/account/devices/{id}/certificate",
            get(receipt::certificate),
        )
        .route(
            "/account/devices/{id}/receipt/certificate.pdf",
            get(receipt::certificate_pdf),
        )
        .route(
            "/account/computers/{series}/remove",
            post(devices::remove_computer),
        )
        .route("/activate", get(activate::form).post(activate::look_up))
        .route("/activate/confirm", post(activate::confirm))
        .route("/account/live", get(events_sse::stream))
        .route("/pictogram/{n}", get(activate::pictogram))
        .route("/.well-known/jwks.json", get(key_set))
        .merge(assets::routes())
        .fallback(errors::nothing_here)
        .layer(middleware::from_fn_with_state(
            state.clone(),
            session::identify,
        ))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .with_state(state)
        .merge(beside)
        .layer(middleware::from_fn_with_state(site, site::at_home))
        .layer(middleware::from_fn(errors::catch_panics))
        .layer(middleware::from_fn(session::headers))
}

/// The pages and the device API over HTTP.
pub fn pages_and_device_api(state: AppState) -> Router {
    device_api::router(state.clone()).merge(pages(state))
}

/// The public key of security event tokens.
async fn key_set(State(state): State<AppState>) -> impl IntoResponse {
    let text = crate::outbox::jose::key_set(&state.service.keys).to_string();
    ([(header::CONTENT_TYPE, "application/jwk-set+json")], text)
}
