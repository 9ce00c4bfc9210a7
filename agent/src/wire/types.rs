//! Small types of the protocol. What must not be mixed up has its own type.

use heapless::String;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A device id (ESN-like): 1 to 32 bytes of printable ASCII without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceId(String<32>);

impl DeviceId {
    /// Checks length and alphabet.
    pub fn new(id: &str) -> Option<DeviceId> {
        let ok = !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic());
        if !ok {
            return None;
        }
        String::try_from(id).ok().map(DeviceId)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Display for DeviceId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one activation attempt: 16 random bytes, drawn on the device before
/// its first request. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct ActivationId(pub [u8; 16]);

/// Names a token series: 16 random bytes, drawn by the service. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct Series(pub [u8; 16]);

/// Position of a token in its series; the first is 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct Generation(pub u32);

/// Position of an order among those of one (activation, order key version);
/// the first is 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct OrderSeq(pub u64);

/// Version of an order key; only goes up.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct KeyVersion(pub u32);

/// Version of the privacy policy and terms that an account holder consented to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct PolicyVersion(pub u32);

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The secret of one token generation, 32 bytes. No `Debug`; zeroized on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct TokenSecret(pub [u8; 32]);

/// What kind of device this is, by the maker's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A set-top box or television: always remembers its account holder.
    SetTopBox,
    /// A game console: always remembers; cannot follow links.
    Console,
    /// A computer: "Remember me on this computer" can be unticked.
    Computer,
}

impl DeviceKind {
    /// True for Netflix ready devices, which have no "remember me" choice and
    /// always remember.
    pub fn always_remembers(self) -> bool {
        !matches!(self, DeviceKind::Computer)
    }
}

/// Why a device was deactivated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WipeReason {
    /// A signed order from the account page.
    Order,
    /// A person at the device.
    Local,
    /// The powered-time dead-man after the lease ran out.
    DeadMan,
    /// A computer with "remember me" unticked was switched off or signed out.
    VisitEnded,
    /// An activation attempt was abandoned, cancelled or denied.
    Abandoned,
    /// The device found its own state incomplete (for example a slot older
    /// than the counter) and finished the wipe that this implies.
    Recovered,
}

/// Why access is closed though nothing was destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LockReason {
    /// The lease ran out; a check-in opens it again.
    LeaseExpired,
    /// The service revoked this activation.
    Revoked,
    /// A newer policy asks for consent on the account page.
    ConsentDue,
    /// A retired token was used somewhere: the series is revoked.
    TheftSuspected,
    /// The journal is unreadable; only a local wipe or a signed order helps.
    JournalLost,
}

/// How long a session lasts without word from the service. All times count
/// *powered* seconds from the moment the lease was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// Ask for a renewal after this many powered seconds.
    pub renew_after_s: u32,
    /// Access closes after this many powered seconds; more than
    /// `renew_after_s`.
    pub expires_after_s: u32,
    /// Access closes after this many boots without a new lease.
    pub max_boots: u16,
    /// The device wipes itself this many powered seconds *after* the lease has
    /// run out; 0 means never.
    pub dead_man_s: u32,
}
