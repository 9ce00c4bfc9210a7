//! Judges a receipt: a function without I/O and without memory of its own.
//!
//! A good signature says who speaks, not that it is true: [`judge`] holds every
//! field against every other, against what the maker says of the model, and
//! against what the caller knows. The numbered rules are in SPEC §9, "What a
//! verifier checks"; [`Rule`] names them.
//!
//! | file | what |
//! |---|---|
//! | `lib.rs` | question, verdict, signatures |
//! | `rule.rs` | the rules that a receipt may break |
//! | `hold.rs` | holds a receipt against them |
#![no_std]

mod hold;
mod rule;

pub use rule::{Contradictions, Rule};

use nrd_agent::Error;
use nrd_agent::wire::{
    self, ActivationId, DeviceKind, Digest, MakerCertificate, Method, Receipt, Subject,
};
use nrd_hal::Crypto;

/// What the maker says of a model (SPEC §9, "Model list").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelData {
    /// Its kind.
    pub kind: DeviceKind,
    /// Sectors of its vault, as the receipt counts them.
    pub sectors: u32,
    /// Size of its vault.
    pub vault_bytes: u32,
    /// An erase of its key slots physically destroys what was in them.
    pub physical: bool,
    /// Its key slots lie outside the flash image.
    pub slots_outside_image: bool,
    /// Its root key refuses past epochs.
    pub root_refuses_past: bool,
}

/// What a maker's lists say. `()` has none.
pub trait MakerLists {
    /// What is known of this model; the outer `None` without a list.
    fn model(&self, model: &str) -> Option<Option<ModelData>>;
    /// Whether a status list names this device, model or agent; `None` without
    /// a list that is in date.
    fn revoked(&self, device_id: &str, model: &str, agent: [u8; 3]) -> Option<bool>;
}

impl MakerLists for () {
    fn model(&self, _: &str) -> Option<Option<ModelData>> {
        None
    }
    fn revoked(&self, _: &str, _: &str, _: [u8; 3]) -> Option<bool> {
        None
    }
}

/// The nonce that was asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'q> {
    /// It.
    pub nonce: &'q [u8; 32],
    /// Nonces that the caller asked before: their answers are old ones.
    pub earlier: &'q [[u8; 32]],
}

/// The activation that a wipe's receipt is shown for.
#[derive(Debug, Clone, Copy)]
pub struct Known<'q> {
    /// Its id.
    pub activation_id: ActivationId,
    /// The epoch that it began in.
    pub epoch: u64,
    /// Digests of the orders that were given for it, where they are known.
    pub orders: Option<&'q [Digest]>,
}

/// What is asked of a receipt. What is `None` is not held against it, and the
/// judgement says so.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// The maker's public key.
    pub maker_root: &'q [u8; 32],
    /// The maker's lists.
    pub lists: &'q dyn MakerLists,
    /// The device id that the label says.
    pub device_id: Option<&'q str>,
    /// The nonce that must be answered.
    pub asked: Option<Asked<'q>>,
    /// The activation that it must have ended.
    pub known: Option<Known<'q>>,
    /// The counter in the receipt before this one.
    pub previous_counter: Option<u64>,
    /// The digest that a check of the storage must have found; only who chose
    /// what was stored knows it.
    pub stored: Option<&'q Digest>,
}

impl<'q> Question<'q> {
    /// Asks no more than whether it is consistent and this maker's.
    pub fn new(maker_root: &'q [u8; 32]) -> Question<'q> {
        Question {
            maker_root,
            lists: &(),
            device_id: None,
            asked: None,
            known: None,
            previous_counter: None,
            stored: None,
        }
    }
}

/// Why there is nothing to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// These bytes are no receipt.
    NoReceipt(Error),
    /// The certificate in it is not the maker's.
    Certificate(Error),
    /// The device's signature does not verify.
    Signature(Error),
}

