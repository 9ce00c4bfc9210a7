//! Verifies a receipt offline: with the maker root, and its status list where
//! there is one.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what a receipt says, and the verdict on it (`nrd-verifier`) |
//! | `lists.rs` | the lists that a maker signs, and what a verifier has of them |
//! | `models.rs` | the maker's model list: what its models are built of |
//! | `status.rs` | the maker's status list: what counts no longer |
//! | `words.rs` | what a receipt says, in words |

mod lists;
mod models;
mod status;
mod words;

pub use lists::{ListError, Lists};
pub use models::{ModelEntry, ModelList};
pub use nrd_verifier::{Asked, Known, Question, Rule, Verdict};
pub use status::{Revocation, StatusList};
pub use words::Fact;

use nrd_agent::Error;
use nrd_agent::wire::{DeviceKind, Method, Receipt, ReceiptFlags, Subject, WipeReason};
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::{hex, printable};
use nrd_verifier::judge;
use serde::Serialize;

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// These bytes are no receipt.
    NoReceipt(Error),
    /// The certificate in it is not the maker's.
    Certificate(Error),
    /// The device's signature does not verify.
    Signature(Error),
    /// It answers another nonce, or none.
    Nonce,
    /// It is another device's: this is the one that signed it.
    Device(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::NoReceipt(e) => write!(f, "this is no receipt: {e}"),
            Refusal::Certificate(_) => {
                f.write_str("the device's certificate was not signed by this maker root")
            }
            Refusal::Signature(_) => {
                f.write_str("the device's signature does not verify: the receipt was altered")
            }
            Refusal::Nonce => f.write_str(
                "it does not answer this nonce: an older receipt, or one made for somebody else",
            ),
            Refusal::Device(id) => write!(f, "it was signed by another device: {id}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What a receipt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectKind {
    /// A wipe that the device carried out.
    Wipe,
    /// Its storage, read again when it was asked.
    Clean,
    /// A storage check: its storage, filled by a desk, read back and erased.
    Stored,
}

/// JSON has the method's stable word.
fn by_name<S: serde::Serializer>(method: &Method, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(method.name())
}

fn kind_by_name<S: serde::Serializer>(kind: &DeviceKind, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(kind.name())
}

/// What a receipt that verifies says.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// The digest that names it.
    pub digest: String,
    /// Device id.
    pub device_id: String,
    /// Model, by the maker's word, without control characters.
    pub model: String,
    /// Kind, by the maker's word.
    #[serde(serialize_with = "kind_by_name")]
    pub kind: DeviceKind,
    /// What was signed.
    pub subject: SubjectKind,
    /// Why it was wiped.
    pub reason: Option<&'static str>,
    /// The order that was carried out.
    pub order: Option<String>,
    /// The receipt before this one.
    pub previous: Option<String>,
    /// The nonce it answers.
    pub nonce: Option<String>,
    /// Bytes stored, read back and erased in a storage check.
    pub stored_bytes: Option<u32>,
    /// How it was sanitized, by NIST SP 800-88 Rev. 2.
    #[serde(serialize_with = "by_name")]
    pub method: Method,
    /// True for [`Verdict::Proven`] alone: the device proved itself clean.
    pub clean: bool,
    /// What follows from every field of it.
    #[serde(serialize_with = "verdict_name")]
    pub verdict: Verdict,
    /// What in it contradicts what, a sentence each; empty unless the verdict
    /// is [`Verdict::Contradictory`].
    pub contradictions: Vec<&'static str>,
    /// It was held against the maker's model list.
    pub model_checked: bool,
    /// Epoch that ended, or the current one.
    pub epoch: u64,
    /// The counter when it was signed.
    pub counter: u64,
    /// Vault sectors in all.
    pub sectors: u32,
    /// Erased and read back.
    pub erased: u32,
    /// That would not erase.
    pub failed: u32,
    /// Both key slots read back blank.
    pub slots_blank: bool,
    /// The key slots lie outside the flash image.
    pub slots_outside_image: bool,
    /// The root key refuses past epochs by itself.
    pub root_refuses_past: bool,
    /// The counter is worn out.
    pub counter_worn_out: bool,
    /// The tombstone could not be written; the keys were destroyed all the same.
    pub tombstone_failed: bool,
    /// Older receipts that were dropped undelivered.
    pub dropped: u16,
    /// Agent version.
    pub agent_version: String,
    /// Powered seconds of the device's life.
    pub powered_s: u32,
    /// Wall time, where the device has it.
    pub wall_s: Option<u64>,
    /// What a status list says; see [`StatusList::look_up`].
    pub revocation: Revocation,
}

