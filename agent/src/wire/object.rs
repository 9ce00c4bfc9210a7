//! The signed objects. Each carries its authority by itself.

use super::Body as _;
use super::codec::{Named, Wire};
use super::types::*;
use heapless::String;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// Signed by the **maker root**: this device id has this key, model and kind.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(frame = "nrd/1/certificate", max = 256)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct MakerCertificate {
    /// The device id.
    pub device_id: DeviceId,
    /// The device's Ed25519 public key.
    pub public_key: [u8; 32],
    /// Model name, for people; at most 32 bytes of UTF-8.
    pub model: String<32>,
    /// The kind of device.
    pub kind: DeviceKind,
}

/// Signed by the **service root in force**: its successor. A device follows one
/// step at a time, persists it before use, and never goes back (as The Update
/// Framework does, section 5.3: the old root signs the new one, versions only go
/// up).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire)]
#[wire(frame = "nrd/1/root", max = 128)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct RootChange {
    /// Version of the new root: one more than that of the root which signs this.
    pub version: u32,
    /// The new root's Ed25519 public key.
    pub root: [u8; 32],
}

/// Signed by the **service root in force**: which keys speak for the service
/// from now on. Versions only go up; a device persists the newest it has seen
/// and refuses older ones. A newer root begins its versions anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire)]
#[wire(frame = "nrd/1/delegation", max = 256)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Delegation {
    /// Version of this delegation, and of the root that signs it.
    pub version: TrustVersion,
    /// Version of the order key; goes up when the order key changes.
    pub order_key_version: KeyVersion,
    /// Ed25519 key that signs [`Order`]s.
    pub order_key: [u8; 32],
    /// Ed25519 key that signs [`Grant`]s, [`Lease`]s and [`Statement`]s.
    pub session_key: [u8; 32],
    /// Version of trusted time; a higher one lets `time_floor` go down.
    pub time_version: u32,
    /// When `time_version` is new, the device's time floor becomes this (Unix
    /// seconds), up or down.
    pub time_floor: u64,
    /// What lease terms are held between.
    pub bounds: TermBounds,
}

/// The action that an order demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire, Named)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum OrderKind {
    /// Wipe: credentials, account data, activation. Terminal.
    Deactivate,
    /// Drop the session and personal data; the device stays on the account's
    /// list.
    SignOut,
}

impl OrderKind {
    /// True when nothing is left of the activation once the order is applied.
    /// Such an order is never refused for its sequence number, goes before any
    /// other, and is proven by a receipt.
    pub const fn is_terminal(self) -> bool {
        match self {
            OrderKind::Deactivate => true,
            OrderKind::SignOut => false,
        }
    }
}

/// Signed by the **order key**: a remote order for one activation, valid over
/// any channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[wire(frame = "nrd/1/order", max = 256)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Order {
    /// The device it is for.
    pub device_id: DeviceId,
    /// The epoch it is for.
    pub epoch: u64,
    /// The activation it is for.
    pub activation_id: ActivationId,
    /// Version of the order key that signed it.
    pub key_version: KeyVersion,
    /// Its position for (activation, key version).
    pub seq: OrderSeq,
    /// The action.
    pub kind: OrderKind,
}

/// The result of an order on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire, Named)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum OrderResult {
    /// Accepted and durable; a deactivation is proven by its receipt later.
    Applied,
    /// This order, or one that includes it, was applied before.
    #[named("already applied")]
    AlreadyApplied,
    /// For another device, epoch or activation: no effect, ever.
    #[named("not applicable")]
    NotApplicable,
    /// Its sequence number is not newer than one already seen.
    Stale,
}

/// Signed by the **device key**: the answer to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[wire(frame = "nrd/1/outcome", max = 192)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct OrderOutcome {
    /// The device.
    pub device_id: DeviceId,
    /// SHA-256 of the order's frame.
    pub order: Digest,
    /// The result.
    pub result: OrderResult,
    /// The counter at that moment.
    pub epoch: u64,
}

/// Signed by the **session key**: an activation succeeded. The service answers
/// every poll of one (device, activation) with identical bytes until the first
/// renewal. Holds a token: it travels only inside TLS and is zeroized.
#[derive(Clone, Wire)]
#[wire(frame = "nrd/1/grant", max = 384)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Grant {
    /// The device.
    pub device_id: DeviceId,
    /// The activation.
    pub activation_id: ActivationId,
    /// The epoch.
    pub epoch: u64,
    /// The token series.
    pub series: Series,
    /// The first token (generation 1).
    pub token: TokenSecret,
    /// False when "Remember me on this computer" was left unticked: then
    /// nothing that opens the session outlives power-off.
    pub remember: bool,
    /// The policy version that the account holder consented to.
    pub policy: PolicyVersion,
    /// First name or nickname for "Welcome back, …"; personal data.
    pub display_name: String<32>,
    /// Terms until the first lease.
    pub terms: LeaseTerms,
}

/// What a grant brings of an account's: secrets and personal data, each zeroized
/// in place.
impl Zeroize for Grant {
    fn zeroize(&mut self) {
        self.series.zeroize();
        self.token.zeroize();
        self.display_name.zeroize();
    }
}

