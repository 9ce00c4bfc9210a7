//! A fleet: many devices, one account for every few of them, a month of use,
//! and then the removal of all.
//!
//! Devices are dealt to shards, each a world with a service of its own, so that
//! the machine's cores can work side by side. The shards do not depend on how
//! many cores there are: the same seed gives the same report.

use super::read::Slot;
use super::{Made, World};
use nrd_agent::wire::DeviceKind;
use nrd_agent::{Class, State};
use nrd_hal::Geometry;
use nrd_sim_base::device_kind;
use nrd_sim_base::sample::Sample;
use nrd_sim_hw::{ChipSpec, SplitMix};
use nrd_sim_service::account::DeviceStatus;
use nrd_sim_service::store::AccountId;
use nrd_sim_service::{Result, Settings};
use serde::Serialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a fleet is.
#[derive(Debug, Clone, Copy)]
pub struct FleetPlan {
    /// Devices.
    pub devices: usize,
    /// Virtual days until everything is removed.
    pub days: u64,
    /// Everything random follows from it.
    pub seed: u64,
    /// Seconds between check-ins.
    pub check_in_s: u32,
    /// Threads.
    pub threads: usize,
}

/// What became of a fleet. The same for the same plan, whatever the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FleetReport {
    /// Devices.
    pub devices: u64,
    /// Virtual days, those after the removal included.
    pub days: u64,
    /// The seed.
    pub seed: u64,
    /// Times that a device was called.
    pub events: u64,
    /// Requests that the service answered.
    pub answered: u64,
    /// Times that a device was switched on.
    pub boots: u64,
    /// Values that were cached or replaced.
    pub updates: u64,
    /// Devices that were removed.
    pub removed: u64,
    /// Of them, those that a receipt proved wiped.
    pub proven_wiped: u64,
    /// Of them, those that the account page shows as waiting: switched off.
    pub pending: u64,
    /// Anything else: must be 0.
    pub wrong: u64,
    /// Seconds from the click until the receipt was there, over those that were
    /// on and in reach; half of them were faster.
    pub p50_s: u64,
    /// Nine of ten were faster.
    pub p90_s: u64,
    /// 99 of 100 were faster.
    pub p99_s: u64,
    /// The slowest.
    pub max_s: u64,
    /// Modelled flash time of a wipe in milliseconds, on average.
    pub wipe_flash_ms: u64,
    /// Bytes of flash of each device.
    pub flash_bytes: u64,
}

/// A small part, so that a large fleet fits into memory: 32 KiB of a
/// microcontroller's own flash.
const CHIP: ChipSpec = ChipSpec {
    geometry: Geometry {
        size: 32 * 1024,
        write_size: 8,
        erase_size: 2048,
        best_erase: 2048,
    },
    can_overwrite: false,
};
/// Devices of a shard: so many a thread are alive at once.
pub const SHARD: usize = 500;
/// Devices of an account.
const HOUSEHOLD: usize = 4;
const DAY_MS: u64 = 86_400_000;
const ADDRESS: &str = "192.0.2.80";
/// What is cached, and how long it is in bytes.
const CACHED: [(Class, usize); 4] = [
    (Class::Email, 24),
    (Class::Payment, 16),
    (Class::Profiles, 120),
    (Class::Activity, 80),
];
/// Days after the removal in which devices that are on must be proven wiped.
const GRACE_DAYS: u64 = 2;

