//! What a person reads when something fails: what happened, and what to do.

use crate::Error;
use crate::account::HalfRemoved;
use crate::store::FaultKind;
use crate::worker::catch_async;
use askama::Template;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use nrd_sim_base::time_format::count;

/// Why a page cannot be shown or a form was not carried out.
#[derive(Debug)]
pub enum PageError {
    /// The form did not come from a page of this session.
    CrossSite,
    /// The service refused or failed.
    Service(Error),
    /// The removal of all devices stopped half way.
    HalfRemoved(HalfRemoved),
    /// The request names another host.
    OtherHost,
    /// Nothing at this address.
    NotFound,
    /// A field of a form holds what this page never sends; says which.
    Form(&'static str),
    /// A form with a file did not arrive whole, or is too large.
    Upload,
    /// Too many forms with files are on their way.
    UploadsBusy,
}

impl From<Error> for PageError {
    fn from(e: Error) -> Self {
        PageError::Service(e)
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct Page<'t> {
    title: &'t str,
    text: &'t str,
    advice: &'t str,
    /// Where to go from here: address and words.
    to: (&'static str, &'static str),
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, text, advice) = match &self {
            PageError::HalfRemoved(half) => return half_removed(half),
            PageError::CrossSite => (
                StatusCode::FORBIDDEN,
                "Not carried out",
                "This form did not come from a page of your present session. Nothing was changed.",
                "Go back, load the page again, and repeat it there.",
            ),
            PageError::OtherHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "Not here",
                "These pages have another address than the one that was asked for. Nothing was changed.",
                "Use the address that the operator has published.",
            ),
            PageError::Service(Error::NotFound) | PageError::NotFound => (
                StatusCode::NOT_FOUND,
                "Nothing here",
                "There is no such page, or no such thing here any more.",
                "Go back, or to the start page.",
            ),
            PageError::Form(what) => (
                StatusCode::BAD_REQUEST,
                "Not carried out",
                *what,
                "Go back, load the page again, and repeat it there.",
            ),
            PageError::Upload => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "Not read",
                "What was sent did not arrive whole, or is larger than anything this page needs.",
                "Go back and choose a smaller file; a photo of up to 16 MB will do.",
            ),
            PageError::UploadsBusy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Not now",
                "Others are handing in files just now. Nothing of yours was read.",
                "Go back and hand it in again in a moment.",
            ),
            PageError::Service(Error::WrongState) => (
                StatusCode::CONFLICT,
                "Too late",
                "Something has changed since this page was loaded, so nothing was done.",
                "Look at your account again: it shows how things stand now.",
            ),
            PageError::Service(e) if e.internal() => {
                tracing::error!(error = %e, "a page was not shown: a fault of this program");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Our fault",
                    "Something went wrong on our side while your request was carried out. The operator can see it in the log.",
                    "Look at your account before you repeat it: it shows what was done.",
                )
            }
            PageError::Service(Error::Storage(e)) if e.kind == FaultKind::Unsure => {
                tracing::error!(error = %e, "an answer of the database was lost");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Perhaps done",
                    "The service lost its database while it was storing: what you sent may have been carried out or not.",
                    "Look at your account in a minute; to repeat it does no harm.",
                )
            }
            PageError::Service(e) => {
                tracing::error!(error = %e, "a page was not shown");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Not now",
                    "The service cannot store anything at the moment. Nothing was changed, and nothing was removed.",
                    "Please try again in a minute.",
                )
            }
        };
        show(status, title, text, advice)
    }
}

fn half_removed(half: &HalfRemoved) -> Response {
    let HalfRemoved {
        ordered,
        left,
        error,
    } = half;
    tracing::error!(error = %error, ordered, left, "a removal of all devices stopped half way");
    show(
        StatusCode::SERVICE_UNAVAILABLE,
        "Done in part",
        &what_was_done(half),
        "Please try again in a minute: it goes on with the rest.",
    )
}

fn show(status: StatusCode, title: &str, text: &str, advice: &str) -> Response {
    let page = Page {
        title,
        text,
        advice,
        to: if status == StatusCode::CONFLICT {
            ("/account/devices", "Your devices")
        } else {
            ("/", "Start page")
        },
    };
    (status, render(&page)).into_response()
}

fn what_was_done(half: &HalfRemoved) -> String {
    let may_be = matches!(&half.error, Error::Storage(e) if e.kind == FaultKind::Unsure);
    format!(
        "The removal of {} was ordered, and stays ordered. The service could not go on: {} not{}.",
        count(half.ordered.into(), "device"),
        match half.left {
            1 => "that of 1 device was".to_owned(),
            n => format!("those of {n} devices were"),
        },
        if may_be { ", but for perhaps one" } else { "" }
    )
}

/// A rendered template.
pub fn render(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(e) => {
            tracing::error!(error = %e, "a template was not rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Answers a panic in a handler, or in what it calls on its own thread, like
/// any fault of this program: with a page, and with the place in the log.
/// Without it the connection would break in the middle.
pub(super) async fn catch_panics(request: Request, next: Next) -> Response {
    match catch_async(next.run(request)).await {
        Ok(response) => response,
        Err(e) => PageError::Service(e).into_response(),
    }
}

/// For every other address.
pub(super) async fn nothing_here() -> PageError {
    PageError::NotFound
}

/// What handlers answer.
pub type PageResult = Result<Response, PageError>;
