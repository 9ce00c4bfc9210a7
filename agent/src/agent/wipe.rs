//! The wipe. Once its tombstone is on flash, no sequence of power cuts, torn
//! writes, unstable reads, reboots or replayed messages gives a session or a
//! cached byte again; and every wipe ends in `Clean`, or in a reported
//! failure, with a receipt.
//!
//! | phase | what | then |
//! |---|---|---|
//! | tombstone | written to reserved room of the journal, read back | RAM keys are gone |
//! | keys | counter raised; both slots programmed to zero, erased, read back | cryptographic erase is complete |
//! | vault | erased block by block, read back; progress kept | nothing is left to decrypt |
//! | receipt | its facts are stored, signed whenever they are shown | |
//! | clean | snapshot says `Clean`; tombstone removed | |
//!
//! Every phase may be cut and is repeated from its start.

use super::logs::{Which, journal_key};
use super::run::Retry;
use super::{Agent, id};
use crate::error::Error;
use crate::log::Progress;
use crate::slot;
use crate::state::{Stored, Tombstone, WipePhase};
use crate::trace::event;
use crate::wire::{ActivationId, Digest, SectorCounts, WipeReason};
use nrd_hal::{Effaceable, Error as _, ErrorKind, Geometry, MonotonicCounter, Platform, Region};

/// Progress is stored after at most this many erased blocks.
const SAVE_EVERY: u32 = 16;
/// A cut may have torn the erase of any block since progress was last stored,
/// so a resumed wipe erases that many, and the slots, twice: then even an erase
/// that silently does nothing cannot leave half-erased cells that happen to
/// read blank.
pub(super) const RESUMED: u32 = SAVE_EVERY + 1;
/// Tries before a part that does not answer is taken for broken.
pub(super) const MAX_TRIES: u8 = 8;

