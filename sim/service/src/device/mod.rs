//! Answers a device's requests.
//!
//! In this order, always: size, signature, challenge, then the ask itself.
//! Only a fresh request signed by the device's own key can change anything, or
//! prove theft.
//!
//! | file | asks |
//! |---|---|
//! | `hello.rs` | `Hello` |
//! | `activate.rs` | `ActivateStart`, `ActivatePoll`, `ActivateCancel` |
//! | `check_in.rs` | `CheckIn`; `held.rs`: challenges of devices at rest |
//! | `report.rs` | `Outcome`, `Receipt`, `SignedOut` |

mod activate;
mod check_in;
pub(crate) mod held;
mod hello;
mod report;

use super::events::EventKind;
use super::metrics;
use super::notify::Wakeup;
use super::store::{DeviceRow, Fresh, TrustNews};
use super::worker::blocking;
use super::{Error, Result, Service};
use nrd_agent::wire::{
    self, Answer, Ask, EndReason, Losses, RefusalCode, Reply, Request, TrustVersion,
};
use nrd_hal::crypto::RingCrypto;
use std::sync::Arc;
use std::time::Duration;

/// An answer that owns its frames.
pub(crate) enum Response {
    Plain(Answer<'static>),
    Granted(Vec<u8>),
    CheckedIn {
        lease: Option<Vec<u8>>,
        statement: Option<Vec<u8>>,
        order: Option<Vec<u8>>,
        interval_s: u32,
    },
}

impl Response {
    fn refused(code: RefusalCode, retry_after_s: u32) -> Response {
        Response::Plain(Answer::Refused {
            code,
            retry_after_s,
        })
    }

    fn ended(reason: EndReason) -> Response {
        Response::Plain(Answer::ActivationEnded { reason })
    }

    /// What it is, for a metric.
    fn name(&self) -> &'static str {
        match self {
            Response::Plain(Answer::Refused { .. }) => "refused",
            Response::Plain(_) => "noted",
            Response::Granted(_) => "granted",
            Response::CheckedIn { order: Some(_), .. } => "order",
            Response::CheckedIn { lease: Some(_), .. } => "lease",
            Response::CheckedIn {
                statement: Some(_), ..
            } => "closed",
            Response::CheckedIn { .. } => "nothing",
        }
    }

    /// True for what the session key or an order key signed.
    fn is_signed(&self) -> bool {
        match self {
            Response::Plain(_) => false,
            Response::Granted(_) => true,
            Response::CheckedIn {
                lease,
                statement,
                order,
                interval_s: _,
            } => lease.is_some() || statement.is_some() || order.is_some(),
        }
    }

    fn answer(&self) -> Answer<'_> {
        match self {
            Response::Plain(a) => a.clone(),
            Response::Granted(grant) => Answer::Granted { grant },
            Response::CheckedIn {
                lease,
                statement,
                order,
                interval_s,
            } => Answer::CheckedIn {
                lease: lease.as_deref(),
                statement: statement.as_deref(),
                order: order.as_deref(),
                interval_s: *interval_s,
            },
        }
    }
}

/// An activation whose device is willing to wait for an order, and for how
/// many seconds.
type Wait = ([u8; 16], u16);

/// What became of a request.
struct Handled {
    challenge: [u8; 32],
    /// What the device states to trust.
    trust: TrustVersion,
    /// What it does not have yet of what it may trust.
    news: TrustNews,
    response: Response,
    /// The device would wait this long for an order of this activation.
    wait: Option<Wait>,
}

impl Service {
    /// Answers one request frame. `address` is where it came from.
    pub fn answer(&self, frame: &[u8], address: &str) -> Result<Vec<u8>> {
        let handled = self.handle(frame, address)?;
        self.reply(&handled)
    }

    /// [`Service::handle_frame`], measured.
    fn handle(&self, frame: &[u8], address: &str) -> Result<Handled> {
        let start = std::time::Instant::now();
        let handled = self.handle_frame(frame, address);
        self.metrics.answer_s.observe(metrics::seconds_since(start));
        let result = match &handled {
            Ok(handled) => handled.response.name(),
            Err(_) => "failed",
        };
        metrics::count(&self.metrics.requests, "answer", result);
        handled
    }

