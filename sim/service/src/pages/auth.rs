//! Signing in and out.

use super::AppState;
use super::device_status;
use super::errors::{PageError, PageResult, render};
use super::session::{REMEMBER, SESSION, Visitor, cookie, set, set_both};
use crate::login::LoginError;
use crate::worker::blocking;
use askama::Template;
use axum::Form;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use nrd_sim_base::{hex, random, unhex};
use serde::Deserialize;
use std::net::SocketAddr;
use subtle::ConstantTimeEq as _;

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    csrf: String,
    next: String,
    email: String,
    remember: bool,
    /// A form was sent after the session had ended.
    ended: bool,
    problem: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Where {
    #[serde(default)]
    next: String,
    #[serde(default)]
    ended: bool,
}

#[derive(Deserialize)]
pub(super) struct Login {
    csrf: String,
    #[serde(default)]
    next: String,
    email: String,
    password: String,
    remember: Option<String>,
}

/// A form's token before anybody is signed in lives in a cookie of its own.
const BEFORE: &str = "before-login";
/// Marks a browser that was signed in before.
const KNOWN: &str = "known-browser";
/// For how long, in days.
const KNOWN_DAYS: i64 = 365;

pub(super) async fn form(
    State(state): State<AppState>,
    visitor: Option<axum::Extension<Visitor>>,
    headers: HeaderMap,
    Query(query): Query<Where>,
) -> PageResult {
    if visitor.is_some() {
        return Ok(Redirect::to(&inside(&query.next)).into_response());
    }
    let fresh = Page {
        csrf: String::new(),
        next: query.next,
        email: String::new(),
        remember: true,
        ended: query.ended,
        problem: None,
    };
    show(&state, &headers, StatusCode::OK, fresh)
}

/// The form. A browser keeps its token over forms: two tabs, and a page that is
/// loaded again, both work.
fn show(state: &AppState, headers: &HeaderMap, status: StatusCode, mut page: Page) -> PageResult {
    let kept = cookie(state, headers, BEFORE).filter(|c| unhex::<16>(c).is_some());
    page.csrf = match kept {
        Some(kept) => kept,
        None => hex(&random::<16>().map_err(crate::Error::from)?),
    };
    let shown = set(state, BEFORE, &page.csrf, None);
    Ok((status, [(header::SET_COOKIE, shown)], render(&page)).into_response())
}

pub(super) async fn submit(
    State(state): State<AppState>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> PageResult {
    let before = cookie(&state, &headers, BEFORE).unwrap_or_default();
    if before.is_empty() || !bool::from(before.as_bytes().ct_eq(login.csrf.as_bytes())) {
        return Err(PageError::CrossSite);
    }
    let browser = browser(&headers);
    let address = from.ip().to_string();
    let service = state.service.clone();
    let again = Page {
        csrf: String::new(),
        next: login.next,
        email: login.email.clone(),
        remember: login.remember.is_some(),
        ended: false,
        problem: None,
    };
    let remember = again.remember;
    let known = cookie(&state, &headers, KNOWN);
    let tried = blocking(move || {
        let (email, password) = (&login.email, &login.password);
        let checked = service.check_password_of(email, password, &address, known.as_deref());
        Ok(checked.and_then(|account| {
            let signed_in = service.sign_in(account, remember, &browser, &address)?;
            Ok((signed_in, service.mark_browser(email)?))
        }))
    })
    .await?;
    let (status, problem) = match tried {
        Ok((signed_in, mark)) => {
            let mut answer = Redirect::to(&inside(&again.next)).into_response();
            for c in set_both(&state, &signed_in) {
                answer.headers_mut().append(header::SET_COOKIE, c);
            }
            let known = set(&state, KNOWN, &mark, Some(KNOWN_DAYS));
            answer.headers_mut().append(header::SET_COOKIE, known);
            return Ok(answer);
        }
        Err(LoginError::Wrong) => (
            StatusCode::UNAUTHORIZED,
            "The e-mail address or the password is wrong.".to_owned(),
        ),
        Err(LoginError::Wait(s)) => (
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "Too many wrong attempts. Please wait {}.",
                device_status::wait(s)
            ),
        ),
        Err(LoginError::Busy) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Very many people sign in at this moment. Please try again in a few seconds."
                .to_owned(),
        ),
        Err(LoginError::Service(e)) => return Err(e.into()),
    };
    let again = Page {
        problem: Some(problem),
        ..again
    };
    let mut answer = show(&state, &headers, status, again)?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let soon = HeaderValue::from_static("3");
        answer.headers_mut().insert(header::RETRY_AFTER, soon);
    }
    Ok(answer)
}

#[derive(Deserialize)]
pub(super) struct Leave {
    csrf: String,
}

pub(super) async fn leave(
    State(state): State<AppState>,
    visitor: Option<axum::Extension<Visitor>>,
    Form(form): Form<Leave>,
) -> PageResult {
    // Pressed twice, nobody is signed in any more.
    if let Some(axum::Extension(visitor)) = visitor {
        visitor.check(&form.csrf)?;
        let service = state.service.clone();
        blocking(move || service.sign_out(&visitor.session)).await?;
    }
    let mut answer = Redirect::to("/login").into_response();
    for name in [SESSION, REMEMBER] {
        let gone = set(&state, name, "", Some(0));
        answer.headers_mut().append(header::SET_COOKIE, gone);
    }
    Ok(answer)
}

/// Where to go after signing in: a page of this site, never another.
fn inside(next: &str) -> String {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        && next
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-.".contains(&b));
    if local { next } else { "/account/devices" }.to_owned()
}

/// Browser and system in words, from its `User-Agent`.
fn browser(headers: &HeaderMap) -> String {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let pick = |names: &[(&str, &'static str)], other| {
        names
            .iter()
            .find(|(part, _)| agent.contains(part))
            .map_or(other, |(_, name)| *name)
    };
    let browsers = [
        ("Edg/", "Edge"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let (browser, system) = (pick(&browsers, "A browser"), pick(&systems, ""));
    match system {
        "" => browser.to_owned(),
        system => format!("{browser} on {system}"),
    }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn signing_in_leads_to_a_page_of_this_site_only() {
        assert_eq!(inside("/activate"), "/activate");
        for elsewhere in [
            "//evil.example",
            "https://evil.example",
            "/\\evil",
            "",
            "/a?b",
        ] {
            assert_eq!(inside(elsewhere), "/account/devices", "{elsewhere}");
        }
    }
}
