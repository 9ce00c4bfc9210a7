//! The request a device posts and the reply it gets.

use super::Body as _;
use super::codec::{Named, Wire};
use super::types::*;
use super::{
    Delegation, Grant, Lease, MAX_FRAME, MakerCertificate, Order, OrderOutcome, Receipt,
    RootChange, Statement,
};
use heapless::String;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// One request, signed by the **device key** over the service's last
/// challenge. Posted as the body of `POST /device/v1`, media type
/// `application/octet-stream`.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(frame = "nrd/1/request", max = MAX_FRAME)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Request<'a> {
    /// The device.
    pub device_id: DeviceId,
    /// The challenge of the last reply; all zero when there was none.
    pub challenge: [u8; 32],
    /// Random; leases and statements answer it.
    pub nonce: [u8; 16],
    /// Agent version, major.minor.patch.
    pub agent_version: [u8; 3],
    /// What the device trusts now: the service sends what is newer.
    pub trust: TrustVersion,
    /// What the device lost and has not replaced.
    pub losses: Losses,
    /// The question or report.
    #[cfg_attr(feature = "serde", serde(borrow))]
    pub ask: Ask<'a>,
}

/// The question or report of a request.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Ask<'a> {
    /// Introduces the device and asks for a challenge.
    Hello {
        /// The maker certificate's frame.
        #[wire(max = MakerCertificate::MAX)]
        certificate: &'a [u8],
    },
    /// Starts or resumes an activation; answered by [`Answer::Code`].
    ActivateStart {
        /// This attempt.
        activation_id: ActivationId,
        /// The device's epoch.
        epoch: u64,
        /// [`super::receipt_digest`] of the newest wipe receipt, if any.
        previous_receipt: Option<Digest>,
    },
    /// Asks whether the code was entered and consent given.
    ActivatePoll {
        /// This attempt.
        activation_id: ActivationId,
        /// The device's epoch.
        epoch: u64,
    },
    /// Gives up an attempt.
    ActivateCancel {
        /// This attempt.
        activation_id: ActivationId,
    },
    /// Proves the token, renews the lease, and fetches orders; sent
    /// periodically.
    CheckIn {
        /// The activation.
        activation_id: ActivationId,
        /// The device's epoch.
        epoch: u64,
        /// Proof of the token; `None` when the session holds none (signed out,
        /// locked without a token): then only orders and statements come back.
        proof: Option<TokenProof>,
        /// Ask for the successor token.
        renew: bool,
        /// Longest time that the service may hold this request back until an
        /// order comes, in seconds.
        wait_s: u16,
        /// Powered seconds since the lease in force was stored.
        powered_s: u32,
        /// The policy version the session holds.
        policy: PolicyVersion,
    },
    /// The device's answer to an order.
    Outcome {
        /// An [`super::OrderOutcome`] frame.
        #[wire(max = OrderOutcome::MAX)]
        outcome: &'a [u8],
    },
    /// A wipe receipt, for whichever account it concerned.
    Receipt {
        /// A [`super::Receipt`] frame.
        #[wire(max = Receipt::MAX)]
        receipt: &'a [u8],
    },
    /// The person at the device signed out.
    SignedOut {
        /// The activation.
        activation_id: ActivationId,
        /// The device's epoch.
        epoch: u64,
    },
}

/// Proves possession of a token without sending it.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct TokenProof {
    /// The token's generation.
    pub generation: Generation,
    /// HMAC-SHA-256(token, "nrd/1/proof\0" ‖ challenge ‖ nonce).
    pub mac: [u8; 32],
}

/// Domain separation of [`TokenProof::mac`].
pub const PROOF_CONTEXT: &[u8] = b"nrd/1/proof\0";

/// The reply to a request. It carries no signature: the objects in it that
/// change the device (delegation, grant, lease, statement, order) carry theirs.
#[derive(Clone, Wire)]
#[wire(frame = "nrd/1/reply", max = MAX_FRAME, unsigned)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Reply<'a> {
    /// The challenge for the next request.
    pub challenge: [u8; 32],
    /// A [`super::RootChange`] frame: the step that follows the root which the
    /// device stated, when there is one. Read before `delegation`.
    #[wire(max = RootChange::MAX)]
    pub root: Option<&'a [u8]>,
    /// A [`super::Delegation`] frame, when it is newer than what the device
    /// stated.
    #[wire(max = Delegation::MAX)]
    pub delegation: Option<&'a [u8]>,
    /// The answer.
    #[cfg_attr(feature = "serde", serde(borrow))]
    pub answer: Answer<'a>,
}

/// The content of a reply.
#[derive(Clone, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Answer<'a> {
    /// To `Hello`.
    Welcome,
    /// To `ActivateStart`.
    Code {
        /// The user code, without separator, from the alphabet
        /// `BCDFGHJKLMNPQRSTVWXZ` (no vowels, no digits: RFC 8628 §6.1).
        user_code: String<12>,
        /// The pictogram that screen and page both show, 0 to 15: a person sees
        /// that they belong together.
        pictogram: u8,
        /// Seconds until the code expires.
        expires_in_s: u32,
        /// Seconds between polls.
        interval_s: u16,
    },
    /// To `ActivatePoll`: not yet.
    Pending {
        /// Seconds between polls.
        interval_s: u16,
    },
    /// To `ActivatePoll`: a [`super::Grant`] frame.
    Granted {
        /// The frame.
        #[wire(max = Grant::MAX)]
        grant: &'a [u8],
    },
    /// To `ActivatePoll` and `ActivateCancel`: this attempt is over.
    ActivationEnded {
        /// The reason.
        reason: EndReason,
    },
    /// To `CheckIn`.
    CheckedIn {
        /// A [`super::Lease`] frame.
        #[wire(max = Lease::MAX)]
        lease: Option<&'a [u8]>,
        /// A [`super::Statement`] frame.
        #[wire(max = Statement::MAX)]
        statement: Option<&'a [u8]>,
        /// An [`super::Order`] frame. More may wait: check in again.
        #[wire(max = Order::MAX)]
        order: Option<&'a [u8]>,
        /// Seconds until the next check-in is wanted.
        interval_s: u32,
    },
    /// To `Outcome`, `SignedOut`: stored.
    Noted,
    /// To `Receipt`: stored, for good.
    ReceiptStored {
        /// Its [`super::receipt_digest`].
        digest: Digest,
    },
    /// The request was not carried out. Never destroys or locks anything.
    Refused {
        /// The reason.
        code: RefusalCode,
        /// Seconds to wait before trying again.
        retry_after_s: u32,
    },
}

/// The reason for the end of an activation attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire, Named)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum EndReason {
    /// The account holder said no.
    Denied,
    /// The code expired unused.
    Expired,
    /// The device asked.
    Cancelled,
}

/// The reason for a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire, Named)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[non_exhaustive]
pub enum RefusalCode {
    /// The challenge was not the last one: sign again over the new one.
    StaleChallenge,
    /// The service does not know the device: send `Hello`.
    UnknownDevice,
    /// The signature or the frame is wrong.
    BadRequest,
    /// No such activation.
    UnknownActivation,
    /// Too many requests.
    SlowDown,
    /// The service cannot store right now.
    Unavailable,
    /// The certificate does not verify under a maker root the service knows.
    UnknownMaker,
}
