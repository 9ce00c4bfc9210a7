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
//! | `check_in.rs` | `CheckIn` |
//! | `report.rs` | `Outcome`, `Receipt`, `SignedOut` |

mod activate;
mod check_in;
mod hello;
mod report;

use super::meter;
use super::store::DeviceRow;
use super::wake::Called;
use super::{Error, Result, Service};
use nrd_agent::wire::{self, Answer, Ask, EndReason, RefusalCode, Reply, Request};
use nrd_hal::crypto::RingCrypto;
use std::sync::Arc;
use std::time::Duration;

/// An answer that owns its frames.
pub(crate) enum Said {
    Plain(Answer<'static>),
    Granted(Vec<u8>),
    CheckedIn {
        lease: Option<Vec<u8>>,
        statement: Option<Vec<u8>>,
        order: Option<Vec<u8>>,
        interval_s: u32,
    },
}

impl Said {
    fn refused(code: RefusalCode, retry_after_s: u32) -> Said {
        Said::Plain(Answer::Refused {
            code,
            retry_after_s,
        })
    }

    fn ended(reason: EndReason) -> Said {
        Said::Plain(Answer::ActivationEnded { reason })
    }

    /// What it is, for a metric.
    fn name(&self) -> &'static str {
        match self {
            Said::Plain(Answer::Refused { .. }) => "refused",
            Said::Plain(_) => "noted",
            Said::Granted(_) => "granted",
            Said::CheckedIn { order: Some(_), .. } => "order",
            Said::CheckedIn { lease: Some(_), .. } => "lease",
            Said::CheckedIn {
                statement: Some(_), ..
            } => "closed",
            Said::CheckedIn { .. } => "nothing",
        }
    }

    fn answer(&self) -> Answer<'_> {
        match self {
            Said::Plain(a) => a.clone(),
            Said::Granted(grant) => Answer::Granted { grant },
            Said::CheckedIn {
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
struct Heard {
    challenge: [u8; 32],
    /// A delegation that the device does not have yet.
    delegation: Option<Vec<u8>>,
    said: Said,
    /// The device would wait this long for an order of this activation.
    wait: Option<Wait>,
}

impl Service {
    /// Answers one request frame. `address` is where it came from.
    pub fn answer(&self, frame: &[u8], address: &str) -> Result<Vec<u8>> {
        let heard = self.hear(frame, address)?;
        self.reply(&heard)
    }

    /// [`Service::listen_to`], measured.
    fn hear(&self, frame: &[u8], address: &str) -> Result<Heard> {
        let start = std::time::Instant::now();
        let heard = self.listen_to(frame, address);
        self.meter.answer_s.observe(meter::seconds_since(start));
        let result = match &heard {
            Ok(heard) => heard.said.name(),
            Err(_) => "failed",
        };
        meter::count(&self.meter.requests, "answer", result);
        heard
    }

    /// Answers one request frame; a check-in that is willing to wait is
    /// answered when an order appears, or when its time is up.
    pub async fn answer_waiting(
        self: Arc<Self>,
        frame: Vec<u8>,
        address: String,
    ) -> Result<Vec<u8>> {
        let this = self.clone();
        let mut heard = blocking(move || this.hear(&frame, &address)).await?;
        if let Some((id, wait_s)) = heard.wait {
            let limit = wait_s.min(self.settings.wait_max_s);
            let until = tokio::time::Instant::now() + Duration::from_secs(u64::from(limit));
            let began = std::time::Instant::now();
            let waiter = self.wake.wait_for(id);
            // An order may have come between the look and the wait.
            let mut called = Called::Look;
            while called != Called::No {
                let this = self.clone();
                if let Some(order) = blocking(move || this.store.next_order(&id)).await? {
                    meter::count(&self.meter.requests, "answer", "woken");
                    heard.said = Said::CheckedIn {
                        lease: None,
                        statement: None,
                        order: Some(order.frame),
                        interval_s: 0,
                    };
                    break;
                }
                // What the call was for is no order, but it is for this device.
                if called == Called::ForYou {
                    break;
                }
                called = waiter.called(until).await;
            }
            // Waited to the end: it may come back at once and wait on.
            if called == Called::No
                && !self.stopping()
                && let Said::CheckedIn { interval_s, .. } = &mut heard.said
            {
                *interval_s = 0;
            }
            self.meter.wait_s.observe(meter::seconds_since(began));
        }
        self.reply(&heard)
    }

    fn reply(&self, heard: &Heard) -> Result<Vec<u8>> {
        let reply = Reply {
            challenge: heard.challenge,
            delegation: heard.delegation.as_deref(),
            answer: heard.said.answer(),
        };
        let mut out = [0u8; wire::MAX_FRAME];
        let n = wire::encode(&reply, &mut out).map_err(|_| Error::WrongState)?;
        Ok(out[..n].to_vec())
    }

    /// The newest delegation, if the device has an older one.
    fn newer_delegation(&self, has: u32) -> Result<Option<Vec<u8>>> {
        let current = self.store.delegation()?;
        Ok(current.filter(|(v, _)| *v > has).map(|(_, frame)| frame))
    }

    fn listen_to(&self, frame: &[u8], address: &str) -> Result<Heard> {
        let challenge = self.random()?;
        let refuse = |code| Ok(Heard::refused(challenge, code, 60));
        let Ok(claimed) = wire::peek::<Request<'_>>(frame) else {
            return refuse(RefusalCode::BadRequest);
        };
        let device_id = claimed.device_id.as_str();
        match &claimed.ask {
            Ask::Hello { certificate } => {
                return self.hello(frame, &claimed, certificate, challenge);
            }
            Ask::CheckIn { activation_id, .. } => {
                let known = self.store.known(device_id, &activation_id.0)?;
                return match known {
                    Some(known) => self.check_in(frame, &known, challenge, address),
                    None => refuse(RefusalCode::UnknownDevice),
                };
            }
            _ => {}
        }
        let Some(device) = self.store.device(device_id)? else {
            return refuse(RefusalCode::UnknownDevice);
        };
        let Ok(request) = wire::decode_signed::<Request<'_>, RingCrypto>(frame, &device.public_key)
        else {
            return refuse(RefusalCode::BadRequest);
        };
        let now = self.now_s();
        let address = self.keys.seal(ADDRESS, address.as_bytes())?;
        let taken =
            self.store
                .take_challenge(&device.id, &request.challenge, &challenge, now, &address)?;
        let delegation = self.newer_delegation(device.delegation)?;
        if let Err(current) = taken {
            return Ok(Heard::stale(current, delegation));
        }
        Ok(Heard {
            challenge,
            delegation,
            said: self.act(&device, &request)?,
            wait: None,
        })
    }

    fn act(&self, device: &DeviceRow, request: &Request<'_>) -> Result<Said> {
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
                Ok(Said::refused(RefusalCode::BadRequest, 60))
            }
        }
    }
}

impl Heard {
    fn refused(challenge: [u8; 32], code: RefusalCode, retry_after_s: u32) -> Heard {
        Heard {
            challenge,
            delegation: None,
            said: Said::refused(code, retry_after_s),
            wait: None,
        }
    }

    /// Another challenge is in force.
    fn stale(current: [u8; 32], delegation: Option<Vec<u8>>) -> Heard {
        Heard {
            challenge: current,
            delegation,
            said: Said::refused(RefusalCode::StaleChallenge, 0),
            wait: None,
        }
    }
}

/// Where a device's last address is sealed.
pub(super) const ADDRESS: &str = "devices.last_address";

/// Runs blocking work off the async threads.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    // Only a panic or a shutdown makes the join fail.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Error::WrongState))
}
