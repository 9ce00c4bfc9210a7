//! Your Account, security activity, the privacy policy.

use super::Site;
use super::errors::{Answer, Trouble, render};
use super::guard::Visitor;
use super::view;
use crate::service::account::Account;
use crate::service::device::blocking;
use crate::service::events::Kind;
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
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
    devices: usize,
    computers: usize,
}

pub(super) async fn show(State(site): State<Site>, visitor: Visitor) -> Answer {
    let service = site.service.clone();
    let page = blocking(move || {
        let account = service.account(visitor.account)?;
        let devices = service.devices(visitor.account)?;
        Ok(AccountPage {
            csrf: visitor.csrf,
            consent_due: account.policy < service.store.policy_version()?,
            account,
            devices: devices.iter().filter(|d| !d.over()).count(),
            computers: service.store.computers(visitor.account)?.len(),
        })
    })
    .await?;
    Ok(render(&page))
}

struct Line {
    when: String,
    text: &'static str,
    subject: String,
    address: Option<String>,
    alarming: bool,
}

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    csrf: String,
    lines: Vec<Line>,
}

pub(super) async fn activity(State(site): State<Site>, visitor: Visitor) -> Answer {
    let service = site.service.clone();
    let page = blocking(move || {
        let events = service.events(visitor.account, 100)?;
        Ok(ActivityPage {
            csrf: visitor.csrf,
            lines: events
                .into_iter()
                .map(|e| Line {
                    when: view::moment(e.at),
                    text: Kind::text(&e.kind),
                    alarming: Kind::alarming(&e.kind),
                    subject: e.subject,
                    address: e.address,
                })
                .collect(),
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

pub(super) async fn policy(State(site): State<Site>, visitor: Visitor) -> Answer {
    let service = site.service.clone();
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
    State(site): State<Site>,
    visitor: Visitor,
    Form(form): Form<Consent>,
) -> Answer {
    visitor.check(&form.csrf)?;
    let service = site.service.clone();
    blocking(move || service.consent(visitor.account, form.version, &visitor.address))
        .await
        .map_err(Trouble::from)?;
    Ok(Redirect::to("/account").into_response())
}
