//! Who did what to which device, when: one entry for each, never changed, for an
//! operator. It names accounts, browsers, activations and orders by their ids and
//! nobody by anything else; the account holder's own pages have `events.rs`.

use super::events::EventKind;
use super::store::{AccountId, AuditRow};
use super::{Result, Service};
use nrd_agent_derive::Named;
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::{hex, time_format, unhex};
use serde_json::{Value, json};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditKind {
    /// What the account holder sees as well.
    Activity(EventKind),
    /// What an operator or the service itself did.
    Operation(OperationKind),
}

/// What happened to the service, rather than to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Named)]
pub enum OperationKind {
    /// A device answered an order.
    OrderAnswered,
    /// An order key was put in force.
    OrderKeyRotated,
    /// A service root was put in force.
    RootReplaced,
    /// A version of the privacy policy was put in force.
    PolicyRaised,
    /// The database was found restored, or said to be.
    Restored,
    /// A process's revocation log was given up.
    LogForgotten,
    /// Old entries of the audit were deleted.
    AuditPurged,
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Named)]
pub enum Actor {
    /// Somebody signed in to the account.
    AccountHolder,
    /// Somebody who did not prove who it is.
    Stranger,
    /// A device, or the person at it.
    Device,
    /// The service by itself.
    Service,
    /// Whoever runs the service.
    Operator,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Named)]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was refused, and nothing has changed.
    Refused,
    /// It was done, and went wrong.
    Failed,
}

impl AuditKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = AuditKind> {
        let activity = EventKind::ALL.iter().filter_map(|k| AuditKind::of(*k));
        activity.chain(OperationKind::ALL.iter().copied().map(AuditKind::Operation))
    }

    /// The kind of what an account holder sees. `None` for what a device says of its
    /// own memory: nobody did it, and one device can say it as often as it likes.
    pub fn of(kind: EventKind) -> Option<AuditKind> {
        let said_by_a_device = matches!(
            kind,
            EventKind::SessionLost | EventKind::ReceiptLost | EventKind::MemoryDamaged
        );
        (!said_by_a_device).then_some(AuditKind::Activity(kind))
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            AuditKind::Activity(kind) => kind.name(),
            AuditKind::Operation(kind) => kind.name(),
        }
    }

    /// The kind that a word spells.
    pub fn from_name(word: &str) -> Option<AuditKind> {
        AuditKind::all().find(|kind| kind.name() == word)
    }

    /// Who does it.
    pub fn actor(self) -> Actor {
        match self {
            AuditKind::Activity(kind) => match kind {
                EventKind::SignedIn
                | EventKind::ComputerRemoved
                | EventKind::Activated
                | EventKind::Declined
                | EventKind::RemovalOrdered
                | EventKind::SignOutOrdered
                | EventKind::Consented => Actor::AccountHolder,
                EventKind::WrongPassword => Actor::Stranger,
                EventKind::ComputerStolen | EventKind::TheftSuspected => Actor::Service,
                EventKind::SignedOutThere
                | EventKind::Delivered
                | EventKind::Wiped
                | EventKind::WipeFailed
                | EventKind::SessionLost
                | EventKind::ReceiptLost
                | EventKind::MemoryDamaged => Actor::Device,
            },
            AuditKind::Operation(kind) => match kind {
                OperationKind::OrderAnswered => Actor::Device,
                OperationKind::Restored => Actor::Service,
                OperationKind::OrderKeyRotated
                | OperationKind::RootReplaced
                | OperationKind::PolicyRaised
                | OperationKind::LogForgotten
                | OperationKind::AuditPurged => Actor::Operator,
            },
        }
    }

    /// How it went, where the kind alone says so.
    pub fn outcome(self) -> AuditOutcome {
        match self {
            AuditKind::Activity(EventKind::WrongPassword | EventKind::ComputerStolen) => {
                AuditOutcome::Refused
            }
            AuditKind::Activity(EventKind::WipeFailed) => AuditOutcome::Failed,
            AuditKind::Activity(_) | AuditKind::Operation(_) => AuditOutcome::Done,
        }
    }
}

impl From<OperationKind> for AuditKind {
    fn from(kind: OperationKind) -> AuditKind {
        AuditKind::Operation(kind)
    }
}

/// Whose browser asks, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Its address.
    pub address: &'a str,
    /// What the browser's session is called in the audit.
    pub browser: Option<[u8; 8]>,
}

impl<'a> From<&'a str> for Origin<'a> {
    fn from(address: &'a str) -> Origin<'a> {
        let browser = None;
        Origin { address, browser }
    }
}

impl<'a> From<&'a String> for Origin<'a> {
    fn from(address: &'a String) -> Origin<'a> {
        Origin::from(address.as_str())
    }
}

/// What the browser behind a session cookie is called in the audit: the beginning of
/// what the database calls its session.
pub(crate) fn browser(cookie: &str) -> Option<[u8; 8]> {
    let digest = RingCrypto::sha256(&unhex::<32>(cookie)?);
    digest.first_chunk().copied()
}

/// An entry as one JSON object. What does not apply is left out.
fn json(id: i64, row: &AuditRow) -> Value {
    let mut entry = json!({
        "id": id,
        "at": time_format::rfc3339(row.at),
        "kind": row.kind.name(),
        "actor": row.kind.actor().name(),
        "outcome": row.outcome.name(),
    });
    let fields = [
        ("account", row.account.map(|AccountId(n)| n.into())),
        ("browser", row.browser.map(|b| hex(&b).into())),
        ("activation", row.activation.map(|a| hex(&a).into())),
        ("order", row.order.map(|o| hex(&o).into())),
        ("number", row.number.map(Value::from)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            entry[name] = value;
        }
    }
    entry
}

impl Service {
    /// Calls `each` with the entries from `since` until before `until` (Unix
    /// seconds), oldest first, each a line of JSON.
    ///
    /// # Errors
    /// Also when `each` fails.
    pub fn export_audit(
        &self,
        since: u64,
        until: u64,
        mut each: impl FnMut(&str) -> Result<()>,
    ) -> Result<u64> {
        let (mut after, mut count) = (0, 0);
        loop {
            let rows = self.store.audit(after, since, until)?;
            let Some((last, _)) = rows.last() else {
                return Ok(count);
            };
            after = *last;
            for (id, row) in &rows {
                each(&json(*id, row).to_string())?;
                count += 1;
            }
        }
    }
}
