//! Security events for a receiver outside: the claims of a security event
//! token (RFC 8417), with the subject of the Shared Signals Framework. They
//! name an account and a device by pseudonyms, and a session; nothing personal. A
//! device's pseudonym is another one at each account: who receives events of two
//! owners cannot tell that one had the other's device.

use super::events::EventKind;
use super::keys::Index;
use super::store::ActivationRow;
use super::{Error, Result, Service};
use nrd_sim_base::hex;
use serde_json::{Value, json};

/// CAEP 1.0: the session is over and its tokens are void.
pub(super) const SESSION_REVOKED: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// A receipt proves that the device was wiped.
pub(super) const WIPED: &str = "urn:nrd:secevent:device-wiped";
/// A receipt says that the wipe failed.
pub(super) const WIPE_FAILED: &str = "urn:nrd:secevent:device-wipe-failed";

impl Service {
    /// The claims that tell of `kind`, as JSON; `None` for an event that is not
    /// told outside, and for a device without an account. `jti` is drawn once:
    /// a token that is sent again is the same event.
    pub(super) fn claims(&self, kind: EventKind, row: &ActivationRow) -> Result<Option<Vec<u8>>> {
        let Some(account) = row.account else {
            return Ok(None);
        };
        let (event, by, reason) = match kind {
            EventKind::RemovalOrdered => (
                SESSION_REVOKED,
                "user",
                "The account holder removed this device.",
            ),
            EventKind::TheftSuspected => (
                SESSION_REVOKED,
                "policy",
                "A copied token of this device was used.",
            ),
            EventKind::Wiped => (WIPED, "user", "A receipt proves that the device was wiped."),
            EventKind::WipeFailed => (WIPE_FAILED, "user", "A receipt says that the wipe failed."),
            EventKind::SignedIn
            | EventKind::WrongPassword
            | EventKind::ComputerStolen
            | EventKind::ComputerRemoved
            | EventKind::Activated
            | EventKind::Declined
            | EventKind::SignOutOrdered
            | EventKind::SignedOutThere
            | EventKind::Delivered
            | EventKind::SessionLost
            | EventKind::ReceiptLost
            | EventKind::MemoryDamaged
            | EventKind::Consented => return Ok(None),
        };
        let now = self.now_s();
        let jti = hex(&self.random::<16>()?);
        let of_account = format!("{}\0{}", account.0, row.device);
        let device = self.keys.index(Index::SubjectDevice, &of_account);
        let user = self.keys.index(Index::Subject, &account.0.to_string());
        let opaque = |id: &str| json!({ "format": "opaque", "id": id });
        let claims: Value = json!({
            "jti": jti,
            "iat": now,
            "sub_id": {
                "format": "complex",
                "user": opaque(&hex(&user)),
                "device": opaque(&hex(&device)),
                "session": opaque(&hex(&row.id)),
            },
            "events": {
                event: {
                    "event_timestamp": now,
                    "initiating_entity": by,
                    "reason_admin": { "en": reason },
                }
            },
        });
        let claims = serde_json::to_vec(&claims);
        claims.map(Some).map_err(|e| Error::Internal(e.to_string()))
    }
}
