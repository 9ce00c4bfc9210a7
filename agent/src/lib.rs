//! Device-side session and deactivation agent for Netflix-ready hardware.
#![no_std]
#![forbid(unsafe_code)]
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
