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
use crate::wire::codec::{self, Blank as _};
use crate::wire::storage::{
    BlockOrder, CHUNK, CREDIT, CheckRefusal, DeskMessage, DeviceMessage, MAX_MESSAGE, VERSION,
    digest_block,
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

/// A storage check, if one is under way.
pub(super) struct StorageCheck {
    stage: Stage,
    /// Bytes of this stage that are done.
    at: u32,
    /// The desk's key, once all is stored.
    key: [u8; 32],
    order: BlockOrder,
    /// Of what was read back so far.
    digest: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// None is under way.
    Idle,
    /// The desk's chunks come.
    Storing,
    /// They are read back under its key.
    Reading,
    /// The answer is given, and they are erased.
    Erasing,
}

impl StorageCheck {
    /// None is under way.
    pub(super) const NONE: StorageCheck = StorageCheck {
        stage: Stage::Idle,
        at: 0,
        key: [0; 32],
        order: BlockOrder::NONE,
        digest: [0; 32],
    };

    /// It ends, and proves nothing.
    pub(super) fn drop_it(&mut self) {
        self.stage = Stage::Idle;
    }
}

const FAILED: DeviceMessage<'static> = DeviceMessage::Refused {
    reason: CheckRefusal::Failed,
};

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
    /// assert_eq!((vault, chunk), (65_536, 256));
    /// assert_eq!(agent.storage_check(&[], &mut out), CheckStep::Wait);
    /// # Ok::<(), nrd_agent::Error>(())
    /// ```
    pub fn storage_check(&mut self, message: &[u8], out: &mut [u8; MAX_MESSAGE]) -> CheckStep {
        match message {
            [] => self.go_on_checking(out),
            _ => self.follow_desk(message, out),
        }
    }

    fn follow_desk(&mut self, message: &[u8], out: &mut [u8]) -> CheckStep {
        let vault = self.platform.parts().vault.geometry().size;
        let check = &mut self.check;
        let mut said = DeskMessage::BLANK;
        let understood = codec::read_into(message, &mut said);
        let reason = match (&said, check.stage) {
            _ if !understood => CheckRefusal::OutOfTurn,
            (DeskMessage::Open { version: VERSION }, _) => match self.settle(Event::Fill, &[]) {
                Ok(()) => {
                    self.check.stage = Stage::Storing;
                    self.check.at = 0;
                    let here = DeviceMessage::Here {
                        version: VERSION,
                        device_id: self.device_id,
                        vault,
                        further: 0,
                        chunk: CHUNK as u16,
                        credit: CREDIT,
                    };
                    return say(&here, out);
                }
                Err(Error::Busy) => CheckRefusal::Busy,
                Err(Error::WrongState) => CheckRefusal::NotClean,
                Err(_) => CheckRefusal::Failed,
            },
            (DeskMessage::Open { .. }, _) => CheckRefusal::Version,
            (DeskMessage::Chunk { bytes }, Stage::Storing)
                if check.at < vault && bytes.len() == CHUNK =>
            {
                let at = check.at;
                check.at += CHUNK as u32;
                self.store_chunk(at, bytes);
                let chunks = at / CHUNK as u32 + 1;
                return say(&DeviceMessage::Stored { chunks }, out);
            }
            (DeskMessage::Key { key }, Stage::Storing) if check.at == vault => {
                check.stage = Stage::Reading;
                check.at = 0;
                check.key = *key;
                check.order = BlockOrder::new(key, vault / CHUNK as u32);
                check.digest = [0; 32];
                return CheckStep::Again;
            }
            (DeskMessage::Close, _) => {
                self.end_storage_check();
                return CheckStep::Wait;
            }
            (DeskMessage::Chunk { .. } | DeskMessage::Key { .. }, _) => CheckRefusal::OutOfTurn,
        };
        say(&DeviceMessage::Refused { reason }, out)
    }

    /// Stores a chunk; its block is erased before the first of it. What fails is
    /// found when it is read back.
    fn store_chunk(&mut self, at: u32, chunk: &[u8]) {
        let g = self.platform.parts().vault.geometry();
        if at.is_multiple_of(sanitize::block(&g)) {
            self.erase_block(at, false);
        }
        #[expect(clippy::let_underscore_must_use, reason = "the digest exposes it")]
        let _ = self.platform.parts().vault.program(at, chunk);
    }

    fn go_on_checking(&mut self, out: &mut [u8]) -> CheckStep {
        let flash = self.platform.parts().vault;
        let bytes = flash.geometry().size;
        let check = &mut self.check;
        match check.stage {
            Stage::Idle | Stage::Storing => CheckStep::Wait,
            Stage::Reading => {
                for index in check.order.by_ref().take(READ_AT_ONCE) {
                    let mut block = [0; CHUNK];
                    #[expect(clippy::let_underscore_must_use, reason = "the digest exposes it")]
                    let _ = flash.read(index.wrapping_mul(CHUNK as u32), &mut block);
                    check.digest =
                        digest_block::<P::Crypto>(&check.key, &check.digest, index, &block);
                    check.at += CHUNK as u32;
                }
                if check.at < bytes {
                    return CheckStep::Again;
                }
                check.stage = Stage::Erasing;
                let digest = check.digest;
                self.erase_check();
                say(&DeviceMessage::Answer { digest }, out)
            }
            Stage::Erasing if self.core.state() == State::Filling => CheckStep::Again,
            Stage::Erasing => {
                check.stage = Stage::Idle;
                let subject = Subject::Stored {
                    key: check.key,
                    digest: check.digest,
                    bytes,
                };
                let mut receipt = [0; Receipt::MAX];
                let written = self.write_proof(subject, &mut receipt);
                let frame = written.ok().and_then(|n| receipt.get(..n));
                let message = frame.map_or(FAILED, |frame| DeviceMessage::Receipt { frame });
                say(&message, out)
            }
        }
    }

    /// The desk is gone, or its cable: what it stored is erased, step by step, and
    /// nothing is proven. Without a check under way nothing happens.
    pub fn end_storage_check(&mut self) {
        self.check.drop_it();
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
        let stage = match self.check.stage {
            Stage::Idle => return None,
            Stage::Storing => 0,
            Stage::Reading => 1,
            Stage::Erasing => 2,
        };
        let at = match self.core.mode() {
            Mode::Live(Job::Unfill { at, .. }) => *at,
            _ => self.check.at,
        };
        // At most 32 sectors of 16 MiB: three times that is no overflow.
        let done = size.wrapping_mul(stage).wrapping_add(at);
        Some((done, size.wrapping_mul(3)))
    }
}

/// Writes what the device says.
fn say(message: &DeviceMessage<'_>, out: &mut [u8]) -> CheckStep {
    // It has room for the longest message.
    codec::write(b"", message, out).map_or(CheckStep::Wait, CheckStep::Send)
}
