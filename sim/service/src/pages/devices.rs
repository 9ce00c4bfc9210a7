//! Manage Netflix ready devices and computers.

use super::AppState;
use super::device_status;
use super::errors::{PageError, PageResult, render};
use super::session::Visitor;
use crate::account::{Device, DeviceStatus};
use crate::store::AccountId;
use crate::worker::blocking;
use crate::{Error, Service};
use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use nrd_sim_base::device_kind;
use nrd_sim_base::time_format;
use nrd_sim_base::{hex, unhex};
use serde::Deserialize;

/// One entry of the list.
struct Entry {
    id: String,
    name: String,
    renamed: bool,
    model: String,
    kind: String,
    icon: device_kind::Picture,
    device_id: String,
    since: String,
    seen: String,
    address: Option<String>,
    state: &'static str,
    colour: &'static str,
    meaning: String,
    progress: Option<[(&'static str, &'static str); 3]>,
    removable: bool,
    over: bool,
    /// Its removal is ordered, and not proven.
    ordered: bool,
    can_sign_out: bool,
    receipt: bool,
    remember: bool,
    gap: bool,
    losses: Vec<&'static str>,
}

struct Computer {
    series: String,
    icon: device_kind::Picture,
    browser: String,
    since: String,
    seen: String,
    this: bool,
}

#[derive(Template)]
#[template(path = "devices.html")]
struct ListPage {
    csrf: String,
    entries: Vec<Entry>,
    former: Vec<Entry>,
    computers: Vec<Computer>,
    removable: usize,
    consent_due: bool,
}

fn entry(d: Device, now: u64) -> Entry {
    let view = device_status::status_view(&d, now);
    Entry {
        kind: device_kind::heading(d.row.kind),
        icon: device_kind::picture(d.row.kind),
        since: device_status::since(&d),
        seen: device_status::heard(&d, now),
        removable: d.removable(),
        over: d.over(),
        ordered: matches!(d.status, DeviceStatus::Removing | DeviceStatus::Delivered),
        can_sign_out: matches!(
            d.status,
            DeviceStatus::Active | DeviceStatus::Offline | DeviceStatus::ConsentDue
        ),
        receipt: matches!(d.status, DeviceStatus::Wiped | DeviceStatus::WipeFailed),
        remember: d.row.remember,
        gap: d.row.chain_gap,
        losses: device_status::losses(&d),
        renamed: d.row.name.is_some(),
        model: d.row.model,
        device_id: d.row.device,
        id: d.id,
        name: d.name,
        address: d.address,
        state: view.state,
        colour: view.colour,
        meaning: view.meaning,
        progress: view.progress,
    }
}

pub(super) async fn list(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let now = service.now_s();
        let devices = service.devices(visitor.account)?;
        let removable = devices.iter().filter(|d| d.removable()).count();
        let entries = devices.into_iter().map(|d| entry(d, now));
        let (former, entries) = entries.partition(|e| e.over);
        let computers = service.store.computers(visitor.account)?;
        Ok(ListPage {
            consent_due: service.account(visitor.account)?.policy
                < service.store.policy_version()?,
            csrf: visitor.csrf,
            entries,
            former,
            removable,
            computers: computers
                .into_iter()
                .map(|c| Computer {
                    this: visitor.computer.as_ref() == Some(&c.series),
                    series: hex(&c.series),
                    icon: device_kind::picture(nrd_agent::wire::DeviceKind::Computer),
                    browser: c.browser,
                    since: time_format::day(c.created),
                    seen: time_format::ago(c.seen, now),
                })
                .collect(),
        })
    })
    .await?;
    Ok(render(&page))
}

#[derive(Template)]
#[template(path = "remove.html")]
struct RemovePage {
    csrf: String,
    action: String,
    names: Vec<String>,
    /// After how many powered hours access ends without an answer.
    hours: String,
}

pub(super) async fn ask(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let device = find(&service, visitor.account, &id)?;
        if !device.removable() {
            return Ok(None);
        }
        Ok(Some(RemovePage {
            csrf: visitor.csrf,
            action: format!("/account/devices/{}/remove", device.id),
            hours: time_format::powered(device.access_ends_h.into()),
            names: vec![device.name],
        }))
    })
    .await?;
    Ok(ask_or_list(page))
}

