//! Real servers and real load on this machine: loopback only, bounded in count
//! and time, ended with the run.
//!
//! | file | what |
//! |---|---|
//! | `postgres.rs`, `broker.rs` | a PostgreSQL server and an MQTT broker of the run's own |
//! | `process.rs` | a service as a child process |
//! | `device.rs` | a light device: the real agent, a small part, async TLS |
//! | `crowd.rs` | many waiting devices against several services: all removed |
//! | `removals.rs` | from click to proven wiped, with a device process |
//! | `check_ins.rs` | what one core carries |
//! | `hostile/` | honest people and devices among clients that do what they must not |
//! | `rows.rs` | a database with as many rows as a run asks for |
//! | `revocations.rs` | a long revocation log at the start |
//! | `rotation.rs` | order keys rotated over many waiting orders |

pub mod broker;
pub mod check_ins;
pub mod crowd;
pub mod device;
pub mod hostile;
pub mod postgres;
pub mod process;
pub mod removals;
pub mod revocations;
pub mod rotation;
pub mod rows;

use serde::Serialize;

/// A spread of times, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    /// Half were faster.
    pub p50_ms: f64,
    /// 99 of 100 were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Spread {
    /// Of times in milliseconds.
    pub fn of(mut times: Vec<f64>) -> Spread {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let n = ((times.len() as f64 * share).ceil() as usize).max(1) - 1;
            times.get(n).copied().unwrap_or(0.0)
        };
        Spread {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}
