//! The living room's page: every control is a form, and works without a
//! script; with one, the page follows what happens.

use super::{
    DeskAnswer, Face, Item, Key, Look, Readable, Room, SPEEDS, Set, Square, dump, readable, squares,
};
use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Redirect, Sse};
use axum::routing::{get, post};
use futures_util::stream::{Stream, unfold};
use nrd_sim_base::device_kind;
use nrd_sim_base::pictogram;
use nrd_sim_base::time_format;
use nrd_sim_service::blocking;
use nrd_sim_service::desk::{Challenge, Condition, answer_text, qr_svg};
use nrd_sim_service::pages::{ByCable, DeskState, Neighbour, PageError, PageResult, file, render};
use serde::Deserialize;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// The room's site, to be mounted beside the account pages. There may be no
/// room in it yet: its pages answer "nothing here" until [`RoomSite::furnish`].
#[derive(Default)]
pub struct RoomSite {
    room: OnceLock<Arc<Room>>,
    /// What was read with the root key, by device, and after which operation.
    read: Mutex<HashMap<usize, (u64, Readable)>>,
}

impl RoomSite {
    /// Puts the room in; false when there is one already, which then stays.
    pub fn furnish(&self, room: Arc<Room>) -> bool {
        self.room.set(room).is_ok()
    }
}

impl Neighbour for RoomSite {
    fn pages(self: Arc<Self>, counter: DeskState) -> Router {
        routes(Door {
            site: self,
            counter,
        })
    }

    fn devices(&self) -> Vec<(String, Condition)> {
        let state = |s: &Set| (s.id().to_owned(), s.face().condition);
        let room = self.room.get();
        room.map_or_else(Vec::new, |room| room.sets().iter().map(state).collect())
    }

    fn by_cable(&self, device_id: &str, check: &str) -> Option<ByCable> {
        let room = self.room.get()?;
        let face = room.set(at_desk(room, device_id)?)?.face();
        Some(ByCable {
            form: format!("/room/ask/{check}"),
            live: "/room/live".to_owned(),
            hint: "It stands in the living room; it must be on.".to_owned(),
            condition: face.condition,
            percent: face.progress.map(|p| p.percent()),
        })
    }
}

/// What the pages reach.
#[derive(Clone)]
struct Door {
    site: Arc<RoomSite>,
    counter: DeskState,
}

impl Door {
    fn room(&self) -> Result<&Arc<Room>, PageError> {
        self.site.room.get().ok_or(PageError::NotFound)
    }
}

/// The routes.
fn routes(door: Door) -> Router {
    Router::new()
        .route(
            "/room.css",
            get(async || file("text/css; charset=utf-8", CSS)),
        )
        .route(
            "/room.js",
            get(async || file("text/javascript; charset=utf-8", JS)),
        )
        .route("/room", get(show))
        .route("/room/live", get(live))
        .route("/room/advance", post(advance))
        .route("/room/speed", post(speed))
        .route("/room/{n}/key", post(key))
        .route("/room/{n}/plug", post(plug))
        .route("/room/{n}/network", post(network))
        .route("/room/{n}/receipt.bin", get(receipt))
        .route("/room/tape.txt", get(tape))
        .route("/room/session.toml", get(session))
        .route("/room/ask/{check}", post(ask))
        .with_state(door)
}

const CSS: &str = include_str!("../../assets/room.css");
const JS: &str = include_str!("../../assets/room.js");

#[derive(Deserialize, Clone, Default)]
pub(super) struct Wish {
    /// Show what can be read with the root key.
    #[serde(default)]
    root: String,
    /// Show the bytes of this device …
    set: Option<usize>,
    /// … and of this sector.
    sector: Option<usize>,
}

