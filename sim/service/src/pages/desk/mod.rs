//! The returns desk's pages. They need no account and no service: a shop can
//! run them by themselves.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | routes; the desk's first page |
//! | `batch.rs` | many devices at once |
//! | `neighbour.rs` | devices beside the desk, which it can ask by cable |
//! | `check.rs` | one check: challenge, answer, verdict, certificate |
//! | `names.rs` | who works at the desk |
//! | `upload.rs` | forms with files: a bounded answer, photo or list |

mod batch;
mod check;
mod names;
mod neighbour;
mod upload;

pub use neighbour::{ByCable, Neighbour};
pub use upload::Uploads;

use super::errors::{PageError, PageResult, render};
use super::{Site, assets, session, site};
use crate::certificate::Names;
use crate::desk::photo::PhotoReader;
use crate::desk::{Condition, Desk, Handed, Note, Words};
use askama::Template;
use axum::extract::{DefaultBodyLimit, Form, Multipart, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use axum::{Router, middleware};
use nrd_sim_base::hex;
use nrd_sim_base::time_format;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use upload::Upload;

/// Largest upload, in bytes: a photo by a phone.
const MAX_UPLOAD: usize = 16 << 20;

/// What the pages reach.
#[derive(Clone)]
pub struct DeskState {
    /// The desk.
    pub desk: Arc<Desk>,
    /// Where its time comes from: the service's clock, which stories move, or
    /// the system's.
    pub now: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Devices beside it that it can ask by cable.
    pub neighbour: Option<Arc<dyn Neighbour>>,
    /// What reads photos of codes.
    pub photos: PhotoReader,
    /// Admits forms with files.
    pub uploads: Uploads,
    /// How browsers reach it.
    pub site: Site,
}

impl DeskState {
    /// A desk on the system's clock, for browsers on this machine at this port.
    pub fn on_system_time(desk: Arc<Desk>, photos: PhotoReader, port: u16) -> DeskState {
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_secs())
        };
        DeskState {
            desk,
            now: Arc::new(now),
            neighbour: None,
            photos,
            uploads: Uploads::default(),
            site: Site::local(false, port),
        }
    }
}

/// The pages, to be merged with others.
pub(super) fn routes(state: DeskState) -> Router {
    Router::new()
        .route("/desk", get(first).post(begin))
        .route("/desk/read", get(ask_read).post(read))
        .route("/desk/states", get(states))
        .route("/desk/status-list", post(take_list))
        .route("/desk/batches", get(batch::first).post(batch::begin))
        .route("/desk/batches/live", get(batch::live))
        .route(
            "/desk/batches/{id}",
            get(batch::show)
                .merge(post(batch::hand_in).layer(DefaultBodyLimit::max(batch::MAX_BUNDLE))),
        )
        .route("/desk/batches/{id}/question.txt", get(batch::question))
        .route("/desk/batches/{id}/verdicts.csv", get(batch::table))
        .route("/desk/checks/{id}", get(check::show).post(check::submit))
        .route("/desk/checks/{id}/question.txt", get(check::question))
        .route("/desk/checks/{id}/certificate", get(check::certificate))
        .route(
            "/desk/checks/{id}/certificate.pdf",
            get(check::certificate_pdf),
        )
        .route("/desk/names", post(names::set))
        .route("/desk/checks/{id}/answer.bin", get(check::download))
        .layer(DefaultBodyLimit::max(MAX_UPLOAD))
        .with_state(state)
}

/// The pages of a desk that runs without a service.
pub fn alone(state: DeskState) -> Router {
    let site = state.site.clone();
    Router::new()
        .route("/", get(async || Redirect::to("/desk")))
        .merge(routes(state))
        .merge(assets::routes())
        .fallback(super::errors::nothing_here)
        .layer(middleware::from_fn_with_state(site, site::at_home))
        .layer(middleware::from_fn(super::errors::catch_panics))
        .layer(middleware::from_fn(session::headers))
}

/// A line of the list of checks.
struct Line {
    id: String,
    device_id: String,
    when: String,
    verdict: &'static str,
    colour: &'static str,
}

/// A device beside the desk.
struct Beside {
    id: String,
    state: &'static str,
    colour: &'static str,
}

/// What the desk has of its maker's lists, in words.
struct List {
    text: String,
    fresh: bool,
}

#[derive(Template)]
#[template(path = "desk.html")]
struct FirstPage {
    lines: Vec<Line>,
    list: List,
    maker: String,
    problem: Option<String>,
    device_id: String,
    /// The devices beside the desk, to choose from.
    here: Vec<Beside>,
    /// Who works here.
    names: Names,
}

fn list(state: &DeskState) -> List {
    let lists = state.desk.lists();
    let models = match lists.models() {
        None => " No model list: sectors and key slots are each device’s own word.".to_owned(),
        Some(l) => format!(
            " Model list {} of {}, with {}.",
            l.number,
            time_format::day(l.issued_at),
            time_format::count(l.models.len() as u64, "model"),
        ),
    };
    match lists.status() {
        None => List {
            text: "No status list at hand: verdicts say “revocation not checked”.".to_owned()
                + &models,
            fresh: false,
        },
        Some(l) => List {
            fresh: (state.now)() <= l.next_update,
            text: format!(
                "Status list {} of {}, in date until {}: it names {}, {} and {}.{models}",
                l.number,
                time_format::day(l.issued_at),
                time_format::day(l.next_update),
                time_format::count(l.devices.len() as u64, "device"),
                time_format::count(l.models.len() as u64, "model"),
                time_format::count(l.agents.len() as u64, "agent version"),
            ),
        },
    }
}

