//! Guards what operations cost, in counts: flash operations, bytes, sizes.
//!
//! Every bound is what was counted when it was last set, rounded up by less
//! than one in fifty; none is a time. When a change makes a count worse, its test fails and
//! says by how much; when it makes one better, lower the bound with it:
//! `cargo test -p nrd-tests --test counts -- --nocapture` prints every figure.

use nrd_agent::log::{Entry, Log, RECORD_OVERHEAD, SECTOR_HEADER};
use nrd_hal::Geometry;
use nrd_tests::measure::device::{Board, Device};
use nrd_tests::measure::engine::Engine;
use nrd_tests::measure::ours::Ours;
use nrd_tests::measure::steady::{Plan, geometry, run};
use nrd_tests::measure::workload::{Pattern, value};

/// Collects figures over their bounds, so that one run tells all of them.
#[derive(Default)]
struct Guard {
    over: Vec<String>,
}

impl Guard {
    fn done(self) {
        let over = self.over.join("\n");
        assert!(over.is_empty(), "costs more than before:\n{over}");
    }

    fn at_most(&mut self, what: &str, figure: f64, bound: f64) {
        println!("{what}: {figure:.2}, at most {bound}");
        if figure > bound {
            self.over
                .push(format!("{what}: {figure:.2} instead of at most {bound}"));
        }
    }
}

/// Bytes programmed, erases and reads of updates in steady state, half full.
#[test]
fn an_update_costs_no_more_flash_than_it_did() {
    let mut guard = Guard::default();
    // Size, pattern, write unit; bytes an update, erases and reads per 1000.
    for (size, pattern, write, bytes, erases, reads) in [
        (32, Pattern::Uniform, 4, 101.0, 25.0, 460.0),
        (32, Pattern::RoundRobin, 4, 69.0, 17.2, 1.0),
        (32, Pattern::Hot, 4, 119.0, 29.5, 728.0),
        (32, Pattern::Uniform, 32, 147.0, 36.7, 490.0),
        (256, Pattern::Uniform, 1, 442.0, 115.0, 482.0),
        (256, Pattern::Zipf, 4, 524.0, 136.0, 756.0),
        (1024, Pattern::Uniform, 4, 1580.0, 490.0, 455.0),
    ] {
        let g = geometry(write);
        let plan = Plan::half_full(g, size, pattern, 1, 8);
        let steady = run(&mut Ours::new(g), &plan).expect("half full fits");
        let counts = steady.counts;
        let n = plan.updates as f64;
        let name = format!("{size} B, {}, unit {write}", pattern.name());
        guard.at_most(
            &format!("bytes an update, {name}"),
            counts.programmed as f64 / n,
            bytes,
        );
        let per_1000 = |total: u64| total as f64 * 1000.0 / n;
        guard.at_most(&format!("erases, {name}"), per_1000(counts.erases), erases);
        guard.at_most(&format!("reads, {name}"), per_1000(counts.reads), reads);
        guard.at_most(&format!("wear, most over mean, {name}"), steady.wear, 1.3);
        // What was written is read back once, an erased sector once.
        let back = counts.programmed + counts.erases * 4096;
        guard.at_most(
            &format!("read-back bytes, {name}"),
            counts.back as f64,
            back as f64,
        );
    }
    guard.done();
}

#[test]
fn a_get_is_one_read_of_one_record() {
    let mut ours = Ours::new(geometry(4));
    let mut buf = [0u8; 256];
    for key in 0..64 {
        value(key, 0, &mut buf);
        ours.put(key, &buf).unwrap();
    }
    let before = ours.tally().now();
    for key in 0..63 {
        assert_eq!(ours.get(key, &mut buf), Some(256));
    }
    let spent = ours.tally().now() - before;
    assert_eq!(spent.reads, 63);
    assert_eq!(spent.read, 63 * (256 + RECORD_OVERHEAD as u64));
}

/// The part of the boot figures: 64 KiB.
fn small() -> Geometry {
    Geometry {
        size: 65_536,
        write_size: 4,
        erase_size: 4096,
        best_erase: 65_536,
    }
}

#[test]
fn a_boot_into_a_session_costs_no_more_flash_than_it_did() {
    let mut guard = Guard::default();
    let mut device = Device::new(small(), 5);
    device.activate(64, 256);
    // Bytes read, bytes programmed, erases.
    for (age, read, programmed, erases) in [
        ("fresh", 8_950.0, 470.0, 2.0),
        ("aged", 8_600.0, 470.0, 1.0),
    ] {
        if age == "aged" {
            for _ in 0..6 {
                device.update(64, 256, 100);
            }
        }
        let (cost, _) = device.restore();
        let f = cost.flash;
        guard.at_most(
            &format!("boot, {age}: bytes read"),
            (f.read + f.back) as f64,
            read,
        );
        guard.at_most(
            &format!("boot, {age}: bytes programmed"),
            f.programmed as f64,
            programmed,
        );
        guard.at_most(&format!("boot, {age}: erases"), f.erases as f64, erases);
        assert_eq!(cost.steps, 0, "a boot steps no counter");
    }
    guard.done();
}

#[test]
fn keys_die_with_one_program_one_more_a_slot_and_one_step() {
    for commits in (0..48).step_by(3) {
        let mut device = Device::new(small(), 9);
        device.activate(8, 64);
        let (dead, _) = device.deactivate(commits);
        let f = dead.flash;
        let seen = (f.programs, f.erases, dead.steps);
        assert_eq!(seen, (2, 0, 1), "after {commits} records of the journal");
    }
}

#[test]
fn a_wipe_costs_no_more_than_it_did_and_leaves_a_blank_vault() {
    let mut guard = Guard::default();
    // Sectors; erase units, programs, milliseconds as modelled.
    for (sectors, erases, programs, ms) in [(16, 12.0, 7.0, 550.0), (256, 252.0, 8.0, 2_850.0)] {
        let mut device = Device::new(
            Geometry {
                size: sectors * 4096,
                ..small()
            },
            9,
        );
        device.activate(32, 256);
        let (_, all) = device.deactivate(0);
        assert!(device.vault().iter().all(|&b| b == 0xFF));
        let name = format!("wipe, {sectors} sectors");
        guard.at_most(&format!("{name}: erases"), all.flash.erases as f64, erases);
        guard.at_most(
            &format!("{name}: programs"),
            all.flash.programs as f64,
            programs,
        );
        guard.at_most(&format!("{name}: modelled ms"), all.ns() as f64 / 1e6, ms);
    }
    guard.done();
}

#[test]
fn what_is_lent_and_stored_is_no_larger_than_it_was() {
    let mut guard = Guard::default();
    guard.at_most("record overhead", RECORD_OVERHEAD as f64, 36.0);
    guard.at_most("sector header", SECTOR_HEADER as f64, 40.0);
    guard.at_most("index entry", size_of::<Entry>() as f64, 16.0);
    guard.at_most("log", size_of::<Log<'_>>() as f64, 160.0);
    let platform = size_of::<Board<'_>>();
    let agent = size_of::<nrd_agent::Agent<'_, Board<'_>>>() - platform;
    guard.at_most("agent, its platform apart", agent as f64, 3300.0);
    guard.done();
}
