//! Promises 1, 2, 3 and 6 under power cuts: every operation of a device's
//! life × every tear mode, on parts of every kind.

use nrd_hal::Geometry;
use nrd_sim::hw::{ChipSpec, Tear};
use nrd_sim::powercut::{Options, Start, explore};
use nrd_tests::part;

fn cut_everywhere(name: &str, chip: ChipSpec, depth: u8, stride: u64) {
    let seed = std::env::var("NRD_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261_124);
    let options = Options {
        seed,
        depth,
        chip,
        tears: Tear::ALL.to_vec(),
        stride,
        start: Start::Dirty,
        third: 16,
        threads: 2,
    };
    let report = explore(&options, |_, _| {}).expect("the geometry is accepted");
    println!(
        "{name}: seed {seed}, {} operations, {} cuts, {} second cuts",
        report.operations, report.cuts, report.second_cuts
    );
    assert_eq!(report.details, Vec::<String>::new(), "{name}: seed {seed}");
    assert_eq!(report.violations, 0);
    assert_eq!(
        report.missed_phases,
        Vec::<String>::new(),
        "no cut struck these"
    );
    assert_eq!(report.cuts, report.operations * Tear::ALL.len() as u64);
    assert!(depth == 1 || report.second_cuts > report.cuts);
}

#[test]
fn cuts_on_a_byte_writable_part_of_256_byte_blocks() {
    cut_everywhere("66 x 256 B", part(1, 256, 66), 1, 1);
}

#[test]
fn cuts_on_the_smallest_part_that_is_accepted() {
    cut_everywhere("8 x 2 KiB", part(8, 2048, 8), 1, 1);
}

#[test]
fn cuts_on_a_part_of_whole_pages() {
    cut_everywhere("16 x 4 KiB, 256 B pages", part(256, 4096, 16), 1, 1);
}

#[test]
fn cuts_on_a_part_of_32_byte_words() {
    cut_everywhere("8 x 8 KiB, 32 B words", part(32, 8192, 8), 1, 1);
}

#[test]
fn cuts_on_a_multi_write_part() {
    let g = part(1, 4096, 10).geometry;
    let chip = ChipSpec {
        geometry: Geometry {
            best_erase: 8192,
            ..g
        },
        can_overwrite: true,
    };
    cut_everywhere("10 x 4 KiB, multi-write", chip, 1, 1);
}

#[test]
fn cuts_during_recovery_from_cuts() {
    cut_everywhere("9 x 2 KiB, depth 2", part(4, 2048, 9), 2, 11);
}
