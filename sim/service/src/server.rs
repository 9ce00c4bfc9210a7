//! Runs the reference service: the device API and the pages over TLS 1.3,
//! and the pages alone over plain HTTP, for this machine only.

use crate::Service;
use crate::address::Proxies;
use crate::admin_api;
use crate::ca::{self, LeafLife};
use crate::connections::{self, Admission, Limits};
use crate::desk::Desk;
use crate::desk::photo::PhotoReader;
use crate::outbox::OutboxWorker;
use crate::outbox::mqtt::{self, Broker};
use crate::outbox::push::{self, Receiver};
use crate::pages::{AppState, Neighbour, PublicOrigin, Site, pages, pages_and_device_api};
use crate::store::Outbox;
use crate::worker::blocking;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// Where to listen; 0 takes any free port.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Devices, and the pages over TLS.
    pub tls: u16,
    /// The pages over plain HTTP, for browsers on this machine.
    pub pages: u16,
}

/// Why the service does not run.
#[derive(Debug)]
pub enum ServeError {
    /// Another program listens on this port.
    PortInUse(u16),
    /// The port cannot be opened for another reason.
    Port(u16, io::Error),
    /// The service's folder.
    Service(crate::Error),
    /// The receiver of security events.
    Receiver(String),
    /// The system gives no threads or sockets.
    System(io::Error),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ServeError::PortInUse(port) => write!(f, "port {port} is in use by another program"),
            ServeError::Port(port, e) => write!(f, "port {port} cannot be opened: {e}"),
            ServeError::Service(e) => e.fmt(f),
            ServeError::Receiver(e) => f.write_str(e),
            ServeError::System(e) => write!(f, "the system gives no threads or sockets: {e}"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<crate::Error> for ServeError {
    fn from(e: crate::Error) -> Self {
        ServeError::Service(e)
    }
}

/// What runs beside the two ports; nothing by default.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// Devices of this machine, with pages of their own and a returns desk.
    pub neighbour: Option<Arc<dyn Neighbour>>,
    /// What reads photos of codes at that desk.
    pub photos: PhotoReader,
    /// Where an operator's tools ask: metrics and health; 0 for any port.
    pub ops: Option<u16>,
    /// Hand orders to this broker.
    pub broker: Option<Broker>,
    /// Push security events to this receiver.
    pub receiver: Option<Receiver>,
    /// How long the server's certificates live.
    pub certificate_life: LeafLife,
    /// What connections may take.
    pub limits: Limits,
    /// Addresses of this machine to listen at for devices, and for pages over TLS;
    /// this machine's loopback ones unless said.
    pub listen: Vec<IpAddr>,
    /// Where everybody finds the pages; for browsers on this machine alone unless
    /// said.
    pub public_origin: Option<PublicOrigin>,
    /// Proxies that are believed who asks them.
    pub proxies: Proxies,
}

/// A running service. Dropping it stops it: waiting devices are answered, and
/// requests under way are finished.
pub struct Running {
    /// The service itself.
    pub service: Arc<Service>,
    /// The returns desk of its neighbour; without one no page leads to it.
    pub desk: Arc<Desk>,
    /// Where devices call.
    pub device_port: u16,
    /// Where a browser on this machine looks.
    pub pages_port: u16,
    /// Where an operator's tools ask.
    pub ops_port: Option<u16>,
    servers: Servers,
    drains: Vec<OutboxWorker>,
    /// Of pages, and of devices.
    runtimes: Option<[Runtime; 2]>,
}

/// How long answers under way may take when the service stops.
const GRACE: Duration = Duration::from_secs(5);
/// Threads of pages that wait for the database or for a password check.
const PAGE_THREADS: usize = 64;
/// Threads of devices that wait for the database.
const DEVICE_THREADS: usize = 32;
/// How often old rows are deleted.
const PURGE_EVERY: Duration = Duration::from_secs(3600);
/// Purges from one shortening of the revocation log to the next.
const PURGES_A_DAY: u32 = 24;
/// Connections that the system holds until they are taken.
const BACKLOG: i32 = 4096;

/// Starts `service`, whose certificate authority lives in `dir`.
pub fn start(service: Arc<Service>, dir: &Path, ports: Ports) -> Result<Running, ServeError> {
    start_with(service, dir, ports, ServerOptions::default())
}

/// Starts `service` with what runs beside it.
pub fn start_with(
    service: Arc<Service>,
    dir: &Path,
    ports: Ports,
    options: ServerOptions,
) -> Result<Running, ServeError> {
    let clock = {
        let service = service.clone();
        Arc::new(move || service.now_s())
    };
    let tls = RustlsConfig::from_config(ca::server_config(dir, clock, options.certificate_life)?);
    let pages_runtime = runtime("pages", 2, PAGE_THREADS)?;
    let device_runtime = runtime("devices", 1, DEVICE_THREADS)?;
    let desk = Arc::new(Desk::new(service.keys.maker_public()));
    let guard = pages_runtime.enter();
    let (device_api, device_port) = match &options.listen[..] {
        [] => listen_here(ports.tls)?,
        addresses => listen_at(addresses, ports.tls)?,
    };
    let (plain, pages_port) = listen_here(ports.pages)?;
    let ops = options.ops.map(listen_here).transpose()?;
    let state = |https, port| AppState {
        service: service.clone(),
        desk: desk.clone(),
        neighbour: options.neighbour.clone(),
        photos: options.photos.clone(),
        devices: device_runtime.handle().clone(),
        site: match &options.public_origin {
            Some(origin) => Site::public(origin.clone(), options.proxies.clone()),
            None => Site::local(https, port),
        },
    };
    let limits = options.limits;
    let admission = || {
        let refused = service.metrics.connections_refused.clone();
        // Through a proxy come many.
        let proxies = options.proxies.clone();
        Admission::new(limits, refused, move |from| proxies.are_at(from))
    };
    let mut servers = Servers::new(&pages_runtime, limits);
    let all = pages_and_device_api(state(true, device_port));
    servers.serve(device_api, Some(tls), admission(), all)?;
    servers.serve(plain, None, admission(), pages(state(false, pages_port)))?;
    let mut ops_port = None;
    if let Some((listeners, port)) = ops {
        ops_port = Some(port);
        let routes = admin_api::router(service.clone());
        servers.serve(listeners, None, admission(), routes)?;
    }
    let watched = Arc::downgrade(&service);
    pages_runtime.spawn(watch_database_clock(watched));
    pages_runtime.spawn(keep_house(Arc::downgrade(&service)));
    drop(guard);
    let mut drains = Vec::new();
    if let Some(broker) = options.broker {
        service.store.use_outbox(Outbox::Orders, true)?;
        drains.push(mqtt::start(service.clone(), broker).map_err(ServeError::System)?);
    }
    if let Some(receiver) = options.receiver {
        service.store.use_outbox(Outbox::Events, true)?;
        drains.push(push::start(service.clone(), receiver).map_err(ServeError::Receiver)?);
    }
    Ok(Running {
        service,
        desk,
        device_port,
        pages_port,
        ops_port,
        servers,
        drains,
        runtimes: Some([pages_runtime, device_runtime]),
    })
}

/// A runtime whose blocking work has at most so many threads.
pub(crate) fn runtime(name: &str, workers: usize, threads: usize) -> Result<Runtime, ServeError> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name(name)
        .worker_threads(workers)
        .max_blocking_threads(threads)
        .enable_all()
        .build()
        .map_err(ServeError::System)
}

