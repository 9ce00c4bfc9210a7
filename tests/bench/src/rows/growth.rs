//! How costs grow: with records, sectors, devices, undelivered receipts.

use super::Context;
use super::death::part;
use crate::plot::{self, Curve};
use crate::report::{Row, Section};
use nrd_sim::base::sample::Samples;
use nrd_sim::device::{exchange, settle, talk};
use nrd_sim::service::Keys;
use nrd_sim::service::Service;
use nrd_sim::service::host::System;
use nrd_tests::bench::{Bench, activate, settings};
use nrd_tests::measure::device::{Device, Spent};
use std::time::Instant;

const ABOUT: &str = "\
Each curve is a cost over a size that doubles; *exponent* is its slope in \
logarithms (0 flat, 1 linear), *each further one* its slope as it is. *Records*: a \
boot with so many records of 64 bytes in a part of 1 MiB. *Sectors*: a part of so \
many sectors of 4 KiB whose whole vault has been written through once, 64 records \
alive. *Receipts*: a boot with so many wipes that no service heard of. *Devices*: a \
check-in at the reference service, its database in memory, with so many devices of \
one account in it; the fastest of 60, as a multiple of the first (host time).";

/// One family of curves, with a plot of its own.
struct Family {
    key: &'static str,
    axis: &'static str,
    unit: &'static str,
    curves: Vec<Curve>,
}

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("growth", "Growth", ABOUT);
    for family in [records(c), sectors(c), receipts(), devices(c)] {
        for curve in &family.curves {
            for &(x, y) in &curve.points {
                let name = format!("{}, {x} {}", curve.name, family.key);
                s.rows.push(Row::new(name, family.unit, y));
            }
            let last = s.rows.last_mut();
            if let Some(row) = last {
                row.more.push(("exponent".to_owned(), curve.exponent()));
                row.more
                    .push(("each further one".to_owned(), curve.slope()));
            }
        }
        let Some(folder) = &c.plots else { continue };
        let path = folder.join(format!("growth-{}.svg", family.key));
        let title = format!("Growth with {}", family.axis);
        if let Err(why) = plot::write(&path, &title, family.axis, family.unit, &family.curves) {
            eprintln!("no plot: {why}");
        }
        s.after.push_str(&format!(
            "![Growth with {}](performance/growth-{}.svg)\n\n",
            family.axis, family.key
        ));
    }
    s
}

fn read(spent: &Spent) -> f64 {
    (spent.flash.read + spent.flash.back) as f64
}

fn curve(name: &str, points: Vec<(f64, f64)>) -> Curve {
    Curve {
        name: name.to_owned(),
        points,
    }
}

fn records(c: &Context) -> Family {
    let sizes: &[u16] = if c.quick {
        &[16, 64, 256]
    } else {
        &[8, 16, 32, 64, 128, 256, 480]
    };
    let mut opened = Vec::new();
    let mut rested = Vec::new();
    for &n in sizes {
        let mut device = Device::new(part(256), 5);
        device.activate(n, 64);
        let (open, rest) = device.restore();
        opened.push((f64::from(n), read(&open)));
        rested.push((f64::from(n), read(&rest)));
    }
    Family {
        key: "records",
        axis: "records cached",
        unit: "B",
        curves: vec![
            curve("to the session, bytes read", opened),
            curve("to rest, bytes read", rested),
        ],
    }
}

fn sectors(c: &Context) -> Family {
    let sizes: &[u32] = if c.quick {
        &[16, 64, 256]
    } else {
        &[16, 64, 256, 1024, 4096]
    };
    let (mut opened, mut rested) = (Vec::new(), Vec::new());
    let mut wipe = Vec::new();
    for &n in sizes {
        let mut device = Device::new(part(n), 5);
        device.activate(64, 256);
        // Thirteen records of 300 bytes fill a sector.
        device.update(64, 256, n * 14);
        let (open, rest) = device.restore();
        opened.push((f64::from(n), read(&open) / 1024.0));
        rested.push((f64::from(n), read(&rest) / 1024.0));
        let (_, all) = device.deactivate(0);
        wipe.push((f64::from(n), all.ns() as f64 / 1e6));
    }
    Family {
        key: "sectors",
        axis: "sectors of 4 KiB",
        unit: "KiB or ms",
        curves: vec![
            curve("to the session, KiB read", opened),
            curve("to rest, KiB read", rested),
            curve("wipe, modelled ms", wipe),
        ],
    }
}

fn receipts() -> Family {
    let mut bytes = Vec::new();
    let mut wipe = Vec::new();
    for n in 1..=8u32 {
        let mut device = Device::new(part(16), 5);
        let mut last = 0;
        for _ in 0..n {
            let (_, ns) = device.boot(|_, agent, spent| {
                let before = spent();
                agent
                    .deactivate()
                    .expect("a person at the device may always");
                settle(agent).expect("the wipe ends");
                (spent() - before).ns()
            });
            last = ns;
        }
        let (cost, kept) = device.boot(|_, agent, _| agent.status().receipts);
        assert!(u32::from(kept) == n.min(4), "the four newest are kept");
        bytes.push((f64::from(n), read(&cost)));
        wipe.push((f64::from(n), last as f64 / 1e6));
    }
    Family {
        key: "receipts",
        axis: "wipes whose receipt nobody took",
        unit: "B or ms",
        curves: vec![
            curve("boot, bytes read", bytes),
            curve("the newest wipe, modelled ms", wipe),
        ],
    }
}

fn devices(c: &Context) -> Family {
    let sizes: &[usize] = if c.quick {
        &[10, 20, 40]
    } else {
        &[10, 20, 40, 80, 160, 320]
    };
    let mut bench = Bench::new();
    // In memory: what is asked is whether the service's work grows, not how fast
    // this disk is.
    let keys = Keys::new(&[1; 32], &[2; 32], &[3; 32]);
    bench.service = Service::in_memory(keys, settings(), System).expect("a service in memory");
    let samples = Samples::read(None).expect("the sample accounts");
    bench
        .service
        .add_samples(&samples)
        .expect("a new service takes them");
    let account = bench.account(0);
    let mut all = Vec::new();
    let mut points = Vec::new();
    for &n in sizes {
        while all.len() < n {
            let id: &'static str = format!("NRD-GROW-{:04}", all.len()).leak();
            let mut device = bench.quiet_device(id, all.len() as u64 + 1);
            device.boot(|service, agent| {
                activate(service, agent, account, true);
                talk(service, agent).expect("the activation ends");
            });
            all.push(device);
        }
        // The newest device checks in again and again.
        let device = all.last_mut().expect("there is one");
        let least = device.boot(|service, agent| {
            let times = (0..60).map(|_| {
                let due = agent.next_due_ms().expect("an active device checks in");
                agent.platform().clock().advance_ms(due);
                let from = Instant::now();
                let spoke = exchange(service, agent).expect("a good reply");
                assert!(spoke, "a check-in was due");
                from.elapsed().as_nanos() as f64
            });
            times.fold(f64::MAX, f64::min)
        });
        points.push((n as f64, least));
    }
    let first = points[0].1;
    for point in &mut points {
        point.1 /= first;
    }
    Family {
        key: "devices",
        axis: "devices in the database",
        unit: "× the first",
        curves: vec![curve("check-in, host time", points)],
    }
}
