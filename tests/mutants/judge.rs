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
#[path = "../tests/codec.rs"]
mod codec;
#[path = "../tests/counts.rs"]
mod counts;
#[path = "../tests/emmc.rs"]
mod emmc;
#[path = "../tests/full.rs"]
mod full;
#[path = "../tests/physics.rs"]
mod physics;
#[path = "../tests/reference.rs"]
mod reference;
#[path = "../tests/rules/main.rs"]
mod rules;
#[path = "../tests/vectors.rs"]
mod vectors;