    /// Answers one request frame; a check-in that is willing to wait is
    /// answered when an order appears, or when its time is up.
    pub async fn answer_waiting(
        self: Arc<Self>,
        frame: Vec<u8>,
        address: String,
    ) -> Result<Vec<u8>> {
        let this = self.clone();
        let mut handled = blocking(move || this.handle(&frame, &address)).await?;
        if let Some((id, wait_s)) = handled.wait {
            let limit = wait_s.min(self.settings.wait_max_s);
            let until = tokio::time::Instant::now() + Duration::from_secs(u64::from(limit));
            let began = std::time::Instant::now();
            let waiter = self.notifier.wait_for(id);
            // An order may have come between the answer and the wait.
            let mut wakeup = Wakeup::Recheck;
            while wakeup != Wakeup::TimeUp {
                let this = self.clone();
                if let Some(order) = blocking(move || this.next_order(&id)).await? {
                    metrics::count(&self.metrics.requests, "answer", "woken");
                    // The order key may have been rotated meanwhile, and the
                    // order signed again with a key that the device has not.
                    let (this, stated) = (self.clone(), handled.trust);
                    handled.news = blocking(move || this.store.trust_news(stated)).await?;
                    handled.response = Response::CheckedIn {
                        lease: None,
                        statement: None,
                        order: Some(order.frame),
                        interval_s: 0,
                    };
                    break;
                }
                // It was woken for a change that is no order, such as consent:
                // it asks again.
                if wakeup == Wakeup::Order {
                    break;
                }
                wakeup = waiter.wait(until).await;
            }
            // Waited to the end: it may come back at once and wait on.
            if wakeup == Wakeup::TimeUp
                && !self.stopping()
                && let Response::CheckedIn { interval_s, .. } = &mut handled.response
            {
                *interval_s = 0;
            }
            self.metrics.wait_s.observe(metrics::seconds_since(began));
        }
        self.reply(&handled)
    }

    fn reply(&self, handled: &Handled) -> Result<Vec<u8>> {
        // A device that needs more than one step could not verify what is signed
        // under the newest root: it asks again, over the new challenge, and what
        // it is told then is the same.
        let held_back = Response::refused(RefusalCode::StaleChallenge, 0);
        let response = match &handled.response {
            signed if signed.is_signed() && handled.news.is_not_all() => &held_back,
            response => response,
        };
        let reply = Reply {
            challenge: handled.challenge,
            root: handled.news.root.as_deref(),
            delegation: handled.news.delegation.as_deref(),
            answer: response.answer(),
        };
        let mut out = [0u8; wire::MAX_FRAME];
        let n = wire::encode(&reply, &mut out)
            .map_err(|e| Error::Internal(format!("a reply does not fit its frame: {e}")))?;
        Ok(out[..n].to_vec())
    }

    /// Consumes the challenge of a request whose signature is good, and keeps
    /// what it states of its device. `Err` with the challenge in force when the
    /// request is not fresh.
    fn take_fresh(
        &self,
        device: &DeviceRow,
        request: &Request<'_>,
        next: &[u8; 32],
        address: &str,
    ) -> Result<std::result::Result<(), [u8; 32]>> {
        let held = self.held.take(&request.device_id, &request.challenge);
        let presented = held.unwrap_or(request.challenge);
        // A request that is not fresh is free to make: it writes nothing.
        if let Some(current) = self.store.challenge(&device.id)?
            && current != presented
        {
            return Ok(Err(current));
        }
        let address = self.keys.seal(ADDRESS, address.as_bytes())?;
        let taken = self.store.take_challenge(&Fresh {
            device: &device.id,
            presented: &presented,
            next,
            now: self.now_s(),
            address: &address,
            agent_version: &agent_version(request),
            losses: request.losses,
            news: &new_losses(&device.losses, &request.losses),
        })?;
        if taken.is_ok() {
            self.losses_stated(device, request)?;
        }
        Ok(taken)
    }

    /// The pages that show the device are told when what it lost has changed.
    fn losses_stated(&self, device: &DeviceRow, request: &Request<'_>) -> Result<()> {
        if device.losses != request.losses {
            for account in self.store.holders(&device.id)? {
                self.notify_page(account);
            }
        }
        Ok(())
    }

