//! Attacks and faults that a device meets in its life, each played against the real
//! agent on parts in RAM.
//!
//! | file | what |
//! |---|---|
//! | `closing.rs` | what cannot be persisted closes; outages; boot loops; time |
//! | `storing.rs` | grants cut while they are stored, receipts, losses |
//! | `memory.rs` | the agent's own memory |
//! | `waiting.rs` | when the device talks, and how often |

mod closing;
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod memory;
mod storing;
mod waiting;
