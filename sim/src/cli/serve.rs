//! `nrd-sim serve`.

use super::broker::{self, BrokerArgs};
use super::fail;
use nrd_sim::base::sample::Samples;
use nrd_sim::logs::{self, LogFormat};
use nrd_sim::service::address::{Block, ForwardedHeader, Proxies};
use nrd_sim::service::ca::LeafLife;
use nrd_sim::service::connections::Limits;
use nrd_sim::service::desk::photo::PhotoReader;
use nrd_sim::service::outbox::mqtt::Broker;
use nrd_sim::service::outbox::push::Receiver;
use nrd_sim::service::pages::PublicOrigin;
use nrd_sim::service::server::{Ports, ServeError, ServerOptions, start_with};
use nrd_sim::service::store::{FaultKind, Outbox};
use nrd_sim::service::{Error, Service, ServicePaths, Settings};
use std::net::IpAddr;
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
    /// The keys and the certificate authority; the same folder unless said.
    /// Processes on one database share them.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// A PostgreSQL database, postgres://user@host:port/name, for any number of
    /// processes; a SQLite file in --dir unless said. On another machine with
    /// `?sslmode=verify-full&sslrootcert=FILE` (OPERATIONS).
    #[arg(long)]
    database: Option<String>,
    /// Metrics and health for an operator's tools, on this machine; 0 for any
    /// port. Not served unless said.
    #[arg(long)]
    ops_port: Option<u16>,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Push security events to this address (RFC 8935); `off` stops it on this
    /// database.
    #[arg(long)]
    events: Option<String>,
    /// Whom the events are for; their address unless said.
    #[arg(long)]
    events_audience: Option<String>,
    /// Who the events say they are from.
    #[arg(long, default_value = "https://localhost:8443")]
    issuer: String,
    /// The root of an https receiver, a PEM file.
    #[arg(long)]
    events_ca: Option<PathBuf>,
    /// Days that a server certificate lives; it is renewed after two thirds of
    /// them. More for a while after the service's clock was wrong (OPERATIONS).
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=365_000))]
    certificate_days: u32,
    /// An address of this machine to listen at for devices, and for pages over
    /// TLS, such as 0.0.0.0 or ::; may be given more than once. This machine's
    /// loopback addresses unless said.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<IpAddr>,
    /// Where everybody finds the pages, such as https://tv.example. Cookies and
    /// checks follow from it. Browsers on this machine alone unless said.
    #[arg(long, value_name = "ORIGIN")]
    public_origin: Option<PublicOrigin>,
    /// A proxy that is believed who asks it: its address, or a block such as
    /// 10.0.0.0/8; may be given more than once.
    #[arg(long, value_name = "ADDRESS", requires = "public_origin")]
    trusted_proxy: Vec<Block>,
    /// The header in which it says so, x-forwarded-for or forwarded (RFC 7239).
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-for")]
    forwarded_header: ForwardedHeader,
    /// Connections to a port, in all.
    #[arg(long, default_value_t = Limits::default().in_all)]
    connections: usize,
    /// Connections of one address to a port; an IPv6 /64 is one address.
    #[arg(long, default_value_t = Limits::default().per_address)]
    connections_per_address: usize,
    /// Longest wait of a check-in, in seconds.
    #[arg(long, default_value_t = Settings::default().wait_max_s)]
    wait_max: u16,
    /// The maker's status list and model list, files that it signs; read again
    /// when they change. May be given twice.
    #[arg(long, value_name = "FILE")]
    maker_list: Vec<PathBuf>,
    /// How the log on standard error reads.
    #[arg(long, value_enum, default_value = "text")]
    log: LogFormat,
    /// Account holders to add, a TOML file; the built-in samples unless said.
    /// Their passwords are public: give a file of your own, or /dev/null for
    /// none, where strangers can reach the service.
    #[arg(long)]
    accounts: Option<PathBuf>,
    /// Seconds between check-ins of a device that cannot wait.
    #[arg(long, default_value_t = Settings::default().check_in_s)]
    check_in: u32,
    /// Seconds between two notes that a device at rest was heard: what "Last heard"
    /// may be late. At 0 each check-in writes.
    #[arg(long, default_value_t = Settings::default().seen_every_s)]
    seen_every: u32,
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
    logs::start(args.log);
    let broker = match args.broker.broker() {
        Ok(broker) => broker,
        Err(e) => return fail(&e, broker::EXPECTED),
    };
    let bounds = Settings::default().bounds;
    if !(bounds.expires_min_s..=bounds.expires_max_s).contains(&args.expires_after) {
        return fail(
            &format!(
                "--expires-after is {}: devices hold it between {} and {}, as the service root has signed",
                args.expires_after, bounds.expires_min_s, bounds.expires_max_s
            ),
            "a number of seconds between them",
        );
    }
    let mut settings = Settings {
        check_in_s: args.check_in.max(1),
        wait_max_s: args.wait_max,
        seen_every_s: args.seen_every,
        ..Settings::default()
    };
    settings.terms.renew_after_s = args.renew_after;
    settings.terms.expires_after_s = args.expires_after;
    match serve(args, settings, broker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e.to_string(), hint(&e)),
    }
}

