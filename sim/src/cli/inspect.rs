//! `nrd-sim inspect`.

use super::fail;
use nrd_hal::Geometry;
use nrd_hal::layout::Layout;
use nrd_sim::base::unhex;
use nrd_sim::forensics::inspect::{
    Image, InspectError, InspectReport, Search, Secret, SectorState, SlotState, inspect, key_slots,
};
use nrd_sim::hw::Made;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The flash image, such as a device's flash.bin.
    image: PathBuf,
    /// The device's root key, 64 hexadecimal digits: what an adversary who
    /// opened the chip would have. It stands in the device's root.key.
    #[arg(long)]
    root_key: Option<String>,
    /// A text to look for, in plain and in simple encodings.
    #[arg(long)]
    secret: Vec<String>,
    /// An older image of the same device, whose key slots are tried as well.
    #[arg(long)]
    older_image: Vec<PathBuf>,
    /// Epochs from 0 whose keys are tried.
    #[arg(long, default_value_t = 16)]
    epochs: u64,
    /// Erase size in bytes; from device.json beside the image unless said.
    #[arg(long)]
    sector_size: Option<u32>,
    /// Write size in bytes; from device.json beside the image unless said.
    #[arg(long)]
    write_size: Option<u32>,
    /// Try every key at every offset, even where no record header stands.
    #[arg(long)]
    deep: bool,
    /// Print one JSON object and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

/// The largest image that is read, in bytes.
const MAX: u64 = 64 << 20;

pub(crate) fn run(args: &Args) -> ExitCode {
    let cells = match read(&args.image) {
        Ok(cells) => cells,
        Err(e) => return fail(&e, "the path of a flash image, such as tv/flash.bin"),
    };
    let root = match args.root_key.as_deref().map(unhex::<32>) {
        None => None,
        Some(Some(root)) => Some(root),
        Some(None) => {
            return fail(
                "the root key is not 64 hexadecimal digits",
                "--root-key \"$(cat tv/root.key)\"",
            );
        }
    };
    let geometry = geometry(args, cells.len());
    let mut search = Search {
        root,
        epochs: (0..args.epochs.min(4096)).collect(),
        slots: Vec::new(),
        keys: Vec::new(),
        secrets: args
            .secret
            .iter()
            .map(|s| Secret::new(s.as_str()))
            .collect(),
        deep: args.deep,
    };
    for path in &args.older_image {
        match read(path) {
            Ok(old) if old.len() == cells.len() => {
                if let Ok(layout) = Layout::plan(&geometry) {
                    let slots = key_slots(&old, &layout);
                    search.slots.extend(slots.map(<[u8]>::to_vec));
                }
            }
            Ok(_) => {
                return fail(
                    "an older image has another size",
                    "an image of the same part",
                );
            }
            Err(e) => return fail(&e, "the path of an older image"),
        }
    }
    let image = Image {
        cells: &cells,
        geometry,
    };
    match inspect(&image, &search) {
        Ok(report) => show(args, &report),
        Err(InspectError::Size { expected, found }) => fail(
            &format!("the image has {found} bytes, but the part has {expected}"),
            "the whole image, or --sector-size and --write-size of another part",
        ),
        Err(InspectError::Geometry(e)) => fail(
            &format!("no agent would take a part of these sizes ({e:?})"),
            "--sector-size and --write-size of the part; the image must be whole",
        ),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map(|m| m.len());
    match size {
        Ok(size) if size > MAX => Err(format!("{}: larger than {MAX} bytes", path.display())),
        Ok(_) => std::fs::read(path).map_err(|e| format!("{}: {e}", path.display())),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

fn geometry(args: &Args, len: usize) -> Geometry {
    let beside = args.image.parent().and_then(|dir| Made::read(dir).ok());
    let mut g = beside.map_or(
        Geometry {
            size: len as u32,
            write_size: 1,
            erase_size: 4096,
            best_erase: 65536,
        },
        |made| made.chip().geometry,
    );
    if let Some(e) = args.sector_size {
        g.erase_size = e;
        g.size = len as u32;
    }
    g.write_size = args.write_size.unwrap_or(g.write_size);
    g
}

fn show(args: &Args, r: &InspectReport) -> ExitCode {
    if args.json {
        match serde_json::to_string(r) {
            Ok(line) => say!("{line}"),
            Err(e) => return fail(&e.to_string(), "without --json"),
        }
    } else {
        text(args, r);
    }
    if r.nothing_readable() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

fn text(args: &Args, r: &InspectReport) {
    for (name, slot) in ["A", "B"].iter().zip(&r.slots) {
        let what = match slot {
            SlotState::Blank => "blank".to_owned(),
            SlotState::Zeroed => "zeroed".to_owned(),
            SlotState::Authentic {
                generation, epoch, ..
            } => format!("ALIVE: generation {generation}, epoch {epoch}"),
            SlotState::Other => "holds something that does not authenticate".to_owned(),
        };
        say!("slot {name}           {what}");
    }
    let mut blank = 0;
    for s in &r.sectors {
        let what = match &s.state {
            SectorState::Blank => {
                blank += 1;
                continue;
            }
            SectorState::Zeroed => "programmed to zero".to_owned(),
            SectorState::Log { generation, .. } => format!("generation {generation}"),
            SectorState::Sealed => "sealed under a key that is not at hand".to_owned(),
            SectorState::Other => "no header".to_owned(),
        };
        say!(
            "{:7} {:3} {:#08x}  {what}; {} bytes programmed, {} records open",
            s.region,
            s.number,
            s.offset,
            s.programmed,
            s.records
        );
    }
    say!("{blank} of {} sectors are blank", r.sectors.len());
    for o in &r.opened {
        let mark = if o.deletes { ", delete marker" } else { "" };
        say!(
            "READABLE {:#08x}  {} {}, {} bytes{mark}",
            o.offset,
            o.class,
            o.id,
            o.length
        );
    }
    for h in &r.plaintext_hits {
        say!(
            "PLAIN    {:#08x}  secret {}, {}",
            h.offset,
            h.secret + 1,
            h.encoding
        );
    }
    let with = match args.root_key {
        Some(_) => "with the root key",
        None => "without the root key",
    };
    say!(
        "{} account bytes can be read {with}; {} secrets stand in plain ({} keys and places tried)",
        r.readable_bytes,
        r.plaintext_hits.len(),
        r.trial_opens
    );
}
