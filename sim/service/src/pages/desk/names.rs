//! Who works at the desk: the clerk's and the shop's name, for certificates
//! and lists. They stay in the clerk's browser, in a cookie of the desk.

use super::{DeskState, PageError, PageResult, Site};
use crate::certificate::Names;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect};
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use nrd_sim_base::hex;
use serde::Deserialize;

const COOKIE: &str = "desk_names";

/// The names that the browser has sent; none from a cookie that this page
/// did not write.
pub(super) fn names(site: &Site, headers: &HeaderMap) -> Names {
    let name = site.cookie(COOKIE);
    let sent = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|c| c.name() == name);
    sent.and_then(|c| read(c.value())).unwrap_or_default()
}

/// Names are hexadecimal digits in a cookie: any language fits.
fn read(value: &str) -> Option<Names> {
    let (clerk, shop) = value.split_once('.')?;
    let text = |digits: &str| {
        let digits = digits.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        String::from_utf8(digits.map(byte).collect::<Option<_>>()?).ok()
    };
    Names::new(&text(clerk)?, &text(shop)?)
}

#[derive(Deserialize)]
pub(super) struct Given {
    clerk: String,
    shop: String,
}

pub(super) async fn set(State(state): State<DeskState>, Form(given): Form<Given>) -> PageResult {
    let names = Names::new(&given.clerk, &given.shop).ok_or(PageError::Form(
        "A name is at most 60 letters, in one line.",
    ))?;
    let value = format!(
        "{}.{}",
        hex(names.clerk().as_bytes()),
        hex(names.shop().as_bytes())
    );
    let cookie = Cookie::build((state.site.cookie(COOKIE), value))
        .path("/")
        .http_only(true)
        .secure(state.site.secure())
        .same_site(SameSite::Strict)
        .max_age(Duration::days(365));
    let headers = [(header::SET_COOKIE, cookie.build().to_string())];
    Ok((headers, Redirect::to("/desk#names")).into_response())
}
