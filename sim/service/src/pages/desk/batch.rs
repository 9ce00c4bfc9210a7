//! Many devices at once: one question, many answers, a table of verdicts.

use super::check::{QuestionView, question_file};
use super::names::names;
use super::upload::Bundle;
use super::{DeskState, PageError, PageResult, render};
use crate::certificate::Names;
use crate::desk::photo::PhotoError;
use crate::desk::{
    Batch, ChallengeTextError, Handed, MAX_ROWS, NO_ANSWER, Row, answers_in, is_picture,
    parse_handed,
};
use askama::Template;
use axum::extract::{Form, Multipart, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Redirect, Sse};
use futures_util::stream::{Stream, unfold};
use nrd_agent::wire::DeviceId;
use nrd_sim_base::time_format;
use serde::Deserialize;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::Instant;

/// Largest form with many files, in bytes.
pub(super) const MAX_BUNDLE: usize = 64 << 20;
/// How long the files of one form may take to be read.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A line of the list of batches.
struct Line {
    id: String,
    when: String,
    state: String,
}

#[derive(Template)]
#[template(path = "desk_batches.html")]
struct FirstPage {
    lines: Vec<Line>,
    problem: Option<String>,
    labels: String,
    most: usize,
}

fn first_page(state: &DeskState, problem: Option<String>, labels: String) -> FirstPage {
    let line = |b: Batch| Line {
        when: time_format::moment(b.began),
        state: summary(&b),
        id: b.id,
    };
    FirstPage {
        lines: state.desk.batches().into_iter().map(line).collect(),
        problem,
        labels,
        most: MAX_ROWS,
    }
}

/// "48 of 50 proven clean."
fn summary(b: &Batch) -> String {
    let of = b.rows.len() + b.missing().count();
    match of {
        0 => "No answer handed in yet.".to_owned(),
        of => format!("{} of {of} proven clean.", b.good()),
    }
}

pub(super) async fn first(State(state): State<DeskState>) -> PageResult {
    Ok(render(&first_page(&state, None, String::new())))
}

#[derive(Deserialize)]
pub(super) struct Begin {
    #[serde(default)]
    labels: String,
}

