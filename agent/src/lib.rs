//! Device-side session and deactivation agent for Netflix-ready hardware.
//!
//! It remembers the account holder at power-on, is deactivated from the
//! account page or at the device, then wipes credentials and account data,
//! whatever happens to the power meanwhile, and proves it with a signed
//! receipt. It does no I/O but through a port of [`nrd_hal`], and allocates
//! nothing.
//!
//! # A whole host
//!
//! `TestPlatform` and `StubService` (crate `nrd-agent-testkit`) stand for a
//! port and for the service behind your HTTPS:
//!
//! ```
//! use nrd_agent::wire::MAX_FRAME;
//! use nrd_agent::{Agent, Class, Next, State};
//! use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
//!
//! let mut service = StubService::new(1);
//! let port = TestPlatform::builder().build(&service);
//! let mut memory = TestMemory::default();
//! let mut agent = Agent::new(port, service.config(), memory.lend()).unwrap();
//!
//! let mut request = [0; MAX_FRAME];
//! loop {
//!     match agent.poll(&mut request) {
//!         Next::Again => {}
//!         Next::Post(n) => {
//!             let reply = service.answer(&request[..n]); // your HTTPS
//!             agent.handle_reply(&reply).unwrap();
//!         }
//!         // Sleep, or obey a person. This one signs in, and then we leave.
//!         Next::WaitUntil(_) => match agent.state() {
//!             State::Clean => agent.start_activation().unwrap(),
//!             _ => break,
//!         },
//!         Next::Reset => {} // restart the processor
//!     }
//! }
//! agent.put(Class::Email, 1, b"alex@example.org").unwrap();
//! ```
//!
//! Longer ones run with `cargo run -p nrd-agent --example smallest_host` and
//! `async_host`.
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

// The derives name this crate, in it as elsewhere.
#[cfg(feature = "tls")]
extern crate alloc;
extern crate self as nrd_agent;
#[cfg(test)]
extern crate std;

pub mod agent;
pub mod class;
pub mod core;
pub mod error;
pub mod keypad;
mod keys;
pub mod lease;
pub mod log;
pub mod order;
mod slot;
pub mod state;
#[cfg(feature = "tls")]
pub mod tls;
mod trace;
pub mod wire;

pub use agent::run::Next;
pub use agent::{Agent, BuildError, Config, Memory, Status, Step};
pub use class::Class;
pub use error::Error;
pub use state::State;
