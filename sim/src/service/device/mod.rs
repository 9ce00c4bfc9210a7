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

pub(crate) use hello::kind_name;

use super::store::DeviceRow;
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
    /// The newest delegation that the device is known to have.
    has_delegation: u32,
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
            let notify = self.wake.wait_for(id);
            // An order may have come between the look and the wait.
            let this = self.clone();
            let early = blocking(move || this.store.next_order(&id)).await?;
            if early.is_none() {
                let limit = wait_s.min(self.settings.wait_max_s);
                let wait = Duration::from_secs(u64::from(limit));
                let _ = tokio::time::timeout(wait, notify.notified()).await;
            }
            self.wake.leave(id, &notify);
            let this = self.clone();
            if let Some(order) = blocking(move || this.store.next_order(&id)).await? {
                heard.said = Said::CheckedIn {
                    lease: None,
                    statement: None,
                    order: Some(order.frame),
                    interval_s: 0,
                };
            }
        }
        blocking(move || self.reply(&heard)).await
    }

    fn reply(&self, heard: &Heard) -> Result<Vec<u8>> {
        let current = self.store.delegation()?;
        let delegation = current
            .as_ref()
            .filter(|(version, _)| *version > heard.has_delegation)
            .map(|(_, frame)| frame.as_slice());
        let reply = Reply {
            challenge: heard.challenge,
            delegation,
            answer: heard.said.answer(),
        };
        let mut out = [0u8; wire::MAX_FRAME];
        let n = wire::encode(&reply, &mut out).map_err(|_| Error::WrongState)?;
        Ok(out[..n].to_vec())
    }

    fn hear(&self, frame: &[u8], address: &str) -> Result<Heard> {
        let challenge = self.random()?;
        let refuse = |code| Heard {
            challenge,
            has_delegation: u32::MAX,
            said: Said::refused(code, 60),
            wait: None,
        };
        let Ok(claimed) = wire::peek::<Request<'_>>(frame) else {
            return Ok(refuse(RefusalCode::BadRequest));
        };
        if let Ask::Hello { certificate } = claimed.ask {
            return self.hello(frame, &claimed, certificate, challenge);
        }
        let Some(device) = self.store.device(claimed.device_id.as_str())? else {
            return Ok(refuse(RefusalCode::UnknownDevice));
        };
        let Ok(request) = wire::decode_signed::<Request<'_>, RingCrypto>(frame, &device.public_key)
        else {
            return Ok(refuse(RefusalCode::BadRequest));
        };
        let now = self.now_s();
        let address = self.keys.seal(ADDRESS, address.as_bytes())?;
        let taken =
            self.store
                .take_challenge(&device.id, &request.challenge, &challenge, now, &address)?;
        if let Err(current) = taken {
            return Ok(Heard {
                challenge: current,
                has_delegation: device.delegation,
                said: Said::refused(RefusalCode::StaleChallenge, 0),
                wait: None,
            });
        }
        let (said, wait) = self.act(&device, &request)?;
        Ok(Heard {
            challenge,
            has_delegation: device.delegation,
            said,
            wait,
        })
    }

    fn act(&self, device: &DeviceRow, request: &Request<'_>) -> Result<(Said, Option<Wait>)> {
        let said = match &request.ask {
            Ask::Hello { .. } => Said::Plain(Answer::Welcome),
            Ask::ActivateStart {
                activation_id,
                epoch,
                previous_receipt,
            } => self.activate_start(device, &activation_id.0, *epoch, *previous_receipt)?,
            Ask::ActivatePoll {
                activation_id,
                epoch,
            } => self.activate_poll(device, &activation_id.0, *epoch)?,
            Ask::ActivateCancel { activation_id } => {
                self.activate_cancel(device, &activation_id.0)?
            }
            Ask::CheckIn { .. } => return self.check_in(device, request),
            Ask::Outcome { outcome } => self.take_outcome(device, outcome)?,
            Ask::Receipt { receipt } => self.take_receipt(device, receipt)?,
            Ask::SignedOut {
                activation_id,
                epoch,
            } => self.signed_out_there(device, &activation_id.0, *epoch)?,
        };
        Ok((said, None))
    }
}

/// Where a device's last address is sealed.
pub(super) const ADDRESS: &str = "devices.last_address";

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    // Only a panic or a shutdown makes the join fail.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Error::WrongState))
}
