//! What each kind of order does at the service, in one place.
//!
//! Found: the store asked "is it a deactivation?" in four places, and a new kind
//! was a sign-out wherever nobody had thought of it.

use crate::events::EventKind;
use crate::store::{ActivationPhase, RevocationReason};
use nrd_agent::wire::OrderKind;

/// What an order of one kind does.
pub(crate) struct OrderRules {
    /// The entry in the account's security activity.
    pub(crate) event: EventKind,
    /// Entering it ends the activation: its token is revoked for this reason,
    /// and it is in this phase until the device has answered. `None` for an
    /// order that leaves the activation as it is.
    pub(crate) ends: Option<(RevocationReason, ActivationPhase)>,
    /// The phase that an answer concludes; in any other it changes nothing.
    pub(crate) waits_in: ActivationPhase,
    /// The phase once the device applied it.
    pub(crate) applied: ActivationPhase,
    /// The phase once the device had no use for it.
    pub(crate) refused: ActivationPhase,
}

/// The rules of a kind. Whether it is terminal, the agent says:
/// [`OrderKind::is_terminal`].
pub(crate) const fn rules(kind: OrderKind) -> OrderRules {
    match kind {
        OrderKind::Deactivate => OrderRules {
            event: EventKind::RemovalOrdered,
            ends: Some((RevocationReason::Removed, ActivationPhase::Removing)),
            waits_in: ActivationPhase::Removing,
            applied: ActivationPhase::Delivered,
            refused: ActivationPhase::Ended,
        },
        OrderKind::SignOut => OrderRules {
            event: EventKind::SignOutOrdered,
            ends: None,
            waits_in: ActivationPhase::Active,
            applied: ActivationPhase::SignedOut,
            refused: ActivationPhase::Active,
        },
    }
}
