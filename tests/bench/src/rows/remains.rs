//! What is left on the flash after everything was removed.

use super::Context;
use super::erases::peers;
use crate::peers::Peer;
use crate::report::{Row, Section};
use nrd_hal::Geometry;
use nrd_tests::measure::device::Device;
use nrd_tests::measure::engine::{Engine, Mark};
use nrd_tests::measure::ours::Ours;
use nrd_tests::measure::steady::{Plan, geometry};
use nrd_tests::measure::workload::{Stream, value};
use std::collections::HashSet;

const ABOUT: &str = "\
Sixteen keys of 32 bytes, 10,000 updates, then every key removed; then the flash \
is searched for every version of every value, in plain and, for engines whose \
values are sealed, as ciphertext whose key is still there. *forget* destroys a \
class's key, *deactivation* every key: after those, what is left cannot be opened, \
which an independent reader with the device's root tries.";

/// Versions of values found on the flash: in plain, and as stored.
struct Left {
    plain: usize,
    stored: usize,
}

/// How many of `marks` stand anywhere in `cells`.
fn search(cells: &[u8], marks: &HashSet<Mark>) -> usize {
    let mut found = HashSet::new();
    for window in cells.windows(16) {
        if let Some(mark) = window.first_chunk::<16>()
            && marks.contains(mark)
        {
            found.insert(*mark);
        }
    }
    found.len()
}

fn run(mut engine: Box<dyn Engine>, quick: bool) -> Option<Left> {
    let mut plan = Plan::sixteen(32);
    if quick {
        plan.updates = 2000;
    }
    let mut stream = Stream::new(plan.pattern, plan.keys, plan.seed);
    let (mut plain, mut stored) = (HashSet::new(), HashSet::new());
    let mut buf = vec![0; plan.value];
    let first = (0..plan.keys).map(|key| (key, 0));
    let then: Vec<(u16, u64)> = (1..=plan.updates).map(|n| (stream.key(), n)).collect();
    for (key, version) in first.chain(then) {
        value(key, version, &mut buf);
        engine.put(key, &buf).ok()?;
        plain.insert(*buf.first_chunk::<16>()?);
        stored.insert(engine.stored(&buf));
    }
    for key in 0..plan.keys {
        engine.remove(key).ok()?;
    }
    let cells = engine.cells();
    Some(Left {
        plain: search(&cells, &plain),
        stored: search(&cells, &stored),
    })
}

pub(super) fn section(c: &mut Context) -> Section {
    let mut s = Section::new("remains", "What is left after removal", ABOUT);
    let g: Geometry = geometry(4);
    let quick = c.quick;
    let Some(ours) = run(Box::new(Ours::new(g)), quick) else {
        s.skipped = Some("the log did not take the workload".to_owned());
        return s;
    };
    let plain = peers(|p: Peer| Some(run(p.build(g, 16)?, quick)?.plain as f64));
    s.rows.push(
        Row::new(
            "plaintext copies after removal",
            "copies",
            ours.plain as f64,
        )
        .peers(plain, crate::report::Target::None)
        .at_most(0.0),
    );
    let sealed = peers(|p: Peer| Some(run(p.build_sealed(g, 16)?, quick)?.stored as f64));
    s.rows.push(
        Row::new(
            "copies that a key still opens, after remove",
            "copies",
            ours.stored as f64,
        )
        .peers(sealed, crate::report::Target::None)
        .at_most(0.0)
        .note("`remove` marks; where bytes must die at once, `forget` destroys the key"),
    );
    let mut device = Device::new(super::boot::small(), 5);
    device.activate(16, 32);
    device.update(16, 32, 400);
    let before = device.readable("profiles");
    s.rows.push(
        Row::new("records that open, before forget", "records", before as f64)
            .note("the control: the reader finds what is there"),
    );
    device.forget();
    s.rows.push(
        Row::new(
            "records that open, after forget",
            "records",
            device.readable("profiles") as f64,
        )
        .at_most(0.0),
    );
    device.deactivate(0);
    s.rows.push(
        Row::new(
            "bytes not blank in the vault, after deactivation",
            "bytes",
            device.vault().iter().filter(|&&b| b != 0xFF).count() as f64,
        )
        .at_most(0.0),
    );
    s
}