/// What follows from a receipt whose signatures hold. Only the first is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every rule holds, and nothing failed.
    Proven,
    /// The maker counts this device, model or agent no longer.
    Revoked,
    /// Another device signed it.
    NotThisDevice,
    /// It answers one of the caller's earlier questions.
    Replayed,
    /// It answers a nonce that the caller never asked, or none.
    NotThisQuestion,
    /// It breaks rules: no honest device signs it.
    Contradictory(Contradictions),
    /// The device itself says that something failed.
    Failed,
    /// It holds together, and what it says could not be held against anything:
    /// the model list does not know its model, or nobody knows what was stored.
    NotChecked,
}

/// A receipt whose signatures hold, and what follows from it.
#[derive(Debug, Clone)]
pub struct Judgement<'f> {
    /// The device, by its maker's word.
    pub certificate: MakerCertificate,
    /// What it signed.
    pub receipt: Receipt<'f>,
    /// The digest that names it.
    pub digest: Digest,
    /// What follows.
    pub verdict: Verdict,
    /// It was held against the model's data.
    pub model_checked: bool,
    /// It was held against a status list.
    pub status_checked: bool,
}

/// Judges a frame from a stranger: two signatures at most, whatever it holds.
pub fn judge<'f, C: Crypto>(
    frame: &'f [u8],
    question: &Question<'_>,
) -> Result<Judgement<'f>, Refusal> {
    let claimed: Receipt<'_> = wire::peek(frame).map_err(Refusal::NoReceipt)?;
    let certificate: MakerCertificate =
        wire::decode_signed::<_, C>(claimed.certificate, question.maker_root)
            .map_err(Refusal::Certificate)?;
    let receipt: Receipt<'_> =
        wire::decode_signed::<_, C>(frame, &certificate.public_key).map_err(Refusal::Signature)?;
    let digest = wire::receipt_digest::<C>(frame).ok_or(Refusal::NoReceipt(Error::Malformed))?;
    let model = question.lists.model(&certificate.model);
    let revoked = question.lists.revoked(
        certificate.device_id.as_str(),
        &certificate.model,
        receipt.agent_version,
    );
    let verdict = verdict(&certificate, &receipt, question, model, revoked);
    Ok(Judgement {
        certificate,
        receipt,
        digest,
        verdict,
        model_checked: model.flatten().is_some(),
        status_checked: revoked.is_some(),
    })
}

fn verdict(
    certificate: &MakerCertificate,
    receipt: &Receipt<'_>,
    question: &Question<'_>,
    model: Option<Option<ModelData>>,
    revoked: Option<bool>,
) -> Verdict {
    if revoked == Some(true) {
        return Verdict::Revoked;
    }
    if question
        .device_id
        .is_some_and(|id| !same_id(id, certificate.device_id.as_str()))
    {
        return Verdict::NotThisDevice;
    }
    let (answered, found) = match &receipt.subject {
        Subject::Wipe { .. } => (None, None),
        Subject::Clean { nonce } => (Some(nonce), None),
        Subject::Stored { key, digest, .. } => (Some(key), Some(digest)),
    };
    if let Some(asked) = &question.asked {
        match answered {
            Some(nonce) if nonce == asked.nonce => {}
            Some(nonce) if asked.earlier.contains(nonce) => return Verdict::Replayed,
            _ => return Verdict::NotThisQuestion,
        }
    }
    let mut broken = hold::contradictions(receipt, question);
    if let Some(Some(model)) = model {
        hold::against_model(certificate, receipt, &model, &mut broken);
    }
    if let (Some(found), Some(stored)) = (found, question.stored) {
        broken.unless(found == stored, Rule::StoredBytes);
    }
    if !broken.is_empty() {
        Verdict::Contradictory(broken)
    } else if receipt.method == Method::Failed {
        Verdict::Failed
    } else if model == Some(None) || found.is_some() && question.stored.is_none() {
        Verdict::NotChecked
    } else {
        Verdict::Proven
    }
}

/// Case and spaces of a label do not matter.
fn same_id(a: &str, b: &str) -> bool {
    let plain = |c: &char| !c.is_whitespace();
    let upper = |c: char| c.to_ascii_uppercase();
    a.chars()
        .filter(plain)
        .map(upper)
        .eq(b.chars().filter(plain).map(upper))
}
