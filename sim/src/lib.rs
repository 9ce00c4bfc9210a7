//! Simulator of the Netflix-ready device agent: the command line, and one door
//! to the crates behind it.
//!
//! The simulator links the same `nrd-agent` that firmware links and never
//! re-implements what it does. Each part is a crate of its own; arrows point
//! downward only, and `tests/tests/architecture.rs` fails on any other:
//!
//! ```text
//!   nrd-sim ─▶ world ─▶ service ─▶ forensics ─▶ hw ─▶ nrd-agent ─▶ nrd-hal
//!      │         └────▶ device ────────────────▶ hw
//!      └─────▶ explorer ─▶ device, forensics             (all of them) ─▶ base
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`base`] | hexadecimal, secret files, signing keys, times in words, sample accounts |
//! | [`hw`] | virtual parts, faults, wear, a device in a folder, the nonce audit |
//! | [`device`] | one device: buffers, the run loop, a stub service |
//! | [`forensics`] | inspect an image, verify a receipt, read a status list |
//! | [`explorer`] | power cuts: script, world, oracle |
//! | [`service`] | the reference service: store, device API, account, pages, outbox, desk, server |
//! | [`world`] | scenarios, fleets, the living room with its own pages, recordings |
//! | [`demo`] | the whole story on real parts |
//! | [`process`] | one device as a process over parts in a folder |
//! | [`load`] | real servers and real load, on loopback |
//! | [`logs`] | the log that an operator reads |
#![forbid(unsafe_code)]

pub use nrd_sim_base as base;
pub use nrd_sim_device as device;
pub use nrd_sim_explorer as explorer;
pub use nrd_sim_forensics as forensics;
pub use nrd_sim_hw as hw;
pub use nrd_sim_service as service;
pub use nrd_sim_world as world;

pub mod demo;
pub mod load;
pub mod logs;
pub mod process;
