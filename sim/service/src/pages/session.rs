//! Who is asking: browser sessions, remembered computers.

use super::AppState;
use super::errors::PageError;
use crate::audit::{self, Origin};
use crate::login::Remembered;
use crate::store::AccountId;
use crate::worker::blocking;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use cookie::{Cookie, SameSite};
use std::net::SocketAddr;
use subtle::ConstantTimeEq as _;

/// The header of a page that renews itself.
const BY_ITSELF: &str = "x-by-itself";

/// How long a computer is remembered without a visit, in days.
const REMEMBER_DAYS: i64 = 90;

/// A signed-in account holder.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) account: AccountId,
    /// The token that this session's forms carry.
    pub(super) csrf: String,
    /// This computer's series, if it is remembered.
    pub(super) computer: Option<Vec<u8>>,
    /// The session cookie's value.
    pub(super) session: String,
    /// Where the request came from.
    pub(super) address: String,
}

impl Visitor {
    /// Who asks, for what is noted of it.
    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            address: &self.address,
            browser: audit::browser(&self.session),
        }
    }

    /// Refuses a form that did not come from a page of this session.
    pub(super) fn check(&self, csrf: &str) -> Result<(), PageError> {
        if bool::from(self.csrf.as_bytes().ct_eq(csrf.as_bytes())) {
            Ok(())
        } else {
            Err(PageError::CrossSite)
        }
    }
}

impl FromRequestParts<AppState> for Visitor {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Self::Rejection> {
        if let Some(visitor) = parts.extensions.get::<Visitor>() {
            return Ok(visitor.clone());
        }
        let back = match parts.method {
            Method::GET => format!("/login?next={}", parts.uri.path()),
            _ => "/login?ended=true".to_owned(),
        };
        Err(Redirect::to(&back).into_response())
    }
}

/// Names of cookies, as [`Site::cookie`](super::Site) completes them.
pub(super) const SESSION: &str = "session";
pub(super) const REMEMBER: &str = "remember";

/// A cookie that no script can read and no other site can send along with a
/// form.
pub(super) fn set(state: &AppState, name: &str, value: &str, days: Option<i64>) -> HeaderValue {
    let mut c = Cookie::build((state.site.cookie(name), value.to_owned()))
        .path("/")
        .http_only(true)
        .secure(state.site.secure())
        .same_site(SameSite::Lax);
    if let Some(days) = days {
        c = c.max_age(cookie::time::Duration::days(days));
    }
    // Names and hexadecimal digits only.
    HeaderValue::from_str(&c.build().to_string()).expect("a cookie of ASCII")
}

/// Both cookies of somebody who has just been signed in.
pub(super) fn set_both(state: &AppState, signed_in: &crate::login::SignedIn) -> Vec<HeaderValue> {
    let mut out = vec![set(state, SESSION, &signed_in.session, None)];
    if let Some(cookie) = &signed_in.remember {
        out.push(set(state, REMEMBER, cookie, Some(REMEMBER_DAYS)));
    }
    out
}

/// The value of a cookie.
pub(super) fn cookie(state: &AppState, headers: &HeaderMap, name: &str) -> Option<String> {
    let name = state.site.cookie(name);
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|h| h.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|c| c.name() == name)
        .map(|c| c.value().to_owned())
}

/// Finds out whose browser this is.
pub(super) async fn identify(
    State(state): State<AppState>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = from.ip().to_string();
    let h = request.headers();
    let session = cookie(&state, h, SESSION);
    let remember = cookie(&state, h, REMEMBER);
    let by_hand = !h.contains_key(BY_ITSELF) && request.uri().path() != "/account/live";
    let found = find(&state, session, remember, address, by_hand).await;
    let cookies = match found {
        Ok((visitor, cookies)) => {
            if let Some(visitor) = visitor {
                request.extensions_mut().insert(visitor);
            }
            cookies
        }
        Err(e) => return PageError::Service(e).into_response(),
    };
    let mut response = next.run(request).await;
    for c in cookies {
        response.headers_mut().append(header::SET_COOKIE, c);
    }
    response
}

async fn find(
    state: &AppState,
    session: Option<String>,
    remember: Option<String>,
    address: String,
    by_hand: bool,
) -> crate::Result<(Option<Visitor>, Vec<HeaderValue>)> {
    let state = state.clone();
    blocking(move || {
        if let Some(cookie) = session
            && let Some(row) = state.service.session(&cookie, by_hand)?
        {
            let visitor = Visitor {
                account: row.account,
                csrf: row.csrf,
                computer: row.computer,
                session: cookie,
                address,
            };
            return Ok((Some(visitor), Vec::new()));
        }
        let Some(cookie) = remember else {
            return Ok((None, Vec::new()));
        };
        let signed_in = match state.service.recall(&cookie, &address)? {
            Remembered::SignedIn(s) => s,
            Remembered::Stolen | Remembered::Unknown => {
                let gone = set(&state, REMEMBER, "", Some(0));
                return Ok((None, vec![gone]));
            }
        };
        let cookies = set_both(&state, &signed_in);
        let visitor = state
            .service
            .session(&signed_in.session, true)?
            .map(|row| Visitor {
                account: row.account,
                csrf: row.csrf,
                computer: row.computer,
                session: signed_in.session,
                address,
            });
        Ok((visitor, cookies))
    })
    .await
}

/// Headers of every page.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let h = response.headers_mut();
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
             connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
    ] {
        h.insert(name, HeaderValue::from_static(value));
    }
    // What is personal stays in no cache.
    h.entry("cache-control")
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
