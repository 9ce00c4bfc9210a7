//! Cuts the power at every operation of a device's life.
//!
//! | file | what |
//! |---|---|
//! | `life.rs` | the script, and the model that a device is held against |
//! | `explore.rs` | enumerates cuts, tears and second cuts ([`explore`]) |
//! | `oracle.rs` | boots after a cut, and decides whether what it shows is allowed |
//! | `outages.rs` | the same life with a part that goes out of order at every operation ([`outages`]) |
//! | `judge.rs` | judges the physical cells, not reads |
//! | `phase.rs` | names what an operation was part of |
//! | `geometries.rs` | named parts, and the matrix of all |
//! | `report.rs` | counts |
//!
//! It may use one device, the virtual parts and forensics; it knows no service.
//!
//! ```
//! use nrd_sim_explorer::{NAMED, Options, explore};
//! use nrd_sim_hw::FaultMode;
//!
//! let part = &NAMED[0];
//! let report = explore(
//!     &Options {
//!         seed: 7,
//!         depth: 1,
//!         chip: part.chip,
//!         start: part.start,
//!         tears: vec![FaultMode::Prefix],
//!         stride: 1,
//!         third: 0,
//!         same_draws: false,
//!         threads: 1,
//!     },
//!     |_done, _all| {},
//! )
//! .unwrap();
//! assert!(report.cuts > 100);
//! assert_eq!(report.violations, 0, "{:?}", report.details);
//! ```
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
mod outages;
mod phase;
mod report;

pub use explore::{Options, explore};
pub use geometries::{NAMED, Named, is_small, matrix};
pub use life::{Start, Violation};
pub use outages::{Outage, outages};
pub use report::ExplorerReport;
