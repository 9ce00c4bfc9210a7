//! Promises 1, 2, 3 and 6 under power cuts: every operation of a device's
//! life × every tear mode, on the named parts. `powercut_deep.rs` adds second
//! cuts to one part, and `nrd-sim powercut --depth 2` to all the small ones.

#[path = "shared/power_cuts.rs"]
mod power_cuts;

use nrd_sim::explorer::NAMED;
use nrd_sim::hw::FaultMode;
use power_cuts::{cut_everywhere, cut_with};

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