pub(super) async fn ask_all(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let devices = service.devices(visitor.account)?;
        let removable: Vec<Device> = devices.into_iter().filter(Device::removable).collect();
        let Some(first) = removable.first() else {
            return Ok(None);
        };
        Ok(Some(RemovePage {
            csrf: visitor.csrf,
            action: "/account/devices/remove-all".to_owned(),
            hours: time_format::powered(first.access_ends_h.into()),
            names: removable.into_iter().map(|d| d.name).collect(),
        }))
    })
    .await?;
    Ok(ask_or_list(page))
}

/// The question, or the list where nothing is left to ask: it says why.
fn ask_or_list(page: Option<RemovePage>) -> Response {
    match page {
        Some(page) => render(&page),
        None => Redirect::to("/account/devices").into_response(),
    }
}

fn find(service: &Service, account: AccountId, id: &str) -> Result<Device, Error> {
    let devices = service.devices(account)?;
    devices
        .into_iter()
        .find(|d| d.id == id)
        .ok_or(Error::NotFound)
}

#[derive(Deserialize)]
pub(super) struct Token {
    csrf: String,
}

/// Carries `work` out for a form whose token is good, and shows the list, at
/// the entry `at`.
async fn carry_out(
    state: AppState,
    visitor: Visitor,
    csrf: &str,
    at: &str,
    work: impl FnOnce(&Service, &Visitor) -> Result<(), Error> + Send + 'static,
) -> PageResult {
    visitor.check(csrf)?;
    match blocking(move || work(&state.service, &visitor)).await {
        // The button was pressed twice, or the device was faster: the list says how
        // it ended. It answered "too late, nothing was done" to a removal that was.
        Ok(()) | Err(Error::WrongState) => {}
        Err(e) => return Err(PageError::from(e)),
    }
    let place = match unhex::<16>(at) {
        Some(_) => format!("/account/devices#d-{at}"),
        None => "/account/devices".to_owned(),
    };
    Ok(Redirect::to(&place).into_response())
}

fn parse(id: &str) -> Result<[u8; 16], Error> {
    unhex(id).ok_or(Error::NotFound)
}

pub(super) async fn remove(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<Token>,
) -> PageResult {
    carry_out(state, visitor, &form.csrf, &id.clone(), move |s, v| {
        s.remove(v.account, &parse(&id)?, v.origin())
    })
    .await
}

pub(super) async fn remove_all(
    State(state): State<AppState>,
    visitor: Visitor,
    Form(form): Form<Token>,
) -> PageResult {
    visitor.check(&form.csrf)?;
    let service = state.service.clone();
    let removed =
        blocking(move || Ok(service.remove_all(visitor.account, visitor.origin()))).await?;
    match removed {
        Ok(_) => Ok(Redirect::to("/account/devices").into_response()),
        Err(half) if half.ordered == 0 => Err(half.error.into()),
        Err(half) => Err(PageError::HalfRemoved(half)),
    }
}

pub(super) async fn sign_out(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<Token>,
) -> PageResult {
    carry_out(state, visitor, &form.csrf, &id.clone(), move |s, v| {
        s.order_sign_out(v.account, &parse(&id)?, v.origin())
    })
    .await
}

pub(super) async fn hide(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<Token>,
) -> PageResult {
    carry_out(state, visitor, &form.csrf, "", move |s, v| {
        s.store.hide(v.account, &parse(&id)?)
    })
    .await
}

pub(super) async fn remove_computer(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(series): Path<String>,
    Form(form): Form<Token>,
) -> PageResult {
    carry_out(state, visitor, &form.csrf, "", move |s, v| {
        match s.remove_computer(v.account, &parse(&series)?, v.origin()) {
            // Forgotten already.
            Err(Error::NotFound) => Ok(()),
            done => done,
        }
    })
    .await
}

#[derive(Deserialize)]
pub(super) struct Rename {
    csrf: String,
    name: String,
}

pub(super) async fn rename(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(form): Form<Rename>,
) -> PageResult {
    let name: String = form
        .name
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(40)
        .collect();
    carry_out(state, visitor, &form.csrf, &id.clone(), move |s, v| {
        s.store.rename(v.account, &parse(&id)?, &name)
    })
    .await
}
