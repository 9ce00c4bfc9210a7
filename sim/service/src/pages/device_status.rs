//! A device's status in words, and what it means for the person.

use crate::account::{Device, DeviceStatus};
use crate::store::RevocationReason;
use nrd_agent::wire::Losses;
use nrd_sim_base::time_format::{ago, count, day, moment, powered};

const SESSION_LOST: &str = "Its session was lost: sign in again at the device. It needs no reset.";
const DAMAGED: &str = "Its memory was damaged: it is locked until a person resets it.";

/// How a device's state looks.
pub(super) struct StatusView {
    /// A word or two.
    pub(super) state: &'static str,
    /// `good`, `wait`, `bad` or `calm`.
    pub(super) colour: &'static str,
    /// What it means, in a sentence or two.
    pub(super) meaning: String,
    /// Steps of a removal that is under way, each `done` or empty.
    pub(super) progress: Option<[(&'static str, &'static str); 3]>,
}

/// How a device's state looks at `now`, Unix seconds.
pub(super) fn status_view(d: &Device, now: u64) -> StatusView {
    let (state, colour) = state(d);
    StatusView {
        state,
        colour,
        meaning: meaning(d, now),
        progress: match d.status {
            DeviceStatus::Removing => Some(progress(1)),
            DeviceStatus::Delivered => Some(progress(2)),
            // Not every wipe was ordered here, so a proven one shows no steps.
            _ => None,
        },
    }
}

/// The steps of a removal, `done` of them done.
fn progress(done: usize) -> [(&'static str, &'static str); 3] {
    let mut steps = [("Ordered", ""), ("Accepted by it", ""), ("Proven", "")];
    for s in &mut steps[..done] {
        s.1 = "done";
    }
    steps
}

/// Consent was given, and the device never used its token.
fn never_used(d: &Device) -> bool {
    d.row.revoked == Some(RevocationReason::Expired)
}

/// The state in a word or two, and its colour.
fn state(d: &Device) -> (&'static str, &'static str) {
    match d.status {
        DeviceStatus::Unconfirmed => ("Unconfirmed", "wait"),
        DeviceStatus::Active => ("Active", "good"),
        DeviceStatus::SigningOut => ("Sign-out ordered", "wait"),
        DeviceStatus::ConsentDue => ("Locked: your consent is due", "wait"),
        DeviceStatus::Offline => ("Offline", "wait"),
        DeviceStatus::LeaseOver => ("Lease run out", "wait"),
        DeviceStatus::SignedOut => ("Signed out", "calm"),
        DeviceStatus::SessionLost => ("Session lost", "wait"),
        DeviceStatus::Damaged => ("Memory damaged", "bad"),
        DeviceStatus::Theft => ("Theft suspected", "bad"),
        DeviceStatus::Barred => ("Barred by its maker", "bad"),
        DeviceStatus::Removing => ("Removal ordered", "wait"),
        DeviceStatus::Delivered => ("Delivered", "wait"),
        DeviceStatus::Wiped => ("Proven wiped", "good"),
        DeviceStatus::WipeFailed => ("Wipe not proven", "bad"),
        DeviceStatus::Ended if never_used(d) => ("Never used", "calm"),
        DeviceStatus::Ended => ("Ended", "calm"),
    }
}

