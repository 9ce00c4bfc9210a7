//! The maker's status list: which devices, models and agent versions no
//! longer count. Signed by the maker root, dated, numbered (SPEC §9).

use super::lists::maker_list;
use nrd_agent::Error;
use nrd_agent::wire::codec::{Blank, Code, Reader, Writer};
use nrd_agent::wire::{Body, decode_signed, encode_signed};
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::printable;
use nrd_sim_base::time_format::moment;
use ring::signature::Ed25519KeyPair;
use serde::{Deserialize, Serialize};

/// A status list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusList {
    /// Its number; each new list has a higher one.
    pub number: u32,
    /// When it was made, Unix seconds.
    pub issued_at: u64,
    /// When the next one is due, Unix seconds; later, this one is too old.
    pub next_update: u64,
    /// Ids of devices whose key counts no longer: stolen, opened, copied.
    pub devices: Vec<String>,
    /// Models none of whose devices counts.
    pub models: Vec<String>,
    /// Agent versions (major, minor, patch) whose word counts no longer.
    pub agents: Vec<[u8; 3]>,
}

maker_list!(StatusList, b"nrd/1/status-list\0", at most 4 << 20);

impl Blank for StatusList {
    const BLANK: Self = StatusList {
        number: 0,
        issued_at: 0,
        next_update: 0,
        devices: Vec::new(),
        models: Vec::new(),
        agents: Vec::new(),
    };
}

/// What is known about a device's revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// No list was consulted.
    NotChecked,
    /// A list that was in date does not name it.
    Good {
        /// The list's number.
        number: u32,
        /// When it was made, Unix seconds.
        issued_at: u64,
    },
    /// The list at hand is not in date, and does not name it.
    OutOfDate {
        /// The list's number.
        number: u32,
        /// When its successor was due, or, when it is dated ahead, when it was
        /// made.
        at: u64,
    },
    /// A list names it.
    Revoked {
        /// What it names.
        what: String,
        /// The list's number.
        number: u32,
    },
}

impl Revocation {
    /// A sentence.
    pub fn in_words(&self) -> String {
        match self {
            Revocation::NotChecked => {
                "Revocation not checked: nobody asked the maker’s status list whether this device’s key still counts.".to_owned()
            }
            Revocation::Good { number, issued_at } => format!(
                "Revocation checked: the maker’s status list {number} of {} does not name this device, its model or its agent.",
                moment(*issued_at)
            ),
            Revocation::OutOfDate { number, at } => format!(
                "Revocation not checked: the status list {number} at hand is not in date (see {}). Ask the maker for the newest.",
                moment(*at)
            ),
            Revocation::Revoked { what, number } => format!(
                "REVOKED: the maker’s status list {number} names {what}. What it signs proves nothing."
            ),
        }
    }

    /// True when a list names the device.
    pub fn revoked(&self) -> bool {
        matches!(self, Revocation::Revoked { .. })
    }
}

/// A word or two, for machines.
impl Serialize for Revocation {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(match self {
            Revocation::NotChecked => "not checked",
            Revocation::Good { .. } => "good",
            Revocation::OutOfDate { .. } => "list out of date",
            Revocation::Revoked { .. } => "revoked",
        })
    }
}

/// How far a maker's clock may be ahead of a verifier's, in seconds.
const AHEAD_S: u64 = 24 * 3600;

impl StatusList {
    /// What of these it names, in words.
    pub fn names(&self, device_id: &str, model: &str, agent: &str) -> Option<String> {
        if self.devices.iter().any(|d| d == device_id) {
            return Some(format!("the device {}", printable(device_id)));
        }
        if self.models.iter().any(|m| m == model) {
            return Some(format!("the model {}", printable(model)));
        }
        let mut agents = self.agents.iter().map(|[a, b, c]| format!("{a}.{b}.{c}"));
        agents
            .any(|a| a == agent)
            .then(|| format!("the agent version {agent}"))
    }

    /// What it says of a device at `now`, Unix seconds.
    pub fn look_up(&self, device_id: &str, model: &str, agent: &str, now: u64) -> Revocation {
        let number = self.number;
        // A name on a list counts however old the list is.
        if let Some(what) = self.names(device_id, model, agent) {
            return Revocation::Revoked { what, number };
        }
        match () {
            () if now > self.next_update => Revocation::OutOfDate {
                number,
                at: self.next_update,
            },
            () if self.issued_at > now + AHEAD_S => Revocation::OutOfDate {
                number,
                at: self.issued_at,
            },
            () => Revocation::Good {
                number,
                issued_at: self.issued_at,
            },
        }
    }
}
