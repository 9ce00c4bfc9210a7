//! The simulator: virtual fleets of real agents.

use super::Context;
use crate::plot::Curve;
use crate::report::{Row, Section};
use nrd_sim::world::fleet::{FleetPlan, FleetReport, live};
use std::time::Instant;

const ABOUT: &str = "\
`nrd-sim fleet`: so many devices, each the real agent over a virtual part in front of the \
real service core, for 30 virtual days, two threads, a check-in a day; then all are removed \
and watched for two days more. *s* is wall time on this host, the one figure here that is no \
count; *exponent* the slope of all rows in logarithms (1 linear).";

/// Virtual days.
const DAYS: u64 = 30;

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("fleet", "Fleets in virtual time", ABOUT);
    let sizes: &[usize] = match c.quick {
        true => &[500, 1000],
        false => &[1250, 2500, 5000, 10_000],
    };
    let mut points = Vec::new();
    for &devices in sizes {
        let began = Instant::now();
        let report = match run(devices, c.seed) {
            Ok(report) => report,
            Err(why) => {
                s.skipped = Some(why);
                return s;
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        points.push((devices as f64, seconds));
        let row = Row::new(format!("{devices} devices, {DAYS} days"), "s", seconds);
        let row = match devices {
            10_000 => row.at_most(60.0),
            _ => row,
        };
        s.rows.push(
            row.more("events", report.events as f64)
                .more("requests answered", report.answered as f64)
                .more("proven wiped", report.proven_wiped as f64)
                .more("shown as waiting", report.pending as f64)
                .more("neither", report.wrong as f64),
        );
    }
    let curve = Curve {
        name: "fleet".to_owned(),
        points,
    };
    if let Some(row) = s.rows.last_mut() {
        row.more.push(("exponent".to_owned(), curve.exponent()));
    }
    s
}

fn run(devices: usize, seed: u64) -> Result<FleetReport, String> {
    let plan = FleetPlan {
        devices,
        days: DAYS,
        seed,
        check_in_s: 86_400,
        threads: 2,
    };
    live(&plan, |_| {}).map_err(|e| e.to_string())
}