    fn handle_frame(&self, frame: &[u8], address: &str) -> Result<Handled> {
        let challenge = self.random()?;
        let refuse = |code| Ok(Handled::refused(challenge, code, 60));
        let Ok(claimed) = wire::peek::<Request<'_>>(frame) else {
            return refuse(RefusalCode::BadRequest);
        };
        let device_id = claimed.device_id.as_str();
        match &claimed.ask {
            Ask::Hello { certificate } => {
                return self.hello(frame, &claimed, certificate, challenge, address);
            }
            Ask::CheckIn { activation_id, .. } => {
                let known = self.store.check_in_context(device_id, &activation_id.0)?;
                return match known {
                    Some(known) => self.check_in(frame, known, challenge, address),
                    None => refuse(RefusalCode::UnknownDevice),
                };
            }
            Ask::ActivateStart { .. }
            | Ask::ActivatePoll { .. }
            | Ask::ActivateCancel { .. }
            | Ask::Outcome { .. }
            | Ask::Receipt { .. }
            | Ask::SignedOut { .. } => {}
        }
        let Some(mut device) = self.store.device(device_id)? else {
            return refuse(RefusalCode::UnknownDevice);
        };
        let Ok(request) = wire::decode_signed::<Request<'_>, RingCrypto>(frame, &device.public_key)
        else {
            return refuse(RefusalCode::BadRequest);
        };
        let taken = self.take_fresh(&device, &request, &challenge, address)?;
        let news = self.store.trust_news(request.trust)?;
        if let Err(current) = taken {
            return Ok(Handled::stale(current, request.trust, news));
        }
        device.agent_version = agent_version(&request);
        Ok(Handled {
            challenge,
            trust: request.trust,
            news,
            response: self.act(&device, &request)?,
            wait: None,
        })
    }

    fn act(&self, device: &DeviceRow, request: &Request<'_>) -> Result<Response> {
        match &request.ask {
            Ask::ActivateStart {
                activation_id,
                epoch,
                previous_receipt,
            } => self.activate_start(device, &activation_id.0, *epoch, *previous_receipt),
            Ask::ActivatePoll {
                activation_id,
                epoch,
            } => self.activate_poll(device, &activation_id.0, *epoch),
            Ask::ActivateCancel { activation_id } => self.activate_cancel(device, &activation_id.0),
            Ask::Outcome { outcome } => self.take_outcome(device, outcome),
            Ask::Receipt { receipt } => self.take_receipt(device, receipt),
            Ask::SignedOut {
                activation_id,
                epoch,
            } => self.signed_out_there(device, &activation_id.0, *epoch),
            // Answered before.
            Ask::Hello { .. } | Ask::CheckIn { .. } => {
                Ok(Response::refused(RefusalCode::BadRequest, 60))
            }
        }
    }
}

impl Handled {
    fn refused(challenge: [u8; 32], code: RefusalCode, retry_after_s: u32) -> Handled {
        Handled {
            challenge,
            trust: TrustVersion::default(),
            news: TrustNews::default(),
            response: Response::refused(code, retry_after_s),
            wait: None,
        }
    }

    /// Another challenge is in force.
    fn stale(current: [u8; 32], trust: TrustVersion, news: TrustNews) -> Handled {
        Handled {
            challenge: current,
            trust,
            news,
            response: Response::refused(RefusalCode::StaleChallenge, 0),
            wait: None,
        }
    }
}

/// The entries for what a device states to have lost and had not stated before.
/// A delegation is sent again at once, which nobody needs to know.
fn new_losses(before: &Losses, now: &Losses) -> Vec<EventKind> {
    let Losses {
        session,
        receipt,
        delegation: _,
        snapshot,
    } = *now;
    [
        (session && !before.session, EventKind::SessionLost),
        (receipt && !before.receipt, EventKind::ReceiptLost),
        (snapshot && !before.snapshot, EventKind::MemoryDamaged),
    ]
    .into_iter()
    .filter_map(|(new, kind)| new.then_some(kind))
    .collect()
}

/// As the database has it.
fn agent_version(request: &Request<'_>) -> String {
    let [major, minor, patch] = request.agent_version;
    format!("{major}.{minor}.{patch}")
}

/// Where a device's last address is sealed.
pub(super) const ADDRESS: &str = "devices.last_address";
