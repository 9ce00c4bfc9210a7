//! Real servers and real load on this machine: loopback only, bounded in count
//! and time, ended with the run.
//!
//! | file | what |
//! |---|---|
//! | `postgres.rs` | a PostgreSQL server of the run's own |

pub mod postgres;
