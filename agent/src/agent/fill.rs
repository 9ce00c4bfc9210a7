//! `prove_fill`: the whole vault written, read back and erased, on request.
//!
//! The asker's nonce seeds a stream that fills the whole vault; its digest is
//! taken from what the flash then reads; then all is erased again. It shows that
//! the part can be written and read everywhere, and that this agent did so. It
//! shows nothing about a device with other software: whoever knows the nonce
//! knows the stream and its digest without storing a byte. [`Agent::step`] does it
//! block by block.
//!
//! A fill that loses power leaves blocks of the stream behind: the device then
//! proves nothing until it is asked again, which starts over.

use super::Agent;
use crate::core::{Event, Found};
use crate::error::Error;
use crate::state::State;
use crate::wire::Subject;
use nrd_hal::crypto::Digest256;
use nrd_hal::{Crypto, Platform, Region};

/// A fill under way, over the digest `D`.
pub(super) struct FillProof<D> {
    nonce: [u8; 32],
    stage: Stage,
    /// Bytes of this stage that are done.
    at: u32,
    /// Of what was read so far.
    digest: D,
    read: [u8; 32],
    /// What was erased at the end reads blank.
    blank: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Write,
    Read,
    Erase,
    Done,
}

/// Bytes of the stream made at a time.
const CHUNK: usize = 256;

impl<P: Platform> Agent<'_, P> {
    /// Fills the whole vault with a stream seeded by `nonce`, reads it back,
    /// erases it, and writes a signed answer into `out`; returns its length.
    ///
    /// `Busy` while that takes: call [`Agent::step`] until `Idle`, then this
    /// again with the same nonce; [`Agent::status`] has the progress. Another
    /// nonce starts over.
    pub fn prove_fill(&mut self, nonce: [u8; 32], out: &mut [u8]) -> Result<usize, Error> {
        let state = self.state();
        let done = match &self.fill_proof {
            Some(f) if f.nonce == nonce && f.stage == Stage::Done => Some(f.read),
            Some(f) if f.nonce == nonce && state == State::Filling => return Err(Error::Busy),
            _ => None,
        };
        let (Some(digest), State::Clean | State::WipeFailed) = (done, state) else {
            return self.begin_fill(nonce).and(Err(Error::Busy));
        };
        let bytes = self.platform.parts().vault.geometry().size;
        let subject = Subject::Fill {
            nonce,
            digest,
            bytes,
        };
        let n = self.write_proof(subject, out)?;
        self.fill_proof = None;
        Ok(n)
    }

    fn begin_fill(&mut self, nonce: [u8; 32]) -> Result<(), Error> {
        self.settle(Event::Fill, &[])?;
        self.fill_proof = Some(FillProof {
            nonce,
            stage: Stage::Write,
            at: 0,
            digest: Default::default(),
            read: [0; 32],
            blank: true,
        });
        Ok(())
    }

    /// Progress of a fill: bytes done and in all.
    pub(super) fn fill_progress(&mut self) -> Option<(u32, u32)> {
        let f = self.fill_proof.as_ref()?;
        let (stage, at) = (f.stage as u32, f.at);
        let size = self.platform.parts().vault.geometry().size;
        // At most 32 sectors of 16 MiB: three times that is no overflow.
        let done = stage.wrapping_mul(size).wrapping_add(at);
        Some((done, size.wrapping_mul(3)))
    }

    pub(super) fn fill_step(&mut self) -> Found<'static> {
        let Some(f) = &mut self.fill_proof else {
            // Nobody waits for the proof any more: what it left is erased at the
            // next boot.
            return Found::Filled {
                next: None,
                blank: false,
            };
        };
        let flash = self.platform.parts().vault;
        let g = flash.geometry();
        let to = super::sanitize::block_end(&g, f.at);
        // Errors are ignored on purpose in all three stages: the read-back
        // digest, or the blank check, exposes them.
        if f.stage != Stage::Read {
            #[expect(clippy::let_underscore_must_use, reason = "the digest exposes it")]
            let _ = flash.erase(f.at, to);
        }
        if f.stage == Stage::Erase {
            f.blank &= crate::log::reads_blank(flash, f.at, to);
        }
        while f.at < to && f.stage != Stage::Erase {
            let mut buf = [0u8; CHUNK];
            if f.stage == Stage::Write {
                fill_block::<P::Crypto>(&f.nonce, f.at, &mut buf);
                #[expect(clippy::let_underscore_must_use, reason = "the digest exposes it")]
                let _ = flash.program(f.at, &buf);
            } else {
                #[expect(clippy::let_underscore_must_use, reason = "the digest exposes it")]
                let _ = flash.read(f.at, &mut buf);
                f.digest.update(&buf);
            }
            f.at += CHUNK as u32;
        }
        f.at = to;
        if to >= g.size {
            f.at = 0;
            f.stage = match f.stage {
                Stage::Write => Stage::Read,
                Stage::Read => {
                    f.read = core::mem::take(&mut f.digest).finish();
                    Stage::Erase
                }
                Stage::Erase | Stage::Done => Stage::Done,
            };
        }
        Found::Filled {
            next: (f.stage != Stage::Done).then_some(f.at),
            blank: f.blank,
        }
    }
}

/// Block `at / 256` of the fill stream: eight times HMAC-SHA-256(nonce,
/// "nrd/1/fill\0" ‖ offset as u32 LE), offsets in steps of 32 bytes.
fn fill_block<C: Crypto>(nonce: &[u8; 32], mut at: u32, out: &mut [u8; CHUNK]) {
    for chunk in out.as_chunks_mut::<32>().0 {
        *chunk = C::hmac(nonce, &[b"nrd/1/fill\0", &at.to_le_bytes()]);
        at = at.wrapping_add(32);
    }
}
