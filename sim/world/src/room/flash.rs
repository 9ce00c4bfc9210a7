//! A picture of a flash part: a square an erase unit.

use nrd_hal::layout::Layout;
use nrd_sim_base::sample::Sample;
use nrd_sim_forensics::inspect::{Image, Search, Secret, inspect};
use nrd_sim_hw::Chip;
use std::collections::BTreeMap;

/// What stands in a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Every bit is erased, and reads so at every read.
    Blank,
    /// Sealed account data.
    Vault,
    /// The journal: no account data, no secret of one.
    Journal,
    /// A key slot that holds something.
    Slot,
    /// A cut struck it, and it was not erased since.
    Torn,
    /// Programmed to zero because it would not erase.
    Zeroed,
}

impl Look {
    /// Every look with a word for it, as the legend shows them.
    pub const ALL: [(Look, &'static str, &'static str); 6] = [
        (Look::Blank, "blank", "blank"),
        (Look::Vault, "vault", "sealed vault"),
        (Look::Journal, "journal", "journal"),
        (Look::Slot, "slot", "key slot"),
        (Look::Torn, "torn", "torn by a cut"),
        (Look::Zeroed, "zeroed", "failed: zeroed"),
    ];

    /// Its class on the page, and its words.
    pub fn words(self) -> (&'static str, &'static str) {
        Look::ALL
            .iter()
            .find(|l| l.0 == self)
            .map_or(("blank", "blank"), |l| (l.1, l.2))
    }
}

/// One square.
#[derive(Debug, Clone, Copy)]
pub struct Square {
    /// What stands in it.
    pub look: Look,
    /// `vault`, `journal` or `key slot`.
    pub region: &'static str,
    /// Erases so far.
    pub wear: u32,
}

/// An operation that a cut struck: where it began, how long it was, and the
/// wear of its first erase unit then. Until that unit is erased again, nobody
/// knows what its cells hold.
pub type Struck = (u32, u32, u32);

/// The squares of a part, in the order of their addresses.
pub fn squares(chip: &Chip, struck: &[Struck]) -> Vec<Square> {
    let g = chip.spec().geometry;
    let size = g.erase_size as usize;
    let Ok(layout) = Layout::plan(&g) else {
        return Vec::new();
    };
    let all = chip.cells().chunks(size).zip(chip.unstable().chunks(size));
    all.zip(chip.wear())
        .enumerate()
        .map(|(n, ((cells, unstable), wear))| {
            let at = n as u32 * g.erase_size;
            let (region, full) = match at {
                at if at >= layout.slot_start => ("key slot", Look::Slot),
                at if at >= layout.journal_start => ("journal", Look::Journal),
                _ => ("vault", Look::Vault),
            };
            let torn = struck.iter().any(|&(from, len, then)| {
                from < at + g.erase_size && at < from + len && then == *wear
            });
            let look = match () {
                () if torn || unstable.iter().any(|&u| u != 0) => Look::Torn,
                () if cells.iter().all(|&b| b == 0xFF) => Look::Blank,
                () if cells.iter().all(|&b| b == 0) => Look::Zeroed,
                () => full,
            };
            Square {
                look,
                region,
                wear: *wear,
            }
        })
        .collect()
}

/// What an adversary with image and root key reads.
#[derive(Debug, Clone, Default)]
pub struct Readable {
    /// Account bytes.
    pub bytes: usize,
    /// How many records of which class.
    pub classes: Vec<(&'static str, usize)>,
}

/// Reads a part as an adversary with the root key would.
pub fn readable(chip: &Chip, root: [u8; 32], samples: &[Sample]) -> Readable {
    let search = Search {
        root: Some(root),
        epochs: (0..=chip.counter()).rev().take(4).collect(),
        secrets: samples
            .iter()
            .flat_map(Sample::secrets)
            .map(Secret::new)
            .collect(),
        ..Search::default()
    };
    let image = Image {
        cells: chip.cells(),
        geometry: chip.spec().geometry,
    };
    let Ok(report) = inspect(&image, &search) else {
        return Readable::default();
    };
    let mut classes: BTreeMap<&'static str, usize> = BTreeMap::new();
    for o in &report.opened {
        *classes.entry(o.class).or_default() += 1;
    }
    Readable {
        bytes: report.readable_bytes,
        classes: classes.into_iter().collect(),
    }
}

/// Lines of an erase unit's bytes, as `xxd` shows them; equal lines are told
/// once, with how often.
pub fn dump(cells: &[u8]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut last: Option<(&[u8], usize)> = None;
    let flush = |out: &mut Vec<String>, last: Option<(&[u8], usize)>| {
        if let Some((_, n)) = last
            && n > 1
        {
            out.push(format!("      … {} more like it", n - 1));
        }
    };
    for (i, line) in cells.chunks(16).enumerate() {
        if let Some((l, n)) = &mut last
            && *l == line
        {
            *n += 1;
            continue;
        }
        flush(&mut out, last);
        last = Some((line, 1));
        let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
        let text: String = line
            .iter()
            .map(|&b| {
                if b.is_ascii_graphic() {
                    char::from(b)
                } else {
                    '·'
                }
            })
            .collect();
        out.push(format!("{:05x}  {}  {text}", i * 16, hex.join(" ")));
    }
    flush(&mut out, last);
    out
}
