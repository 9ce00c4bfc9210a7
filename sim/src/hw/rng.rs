//! Seeded generators. Neither is fit for anything but a simulation.

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

/// The device's random generator, simulated.
#[derive(Debug, Clone)]
pub struct VirtualRng {
    draws: SplitMix,
    stuck: bool,
}

impl VirtualRng {
    /// A generator whose draws are a function of `seed`.
    pub fn new(seed: u64) -> Self {
        VirtualRng {
            draws: SplitMix(seed),
            stuck: false,
        }
    }

    /// A broken generator that gives the same byte for ever.
    pub fn stuck() -> Self {
        VirtualRng {
            draws: SplitMix(0),
            stuck: true,
        }
    }

    fn word(&mut self) -> u64 {
        match self.stuck {
            true => 0x6B6B_6B6B_6B6B_6B6B,
            false => self.draws.draw(),
        }
    }
}

impl TryRng for VirtualRng {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.word() as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.word())
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.fill_with(|| self.word() as u8);
        Ok(())
    }
}

impl TryCryptoRng for VirtualRng {}
