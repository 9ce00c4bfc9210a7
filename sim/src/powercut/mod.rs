//! Cuts the power at every operation of a device's life.
//!
//! `life.rs` is the script and the model that it is held against; [`explore`]
//! enumerates cuts, tears and second cuts; `judge.rs` looks at the physical
//! cells, not at reads.
//!
//! "Exhaustive" here means every flash, slot and counter operation of the
//! script × every tear mode (and at depth 2 × every operation of the recovery
//! × every tear mode). Which bits a random tear takes is drawn from the seed.

mod explore;
mod judge;
mod life;
mod phase;

pub use explore::{Options, Report, explore};
pub use life::Violation;
