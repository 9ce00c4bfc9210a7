//! Randomness and time, both under a test's control.

use crate::outage::Outage;
use nrd_hal::Clock;
use nrd_hal::rand_core::{TryCryptoRng, TryRng, utils};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A random generator whose draws are a function of its seed (SplitMix64).
/// Clones go on from the same state, so a device that reboots draws new
/// numbers, as hardware would.
///
/// **Not for a product**: whoever knows the seed knows every draw.
///
/// ```
/// use nrd_agent_testkit::SeededRng;
/// use nrd_hal::rand_core::TryRng;
///
/// let (mut a, mut b) = (SeededRng::new(9), SeededRng::new(9));
/// let first = a.try_next_u64();
/// assert_eq!(b.try_next_u64(), first);
/// assert_ne!(a.clone().try_next_u64(), first);
/// ```
#[derive(Debug, Clone)]
pub struct SeededRng {
    state: Arc<AtomicU64>,
    /// Puts the generator out of order.
    pub outage: Outage,
}

/// The generator does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RngUnavailable;

impl fmt::Display for RngUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the random generator does not answer")
    }
}

impl std::error::Error for RngUnavailable {}

/// SplitMix64 adds this to its state at each draw.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl SeededRng {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        SeededRng {
            state: Arc::new(AtomicU64::new(seed)),
            outage: Outage::default(),
        }
    }

    fn draw(&self) -> Result<u64, RngUnavailable> {
        self.outage.read().map_err(|_| RngUnavailable)?;
        let state = self.state.fetch_add(STEP, Ordering::SeqCst);
        let mut z = state.wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ok(z ^ (z >> 31))
    }
}

impl TryRng for SeededRng {
    type Error = RngUnavailable;
    fn try_next_u32(&mut self) -> Result<u32, RngUnavailable> {
        Ok(self.draw()? as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, RngUnavailable> {
        self.draw()
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RngUnavailable> {
        utils::fill_bytes_via_next_word(out, || self.try_next_u64())
    }
}

impl TryCryptoRng for SeededRng {}

/// A clock that stands still until a test moves it. Clones are handles to the
/// same clock.
///
/// ```
/// use nrd_agent_testkit::TestClock;
/// use nrd_hal::Clock;
///
/// let mut clock = TestClock::default();
/// clock.advance_s(90);
/// assert_eq!((clock.uptime_ms(), clock.wall_s()), (90_000, None));
/// clock.set_wall_s(Some(1_800_000_000));
/// clock.advance_s(60);
/// clock.restart();
/// assert_eq!((clock.uptime_ms(), clock.wall_s()), (0, Some(1_800_000_060)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct TestClock {
    /// Milliseconds since [`TestClock::restart`].
    uptime_ms: Arc<AtomicU64>,
    /// Milliseconds since 1970; 0 for no real-time clock.
    wall_ms: Arc<AtomicU64>,
}

impl TestClock {
    /// Moves uptime, and wall time where there is one, by `ms` milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        self.uptime_ms.fetch_add(ms, Ordering::SeqCst);
        if self.wall_ms.load(Ordering::SeqCst) > 0 {
            self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        }
    }

    /// Moves uptime, and wall time where there is one, by `s` seconds.
    pub fn advance_s(&self, s: u64) {
        self.advance_ms(s * 1000);
    }

    /// Sets the real-time clock, in Unix seconds; `None` for a device that has
    /// none.
    pub fn set_wall_s(&self, s: Option<u64>) {
        self.wall_ms.store(s.unwrap_or(0) * 1000, Ordering::SeqCst);
    }

    /// Sets uptime: a tick that wraps falls back.
    pub fn set_uptime_ms(&self, ms: u64) {
        self.uptime_ms.store(ms, Ordering::SeqCst);
    }

    /// A new boot: uptime starts over, wall time goes on.
    pub fn restart(&self) {
        self.uptime_ms.store(0, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn uptime_ms(&mut self) -> u64 {
        self.uptime_ms.load(Ordering::SeqCst)
    }

    fn wall_s(&mut self) -> Option<u64> {
        Some(self.wall_ms.load(Ordering::SeqCst) / 1000).filter(|&s| s > 0)
    }
}
