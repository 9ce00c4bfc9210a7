//! `nrd-sim status-list`.

use super::fail;
use super::verify::{maker_root, now_s, read};
use nrd_sim::base::printable;
use nrd_sim::base::sign;
use nrd_sim::base::time_format::moment;
use nrd_sim::base::unhex;
use nrd_sim::forensics::verify::StatusList;
use ring::signature::Ed25519KeyPair;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Arguments of `status-list`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file to write, or with --show to read.
    file: PathBuf,
    /// The maker's secret key, 64 hexadecimal digits (maker.key).
    #[arg(long, required_unless_present = "show")]
    maker_key: Option<PathBuf>,
    /// Its number: higher than the list before.
    #[arg(long, required_unless_present = "show")]
    number: Option<u32>,
    /// A device whose key counts no longer; may be given again.
    #[arg(long, value_name = "ID")]
    device: Vec<String>,
    /// A model none of whose devices counts; may be given again.
    #[arg(long)]
    model: Vec<String>,
    /// An agent version whose word counts no longer, such as 0.1.0; may be
    /// given again.
    #[arg(long, value_name = "VERSION", value_parser = version)]
    agent: Vec<[u8; 3]>,
    /// Days until the next list is due.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Say what is in the file; needs --maker-root.
    #[arg(long, requires = "maker_root", conflicts_with_all = ["maker_key", "number", "device", "model", "agent"])]
    show: bool,
    /// The maker root's public key, for --show.
    #[arg(long)]
    maker_root: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  nrd-sim status-list status.bin --maker-key service/maker.key --number 1
  nrd-sim status-list status.bin --maker-key service/maker.key --number 2 --device NRD-STB-0EC40A7E0D
  nrd-sim status-list status.bin --show --maker-root service/maker-root.pub
  nrd-sim verify receipt.bin --maker-root service/maker-root.pub --status-list status.bin";

fn version(text: &str) -> Result<[u8; 3], String> {
    let parts: Option<Vec<u8>> = text.split('.').map(|p| p.parse().ok()).collect();
    parts
        .and_then(|p| p.try_into().ok())
        .ok_or_else(|| "a version is three numbers, such as 0.1.0".to_owned())
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let done = if args.show { show(args) } else { make(args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn show(args: &Args) -> Result<(), ExitCode> {
    let (Some(root), frame) = (
        args.maker_root.as_deref(),
        read(&args.file, 8 << 20, "the path of a status list")?,
    ) else {
        return Err(fail(
            "--show needs --maker-root",
            "the maker's maker-root.pub",
        ));
    };
    match StatusList::read(&frame, &maker_root(root)?) {
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
    let (Some(key), Some(number)) = (&args.maker_key, args.number) else {
        return Err(fail(
            "--maker-key and --number are needed",
            "nrd-sim status-list --help",
        ));
    };
    for id in &args.device {
        if nrd_agent::wire::DeviceId::new(id).is_none() {
            return Err(fail(
                &format!("`{id}` is no device id"),
                "1 to 32 printable ASCII characters without spaces",
            ));
        }
    }
    let key = maker_key(key)?;
    let issued_at = now_s();
    let list = StatusList {
        number,
        issued_at,
        next_update: issued_at + u64::from(args.days) * 86_400,
        devices: args.device.clone(),
        models: args.model.clone(),
        agents: args.agent.clone(),
    };
    let frame = list
        .sign(&key)
        .map_err(|e| fail(&e.to_string(), "fewer names: a list holds 4 MiB"))?;
    write(&args.file, &frame)?;
    tell(&list);
    say!("  written   {}, {} bytes", args.file.display(), frame.len());
    Ok(())
}

/// The key that signs a maker's lists, from its file.
pub(super) fn maker_key(path: &Path) -> Result<Ed25519KeyPair, ExitCode> {
    let text = Zeroizing::new(read(path, 1024, "the service folder's maker.key")?);
    let key = std::str::from_utf8(&text).ok().and_then(unhex::<32>);
    let Some(key) = key.map(Zeroizing::new) else {
        return Err(fail(
            "this is no maker key",
            "the service folder's maker.key",
        ));
    };
    Ok(sign::keypair(&key))
}

/// Writes a list.
pub(super) fn write(path: &Path, frame: &[u8]) -> Result<(), ExitCode> {
    std::fs::write(path, frame).map_err(|e| {
        fail(
            &format!("{}: {e}", path.display()),
            "a path that can be written",
        )
    })
}

fn tell(list: &StatusList) {
    say!("status list {}", list.number);
    say!("  made      {}", moment(list.issued_at));
    say!("  in date   until {}", moment(list.next_update));
    for id in &list.devices {
        say!("  device    {}", printable(id));
    }
    for model in &list.models {
        say!("  model     {}", printable(model));
    }
    for [a, b, c] in &list.agents {
        say!("  agent     {a}.{b}.{c}");
    }
    if list.devices.is_empty() && list.models.is_empty() && list.agents.is_empty() {
        say!("  names     nothing: every device of this maker counts");
    }
}