/// The token that follows the one in use.
#[derive(Clone, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct NextToken {
    /// Its generation.
    pub generation: Generation,
    /// Its secret.
    pub token: TokenSecret,
}

/// Signed by the **session key**: access goes on.
#[derive(Clone, Wire)]
#[wire(frame = "nrd/1/lease", max = 384)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Lease {
    /// The device.
    pub device_id: DeviceId,
    /// The activation.
    pub activation_id: ActivationId,
    /// The nonce of the request this answers.
    pub nonce: [u8; 16],
    /// The service's wall clock, Unix seconds.
    pub issued_at: u64,
    /// The terms.
    pub terms: LeaseTerms,
    /// The policy version in force that was consented to.
    pub policy: PolicyVersion,
    /// The successor token, when a renewal was asked for.
    pub next: Option<NextToken>,
}

/// Signed by the **session key** for one request's nonce: the only thing but
/// time that makes a device lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire)]
#[wire(frame = "nrd/1/statement", max = 192)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Statement {
    /// The device.
    pub device_id: DeviceId,
    /// The activation.
    pub activation_id: ActivationId,
    /// The nonce of the request this answers.
    pub nonce: [u8; 16],
    /// The reason for closing access: one that [`LockReason::is_stated`].
    pub reason: LockReason,
}

/// The sanitization method for key slots and data, in the terms of NIST SP 800-88
/// Rev. 2, section 3.1. The device claims and verifies it; `docs/SANITIZATION.md`
/// says on which grounds, and who validates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire, Named)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Method {
    /// Cryptographic erase with physically erased keys, and every sector of
    /// the data erased and read back: *purge*.
    Purge,
    /// The same where the keys' erase is only logical: *clear*.
    Clear,
    /// Some step failed; see the counts. The device is not clean.
    Failed,
}

/// Facts about one wipe, or about the device now. Signed by the **device key**;
/// anyone with the maker root verifies it offline. No account identifier.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(frame = "nrd/1/receipt", max = 640)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Receipt<'a> {
    /// The maker certificate's frame, which names device id, model and key.
    #[wire(max = MakerCertificate::MAX)]
    pub certificate: &'a [u8],
    /// The event or the proof that this receipt is for.
    pub subject: Subject,
    /// The epoch that ended (for a wipe) or the current one (for a proof).
    pub epoch: u64,
    /// The counter's value when the receipt was signed.
    pub counter: u64,
    /// The sanitization method, or its failure.
    pub method: Method,
    /// Vault sectors (logical) in all, erased and verified, and failed.
    pub sectors: SectorCounts,
    /// Flags, see [`ReceiptFlags`].
    pub flags: ReceiptFlags,
    /// Agent version, major.minor.patch as bytes.
    pub agent_version: [u8; 3],
    /// Powered seconds of the device's life at the end, as it counts them.
    pub powered_s: u32,
    /// Wall time (Unix seconds) where the hardware has it.
    pub wall_s: Option<u64>,
}

/// The digest that names a receipt: SHA-256 of its frame without the
/// signature, so that facts can be named before they are signed.
pub fn receipt_digest<C: nrd_hal::Crypto>(frame: &[u8]) -> Option<Digest> {
    let (signed, _) = frame.split_last_chunk::<{ super::SIGNATURE_LEN }>()?;
    Some(C::sha256(signed))
}

/// The event or the proof that a receipt is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Subject {
    /// A wipe that was carried out.
    Wipe {
        /// The reason.
        reason: WipeReason,
        /// SHA-256 of the order's frame, for [`WipeReason::Order`].
        order: Option<Digest>,
        /// The activation that ended.
        activation_id: ActivationId,
        /// [`receipt_digest`] of the previous receipt: the epoch chain.
        previous: Option<Digest>,
    },
    /// The flash was read again now: `prove_clean`.
    Clean {
        /// The asker's nonce.
        nonce: [u8; 32],
    },
    /// Random bytes of the asker were stored, read back under a key that came
    /// after them, and erased: [`storage`](super::storage).
    Stored {
        /// The asker's key.
        key: [u8; 32],
        /// Of what was read back, under the key:
        /// [`digest_block`](super::storage::digest_block).
        digest: Digest,
        /// Bytes that were stored and read back.
        bytes: u32,
    },
}

/// Vault sectors by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct SectorCounts {
    /// Logical sectors of the vault.
    pub total: u32,
    /// Erased and read back blank.
    pub erased: u32,
    /// Not blank after retries (programmed to zero where the part can).
    pub failed: u32,
}

/// Facts a verifier needs, as named booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct ReceiptFlags {
    /// Both key slots read back blank.
    pub slots_blank: bool,
    /// The slots lie outside the flash image.
    pub slots_outside_image: bool,
    /// The root key refuses past epochs by itself.
    pub root_refuses_past: bool,
    /// The counter is worn out and could not be raised.
    pub counter_worn_out: bool,
    /// The tombstone could not be written; keys were destroyed all the same.
    pub tombstone_failed: bool,
    /// Number of older undelivered receipts that were dropped to make room.
    pub dropped: u16,
}
