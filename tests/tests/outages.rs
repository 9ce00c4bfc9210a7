//! Rules 30 and 31 under outages: the journal takes no writes from any operation
//! of a device's life on, or the whole part does not answer a while, from any
//! operation on.

use nrd_sim::explorer::{NAMED, Options, Outage, outages};

fn no_violation(name: &str) {
    let seed = std::env::var("NRD_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261_128);
    let part = NAMED.iter().find(|n| n.name == name).expect("a named part");
    let options = Options {
        seed,
        depth: 1,
        chip: part.chip,
        start: part.start,
        tears: Vec::new(),
        stride: 1,
        third: 0,
        same_draws: false,
        threads: 1,
    };
    let kinds = [
        Outage::Unwritable,
        Outage::Silent(1),
        Outage::Silent(7),
        Outage::Silent(60),
    ];
    let report = outages(&options, &kinds).expect("the geometry is accepted");
    println!(
        "{name}: seed {seed}, {} operations, {} lives with an outage",
        report.operations, report.cuts
    );
    assert_eq!(report.details, Vec::<String>::new(), "{name}: seed {seed}");
    assert!(report.operations > 150 && report.cuts == 4 * report.operations);
}

#[test]
fn outages_on_words_2k() {
    no_violation("words-2k");
}

#[test]
fn outages_on_ecc_2k_smallest() {
    no_violation("ecc-2k-smallest");
}

#[test]
fn outages_on_spi_nor_4k() {
    no_violation("spi-nor-4k");
}