/// Lives `plan`; `progress` hears of finished devices.
///
/// # Errors
/// Where a virtual service cannot be made or does not keep what it must.
pub fn live(plan: &FleetPlan, progress: impl Fn(usize) + Sync) -> Result<FleetReport> {
    let shards: Vec<usize> = (0..plan.devices).step_by(SHARD).collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Shard>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.clamp(1, shards.len().max(1)) {
            scope.spawn(|| {
                while let Some(&first) = shards.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let count = SHARD.min(plan.devices - first);
                    let shard = shard(plan, first, count);
                    progress(count);
                    if let Ok(mut done) = done.lock() {
                        done.push((first, shard));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(first, _)| *first);
    let mut report = FleetReport {
        devices: plan.devices as u64,
        days: plan.days + GRACE_DAYS,
        seed: plan.seed,
        flash_bytes: u64::from(CHIP.geometry.size),
        ..FleetReport::default()
    };
    let mut latencies = Vec::new();
    let mut flash_ns = 0;
    for (_, shard) in done {
        let s = shard?;
        report.events += s.events;
        report.answered += s.answered;
        report.boots += s.boots;
        report.updates += s.updates;
        report.removed += s.removed;
        report.proven_wiped += s.latencies.len() as u64;
        report.pending += s.pending;
        report.wrong += s.wrong;
        flash_ns += s.flash_ns;
        latencies.extend(s.latencies);
    }
    latencies.sort_unstable();
    let at = |share: usize| {
        let n = (latencies.len() * share).div_ceil(100).saturating_sub(1);
        latencies.get(n).copied().unwrap_or(0)
    };
    (report.p50_s, report.p90_s, report.p99_s, report.max_s) = (at(50), at(90), at(99), at(100));
    report.wipe_flash_ms = flash_ns / report.proven_wiped.max(1) / 1_000_000;
    Ok(report)
}

#[derive(Default)]
struct Shard {
    events: u64,
    answered: u64,
    boots: u64,
    updates: u64,
    removed: u64,
    pending: u64,
    wrong: u64,
    latencies: Vec<u64>,
    flash_ns: u64,
}

fn made(n: usize) -> Made {
    let kind = DeviceKind::ALL[n % DeviceKind::ALL.len()];
    Made {
        id: format!("NRD-FLEET-{n:06}"),
        model: format!("Fleet {}", device_kind::name(kind)),
        kind,
        chip: CHIP,
        longest: 256,
        records: 16,
    }
}

fn account(n: usize) -> Sample {
    Sample {
        email: format!("holder{n}@example.com"),
        password: String::new(),
        name: format!("Holder {n}"),
        full_name: format!("Holder {n} Example"),
        address: format!("{n} Fleet Street"),
        payment: "Visa 4111".to_owned(),
        telephone: format!("+1 555 {n}"),
        profiles: vec!["All".to_owned()],
        activity: Vec::new(),
    }
}

/// `count` devices from number `first`, in a world of their own.
fn shard(plan: &FleetPlan, first: usize, count: usize) -> Result<Shard> {
    let mut draws = SplitMix(plan.seed ^ (first as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let settings = Settings {
        check_in_s: plan.check_in_s,
        ..Settings::default()
    };
    let mut world = World::new(draws.draw(), settings)?;
    let mut out = Shard::default();
    let mut accounts: Vec<AccountId> = Vec::new();
    let mut owned: Vec<[u8; 16]> = Vec::new();
    for n in 0..count {
        if n % HOUSEHOLD == 0 {
            let sample = account(first + n);
            accounts.push(world.service.add_account_without_password(&sample)?);
        }
        let device = world.bring(made(first + n));
        world.power_on(device);
        out.boots += 1;
        owned.push(activate(&mut world, device, accounts[n / HOUSEHOLD])?);
        for (class, len) in CACHED {
            out.updates += u64::from(put(&mut world, device, class, len, 0));
        }
    }
    for day in 1..=plan.days {
        // Each has its hour of the day.
        let hours: Vec<u64> = (0..count).map(|_| draws.below(24)).collect();
        for hour in 0..24 {
            for n in (0..count).filter(|n| hours[*n] == hour) {
                use_it(&mut world, n, day as u8, &mut draws, &mut out);
            }
            world.pass(DAY_MS / 24);
        }
    }
    // Nobody clicks when a day begins.
    world.pass(draws.below(DAY_MS));
    remove_all(&mut world, &accounts, &owned, &mut out)?;
    out.events = world.events;
    out.answered = world.devices.iter().map(|d| d.answered).sum();
    Ok(out)
}

/// A device's hour of a day: some are switched off and on, some are put away
/// or taken out again, all that are on cache something new.
fn use_it(world: &mut World, n: usize, fill: u8, draws: &mut SplitMix, out: &mut Shard) {
    match (draws.below(10), world.devices[n].is_on()) {
        (0 | 1, true) => {
            world.power_off(n);
            if draws.below(20) != 0 {
                world.power_on(n);
                out.boots += 1;
            }
        }
        (2..=5, false) => {
            world.power_on(n);
            out.boots += 1;
        }
        _ => {}
    }
    let (class, len) = CACHED[draws.below(4) as usize];
    out.updates += u64::from(put(world, n, class, len, fill));
}

/// Activates a device as its owner would.
fn activate(world: &mut World, n: usize, account: AccountId) -> Result<[u8; 16]> {
    let _ = world.devices[n].with(|agent| agent.start_activation());
    world.call(n);
    let code = world.devices[n].with(|agent| agent.status().code.map(|(c, _)| c.to_string()));
    let code = code.flatten().unwrap_or_default();
    let row = world.service.look_up_code(account, &code);
    let row = row.map_err(|_| nrd_sim_service::Error::NotFound)?;
    let row = world.service.approve(account, &row, 1, true, ADDRESS)?;
    world.pass(3000);
    Ok(row.id)
}

fn put(world: &mut World, n: usize, class: Class, len: usize, fill: u8) -> bool {
    let slot = Slot { class, id: 1 };
    let value = vec![fill; len];
    let put = world.devices[n].with(|agent| agent.put(slot.class, slot.id, &value));
    matches!(put, Some(Ok(())))
}

/// Everybody clicks "remove all"; then time passes, and every device's status
/// is held against what it is.
fn remove_all(
    world: &mut World,
    accounts: &[AccountId],
    owned: &[[u8; 16]],
    out: &mut Shard,
) -> Result<()> {
    let clicked_s = world.time.unix_s();
    let busy: Vec<u64> = world.devices.iter().map(busy_ns).collect();
    let reachable: Vec<bool> = world.devices.iter().map(|d| d.is_on()).collect();
    for &account in accounts {
        out.removed += u64::from(world.service.remove_all(account, ADDRESS)?);
    }
    world.pass(GRACE_DAYS * DAY_MS);
    for (household, &account) in accounts.iter().enumerate() {
        let rows = world.service.devices(account)?;
        let devices = household * HOUSEHOLD..((household + 1) * HOUSEHOLD).min(owned.len());
        for n in devices {
            let row = rows.iter().find(|d| d.row.id == owned[n]);
            let status = row.map(|d| d.status);
            let state = world.devices[n].state();
            match (status, state, reachable[n]) {
                (Some(DeviceStatus::Wiped), Some(State::Clean), true) => {
                    let proven = row.and_then(|d| d.row.wiped).unwrap_or(clicked_s);
                    out.latencies.push(proven.saturating_sub(clicked_s));
                    out.flash_ns += busy_ns(&world.devices[n]) - busy[n];
                }
                (Some(DeviceStatus::Removing), None, false) => out.pending += 1,
                _ => out.wrong += 1,
            }
        }
    }
    Ok(())
}

fn busy_ns(device: &super::Device) -> u64 {
    device.hardware().chip().totals().2
}
