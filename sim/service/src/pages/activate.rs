//! Activation: the code on the screen is typed here; the page shows which
//! device asks, before it asks for consent.

use super::AppState;
use super::device_status;
use super::errors::{PageError, PageResult, render};
use super::session::Visitor;
use crate::account::CodeError;
use crate::store::ActivationRow;
use crate::worker::blocking;
use crate::{Error, Service};
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
    /// The policy has changed since the page was shown.
    changed: bool,
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
        Ok(Ok(question(&service, &visitor, row)?))
    })
    .await?;
    match found {
        Ok(page) => Ok(render(&page)),
        Err(e) => problem(csrf, e),
    }
}

/// The page that asks for consent.
fn question(
    service: &Service,
    visitor: &Visitor,
    row: ActivationRow,
) -> crate::Result<ConfirmPage> {
    Ok(ConfirmPage {
        csrf: visitor.csrf.clone(),
        code: row.code.unwrap_or_default(),
        kind: device_kind::heading(row.kind),
        is_computer: !device_kind::remembers_always(row.kind),
        model: row.model,
        device_id: row.device,
        pictogram: row.pictogram,
        pictogram_words: pictogram::words(row.pictogram),
        account: service.account(visitor.account)?.name,
        policy: service.store.policy_version()?,
        changed: false,
    })
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
    /// The version of the policy that the page named.
    policy: u32,
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
        let allows = matches!(form.decision, Decision::Allow);
        // The button was pressed twice: the first press has done it.
        if allows && service.consented_to(visitor.account, &form.code)? {
            return Ok(Ok(None));
        }
        let row =
            match service.look_up_code_from(visitor.account, &form.code, Some(&visitor.address)) {
                Ok(row) => row,
                // There is nothing to decline, or nothing any more.
                Err(CodeError::Unknown) if !allows => return Ok(Ok(None)),
                Err(e) => return Ok(Err(e)),
            };
        if !allows {
            service.decline(visitor.account, &row, visitor.origin())?;
            return Ok(Ok(None));
        }
        let (remember, from) = (form.remember.is_some(), visitor.origin());
        match service.approve(visitor.account, &row, form.policy, remember, from) {
            Ok(_) => Ok(Ok(None)),
            Err(Error::PolicyChanged) => {
                let page = question(&service, &visitor, row)?;
                Ok(Ok(Some(ConfirmPage {
                    changed: true,
                    ..page
                })))
            }
            Err(e) => Err(e),
        }
    })
    .await?;
    match done {
        Ok(None) => Ok(Redirect::to("/account/devices").into_response()),
        Ok(Some(again)) => Ok((StatusCode::CONFLICT, render(&again)).into_response()),
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
