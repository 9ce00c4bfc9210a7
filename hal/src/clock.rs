//! Time as the hardware knows it.

/// A monotonic uptime, and wall time only where the hardware really has it.
///
/// The agent never trusts wall time to destroy anything and measures leases in
/// powered seconds, so a device without a real-time clock loses nothing.
///
/// ```
/// use nrd_hal::Clock;
/// use std::time::Instant;
///
/// /// A board with a real-time clock whose battery may be empty.
/// struct BoardClock {
///     power_on: Instant,
///     rtc_s: fn() -> u64,
/// }
///
/// impl Clock for BoardClock {
///     fn uptime_ms(&mut self) -> u64 {
///         self.power_on.elapsed().as_millis() as u64
///     }
///     fn wall_s(&mut self) -> Option<u64> {
///         // This chip starts in 1970 when the battery was empty: no time.
///         const BUILT: u64 = 1_767_225_600; // 2026-01-01
///         Some((self.rtc_s)()).filter(|&s| s >= BUILT)
///     }
/// }
///
/// let power_on = Instant::now();
/// let mut set = BoardClock { power_on, rtc_s: || 1_800_000_000 };
/// let mut empty = BoardClock { power_on, rtc_s: || 42 };
/// assert_eq!(set.wall_s(), Some(1_800_000_000));
/// assert_eq!(empty.wall_s(), None);
/// assert_eq!(nrd_hal::conformance::clock(&mut empty), Ok(()));
/// ```
pub trait Clock {
    /// Milliseconds since this boot. Never goes back within a boot; restarts
    /// near zero at each boot.
    fn uptime_ms(&mut self) -> u64;

    /// Seconds since 1970-01-01T00:00:00Z, or `None` when the hardware has no
    /// battery-backed clock or it has not been set. Do not invent a value: an
    /// unset clock that reports 1970 is worse than `None`.
    fn wall_s(&mut self) -> Option<u64> {
        None
    }
}

impl<T: Clock + ?Sized> Clock for &mut T {
    fn uptime_ms(&mut self) -> u64 {
        T::uptime_ms(self)
    }
    fn wall_s(&mut self) -> Option<u64> {
        T::wall_s(self)
    }
}
