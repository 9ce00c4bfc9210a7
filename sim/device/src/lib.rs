//! One simulated device: the real agent over virtual parts.
//!
//! | module | what |
//! |---|---|
//! | `rig.rs` | buffers lent to the agent, a test bench, the run loop |
//! | [`authority`] | a service's keys and answers, in process, without any network |
//!
//! It may use `nrd-sim-hw`, `nrd-agent` and `nrd-sim-base`; it knows no database
//! and no network.
#![forbid(unsafe_code)]

pub mod authority;
mod rig;

pub use rig::*;
