//! The storage check: a desk fills the whole vault with random bytes of its own,
//! and has them read back under a key that comes after them (SPEC §9).
//!
//! The desk's bytes cannot be made again from anything that the device was told,
//! and the key is not known before the last of them is stored. So whoever answers
//! well had all of them at that moment: where the vault is all the memory that
//! there is, nothing else was left in it.
//!
//! Storing is done in the call that brings the chunk; reading back, a few blocks
//! in each call; erasing by [`Agent::step`], a block at a time. A check that loses
//! power leaves random bytes behind: the next boot erases them, and nothing is
//! proven until a desk asks anew.

use super::{Agent, sanitize};
use crate::core::{Event, Job, Mode};
use crate::error::Error;
use crate::state::State;
use crate::wire::codec;
use crate::wire::storage::{
    BlockOrder, CHUNK, CREDIT, CheckRefusal, DeskMessage, DeviceMessage, KeyedDigest, MAX_MESSAGE,
    VERSION,
};
use crate::wire::{Body as _, Digest, Receipt, Subject};
use nrd_hal::{Platform, Region};

/// What the host of a storage check does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the check goes on only when the host does what it says"]
pub enum CheckStep {
    /// Send the first so many bytes of `out` to the desk as one message, then call
    /// again with an empty message.
    Send(usize),
    /// Work is left: call [`Agent::poll`], and then this with an empty message.
    Again,
    /// Nothing to do until the desk's next message.
    Wait,
}

/// A check under way, over the digest `D`.
pub(super) enum StorageCheck<D> {
    /// So many bytes are stored.
    Storing(u32),
    /// All are, and are read back.
    Reading {
        key: [u8; 32],
        order: BlockOrder,
        digest: KeyedDigest<D>,
    },
    /// The answer is given, and everything is erased.
    Erasing { key: [u8; 32], digest: Digest },
}

/// Blocks that one call reads back.
const READ_AT_ONCE: usize = 64;

