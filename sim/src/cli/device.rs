//! `nrd-sim device`.

use super::broker::{self, BrokerArgs};
use super::fail;
use nrd_agent::wire::{DeviceId, DeviceKind};
use nrd_sim::base::device_kind;
use nrd_sim::base::sample::Samples;
use nrd_sim::hw::{DeviceDirError, Folder};
use nrd_sim::process::{Options, Order, Screen, provision, run as run_device};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `device`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The device's folder; made at the first start.
    #[arg(long)]
    dir: PathBuf,
    /// Where the service is, such as https://localhost:8443.
    #[arg(long)]
    service: String,
    /// The service's ca.pem, pinned when the device is made. The maker's key
    /// and the service root are looked for beside it.
    #[arg(long)]
    ca: PathBuf,
    /// The kind of device, decided when it is made: stb, console or computer.
    #[arg(long, value_parser = device_kind::parse, default_value = "stb")]
    kind: DeviceKind,
    /// The device id, decided when it is made; drawn unless said.
    #[arg(long)]
    id: Option<String>,
    /// The maker's key; beside the CA file unless said.
    #[arg(long)]
    maker_key: Option<PathBuf>,
    /// The service root's public key; beside the CA file unless said.
    #[arg(long)]
    service_root: Option<PathBuf>,
    /// Whose data the device's software would cache, a TOML file.
    #[arg(long)]
    accounts: Option<PathBuf>,
    /// Where its screen sends people to type the code.
    #[arg(long, default_value = "http://localhost:8480/")]
    pages: String,
    /// Seconds a check-in may wait for an order; 0 for a device that polls.
    #[arg(long, default_value_t = 20)]
    wait: u16,
    /// Spread the first exchange of a boot over this many seconds, as hardware
    /// that is switched on in crowds does.
    #[arg(long, default_value_t = 0)]
    spread: u32,
    /// Listen for a returns desk on this port of this machine (0 for any free one),
    /// as over a cable: see `nrd-sim desk --link`.
    #[arg(long)]
    link: Option<u16>,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Do not ask for a code at the start.
    #[arg(long)]
    idle: bool,
    /// Feed its random generator from this seed: for stories that should
    /// repeat, never for a device that holds anything.
    #[arg(long, hide = true)]
    seed: Option<u64>,
    /// Let flash operations take the time that the datasheet says.
    #[arg(long)]
    real_time: bool,
    /// Show JSON lines instead of a screen, and end with standard input.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let Some(authority) = authority(&args.service) else {
        return fail(
            &format!("`{}` is no address of a service", args.service),
            "--service https://localhost:8443",
        );
    };
    if args
        .id
        .as_deref()
        .is_some_and(|id| DeviceId::new(id).is_none())
    {
        return fail(
            "the device id is refused",
            "1 to 32 printable ASCII characters without spaces",
        );
    }
    let samples = match Samples::read(args.accounts.as_deref()) {
        Ok(samples) => samples.accounts,
        Err(e) => return fail(&e.to_string(), "correct the accounts file"),
    };
    let broker = match args.broker.broker() {
        Ok(broker) => broker,
        Err(e) => return fail(&e, broker::EXPECTED),
    };
    let folder = match open(args) {
        Ok(folder) => folder,
        Err(e) => return fail(&e.to_string(), hint(&e)),
    };
    let options = Options {
        authority,
        activate: !args.idle,
        samples,
        wait_s: args.wait,
        link: args.link,
        broker,
        spread_s: args.spread,
        seed: args.seed,
        ends_with_input: args.json,
        real_time: args.real_time,
    };
    let mut screen = Screen::new(args.json, args.pages.clone());
    match run_device(folder, &options, &mut screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e, "start the device again; it goes on where it was"),
    }
}

fn open(args: &Args) -> Result<Folder, DeviceDirError> {
    if !Folder::exists(&args.dir) {
        let order = Order {
            kind: args.kind,
            ca: &args.ca,
            maker_key: args.maker_key.clone(),
            service_root: args.service_root.clone(),
            device_id: args.id.clone(),
        };
        provision(&args.dir, &order)?;
    }
    let folder = Folder::open(&args.dir)?;
    // The pinned root counts; a file that says otherwise is a mistake.
    let given =
        std::fs::read_to_string(&args.ca).map_err(|e| DeviceDirError::File(args.ca.clone(), e))?;
    if given.trim() != folder.ca_pem.trim() {
        return Err(DeviceDirError::Content(
            args.ca.clone(),
            "this device was made with another CA pinned; it never trusts a new one".into(),
        ));
    }
    Ok(folder)
}

fn hint(e: &DeviceDirError) -> &'static str {
    match e {
        DeviceDirError::InUse(_) => "end the other process first, or use another --dir",
        DeviceDirError::File(..) => "start the service first, and hand in its ca.pem with --ca",
        DeviceDirError::Content(..) => "what the message says, or an empty --dir for a new device",
    }
}

/// Host and port of an https address.
fn authority(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let rest = rest.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':')?;
    let good = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.[]:".contains(&b))
        && port.parse::<u16>().is_ok_and(|p| p > 0);
    good.then(|| rest.to_owned())
}