/// Servers that start and end together.
pub(crate) struct Servers {
    runtime: tokio::runtime::Handle,
    limits: Limits,
    handles: Vec<Handle<SocketAddr>>,
    running: Vec<JoinHandle<()>>,
}

impl Servers {
    /// None yet. They will run on `runtime`.
    pub(crate) fn new(runtime: &Runtime, limits: Limits) -> Servers {
        Servers {
            runtime: runtime.handle().clone(),
            limits,
            handles: Vec::new(),
            running: Vec::new(),
        }
    }

    /// Serves `routes` at each of `listeners`. The caller is inside the runtime.
    pub(crate) fn serve(
        &mut self,
        listeners: Vec<TcpListener>,
        tls: Option<RustlsConfig>,
        admission: Admission,
        routes: Router,
    ) -> Result<(), ServeError> {
        let limits = self.limits;
        let routes = routes
            .layer(from_fn_with_state(limits.body, connections::bodies_in_time))
            .into_make_service_with_connect_info::<SocketAddr>();
        for listener in listeners {
            let (handle, routes) = (Handle::new(), routes.clone());
            let mut server = axum_server::from_tcp(listener)
                .map_err(ServeError::System)?
                .handle(handle.clone())
                .first_request_timeout(limits.first_request)
                .http1_only();
            server
                .http_builder()
                .http1()
                .header_read_timeout(limits.next_request)
                .max_buf_size(connections::MAX_HEAD);
            let admission = admission.clone();
            let running = match tls.clone() {
                Some(tls) => {
                    let tls = RustlsAcceptor::new(tls)
                        .handshake_timeout(limits.handshake)
                        .acceptor(admission);
                    let server = server.acceptor(tls);
                    self.runtime
                        .spawn(async move { report(server.serve(routes).await) })
                }
                None => {
                    let server = server.acceptor(admission);
                    self.runtime
                        .spawn(async move { report(server.serve(routes).await) })
                }
            };
            self.handles.push(handle);
            self.running.push(running);
        }
        Ok(())
    }

