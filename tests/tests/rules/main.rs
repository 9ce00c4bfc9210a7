//! Rules of the agent's driver, a file for each of its parts. A change in
//! `agent/src/agent/` that breaks one is seen here, whatever else notices it.

mod activate;
mod boot;
mod cache;
mod exchange;
mod fill;
mod order;
mod receipt;
mod wipe;
