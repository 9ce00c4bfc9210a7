//! Times in words, in UTC.

use jiff::Timestamp;

/// A moment, such as "24 Nov 2026, 12:16 UTC".
pub fn moment(unix: u64) -> String {
    format(unix, "%-d %b %Y, %H:%M UTC")
}

/// A day, such as "24 Nov 2026".
pub fn day(unix: u64) -> String {
    format(unix, "%-d %b %Y")
}

/// A day with its name, such as "Tuesday, 24 November 2026".
pub fn long_day(unix: u64) -> String {
    format(unix, "%A, %-d %B %Y")
}

/// A time of day, such as "12:16".
pub fn time(unix: u64) -> String {
    format(unix, "%H:%M")
}

/// A moment for programs, such as "2026-11-24T12:16:00Z" (RFC 3339).
pub fn rfc3339(unix: u64) -> String {
    format(unix, "%Y-%m-%dT%H:%M:%SZ")
}

/// The moment that a person or a program wrote: "2026-11-24T12:16:00Z", or a day
/// alone, which begins at midnight UTC.
pub fn parse(text: &str) -> Option<u64> {
    let day = format!("{text}T00:00:00Z");
    let read = |text: &str| text.parse::<Timestamp>().ok();
    let found = read(text).or_else(|| read(&day))?;
    u64::try_from(found.as_second()).ok()
}

fn format(unix: u64, how: &str) -> String {
    let seconds = i64::try_from(unix).ok();
    match seconds.and_then(|s| Timestamp::from_second(s).ok()) {
        Some(t) => t.strftime(how).to_string(),
        None => "at an unknown time".to_owned(),
    }
}

/// How long ago, such as "3 minutes ago".
pub fn ago(then: u64, now: u64) -> String {
    let s = now.saturating_sub(then);
    let (n, unit) = match s {
        0..60 => return "just now".to_owned(),
        60..3600 => (s / 60, "minute"),
        3600..86_400 => (s / 3600, "hour"),
        _ => (s / 86_400, "day"),
    };
    format!("{} ago", count(n, unit))
}

/// A number of things, such as "1 hour" or "3 hours".
pub fn count(n: u64, unit: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {unit}{plural}")
}

/// Hours that a device is switched on, such as "720 powered hours (30 days
/// switched on)".
pub fn powered(hours: u64) -> String {
    let text = count(hours, "powered hour");
    match hours {
        0..48 => text,
        _ => format!("{text} ({} switched on)", count(hours.div_ceil(24), "day")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(moment(1_795_522_560), "24 Nov 2026, 12:16 UTC");
        assert_eq!(long_day(1_795_522_560), "Tuesday, 24 November 2026");
        assert_eq!(rfc3339(1_795_522_560), "2026-11-24T12:16:00Z");
        assert_eq!(parse("2026-11-24T12:16:00Z"), Some(1_795_522_560));
        assert_eq!(parse("2026-11-24"), Some(1_795_522_560 / 86_400 * 86_400));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(moment(u64::MAX), "at an unknown time");
        assert_eq!(ago(100, 100 + 3599), "59 minutes ago");
        assert_eq!(ago(100, 100 + 3600), "1 hour ago");
        assert_eq!(ago(100, 50), "just now");
        assert_eq!(powered(720), "720 powered hours (30 days switched on)");
        assert_eq!(powered(1), "1 powered hour");
    }
}
