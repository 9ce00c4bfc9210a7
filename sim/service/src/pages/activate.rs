//! Activation: the code on the screen is typed here; the page shows which
//! device asks, before it asks for consent.

use super::AppState;
use super::device_status;
use super::errors::{PageError, PageResult, render};
use super::session::Visitor;
use crate::account::CodeError;
use crate::worker::blocking;
use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use nrd_sim_base::device_kind;
use nrd_sim_base::pictogram;
use serde::Deserialize;

#[derive(Template)]
#[template(path = "activate.html")]
struct FormPage {
    csrf: String,
    problem: Option<String>,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    csrf: String,
    code: String,
    model: String,
    kind: String,
    device_id: String,
    pictogram: u8,
    pictogram_words: String,
    is_computer: bool,
    account: String,
    policy: u32,
}

pub(super) async fn form(visitor: Visitor) -> PageResult {
    Ok(render(&FormPage {
        csrf: visitor.csrf,
        problem: None,
    }))
}

#[derive(Deserialize)]
pub(super) struct Code {
    csrf: String,
    code: String,
}

pub(super) async fn look_up(
    State(state): State<AppState>,
    visitor: Visitor,
    Form(form): Form<Code>,
) -> PageResult {
    visitor.check(&form.csrf)?;
    let service = state.service.clone();
    let csrf = visitor.csrf.clone();
    let found = blocking(move || {
        let row =
            match service.look_up_code_from(visitor.account, &form.code, Some(&visitor.address)) {
                Ok(row) => row,
                Err(e) => return Ok(Err(e)),
            };
        Ok(Ok(ConfirmPage {
            csrf: visitor.csrf,
            code: row.code.unwrap_or_default(),
            kind: device_kind::heading(row.kind),
            is_computer: !device_kind::remembers_always(row.kind),
            model: row.model,
            device_id: row.device,
            pictogram: row.pictogram,
            pictogram_words: pictogram::words(row.pictogram),
            account: service.account(visitor.account)?.name,
            policy: service.store.policy_version()?,
        }))
    })
    .await?;
    match found {
        Ok(page) => Ok(render(&page)),
        Err(e) => problem(csrf, e),
    }
}

fn problem(csrf: String, e: CodeError) -> PageResult {
    let (status, text) = match e {
        CodeError::Unknown => (
            StatusCode::NOT_FOUND,
            "No screen shows this code now. Check it; if the screen shows a new one, type that."
                .to_owned(),
        ),
        CodeError::Wait(s) => (
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "Too many wrong codes. Please wait {}.",
                device_status::wait(s)
            ),
        ),
        CodeError::Service(e) => return Err(e.into()),
    };
    let page = FormPage {
        csrf,
        problem: Some(text),
    };
    Ok((status, render(&page)).into_response())
}

/// The button that was pressed.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Allow,
    Decline,
}

#[derive(Deserialize)]
pub(super) struct Confirm {
    csrf: String,
    code: String,
    decision: Decision,
    remember: Option<String>,
}

pub(super) async fn confirm(
    State(state): State<AppState>,
    visitor: Visitor,
    Form(form): Form<Confirm>,
) -> PageResult {
    visitor.check(&form.csrf)?;
    let service = state.service.clone();
    let csrf = visitor.csrf.clone();
    let done = blocking(move || {
        let row =
            match service.look_up_code_from(visitor.account, &form.code, Some(&visitor.address)) {
                Ok(row) => row,
                Err(e) => return Ok(Err(e)),
            };
        match form.decision {
            Decision::Allow => {
                let remember = form.remember.is_some();
                service.approve(visitor.account, &row, remember, &visitor.address)?;
            }
            Decision::Decline => service.decline(visitor.account, &row, &visitor.address)?,
        }
        Ok(Ok(()))
    })
    .await?;
    match done {
        Ok(()) => Ok(Redirect::to("/account/devices").into_response()),
        Err(e) => problem(csrf, e),
    }
}

pub(super) async fn pictogram(Path(n): Path<u8>) -> PageResult {
    if n >= 16 {
        return Err(PageError::NotFound);
    }
    let kind = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, "max-age=86400"),
    ];
    Ok((kind, pictogram::svg(n)).into_response())
}
