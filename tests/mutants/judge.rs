//! The quick tests of the agent in one program: what judges its mutants
//! (`.cargo/mutants.toml`). Built with the feature `judge` only, as unit tests:
//! these need none of this crate's programs, and one program links faster than
//! a dozen. `cargo test` runs each of these tests by itself.

#[path = "../tests/attacks.rs"]
mod attacks;
#[path = "../tests/attacks_more.rs"]
mod attacks_more;
#[path = "../tests/attacks_trust.rs"]
mod attacks_trust;
#[path = "../tests/boot_rules.rs"]
mod boot_rules;
#[path = "../tests/cache_rules.rs"]
mod cache_rules;
#[path = "../tests/codec.rs"]
mod codec;
#[path = "../tests/counts.rs"]
mod counts;
#[path = "../tests/emmc.rs"]
mod emmc;
#[path = "../tests/exchange_rules.rs"]
mod exchange_rules;
#[path = "../tests/fill_rules.rs"]
mod fill_rules;
#[path = "../tests/full.rs"]
mod full;
#[path = "../tests/order_rules.rs"]
mod order_rules;
#[path = "../tests/physics.rs"]
mod physics;
#[path = "../tests/receipt_rules.rs"]
mod receipt_rules;
#[path = "../tests/reference.rs"]
mod reference;
#[path = "../tests/vectors.rs"]
mod vectors;
#[path = "../tests/wipe_rules.rs"]
mod wipe_rules;
