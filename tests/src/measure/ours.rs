//! The agent's log behind the engine interface, driven as the agent drives it.

use super::engine::{Engine, Mark, Refusal, mark};
use super::flash::{Nor, Tally};
use nrd_agent::Error;
use nrd_agent::log::{Entry, Log, LogContext, LogKeys, RecordId};
use nrd_hal::crypto::RingCrypto;
use nrd_hal::{Geometry, Region};
use nrd_sim::hw::VirtualRng;
use std::rc::Rc;

/// What a record adds to its value on flash before padding, in bytes: header,
/// nonce, tag.
pub const OVERHEAD: usize = nrd_agent::log::RECORD_OVERHEAD;

/// The class under which values are stored.
const CLASS: u8 = 6;

/// Fixed keys.
pub fn keys() -> LogKeys {
    LogKeys::new::<RingCrypto>(2, 1, &[1; 32])
}

/// The log, and everything lent to it. The memory is leaked: a measurement
/// makes a few dozen.
pub struct Ours {
    log: Log<'static>,
    nor: Nor,
    keys: LogKeys,
    rng: VirtualRng,
    scratch: Vec<u8>,
}

impl Ours {
    /// A log over a blank part, ready to write.
    ///
    /// # Panics
    /// Where the log refuses the geometry, or does not start.
    pub fn new(geometry: Geometry) -> Ours {
        Ours::over(Nor::new(geometry))
    }

    /// A log over `nor`, mounted.
    ///
    /// # Panics
    /// Where the log refuses the geometry, or does not start.
    pub fn over(nor: Nor) -> Ours {
        let g = nor.geometry();
        let sectors = (g.size / g.erase_size) as usize;
        let table = Vec::leak(vec![0u32; sectors]);
        let index = Vec::leak(vec![Entry::default(); 2048]);
        let log = Log::new(g, table, index, 0).expect("a geometry that the log takes");
        let mut ours = Ours {
            log,
            nor,
            keys: keys(),
            rng: VirtualRng::new(11),
            scratch: vec![0; 8192],
        };
        ours.settle().expect("the log starts");
        ours
    }

    /// Live bytes, padding included.
    pub fn live_bytes(&self) -> u32 {
        self.log.live_bytes()
    }

    /// The part.
    pub fn nor(&self) -> &Nor {
        &self.nor
    }

    /// Steps until there is nothing to do.
    fn settle(&mut self) -> Result<(), Error> {
        loop {
            let mut io = LogContext::<_, _, RingCrypto>::new(
                &mut self.nor,
                &mut self.rng,
                &mut self.keys,
                &mut self.scratch,
            );
            if self.log.step(&mut io)? == nrd_agent::log::Progress::Done {
                return Ok(());
            }
        }
    }

    /// Drops the log and mounts another over the same cells, as a boot does.
    pub fn remount(self) -> Ours {
        Ours::over(self.nor)
    }
}

fn refusal(e: Error) -> Refusal {
    match e {
        Error::Full => Refusal::Full,
        e => Refusal::Failed(format!("{e:?}")),
    }
}

/// More steps than any write waits.
const ROUNDS: u32 = 256;

impl Engine for Ours {
    fn name(&self) -> String {
        "ours".to_owned()
    }

    fn put(&mut self, key: u16, value: &[u8]) -> Result<(), Refusal> {
        let key = RecordId {
            class: CLASS,
            id: key,
        };
        for _ in 0..ROUNDS {
            let mut io = LogContext::<_, _, RingCrypto>::new(
                &mut self.nor,
                &mut self.rng,
                &mut self.keys,
                &mut self.scratch,
            );
            match self.log.put(&mut io, key, value) {
                Err(Error::Busy) => {
                    self.log.step(&mut io).map_err(refusal)?;
                }
                done => return done.map_err(refusal),
            }
        }
        Err(Refusal::Failed("no room after many steps".to_owned()))
    }

    fn get(&mut self, key: u16, out: &mut [u8]) -> Option<usize> {
        let key = RecordId {
            class: CLASS,
            id: key,
        };
        let mut io = LogContext::<_, _, RingCrypto>::new(
            &mut self.nor,
            &mut self.rng,
            &mut self.keys,
            &mut self.scratch,
        );
        self.log.get(&mut io, key, out).ok()
    }

    fn remove(&mut self, key: u16) -> Result<(), Refusal> {
        let key = RecordId {
            class: CLASS,
            id: key,
        };
        for _ in 0..ROUNDS {
            let mut io = LogContext::<_, _, RingCrypto>::new(
                &mut self.nor,
                &mut self.rng,
                &mut self.keys,
                &mut self.scratch,
            );
            match self.log.remove(&mut io, key) {
                Err(Error::Busy) => {
                    self.log.step(&mut io).map_err(refusal)?;
                }
                done => return done.map_err(refusal),
            }
        }
        Err(Refusal::Failed("no room after many steps".to_owned()))
    }

    fn stored(&self, value: &[u8]) -> Mark {
        // The last program was the record: header, nonce, ciphertext, tag.
        let from = self.nor.tally().last().0 as usize + OVERHEAD - 16;
        mark(&self.nor.cells()[from..from + value.len()])
    }

    fn tally(&self) -> Rc<Tally> {
        self.nor.tally()
    }

    fn cells(self: Box<Self>) -> Vec<u8> {
        self.nor.cells().to_vec()
    }
}
