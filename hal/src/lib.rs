//! What a port of the Netflix-ready device (NRD) agent implements.
//!
//! Ecosystem traits are used where they exist: `embedded-storage` for flash,
//! `rand_core` for randomness, `embedded-io` for byte streams. This crate adds
//! traits only for what no crate has:
//!
//! | module | trait | what a port supplies |
//! |---|---|---|
//! | [`region`] | [`Region`] | a stretch of NOR flash with run-time geometry ([`Nor`] adapts any `NorFlash`) |
//! | [`slot`] | [`Effaceable`] | the few bytes that must truly die |
//! | [`counter`] | [`MonotonicCounter`] | a counter that only goes up |
//! | [`root_key`] | [`RootKey`] | derivation from a root that never leaves the part |
//! | [`identity`] | [`DeviceIdentity`] | device id, maker certificate, signing key |
//! | [`clock`] | [`Clock`] | uptime, and wall time where the hardware has it |
//! | [`link`] | [`Link`] | a byte stream to the service |
//! | [`crypto`] | [`Crypto`] | AES-256-GCM, HMAC and HKDF over SHA-256, Ed25519 verification |
//! | [`platform`] | [`Platform`] | one type that names a port's choice of each |
//!
//! [`messages`] frames what a desk and a device say over a cable,
//! [`layout`] splits one flash part into key slots, journal and vault, and
//! [`conformance`] holds checks that any port can run on its own hardware.
//!
//! # Example
//!
//! A port implements each trait over its own drivers, and holds every part
//! against its contract before the agent is first started:
//!
//! ```
//! use nrd_hal::{Clock, conformance};
//!
//! /// A timer peripheral that counts milliseconds in 32 bits.
//! struct Ticks {
//!     register: fn() -> u32,
//!     last: u32,
//!     wraps: u64,
//! }
//!
//! impl Clock for Ticks {
//!     fn uptime_ms(&mut self) -> u64 {
//!         let now = (self.register)();
//!         // Without this line uptime would fall back after 49.7 days.
//!         self.wraps += u64::from(now < self.last);
//!         self.last = now;
//!         self.wraps << 32 | u64::from(now)
//!     }
//! }
//!
//! # fn tim2_cnt() -> u32 { 7 }
//! let mut clock = Ticks { register: tim2_cnt, last: 0, wraps: 0 };
//! assert_eq!(conformance::clock(&mut clock), Ok(()));
//! ```
//!
//! `hal/examples/ram_port/` is a whole port, made from nothing, with its
//! conformance run: `cargo run -p nrd-hal --example ram_port`.
//!
//! The crate is `no_std`, allocates nothing and contains no `unsafe` code.
#![no_std]
#![forbid(unsafe_code)]
#![warn(rustdoc::broken_intra_doc_links)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod clock;
pub mod conformance;
pub mod counter;
pub mod crypto;
pub mod error;
pub mod identity;
pub mod layout;
pub mod link;
pub mod messages;
pub mod platform;
pub mod region;
pub mod root_key;
pub mod slot;

pub use clock::Clock;
pub use counter::{Epoch, MonotonicCounter};
pub use crypto::{AeadError, Crypto};
pub use error::{Error, ErrorKind, ErrorType};
pub use identity::DeviceIdentity;
pub use link::Link;
pub use platform::{Parts, Platform};
pub use region::{Geometry, Nor, Partition, Region};
pub use root_key::RootKey;
pub use slot::{Effaceable, Guarantee};

/// The `embedded-io` release whose `Read` and `Write` [`Link`] uses.
pub use embedded_io;
/// The `embedded-storage` release whose `NorFlash` [`Nor`] adapts.
pub use embedded_storage;
/// The `rand_core` release whose `TryCryptoRng` [`Platform::Rng`] must implement.
pub use rand_core;
