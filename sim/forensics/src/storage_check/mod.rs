//! A desk's side of the storage check (SPEC §9), without I/O: messages and times
//! in, messages and a verdict out.
//!
//! ```text
//!   next(now)  ──▶ Send(message) | Wait | Done(bounded)
//!   take(message, now)  ◀── what the cable brought
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the conversation, the time, the digest |
//! | `tests.rs` | what a device may say, and what not |
//! | `words.rs` | what a check has bounded and what it has not, in words |

mod words;

pub use words::{NOT_BOUNDED, chance_in_words};

use nrd_agent::wire::codec::{self, Code};
use nrd_agent::wire::storage::{
    BlockOrder, CheckRefusal, DeskMessage, DeviceMessage, MAX_MESSAGE, VERSION, digest_block,
};
use nrd_agent::wire::{self, Digest, Receipt, Subject};
use nrd_hal::crypto::RingCrypto;
use std::time::Duration;

/// Most bytes that a device may say it has: the desk keeps a copy of all.
pub const MAX_BYTES: u32 = 64 << 20;

/// The time that a device may take from the key to its answer, unless the desk's
/// operator states another: 500 ms, and 4 ms a KiB.
pub fn limit_for(bytes: u32) -> Duration {
    Duration::from_millis(500 + 4 * u64::from(bytes.div_ceil(1024)))
}

/// No random bytes could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRandom;

/// What the desk does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send this message, behind its length.
    Send(Vec<u8>),
    /// Hand in what the device says.
    Wait,
    /// The check has ended well.
    Done(Bounded),
}

/// What a check that ended well has shown, and what it was measured by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded {
    /// Id of the device, by its own word.
    pub device_id: String,
    /// Size of its vault in bytes, by its own word.
    pub vault: u32,
    /// Further memory that it declares, in bytes.
    pub further: u32,
    /// The desk's key.
    pub key: [u8; 32],
    /// The digest that the desk computed, and the device gave.
    pub digest: Digest,
    /// From before the key was sent to when the answer was there.
    pub elapsed: Duration,
    /// The longest that this may take.
    pub limit: Duration,
    /// The receipt's frame. It is about this check; whose signature is on it,
    /// [`crate::verify::verify`] says, with the key as the nonce.
    pub receipt: Vec<u8>,
    /// What crossed the cable.
    pub traffic: Traffic,
}

impl Bounded {
    /// Bytes that were stored and read back.
    pub fn bytes(&self) -> u32 {
        self.vault.saturating_add(self.further)
    }
}

/// Bytes that crossed the cable, lengths included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// To the device.
    pub sent: u64,
    /// From the device.
    pub received: u64,
}

/// Why a check has shown nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckFailure {
    /// The device did not follow.
    Refused(CheckRefusal),
    /// It speaks another version.
    Version(u8),
    /// It said something that is no message, or not due.
    Conversation,
    /// It says that it has this many bytes, in chunks of so many.
    Size {
        /// Bytes in all.
        bytes: u64,
        /// Bytes of a chunk.
        chunk: u16,
    },
    /// It did not have the desk's bytes when the key came.
    Digest,
    /// It took longer than the desk allows.
    TooSlow {
        /// What it took.
        elapsed: Duration,
        /// What was allowed.
        limit: Duration,
    },
    /// Its receipt is not about this check.
    Receipt,
    /// The desk has no random bytes.
    Random,
}

impl std::fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CheckFailure::Refused(reason) => f.write_str(match reason {
                CheckRefusal::Busy => "the device starts, or erases: try again in a minute",
                CheckRefusal::NotClean => {
                    "the device is not clean: it is on an account, locked, or its wipe failed; deactivate it first"
                }
                CheckRefusal::Failed => {
                    "a part of the device does not answer, or takes no writes: it is no device to hand on"
                }
                CheckRefusal::OutOfTurn => {
                    "the device lost its place: it was switched off, or another desk spoke to it; begin again"
                }
                CheckRefusal::Version => "the device speaks another version of the storage check",
            }),
            CheckFailure::Version(v) => write!(
                f,
                "the device speaks version {v} of the storage check, this desk version {VERSION}"
            ),
            CheckFailure::Conversation => {
                f.write_str("what came over the cable is no storage check")
            }
            CheckFailure::Size { bytes, chunk } => write!(
                f,
                "the device says that it has {bytes} bytes in chunks of {chunk}, which no check can fill"
            ),
            CheckFailure::Digest => f.write_str(
                "what the device read back is not what this desk sent: it did not store all of it",
            ),
            CheckFailure::TooSlow { elapsed, limit } => write!(
                f,
                "the answer came after {} ms, and {} ms are allowed: it may have come from elsewhere",
                elapsed.as_millis(),
                limit.as_millis()
            ),
            CheckFailure::Receipt => f.write_str("the receipt is not about this check"),
            CheckFailure::Random => f.write_str("this computer gives no random bytes"),
        }
    }
}