impl<P: Platform> Agent<'_, P> {
    /// A person at the device asks for deactivation: works in every state, and
    /// with no network. Call it only for physical or paired-remote keys, held
    /// to confirm.
    pub fn deactivate(&mut self) -> Result<(), Error> {
        if self.tombstone.is_some() {
            return Ok(());
        }
        self.begin_wipe(WipeReason::Local, None);
        Ok(())
    }

    pub(super) fn new_tombstone(
        &mut self,
        reason: WipeReason,
        order: Option<&Digest>,
        counter: u64,
    ) -> Tombstone {
        let activation_id = match &self.snapshot.stored {
            Stored::Active(a) => &a.id,
            Stored::Activating { id, signed_out, .. } => signed_out.as_ref().unwrap_or(id),
            Stored::SignedOut { id, .. } => id,
            Stored::Clean | Stored::Failed => &ActivationId([0; 16]),
        };
        let activation_id = *activation_id;
        let g = self.platform.parts().vault.geometry();
        let sectors = g.size.checked_div(g.erase_size).unwrap_or(0);
        Tombstone {
            reason,
            order: order.copied(),
            activation_id,
            receipt: self.snapshot.next_receipt,
            epoch: counter,
            target_epoch: counter.wrapping_add(1),
            phase: WipePhase::Keys,
            sectors: SectorCounts {
                total: sectors,
                ..SectorCounts::default()
            },
            slot_stuck: false,
            counter_worn_out: false,
            late: false,
        }
    }

    /// Commits a wipe: it can no longer be undone, and the keys in RAM are gone.
    pub(super) fn begin_wipe(&mut self, reason: WipeReason, order: Option<&Digest>) {
        // A counter that does not answer holds nobody up: the slots die all the
        // same, and the receipt says that it was not raised.
        let counter = self.counter().unwrap_or(self.epoch());
        event!("wipe begins in epoch {}", counter);
        let mut tombstone = self.new_tombstone(reason, order, counter);
        if self.save_tombstone(&mut tombstone).is_err() {
            // Better a wipe without a tombstone than a tombstone without a
            // wipe: the counter and the slots carry it from here.
            tombstone.late = true;
        }
        self.forget_secrets();
        self.vault.unmount();
        self.install = None;
        self.fill = None;
        self.exchange.forget();
        // A wipe does not wait until other work that failed is due again.
        self.retry = Retry::default();
        self.lost = false;
        self.wipe_tries = 0;
        self.tombstone = Some(tombstone);
        self.kill_keys();
    }

    /// The fastest key death: one counter step, one program a slot.
    fn kill_keys(&mut self) {
        let Some(t) = &mut self.tombstone else { return };
        let parts = self.platform.parts();
        if let Ok(now) = parts.counter.read()
            && now.0 < t.target_epoch
            && let Err(e) = parts.counter.increment()
        {
            t.counter_worn_out = e.kind() == ErrorKind::WornOut;
        }
        for n in 0..2 {
            slot::zero(parts.slot, n);
        }
    }

    fn save_tombstone(&mut self, t: &mut Tombstone) -> Result<(), Error> {
        self.store(Which::Journal, journal_key(id::TOMBSTONE), t)
    }

    #[inline(never)]
    pub(super) fn wipe_step(&mut self) -> Result<(), Error> {
        self.forget_secrets();
        match self.tombstone.as_ref().map(|t| t.phase) {
            None => Ok(()),
            Some(WipePhase::Keys) => self.wipe_keys(),
            Some(WipePhase::Vault(offset)) => self.wipe_vault(offset),
            Some(WipePhase::Receipt) => self.wipe_finish(),
        }
    }

    fn wipe_keys(&mut self) -> Result<(), Error> {
        if self.wipe_doubt > 0 || self.wipe_tries > 0 {
            self.kill_keys();
        }
        let parts = self.platform.parts();
        let mut stuck = false;
        for n in 0..2 {
            if self.wipe_doubt > 0 {
                let _ = parts.slot.erase(n);
            }
            if !slot::efface(parts.slot, n) {
                // Bits that will not be erased are at least programmed.
                let _ = parts.slot.zero(n);
                stuck = true;
            }
        }
        let counter = parts.counter.read();
        let Some(t) = &mut self.tombstone else {
            return Ok(());
        };
        t.slot_stuck = stuck;
        let raised = matches!(counter, Ok(c) if c.0 >= t.target_epoch);
        if !raised && !t.counter_worn_out {
            self.wipe_tries += 1;
            if self.wipe_tries < MAX_TRIES {
                return Err(Error::Hardware);
            }
            t.counter_worn_out = true;
        }
        t.phase = WipePhase::Vault(0);
        self.save_progress();
        Ok(())
    }

    /// Progress is a convenience: if it cannot be stored, a cut repeats work.
    fn save_progress(&mut self) {
        if let Some(mut t) = self.tombstone {
            let _ = self.save_tombstone(&mut t);
        }
    }

    fn wipe_vault(&mut self, offset: u32) -> Result<(), Error> {
        let flash = self.platform.parts().vault;
        let g = flash.geometry();
        let Some(t) = &mut self.tombstone else {
            return Ok(());
        };
        if offset >= g.size {
            t.phase = WipePhase::Receipt;
            return Ok(());
        }
        let to = block_end(&g, offset);
        if self.wipe_doubt > 0 {
            self.wipe_doubt -= 1;
            let _ = flash.erase(offset, to);
        }
        let mut blank = false;
        for _ in 0..3 {
            blank = blank
                || (flash.erase(offset, to).is_ok() && crate::log::reads_blank(flash, offset, to));
        }
        let mut at = offset;
        while at < to {
            let end = at.wrapping_add(g.erase_size);
            if blank || crate::log::reads_blank(flash, at, end) {
                t.sectors.erased += 1;
            } else {
                t.sectors.failed += 1;
                program_to_zero(flash, at, end);
            }
            at = end;
        }
        t.phase = WipePhase::Vault(to);
        let blocks = to.div_ceil(block(&g));
        if blocks.is_multiple_of(SAVE_EVERY) {
            self.save_progress();
        }
        Ok(())
    }

    fn wipe_finish(&mut self) -> Result<(), Error> {
        let slots_blank = slot::are_blank(self.platform.parts().slot);
        let Some(t) = &mut self.tombstone else {
            return Ok(());
        };
        let stuck = t.slot_stuck;
        if !slots_blank && !stuck {
            // Read blank before, and not now: begin again with the keys.
            t.phase = WipePhase::Keys;
            t.sectors.erased = 0;
            t.sectors.failed = 0;
            return Ok(());
        }
        if self.log_step(Which::Journal)? == Progress::More {
            return Ok(());
        }
        // A slot whose erase fails is not proven dead, however blank it reads.
        let mut digest = Digest::default();
        self.store_receipt(slots_blank && !stuck, &mut digest)?;
        let Some(t) = &self.tombstone else {
            return Ok(());
        };
        let mut next = self.snapshot;
        next.stored = match stuck || t.sectors.failed > 0 {
            true => Stored::Failed,
            false => Stored::Clean,
        };
        next.epoch = match t.counter_worn_out {
            true => t.epoch,
            false => t.target_epoch,
        };
        next.worn_out |= t.counter_worn_out;
        next.last_order = t.order;
        next.last_receipt = Some(digest);
        next.next_receipt = next.next_receipt.wrapping_add(1);
        self.commit(next)?;
        self.remove_journal(id::TOMBSTONE)?;
        let ended = self.tombstone.take();
        if let Some(t) = ended {
            event!(
                "wipe ended: {} sectors erased, {} failed",
                t.sectors.erased,
                t.sectors.failed
            );
        }
        self.reset_advised = true;
        Ok(())
    }
}

/// Where the block of one step that begins at `at` ends.
pub(super) fn block_end(g: &Geometry, at: u32) -> u32 {
    at.wrapping_add(block(g)).min(g.size)
}

/// How much one step erases: the part's best erase block, at least 2 KiB.
fn block(g: &Geometry) -> u32 {
    g.best_erase.max(g.erase_size).max(2048)
}

/// What would not erase is at least programmed, where the part can.
fn program_to_zero<R: Region>(flash: &mut R, from: u32, to: u32) {
    const ZEROS: [u8; 256] = [0; 256];
    if flash.can_overwrite() {
        for at in (from..to).step_by(ZEROS.len()) {
            let _ = flash.program(at, &ZEROS);
        }
    }
}