impl<P: Platform> Agent<'_, P> {
    /// Takes the desk's next message of a storage check, without its length; empty
    /// to go on with what is under way. Whatever the state, the desk has an answer.
    ///
    /// A host hands in what a cable brings, and calls this and [`Agent::poll`]
    /// until it waits; when the cable is gone, it calls
    /// [`Agent::end_storage_check`]. Its receive buffer holds [`CREDIT`] messages of
    /// [`CHUNK`] bytes.
    ///
    /// ```
    /// use nrd_agent::agent::CheckStep;
    /// use nrd_agent::wire::codec;
    /// use nrd_agent::wire::storage::{DeskMessage, DeviceMessage, MAX_MESSAGE, VERSION};
    /// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
    /// # let mut service = StubService::new(1);
    /// # let device = TestPlatform::builder().build(&service);
    /// # let mut memory = TestMemory::default();
    /// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
    /// # service.serve(&mut agent).unwrap();
    /// let mut heard = [0; MAX_MESSAGE]; // from the cable
    /// let open = DeskMessage::Open { version: VERSION };
    /// let n = codec::write(b"", &open, &mut heard)?;
    ///
    /// let mut out = [0; MAX_MESSAGE];
    /// let CheckStep::Send(n) = agent.storage_check(&heard[..n], &mut out) else {
    ///     unreachable!("every Open has an answer")
    /// };
    /// let Some(DeviceMessage::Here { vault, chunk, .. }) = codec::read(&out[..n]) else {
    ///     unreachable!("the device is clean")
    /// };
    /// assert_eq!((vault, chunk), (32_768, 256));
    /// assert_eq!(agent.storage_check(&[], &mut out), CheckStep::Wait);
    /// # Ok::<(), nrd_agent::Error>(())
    /// ```
    pub fn storage_check(&mut self, message: &[u8], out: &mut [u8; MAX_MESSAGE]) -> CheckStep {
        let mut receipt = [0; Receipt::MAX];
        let said = match message {
            [] => self.go_on_checking(&mut receipt),
            _ => self.follow_desk(message),
        };
        let said = said.unwrap_or_else(|reason| Some(DeviceMessage::Refused { reason }));
        match said.map(|said| codec::write(b"", &said, out)) {
            Some(Ok(n)) => CheckStep::Send(n),
            _ => match self.check {
                None | Some(StorageCheck::Storing(_)) => CheckStep::Wait,
                Some(_) => CheckStep::Again,
            },
        }
    }

    fn follow_desk(
        &mut self,
        message: &[u8],
    ) -> Result<Option<DeviceMessage<'static>>, CheckRefusal> {
        let vault = self.platform.parts().vault.geometry().size;
        let message = codec::read(message).ok_or(CheckRefusal::OutOfTurn)?;
        match (message, &mut self.check) {
            (DeskMessage::Open { version: VERSION }, _) => {
                self.settle(Event::Fill, &[]).map_err(|e| match e {
                    Error::Busy => CheckRefusal::Busy,
                    Error::WrongState => CheckRefusal::NotClean,
                    _ => CheckRefusal::Failed,
                })?;
                self.check = Some(StorageCheck::Storing(0));
                Ok(Some(DeviceMessage::Here {
                    version: VERSION,
                    device_id: self.device_id,
                    vault,
                    further: 0,
                    chunk: CHUNK as u16,
                    credit: CREDIT,
                }))
            }
            (DeskMessage::Open { .. }, _) => Err(CheckRefusal::Version),
            (DeskMessage::Chunk { bytes }, Some(StorageCheck::Storing(at)))
                if *at < vault && bytes.len() == CHUNK =>
            {
                store(self.platform.parts().vault, *at, bytes);
                *at += CHUNK as u32;
                let chunks = *at / CHUNK as u32;
                Ok(Some(DeviceMessage::Stored { chunks }))
            }
            (DeskMessage::Key { key }, Some(StorageCheck::Storing(at))) if *at == vault => {
                self.check = Some(StorageCheck::Reading {
                    key,
                    order: BlockOrder::new(&key, vault / CHUNK as u32),
                    digest: KeyedDigest::new(&key),
                });
                Ok(None)
            }
            (DeskMessage::Close, _) => {
                self.end_storage_check();
                Ok(None)
            }
            (DeskMessage::Chunk { .. } | DeskMessage::Key { .. }, _) => {
                Err(CheckRefusal::OutOfTurn)
            }
        }
    }

    fn go_on_checking<'r>(
        &mut self,
        receipt: &'r mut [u8],
    ) -> Result<Option<DeviceMessage<'r>>, CheckRefusal> {
        match &mut self.check {
            None | Some(StorageCheck::Storing(_)) => Ok(None),
            Some(StorageCheck::Reading { key, order, digest }) => {
                let flash = self.platform.parts().vault;
                for block in order.take(READ_AT_ONCE) {
                    let mut bytes = [0; CHUNK];
                    #[expect(clippy::let_underscore_must_use, reason = "the digest exposes it")]
                    let _ = flash.read(block.wrapping_mul(CHUNK as u32), &mut bytes);
                    digest.block(block, &bytes);
                }
                if order.left() > 0 {
                    return Ok(None);
                }
                let key = *key;
                let digest = core::mem::replace(digest, KeyedDigest::new(&key)).finish();
                self.check = Some(StorageCheck::Erasing { key, digest });
                self.erase_check();
                Ok(Some(DeviceMessage::Answer { digest }))
            }
            Some(StorageCheck::Erasing { key, digest }) => {
                let (key, digest) = (*key, *digest);
                if self.state() == State::Filling {
                    return Ok(None);
                }
                self.check = None;
                let bytes = self.platform.parts().vault.geometry().size;
                let subject = Subject::Stored { key, digest, bytes };
                let n = self.write_proof(subject, receipt);
                let n = n.map_err(|_| CheckRefusal::Failed)?;
                let frame = receipt.get(..n).unwrap_or_default();
                Ok(Some(DeviceMessage::Receipt { frame }))
            }
        }
    }

    /// The desk is gone, or its cable: what it stored is erased, step by step, and
    /// nothing is proven. Without a check under way nothing happens.
    pub fn end_storage_check(&mut self) {
        self.check = None;
        self.erase_check();
    }

    /// What the check stored is erased, step by step.
    fn erase_check(&mut self) {
        let ended = self.event(Event::Unfill);
        debug_assert!(ended.is_ok(), "an end is never refused");
    }

    /// Progress of a storage check: bytes stored, read back and erased, and how
    /// many that will be in all.
    pub(super) fn check_progress(&mut self) -> Option<(u32, u32)> {
        let size = self.platform.parts().vault.geometry().size;
        // At most 32 sectors of 16 MiB: three times that is no overflow.
        let done = match self.check.as_ref()? {
            StorageCheck::Storing(at) => *at,
            StorageCheck::Reading { order, .. } => {
                let left = order.left().wrapping_mul(CHUNK as u32);
                size.wrapping_mul(2).wrapping_sub(left)
            }
            StorageCheck::Erasing { .. } => match self.core.mode() {
                Mode::Live(Job::Unfill { at, .. }) => size.wrapping_mul(2).wrapping_add(*at),
                _ => size.wrapping_mul(3),
            },
        };
        Some((done, size.wrapping_mul(3)))
    }
}

/// Stores a chunk; its block is erased before the first of it.
fn store<R: Region>(flash: &mut R, at: u32, chunk: &[u8]) {
    let g = flash.geometry();
    // Errors are ignored on purpose: the digest of what reads back exposes them.
    if at.is_multiple_of(sanitize::block(&g)) {
        #[expect(clippy::let_underscore_must_use, reason = "the digest exposes it")]
        let _ = flash.erase(at, sanitize::block_end(&g, at));
    }
    #[expect(clippy::let_underscore_must_use, reason = "the digest exposes it")]
    let _ = flash.program(at, chunk);
}