/// What the state means for the person.
fn meaning(d: &Device, now: u64) -> String {
    let hours = powered(d.access_ends_h.into());
    let seen = heard(d, now);
    let since = format!("{}{}", moment(d.row.last_seen), later(d, now));
    let then_wipes = match d.wipes_after_h {
        0 => String::new(),
        h => format!(" {} later it wipes itself.", powered(h.into())),
    };
    match d.status {
        DeviceStatus::Unconfirmed => "You agreed; the device has not answered yet. If it never does, this lapses within a day.".to_owned(),
        DeviceStatus::Active => "It can use your account.".to_owned(),
        DeviceStatus::SigningOut => format!(
                "It signs out as soon as it is heard. Until then it may go on, at most {hours}."
            ),
        DeviceStatus::ConsentDue => "Our privacy policy has changed. Nothing was destroyed; it goes on when you have accepted the new version.".to_owned(),
        DeviceStatus::Offline => format!(
                "Not heard since {since}. If it stays silent, its access ends by itself within {hours}.{then_wipes}"
            ),
        DeviceStatus::LeaseOver => format!(
                "Not heard since {since}. If it was switched on all that time, its access has ended; if it was off, access ends within {hours}.{then_wipes}"
            ),
        DeviceStatus::SignedOut => "Somebody signed out at it, or you did here. It stays on this list until you remove it.".to_owned(),
        DeviceStatus::SessionLost => SESSION_LOST.to_owned(),
        DeviceStatus::Damaged => DAMAGED.to_owned(),
        DeviceStatus::Theft => "A copied token was used, so access is closed everywhere. Remove the device, then activate it again.".to_owned(),
        DeviceStatus::Barred => "Its maker no longer vouches for it: its key may be in other hands. It is locked, and gets no access any more. Remove it, and ask its maker.".to_owned(),
        DeviceStatus::Removing => format!(
                    "Its access is void here already. It wipes itself as soon as it is heard; last heard {seen}. If it is never heard, what it stores closes within {hours}.{then_wipes}"
                ),
        DeviceStatus::Delivered => "The device has accepted the order and is wiping itself. The proof is still to come.".to_owned(),
        DeviceStatus::Wiped => format!(
                "The device has signed a receipt: everything of your account is gone from it. Proven {}.",
                moment(d.row.wiped.unwrap_or(now))
            ),
        DeviceStatus::WipeFailed => "What the device signed does not prove that everything is gone: its receipt says why. Do not hand it on.".to_owned(),
        DeviceStatus::Ended if never_used(d) => "You agreed, but the device never used it. It has no access.".to_owned(),
        DeviceStatus::Ended => "It was reset or activated anew; it has no access. No proof of a wipe was received.".to_owned(),
    }
}

/// What a device stated last that it lost, where its state does not say so.
pub(super) fn losses(d: &Device) -> Vec<&'static str> {
    let Losses {
        session,
        receipt,
        // It is sent again at once.
        delegation: _,
        snapshot,
    } = d.row.losses;
    let session = session && d.status != DeviceStatus::SessionLost;
    let snapshot = snapshot && d.status != DeviceStatus::Damaged;
    [
        (session, SESSION_LOST),
        (receipt, "A receipt could not be read: that proof is lost."),
        (snapshot, DAMAGED),
    ]
    .into_iter()
    .filter_map(|(says, text)| says.then_some(text))
    .collect()
}

/// When a device's last request came, such as "just now", "40 minutes ago or
/// later", or "2 days ago (24 Nov 2026, 12:16 UTC), or up to 60 minutes later".
pub(super) fn heard(d: &Device, now: u64) -> String {
    let then = d.row.last_seen;
    let ago = match now.saturating_sub(then) {
        0..3600 => ago(then, now),
        _ => format!("{} ({})", ago(then, now), moment(then)),
    };
    ago + &later(d, now)
}

/// A device at rest is noted as heard once in a while: how much later it may
/// have been heard last.
fn later(d: &Device, now: u64) -> String {
    match (u64::from(d.unnoted_s), now.saturating_sub(d.row.last_seen)) {
        (0, _) | (_, 0..60) => String::new(),
        (unnoted, silent) if silent < unnoted => " or later".to_owned(),
        (unnoted, _) => format!(", or up to {} later", wait(unnoted)),
    }
}

/// A waiting time in words: seconds up to two minutes, then minutes.
pub(super) fn wait(seconds: u64) -> String {
    match seconds {
        0..=120 => count(seconds, "second"),
        s => count(s.div_ceil(60), "minute"),
    }
}

/// When a device was activated.
pub(super) fn since(d: &Device) -> String {
    day(d.row.approved.unwrap_or(d.row.created))
}