    /// Takes no more connections, and waits until answers under way are finished, for
    /// `grace` at most. The caller is outside the runtime.
    pub(crate) fn end(&mut self, grace: Duration) {
        for h in &self.handles {
            h.graceful_shutdown(Some(grace));
        }
        let running = std::mem::take(&mut self.running);
        self.runtime.block_on(async {
            for server in running {
                let ended = tokio::time::timeout(grace + Duration::from_secs(1), server);
                match ended.await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => tracing::error!(error = %e, "a server did not end well"),
                    Err(_) => tracing::warn!("answers under way were cut off at the stop"),
                }
            }
        });
    }
}

/// Compares the database's clock with this machine's, now and then.
async fn watch_database_clock(service: Weak<Service>) {
    loop {
        let Some(service) = service.upgrade() else {
            return;
        };
        service.read_lists_again();
        // A database that is away is logged by the requests that need it; a
        // fault of this program is logged nowhere else.
        if let Err(e) = blocking(move || service.check_clock()).await
            && e.internal()
        {
            tracing::error!(error = %e, "the clocks were not compared");
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}

/// Deletes what is over and old, now and every hour; shortens the revocation log,
/// now and every day.
async fn keep_house(service: Weak<Service>) {
    for hour in 0u32.. {
        let Some(service) = service.upgrade() else {
            return;
        };
        let kept = blocking(move || {
            if hour.is_multiple_of(PURGES_A_DAY) {
                service.shorten_revocations()?;
            }
            // What a rotation that was cut off has left.
            service.sign_waiting_again()?;
            service.purge()
        });
        if let Err(e) = kept.await {
            tracing::error!(error = %e, "old rows were not deleted; in an hour again");
        }
        tokio::time::sleep(PURGE_EVERY).await;
    }
}

fn report(ended: io::Result<()>) {
    if let Err(e) = ended {
        tracing::error!(error = %e, "the service stopped");
    }
}

/// Listens at this machine's loopback addresses, at one port of both; at that of IPv4
/// alone where there is no IPv6.
pub(crate) fn listen_here(port: u16) -> Result<(Vec<TcpListener>, u16), ServeError> {
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    match listen_at(&[v4, v6], port) {
        Err(ServeError::Port(_, e))
            if matches!(
                e.kind(),
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
            ) || e.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            listen_at(&[v4], port)
        }
        done => done,
    }
}

/// How often another free port is tried where one is free at some addresses alone.
const FREE_PORT_TRIES: u32 = 16;

/// Listens at each of these addresses, at one port of all.
fn listen_at(addresses: &[IpAddr], port: u16) -> Result<(Vec<TcpListener>, u16), ServeError> {
    let once = || {
        let (mut at, mut listeners) = (port, Vec::new());
        for address in addresses {
            let listener = open(*address, at)?;
            at = listener.local_addr().map_err(ServeError::System)?.port();
            listeners.push(listener);
        }
        Ok((listeners, at))
    };
    let mut tries = 1;
    loop {
        match once() {
            Err(ServeError::PortInUse(_)) if port == 0 && tries < FREE_PORT_TRIES => tries += 1,
            done => return done,
        }
    }
}

fn open(address: IpAddr, port: u16) -> Result<TcpListener, ServeError> {
    let at = SocketAddr::new(address, port);
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        if address.is_ipv6() {
            // IPv4 has a socket of its own.
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse(port),
        _ => ServeError::Port(port, e),
    })
}

impl Running {
    /// The address of the pages for a browser on this machine.
    pub fn pages_url(&self) -> String {
        format!("http://localhost:{}/", self.pages_port)
    }

    /// Where devices call.
    pub fn device_url(&self) -> String {
        format!("https://localhost:{}", self.device_port)
    }

    /// Waits for Ctrl-C or `SIGTERM`.
    pub fn wait_for_the_end(&self) {
        if let Some([pages, _]) = &self.runtimes {
            pages.block_on(told_to_end());
        }
    }
}

/// Returns after Ctrl-C or `SIGTERM`.
pub(crate) async fn told_to_end() {
    let mut term = match signal(SignalKind::terminate()) {
        Ok(term) => term,
        Err(_) => return drop(tokio::signal::ctrl_c().await),
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service.stop_waiting();
        self.drains.clear();
        self.servers.end(GRACE);
        if let Some([pages, devices]) = self.runtimes.take() {
            pages.shutdown_timeout(Duration::from_secs(1));
            devices.shutdown_timeout(Duration::from_secs(1));
        }
    }
}
