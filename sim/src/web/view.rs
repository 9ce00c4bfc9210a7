//! Times and states in words.

use crate::service::account::{Device, Standing};
use jiff::Timestamp;

/// A moment, such as "24 Nov 2026, 12:16 UTC".
pub(super) fn moment(unix: u64) -> String {
    format(unix, "%-d %b %Y, %H:%M UTC")
}

/// A day, such as "24 Nov 2026".
pub(super) fn day(unix: u64) -> String {
    format(unix, "%-d %b %Y")
}

fn format(unix: u64, how: &str) -> String {
    match Timestamp::from_second(unix as i64) {
        Ok(t) => t.strftime(how).to_string(),
        Err(_) => "at an unknown time".to_owned(),
    }
}

/// How long ago, such as "3 minutes ago".
pub(super) fn ago(then: u64, now: u64) -> String {
    let s = now.saturating_sub(then);
    let (n, unit) = match s {
        0..60 => return "just now".to_owned(),
        60..3600 => (s / 60, "minute"),
        3600..86_400 => (s / 3600, "hour"),
        _ => (s / 86_400, "day"),
    };
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {unit}{plural} ago")
}

/// A kind of device, in words.
pub(super) fn kind(kind: &str) -> &'static str {
    match kind {
        "set-top-box" => "Set-top box",
        "console" => "Game console",
        _ => "Computer",
    }
}

/// A device's state: a short word, a class for its colour, and what it means.
pub(super) fn state(d: &Device, now: u64) -> (&'static str, &'static str, String) {
    let hours = d.access_ends_h;
    let seen = ago(d.row.last_seen, now);
    match d.standing {
        Standing::Unconfirmed => (
            "Unconfirmed",
            "wait",
            "You agreed; the device has not answered yet.".to_owned(),
        ),
        Standing::Active => ("Active", "good", format!("Last heard {seen}.")),
        Standing::Offline => (
            "Offline",
            "wait",
            format!(
                "Last heard {seen}. If it stays silent, its access ends by itself within {hours} powered hours."
            ),
        ),
        Standing::LeaseOver => (
            "Lease run out",
            "wait",
            format!(
                "Not heard since {}. Its access closes by itself after {hours} powered hours without an answer.",
                moment(d.row.last_seen)
            ),
        ),
        Standing::SignedOut => (
            "Signed out",
            "wait",
            "Somebody signed out. It stays on this list until you remove it.".to_owned(),
        ),
        Standing::Theft => (
            "Theft suspected",
            "bad",
            "A copied token was used, so access is closed everywhere. Remove the device, then activate it again.".to_owned(),
        ),
        Standing::Removing => (
            "Removal ordered",
            "wait",
            format!(
                "Its access is void at the service already. It wipes itself as soon as it is heard; last heard {seen}. If it is never heard, what it stores closes within {hours} powered hours."
            ),
        ),
        Standing::Delivered => (
            "Delivered",
            "wait",
            "The device has accepted the order and is wiping itself. The proof is still to come.".to_owned(),
        ),
        Standing::Wiped => (
            "Proven wiped",
            "good",
            format!(
                "The device has signed a receipt: everything of your account is gone from it. Proven {}.",
                day(d.row.wiped.unwrap_or(now))
            ),
        ),
        Standing::WipeFailed => (
            "Wipe failed",
            "bad",
            "The device reports that a part of its memory would not erase. Do not hand it on; see its receipt.".to_owned(),
        ),
        Standing::Ended if d.row.revoked.as_deref() == Some("expired") => (
            "Never used",
            "wait",
            "You agreed, but the device never used it. It has no access.".to_owned(),
        ),
        Standing::Ended => (
            "Ended",
            "wait",
            "It was reset or activated anew; it has no access. No proof of a wipe was received.".to_owned(),
        ),
    }
}
