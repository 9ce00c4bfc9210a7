//! The process that decodes a picture: `nrd-sim read-photo`. A picture comes
//! in on standard input, one line goes out on standard output.
//!
//! It gives up what it does not need before it looks at the first byte: more
//! memory, more processor time, new files and sockets, new processes. What
//! goes beyond ends this process, and nothing else.

use super::{Answer, MAX_FILE, read_photo};
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use std::io::{self, Read as _, Write as _};

/// Memory that a picture may cost beyond what the program itself takes, in
/// bytes of address space.
const MEMORY: u64 = 64 << 20;
/// Processor time, in seconds.
const CPU_S: u64 = 4;
/// It works when nobody else on this machine has anything to do.
const NICE: i32 = 19;

/// Reads one picture from standard input and says what is in it.
///
/// # Errors
/// When the limits cannot be set or the pipes are closed: nothing was decoded.
pub fn main() -> io::Result<()> {
    limit()?;
    let mut file = Vec::new();
    io::stdin()
        .take(MAX_FILE as u64 + 1)
        .read_to_end(&mut file)?;
    let answer = Answer::from(read_photo(&file));
    io::stdout().write_all(answer.line().as_bytes())
}

fn limit() -> io::Result<()> {
    let most = |resource, n| {
        let limit = Rlimit {
            current: Some(n),
            maximum: Some(n),
        };
        setrlimit(resource, limit).map_err(io::Error::from)
    };
    setpriority_process(None, NICE)?;
    if let Some(now) = address_space() {
        most(Resource::As, now + MEMORY)?;
    }
    most(Resource::Cpu, CPU_S)?;
    most(Resource::Core, 0)?;
    most(Resource::Fsize, 0)?;
    // Standard input, output and error are open already.
    most(Resource::Nofile, 3)
}

/// Bytes of address space that this process takes; `None` where the system
/// does not say (Linux does). There the pixel limit and the time limit remain.
fn address_space() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().next()?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
