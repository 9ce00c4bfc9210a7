//! A receipt to view, print and download.

use super::AppState;
use super::certificate::Certificate;
use super::errors::{PageResult, render};
use super::session::Visitor;
use crate::store::AccountId;
use crate::worker::blocking;
use crate::{Error, Service};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use nrd_sim_base::unhex;
use nrd_sim_forensics::verify::{Fact, Verified};

#[derive(Template)]
#[template(path = "receipt.html")]
struct Page {
    csrf: String,
    id: String,
    v: Verified,
    words: Vec<String>,
    facts: Vec<Fact>,
    limits: Vec<String>,
}

/// The receipt of an activation, verified again: a page that says "proven"
/// does not rely on what was found when it was stored.
fn find(service: &Service, account: AccountId, id: &str) -> Result<Verified, Error> {
    let activation = unhex(id).ok_or(Error::NotFound)?;
    let frame = service.store.receipt(account, &activation)?;
    let row = service
        .store
        .activation(&activation)?
        .ok_or(Error::NotFound)?;
    let judged = service.judge_receipt(&frame, &row.device, Some(&row));
    judged.map_err(|_| Error::Sealed)
}

pub(super) async fn show(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let v = find(&service, visitor.account, &id)?;
        Ok(Page {
            csrf: visitor.csrf,
            id,
            words: v.in_words(),
            facts: v.facts(),
            limits: v.limits(),
            v,
        })
    })
    .await?;
    Ok(render(&page))
}

pub(super) async fn certificate(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let v = find(&service, visitor.account, &id)?;
        let back = format!("/account/devices/{id}/receipt");
        Ok(Certificate::new(&v, service.now_s(), back))
    })
    .await?;
    Ok(render(&page))
}

pub(super) async fn download(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> PageResult {
    let service = state.service.clone();
    let frame = blocking(move || {
        let activation = unhex(&id).ok_or(Error::NotFound)?;
        service.store.receipt(visitor.account, &activation)
    })
    .await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"receipt.bin\"",
        ),
    ];
    Ok((headers, frame).into_response())
}