fn page(
    state: &DeskState,
    headers: &HeaderMap,
    problem: Option<String>,
    device_id: String,
) -> FirstPage {
    let lines = state.desk.newest(20).into_iter().map(|c| Line {
        when: time_format::moment(c.began),
        verdict: match (&c.verdict, c.note) {
            (Some(v), _) => v.title,
            (None, Some(Note::State(said))) => said.words().title,
            (None, Some(Note::Ignored(_)) | None) => "Waiting for an answer",
        },
        colour: match (&c.verdict, c.note) {
            (Some(v), _) if v.good => "good",
            (Some(_), _) => "bad",
            (None, Some(Note::State(said))) => check::colour(said.words().tone),
            (None, Some(Note::Ignored(_)) | None) => "wait",
        },
        id: c.id,
        device_id: c.device_id,
    });
    FirstPage {
        lines: lines.collect(),
        list: list(state),
        maker: hex(state.desk.maker_root()),
        problem,
        device_id,
        names: names::names(&state.site, headers),
        here: (state.neighbour.as_ref()).map_or_else(Vec::new, |n| beside(n.devices())),
    }
}

fn beside(devices: Vec<(String, Condition)>) -> Vec<Beside> {
    let view = |(id, condition): (String, Condition)| {
        let words = condition.words();
        Beside {
            id,
            state: words.title,
            colour: check::colour(words.tone),
        }
    };
    devices.into_iter().map(view).collect()
}

/// What a device's screen may say in the place of an answer, all of it.
#[derive(Template)]
#[template(path = "desk_states.html")]
struct StatesPage {
    states: Vec<(&'static str, Words, Option<String>)>,
}

async fn states() -> PageResult {
    let states = Condition::all().map(|c| {
        let words = c.words();
        (check::colour(words.tone), words, c.text())
    });
    Ok(render(&StatesPage {
        states: states.collect(),
    }))
}

async fn first(State(state): State<DeskState>, headers: HeaderMap) -> PageResult {
    Ok(render(&page(&state, &headers, None, String::new())))
}

#[derive(Deserialize)]
struct Begin {
    device_id: String,
}

async fn begin(
    State(state): State<DeskState>,
    headers: HeaderMap,
    Form(form): Form<Begin>,
) -> PageResult {
    let id: String = form.device_id.split_whitespace().collect();
    if nrd_agent::wire::DeviceId::new(&id).is_none() {
        let problem = "A device id is 1 to 32 letters, digits and signs, as the label says it.";
        let shown = id.chars().take(64).collect();
        let page = page(&state, &headers, Some(problem.to_owned()), shown);
        return Ok((axum::http::StatusCode::UNPROCESSABLE_ENTITY, render(&page)).into_response());
    }
    let check = state
        .desk
        .begin(&id, (state.now)())
        .map_err(PageError::from)?;
    Ok(Redirect::to(&format!("/desk/checks/{}", check.id)).into_response())
}

async fn take_list(
    State(state): State<DeskState>,
    headers: HeaderMap,
    form: Multipart,
) -> PageResult {
    let upload = Upload::read(form, &state).await?;
    let taken = match upload.file {
        Some(frame) => state.desk.take_list(&frame).map_err(|e| e.to_string()),
        None => Err("Choose the maker’s list file first.".to_owned()),
    };
    match taken {
        Ok(()) => Ok(Redirect::to("/desk#list").into_response()),
        Err(problem) => {
            let page = page(&state, &headers, Some(problem), String::new());
            let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
            Ok((status, render(&page)).into_response())
        }
    }
}

#[derive(Template)]
#[template(path = "desk_read.html")]
struct ReadPage {
    verdict: Option<check::VerdictView>,
    state: Option<check::StateView>,
    problem: Option<&'static str>,
}

impl ReadPage {
    const EMPTY: ReadPage = ReadPage {
        verdict: None,
        state: None,
        problem: None,
    };
}

async fn ask_read() -> PageResult {
    Ok(render(&ReadPage::EMPTY))
}

async fn read(State(state): State<DeskState>, form: Multipart) -> PageResult {
    let upload = Upload::read(form, &state).await?;
    let page = match upload.answer(&state.photos).await {
        Ok(Handed::Answer(frame)) => {
            let verdict = state.desk.read(&frame, (state.now)());
            ReadPage {
                verdict: Some(check::VerdictView::of(verdict)),
                ..ReadPage::EMPTY
            }
        }
        Ok(Handed::State(said)) => ReadPage {
            state: Some(check::StateView::handed(said)),
            ..ReadPage::EMPTY
        },
        Err(e) => ReadPage {
            problem: Some(e),
            ..ReadPage::EMPTY
        },
    };
    Ok(render(&page))
}
