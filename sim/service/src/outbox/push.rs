//! Pushes security event tokens to a receiver (RFC 8935): one token a POST,
//! `202 Accepted` takes it. Anything else leaves it in the outbox, to be tried
//! again later; its `jti` stays, so that the receiver knows it.

use super::{LOOK, OutboxWorker, jose, pause, put_back, take_due, taken};
use crate::Service;
use crate::store::{Outbox, OutboxMessage};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tokens a turn.
const BATCH: u32 = 16;

/// A receiver.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Where to post.
    pub url: String,
    /// The audience that the tokens name.
    pub audience: String,
    /// The issuer that the tokens name.
    pub issuer: String,
    /// The root of an https receiver, a PEM file.
    pub ca: Option<PathBuf>,
}

impl Receiver {
    fn agent(&self) -> Result<Agent, String> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .max_redirects(0);
        if let Some(path) = &self.ca {
            let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            let pem = std::fs::read(path).map_err(|e| named(&e))?;
            let root = CertificateDer::from_pem_slice(&pem).map_err(|e| named(&e))?;
            let root = Certificate::from_der(&root).to_owned();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            config = config.tls_config(
                TlsConfig::builder()
                    .unversioned_rustls_crypto_provider(provider)
                    .root_certs(RootCerts::new_with_certs(&[root]))
                    .build(),
            );
        } else if self.url.starts_with("https:") {
            return Err("an https receiver needs its root: --events-ca FILE".to_owned());
        }
        Ok(config.build().into())
    }
}

/// Starts to push.
pub fn start(service: Arc<Service>, receiver: Receiver) -> Result<OutboxWorker, String> {
    let agent = receiver.agent()?;
    let running = move |stop: &AtomicBool| drain(&service, &receiver, &agent, stop);
    OutboxWorker::start("events", running).map_err(|e| e.to_string())
}

fn drain(service: &Service, receiver: &Receiver, agent: &Agent, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let due = take_due(service, Outbox::Events, BATCH, stop);
        if due.is_empty() {
            pause(stop, LOOK);
        }
        for row in due {
            match push(service, receiver, agent, &row) {
                Ok(()) => taken(service, Outbox::Events, row.id),
                Err(why) => {
                    tracing::warn!(tries = row.tries, %why, "the receiver has not taken an event");
                    put_back(service, Outbox::Events, row.id, row.tries);
                }
            }
        }
    }
}

fn push(
    service: &Service,
    receiver: &Receiver,
    agent: &Agent,
    row: &OutboxMessage,
) -> Result<(), String> {
    let token = jose::token(
        &service.keys,
        &row.body,
        &receiver.issuer,
        &receiver.audience,
    )?;
    let mut answer = agent
        .post(&receiver.url)
        .header("Content-Type", "application/secevent+jwt")
        .header("Accept", "application/json")
        .send(token)
        .map_err(|e| e.to_string())?;
    match answer.status().as_u16() {
        202 => Ok(()),
        status => {
            // RFC 8935 §2.3: `err` is one of a few words.
            let text = answer.body_mut().with_config().limit(2048).read_to_string();
            let code = text
                .ok()
                .and_then(|t| serde_json::from_str::<serde_json::Value>(&t).ok())
                .and_then(|v| Some(v.get("err")?.as_str()?.chars().take(40).collect()))
                .unwrap_or_else(|| "no error code".to_owned());
            Err(format!("status {status}, {code}"))
        }
    }
}
