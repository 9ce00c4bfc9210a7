//! Cuts the power at every operation of a device's life.
//!
//! `life.rs` is the script and the model that it is held against; [`explore`]
//! enumerates cuts, tears and second cuts; `judge.rs` looks at the physical
//! cells, not at reads.
//!
//! A state that was reached before is not judged again (`pruned`): the hash
//! covers everything that the future depends on.
//!
//! "Exhaustive" here means every flash, slot and counter operation of the
//! script × every tear mode (and at depth 2 × every operation of the recovery
//! × every tear mode). Which bits a random tear takes is drawn from the seed.

mod explore;
mod geometries;
mod judge;
mod life;
mod oracle;
mod phase;
mod report;

pub use explore::{Options, explore};
pub use geometries::{NAMED, Named, is_small, matrix};
pub use life::{Start, Violation};
pub use report::ExplorerReport;
