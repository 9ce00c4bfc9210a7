//! Style sheets, scripts and the icon: parts of the program.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Every file: its address, its type, its text.
const FILES: [(&str, &str, &str); 5] = [
    ("/style.css", CSS, include_str!("../../assets/style.css")),
    (
        "/certificate.css",
        CSS,
        include_str!("../../assets/certificate.css"),
    ),
    ("/desk.css", CSS, include_str!("../../assets/desk.css")),
    ("/live.js", JS, include_str!("../../assets/live.js")),
    (
        "/icon.svg",
        "image/svg+xml",
        include_str!("../../assets/icon.svg"),
    ),
];

/// Their routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, kind, text)| {
            router.route(path, get(move || async move { file(kind, text) }))
        })
}

/// A file that is part of the program, with its media type; browsers keep it
/// for five minutes.
pub fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "max-age=300"),
    ];
    (headers, text)
}
