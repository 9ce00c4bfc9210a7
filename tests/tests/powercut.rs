//! Promises 1, 2, 3 and 6 under power cuts: every operation of a device's
//! life × every tear mode, on the named parts. `nrd-sim powercut --depth 2`
//! adds second cuts to all the small ones; here one part has some.

use nrd_sim::explorer::{ExplorerReport, NAMED, Options, explore};
use nrd_sim::hw::FaultMode;

fn cut_everywhere(name: &str, depth: u8, stride: u64, tears: &[FaultMode]) -> ExplorerReport {
    cut_with(name, depth, stride, tears, false)
}

fn cut_with(
    name: &str,
    depth: u8,
    stride: u64,
    tears: &[FaultMode],
    same_draws: bool,
) -> ExplorerReport {
    let seed = std::env::var("NRD_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261_124);
    let part = NAMED.iter().find(|n| n.name == name).expect("a named part");
    let options = Options {
        seed,
        depth,
        chip: part.chip,
        start: part.start,
        tears: tears.to_vec(),
        stride,
        third: 17,
        same_draws,
        threads: 1,
    };
    let report = explore(&options, |_, _| {}).expect("the geometry is accepted");
    println!(
        "{name}: seed {seed}, {} operations, {} cuts, {} second, {} third, {} states, {} pruned",
        report.operations,
        report.cuts,
        report.second_cuts,
        report.third_cuts,
        report.states,
        report.pruned
    );
    assert_eq!(report.details, Vec::<String>::new(), "{name}: seed {seed}");
    assert_eq!(report.violations, 0);
    assert_eq!(report.nonces_reused, 0, "{} nonces", report.nonces);
    assert!(report.nonces > 1000, "{}", report.nonces);
    assert_eq!(
        report.missed_phases,
        Vec::<String>::new(),
        "nothing struck these"
    );
    // Only erases program first.
    let preprogram = tears.contains(&FaultMode::Preprogram);
    let struck = report.tears.get("preprogram").copied().unwrap_or(0);
    assert_eq!(struck > 0, preprogram);
    let others = tears.len() as u64 - u64::from(preprogram);
    assert_eq!(report.cuts - struck, report.operations * others);
    assert!(report.operations > 100, "{}", report.operations);
    report
}

macro_rules! parts {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            cut_everywhere($name, 1, 1, &FaultMode::ALL);
        })*

        #[test]
        fn every_named_part_is_cut_here() {
            let mut here = vec![$($name,)* "blocks-64k"];
            here.sort_unstable();
            let mut named: Vec<_> = NAMED.iter().map(|n| n.name).collect();
            named.sort_unstable();
            assert_eq!(here, named);
        }
    };
}

parts! {
    cuts_on_bytes_256: "bytes-256";
    cuts_on_bytes_256_aged: "bytes-256-aged";
    cuts_on_halfwords_512: "halfwords-512";
    cuts_on_words_1k: "words-1k";
    cuts_on_words_2k: "words-2k";
    cuts_on_words_2k_full: "words-2k-full";
    cuts_on_ecc_2k_smallest: "ecc-2k-smallest";
    cuts_on_quadwords_2k_full: "quadwords-2k-full";
    cuts_on_lines_2k: "lines-2k";
    cuts_on_spi_nor_4k: "spi-nor-4k";
    cuts_on_pages_4k: "pages-4k";
    cuts_on_lines_8k_aged: "lines-8k-aged";
    cuts_on_spi_nor_many: "spi-nor-many";
}

/// The largest blocks, with the two nastiest tears.
#[test]
fn cuts_on_blocks_64k() {
    cut_everywhere("blocks-64k", 1, 1, &[FaultMode::AllButOne, FaultMode::NoOp]);
}

/// A generator that gives the same at each boot, which is what a part without
/// entropy at power-on does: the hedge alone keeps nonces apart.
#[test]
fn a_generator_that_starts_alike_at_each_boot_uses_no_nonce_twice() {
    let report = cut_with("words-2k", 1, 1, &FaultMode::ALL, true);
    assert!(report.seals > report.nonces, "{}", report.seals);
}

#[test]
fn cuts_during_recovery_from_cuts() {
    let report = cut_everywhere("ecc-2k-smallest", 2, 9, &FaultMode::ALL);
    assert!(report.second_cuts > report.cuts, "{}", report.second_cuts);
    assert!(report.third_cuts > 100, "{}", report.third_cuts);
    assert!(report.pruned > 1000, "{}", report.pruned);
}
