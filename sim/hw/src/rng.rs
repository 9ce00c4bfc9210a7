//! Random generators: seeded ones, fit for a simulation only, and the host's.

use nrd_hal::ErrorKind;
use nrd_hal::rand_core::{TryCryptoRng, TryRng};

/// SplitMix64: small, seedable, state in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform below `n` (at least 1); the bias is irrelevant here.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n.max(1)
    }
}

/// The device's random generator.
#[derive(Debug, Clone)]
pub struct VirtualRng {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// Simulated.
    Seeded(SplitMix),
    /// Simulated, and dead.
    Stuck,
    /// Simulated: the same few words over and over.
    Repeating { seed: u64, period: u64, at: u64 },
    /// Simulated: it answers nothing.
    Mute,
    /// The host's.
    System,
}

impl VirtualRng {
    /// A generator whose draws are a function of `seed`.
    pub fn new(seed: u64) -> Self {
        VirtualRng {
            source: Source::Seeded(SplitMix(seed)),
        }
    }

    /// A broken generator that gives the same byte for ever.
    pub fn stuck() -> Self {
        VirtualRng {
            source: Source::Stuck,
        }
    }

    /// A broken generator that gives the same `period` words over and over.
    pub fn repeating(seed: u64, period: u64) -> Self {
        VirtualRng {
            source: Source::Repeating {
                seed,
                period,
                at: 0,
            },
        }
    }

    /// A broken generator that answers nothing.
    pub fn mute() -> Self {
        VirtualRng {
            source: Source::Mute,
        }
    }

    /// The host's generator, for a device that is a process of its own.
    pub fn system() -> Self {
        VirtualRng {
            source: Source::System,
        }
    }

    fn word(&mut self) -> Result<u64, ErrorKind> {
        match &mut self.source {
            Source::Seeded(draws) => Ok(draws.draw()),
            Source::Repeating { seed, period, at } => {
                let word = SplitMix(seed.wrapping_add(*at % (*period).max(1))).draw();
                *at += 1;
                Ok(word)
            }
            Source::Mute => Err(ErrorKind::Unavailable),
            Source::Stuck => Ok(0x6B6B_6B6B_6B6B_6B6B),
            Source::System => getrandom::u64().map_err(|_| ErrorKind::Unavailable),
        }
    }
}

impl TryRng for VirtualRng {
    type Error = RngFault;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.word()? as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.word()?)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for b in out {
            *b = self.word()? as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for VirtualRng {}

/// The host gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RngFault(ErrorKind);

impl From<ErrorKind> for RngFault {
    fn from(kind: ErrorKind) -> Self {
        RngFault(kind)
    }
}

impl std::fmt::Display for RngFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the system gives no random numbers")
    }
}

impl std::error::Error for RngFault {}
