//! What a device knows of the time: enough to judge certificates, and to end an
//! exchange.

use super::TlsError;
use crate::agent::Agent;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use nrd_hal::{Clock as _, Platform};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use spin::Mutex;

/// What a device knows of the time when a certificate is judged (SPEC §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownTime {
    /// A clock says so, in Unix seconds: not-before and not-after are judged.
    Clock(u64),
    /// No clock; this moment, in Unix seconds, has passed: not-after is judged by
    /// it, not-before is not. 0 when nothing is known.
    AtLeast(u64),
}

impl KnownTime {
    /// What an agent knows: its platform's clock, if that is not older than the
    /// newest time that the service's keys signed, or else that time.
    pub fn of<P: Platform>(agent: &mut Agent<'_, P>) -> KnownTime {
        let signed = agent.signed_time();
        match agent.platform().parts().clock.wall_s() {
            Some(wall_s) if wall_s >= signed => KnownTime::Clock(wall_s),
            _ => KnownTime::AtLeast(signed),
        }
    }

    /// Unix seconds.
    pub fn seconds(self) -> u64 {
        match self {
            KnownTime::Clock(s) | KnownTime::AtLeast(s) => s,
        }
    }
}

/// Says what is known of the time, at every connection. A closure will do for
/// hosts with a clock of their own; [`AgentTime`] is for all others.
pub trait CertificateTime: Send + Sync {
    /// What is known now.
    fn known_time(&self) -> KnownTime;

    /// What the agent knows before an exchange: [`post`](super::post) and
    /// [`exchange`](super::exchange) say it. Ignored by default.
    fn note(&self, _agent: KnownTime) {}
}

impl<F: Fn() -> KnownTime + Send + Sync> CertificateTime for F {
    fn known_time(&self) -> KnownTime {
        self()
    }
}

/// The agent's own knowledge: the platform's clock, or else the newest time that
/// the service's keys signed, but never earlier than the firmware.
#[derive(Debug)]
pub struct AgentTime {
    built_s: u64,
    agent: Mutex<KnownTime>,
}

impl AgentTime {
    /// `built_s` is when the firmware was built, in Unix seconds; 0 for unknown.
    pub fn new(built_s: u64) -> AgentTime {
        AgentTime {
            built_s,
            agent: Mutex::new(KnownTime::AtLeast(0)),
        }
    }
}

impl CertificateTime for AgentTime {
    fn known_time(&self) -> KnownTime {
        match *self.agent.lock() {
            // A clock that is older than the firmware is not set.
            KnownTime::Clock(s) if s >= self.built_s => KnownTime::Clock(s),
            KnownTime::Clock(s) | KnownTime::AtLeast(s) => KnownTime::AtLeast(s.max(self.built_s)),
        }
    }

    fn note(&self, agent: KnownTime) {
        *self.agent.lock() = agent;
    }
}

/// The same for rustls, which asks for ages of tickets.
#[derive(Clone)]
pub(super) struct RustlsTime(pub(super) Arc<dyn CertificateTime>);

impl fmt::Debug for RustlsTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RustlsTime")
    }
}

impl TimeProvider for RustlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.known_time().seconds()))
    }
}

pub(super) fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// The time that an exchange has left, on a clock of milliseconds such as
/// [`Clock::uptime_ms`](nrd_hal::Clock::uptime_ms).
pub struct Deadline<'c> {
    uptime_ms: &'c mut dyn FnMut() -> u64,
    last_ms: u64,
    left_ms: u64,
}

impl<'c> Deadline<'c> {
    /// Begins now, and ends in `ms` milliseconds.
    pub fn new(uptime_ms: &'c mut dyn FnMut() -> u64, ms: u32) -> Deadline<'c> {
        Deadline {
            last_ms: uptime_ms(),
            uptime_ms,
            left_ms: u64::from(ms),
        }
    }

    /// [`TlsError::Deadline`] when no time is left.
    pub(super) fn check(&mut self) -> Result<(), TlsError> {
        let now_ms = (self.uptime_ms)();
        // Sums what passes between two looks, so that a 32-bit uptime that wraps
        // costs one of them and not the deadline.
        let passed_ms = now_ms.saturating_sub(self.last_ms);
        self.last_ms = now_ms;
        self.left_ms = self.left_ms.saturating_sub(passed_ms);
        match self.left_ms {
            0 => Err(TlsError::Deadline),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Deadline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({} ms left)", self.left_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_older_than_the_firmware_is_no_clock() {
        let time = AgentTime::new(1_000);
        assert_eq!(time.known_time(), KnownTime::AtLeast(1_000));
        for (agent, known) in [
            (KnownTime::AtLeast(900), KnownTime::AtLeast(1_000)),
            (KnownTime::AtLeast(1_100), KnownTime::AtLeast(1_100)),
            (KnownTime::Clock(900), KnownTime::AtLeast(1_000)),
            (KnownTime::Clock(1_000), KnownTime::Clock(1_000)),
            // A clock that was wrong and is set right is believed again.
            (KnownTime::Clock(9_000), KnownTime::Clock(9_000)),
            (KnownTime::Clock(1_200), KnownTime::Clock(1_200)),
        ] {
            time.note(agent);
            assert_eq!(time.known_time(), known, "{agent:?}");
        }
    }

    #[test]
    fn a_deadline_ends_on_time_and_outlives_an_uptime_that_wraps() {
        let mut times = [4_000_000_000, 4_000_000_400, 100, 500, 699, 700].into_iter();
        let mut uptime_ms = || times.next().unwrap();
        let mut deadline = Deadline::new(&mut uptime_ms, 1_000);
        for _ in 0..4 {
            assert_eq!(deadline.check(), Ok(()));
        }
        assert_eq!(deadline.check(), Err(TlsError::Deadline));
    }
}