impl std::error::Error for CheckFailure {}

/// The message by which a desk gives up.
pub fn close() -> Vec<u8> {
    message(&DeskMessage::Close)
}

/// One check of one device. `R` draws random bytes, which must come from a
/// cryptographic generator.
pub struct StorageCheck<R> {
    random: R,
    limit: Option<Duration>,
    traffic: Traffic,
    stage: Stage,
}

/// How far a check is.
enum Stage {
    Begin,
    Opened,
    Storing(Storing),
    Timed {
        device: Device,
        key: [u8; 32],
        since: Duration,
    },
    Answered(Bounded),
    Done(Bounded),
}

struct Storing {
    device: Device,
    sent: u32,
    stored: u32,
}

/// What a device says of itself, and what it is sent.
struct Device {
    id: String,
    vault: u32,
    further: u32,
    chunk: usize,
    credit: u8,
    /// The desk's copy.
    bytes: Vec<u8>,
}

impl Device {
    fn chunks(&self) -> u32 {
        (self.bytes.len() / self.chunk) as u32
    }

    /// What the device must answer.
    fn digest(&self, key: &[u8; 32]) -> Digest {
        let mut digest = [0; 32];
        for n in BlockOrder::new(key, self.chunks()) {
            let at = n as usize * self.chunk;
            let block = &self.bytes[at..at + self.chunk];
            digest = digest_block::<RingCrypto>(key, &digest, n, block);
        }
        digest
    }
}

impl<R: FnMut(&mut [u8]) -> Result<(), NoRandom>> StorageCheck<R> {
    /// A check that allows `limit` from key to answer, or [`limit_for`] the bytes.
    pub fn new(limit: Option<Duration>, random: R) -> Self {
        StorageCheck {
            random,
            limit,
            traffic: Traffic::default(),
            stage: Stage::Begin,
        }
    }

    /// Bytes stored so far, and in all; zeros before the device has said.
    pub fn progress(&self) -> (u64, u64) {
        match &self.stage {
            Stage::Begin | Stage::Opened => (0, 0),
            Stage::Storing(s) => (
                u64::from(s.stored) * s.device.chunk as u64,
                s.device.bytes.len() as u64,
            ),
            Stage::Timed { device, .. } => (device.bytes.len() as u64, device.bytes.len() as u64),
            Stage::Answered(b) | Stage::Done(b) => (b.bytes().into(), b.bytes().into()),
        }
    }

    /// What to do next, at `now` of any steady clock.
    ///
    /// # Errors
    /// Where no random bytes can be had.
    pub fn next(&mut self, now: Duration) -> Result<Next, CheckFailure> {
        let said = match &mut self.stage {
            Stage::Begin => {
                self.stage = Stage::Opened;
                message(&DeskMessage::Open { version: VERSION })
            }
            Stage::Storing(s) if s.stored == s.device.chunks() => {
                let mut key = [0; 32];
                (self.random)(&mut key).map_err(|_| CheckFailure::Random)?;
                let Stage::Storing(s) = std::mem::replace(&mut self.stage, Stage::Begin) else {
                    return Err(CheckFailure::Conversation);
                };
                self.stage = Stage::Timed {
                    device: s.device,
                    key,
                    since: now,
                };
                message(&DeskMessage::Key { key })
            }
            Stage::Storing(s)
                if s.sent < s.device.chunks() && s.sent - s.stored < u32::from(s.device.credit) =>
            {
                let at = s.sent as usize * s.device.chunk;
                let bytes = &s.device.bytes[at..at + s.device.chunk];
                s.sent += 1;
                message(&DeskMessage::Chunk { bytes })
            }
            Stage::Done(bounded) => return Ok(Next::Done(bounded.clone())),
            Stage::Opened | Stage::Storing(_) | Stage::Timed { .. } | Stage::Answered(_) => {
                return Ok(Next::Wait);
            }
        };
        self.traffic.sent += 2 + said.len() as u64;
        Ok(Next::Send(said))
    }

