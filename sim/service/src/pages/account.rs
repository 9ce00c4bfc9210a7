//! Your Account, security activity, the privacy policy.

use super::AppState;
use super::errors::{PageError, PageResult, render};
use super::session::Visitor;
use crate::account::{Account, DeviceStatus};
use crate::events::Event;
use crate::worker::blocking;
use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect};
use nrd_sim_base::time_format;
use serde::Deserialize;

pub(super) async fn home() -> Redirect {
    Redirect::to("/account")
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    csrf: String,
    account: Account,
    consent_due: bool,
    /// Devices that can use the account.
    devices: usize,
    computers: usize,
    /// Devices that a person should look at.
    alarms: usize,
    last: Option<Line>,
}

pub(super) async fn show(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let account = service.account(visitor.account)?;
        let devices = service.devices(visitor.account)?;
        let alarming = |s| {
            matches!(
                s,
                DeviceStatus::Theft
                    | DeviceStatus::Barred
                    | DeviceStatus::WipeFailed
                    | DeviceStatus::Damaged
            )
        };
        let open = |s| {
            matches!(
                s,
                DeviceStatus::Unconfirmed
                    | DeviceStatus::Active
                    | DeviceStatus::SigningOut
                    | DeviceStatus::ConsentDue
                    | DeviceStatus::Offline
                    | DeviceStatus::LeaseOver
                    | DeviceStatus::SessionLost
            )
        };
        let events = service.events(visitor.account, 1)?;
        Ok(AccountPage {
            csrf: visitor.csrf,
            consent_due: account.policy < service.store.policy_version()?,
            account,
            devices: devices.iter().filter(|d| open(d.status)).count(),
            computers: service.store.computers(visitor.account)?.len(),
            alarms: devices.iter().filter(|d| alarming(d.status)).count(),
            last: events.into_iter().next().map(line),
        })
    })
    .await?;
    Ok(render(&page))
}

/// Entries of security activity on one page.
const PAGE: u32 = 40;

struct Line {
    day: String,
    time: String,
    text: &'static str,
    subject: String,
    address: Option<String>,
    alarming: bool,
}

fn line(e: Event) -> Line {
    Line {
        day: time_format::long_day(e.at),
        time: time_format::time(e.at),
        text: e.kind.text(),
        alarming: e.kind.alarming(),
        subject: e.subject,
        address: e.address,
    }
}

/// The entries of one day.
struct Day {
    day: String,
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    csrf: String,
    days: Vec<Day>,
    /// This is not the newest page.
    older_page: bool,
    /// The entry after which an older page goes on.
    older: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct Before {
    before: Option<i64>,
}

pub(super) async fn activity(
    State(state): State<AppState>,
    visitor: Visitor,
    Query(from): Query<Before>,
) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let before = from.before.unwrap_or(i64::MAX);
        // One more than is shown: so it is known whether there is an older page.
        let mut events = service.events_before(visitor.account, before, PAGE + 1)?;
        let more = events.len() > PAGE as usize;
        events.truncate(PAGE as usize);
        let older = events.last().filter(|_| more).map(|e| e.id);
        let mut days: Vec<Day> = Vec::new();
        for line in events.into_iter().map(line) {
            match days.last_mut() {
                Some(d) if d.day == line.day => d.lines.push(line),
                _ => days.push(Day {
                    day: line.day.clone(),
                    lines: vec![line],
                }),
            }
        }
        Ok(ActivityPage {
            csrf: visitor.csrf,
            days,
            older_page: from.before.is_some(),
            older,
        })
    })
    .await?;
    Ok(render(&page))
}

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    csrf: String,
    version: u32,
    due: bool,
}

pub(super) async fn policy(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    let service = state.service.clone();
    let page = blocking(move || {
        let version = service.store.policy_version()?;
        let account = service.account(visitor.account)?;
        Ok(PolicyPage {
            csrf: visitor.csrf,
            version,
            due: account.policy < version,
        })
    })
    .await?;
    Ok(render(&page))
}

#[derive(Deserialize)]
pub(super) struct Consent {
    csrf: String,
    version: u32,
}

pub(super) async fn consent(
    State(state): State<AppState>,
    visitor: Visitor,
    Form(form): Form<Consent>,
) -> PageResult {
    visitor.check(&form.csrf)?;
    let service = state.service.clone();
    blocking(move || service.consent(visitor.account, form.version, visitor.origin()))
        .await
        .map_err(PageError::from)?;
    Ok(Redirect::to("/account").into_response())
}
