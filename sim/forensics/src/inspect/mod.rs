//! Reads a flash image as an adversary with the root key would.
//!
//! Written from `docs/SPEC.md` alone, without the agent's own log, key or slot
//! code: a second reading of the format, and the judge of the first.
//!
//! | file | what |
//! |---|---|
//! | `keys.rs` | every key that image, root and known slots give |
//! | `search.rs` | tries every key at every offset; looks for plain text |
//! | `sectors.rs` | what stands in each sector |

mod keys;
mod search;
mod sectors;

pub use keys::{SlotState, class_key, parse_slot};
pub use search::{Hit, Opened, Secret};
pub use sectors::{LogRegion, Sector, SectorState};

use nrd_agent::Class;
use nrd_hal::Geometry;
use nrd_hal::layout::{Layout, LayoutError, logical_sector};
use serde::Serialize;

/// A flash image.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// Every byte of the part.
    pub cells: &'a [u8],
    /// Its sizes.
    pub geometry: Geometry,
}

/// What the adversary holds beside the image.
#[derive(Default)]
pub struct Search {
    /// The device's root secret.
    pub root: Option<[u8; 32]>,
    /// Epochs whose keys are derived, beside those that slots name.
    pub epochs: Vec<u64>,
    /// Key slots from elsewhere: older images, a spied bus. 256 bytes each.
    pub slots: Vec<Vec<u8>>,
    /// Any other secret ever seen: each is tried as a key of every region and
    /// epoch.
    pub keys: Vec<[u8; 32]>,
    /// Texts that must not stand in the image.
    pub secrets: Vec<Secret>,
    /// Try keys even where a record header's check bits are wrong.
    pub deep: bool,
}

/// Why an image cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InspectError {
    /// The image is not as large as the geometry says.
    Size {
        /// What the geometry says, in bytes.
        expected: u32,
        /// What the image has, in bytes.
        found: usize,
    },
    /// No agent would take this geometry.
    Geometry(LayoutError),
}

/// What is in an image.
#[derive(Debug, Clone, Serialize)]
pub struct InspectReport {
    /// Key slot A and B.
    pub slots: [SlotState; 2],
    /// Every logical sector, journal first.
    pub sectors: Vec<Sector>,
    /// Account records that opened, wherever they stand, old versions too.
    pub opened: Vec<Opened>,
    /// Account bytes that could be read: the values of `opened`.
    pub readable_bytes: usize,
    /// Bytes of the journal that could be read; no account data.
    pub journal_bytes: usize,
    /// How many (offset, key) pairs were tried.
    pub trial_opens: u64,
    /// Plain or encoded secrets.
    pub plaintext_hits: Vec<Hit>,
}

impl InspectReport {
    /// True when nothing of an account can be read.
    pub fn nothing_readable(&self) -> bool {
        self.readable_bytes == 0 && self.plaintext_hits.is_empty()
    }
}

/// The two key slots of `cells`, a whole image.
pub fn key_slots<'c>(cells: &'c [u8], layout: &Layout) -> [&'c [u8]; 2] {
    [0, 1].map(|n| {
        let at = layout.slot(n);
        cells
            .get(at.start as usize..at.end as usize)
            .unwrap_or_default()
    })
}

/// Inspects `image`.
pub fn inspect(image: &Image<'_>, search: &Search) -> Result<InspectReport, InspectError> {
    let g = image.geometry;
    let layout = Layout::plan(&g).map_err(InspectError::Geometry)?;
    if image.cells.len() != g.size as usize {
        return Err(InspectError::Size {
            expected: g.size,
            found: image.cells.len(),
        });
    }
    let present = key_slots(image.cells, &layout);
    let slots = present.map(|slot| keys::slot_state(slot, search.root.as_ref()));
    let mut known = present.to_vec();
    known.extend(search.slots.iter().map(Vec::as_slice));
    let mut ring = keys::Ring::gather(search.root.as_ref(), &known, &search.epochs);
    ring.add_raw(&search.keys, &search.epochs);
    let mut trial_opens = 0;
    let all = search::open_everywhere(image.cells, &ring, search.deep, &mut trial_opens);
    let (opened, journal): (Vec<Opened>, Vec<Opened>) =
        all.into_iter().partition(|o| o.class != JOURNAL);
    let regions = [
        (
            LogRegion::Journal,
            layout.journal_start,
            layout.journal_size,
        ),
        (LogRegion::Vault, layout.vault_start, layout.vault_size),
    ];
    let mut list = Vec::new();
    for (region, start, size) in regions {
        let sector = logical_sector(&Geometry { size, ..g });
        for n in 0..size / sector {
            let at = start + n * sector;
            let cells = &image.cells[at as usize..(at + sector) as usize];
            let within = |o: &&Opened| (at..at + sector).contains(&o.offset);
            let records = opened.iter().chain(&journal).filter(within).count();
            list.push(sectors::look(region, n, at, cells, &ring, records));
        }
    }
    Ok(InspectReport {
        slots,
        sectors: list,
        readable_bytes: opened.iter().map(|o| o.length).sum(),
        journal_bytes: journal.iter().map(|o| o.length).sum(),
        opened,
        trial_opens,
        plaintext_hits: search::plaintext(image.cells, &search.secrets),
    })
}

/// How a journal record's class reads.
pub(crate) const JOURNAL: &str = "journal";
/// A class of the vault in words; "unknown" for a number that is none.
pub fn class_name(class: u8) -> &'static str {
    Class::from_number(class).map_or("unknown", Class::words)
}
