//! Test doubles for firmware that links the Netflix-ready device agent: a
//! whole device in RAM, and a scripted service that answers it in process.
//!
//! Use it in the unit tests of your own firmware, on a PC: how it reacts when
//! a person removes the device on the account page, when the power is cut in
//! the middle of a wipe, when the service refuses. No network, no files, no
//! clock but the one that a test moves; every run is the same.
//!
//! | module | what |
//! |---|---|
//! | [`platform`] | [`TestPlatform`], a ready [`Platform`](nrd_hal::Platform), and its builder |
//! | [`memory`] | [`TestMemory`], owned buffers to lend to the agent |
//! | [`flash`] | [`RamFlash`] and, for `embedded-storage` drivers, [`RamNor`] |
//! | [`secure`] | [`RamCounter`], [`RamSlots`], [`SoftRootKey`], [`SoftIdentity`] |
//! | [`ambient`] | [`SeededRng`], [`TestClock`] |
//! | [`power`] | [`Power`]: cuts the power, or fails a part, after so many operations |
//! | [`outage`] | [`Outage`]: one part does not answer, or takes no writes, until told otherwise |
//! | [`service`] | [`StubService`]: signs, approves at once, and does what a test scripts |
//! | [`keys`] | Ed25519 keys and signed frames, for tests that forge their own |
//!
//! # What it is not
//!
//! The parts keep the contracts of [`nrd_hal`]'s traits and no more. A cut
//! operation is half done, from its start; real flash leaves any of its bits
//! changed, unchanged or unstable. Sectors do not wear out, erases take no
//! time. What holds under such physics is what the simulator (`nrd-sim`)
//! tries. The keys are in ordinary memory and made from a small seed: nothing
//! here belongs into a product.
//!
//! It uses `std`, [`nrd_hal`], [`nrd_agent`] and ring, and nothing of the
//! simulator.
//!
//! # Example
//!
//! A device is activated, keeps an e-mail address, is removed on the account
//! page, and wipes itself:
//!
//! ```
//! use nrd_agent::{Agent, Class, State, wire::OrderKind};
//! use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
//!
//! let mut service = StubService::new(1);
//! let device = TestPlatform::builder().build(&service);
//! let mut memory = TestMemory::default();
//! let mut agent = Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
//!
//! service.serve(&mut agent).unwrap(); // the boot
//! agent.start_activation().unwrap();
//! service.serve(&mut agent).unwrap(); // code, grant, first check-in
//! assert_eq!(agent.state(), State::Active);
//!
//! agent.put(Class::Email, 1, b"alex@example.org").unwrap();
//!
//! service.send_order(OrderKind::Deactivate);
//! device.clock.advance_s(3600); // until the next check-in is due
//! service.serve(&mut agent).unwrap();
//! assert_eq!(agent.state(), State::Clean);
//! assert_eq!(service.receipts.len(), 1);
//! ```
#![forbid(unsafe_code)]
#![warn(rustdoc::broken_intra_doc_links)]

pub mod ambient;
pub mod flash;
pub mod keys;
pub mod memory;
pub mod outage;
pub mod platform;
pub mod power;
pub mod secure;
pub mod service;

pub use ambient::{RngUnavailable, SeededRng, TestClock};
pub use flash::{RamFlash, RamNor};
pub use memory::TestMemory;
pub use outage::{Failure, Outage};
pub use platform::{TestPlatform, TestPlatformBuilder};
pub use power::Power;
pub use secure::{RamCounter, RamSlots, SoftIdentity, SoftRootKey};
pub use service::StubService;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a part. A test that panicked while it held the lock has failed
/// already; its neighbours may go on.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
