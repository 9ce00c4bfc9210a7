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

#[cfg(test)]
mod tests {
    use super::*;
    use nrd_tests::measure::ours::Ours;
    use nrd_tests::measure::steady::geometry;
    use nrd_tests::measure::workload::value;

    /// What is measured works: the last value of each key answers, a removed one
    /// does not.
    fn keeps(mut engine: Box<dyn Engine>, len: usize) {
        let name = engine.name();
        let (mut want, mut got) = (vec![0; len], vec![0; len]);
        for version in 0..40 {
            for key in 0..8 {
                value(key, version, &mut want);
                engine
                    .put(key, &want)
                    .unwrap_or_else(|e| panic!("{name}: {e:?}"));
            }
        }
        engine.remove(3).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        for key in 0..8 {
            let n = engine.get(key, &mut got);
            value(key, 39, &mut want);
            match key {
                3 => assert_eq!(n, None, "{name}: key 3 was removed"),
                _ => assert_eq!((n, &got), (Some(len), &want), "{name}: key {key}"),
            }
        }
        assert!(
            engine.tally().now().programs > 0,
            "{name}: programs are counted"
        );
    }

    #[test]
    fn every_engine_keeps_what_it_is_given() {
        let g = geometry(4);
        for len in [32, 256, 1024] {
            keeps(Box::new(Ours::new(g)), len);
            for peer in Peer::ALL {
                keeps(peer.build(g, 8).expect("this part is taken"), len);
                keeps(peer.build_sealed(g, 8).expect("this part is taken"), len);
            }
        }
    }

    #[test]
    fn a_sealed_value_stands_on_the_flash_in_no_plain_form() {
        let g = geometry(4);
        let text = [0xA7u8; 64];
        for peer in Peer::ALL {
            let mut plain = peer.build(g, 8).expect("this part is taken");
            let mut sealed = peer.build_sealed(g, 8).expect("this part is taken");
            plain.put(1, &text).expect("room");
            sealed.put(1, &text).expect("room");
            let mark = sealed.stored(&text);
            let stands = |cells: &[u8], what: &[u8]| cells.windows(16).any(|w| w == what);
            assert!(stands(&plain.cells(), &text[..16]), "{peer:?}: the control");
            let cells = sealed.cells();
            assert!(!stands(&cells, &text[..16]), "{peer:?}");
            assert!(stands(&cells, &mark), "{peer:?}: its mark is found");
        }
    }
}
