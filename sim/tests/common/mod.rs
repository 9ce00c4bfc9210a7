//! What the process tests share.
#![allow(dead_code, reason = "each test program uses its part of it")]

pub(crate) mod axe;
pub(crate) mod chromium;
pub(crate) mod code;
pub(crate) mod photos;
pub(crate) mod pki;
pub(crate) mod stage;

use chromium::Driver;
use image::{ExtendedColorType, ImageEncoder as _};
use nrd_sim::base::sample::Samples;
use nrd_sim::demo::{Browser, Child};
use nrd_sim::service::desk::photo::PhotoReader;
use nrd_sim::service::server::{Ports, Running, ServerOptions, start_with};
use nrd_sim::service::{Service, Settings};
use nrd_sim::world::room::RoomSite;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    /// Where a living room may be put.
    pub(crate) room: Arc<RoomSite>,
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
        let room = Arc::new(RoomSite::default());
        let options = ServerOptions {
            neighbour: Some(room.clone()),
            photos: PhotoReader::with(EXE.into()),
            ..ServerOptions::default()
        };
        let running = start_with(service, &home, ports, options).unwrap();
        World { dir, running, room }
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

/// Says that `what` was not run for want of `tool`.
pub(crate) fn skip(tool: &str, what: &str) {
    assert!(
        std::env::var_os("NRD_REQUIRE_ALL").is_none(),
        "{tool} is required, but missing"
    );
    println!("SKIPPED: no {tool} here; {what} was NOT run");
}

/// Types the code on the device's screen, and allows it.
pub(crate) fn activate(tv: &mut Child, browser: &Browser) {
    let code = tv.wait("code", |_| true).unwrap();
    let code = code["code"].as_str().unwrap().to_owned();
    browser
        .activate(&code, "Virtual set-top box", true)
        .unwrap();
    tv.wait_state("active").unwrap();
}

/// The page that asks whether to remove the one device that can be removed.
pub(crate) fn removal(browser: &Browser) -> String {
    let entry = browser.entry("/remove\"").unwrap();
    let ask = entry
        .split("href=\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|href| href.ends_with("/remove"));
    ask.unwrap().to_owned()
}

/// Clicks "remove" on it.
pub(crate) fn click_remove(browser: &Browser) {
    let ask = removal(browser);
    assert_eq!(browser.submit(&ask, &ask, &[]).unwrap().status, 200);
}

/// Waits until `seen`, a minute at most.
pub(crate) fn eventually(what: &str, mut seen: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !seen() {
        assert!(Instant::now() < until, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(50));
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

/// A grey wall without a code.
pub(crate) fn png(width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
    let mut file = Vec::new();
    let bytes = width as usize * height as usize * usize::from(colour.bits_per_pixel()) / 8;
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(&vec![0x55; bytes], width, height, colour)
        .unwrap();
    file
}
