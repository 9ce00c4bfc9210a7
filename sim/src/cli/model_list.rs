//! `nrd-sim model-list`.

use super::fail;
use super::status_list::{maker_key, write};
use super::verify::{maker_root, now_s, read};
use nrd_agent::wire::DeviceKind;
use nrd_sim::base::printable;
use nrd_sim::base::time_format::moment;
use nrd_sim::forensics::verify::{ModelEntry, ModelList};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `model-list`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file to write, or with --show to read.
    file: PathBuf,
    /// What the models are built of, a TOML file.
    #[arg(long, required_unless_present = "show")]
    from: Option<PathBuf>,
    /// The maker's secret key, 64 hexadecimal digits (maker.key).
    #[arg(long, required_unless_present = "show")]
    maker_key: Option<PathBuf>,
    /// Its number: higher than the list before.
    #[arg(long, required_unless_present = "show")]
    number: Option<u32>,
    /// Days until the next list is due.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// Say what is in the file; needs --maker-root.
    #[arg(long, requires = "maker_root", conflicts_with_all = ["from", "maker_key", "number"])]
    show: bool,
    /// The maker root's public key, for --show.
    #[arg(long)]
    maker_root: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  nrd-sim model-list models.bin --from models.toml --maker-key service/maker.key --number 1
  nrd-sim model-list models.bin --show --maker-root service/maker-root.pub
  nrd-sim verify receipt.bin --maker-root service/maker-root.pub --model-list models.bin

The TOML file has a table for each model:
  [[model]]
  name = \"Virtual set-top box\"     # as its certificates name it
  kind = \"set-top-box\"             # set-top-box, console or computer
  sectors = 58                     # of its vault, as receipts count them
  vault_bytes = 237568
  physical = true                  # an erase of its key slots destroys what was in them
  slots_outside_image = false
  root_refuses_past = true";

/// The TOML file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Models {
    model: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    kind: String,
    sectors: u32,
    vault_bytes: u32,
    physical: bool,
    slots_outside_image: bool,
    root_refuses_past: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let done = if args.show { show(args) } else { make(args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn show(args: &Args) -> Result<(), ExitCode> {
    let Some(root) = args.maker_root.as_deref() else {
        return Err(fail(
            "--show needs --maker-root",
            "the maker's maker-root.pub",
        ));
    };
    let frame = read(&args.file, 8 << 20, "the path of a model list")?;
    match ModelList::read(&frame, &maker_root(root)?) {
        Ok(list) => {
            tell(&list);
            Ok(())
        }
        Err(e) => {
            eprintln!("NOT VERIFIED: {e}\n  try: the file as the maker published it, and its root");
            Err(ExitCode::from(1))
        }
    }
}

fn make(args: &Args) -> Result<(), ExitCode> {
    let (Some(from), Some(key), Some(number)) = (&args.from, &args.maker_key, args.number) else {
        return Err(fail(
            "--from, --maker-key and --number are needed",
            "nrd-sim model-list --help",
        ));
    };
    let models = entries(from)?;
    let key = maker_key(key)?;
    let issued_at = now_s();
    let list = ModelList {
        number,
        issued_at,
        next_update: issued_at + u64::from(args.days) * 86_400,
        models,
    };
    let frame = list
        .sign(&key)
        .map_err(|e| fail(&e.to_string(), "fewer models: a list holds 1 MiB"))?;
    write(&args.file, &frame)?;
    tell(&list);
    say!("  written   {}, {} bytes", args.file.display(), frame.len());
    Ok(())
}

fn entries(path: &Path) -> Result<Vec<ModelEntry>, ExitCode> {
    let wrong = |what: &dyn std::fmt::Display| {
        fail(
            &format!("{}: {what}", path.display()),
            "the form that nrd-sim model-list --help shows",
        )
    };
    let bytes = read(path, 1 << 20, "a TOML file of models")?;
    let text = String::from_utf8(bytes).map_err(|e| wrong(&e))?;
    let models: Models = toml::from_str(&text).map_err(|e| wrong(&e))?;
    let entry = |m: Model| {
        let kind = kind(&m.kind).ok_or_else(|| {
            wrong(&format_args!(
                "`{}` is no kind of device: there are {}",
                printable(&m.kind),
                KINDS.map(DeviceKind::name).join(", ")
            ))
        })?;
        Ok(ModelEntry {
            model: m.name,
            kind,
            sectors: m.sectors,
            vault_bytes: m.vault_bytes,
            physical: m.physical,
            slots_outside_image: m.slots_outside_image,
            root_refuses_past: m.root_refuses_past,
        })
    };
    models.model.into_iter().map(entry).collect()
}

/// The kinds, by their index in the list (SPEC §9).
const KINDS: [DeviceKind; 3] = [
    DeviceKind::SetTopBox,
    DeviceKind::Console,
    DeviceKind::Computer,
];

fn kind(word: &str) -> Option<u8> {
    let mut kinds = KINDS.into_iter().zip(0..);
    kinds.find_map(|(kind, index)| (kind.name() == word).then_some(index))
}

fn tell(list: &ModelList) {
    say!("model list {}", list.number);
    say!("  made      {}", moment(list.issued_at));
    say!("  next      {}", moment(list.next_update));
    for m in &list.models {
        say!(
            "  model     {}: {} sectors, {} bytes",
            printable(&m.model),
            m.sectors,
            m.vault_bytes
        );
    }
    if list.models.is_empty() {
        say!("  names     nothing: no receipt can be held against it");
    }
}
