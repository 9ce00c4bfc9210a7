//! One check: the challenge, the answer, the verdict.

use super::names::names;
use super::upload::Upload;
use super::{ByCable, DeskState, PageError, PageResult, render};
use crate::certificate::Certificate;
use crate::desk::{Challenge, Check, Condition, Handed, Note, Tone, Verdict, Words, qr_svg};
use crate::pages::certificate::{CertificatePage, Wish, pdf};
use askama::Template;
use axum::extract::{Multipart, Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
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

/// A question in the forms in which it is carried.
pub(super) struct QuestionView {
    pub(super) text: String,
    /// Its code.
    pub(super) qr: String,
    /// The nonce in groups, to be read aloud or typed.
    pub(super) groups: Vec<String>,
    pub(super) nonce: String,
    /// Where its file is.
    pub(super) file: String,
}

impl QuestionView {
    pub(super) fn of(nonce: [u8; 32], file: String) -> QuestionView {
        let text = Challenge { nonce }.text();
        let nonce = hex(&nonce);
        let groups = nonce.as_bytes().chunks(8);
        QuestionView {
            // A question always fits; without the code the text is enough.
            qr: qr_svg(&text, "QR code of the question").unwrap_or_default(),
            text,
            groups: groups
                .map(|g| String::from_utf8_lossy(g).into_owned())
                .collect(),
            nonce,
            file,
        }
    }
}

/// A question as a file: its text, and nothing else.
pub(super) fn question_file(nonce: [u8; 32]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"question.txt\"",
        ),
    ];
    (headers, Challenge { nonce }.text()).into_response()
}

pub(super) async fn question(State(state): State<DeskState>, Path(id): Path<String>) -> PageResult {
    let check = state.desk.check(&id).ok_or(PageError::NotFound)?;
    Ok(question_file(check.nonce))
}

/// A state, ready to be shown.
pub(super) struct StateView {
    /// Who says so: its heading.
    pub(super) heading: &'static str,
    pub(super) colour: &'static str,
    pub(super) words: Words,
    pub(super) percent: Option<u32>,
}

/// A colour on the page.
pub(super) fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Bad => "bad",
        Tone::Wait => "wait",
    }
}

impl StateView {
    /// Of a device that has said its state in the place of an answer.
    pub(super) fn handed(condition: Condition) -> StateView {
        StateView::of("What the device says", condition, None)
    }

    fn of(heading: &'static str, condition: Condition, percent: Option<u32>) -> StateView {
        let words = condition.words();
        StateView {
            heading,
            colour: colour(words.tone),
            words,
            percent,
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
    q: QuestionView,
    ignored: Option<&'static str>,
    good: bool,
    verdict: Option<VerdictView>,
    /// The device stands beside the desk.
    cable: Option<ByCable>,
    /// Its state, where the desk sees it, or was handed it in the place of an
    /// answer.
    state: Option<StateView>,
}

fn page(c: Check, state: &DeskState) -> Page {
    let neighbour = state.neighbour.as_ref();
    let cable = neighbour.and_then(|n| n.by_cable(&c.device_id, &c.id));
    let good = c.verdict.as_ref().is_some_and(|v| v.good);
    let (ignored, said) = match c.note {
        None => (None, None),
        Some(Note::Ignored(why)) => (Some(why), None),
        Some(Note::State(condition)) => (None, Some(condition)),
    };
    // What is seen now counts more than what was handed in; what was proven,
    // more than both.
    let state = match (&cable, said) {
        _ if good => None,
        (Some(c), _) => Some(StateView::of("Beside this desk", c.condition, c.percent)),
        (None, Some(said)) => Some(StateView::handed(said)),
        (None, None) => None,
    };
    Page {
        began: moment(c.began),
        until: moment(c.began + crate::desk::NONCE_LIFE_S),
        q: QuestionView::of(c.nonce, format!("/desk/checks/{}/question.txt", c.id)),
        id: c.id,
        device_id: c.device_id,
        ignored,
        cable,
        state,
        good,
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
        Ok(Handed::Answer(frame)) => state.desk.submit(&id, &frame, (state.now)()),
        Ok(Handed::State(said)) => state.desk.no_answer(&id, Note::State(said)),
        Err(why) => state.desk.no_answer(&id, Note::Ignored(why)),
    }
    .ok_or(PageError::NotFound)?;
    Ok(Redirect::to(&format!("/desk/checks/{id}#main")).into_response())
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
        &names(&state.site, headers),
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
