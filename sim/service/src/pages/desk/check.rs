//! One check: the challenge, the answer, the verdict.

use super::names::names;
use super::upload::Upload;
use super::{ByCable, DeskState, PageError, PageResult, render};
use crate::certificate::Certificate;
use crate::desk::{Challenge, Check, Verdict, qr_svg};
use crate::pages::certificate::{CertificatePage, Wish, pdf};
use askama::Template;
use axum::extract::{Multipart, Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect};
use nrd_sim_base::hex;
use nrd_sim_base::time_format::moment;
use nrd_sim_forensics::verify::Fact;

/// A verdict, ready to be shown.
pub(super) struct VerdictView {
    pub(super) colour: &'static str,
    pub(super) title: &'static str,
    pub(super) why: String,
    pub(super) at: String,
    pub(super) words: Vec<String>,
    pub(super) facts: Vec<Fact>,
    pub(super) limits: Vec<String>,
}

impl VerdictView {
    pub(super) fn of(v: Verdict) -> VerdictView {
        let signed = v.signed.as_ref();
        let clean_past = signed.is_some_and(|s| s.clean && !s.revocation.revoked());
        VerdictView {
            colour: match (v.good, clean_past) {
                (true, _) => "good",
                // The signatures hold, and nothing was proven about now.
                (false, true) => "wait",
                (false, false) => "bad",
            },
            title: v.title,
            why: v.why,
            at: moment(v.at),
            words: signed.map(|s| s.in_words()).unwrap_or_default(),
            facts: signed.map(|s| s.facts()).unwrap_or_default(),
            limits: signed.map(|s| s.limits()).unwrap_or_default(),
        }
    }
}

#[derive(Template)]
#[template(path = "desk_check.html")]
struct Page {
    id: String,
    device_id: String,
    began: String,
    until: String,
    challenge: String,
    /// The nonce in groups, to be read aloud or typed.
    groups: Vec<String>,
    nonce: String,
    qr: String,
    ignored: Option<&'static str>,
    good: bool,
    verdict: Option<VerdictView>,
    /// The device stands beside the desk.
    cable: Option<ByCable>,
}

fn page(c: Check, state: &DeskState) -> Page {
    let neighbour = state.neighbour.as_ref();
    let cable = neighbour.and_then(|n| n.by_cable(&c.device_id, &c.id));
    let challenge = Challenge { nonce: c.nonce };
    let text = challenge.text();
    let nonce = hex(&c.nonce);
    let groups = nonce.as_bytes().chunks(8);
    Page {
        began: moment(c.began),
        until: moment(c.began + crate::desk::NONCE_LIFE_S),
        // A challenge always fits; without the code the text is enough.
        qr: qr_svg(&text, "QR code of the challenge").unwrap_or_default(),
        challenge: text,
        groups: groups
            .map(|g| String::from_utf8_lossy(g).into_owned())
            .collect(),
        nonce,
        id: c.id,
        device_id: c.device_id,
        ignored: c.ignored,
        cable,
        good: c.verdict.as_ref().is_some_and(|v| v.good),
        verdict: c.verdict.map(VerdictView::of),
    }
}

pub(super) async fn show(State(state): State<DeskState>, Path(id): Path<String>) -> PageResult {
    let check = state.desk.check(&id).ok_or(PageError::NotFound)?;
    Ok(render(&page(check, &state)))
}

pub(super) async fn submit(
    State(state): State<DeskState>,
    Path(id): Path<String>,
    form: Multipart,
) -> PageResult {
    let answer = Upload::read(form, &state)
        .await?
        .answer(&state.photos)
        .await;
    match answer {
        Ok(frame) => state.desk.submit(&id, &frame, (state.now)()),
        Err(why) => state.desk.unreadable(&id, why),
    }
    .ok_or(PageError::NotFound)?;
    Ok(Redirect::to(&format!("/desk/checks/{id}#verdict")).into_response())
}

/// The certificate of a check whose answer was good.
fn certify(state: &DeskState, id: &str, headers: &HeaderMap) -> Result<Certificate, PageError> {
    let check = state.desk.check(id).ok_or(PageError::NotFound)?;
    let verdict = check
        .verdict
        .filter(|v| v.good)
        .ok_or(PageError::NotFound)?;
    let signed = verdict.signed.ok_or(PageError::NotFound)?;
    let now = (state.now)();
    Ok(Certificate::new(
        &signed,
        &verdict.frame,
        &names(headers),
        now,
    ))
}

pub(super) async fn certificate(
    State(state): State<DeskState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> PageResult {
    let certificate = certify(&state, &id, &headers)?;
    let back = format!("/desk/checks/{id}");
    Ok(render(&CertificatePage::new(certificate, back)))
}

pub(super) async fn certificate_pdf(
    State(state): State<DeskState>,
    Path(id): Path<String>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> PageResult {
    pdf(&certify(&state, &id, &headers)?, &wish)
}

pub(super) async fn download(State(state): State<DeskState>, Path(id): Path<String>) -> PageResult {
    let check = state.desk.check(&id).ok_or(PageError::NotFound)?;
    let verdict = check.verdict.ok_or(PageError::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"answer.bin\"",
        ),
    ];
    Ok((headers, verdict.frame).into_response())
}
