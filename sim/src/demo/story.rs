//! What happens, step by step.

use super::browser::link;
use super::{Browser, Child, DemoReport, Step, WipeFigures};
use nrd_sim_base::sample::{Sample, Samples};
use nrd_sim_base::{hex, unhex};
use nrd_sim_forensics::inspect::{Image, Search, Secret, inspect};
use nrd_sim_forensics::verify::verify;
use nrd_sim_hw::Made;
use nrd_sim_service::desk::photo::PhotoReader;
use nrd_sim_service::server::{Ports, Running, ServerOptions, start_with};
use nrd_sim_service::{Service, Settings};
use nrd_sim_world::room::RoomSite;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the story is told.
pub struct Options {
    /// The program that is also every device.
    pub exe: PathBuf,
    /// Where everything is kept.
    pub dir: PathBuf,
    /// Feeds the devices' random generators.
    pub seed: u64,
    /// Where to listen.
    pub ports: Ports,
}

/// What stays up after the story.
pub struct Stage {
    /// The service.
    pub running: Running,
    /// The devices.
    pub devices: Vec<Child>,
    /// Where a living room may be put.
    pub room: Arc<RoomSite>,
}

type Seen = Result<String, String>;

/// The story under way.
struct Story<'t> {
    options: &'t Options,
    report: DemoReport,
    running: Running,
    stb: Child,
    console: Child,
    computer: Child,
    alexandra: Sample,
    bilal: Sample,
    first: Browser,
    second: Browser,
    /// The box's image just before the wipe.
    image_before: Vec<u8>,
    /// The order that removed the console.
    order: Vec<u8>,
    tell: &'t mut dyn FnMut(&Step),
}

/// Tells the story; `tell` hears of each step as it is done. An error means
/// that it could not begin.
pub fn run(options: &Options, tell: &mut dyn FnMut(&Step)) -> Result<(DemoReport, Stage), String> {
    let samples = Samples::read(None).map_err(|e| e.to_string())?;
    let [alexandra, bilal] = match samples.accounts.as_slice() {
        [a, b, ..] => [a.clone(), b.clone()],
        _ => return Err("two sample accounts are needed".to_owned()),
    };
    let service_dir = options.dir.join("service");
    // Devices of the living room look in often; the story's own ones wait.
    let settings = Settings {
        check_in_s: 2,
        ..Settings::default()
    };
    let service = Service::open(&service_dir, settings).map_err(|e| e.to_string())?;
    service.add_samples(&samples).map_err(|e| e.to_string())?;
    let room = Arc::new(RoomSite::default());
    let server_options = ServerOptions {
        neighbour: Some(room.clone()),
        photos: PhotoReader::with(options.exe.clone()),
        ..ServerOptions::default()
    };
    let running = start_with(service, &service_dir, options.ports, server_options)
        .map_err(|e| e.to_string())?;
    let ca = service_dir.join("ca.pem");
    let device = |name: &str, kind: &str, n: u64| {
        let dir = options.dir.join(name);
        let seed = options.seed.wrapping_mul(1000).wrapping_add(100 * n);
        Child::new(&options.exe, &dir, &running.device_url(), &ca, kind, seed)
    };
    let pages = running.pages_url();
    let mut story = Story {
        stb: device("set-top-box", "stb", 1),
        console: device("console", "console", 2),
        computer: device("computer", "computer", 3),
        report: DemoReport {
            seed: options.seed,
            ..DemoReport::default()
        },
        first: Browser::new(&pages),
        second: Browser::new(&pages),
        running,
        options,
        alexandra,
        bilal,
        image_before: Vec::new(),
        order: Vec::new(),
        tell,
    };
    for (name, act) in STEPS {
        let seen = act(&mut story);
        let ok = seen.is_ok();
        let step = Step {
            name,
            ok,
            seen: seen.unwrap_or_else(|e| e),
        };
        (story.tell)(&step);
        story.report.steps.push(step);
        // What comes after builds on it.
        if !ok {
            break;
        }
    }
    let stage = Stage {
        running: story.running,
        devices: vec![story.stb, story.console, story.computer],
        room,
    };
    Ok((story.report, stage))
}