    /// Takes a message of the device that was complete at `now`.
    ///
    /// # Errors
    /// Why the check has shown nothing: send [`close`], and end.
    pub fn take(&mut self, said: &[u8], now: Duration) -> Result<(), CheckFailure> {
        self.traffic.received += 2 + said.len() as u64;
        let said = codec::read(said).ok_or(CheckFailure::Conversation)?;
        match (&mut self.stage, said) {
            (_, DeviceMessage::Refused { reason }) => Err(CheckFailure::Refused(reason)),
            (Stage::Opened, DeviceMessage::Here { version, .. }) if version != VERSION => {
                Err(CheckFailure::Version(version))
            }
            (Stage::Opened, here @ DeviceMessage::Here { .. }) => self.opened(&here),
            (Stage::Storing(s), DeviceMessage::Stored { chunks })
                if s.stored < chunks && chunks <= s.sent =>
            {
                s.stored = chunks;
                Ok(())
            }
            (Stage::Timed { device, key, since }, DeviceMessage::Answer { digest }) => {
                let bytes = device.bytes.len() as u32;
                let elapsed = now.saturating_sub(*since);
                let limit = self.limit.unwrap_or_else(|| limit_for(bytes));
                if digest != device.digest(key) {
                    return Err(CheckFailure::Digest);
                }
                if elapsed > limit {
                    return Err(CheckFailure::TooSlow { elapsed, limit });
                }
                self.stage = Stage::Answered(Bounded {
                    device_id: std::mem::take(&mut device.id),
                    vault: device.vault,
                    further: device.further,
                    key: *key,
                    digest,
                    elapsed,
                    limit,
                    receipt: Vec::new(),
                    traffic: Traffic::default(),
                });
                Ok(())
            }
            (Stage::Answered(bounded), DeviceMessage::Receipt { frame }) => {
                let stored = Subject::Stored {
                    key: bounded.key,
                    digest: bounded.digest,
                    bytes: bounded.bytes(),
                };
                match wire::peek::<Receipt<'_>>(frame) {
                    Ok(receipt) if receipt.subject == stored => {}
                    _ => return Err(CheckFailure::Receipt),
                }
                let mut bounded = bounded.clone();
                bounded.receipt = frame.to_vec();
                bounded.traffic = self.traffic;
                self.stage = Stage::Done(bounded);
                Ok(())
            }
            _ => Err(CheckFailure::Conversation),
        }
    }

    /// The device has said what it is.
    fn opened(&mut self, here: &DeviceMessage<'_>) -> Result<(), CheckFailure> {
        let DeviceMessage::Here {
            device_id,
            vault,
            further,
            chunk,
            credit,
            ..
        } = here
        else {
            return Err(CheckFailure::Conversation);
        };
        let bytes = u64::from(*vault) + u64::from(*further);
        let fits = 0 < bytes && bytes <= u64::from(MAX_BYTES) && 0 < *credit;
        let room = MAX_MESSAGE.saturating_sub(8);
        let chunked =
            usize::from(*chunk) <= room && bytes.checked_rem(u64::from(*chunk)) == Some(0);
        if !fits || !chunked {
            return Err(CheckFailure::Size {
                bytes,
                chunk: *chunk,
            });
        }
        let mut random = vec![0; bytes as usize];
        (self.random)(&mut random).map_err(|_| CheckFailure::Random)?;
        self.stage = Stage::Storing(Storing {
            device: Device {
                id: device_id.as_str().to_owned(),
                vault: *vault,
                further: *further,
                chunk: usize::from(*chunk),
                credit: *credit,
                bytes: random,
            },
            sent: 0,
            stored: 0,
        });
        Ok(())
    }

    /// Runs the whole check over a cable without time of its own: `say` hands a
    /// message to the device and returns what that brought, `now` is the clock.
    ///
    /// # Errors
    /// As [`StorageCheck::take`].
    pub fn run(
        mut self,
        mut say: impl FnMut(&[u8]) -> Vec<Vec<u8>>,
        mut now: impl FnMut() -> Duration,
    ) -> Result<Bounded, CheckFailure> {
        loop {
            match self.next(now())? {
                Next::Send(message) => {
                    for said in say(&message) {
                        self.take(&said, now())?;
                    }
                }
                // Every message of an honest device is the answer to one.
                Next::Wait => return Err(CheckFailure::Conversation),
                Next::Done(bounded) => return Ok(bounded),
            }
        }
    }
}

fn message<'a>(message: &dyn Code<'a>) -> Vec<u8> {
    let mut out = [0; MAX_MESSAGE];
    // The longest message fits by the buffer's definition.
    let n = codec::write(b"", message, &mut out).unwrap_or(0);
    out[..n].to_vec()
}

#[cfg(test)]
mod tests;