fn serve(args: &Args, settings: Settings, broker: Option<Broker>) -> Result<(), ServeError> {
    let samples = Samples::read(args.accounts.as_deref()).map_err(Error::from)?;
    let place = ServicePaths {
        dir: args.dir.clone(),
        keys: args.keys.clone().unwrap_or_else(|| args.dir.clone()),
        database: args.database.clone(),
    };
    let service = Service::open_on(&place, settings)?;
    service.use_lists(args.maker_list.clone())?;
    let events_off = args.events.as_deref() == Some("off");
    for (which, off) in [
        (Outbox::Orders, args.broker.is_off()),
        (Outbox::Events, events_off),
    ] {
        if off {
            service.store.use_outbox(which, false)?;
        }
    }
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
    let receiver = args
        .events
        .as_ref()
        .filter(|e| *e != "off")
        .map(|url| Receiver {
            url: url.clone(),
            audience: args.events_audience.clone().unwrap_or_else(|| url.clone()),
            issuer: args.issuer.clone(),
            ca: args.events_ca.clone(),
        });
    let options = ServerOptions {
        ops: args.ops_port,
        broker,
        receiver,
        neighbour: None,
        photos: PhotoReader::of_this_program(),
        certificate_life: LeafLife::days(args.certificate_days),
        listen: args.listen.clone(),
        public_origin: args.public_origin.clone(),
        proxies: Proxies {
            trusted: args.trusted_proxy.clone(),
            header: args.forwarded_header,
        },
        limits: Limits {
            in_all: args.connections,
            per_address: args.connections_per_address,
            ..Limits::default()
        },
    };
    let running = start_with(service, &place.keys, ports, options)?;
    say!("pages    {}   (this machine only)", running.pages_url());
    if let Some(origin) = &args.public_origin {
        say!("public   {origin}");
    }
    say!("devices  {}", running.device_url());
    say!("ca file  {}", place.keys.join("ca.pem").display());
    if let Some(port) = running.ops_port {
        say!("ops      http://localhost:{port}/metrics   (and /healthz, /readyz)");
    }
    for s in &samples.accounts {
        say!("account  {}   (password: see the accounts file)", s.email);
    }
    say!("Ctrl-C stops it.");
    running.wait_for_the_end();
    drop(running);
    say!("stopped");
    Ok(())
}

/// What to do about it.
pub(super) fn hint(e: &ServeError) -> &'static str {
    use nrd_sim::service::Error;
    match e {
        ServeError::PortInUse(_) => {
            "--port and --pages-port with other numbers, or 0 for any free port"
        }
        ServeError::Port(..) => "a port above 1023",
        ServeError::Service(Error::File(..)) => {
            "a folder that you may write, with room on its disk"
        }
        ServeError::Service(Error::Storage(f)) => match f.kind {
            FaultKind::Away => {
                "start the database, and check --database: postgres://user@host:port/name"
            }
            FaultKind::Full => "room on the database's disk",
            _ => "what the database says in brackets, or end another program that holds it",
        },
        ServeError::Service(Error::Content(..)) => "the file as it was published",
        ServeError::Service(Error::OtherKeys(_)) => {
            "--keys with the folder that the other processes on this database use"
        }
        ServeError::Receiver(_) => "--events http://127.0.0.1:PORT/path, or https with --events-ca",
        _ => "what the message says; nothing was changed",
    }
}