type StoryAct = fn(&mut Story<'_>) -> Seen;

const STEPS: [(&str, StoryAct); 14] = [
    ("signed in with \"Remember me on this computer\"", |s| {
        s.first
            .sign_in(&s.alexandra.email, &s.alexandra.password, true)?;
        s.second.sign_in(&s.bilal.email, &s.bilal.password, false)?;
        Ok(format!(
            "{} is at home on the account pages",
            s.alexandra.name
        ))
    }),
    ("set-top box activated by code", |s| {
        activate(&mut s.stb, &s.first, "Virtual set-top box", true)
    }),
    ("game console activated by code", |s| {
        activate(&mut s.console, &s.first, "Virtual game console", true)
    }),
    ("computer activated, box unticked", |s| {
        activate(&mut s.computer, &s.first, "Virtual computer", false)
    }),
    ("account data cached, sealed", |s| {
        let mut bytes = 0;
        for device in [&mut s.stb, &mut s.console, &mut s.computer] {
            bytes += device.wait("cached", |_| true)?["bytes"]
                .as_u64()
                .unwrap_or(0);
        }
        Ok(format!("{bytes} bytes on three devices"))
    }),
    ("power pulled, account holder recognised", |s| {
        s.power_cycle()
    }),
    ("the visit on the computer ended with its power", |s| {
        s.computer.pull_the_plug();
        s.computer.start(true)?;
        s.computer.wait_state("clean")?;
        s.first.wait_state("Virtual computer", "Proven wiped")?;
        Ok("nothing outlived the power; the page has the proof".to_owned())
    }),
    ("token renewed although the answer was lost", |s| s.renew()),
    ("flash examined with the root key, before", |s| {
        s.image_before = s.stb.flash()?;
        let (readable, plain) = examine(s, &s.image_before, &[])?;
        s.report.account_bytes_readable_before_wipe = readable;
        s.report.plaintext_hits += plain;
        let seen = format!("{readable} account bytes readable, {plain} in plain");
        held(readable > 0 && plain == 0, seen)
    }),
    ("removed on the account page, wiped, proven", |s| s.remove()),
    ("receipt verified offline", |s| s.receipt()),
    ("flash examined with the root key, after", |s| {
        let size = Made::read(&s.stb.dir)
            .map_err(|e| e.to_string())?
            .erase_size as usize;
        // The adversary has even kept the old key slots.
        let old: Vec<Vec<u8>> = s
            .image_before
            .chunks(size)
            .take(2)
            .map(<[u8]>::to_vec)
            .collect();
        let (readable, plain) = examine(s, &s.stb.flash()?, &old)?;
        s.report.account_bytes_readable_after_wipe = readable;
        s.report.plaintext_hits += plain;
        let seen = format!("{readable} account bytes readable, {plain} in plain");
        held(readable == 0 && plain == 0, seen)
    }),
    (
        "console removed on the page while offline, then wiped by hand",
        |s| s.by_hand(),
    ),
    (
        "the order arrives late and does nothing to the next owner",
        |s| s.late_order(),
    ),
];

fn activate(device: &mut Child, browser: &Browser, model: &str, remember: bool) -> Seen {
    device.start(false)?;
    let shown = device.wait("code", |_| true)?;
    let code = shown["code"].as_str().unwrap_or_default().to_owned();
    browser.activate(&code, model, remember)?;
    let active = device.wait_state("active")?;
    browser.wait_state(model, "Active")?;
    let name = active["name"].as_str().unwrap_or_default();
    let picture = shown["pictogram"].as_str().unwrap_or_default();
    Ok(format!("{code}, {picture}: welcome, {name}"))
}

/// What image and root key give away: account bytes, and texts in plain.
fn examine(s: &Story<'_>, cells: &[u8], slots: &[Vec<u8>]) -> Result<(usize, usize), String> {
    let made = Made::read(&s.stb.dir).map_err(|e| e.to_string())?;
    let root = std::fs::read_to_string(s.stb.dir.join("root.key")).map_err(|e| e.to_string())?;
    let search = Search {
        root: unhex(&root),
        epochs: (0..8).collect(),
        slots: slots.to_vec(),
        secrets: s.alexandra.secrets().into_iter().map(Secret::new).collect(),
        keys: Vec::new(),
        deep: false,
    };
    let image = Image {
        cells,
        geometry: made.chip().geometry,
    };
    let report = inspect(&image, &search).map_err(|e| format!("{e:?}"))?;
    Ok((report.readable_bytes, report.plaintext_hits.len()))
}

impl Story<'_> {
    fn power_cycle(&mut self) -> Seen {
        for device in [&mut self.stb, &mut self.console] {
            device.pull_the_plug();
            device.start(false)?;
            let shown = device.wait_state("active")?;
            if shown["name"] != self.alexandra.name.as_str() {
                return Err("the device does not know its account holder".to_owned());
            }
        }
        self.report.restored_after_power_cycle = true;
        Ok(format!(
            "welcome back, {}: no password retyped",
            self.alexandra.name
        ))
    }

    fn renew(&mut self) -> Seen {
        let day = "advance 90000";
        self.stb.type_line("lose-answers 2")?;
        self.stb.type_line(day)?;
        self.stb.wait("failed", |_| true)?;
        let first = self.stb.wait("renewed", |_| true)?["generation"].clone();
        // The successor is used by the renewal after it.
        self.stb.type_line(day)?;
        let second = self.stb.wait("renewed", |_| true)?["generation"].clone();
        let entry = self.first.entry("Virtual set-top box")?;
        let ok = second.as_u64() > first.as_u64() && entry.contains("<strong>Active</strong>");
        self.report.renewed_after_lost_answer = ok;
        let seen = format!("token generation {first}, then {second}; never read as theft");
        held(ok, seen)
    }

    fn remove(&mut self) -> Seen {
        let entry = self.first.entry("Virtual set-top box")?;
        let ask = link(&entry, "/remove")
            .ok_or("the entry has no Remove")?
            .to_owned();
        let page = self.first.submit(&ask, &ask, &[])?;
        if page.status != 200 {
            return Err(format!("the form was refused with status {}", page.status));
        }
        let wiped = self.stb.wait("wiped", |_| true)?;
        let figure = |name: &str| wiped["cost"][name].clone();
        self.report.wipe = WipeFigures {
            flash_ops_to_key_death: figure("flash_ops_to_key_death").as_u64().unwrap_or(0),
            modelled_ms_to_key_death: figure("modelled_ms_to_key_death").as_f64().unwrap_or(0.0),
            modelled_ms_total: figure("modelled_ms_total").as_f64().unwrap_or(0.0),
            sectors_erased: figure("sectors_erased").as_u64().unwrap_or(0),
        };
        self.first
            .wait_state("Virtual set-top box", "Proven wiped")?;
        let w = &self.report.wipe;
        Ok(format!(
            "keys dead after {} operations ({:.1} ms modelled), {} sectors in {:.0} ms modelled",
            w.flash_ops_to_key_death,
            w.modelled_ms_to_key_death,
            w.sectors_erased,
            w.modelled_ms_total
        ))
    }

    fn receipt(&mut self) -> Seen {
        let entry = self.first.entry("Virtual set-top box")?;
        let page = link(&entry, "/receipt").ok_or("the entry has no receipt")?;
        let frame = self.first.get(&format!("{page}.bin"))?.bytes;
        let path = self.options.dir.join("receipt.bin");
        std::fs::write(&path, &frame).map_err(|e| e.to_string())?;
        let maker = read_key(&self.options.dir.join("service/maker-root.pub"))?;
        let v = verify(&frame, &maker, None).map_err(|e| e.to_string())?;
        self.report.receipt_verified = v.clean;
        Ok(format!(
            "{}: {}, {} of {} sectors",
            v.device_id,
            v.method.name(),
            v.erased,
            v.sectors
        ))
    }

    fn by_hand(&mut self) -> Seen {
        const MODEL: &str = "Virtual game console";
        self.console.type_line("network off")?;
        let entry = self.first.entry(MODEL)?;
        let ask = link(&entry, "/remove")
            .ok_or("the entry has no Remove")?
            .to_owned();
        self.first.submit(&ask, &ask, &[])?;
        self.first.wait_state(MODEL, "Removal ordered")?;
        self.order = self.order_behind(&ask)?;
        self.console.open_menu()?;
        self.console.type_line("deactivate yes")?;
        self.console.wait("wiped", |_| true)?;
        self.console.wait("boot", |_| true)?;
        self.console.type_line("network on")?;
        self.first.wait_state(MODEL, "Proven wiped")?;
        Ok("wiped without a network; its receipt arrived when the plug was back".to_owned())
    }

    fn late_order(&mut self) -> Seen {
        const MODEL: &str = "Virtual game console";
        self.console.type_line("activate")?;
        let shown = self.console.wait("code", |_| true)?;
        let code = shown["code"].as_str().unwrap_or_default().to_owned();
        self.second.activate(&code, MODEL, true)?;
        let next = self.bilal.name.as_str();
        self.console
            .wait("state", |v| v["state"] == "active" && v["name"] == next)?;
        self.console
            .type_line(&format!("order {}", hex(&self.order)))?;
        let answer = self.console.wait("order", |_| true)?;
        self.second.wait_state(MODEL, "Active")?;
        self.report.late_order_refused = answer["result"] == "not applicable";
        let seen = format!(
            "{next} owns it now; it answers \"{}\" and goes on",
            answer["result"].as_str().unwrap_or("?")
        );
        held(self.report.late_order_refused, seen)
    }

    /// The order that was entered by a page's form.
    fn order_behind(&self, form: &str) -> Result<Vec<u8>, String> {
        let id = form
            .split('/')
            .nth(3)
            .and_then(unhex::<16>)
            .ok_or("the link names no activation")?;
        let orders = self.running.service.store.orders(&id);
        let orders = orders.map_err(|e| e.to_string())?;
        Ok(orders.first().ok_or("no order was entered")?.frame.clone())
    }
}

/// What was seen, as good or bad.
fn held(ok: bool, seen: String) -> Seen {
    if ok { Ok(seen) } else { Err(seen) }
}

fn read_key(path: &Path) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    unhex(&text).ok_or_else(|| format!("{}: no key", path.display()))
}
