//! Security activity of an account: its entries, and the words of each.

use super::audit::Origin;
use super::store::{AccountId, ActivationRow, EventRow};
use super::{Result, Service};
use nrd_agent_derive::Named;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Named)]
pub enum EventKind {
    /// A browser signed in on the website.
    SignedIn,
    /// A wrong password was typed.
    WrongPassword,
    /// A replaced "remember me" cookie was used, so a copy of it exists.
    ComputerStolen,
    /// A computer was taken off the list.
    ComputerRemoved,
    /// A device was activated.
    Activated,
    /// Activation of a device was declined.
    Declined,
    /// A device's removal was ordered.
    RemovalOrdered,
    /// Signing a device out was ordered.
    SignOutOrdered,
    /// A device was signed out by a person at it.
    SignedOutThere,
    /// A device accepted its removal.
    Delivered,
    /// A receipt proves that a device was wiped.
    Wiped,
    /// A receipt says that a wipe failed.
    WipeFailed,
    /// A device's replaced token was used, so a copy of it exists.
    TheftSuspected,
    /// A device could not read its session any more.
    SessionLost,
    /// A device could not read a receipt that it had still to deliver.
    ReceiptLost,
    /// A device's memory was damaged, and it locked itself.
    MemoryDamaged,
    /// A new policy was consented to.
    Consented,
}

impl EventKind {
    /// What the page says.
    pub fn text(self) -> &'static str {
        match self {
            EventKind::SignedIn => "Signed in on the website",
            EventKind::WrongPassword => "A wrong password was typed",
            EventKind::ComputerStolen => {
                "A copied sign-in cookie was used; that computer was signed out"
            }
            EventKind::ComputerRemoved => "A computer was signed out and removed",
            EventKind::Activated => "A device was activated",
            EventKind::Declined => "Activation of a device was declined",
            EventKind::RemovalOrdered => "Removal of a device was ordered",
            EventKind::SignOutOrdered => "Signing out a device was ordered",
            EventKind::SignedOutThere => "A device was signed out",
            EventKind::Delivered => "A device accepted its removal",
            EventKind::Wiped => "A device proved that it is wiped",
            EventKind::WipeFailed => "A device reported that its wipe failed",
            EventKind::TheftSuspected => "A copied device token was used; access is closed",
            EventKind::SessionLost => "A device lost its session: sign in again at the device",
            EventKind::ReceiptLost => "A device could not read a receipt: that proof is lost",
            EventKind::MemoryDamaged => {
                "A device's memory was damaged: it is locked until a person resets it"
            }
            EventKind::Consented => "The new privacy policy was accepted",
        }
    }

    /// True for what an account holder should look at twice.
    pub fn alarming(self) -> bool {
        match self {
            EventKind::WrongPassword
            | EventKind::ComputerStolen
            | EventKind::WipeFailed
            | EventKind::TheftSuspected
            | EventKind::ReceiptLost
            | EventKind::MemoryDamaged => true,
            EventKind::SignedIn
            | EventKind::ComputerRemoved
            | EventKind::Activated
            | EventKind::Declined
            | EventKind::RemovalOrdered
            | EventKind::SignOutOrdered
            | EventKind::SignedOutThere
            | EventKind::Delivered
            | EventKind::Wiped
            | EventKind::SessionLost
            | EventKind::Consented => false,
        }
    }
}

/// One entry, as the page shows it.
pub struct Event {
    /// Its number: later entries have higher ones.
    pub id: i64,
    /// When, Unix seconds.
    pub at: u64,
    /// What happened.
    pub kind: EventKind,
    /// Which device or computer.
    pub subject: String,
    /// From where.
    pub address: Option<String>,
}

/// Where an entry's address is sealed.
const ADDRESS: &str = "events.address";

impl Service {
    /// The entry of `kind`, ready to be stored.
    pub(super) fn event(
        &self,
        kind: EventKind,
        subject: &str,
        from: Option<Origin<'_>>,
    ) -> Result<EventRow> {
        let sealed = from.map(|from| self.keys.seal(ADDRESS, from.address.as_bytes()));
        Ok(EventRow {
            at: self.now_s(),
            kind,
            subject: subject.to_owned(),
            address: sealed.transpose()?,
            browser: from.and_then(|from| from.browser),
            activation: None,
            claims: None,
        })
    }

    /// The entry of `kind` about an activation, with the claims for a receiver
    /// outside where that kind has one.
    pub(super) fn event_of(
        &self,
        kind: EventKind,
        row: &ActivationRow,
        subject: &str,
        from: Option<Origin<'_>>,
    ) -> Result<EventRow> {
        Ok(EventRow {
            activation: Some(row.id),
            claims: self.claims(kind, row)?,
            ..self.event(kind, subject, from)?
        })
    }

    /// Notes an entry.
    pub(super) fn note(
        &self,
        account: AccountId,
        kind: EventKind,
        subject: &str,
        from: Option<Origin<'_>>,
    ) -> Result<()> {
        self.keep(account, &self.event(kind, subject, from)?)
    }

    /// Notes an entry about an activation.
    pub(super) fn note_of(
        &self,
        account: AccountId,
        kind: EventKind,
        row: &ActivationRow,
        subject: &str,
        from: Option<Origin<'_>>,
    ) -> Result<()> {
        self.keep(account, &self.event_of(kind, row, subject, from)?)
    }

    fn keep(&self, account: AccountId, event: &EventRow) -> Result<()> {
        self.store.add_event(account, event)?;
        self.notify_page(account);
        Ok(())
    }

    /// The account's newest entries, newest first.
    pub fn events(&self, account: AccountId, limit: u32) -> Result<Vec<Event>> {
        self.events_before(account, i64::MAX, limit)
    }

    /// The newest of the account's entries that came before entry `before`.
    pub fn events_before(&self, account: AccountId, before: i64, limit: u32) -> Result<Vec<Event>> {
        let rows = self.store.events(account, before, limit)?;
        Ok(rows
            .into_iter()
            .map(|(id, r)| Event {
                id,
                at: r.at,
                kind: r.kind,
                subject: r.subject,
                // An address that does not open is left out: the entry itself
                // must be seen all the same.
                address: r
                    .address
                    .and_then(|a| self.keys.open_column(ADDRESS, &a).ok()),
            })
            .collect())
    }
}
