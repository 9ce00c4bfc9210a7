//! Runs a desk by itself, as a shop would.

use super::Desk;
use super::photo::PhotoReader;
use crate::pages::{DeskState, desk_alone};
use crate::server::{ServeError, listen, report};
use axum_server::Handle;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long answers under way may take when the desk stops.
const GRACE: Duration = Duration::from_secs(1);

/// A desk that runs without a service. Dropping it stops it.
pub struct RunningDesk {
    /// Where a browser on this machine looks.
    pub port: u16,
    handle: Handle<SocketAddr>,
    runtime: Option<Runtime>,
}

/// Starts a desk on plain HTTP, for this machine only; port 0 takes any.
pub fn serve(desk: Arc<Desk>, photos: PhotoReader, port: u16) -> Result<RunningDesk, ServeError> {
    let (listener, port) = listen(port)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(ServeError::System)?;
    let handle = Handle::new();
    let guard = runtime.enter();
    let server = axum_server::from_tcp(listener)
        .map_err(ServeError::System)?
        .handle(handle.clone());
    let pages = desk_alone(DeskState::on_system_time(desk, photos)).into_make_service();
    runtime.spawn(async move { report(server.serve(pages).await) });
    drop(guard);
    Ok(RunningDesk {
        port,
        handle,
        runtime: Some(runtime),
    })
}

impl RunningDesk {
    /// Waits until the person presses Ctrl-C.
    pub fn wait_for_ctrl_c(&self) {
        if let Some(runtime) = &self.runtime
            && let Err(e) = runtime.block_on(tokio::signal::ctrl_c())
        {
            tracing::error!(error = %e, "Ctrl-C is not heard: the desk stops now");
        }
    }
}

impl Drop for RunningDesk {
    fn drop(&mut self) {
        self.handle.graceful_shutdown(Some(GRACE));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(GRACE * 2);
        }
    }
}