/// JSON has a stable word.
fn verdict_name<S: serde::Serializer>(verdict: &Verdict, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(match verdict {
        Verdict::Proven => "proven",
        Verdict::Revoked => "revoked",
        Verdict::NotThisDevice => "not this device",
        Verdict::Replayed => "replayed",
        Verdict::NotThisQuestion => "not this question",
        Verdict::Contradictory(_) => "contradictory",
        Verdict::Failed => "failed",
        Verdict::NotChecked => "not checked",
    })
}

/// Verifies `frame`. With `nonce`, only an answer to exactly that nonce will do.
pub fn verify(
    frame: &[u8],
    maker_root: &[u8; 32],
    nonce: Option<&[u8; 32]>,
) -> Result<Verified, Refusal> {
    let mut question = Question::new(maker_root);
    question.asked = nonce.map(|nonce| nrd_verifier::Asked {
        nonce,
        earlier: &[],
    });
    verify_with(frame, question, &Lists::default(), 0)
}

/// Verifies `frame` against all that the caller knows, and its maker's lists at
/// `now`, Unix seconds.
pub fn verify_with(
    frame: &[u8],
    question: Question<'_>,
    lists: &Lists,
    now: u64,
) -> Result<Verified, Refusal> {
    let question = Question { lists, ..question };
    let judged = judge::<RingCrypto>(frame, &question).map_err(|e| match e {
        nrd_verifier::Refusal::NoReceipt(e) => Refusal::NoReceipt(e),
        nrd_verifier::Refusal::Certificate(e) => Refusal::Certificate(e),
        nrd_verifier::Refusal::Signature(e) => Refusal::Signature(e),
    })?;
    let cert = &judged.certificate;
    let contradictions: Vec<_> = match judged.verdict {
        Verdict::NotThisQuestion | Verdict::Replayed => return Err(Refusal::Nonce),
        Verdict::NotThisDevice => {
            return Err(Refusal::Device(cert.device_id.as_str().to_owned()));
        }
        Verdict::Contradictory(broken) => broken.iter().map(Rule::says).collect(),
        Verdict::Proven | Verdict::Revoked | Verdict::Failed | Verdict::NotChecked => Vec::new(),
    };
    // Every field has a name here: one that is added does not compile before the
    // verdict has a place for it.
    let Receipt {
        certificate: _,
        subject,
        epoch,
        counter,
        method,
        sectors,
        flags:
            ReceiptFlags {
                slots_blank,
                slots_outside_image,
                root_refuses_past,
                counter_worn_out,
                tombstone_failed,
                dropped,
            },
        agent_version: [major, minor, patch],
        powered_s,
        wall_s,
    } = judged.receipt;
    let mut v = Verified {
        digest: hex(&judged.digest),
        device_id: cert.device_id.as_str().to_owned(),
        model: cert.model.as_str().to_owned(),
        kind: cert.kind,
        subject: match &subject {
            Subject::Wipe { .. } => SubjectKind::Wipe,
            Subject::Clean { .. } => SubjectKind::Clean,
            Subject::Stored { .. } => SubjectKind::Stored,
        },
        reason: None,
        order: None,
        previous: None,
        nonce: None,
        stored_bytes: None,
        method,
        clean: judged.verdict == Verdict::Proven,
        verdict: judged.verdict,
        contradictions,
        model_checked: judged.model_checked,
        epoch,
        counter,
        sectors: sectors.total,
        erased: sectors.erased,
        failed: sectors.failed,
        slots_blank,
        slots_outside_image,
        root_refuses_past,
        counter_worn_out,
        tombstone_failed,
        dropped,
        agent_version: format!("{major}.{minor}.{patch}"),
        powered_s,
        wall_s,
        revocation: Revocation::NotChecked,
    };
    v.nonce = answered(&subject, &mut v).map(|n| hex(&n));
    v.revocation = lists.look_up(&v, now);
    // A maker's model is any text: none of it may steer whatever shows it.
    v.model = printable(&v.model);
    Ok(v)
}

/// Notes what a subject says, and returns the nonce that it answers.
fn answered(subject: &Subject, v: &mut Verified) -> Option<[u8; 32]> {
    match subject {
        Subject::Wipe {
            reason,
            order,
            previous,
            ..
        } => {
            v.reason = Some(reason_text(*reason));
            v.order = order.map(|d| hex(&d));
            v.previous = previous.map(|d| hex(&d));
            None
        }
        Subject::Clean { nonce } => Some(*nonce),
        // Only the desk that drew the bytes can tell whether the digest is theirs.
        Subject::Stored { key, bytes, .. } => {
            v.stored_bytes = Some(*bytes);
            Some(*key)
        }
    }
}

fn reason_text(reason: WipeReason) -> &'static str {
    match reason {
        WipeReason::Order => "ordered on the account page",
        WipeReason::Local => "by a person at the device",
        WipeReason::DeadMan => "no word from the service for too long",
        WipeReason::VisitEnded => "the visit ended: not remembered",
        WipeReason::Abandoned => "an activation was given up",
        WipeReason::Recovered => "the device found its state incomplete",
    }
}
