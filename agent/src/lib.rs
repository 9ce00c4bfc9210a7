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

pub mod class;
pub mod error;
pub mod keypad;
pub mod lease;
pub mod log;
pub mod order;
pub mod wire;
