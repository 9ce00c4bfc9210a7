//! Runs the reference service: the device's door and the pages over TLS 1.3,
//! and the pages alone over plain HTTP, for this machine only.

use crate::desk::Desk;
use crate::room::Room;
use crate::service::{Service, ca};
use crate::web::{Site, pages, whole};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;

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
    Service(crate::service::Error),
    /// The system gives no threads or sockets.
    System(io::Error),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ServeError::PortInUse(port) => write!(f, "port {port} is in use by another program"),
            ServeError::Port(port, e) => write!(f, "port {port} cannot be opened: {e}"),
            ServeError::Service(e) => e.fmt(f),
            ServeError::System(e) => write!(f, "the system gives no threads or sockets: {e}"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<crate::service::Error> for ServeError {
    fn from(e: crate::service::Error) -> Self {
        ServeError::Service(e)
    }
}

/// A running service. Dropping it stops it.
pub struct Running {
    /// The service itself.
    pub service: Arc<Service>,
    /// The returns desk beside it.
    pub desk: Arc<Desk>,
    /// Where a living room may be put.
    pub room: Arc<OnceLock<Arc<Room>>>,
    /// Where devices call.
    pub device_port: u16,
    /// Where a browser on this machine looks.
    pub pages_port: u16,
    handles: [Handle<SocketAddr>; 2],
    runtime: Option<Runtime>,
}

/// How long answers under way may take when the service stops.
const GRACE: Duration = Duration::from_secs(2);

/// Starts `service`, whose certificate authority lives in `dir`.
pub fn start(service: Arc<Service>, dir: &Path, ports: Ports) -> Result<Running, ServeError> {
    let tls = RustlsConfig::from_config(ca::server_config(dir)?);
    let (door, device_port) = listen(ports.tls)?;
    let (plain, pages_port) = listen(ports.pages)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(ServeError::System)?;
    let handles = [Handle::new(), Handle::new()];
    let desk = Arc::new(Desk::new(service.keys.maker_public()));
    let room = Arc::new(OnceLock::new());
    let site = |tls| Site {
        service: service.clone(),
        desk: desk.clone(),
        room: room.clone(),
        tls,
    };
    let over_tls = whole(site(true)).into_make_service_with_connect_info::<SocketAddr>();
    let in_plain = pages(site(false)).into_make_service_with_connect_info::<SocketAddr>();
    let guard = runtime.enter();
    let door = axum_server::from_tcp_rustls(door, tls)
        .map_err(ServeError::System)?
        .handle(handles[0].clone());
    let plain = axum_server::from_tcp(plain)
        .map_err(ServeError::System)?
        .handle(handles[1].clone());
    runtime.spawn(async move { report(door.serve(over_tls).await) });
    runtime.spawn(async move { report(plain.serve(in_plain).await) });
    drop(guard);
    Ok(Running {
        service,
        desk,
        room,
        device_port,
        pages_port,
        handles,
        runtime: Some(runtime),
    })
}

pub(crate) fn report(ended: io::Result<()>) {
    if let Err(e) = ended {
        eprintln!("error: the service stopped: {e}");
    }
}

pub(crate) fn listen(port: u16) -> Result<(TcpListener, u16), ServeError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse(port),
        _ => ServeError::Port(port, e),
    })?;
    listener.set_nonblocking(true).map_err(ServeError::System)?;
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

    /// Waits until the person presses Ctrl-C.
    pub fn wait_for_ctrl_c(&self) {
        if let Some(runtime) = &self.runtime {
            let _ = runtime.block_on(tokio::signal::ctrl_c());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for h in &self.handles {
            h.graceful_shutdown(Some(GRACE));
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(GRACE + Duration::from_secs(1));
        }
    }
}
