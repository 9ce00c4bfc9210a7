//! What the process tests share.
#![allow(dead_code)]

pub(crate) mod axe;
pub(crate) mod chromium;
pub(crate) mod stage;

use chromium::Driver;
use nrd_sim::demo::Child;
use nrd_sim::serve::{Ports, Running, start};
use nrd_sim::service::sample::Samples;
use nrd_sim::service::{Service, Settings};
use std::path::Path;
use tempfile::TempDir;

/// The program under test; empty in an example, which starts none.
pub(crate) const EXE: &str = match option_env!("CARGO_BIN_EXE_nrd-sim") {
    Some(path) => path,
    None => "",
};

/// A running service with the sample accounts, in a folder of its own.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) running: Running,
}

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("service");
        let settings = Settings {
            poll_s: 1,
            check_in_s: 2,
            ..Settings::default()
        };
        let service = Service::open(&home, settings).unwrap();
        service.add_samples(&Samples::read(None).unwrap()).unwrap();
        let ports = Ports { tls: 0, pages: 0 };
        let running = start(service, &home, ports).unwrap();
        World { dir, running }
    }

    pub(crate) fn ca(&self) -> std::path::PathBuf {
        self.dir.path().join("service/ca.pem")
    }

    /// A device that is not switched on yet.
    pub(crate) fn device(&self, name: &str, kind: &str) -> Child {
        let dir = self.dir.path().join(name);
        let url = self.running.device_url();
        Child::new(Path::new(EXE), &dir, &url, &self.ca(), kind, 1)
    }
}

/// Runs `work` on a runtime of its own, where there is a browser.
pub(crate) fn with_browser(work: impl AsyncFnOnce(&World, &Driver)) {
    let Some(driver) = Driver::start() else {
        return;
    };
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work(&world, &driver));
}
