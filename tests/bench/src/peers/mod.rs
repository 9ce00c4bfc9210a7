//! What a firmware team would pick instead, each with the settings that its own
//! documentation recommends for this part, over the same flash model.
//!
//! | peer | settings |
//! |---|---|
//! | sequential-storage 8.0.2 | map by u16; without any cache, and with all three (page states, page pointers, key pointers for every key) |
//! | wasefire-store 0.3.2 | words of 4 bytes, two writes a word, 65,535 erase cycles; values over 1023 bytes by its fragments |
//! | ekv 1.0.0 | pages of 4 KiB, at most 20, default alignment, chunk, branching and scratch pages; one transaction an update; CRC off (its default) |
//! | littlefs2 0.8.1 | read 16, program 16, cache 512, lookahead 16, 500 block cycles; one file a value; 512 bytes of cache because then values up to 512 bytes are inlined |

mod ekv;
#[cfg(feature = "littlefs")]
mod littlefs;
mod sequential;
mod wasefire;

use nrd_hal::Geometry;
use nrd_tests::measure::engine::{Engine, Sealed};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// sequential-storage without any cache.
    Sequential,
    /// sequential-storage with all caches.
    SequentialCached,
    /// wasefire-store.
    Wasefire,
    /// ekv.
    Ekv,
    /// littlefs.
    #[cfg(feature = "littlefs")]
    Littlefs,
}

impl Peer {
    /// Every peer of this build.
    pub(crate) const ALL: &[Peer] = &[
        Peer::Sequential,
        Peer::SequentialCached,
        Peer::Wasefire,
        Peer::Ekv,
        #[cfg(feature = "littlefs")]
        Peer::Littlefs,
    ];

    /// The peer over a blank part, for this many keys; `None` where it does not
    /// take such a part.
    pub(crate) fn build(self, g: Geometry, keys: u16) -> Option<Box<dyn Engine>> {
        match self {
            Peer::Sequential => sequential::build(g, None),
            Peer::SequentialCached => sequential::build(g, Some(keys)),
            Peer::Wasefire => wasefire::build(g),
            Peer::Ekv => ekv::build(g),
            #[cfg(feature = "littlefs")]
            Peer::Littlefs => littlefs::build(g),
        }
    }

    /// The same with sealed values.
    pub(crate) fn build_sealed(self, g: Geometry, keys: u16) -> Option<Box<dyn Engine>> {
        Some(Box::new(Sealed::new(self.build(g, keys)?)))
    }
}

/// Runs a future whose waits are all over at once.
fn now<F: Future>(f: F) -> F::Output {
    let mut f = pin!(f);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(out) = f.as_mut().poll(&mut context) {
            return out;
        }
    }
}
