//! Small types of the protocol. What must not be mixed up has its own type.

use super::codec::{Blank, Bounded, Code, Named, Reader, Wire, Writer, block_len, copy};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A device id (ESN-like): 1 to 32 bytes of printable ASCII without spaces.
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

    /// Replaces a blank id; false when `id` is none.
    fn set(&mut self, id: &[u8]) -> bool {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Wire)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Series(pub [u8; 16]);

/// Position of a token in its series; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Wire)]
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

/// What kind of device this is, by the maker's word.
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

/// Why a device was deactivated.
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

/// Why access is closed though nothing was destroyed.
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
    /// The journal is unreadable; only a local wipe or a signed order helps.
    JournalLost,
}

/// How long a session lasts without word from the service. All times count
/// *powered* seconds from the moment the lease was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire)]
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
