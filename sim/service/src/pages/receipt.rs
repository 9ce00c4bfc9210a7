//! A receipt to view, print and download.

use super::AppState;
use super::certificate::{CertificatePage, Wish, pdf};
use super::errors::{PageResult, render};
use super::session::Visitor;
use crate::certificate::{Certificate, Names};
use crate::store::AccountId;
use crate::worker::blocking;
use crate::{Error, Service};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use nrd_sim_base::unhex;
use nrd_sim_forensics::verify::{Fact, Verdict, Verified};

#[derive(Template)]
#[template(path = "receipt.html")]
struct Page {
    csrf: String,
    id: String,
    v: Verified,
    headline: &'static str,
    words: Vec<String>,
    facts: Vec<Fact>,
    limits: Vec<String>,
}

/// The verdict, for a person.
fn headline(v: &Verified) -> &'static str {
    match v.verdict {
        Verdict::Proven => "Proven wiped",
        Verdict::Contradictory(_) => "Not proven: the receipt contradicts itself",
        Verdict::Failed => "Wipe failed",
        Verdict::Revoked => "Not proven: its maker no longer vouches for this device",
        Verdict::NotChecked => "Not proven: the maker’s model list does not know this model",
        Verdict::NotThisDevice | Verdict::NotThisQuestion | Verdict::Replayed => {
            "Not proven: it is about something else"
        }
    }
}

/// The receipt of an activation, verified again: a page that says "proven"
/// does not rely on what was found when it was stored.
fn find(service: &Service, account: AccountId, id: &str) -> Result<(Verified, Vec<u8>), Error> {
    let activation = unhex(id).ok_or(Error::NotFound)?;
    let frame = service.store.receipt(account, &activation)?;
    let row = service
        .store
        .activation(&activation)?
        .ok_or(Error::NotFound)?;
    let judged = service.judge_receipt(&frame, &row.device, Some(&row))?;
    Ok((judged.map_err(|_| Error::Sealed)?, frame))
}

pub(super) async fn show(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let (v, _) = find(&service, visitor.account, &id)?;
        Ok(Page {
            csrf: visitor.csrf,
            id,
            headline: headline(&v),
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
        let back = format!("/account/devices/{id}/receipt");
        Ok(CertificatePage::new(
            certify(&service, visitor.account, &id)?,
            back,
        ))
    })
    .await?;
    Ok(render(&page))
}

/// The account holder is no clerk: whoever hands the device on fills in names.
fn certify(service: &Service, account: AccountId, id: &str) -> Result<Certificate, Error> {
    let (v, frame) = find(service, account, id)?;
    Ok(Certificate::new(
        &v,
        &frame,
        &Names::default(),
        service.now_s(),
    ))
}

pub(super) async fn certificate_pdf(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(wish): Query<Wish>,
) -> PageResult {
    let service = state.service.clone();
    let made = blocking(move || Ok(pdf(&certify(&service, visitor.account, &id)?, &wish)));
    made.await?
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