/// A device on the page.
struct SetView {
    number: usize,
    place: &'static str,
    kind: String,
    icon: device_kind::Picture,
    id: String,
    face: Face,
    percent: u32,
    pictogram_words: String,
    answer_qr: String,
    /// The code is a signed answer, and no state.
    answered: bool,
    receipt_qr: String,
    items: Vec<(&'static str, bool)>,
    picture: String,
    summary: String,
    sectors: usize,
    wear: String,
    counter: u64,
    readable: Option<String>,
    any_readable: bool,
    bytes: Option<(usize, Vec<String>)>,
}

#[derive(Template)]
#[template(path = "room.html")]
struct Page {
    sets: Vec<SetView>,
    root: bool,
    now: String,
    seed: u64,
    slow: u32,
    speeds: [u32; 3],
    legend: [(Look, &'static str, &'static str); 6],
    keys: [(&'static str, &'static str, &'static str); 7],
}

const KEYS: [(&str, &str, &str); 7] = [
    ("up", "↑", "Up"),
    ("left", "←", "Left"),
    ("ok", "OK", "OK"),
    ("right", "→", "Right"),
    ("back", "Back", "Back"),
    ("down", "↓", "Down"),
    ("hold", "Hold OK", "Hold OK"),
];

async fn show(State(door): State<Door>, Query(wish): Query<Wish>) -> PageResult {
    let room = door.room()?.clone();
    let sets = room.sets().iter().map(|s| set_view(&door, &room, s, &wish));
    let page = Page {
        sets: sets.collect(),
        root: !wish.root.is_empty(),
        now: time_format::moment((door.counter.now)()),
        seed: room.seed(),
        slow: room.slow(),
        speeds: SPEEDS,
        legend: Look::ALL,
        keys: KEYS,
    };
    Ok(render(&page))
}

fn set_view(door: &Door, room: &Room, set: &Set, wish: &Wish) -> SetView {
    let face = set.face();
    let struck = set.struck();
    let chip = set.hardware().chip();
    let all = squares(&chip, &struck);
    let wear: Vec<u32> = all.iter().map(|s| s.wear).collect();
    let unit = chip.spec().geometry.erase_size as usize;
    let bytes = match (wish.set, wish.sector) {
        (Some(n), Some(sector)) if n == set.number => chip
            .cells()
            .chunks(unit)
            .nth(sector)
            .map(|cells| (sector, dump(cells))),
        _ => None,
    };
    let counter = chip.counter();
    let copy = (!wish.root.is_empty()).then(|| chip.clone());
    drop(chip);
    let read = copy.map(|chip| {
        let mut known = door
            .site
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match known.get(&set.number) {
            Some((ops, read)) if *ops == chip.ops() => read.clone(),
            _ => {
                let read = readable(&chip, set.root(), room.samples());
                known.insert(set.number, (chip.ops(), read.clone()));
                read
            }
        }
    });
    let items = face.menu.iter().flat_map(|m| {
        let words = |i: &Item| i.words();
        m.items
            .iter()
            .enumerate()
            .map(move |(n, i)| (words(i), n == m.at))
    });
    let qr = |text: Option<String>, label: &str| {
        text.and_then(|t| qr_svg(&t, label)).unwrap_or_default()
    };
    let answer = face.answer.as_ref().and_then(|a| match a {
        DeskAnswer::Signed(_, frame) => Some(answer_text(frame)),
        DeskAnswer::State(said) => said.text(),
    });
    let receipt = face.receipt.as_ref().map(|f| answer_text(f));
    SetView {
        number: set.number,
        place: set.place,
        kind: device_kind::heading(set.kind()),
        icon: device_kind::picture(set.kind()),
        id: set.id().to_owned(),
        percent: face.progress.map_or(0, |p| p.percent()),
        pictogram_words: face
            .code
            .as_ref()
            .map_or(String::new(), |c| pictogram::words(c.1)),
        answered: matches!(face.answer, Some(DeskAnswer::Signed(..))),
        answer_qr: qr(answer, "QR code of the answer"),
        receipt_qr: qr(receipt, "QR code of the receipt"),
        items: items.collect(),
        picture: picture(&all, bytes.as_ref().map(|b| b.0)),
        summary: summary(&all),
        sectors: all.len(),
        wear: format!(
            "{} to {}",
            wear.iter().min().unwrap_or(&0),
            time_format::count(u64::from(*wear.iter().max().unwrap_or(&0)), "erase")
        ),
        counter,
        any_readable: read.as_ref().is_some_and(|r| r.bytes > 0),
        readable: read.map(|r| in_words(&r)),
        bytes,
        face,
    }
}

fn in_words(r: &Readable) -> String {
    if r.bytes == 0 {
        return "With the root key: no account byte can be read.".to_owned();
    }
    let classes: Vec<String> = r
        .classes
        .iter()
        .map(|(c, n)| format!("{n} × {c}"))
        .collect();
    format!(
        "With the root key: {} can be read ({}).",
        time_format::count(r.bytes as u64, "account byte"),
        classes.join(", ")
    )
}

fn summary(all: &[Square]) -> String {
    let parts = Look::ALL.iter().filter_map(|(look, _, words)| {
        let n = all.iter().filter(|s| s.look == *look).count();
        (n > 0).then(|| format!("{n} {words}"))
    });
    let parts: Vec<String> = parts.collect();
    format!("Flash of {} sectors: {}", all.len(), parts.join(", "))
}

/// Squares a row.
const ROW: usize = 16;

/// The picture: a square a sector, coloured by what stands in it.
fn picture(all: &[Square], chosen: Option<usize>) -> String {
    let rows = all.len().div_ceil(ROW);
    let mut svg = format!(
        r#"<svg class="flash" viewBox="0 0 {} {}" role="img" aria-label="{}">"#,
        ROW * 12,
        rows * 12,
        summary(all)
    );
    for (n, s) in all.iter().enumerate() {
        let (x, y) = (n % ROW * 12 + 1, n / ROW * 12 + 1);
        let (class, words) = s.look.words();
        let chosen = if chosen == Some(n) { " chosen" } else { "" };
        // Never fails on a String.
        #[expect(
            clippy::let_underscore_must_use,
            reason = "writing to a String cannot fail"
        )]
        let _ = write!(
            svg,
            r#"<rect class="{class}{chosen}" data-sector="{n}" x="{x}" y="{y}" width="10" height="10" rx="1.5"><title>Sector {n}, {}: {words}; {}</title></rect>"#,
            s.region,
            time_format::count(s.wear.into(), "erase")
        );
    }
    svg + "</svg>"
}

async fn live(
    State(door): State<Door>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, PageError> {
    /// Between two pieces of news: a picture ten times a second is enough.
    const PAUSE: Duration = Duration::from_millis(100);
    let news = door.room()?.news();
    let events = unfold(news, |mut news| async move {
        news.changed().await.ok()?;
        tokio::time::sleep(PAUSE).await;
        news.mark_unchanged();
        Some((Ok(Event::default().data("changed")), news))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Back to the page, at the device.
fn back(n: usize) -> PageResult {
    Ok(Redirect::to(&format!("/room#set-{n}")).into_response())
}

#[derive(Deserialize)]
pub(super) struct Pressed {
    key: String,
}

async fn key(
    State(door): State<Door>,
    Path(n): Path<usize>,
    Form(form): Form<Pressed>,
) -> PageResult {
    let key = Key::parse(&form.key).ok_or(PageError::Form(
        "The remote has no such key. Nothing was pressed.",
    ))?;
    door.room()?.set(n).ok_or(PageError::NotFound)?;
    door.room()?.press(n, key);
    back(n)
}

#[derive(Deserialize)]
pub(super) struct Switch {
    to: PlugPosition,
}

/// Where a plug goes; a form that says anything else is refused.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum PlugPosition {
    In,
    Out,
}

async fn plug(
    State(door): State<Door>,
    Path(n): Path<usize>,
    Form(form): Form<Switch>,
) -> PageResult {
    door.room()?.set(n).ok_or(PageError::NotFound)?;
    door.room()?.plug(n, form.to == PlugPosition::In);
    back(n)
}

async fn network(
    State(door): State<Door>,
    Path(n): Path<usize>,
    Form(form): Form<Switch>,
) -> PageResult {
    door.room()?.set(n).ok_or(PageError::NotFound)?;
    door.room()?.network(n, form.to == PlugPosition::In);
    back(n)
}

#[derive(Deserialize)]
pub(super) struct Time {
    s: u64,
}

async fn advance(State(door): State<Door>, Form(form): Form<Time>) -> PageResult {
    /// More at once is a slip of the hand.
    const MOST: u64 = 400 * 86_400;
    door.room()?.advance(form.s.min(MOST));
    Ok(Redirect::to("/room").into_response())
}

#[derive(Deserialize)]
pub(super) struct Speed {
    slow: u32,
}

async fn speed(State(door): State<Door>, Form(form): Form<Speed>) -> PageResult {
    if !SPEEDS.contains(&form.slow) {
        return Err(PageError::Form(
            "The room has no such speed. It runs as before.",
        ));
    }
    door.room()?.set_slow(form.slow);
    Ok(Redirect::to("/room").into_response())
}

async fn receipt(State(door): State<Door>, Path(n): Path<usize>) -> PageResult {
    let set = door.room()?.set(n).ok_or(PageError::NotFound)?;
    let frame = set.face().receipt.ok_or(PageError::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"receipt.bin\"",
        ),
    ];
    Ok((headers, frame).into_response())
}

/// What was done in the room, a line each: for a report of what was seen.
async fn tape(State(door): State<Door>) -> PageResult {
    let room = door.room()?;
    let mut text = format!("# seed {}\n# milliseconds, device, what\n", room.seed());
    for d in room.tape() {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "writing to a String cannot fail"
        )]
        let _ = writeln!(text, "{:>9}  {}  {}", d.at_ms, d.device, d.what);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// The session so far as a file that plays it again.
async fn session(State(door): State<Door>) -> PageResult {
    let room = door.room()?.clone();
    let text = blocking(move || Ok(room.session())).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/toml"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"session.toml\"",
        ),
    ];
    Ok((headers, text.ok_or(PageError::NotFound)?).into_response())
}

/// A check of the desk is handed to the device of the room whose label it is,
/// by cable; its answer comes back the same way.
async fn ask(State(door): State<Door>, Path(check): Path<String>) -> PageResult {
    /// A device that boots in slow motion takes a while.
    const PATIENCE: Duration = Duration::from_secs(15 * 60);
    let room = door.room()?.clone();
    let check = door.counter.desk.check(&check).ok_or(PageError::NotFound)?;
    let number = at_desk(&room, &check.device_id).ok_or(PageError::NotFound)?;
    let challenge = Challenge { nonce: check.nonce };
    room.prove(number, challenge);
    let counter = door.counter.clone();
    let back = Redirect::to(&format!("/desk/checks/{}", check.id));
    let mut news = room.news();
    tokio::spawn(tokio::time::timeout(PATIENCE, async move {
        loop {
            // The screen may still show its answer to an earlier question.
            if let Some(DeskAnswer::Signed(nonce, frame)) =
                room.set(number).and_then(|s| s.face().answer)
                && nonce == check.nonce
            {
                counter.desk.submit(&check.id, &frame, (counter.now)());
                return;
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    }));
    Ok(back.into_response())
}

/// The device of the room whose label says `id`.
fn at_desk(room: &Room, id: &str) -> Option<usize> {
    let same = |s: &&Set| s.id().eq_ignore_ascii_case(id);
    room.sets().iter().find(same).map(|s| s.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plug_goes_in_or_out_and_any_other_word_is_refused() {
        let to = |word: &str| toml::from_str::<Switch>(&format!("to = {word:?}")).map(|s| s.to);
        assert!(to("in").is_ok_and(|to| to == PlugPosition::In));
        assert!(to("out").is_ok_and(|to| to == PlugPosition::Out));
        for word in ["", "In", "sideways"] {
            assert!(to(word).is_err(), "{word}");
        }
    }
}
