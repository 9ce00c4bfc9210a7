//! Powered time, from an uptime that may wrap or start over.

/// A boot charges so many powered seconds to the journal ahead of use.
pub const CHARGE_S: u32 = 900;

/// Further charges are as long as the boot has already lasted, up to this many
/// seconds: a power cut then costs the lease no more than what the boot used, and
/// a device that stays on writes 25 records a day for it instead of 103.
pub const MAX_CHARGE_S: u32 = 3600;

/// Seconds before the charged time is used up at which more is charged: access
/// does not close for a moment on a device that is asked within them.
const CHARGE_AHEAD_S: u32 = 60;

/// The moment so many seconds after another, in milliseconds.
// Not inlined: 64-bit arithmetic in a dozen places, 136 bytes on a 32-bit processor.
#[inline(never)]
pub(crate) fn after_s(moment_ms: u64, s: u32) -> u64 {
    moment_ms.saturating_add(u64::from(s) * 1000)
}

/// The sooner of two moments, where there are any.
pub(crate) fn sooner(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The time, as the parts show it at one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Time {
    /// The platform's uptime in milliseconds.
    pub uptime_ms: u64,
    /// Wall time in Unix seconds, where the hardware has it.
    pub wall_s: Option<u64>,
}

/// Powered time of this boot, and of the boots before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct PoweredTime {
    /// The uptime seen last.
    raw_ms: u64,
    /// Time of this boot, in milliseconds.
    passed_ms: u64,
    /// The same in whole seconds. More than 136 years count as that.
    passed_s: u32,
    /// Seconds charged to earlier boots.
    charged_s: u32,
    /// Seconds that earlier boots used for certain.
    before_s: u32,
    /// Powered seconds of the device's life, charged ahead: never too few.
    powered_s: u32,
    /// Powered seconds of the device's life that have passed: never too many.
    used_s: u32,
    /// Wall time seen last.
    pub(super) wall_s: Option<u64>,
}

impl PoweredTime {
    /// Takes notice of the time.
    ///
    /// An uptime that falls back has wrapped or started over, and is an offset
    /// from then on. Found: a 32-bit tick in milliseconds falls back after 49.7
    /// days; a device then did not check in for 49.7 days, and a lease of 30 days
    /// was open after 40.
    pub(super) fn observe(&mut self, time: Time) {
        let passed = time.uptime_ms.saturating_sub(self.raw_ms);
        self.passed_ms = self.passed_ms.saturating_add(passed);
        self.raw_ms = time.uptime_ms;
        self.wall_s = time.wall_s;
        self.passed_s = u32::try_from(self.passed_ms / 1000).unwrap_or(u32::MAX);
        self.add_up();
    }

    /// A boot begins where the journal says that earlier ones ended.
    pub(super) fn begin(&mut self, charged_s: u32, used_s: u32) {
        self.charged_s = charged_s;
        self.before_s = used_s;
        self.add_up();
    }

    /// Adds up what is asked for often, once for each event.
    fn add_up(&mut self) {
        self.powered_s = self.charged_s.saturating_add(self.up_s());
        self.used_s = self.before_s.saturating_add(self.up_s());
    }

    /// Milliseconds of this boot.
    pub(super) fn now_ms(&self) -> u64 {
        self.passed_ms
    }

    /// The platform's uptime at a moment of this boot, as far as it is known.
    pub(super) fn uptime_at(&self, moment_ms: u64) -> u64 {
        let ahead = moment_ms.saturating_sub(self.passed_ms);
        self.raw_ms.saturating_add(ahead)
    }

    fn up_s(&self) -> u32 {
        self.passed_s
    }

    /// Powered seconds of the device's life, charged ahead: never too few.
    pub(super) fn powered_s(&self) -> u32 {
        self.powered_s
    }

    /// Powered seconds of the device's life that have passed: never too many.
    pub(super) fn used_s(&self) -> u32 {
        self.used_s
    }

    /// The powered seconds that a charge made now covers.
    pub(super) fn charge(&self) -> u32 {
        let ahead_s = self.passed_s.clamp(CHARGE_S, MAX_CHARGE_S);
        self.powered_s().saturating_add(ahead_s)
    }

    /// True when it is time to charge more.
    pub(super) fn wants_charge(&self, charged_s: u32) -> bool {
        self.powered_s().saturating_add(CHARGE_AHEAD_S) >= charged_s
    }

    /// The moment of this boot at which so many powered seconds of the device's
    /// life have passed, in milliseconds.
    pub(super) fn moment_of(&self, powered_s: u32) -> u64 {
        after_s(0, powered_s.saturating_sub(self.charged_s))
    }

    /// The moment of this boot at which it is time to charge more.
    pub(super) fn charges_at(&self, charged_s: u32) -> u64 {
        self.moment_of(charged_s.saturating_sub(CHARGE_AHEAD_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uptime_ms: u64) -> Time {
        Time {
            uptime_ms,
            wall_s: None,
        }
    }

    #[test]
    fn an_uptime_that_falls_back_is_an_offset_from_then_on() {
        let mut time = PoweredTime::default();
        time.begin(1000, 400);
        time.observe(at(u64::from(u32::MAX)));
        let (powered, used) = (time.powered_s(), time.used_s());
        time.observe(at(5));
        assert_eq!((time.powered_s(), time.used_s()), (powered, used));
        time.observe(at(3005));
        assert_eq!((time.powered_s(), time.used_s()), (powered + 3, used + 3));
        // What is due in two seconds is due at 5,005 of the platform's uptime.
        assert_eq!(time.uptime_at(time.now_ms() + 2000), 5005);
    }

    #[test]
    fn time_is_charged_before_it_is_used_up() {
        let mut time = PoweredTime::default();
        time.begin(1000, 0);
        assert!(!time.wants_charge(1900));
        assert_eq!(time.charges_at(1900), 840_000);
        time.observe(at(839_999));
        assert!(!time.wants_charge(1900));
        time.observe(at(840_000));
        assert!(time.wants_charge(1900));
    }
    #[test]
    fn charges_grow_with_the_boot_and_never_beyond_an_hour() {
        let mut time = PoweredTime::default();
        time.begin(10_000, 0);
        let mut charged_s = time.charge();
        for next_s in [10_900, 11_740, 13_360, 16_600, 20_140, 23_680] {
            assert_eq!(charged_s, next_s);
            time.observe(at(time.charges_at(charged_s)));
            assert!(time.wants_charge(charged_s));
            charged_s = time.charge();
        }
    }
}
