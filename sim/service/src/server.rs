//! Runs the reference service: the device API and the pages over TLS 1.3,
//! and the pages alone over plain HTTP, for this machine only.

use crate::Service;
use crate::admin_api;
use crate::ca::{self, LeafLife};
use crate::connections::{self, Admission, Limits};
use crate::desk::Desk;
use crate::desk::photo::PhotoReader;
use crate::outbox::OutboxWorker;
use crate::outbox::mqtt::{self, Broker};
use crate::outbox::push::{self, Receiver};
use crate::pages::{AppState, Neighbour, pages, pages_and_device_api};
use crate::store::Outbox;
use crate::worker::blocking;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
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
    /// Devices beside the desk, with pages of their own.
    pub neighbour: Option<Arc<dyn Neighbour>>,
    /// What reads photos of codes at the desk.
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
}

/// A running service. Dropping it stops it: waiting devices are answered, and
/// requests under way are finished.
pub struct Running {
    /// The service itself.
    pub service: Arc<Service>,
    /// The returns desk beside it.
    pub desk: Arc<Desk>,
    /// Where devices call.
    pub device_port: u16,
    /// Where a browser on this machine looks.
    pub pages_port: u16,
    /// Where an operator's tools ask.
    pub ops_port: Option<u16>,
    handles: Vec<Handle<SocketAddr>>,
    servers: Vec<JoinHandle<()>>,
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
    let (device_api, device_port) = listen(ports.tls)?;
    let (plain, pages_port) = listen(ports.pages)?;
    let ops = options.ops.map(listen).transpose()?;
    let state = |tls| AppState {
        service: service.clone(),
        desk: desk.clone(),
        neighbour: options.neighbour.clone(),
        photos: options.photos.clone(),
        devices: device_runtime.handle().clone(),
        tls,
    };
    let handles: Vec<_> = (0..3).map(|_| Handle::new()).collect();
    let limits = options.limits;
    let admission = || {
        let refused = service.metrics.connections_refused.clone();
        Admission::new(limits, refused, |_| false)
    };
    let over_tls = RustlsAcceptor::new(tls)
        .handshake_timeout(limits.handshake)
        .acceptor(admission());
    let device_api = http(device_api, &handles[0], limits)?.acceptor(over_tls);
    let plain = http(plain, &handles[1], limits)?.acceptor(admission());
    let all = within(limits, pages_and_device_api(state(true)))
        .into_make_service_with_connect_info::<SocketAddr>();
    let pages_alone =
        within(limits, pages(state(false))).into_make_service_with_connect_info::<SocketAddr>();
    let mut servers = vec![
        pages_runtime.spawn(async move { report(device_api.serve(all).await) }),
        pages_runtime.spawn(async move { report(plain.serve(pages_alone).await) }),
    ];
    let mut ops_port = None;
    if let Some((listener, port)) = ops {
        ops_port = Some(port);
        let router = within(limits, admin_api::router(service.clone())).into_make_service();
        let server = http(listener, &handles[2], limits)?.acceptor(admission());
        servers.push(pages_runtime.spawn(async move { report(server.serve(router).await) }));
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
        handles,
        servers,
        drains,
        runtimes: Some([pages_runtime, device_runtime]),
    })
}

/// A runtime whose blocking work has at most so many threads.
fn runtime(name: &str, workers: usize, threads: usize) -> Result<Runtime, ServeError> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name(name)
        .worker_threads(workers)
        .max_blocking_threads(threads)
        .enable_all()
        .build()
        .map_err(ServeError::System)
}

/// A server on `listener` that waits no longer for a request than `limits` say.
fn http(
    listener: TcpListener,
    handle: &Handle<SocketAddr>,
    limits: Limits,
) -> Result<Server<SocketAddr>, ServeError> {
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
    Ok(server)
}

/// Routes whose requests have bodies that come in time.
fn within(limits: Limits, routes: Router) -> Router {
    routes.layer(from_fn_with_state(limits.body, connections::bodies_in_time))
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
            service.purge()
        });
        if let Err(e) = kept.await {
            tracing::error!(error = %e, "old rows were not deleted; in an hour again");
        }
        tokio::time::sleep(PURGE_EVERY).await;
    }
}

pub(crate) fn report(ended: io::Result<()>) {
    if let Err(e) = ended {
        tracing::error!(error = %e, "the service stopped");
    }
}

pub(crate) fn listen(port: u16) -> Result<(TcpListener, u16), ServeError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let listener = open().map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse(port),
        _ => ServeError::Port(port, e),
    })?;
    let port = listener.local_addr().map_err(ServeError::System)?.port();
    Ok((listener, port))
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
        let Some([pages, _]) = &self.runtimes else {
            return;
        };
        pages.block_on(async {
            let mut term = match signal(SignalKind::terminate()) {
                Ok(term) => term,
                Err(_) => return drop(tokio::signal::ctrl_c().await),
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service.stop_waiting();
        self.drains.clear();
        for h in &self.handles {
            h.graceful_shutdown(Some(GRACE));
        }
        if let Some([pages, devices]) = self.runtimes.take() {
            let servers = std::mem::take(&mut self.servers);
            pages.block_on(async {
                for server in servers {
                    let ended = tokio::time::timeout(GRACE + Duration::from_secs(1), server);
                    match ended.await {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => tracing::error!(error = %e, "a server did not end well"),
                        Err(_) => tracing::warn!("answers under way were cut off at the stop"),
                    }
                }
            });
            pages.shutdown_timeout(Duration::from_secs(1));
            devices.shutdown_timeout(Duration::from_secs(1));
        }
    }
}
