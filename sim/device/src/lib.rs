//! One simulated device: the real agent over virtual parts.
//!
//! ```text
//!   TestBench ──▶ Board (nrd-sim-hw) ──▶ Agent (nrd-agent) ◀── run.rs ──▶ ServiceEndpoint
//! ```
//!
//! | file | what |
//! |---|---|
//! | `bench.rs` | [`TestBench`]: what stays over all boots, and a boot; sample data |
//! | `buffers.rs` | [`AgentBuffers`], lent to the agent for one boot |
//! | `run.rs` | the run loop: to rest, one exchange, a conversation, a storage check |
//!
//! The service that answers in process, [`StubService`], is the test kit's.
//!
//! It may use `nrd-sim-hw`, `nrd-agent`, `nrd-agent-testkit` and
//! `nrd-sim-base`; it knows no database and no network.
//!
//! A device is activated, and knows it after a reboot:
//!
//! ```
//! use nrd_agent::State;
//! use nrd_sim_device::{TestBench, talk};
//! use nrd_sim_hw::{Chip, ChipSpec, Hardware};
//!
//! let geometry = nrd_hal::Geometry {
//!     size: 65_536,
//!     write_size: 4,
//!     erase_size: 4096,
//!     best_erase: 4096,
//! };
//! let chip = Chip::new(ChipSpec { geometry, can_overwrite: false }, 1);
//! let mut bench = TestBench::new(Hardware::new(chip), 1);
//! bench.boot(|service, agent| {
//!     agent.start_activation().unwrap();
//!     talk(service, agent).unwrap();
//! });
//! assert_eq!(bench.boot(|_, agent| agent.state()), State::Active);
//! ```
#![forbid(unsafe_code)]

mod bench;
mod buffers;
mod run;

pub use bench::{Filled, TestBench, cache_samples};
pub use buffers::AgentBuffers;
pub use nrd_agent_testkit::StubService;
pub use run::{
    MAX_CALLS, MAX_EXCHANGES, Rest, ServiceEndpoint, Stop, exchange, rest, say, settle, talk,
};
