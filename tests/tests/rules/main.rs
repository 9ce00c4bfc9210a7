//! Rules of the agent's driver, a file for each of its parts. A change in
//! `agent/src/agent/` that breaks one is seen here, whatever else notices it.

mod activate;
mod boot;
mod cache;
mod exchange;
mod order;
mod receipt;
mod run;
mod storage_check;
mod trust;
mod wipe;

use nrd_agent::wire::{self, Answer, MAX_FRAME, Reply};

/// A reply that the device takes, whatever it asked.
fn reply(answer: Answer<'_>) -> Vec<u8> {
    let mut out = [0; MAX_FRAME];
    let reply = Reply {
        challenge: [1; 32],
        root: None,
        delegation: None,
        answer,
    };
    let n = wire::encode(&reply, &mut out).unwrap();
    out[..n].to_vec()
}
