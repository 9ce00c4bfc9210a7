//! Time as the hardware knows it.

/// A monotonic uptime, and wall time only where the hardware really has it.
///
/// The agent never trusts wall time to destroy anything and measures leases in
/// powered seconds, so a device without a real-time clock loses nothing.
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
