//! A receipt to view and download.

use super::Site;
use super::errors::{Answer, render};
use super::guard::Visitor;
use super::view;
use crate::service::device::blocking;
use crate::service::{Error, unhex};
use crate::verify::{Verified, verify};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;

#[derive(Template)]
#[template(path = "receipt.html")]
struct Page {
    csrf: String,
    id: String,
    kind: &'static str,
    v: Verified,
    wall: Option<String>,
    powered_h: u64,
}

pub(super) async fn show(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Answer {
    let service = site.service.clone();
    let page = blocking(move || {
        let activation = unhex(&id).ok_or(Error::NotFound)?;
        let frame = service.store.receipt(visitor.account, &activation)?;
        // It was verified before it was stored; a page that says "proven"
        // verifies it again.
        let v = verify(&frame, &service.keys.maker_public(), None).map_err(|_| Error::Sealed)?;
        Ok(Page {
            csrf: visitor.csrf,
            id,
            kind: view::kind(&v.kind),
            wall: v.wall_s.map(view::moment),
            powered_h: v.powered_s / 3600,
            v,
        })
    })
    .await?;
    Ok(render(&page))
}

pub(super) async fn download(
    State(site): State<Site>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Answer {
    let service = site.service.clone();
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
