//! One device as a process: the real agent over parts in a folder, real TLS to
//! a real service. It may be killed at any instant and started again.
//!
//! | file | what |
//! |---|---|
//! | `factory.rs` | makes a device: id, fuses, certificate, pinned keys |
//! | `run.rs` | the main loop, as a firmware's |
//! | `cable.rs` | a loopback socket as the cable of a returns desk |
//! | `net.rs` | the network thread: connect, post, time out; faults on demand |
//! | `command.rs` | what a person types: a remote control and a service menu |
//! | `wipe_cost.rs` | counts what a wipe costs |
//! | `screen.rs` | what the screen shows, for people or as JSON lines |

mod cable;
mod command;
mod factory;
mod net;
mod run;
mod screen;
mod wipe_cost;

pub use factory::{Order, provision};
pub use run::{Options, run};
pub use screen::Screen;
