//! Runs a desk: a server of its own, with threads, connections and memory of its own.
//! What strangers hand in at it costs the account pages and devices nothing.

use super::Desk;
use super::photo::PhotoReader;
use crate::connections::{Admission, Limits};
use crate::pages::{DeskState, desk_alone};
use crate::server::{ServeError, Servers, listen_here, runtime, told_to_end};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long answers under way may take when the desk stops.
const GRACE: Duration = Duration::from_secs(1);
/// Connections in all; a browser makes six.
const CONNECTIONS: usize = 128;
/// Connections of one address; all browsers of this machine have one.
const CONNECTIONS_PER_ADDRESS: usize = 64;

/// A desk that runs. Dropping it stops it.
pub struct RunningDesk {
    /// Where a browser on this machine looks.
    pub port: u16,
    servers: Servers,
    runtime: Option<Runtime>,
}

/// Starts a desk on plain HTTP, for this machine only; port 0 takes any.
pub fn serve(desk: Arc<Desk>, photos: PhotoReader, port: u16) -> Result<RunningDesk, ServeError> {
    let limits = Limits {
        in_all: CONNECTIONS,
        per_address: CONNECTIONS_PER_ADDRESS,
        ..Limits::default()
    };
    let runtime = runtime("desk", 1, 1)?;
    let guard = runtime.enter();
    let (listeners, port) = listen_here(port)?;
    let mut servers = Servers::new(&runtime, limits);
    let pages = desk_alone(DeskState::on_system_time(desk, photos, port));
    let admission = Admission::new(limits, Default::default(), |_| false);
    servers.serve(listeners, None, admission, pages)?;
    drop(guard);
    Ok(RunningDesk {
        port,
        servers,
        runtime: Some(runtime),
    })
}

impl RunningDesk {
    /// Waits for Ctrl-C or `SIGTERM`.
    pub fn wait_for_the_end(&self) {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(told_to_end());
        }
    }
}

impl Drop for RunningDesk {
    fn drop(&mut self) {
        self.servers.end(GRACE);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(GRACE * 2);
        }
    }
}
