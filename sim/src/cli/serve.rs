//! `nrd-sim serve`.

use super::fail;
use nrd_sim::serve::{Ports, ServeError, start};
use nrd_sim::service::sample::Samples;
use nrd_sim::service::{Service, Settings};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `serve`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where keys, certificates and the database are kept; made if missing.
    #[arg(long)]
    dir: PathBuf,
    /// Where devices call, and the pages over TLS; 0 for any free port.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// The pages over plain HTTP, for browsers on this machine; 0 for any.
    #[arg(long, default_value_t = 8480)]
    pages_port: u16,
    /// Account holders to add, a TOML file; the built-in samples unless said.
    #[arg(long)]
    accounts: Option<PathBuf>,
    /// Seconds between check-ins of a device that cannot wait.
    #[arg(long, default_value_t = Settings::default().check_in_s)]
    check_in: u32,
    /// Powered seconds after which a device renews its token.
    #[arg(long, default_value_t = Settings::default().terms.renew_after_s)]
    renew_after: u32,
    /// Powered seconds after which access closes without an answer.
    #[arg(long, default_value_t = Settings::default().terms.expires_after_s)]
    expires_after: u32,
    /// Put this version of the privacy policy in force.
    #[arg(long)]
    policy_version: Option<u32>,
    /// Put a new order key in force, and sign waiting orders again.
    #[arg(long)]
    rotate_order_key: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if args.renew_after >= args.expires_after {
        return fail(
            "--renew-after must be less than --expires-after",
            "renewing well before access closes, such as 86400 and 2592000",
        );
    }
    let mut settings = Settings {
        check_in_s: args.check_in.max(1),
        ..Settings::default()
    };
    settings.terms.renew_after_s = args.renew_after;
    settings.terms.expires_after_s = args.expires_after;
    match serve(args, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e.to_string(), hint(&e)),
    }
}

fn serve(args: &Args, settings: Settings) -> Result<(), ServeError> {
    let samples = Samples::read(args.accounts.as_deref())?;
    let service = Service::open(&args.dir, settings)?;
    service.add_samples(&samples)?;
    if let Some(version) = args.policy_version {
        service.store.raise_policy(version)?;
    }
    if args.rotate_order_key {
        let version = service.rotate_order_key()?;
        say!("order key {version} is in force");
    }
    let ports = Ports {
        tls: args.port,
        pages: args.pages_port,
    };
    let running = start(service, &args.dir, ports)?;
    say!("pages    {}   (this machine only)", running.pages_url());
    say!("devices  {}", running.device_url());
    say!("ca file  {}", args.dir.join("ca.pem").display());
    for s in &samples.accounts {
        say!("account  {}   (password: see the accounts file)", s.email);
    }
    say!("Ctrl-C stops it.");
    running.wait_for_ctrl_c();
    say!("stopped");
    Ok(())
}

/// What to do about it.
fn hint(e: &ServeError) -> &'static str {
    use nrd_sim::service::Error;
    match e {
        ServeError::PortInUse(_) => {
            "--port and --pages-port with other numbers, or 0 for any free port"
        }
        ServeError::Port(..) => "a port above 1023",
        ServeError::Service(Error::File(..)) => {
            "a folder that you may write, with room on its disk"
        }
        ServeError::Service(Error::Storage(_)) => {
            "whether the disk is full, or another program holds the database"
        }
        _ => "what the message says; nothing was changed",
    }
}
