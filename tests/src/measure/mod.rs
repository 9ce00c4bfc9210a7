//! Counting what storage costs: the same flash model, workloads and engine
//! interface for the log and for whatever it is compared with.
//!
//! ```text
//! workload ──▶ Engine (ours, or a peer, or Sealed<peer>) ──▶ Nor ──▶ Tally
//!    └───────▶ ideal: what a policy with perfect knowledge would write
//! ```
//!
//! `flash.rs` is the part (cells and tallies), `workload.rs` the streams of
//! updates, `engine.rs` the interface and the AEAD around a peer's values,
//! `ours.rs` the log behind that interface, `ideal.rs` the simulated floors,
//! `steady.rs` one measured run, `device.rs` the agent on the same flash.
//!
//! Used by `tests/tests/counts.rs`, which guards the counts in the default
//! tests, and by `tests/bench`, which adds the peers, host time and the report.

pub mod device;
pub mod engine;
pub mod flash;
pub mod ideal;
pub mod ours;
pub mod steady;
pub mod workload;
