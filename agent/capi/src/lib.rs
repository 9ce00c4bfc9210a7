//! The C interface of the agent: `include/nrd_agent.h`.
//!
//! - **Memory.** The agent lives in a block that the caller lends
//!   (`nrd_agent_memory` says how large). Only HTTPS allocates.
//! - **Threads.** An agent serves one call at a time; a call from a callback,
//!   or from a second thread, is refused (`NRD_E_REENTERED`).
//! - **Errors.** Every function answers a number; `nrd_error_text` has words.
//!   After any error nothing is lost, and the same call may be made again.
//! - **Buffers.** A buffer belongs to the caller, may be NULL only where its
//!   length is 0, and is not kept after the call.
//! - **Panics** cannot cross: the agent has none that its tests or the look at
//!   its symbols find, and the finished library calls C's `abort`. For the
//!   agent that is a power cut, which it survives at any instant.
//!
//! This package holds the only `unsafe` code of the agent.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod cache;
mod error_text;
mod ffi;
#[cfg(feature = "tls")]
mod https;
mod lifecycle;
mod platform;
#[cfg(feature = "runtime")]
mod runtime;
#[cfg(feature = "soft")]
mod software_keys;
mod types;
mod wire_api;

#[cfg(not(any(feature = "tls", feature = "rustcrypto")))]
compile_error!("choose a crypto provider: feature `tls` (ring) or `rustcrypto`");

pub use types::*;
