//! Slots and vault: erase, and look whether they are blank.

use super::Agent;
use crate::core::Found;
use crate::error::Error;
use crate::slot;
use nrd_hal::{Effaceable as _, Error as _, ErrorKind, Geometry, Platform, Region};
use zeroize::Zeroize as _;

impl<P: Platform> Agent<'_, P> {
    /// Whether both slots read blank. Slots that do not answer are no finding;
    /// unlike [`slot::are_blank`] this says so.
    pub(super) fn slots_are_blank(&mut self) -> Result<bool, Error> {
        let slots = self.platform.parts().slot;
        let mut bytes = zeroize::Zeroizing::new([0u8; slot::SLOT_BYTES]);
        for n in 0..2 {
            match slots.read(n, bytes.as_mut()) {
                Err(e) if e.kind() != ErrorKind::Ecc => return Err(Error::Hardware),
                _ => {}
            }
        }
        Ok(slot::are_blank(slots))
    }

    /// True when the content of a slot authenticates.
    pub(super) fn slot_lives(&mut self) -> bool {
        let slots = self.platform.parts().slot;
        let content = &mut self.keys.content;
        let lives = (0..2).any(|n| slot::read::<_, P::Crypto>(slots, n, &self.keys.slot, content));
        content.zeroize();
        lives
    }

    /// Effaces whatever a slot still holds; false when one is stuck.
    #[must_use]
    pub(super) fn efface_slots(&mut self) -> bool {
        let slots = self.platform.parts().slot;
        let mut ok = true;
        for n in 0..2 {
            if !slot::is_blank(slots, n) {
                ok &= slot::efface(slots, n);
            }
        }
        ok
    }

    /// Erases both slots, whatever they read; false when one is stuck.
    #[must_use]
    pub(super) fn erase_slots(&mut self, twice: bool) -> bool {
        let slots = self.platform.parts().slot;
        let mut blank = true;
        for n in 0..2 {
            if twice {
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "one of two erases; the second is checked and read back"
                )]
                let _ = slots.erase(n);
            }
            if !slot::efface(slots, n) {
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "bits that will not be erased are at least programmed; the slot \
                              is reported as stuck either way"
                )]
                let _ = slots.zero(n);
                blank = false;
            }
        }
        blank
    }

    /// Erases the block of the vault that begins at `at`, and reads it back.
    pub(super) fn erase_block(&mut self, at: u32, twice: bool) -> Found<'static> {
        let flash = self.platform.parts().vault;
        let g = flash.geometry();
        let to = block_end(&g, at);
        if twice {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "one of two erases; the second is checked and read back"
            )]
            let _ = flash.erase(at, to);
        }
        let mut blank = false;
        for _ in 0..3 {
            blank =
                blank || (flash.erase(at, to).is_ok() && crate::log::reads_blank(flash, at, to));
        }
        let (mut erased, mut failed) = (0, 0);
        let mut from = at;
        while from < to {
            let end = from.wrapping_add(g.erase_size);
            if blank || crate::log::reads_blank(flash, from, end) {
                erased += 1;
            } else {
                failed += 1;
                program_to_zero(flash, from, end);
            }
            from = end;
        }
        Found::Erased {
            erased,
            failed,
            next: (to < g.size).then_some(to),
        }
    }
}

/// Where the block of one step that begins at `at` ends.
fn block_end(g: &Geometry, at: u32) -> u32 {
    at.wrapping_add(block(g)).min(g.size)
}

/// Bytes that one step erases: the part's best erase block, at least 2 KiB.
pub(super) fn block(g: &Geometry) -> u32 {
    g.best_erase.max(g.erase_size).max(2048)
}

/// Programs a sector that would not erase to zero, where the part can.
fn program_to_zero<R: Region>(flash: &mut R, from: u32, to: u32) {
    const ZEROS: [u8; 256] = [0; 256];
    if flash.can_overwrite() {
        for at in (from..to).step_by(ZEROS.len()) {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "the sector is reported as failed, whatever a last attempt does"
            )]
            let _ = flash.program(at, &ZEROS);
        }
    }
}
