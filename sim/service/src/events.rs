//! Security activity: what is noted, and how it reads.

use super::store::{AccountId, ActivationRow, EventRow};
use super::{Result, Service};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody signed in on the website.
    SignedIn,
    /// A wrong password was typed.
    WrongPassword,
    /// An old "remember me" cookie was used: somebody copied it.
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
    /// A device's old token was used: somebody copied it.
    TheftSuspected,
    /// A new policy was consented to.
    Consented,
}

impl Kind {
    const NAMES: [(Kind, &'static str, &'static str); 14] = [
        (Kind::SignedIn, "signed-in", "Signed in on the website"),
        (
            Kind::WrongPassword,
            "wrong-password",
            "A wrong password was typed",
        ),
        (
            Kind::ComputerStolen,
            "computer-stolen",
            "A copied sign-in cookie was used; that computer was signed out",
        ),
        (
            Kind::ComputerRemoved,
            "computer-removed",
            "A computer was signed out and removed",
        ),
        (Kind::Activated, "activated", "A device was activated"),
        (
            Kind::Declined,
            "declined",
            "Activation of a device was declined",
        ),
        (
            Kind::RemovalOrdered,
            "removal-ordered",
            "Removal of a device was ordered",
        ),
        (
            Kind::SignOutOrdered,
            "sign-out-ordered",
            "Signing out a device was ordered",
        ),
        (
            Kind::SignedOutThere,
            "signed-out-there",
            "A device was signed out",
        ),
        (
            Kind::Delivered,
            "delivered",
            "A device accepted its removal",
        ),
        (Kind::Wiped, "wiped", "A device proved that it is wiped"),
        (
            Kind::WipeFailed,
            "wipe-failed",
            "A device reported that its wipe failed",
        ),
        (
            Kind::TheftSuspected,
            "theft-suspected",
            "A copied device token was used; access is closed",
        ),
        (
            Kind::Consented,
            "consented",
            "The new privacy policy was accepted",
        ),
    ];

    /// As the database spells it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|n| n.0 == self).map_or("", |n| n.1)
    }

    /// As the page reads.
    pub fn text(name: &str) -> &'static str {
        Self::NAMES
            .iter()
            .find(|n| n.1 == name)
            .map_or("Something happened", |n| n.2)
    }

    /// True for what an account holder should look at twice.
    pub fn alarming(name: &str) -> bool {
        [
            Kind::WrongPassword,
            Kind::ComputerStolen,
            Kind::WipeFailed,
            Kind::TheftSuspected,
        ]
        .iter()
        .any(|k| k.name() == name)
    }
}

/// One entry, as the page shows it.
pub struct Event {
    /// Its number: later entries have higher ones.
    pub id: i64,
    /// When, Unix seconds.
    pub at: u64,
    /// `Kind::name`.
    pub kind: String,
    /// Which device or computer.
    pub subject: String,
    /// From where.
    pub address: Option<String>,
}

const PLACE: &str = "events.address";

impl Service {
    /// The entry of `kind`, ready to be stored.
    pub(super) fn event(&self, kind: Kind, subject: &str, address: Option<&str>) -> EventRow {
        EventRow {
            at: self.now_s(),
            kind: kind.name().to_owned(),
            subject: subject.to_owned(),
            address: address.and_then(|a| self.keys.seal(PLACE, a.as_bytes()).ok()),
            outward: None,
        }
    }

    /// The entry of `kind` about an activation; some are told outside as well.
    pub(super) fn event_of(
        &self,
        kind: Kind,
        row: &ActivationRow,
        subject: &str,
        address: Option<&str>,
    ) -> EventRow {
        EventRow {
            outward: self.claims(kind, row),
            ..self.event(kind, subject, address)
        }
    }

    /// Notes an entry.
    pub(super) fn note(
        &self,
        account: AccountId,
        kind: Kind,
        subject: &str,
        address: Option<&str>,
    ) -> Result<()> {
        self.store
            .add_event(account, &self.event(kind, subject, address))?;
        self.tell_page(account);
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
                address: r
                    .address
                    .and_then(|a| self.keys.open_column(PLACE, &a).ok()),
            })
            .collect())
    }
}
