//! From the click on the account page to "proven wiped" on it, with a service
//! process and device processes that are on and wait.

use super::Spread;
use super::process::ServiceProcess;
use crate::demo::{Browser, Child};
use serde::Serialize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What was seen.
#[derive(Debug, Clone, Serialize)]
pub struct RemovalReport {
    /// Removals that ended proven wiped.
    pub removals: usize,
    /// Device processes at once.
    pub devices: usize,
    /// From the click until the page says that the wipe is proven.
    pub removal: Spread,
    /// Modelled flash time of the wipe; the device slept it if `real_time`.
    pub flash: Spread,
    /// Share of the flash in the sum of all removals.
    pub flash_share: f64,
    /// Flash operations took their modelled time.
    pub real_time: bool,
}

pub(super) const PASSWORD: &str = "click after click";

/// Runs `count` removals, `devices` at once, on SQLite.
pub fn run(
    exe: &Path,
    count: usize,
    devices: usize,
    real_time: bool,
    say: impl Fn(&str) + Sync,
) -> Result<RemovalReport, String> {
    let home = tempfile::tempdir().map_err(|e| e.to_string())?;
    let accounts = home.path().join("accounts.toml");
    let people: String = (0..devices).map(person).collect();
    std::fs::write(&accounts, people).map_err(|e| e.to_string())?;
    let dir = home.path().join("service");
    let list = accounts.display().to_string();
    let service = ServiceProcess::start(exe, &dir, &["--accounts", &list])?;
    let seen: Mutex<Vec<(f64, f64)>> = Mutex::default();
    let (left, failed) = (AtomicUsize::new(count), Mutex::new(None));
    std::thread::scope(|scope| {
        for n in 0..devices {
            let (service, seen, left, failed, say) = (&service, &seen, &left, &failed, &say);
            let (home, list) = (home.path(), &list);
            scope.spawn(move || {
                let took = |x| {
                    let mut seen = seen.lock().expect("no panic holds this");
                    seen.push(x);
                    if seen.len().is_multiple_of(100) {
                        say(&format!("{} removals", seen.len()));
                    }
                };
                let ran = one_device(exe, home, list, service, n, real_time, left, took);
                if let Err(e) = ran {
                    left.store(0, Ordering::SeqCst);
                    *failed.lock().expect("no panic holds this") = Some(e);
                }
            });
        }
    });
    if let Some(e) = failed.into_inner().map_err(|e| e.to_string())? {
        return Err(e);
    }
    let seen = seen.into_inner().map_err(|e| e.to_string())?;
    let sum = |f: fn(&(f64, f64)) -> f64| seen.iter().map(f).sum::<f64>();
    Ok(RemovalReport {
        removals: seen.len(),
        devices,
        removal: Spread::of(seen.iter().map(|s| s.0).collect()),
        flash: Spread::of(seen.iter().map(|s| s.1).collect()),
        flash_share: sum(|s| s.1) / sum(|s| s.0).max(f64::MIN_POSITIVE),
        real_time,
    })
}

pub(super) fn person(n: usize) -> String {
    format!(
        "[[account]]\nemail = \"p{n}@example.com\"\npassword = \"{PASSWORD}\"\n\
         name = \"Person {n}\"\nfull_name = \"Person {n}\"\naddress = \"Street {n}\"\n\
         payment = \"Visa 4111 1111 1111 1111\"\ntelephone = \"+1 555 {n}\"\n\
         profiles = [\"One\"]\nactivity = [\"something was watched\"]\n"
    )
}

#[expect(
    clippy::too_many_arguments,
    reason = "called in one place, each argument named there"
)]
fn one_device(
    exe: &Path,
    home: &Path,
    accounts: &str,
    service: &ServiceProcess,
    n: usize,
    real_time: bool,
    left: &AtomicUsize,
    took: impl Fn((f64, f64)),
) -> Result<(), String> {
    let url = format!("https://localhost:{}", service.device_port);
    let ca = home.join("service/ca.pem");
    let dir = home.join(format!("tv-{n}"));
    let mut tv = Child::new(exe, &dir, &url, &ca, "stb", 1000 * n as u64)
        .option("--wait", Some("25"))
        .option("--accounts", Some(accounts));
    if real_time {
        tv = tv.option("--real-time", None);
    }
    let browser = Browser::new(&format!("http://127.0.0.1:{}", service.pages_port));
    browser.sign_in(&format!("p{n}@example.com"), PASSWORD, false)?;
    tv.start(true)?;
    tv.wait_state("clean")?;
    let one_less = |n: usize| n.checked_sub(1);
    while left
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
        .is_ok()
    {
        tv.type_line("activate")?;
        let code = tv.wait("code", |_| true)?;
        let code = code["code"].as_str().ok_or("no code")?.to_owned();
        browser.activate(&code, "Virtual set-top box", true)?;
        tv.wait_state("active")?;
        tv.wait("cached", |_| true)?;
        // It says "still here" once, and then waits.
        std::thread::sleep(Duration::from_millis(400));
        let entry = browser.entry("/remove\"")?;
        let ask = entry
            .split("href=\"")
            .filter_map(|rest| rest.split('"').next())
            .find(|href| href.ends_with("/remove"))
            .ok_or("the entry has no link to remove it")?
            .to_owned();
        let page = browser.get(&ask)?.text();
        let click = Instant::now();
        browser.submit_from(&page, &ask, &[])?;
        while !browser
            .get("/account/devices")?
            .text()
            .contains("Proven wiped")
        {
            if click.elapsed() > Duration::from_secs(60) {
                return Err("the page does not come to say that it is wiped".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let ms = click.elapsed().as_secs_f64() * 1000.0;
        let wiped = tv.wait("wiped", |_| true)?;
        let flash = wiped["cost"]["modelled_ms_total"].as_f64();
        took((ms, flash.ok_or("no cost")?));
        let hide = ask.replace("/remove", "/hide");
        browser.submit("/account/devices", &hide, &[])?;
        tv.wait_state("clean")?;
    }
    Ok(())
}
