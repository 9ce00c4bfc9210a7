//! `nrd-sim room`.

use super::{fail, random_seed};
use nrd_sim::base::sample::Samples;
use nrd_sim::service::desk::photo::PhotoReader;
use nrd_sim::service::server::{Ports, ServerOptions, start_with};
use nrd_sim::service::{Service, Settings};
use nrd_sim::world::room::{Room, RoomSite};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `room`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Feeds the devices' random generators; printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The pages' port, for browsers on this machine; 0 for any free one.
    #[arg(long, default_value_t = 8480)]
    port: u16,
    /// Account holders, a TOML file; the built-in samples unless said.
    #[arg(long)]
    accounts: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  nrd-sim room               then open the two addresses that it prints, side by side
  nrd-sim room --seed 7 --port 0";

pub(crate) fn run(args: &Args) -> ExitCode {
    let seed = args.seed.unwrap_or_else(random_seed);
    say!("seed {seed}");
    let samples = match Samples::read(args.accounts.as_deref()) {
        Ok(samples) => samples,
        Err(e) => return fail(&e.to_string(), "correct the accounts file"),
    };
    let home = match tempfile::Builder::new().prefix("nrd-room-").tempdir() {
        Ok(dir) => dir,
        Err(e) => {
            return fail(
                &format!("no temporary folder: {e}"),
                "making room on the disk",
            );
        }
    };
    // Its devices look in often, so that a person sees a removal arrive.
    let settings = Settings {
        check_in_s: 2,
        poll_s: 1,
        seen_every_s: 0,
        ..Settings::default()
    };
    let site = Arc::new(RoomSite::default());
    let options = ServerOptions {
        neighbour: Some(site.clone()),
        photos: PhotoReader::of_this_program(),
        ..ServerOptions::default()
    };
    let running = Service::open(home.path(), settings)
        .and_then(|service| service.add_samples(&samples).map(|()| service))
        .map_err(Into::into)
        .and_then(|service| {
            start_with(
                service,
                home.path(),
                Ports {
                    tls: 0,
                    pages: args.port,
                },
                options,
            )
        });
    let running = match running {
        Ok(running) => running,
        Err(e) => {
            return fail(
                &e.to_string(),
                "--port with another number, or 0 for any free one",
            );
        }
    };
    site.furnish(Room::new(&running.service, &samples.accounts, seed));
    let url = running.pages_url();
    say!("living room   {url}room");
    say!("account       {url}account/devices");
    say!("returns desk  {url}desk");
    for s in &samples.accounts {
        say!(
            "account       {}   (password: see the accounts file)",
            s.email
        );
    }
    say!("Open living room and account side by side. Ctrl-C ends it; nothing is kept.");
    running.wait_for_the_end();
    ExitCode::SUCCESS
}
