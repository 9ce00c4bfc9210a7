//! What stands in each sector.

use super::keys::Ring;
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use serde::Serialize;

/// A region of the flash that holds a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogRegion {
    /// State that outlives an activation.
    Journal,
    /// Account data.
    Vault,
}

impl LogRegion {
    /// The region's number, as its headers and records authenticate it (SPEC §5).
    pub const fn number(self) -> u8 {
        match self {
            LogRegion::Journal => 1,
            LogRegion::Vault => 2,
        }
    }
}

impl std::fmt::Display for LogRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            LogRegion::Journal => "journal",
            LogRegion::Vault => "vault",
        })
    }
}

/// One logical sector.
#[derive(Debug, Clone, Serialize)]
pub struct Sector {
    /// The region it is in.
    pub region: LogRegion,
    /// Its number in the region.
    pub number: u32,
    /// Where it begins on the part.
    pub offset: u32,
    /// What stands in it.
    #[serde(flatten)]
    pub state: SectorState,
    /// Bytes that are not 0xFF.
    pub programmed: usize,
    /// Records in it that opened.
    pub records: usize,
}

/// What stands in a sector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SectorState {
    /// Every byte is 0xFF.
    Blank,
    /// Every byte is zero: it would not erase.
    Zeroed,
    /// A header that authenticates.
    Log {
        /// Its generation.
        generation: u32,
        /// The sectors whose records count, as its header says: a bit each.
        members: u32,
    },
    /// A header, but no key at hand authenticates it.
    Sealed,
    /// Something without a header.
    Other,
}

const HEADER: usize = 40;

pub(super) fn look(
    region: LogRegion,
    number: u32,
    offset: u32,
    cells: &[u8],
    ring: &Ring,
    records: usize,
) -> Sector {
    Sector {
        region,
        number,
        offset,
        state: state(region, cells, ring),
        programmed: cells.iter().filter(|&&b| b != 0xFF).count(),
        records,
    }
}

fn state(region: LogRegion, cells: &[u8], ring: &Ring) -> SectorState {
    if cells.iter().all(|&b| b == 0xFF) {
        return SectorState::Blank;
    }
    if cells.iter().all(|&b| b == 0) {
        return SectorState::Zeroed;
    }
    let Some(header) = cells
        .first_chunk::<HEADER>()
        .filter(|h| h.starts_with(b"NRL2"))
    else {
        return SectorState::Other;
    };
    let region = region.number();
    let (fields, tag) = (&header[..28], &header[30..]);
    let authentic = ring.headers.iter().any(|(r, key)| {
        let mac = RingCrypto::hmac(key, &[b"nrd/1/sector\0", &[region], fields]);
        *r == region && mac[..10] == *tag
    });
    let word = |at: usize| {
        header[at..]
            .first_chunk()
            .copied()
            .map_or(0, u32::from_le_bytes)
    };
    if authentic {
        SectorState::Log {
            generation: word(4),
            members: word(8),
        }
    } else {
        SectorState::Sealed
    }
}