pub(super) async fn begin(State(state): State<DeskState>, Form(form): Form<Begin>) -> PageResult {
    let labels: Vec<String> = form.labels.split_whitespace().map(str::to_owned).collect();
    let wrong = labels.iter().find(|id| DeviceId::new(id).is_none());
    let problem = match wrong {
        Some(id) => {
            let id: String = id.chars().take(40).collect();
            Some(format!(
                "{id} is no device id: 1 to 32 letters, digits and signs, as the label says it."
            ))
        }
        None if labels.len() > MAX_ROWS => {
            Some(format!("A batch takes at most {MAX_ROWS} devices."))
        }
        None => None,
    };
    if problem.is_some() {
        let page = render(&first_page(&state, problem, form.labels));
        return Ok((axum::http::StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    let batch = state.desk.begin_batch(labels, (state.now)());
    let batch = batch.map_err(PageError::from)?;
    Ok(Redirect::to(&format!("/desk/batches/{}", batch.id)).into_response())
}

#[derive(Template)]
#[template(path = "desk_batch.html")]
struct Page {
    id: String,
    began: String,
    until: String,
    q: QuestionView,
    summary: String,
    waiting: usize,
    left: usize,
    /// Those that are not proven stand first: they need the clerk.
    bad: Vec<Row>,
    missing: Vec<String>,
    good: Vec<Row>,
    no_answer: &'static str,
    names: Names,
    most: usize,
}

pub(super) async fn show(
    State(state): State<DeskState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> PageResult {
    let b = state.desk.batch(&id).ok_or(PageError::NotFound)?;
    let nonce = b.nonce.ok_or(PageError::NotFound)?;
    let (summary, missing) = (summary(&b), b.missing().map(str::to_owned).collect());
    let (good, bad) = b.rows.into_iter().partition(|row| row.good);
    Ok(render(&Page {
        began: time_format::moment(b.began),
        until: time_format::moment(b.began + crate::desk::NONCE_LIFE_S),
        q: QuestionView::of(nonce, format!("/desk/batches/{id}/question.txt")),
        summary,
        waiting: b.waiting,
        left: b.left,
        bad,
        missing,
        good,
        no_answer: NO_ANSWER.0,
        names: names(&state.site, &headers),
        most: MAX_ROWS,
        id: b.id,
    }))
}

pub(super) async fn question(State(state): State<DeskState>, Path(id): Path<String>) -> PageResult {
    let batch = state.desk.batch(&id).ok_or(PageError::NotFound)?;
    Ok(question_file(batch.nonce.ok_or(PageError::NotFound)?))
}

/// Takes the form and answers at once; its files are read one after the other, and
/// the page follows.
pub(super) async fn hand_in(
    State(state): State<DeskState>,
    Path(id): Path<String>,
    form: Multipart,
) -> PageResult {
    let batch = state.desk.batch(&id).ok_or(PageError::NotFound)?;
    let room = MAX_ROWS.saturating_sub(batch.rows.len());
    let bundle = Bundle::read(form, &state, room).await?;
    if bundle.files.is_empty() && bundle.left == 0 {
        return Err(PageError::Form(
            "Choose the devices’ files or photos, or paste their answers, one a line.",
        ));
    }
    let to = format!("/desk/batches/{id}#verdicts");
    state.desk.batch_waits(&id, bundle.files.len());
    tokio::spawn(async move {
        if let Err(e) = read_all(&state, &id, bundle).await {
            tracing::error!(error = %e, "answers of a batch were not judged");
        }
        state.desk.batch_waits(&id, 0);
    });
    Ok(Redirect::to(&to).into_response())
}

/// Judges everything that a form brought. What cannot be read costs its own row.
async fn read_all(state: &DeskState, id: &str, bundle: Bundle) -> crate::Result<()> {
    let Bundle {
        files,
        left,
        admitted,
    } = bundle;
    let until = Instant::now() + PATIENCE;
    let mut waiting = files.len();
    for (name, file) in files {
        for (given, handed) in read_file(state, name, file, until).await {
            state.desk.take_in(id, &given, handed, (state.now)())?;
        }
        waiting -= 1;
        state.desk.batch_waits(id, waiting);
    }
    state.desk.batch_is_full(id, left);
    drop(admitted);
    Ok(())
}

/// What one file holds: an answer, several, or a photo of a code.
async fn read_file(
    state: &DeskState,
    name: String,
    file: Vec<u8>,
    until: Instant,
) -> Vec<(String, Result<Handed, &'static str>)> {
    if is_picture(&file) {
        let read = tokio::time::timeout_at(until, state.photos.read_in_turn(file)).await;
        let handed = match read {
            Ok(Ok(text)) => parse_handed(text.as_bytes()).map_err(ChallengeTextError::text),
            Ok(Err(e)) => Err(PhotoError::text(e)),
            Err(_) => Err("Time was up before this photo’s turn. Hand it in again."),
        };
        return vec![(name, handed)];
    }
    let answers = answers_in(file, MAX_ROWS);
    let one = answers.len() == 1;
    let row = |(n, answer): (usize, Vec<u8>)| {
        let given = if one {
            name.clone()
        } else {
            format!("{name}, {}", n + 1)
        };
        (
            given,
            parse_handed(&answer).map_err(ChallengeTextError::text),
        )
    };
    answers.into_iter().enumerate().map(row).collect()
}

/// An event for each change, while a page is open.
pub(super) async fn live(
    State(state): State<DeskState>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    /// Between two pieces of news.
    const PAUSE: Duration = Duration::from_millis(300);
    let events = unfold(state.desk.news(), |mut news| async move {
        news.changed().await.ok()?;
        tokio::time::sleep(PAUSE).await;
        news.mark_unchanged();
        Some((Ok(Event::default().data("changed")), news))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

pub(super) async fn table(
    State(state): State<DeskState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> PageResult {
    let batch = state.desk.batch(&id).ok_or(PageError::NotFound)?;
    let link = |row: &Row| {
        let id = row.check.as_deref();
        id.map_or_else(String::new, |id| format!("/desk/checks/{id}"))
    };
    let headers_out = [
        (
            header::CONTENT_TYPE,
            "text/csv; charset=utf-8; header=present",
        ),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"verdicts.csv\"",
        ),
    ];
    Ok((headers_out, batch.csv(&names(&state.site, &headers), link)).into_response())
}
