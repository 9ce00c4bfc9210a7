//! Receipts and proofs.
//!
//! A receipt's *facts* are stored in the journal before anything is signed;
//! the signature is made whenever the receipt is shown (Ed25519 signatures are
//! deterministic, so it is the same each time). So a signing failure delays
//! neither `Clean` nor the next owner.

use super::logs::journal_key;
use super::{AGENT_VERSION, Agent, RECEIPTS, id};
use crate::error::Error;
use crate::log::value;
use crate::slot;
use crate::state::State;
use crate::wire::{
    Body, Digest, Method, Receipt, ReceiptFlags, SIGNATURE_LEN, SectorCounts, Subject, codec,
    codec::{Blank, copy},
};
use nrd_hal::{Crypto, DeviceIdentity, Effaceable, Guarantee, Platform, Region, RootKey};

/// Largest unsigned receipt, in bytes.
const FACTS: usize = Receipt::MAX - SIGNATURE_LEN;
/// Every place holds a receipt.
const ALL: u8 = (1 << RECEIPTS) - 1;

impl<P: Platform> Agent<'_, P> {
    /// Stores the facts of a finished wipe, and puts their digest into `digest`.
    pub(super) fn store_receipt(
        &mut self,
        slots_blank: bool,
        digest: &mut Digest,
    ) -> Result<(), Error> {
        let t = self.tombstone.as_ref().ok_or(Error::NotFound)?;
        let receipt = Receipt {
            subject: Subject::Wipe {
                reason: t.reason,
                order: t.order,
                activation_id: t.activation_id,
                previous: self.snapshot.last_receipt,
            },
            epoch: t.epoch,
            sectors: t.sectors,
            flags: ReceiptFlags {
                slots_blank,
                counter_worn_out: t.counter_worn_out,
                tombstone_failed: t.late,
                ..ReceiptFlags::BLANK
            },
            ..Receipt::BLANK
        };
        let mut facts = [0u8; FACTS];
        let n = self.write_facts(receipt, &mut facts)?;
        let facts = facts.get(..n).unwrap_or_default();
        if self.receipts == ALL {
            self.count_dropped();
        }
        self.put_journal(place(self.snapshot.next_receipt), facts)?;
        self.count_receipts();
        *digest = P::Crypto::sha256(facts);
        Ok(())
    }

    /// Looks which receipts the journal keeps.
    pub(super) fn count_receipts(&mut self) {
        self.receipts = 0;
        for n in 0..RECEIPTS {
            if self.journal.holds(journal_key(id::RECEIPT + n)) {
                self.receipts |= 1 << n;
            }
        }
    }

    #[inline(never)]
    fn count_dropped(&mut self) {
        let dropped = &mut self.snapshot.receipts_dropped;
        *dropped = dropped.saturating_add(1);
    }

    /// Completes a receipt (subject, epoch, sectors, flags) with what is known
    /// now, and writes it, not signed.
    fn write_facts<'r>(
        &'r mut self,
        mut receipt: Receipt<'r>,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        receipt.powered_s = self.powered_s();
        receipt.flags.dropped = self.snapshot.receipts_dropped;
        receipt.agent_version = AGENT_VERSION;
        let parts = self.platform.parts();
        receipt.counter = nrd_hal::MonotonicCounter::read(parts.counter).map_or(0, |e| e.0);
        receipt.wall_s = nrd_hal::Clock::wall_s(parts.clock);
        let sectors = &receipt.sectors;
        let clean =
            receipt.flags.slots_blank && sectors.failed == 0 && sectors.erased == sectors.total;
        receipt.method = match parts.slot.guarantee() {
            _ if !clean => Method::Failed,
            Guarantee::Physical => Method::Purge,
            Guarantee::Logical => Method::Clear,
        };
        receipt.flags.slots_outside_image = parts.slot.outside_image();
        receipt.flags.root_refuses_past = parts.root_key.refuses_past_epochs();
        let identity: &P::Identity = parts.identity;
        receipt.certificate = identity.certificate();
        codec::write(Receipt::CONTEXT, &receipt, out)
    }

    /// Signs `out[..n]` in place; returns the length of the signed frame.
    pub(super) fn sign_frame(&mut self, out: &mut [u8], n: usize) -> Result<usize, Error> {
        let (text, rest) = out.split_at_mut_checked(n).ok_or(Error::BufferTooSmall)?;
        let signature = self
            .platform
            .parts()
            .identity
            .sign(text)
            .map_err(|_| Error::Signing)?;
        *rest
            .first_chunk_mut::<SIGNATURE_LEN>()
            .ok_or(Error::BufferTooSmall)? = signature;
        Ok(n + SIGNATURE_LEN)
    }

    /// The place in the journal of the oldest undelivered receipt, of those
    /// from number `from` on (in turn) and not at place `but`.
    pub(super) fn oldest_receipt(&self, from: u16, but: u16) -> Option<u16> {
        // Places are used in turn, so the oldest is the first kept place from
        // the next one to be used.
        (from..RECEIPTS)
            .map(|n| place(self.snapshot.next_receipt.wrapping_add(n)))
            .find(|&p| p != but && self.receipts >> (p - id::RECEIPT) & 1 == 1)
    }

    /// Drops the oldest undelivered receipt, but neither the one at place
    /// `keep` nor the one of the wipe under way; false when there is none.
    pub(super) fn drop_receipt(&mut self, keep: u16) -> Result<bool, Error> {
        // The place that is next in turn holds the oldest receipt, or during a
        // wipe the one just stored.
        let from = u16::from(self.tombstone.is_some());
        let Some(place) = self.oldest_receipt(from, keep) else {
            return Ok(false);
        };
        self.remove_journal(place)?;
        self.count_receipts();
        self.count_dropped();
        Ok(true)
    }

    /// Writes the newest kept wipe receipt, signed, into `out`; returns its
    /// length. `NotFound` when none is kept (it was delivered).
    #[inline(never)]
    pub fn newest_receipt(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        self.export_receipt(place(self.snapshot.next_receipt.wrapping_sub(1)), out)
    }

    pub(super) fn export_receipt(&mut self, place: u16, out: &mut [u8]) -> Result<usize, Error> {
        let n = self.get_journal(place)?;
        let text = out.get_mut(..n).ok_or(Error::BufferTooSmall)?;
        copy(text, value(self.scratch, n));
        self.sign_frame(out, n)
    }

    /// Drops the delivered receipt named by `digest`.
    pub(super) fn receipt_stored(&mut self, digest: &Digest) -> Result<(), Error> {
        let Some(place) = self.oldest_receipt(0, 0) else {
            return Ok(());
        };
        let n = self.get_journal(place)?;
        if P::Crypto::sha256(value(self.scratch, n)) == *digest {
            self.remove_journal(place)?;
            self.count_receipts();
        }
        Ok(())
    }

    /// True when the state is `Clean` **and** both slots and the whole vault
    /// read blank now. Reads every byte of the vault.
    pub fn is_clean(&mut self) -> bool {
        self.state() == State::Clean && {
            let (counts, slots_blank) = self.look();
            slots_blank && counts.failed == 0
        }
    }

    fn look(&mut self) -> (SectorCounts, bool) {
        let parts = self.platform.parts();
        let slots_blank = slot::are_blank(parts.slot);
        let g = parts.vault.geometry();
        let total = g.size.checked_div(g.erase_size).unwrap_or(0);
        let erased = (0..total)
            .map(|n| n * g.erase_size)
            .filter(|&at| crate::log::reads_blank(parts.vault, at, at + g.erase_size))
            .count() as u32;
        let counts = SectorCounts {
            total,
            erased,
            failed: total - erased,
        };
        (counts, slots_blank)
    }

    /// Reads the flash again *now* and writes a signed answer to `nonce` into
    /// `out`; returns its length. What a returns desk asks. `WrongState`
    /// unless the device is clean or a wipe failed.
    pub fn prove_clean(&mut self, nonce: [u8; 32], out: &mut [u8]) -> Result<usize, Error> {
        if !matches!(self.state(), State::Clean | State::WipeFailed) {
            return Err(Error::WrongState);
        }
        self.write_proof(Subject::Clean { nonce }, out)
    }

    /// Looks at slots and vault now, and signs what is seen.
    pub(super) fn write_proof(&mut self, subject: Subject, out: &mut [u8]) -> Result<usize, Error> {
        let (sectors, slots_blank) = self.look();
        let receipt = Receipt {
            subject,
            epoch: self.snapshot.epoch,
            sectors,
            flags: ReceiptFlags {
                slots_blank,
                counter_worn_out: self.snapshot.worn_out,
                ..ReceiptFlags::BLANK
            },
            ..Receipt::BLANK
        };
        let n = self.write_facts(receipt, out)?;
        self.sign_frame(out, n)
    }
}

/// The place of a receipt in the journal, by its number.
fn place(number: u16) -> u16 {
    id::RECEIPT + number % RECEIPTS
}
