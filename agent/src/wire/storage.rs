//! The storage check's messages, and the digest that it is about (SPEC §9).
//!
//! A desk and a device exchange them over a cable, or any other byte stream,
//! each behind its length. A body is written as those of frames are. Nothing in
//! them is signed but the receipt at the end.
//!
//! ```text
//!   desk                                    device
//!   Open ──────────────────────────────▶
//!        ◀────────────────────────────── Here, or Refused
//!   Chunk, Chunk, … ───────────────────▶    erases, programs
//!        ◀────────────────────────────── Stored, one for each
//!   Key ───────────────────────────────▶    reads back
//!        ◀────────────────────────────── Answer       (the desk times this)
//!                                           erases, reads blank
//!        ◀────────────────────────────── Receipt
//! ```

use super::codec::{Bounded as _, Wire};
use super::{Body as _, DeviceId, Digest, Receipt};
use nrd_hal::Crypto;

/// Version of the messages.
pub const VERSION: u8 = 1;
/// Bytes of a chunk, in this version; a whole number of write units of any part.
pub const CHUNK: usize = 256;
/// Chunks that may be under way: a device's receive buffer holds so many.
pub const CREDIT: u8 = 4;

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = if DeskMessage::MAX_LEN > DeviceMessage::MAX_LEN {
    DeskMessage::MAX_LEN
} else {
    DeviceMessage::MAX_LEN
};

/// What a desk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire)]
pub enum DeskMessage<'a> {
    /// Begins a check, or starts it over.
    Open {
        /// [`VERSION`].
        version: u8,
    },
    /// The next of the random bytes, [`CHUNK`] of them.
    Chunk {
        /// The bytes.
        #[wire(max = CHUNK)]
        bytes: &'a [u8],
    },
    /// All is stored: read it back under this key, drawn just now.
    Key {
        /// The key.
        key: [u8; 32],
    },
    /// The desk gives up.
    Close,
}

/// What a device says.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub enum DeviceMessage<'a> {
    /// The check has begun.
    Here {
        /// [`VERSION`].
        version: u8,
        /// The device, by its own word.
        device_id: DeviceId,
        /// Size of the vault in bytes.
        vault: u32,
        /// Bytes of further memory that the port declares; stored after the vault.
        further: u32,
        /// Bytes of a chunk, and of a block that is read back.
        chunk: u16,
        /// Chunks that the desk may send ahead of [`DeviceMessage::Stored`].
        credit: u8,
    },
    /// So many chunks were taken in all.
    Stored {
        /// Chunks.
        chunks: u32,
    },
    /// What was read back, under the key.
    Answer {
        /// Of [`digest_block`], after the last block.
        digest: Digest,
    },
    /// Everything is erased again.
    Receipt {
        /// A [`Receipt`] frame over [`Subject::Stored`](super::Subject::Stored).
        #[wire(max = Receipt::MAX)]
        frame: &'a [u8],
    },
    /// The message was not followed.
    Refused {
        /// The reason.
        reason: CheckRefusal,
    },
}

/// The reason for a refused message of a storage check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Wire)]
pub enum CheckRefusal {
    /// The device starts, or erases: ask again in a moment.
    Busy,
    /// The device is not clean: it is on an account, locked, or its wipe failed.
    NotClean,
    /// A part of the device does not answer, or takes no writes.
    Failed,
    /// The message is none, or none that is due now.
    OutOfTurn,
    /// The device speaks another version.
    Version,
}

/// Takes the next block that is read back into the digest: HMAC-SHA-256 under the
/// key over the digest so far (zeros at first), the block's index and the block.
pub fn digest_block<C: Crypto>(
    key: &[u8; 32],
    digest: &Digest,
    index: u32,
    block: &[u8],
) -> Digest {
    C::hmac(key, &[digest, &index.to_le_bytes(), block])
}

/// The order in which blocks are read back: each of them once, its index differing
/// from the place in the order by a mask that the key chooses.
#[derive(Debug, Clone)]
pub struct BlockOrder {
    count: u32,
    /// The last place: one less than the least power of two that is not below the
    /// count.
    last: u32,
    mask: u32,
    /// The next place.
    place: u32,
}

impl BlockOrder {
    /// Of no blocks.
    pub const NONE: BlockOrder = BlockOrder {
        count: 0,
        last: 0,
        mask: 0,
        place: 0,
    };

    /// Of `count` blocks, at most 2²⁴.
    pub fn new(key: &[u8; 32], count: u32) -> BlockOrder {
        let [a, b, c, d, ..] = *key;
        BlockOrder {
            count,
            last: count.next_power_of_two() - 1,
            mask: u32::from_le_bytes([a, b, c, d]),
            place: 0,
        }
    }
}

impl Iterator for BlockOrder {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.place <= self.last {
            let index = (self.place ^ self.mask) & self.last;
            self.place += 1;
            if index < self.count {
                return Some(index);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_block_comes_once_whatever_the_key() {
        for count in [0, 1, 2, 3, 12, 64, 1000, 1024] {
            for seed in 0..=255u8 {
                let mut key = [seed; 32];
                key[1] = seed.wrapping_mul(7);
                let mut seen: Vec<u32> = BlockOrder::new(&key, count).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..count), "{count} blocks, key {seed}");
            }
        }
    }

    #[test]
    fn another_key_reads_in_another_order() {
        let first = |key| BlockOrder::new(&key, 1024).take(8).collect::<Vec<_>>();
        assert_ne!(first([1; 32]), first([2; 32]));
    }
}
