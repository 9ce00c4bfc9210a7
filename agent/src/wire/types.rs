//! Small types of the protocol: ids, positions, versions, reasons, lease terms.
//!
//! Each position and version has a type of its own, so that the compiler
//! refuses an order's sequence number where a token's generation belongs. The
//! enums have words (`name`, `from_name`), which databases and files hold.

use super::codec::{Blank, Bounded, Code, Named, Reader, Wire, Writer, block_len, copy};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A device id (ESN-like): 1 to 32 bytes of printable ASCII without spaces.
///
/// ```
/// use nrd_agent::wire::DeviceId;
///
/// let id = DeviceId::new("NRD-STB-0042").unwrap();
/// assert_eq!(id.as_str(), "NRD-STB-0042");
/// assert_eq!(DeviceId::new("two words"), None);
/// assert_eq!(DeviceId::new(""), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId {
    len: u8,
    text: [u8; 32],
}

impl DeviceId {
    /// Checks length and alphabet.
    pub fn new(id: &str) -> Option<DeviceId> {
        let mut new = DeviceId::BLANK;
        new.set(id.as_bytes()).then_some(new)
    }

    /// Replaces the id; false when `id` is not a device id, and `self` then of no
    /// use.
    fn set(&mut self, id: &[u8]) -> bool {
        // Ids are compared with the bytes after their text, which must be zero.
        *self = DeviceId::BLANK;
        self.len = id.len() as u8;
        copy(&mut self.text, id);
        (1..=32).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    }

    fn bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

impl core::fmt::Display for DeviceId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl Serialize for DeviceId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = heapless::String::<32>::deserialize(d)?;
        DeviceId::new(&text).ok_or(serde::de::Error::custom("not a device id"))
    }
}

/// Names one activation attempt: 16 random bytes, drawn on the device before
/// its first request. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct ActivationId(pub [u8; 16]);

/// Names a token series: 16 random bytes, drawn by the service. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Wire, Zeroize)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Series(pub [u8; 16]);

/// Position of a token in its series; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Wire, Zeroize)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Generation(pub u32);

/// Position of an order among those of one (activation, order key version);
/// the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct OrderSeq(pub u64);

/// Version of an order key; only goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct KeyVersion(pub u32);

/// Version of the privacy policy and terms that an account holder consented to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct PolicyVersion(pub u32);

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The secret of one token generation, 32 bytes. No `Debug`; zeroized on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct TokenSecret(pub [u8; 32]);

/// The kind of a device, as its maker certified it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire, Named)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum DeviceKind {
    /// A set-top box or television: always remembers its account holder.
    SetTopBox,
    /// A game console: always remembers; cannot follow links.
    Console,
    /// A computer: "Remember me on this computer" can be unticked.
    Computer,
}

/// The reason for a wipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire, Named)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
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

/// The reason for closed access. Nothing is destroyed: a lock can be lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire, Named)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum LockReason {
    /// The lease ran out; a check-in opens it again.
    LeaseExpired,
    /// The service revoked this activation.
    Revoked,
    /// A newer policy asks for consent on the account page.
    ConsentDue,
    /// A retired token was used somewhere: the series is revoked.
    TheftSuspected,
    /// The journal is unreadable; a person at the device can wipe it.
    JournalLost,
    /// The session record or the key slot is unreadable: sign in again. No wipe
    /// is needed, and none happens.
    SessionLost,
    /// The journal takes no writes, so powered time cannot be charged. Access
    /// opens again as soon as it does.
    NotStored,
    /// A part that the boot needs does not answer. It is asked again.
    NotAnswering,
}

impl LockReason {
    /// True for the reasons that a service may state. The others are the
    /// device's own findings; a statement that names one is refused.
    pub const fn is_stated(self) -> bool {
        match self {
            LockReason::Revoked | LockReason::ConsentDue | LockReason::TheftSuspected => true,
            LockReason::LeaseExpired
            | LockReason::JournalLost
            | LockReason::SessionLost
            | LockReason::NotStored
            | LockReason::NotAnswering => false,
        }
    }
}

/// Version of what a device trusts: of the service root, then of the delegation
/// that this root signed. A newer root outranks every delegation of an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct TrustVersion {
    /// Version of the service root. The first is 0.
    pub root: u32,
    /// Version of the delegation under that root; 0 when there is none.
    pub delegation: u32,
}

/// What a device lost and has not replaced. Each request says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Losses {
    /// The session record or the key slot: the account holder signs in again.
    pub session: bool,
    /// An undelivered receipt. The next receipt counts it as dropped.
    pub receipt: bool,
    /// The delegation, or the root it stands under. The service sends it again.
    pub delegation: bool,
    /// The snapshot: the device is locked until a person wipes it.
    pub snapshot: bool,
}

impl Losses {
    /// True when nothing is lost.
    pub fn is_empty(&self) -> bool {
        *self == Losses::default()
    }
}

/// Floors and ceilings of lease terms, set by the service root. A device holds
/// the terms that a session key signed between them.
///
/// Found: a lease with `expires_after_s = 0, dead_man_s = 1`, signed by a session
/// key, wiped a device one second later. Whoever steals a session key can close
/// access, which a lock does as well; he cannot destroy, nor hold access open
/// beyond the ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct TermBounds {
    /// Access stays open at least this many powered seconds.
    pub expires_min_s: u32,
    /// And at most this many.
    pub expires_max_s: u32,
    /// Least number of boots that a lease must allow.
    pub boots_min: u16,
    /// A dead-man waits at least this many powered seconds after the end of
    /// access; one of 0, never, stays that.
    pub dead_man_min_s: u32,
}

/// Limits of a session that gets no answer from the service. All times count
/// *powered* seconds from the moment the lease was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
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

impl Code<'_> for DeviceId {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.block(self.bytes());
    }
    fn read(&mut self, reader: &mut Reader<'_>) {
        if !self.set(reader.block()) {
            reader.fail();
        }
    }
}

impl Bounded for DeviceId {
    const MAX_LEN: usize = block_len(32);
}

impl Blank for DeviceId {
    const BLANK: Self = DeviceId {
        len: 0,
        text: [0; 32],
    };
}
