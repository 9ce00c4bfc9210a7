//! Receipts and proofs.
//!
//! A receipt's *facts* are stored in the journal before anything is signed;
//! the signature is made whenever the receipt is shown (Ed25519 signatures are
//! deterministic, so it is the same each time). So a signing failure delays
//! neither `Clean` nor the next owner.

use super::{AGENT_VERSION, Agent, RECEIPTS, id};
use crate::error::Error;
use crate::slot;
use crate::state::{State, Tombstone};
use crate::wire::{
    Body, Digest, Method, Receipt, ReceiptFlags, SIGNATURE_LEN, SectorCounts, Subject, codec,
};
use nrd_hal::{Crypto, DeviceIdentity, Effaceable, Guarantee, Platform, Region, RootKey};

/// Largest unsigned receipt, in bytes.
const FACTS: usize = Receipt::MAX - SIGNATURE_LEN;

impl<P: Platform> Agent<'_, P> {
    /// Stores the facts of a finished wipe; returns their digest.
    pub(super) fn store_receipt(
        &mut self,
        t: &Tombstone,
        slots_blank: bool,
    ) -> Result<Digest, Error> {
        let subject = Subject::Wipe {
            reason: t.reason,
            order: t.order,
            activation_id: t.activation_id,
            previous: self.snapshot.last_receipt,
        };
        let mut facts = [0u8; FACTS];
        let n = self.write_facts(
            subject,
            t.epoch,
            t.sectors,
            slots_blank,
            (t.counter_worn_out, t.late),
            &mut facts,
        )?;
        let facts = facts.get(..n).unwrap_or_default();
        let place = id::RECEIPT + self.snapshot.next_receipt % RECEIPTS;
        let key = super::logs::journal_key(place);
        if self.journal.keys().any(|k| k == key) && self.receipts >= RECEIPTS as u8 {
            self.snapshot.receipts_dropped = self.snapshot.receipts_dropped.saturating_add(1);
        }
        self.put_journal(place, facts)?;
        self.count_receipts();
        Ok(P::Crypto::sha256(facts))
    }

    pub(super) fn count_receipts(&mut self) {
        self.receipts = self
            .journal
            .keys()
            .filter(|k| (id::RECEIPT..id::RECEIPT + RECEIPTS).contains(&k.id))
            .count() as u8;
    }

    fn write_facts(
        &mut self,
        subject: Subject,
        epoch: u64,
        sectors: SectorCounts,
        slots_blank: bool,
        (counter_worn_out, tombstone_failed): (bool, bool),
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let powered_s = self.powered_s();
        let dropped = self.snapshot.receipts_dropped;
        let parts = self.platform.parts();
        let counter = nrd_hal::MonotonicCounter::read(parts.counter).map_or(0, |e| e.0);
        let clean = slots_blank && sectors.failed == 0 && sectors.erased == sectors.total;
        let method = match parts.slot.guarantee() {
            _ if !clean => Method::Failed,
            Guarantee::Physical => Method::Purge,
            Guarantee::Logical => Method::Clear,
        };
        let mut receipt = Receipt {
            certificate: parts.identity.certificate(),
            subject,
            epoch,
            counter,
            method,
            sectors,
            flags: ReceiptFlags {
                slots_blank,
                slots_outside_image: parts.slot.outside_image(),
                root_refuses_past: parts.root_key.refuses_past_epochs(),
                counter_worn_out,
                tombstone_failed,
                dropped,
            },
            agent_version: AGENT_VERSION,
            powered_s,
            wall_s: nrd_hal::Clock::wall_s(parts.clock),
        };
        codec::write(Receipt::CONTEXT, &mut receipt, out).ok_or(Error::BufferTooSmall)
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

    /// The oldest undelivered receipt's place in the journal.
    pub(super) fn oldest_receipt(&self) -> Option<u16> {
        // Places are used in turn, so the oldest is the first kept place from
        // the next one to be used.
        (0..RECEIPTS)
            .map(|d| id::RECEIPT + (self.snapshot.next_receipt.wrapping_add(d)) % RECEIPTS)
            .find(|&p| self.journal.keys().any(|k| k.id == p))
    }

    /// Drops the oldest undelivered receipt, but neither the one at place
    /// `keep` nor the one of the wipe under way; false when there is none.
    pub(super) fn drop_receipt(&mut self, keep: u16) -> Result<bool, Error> {
        // The place that is next in turn holds the oldest receipt, or during a
        // wipe the one just stored.
        let from = u16::from(self.tombstone.is_some());
        let place = (from..RECEIPTS)
            .map(|d| id::RECEIPT + self.snapshot.next_receipt.wrapping_add(d) % RECEIPTS)
            .find(|&p| p != keep && self.journal.keys().any(|k| k.id == p));
        let Some(place) = place else {
            return Ok(false);
        };
        self.remove_journal(place)?;
        self.count_receipts();
        self.snapshot.receipts_dropped = self.snapshot.receipts_dropped.saturating_add(1);
        Ok(true)
    }

    /// Writes the newest kept wipe receipt, signed, into `out`; returns its
    /// length. `NotFound` when none is kept (it was delivered).
    #[inline(never)]
    pub fn newest_receipt(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let place = id::RECEIPT + self.snapshot.next_receipt.wrapping_sub(1) % RECEIPTS;
        self.export_receipt(place, out)
    }

    pub(super) fn export_receipt(&mut self, place: u16, out: &mut [u8]) -> Result<usize, Error> {
        let room = out
            .len()
            .checked_sub(SIGNATURE_LEN)
            .ok_or(Error::BufferTooSmall)?;
        let text = out.get_mut(..room).ok_or(Error::BufferTooSmall)?;
        let n = self.get_journal(place, text)?;
        self.sign_frame(out, n)
    }

    /// Drops the delivered receipt named by `digest`.
    pub(super) fn receipt_stored(&mut self, digest: &Digest) -> Result<(), Error> {
        let Some(place) = self.oldest_receipt() else {
            return Ok(());
        };
        let mut facts = [0u8; FACTS];
        let n = self.get_journal(place, &mut facts)?;
        if P::Crypto::sha256(facts.get(..n).unwrap_or_default()) == *digest {
            self.remove_journal(place)?;
            self.count_receipts();
        }
        Ok(())
    }

    /// True when the state is `Clean` **and** both slots and the whole vault
    /// read blank now. Reads every byte of the vault.
    #[inline(never)]
    pub fn is_clean(&mut self) -> bool {
        self.state() == State::Clean && {
            let (counts, slots_blank) = self.look();
            slots_blank && counts.failed == 0
        }
    }

    fn look(&mut self) -> (SectorCounts, bool) {
        let parts = self.platform.parts();
        let slots_blank = slot::is_blank(parts.slot, 0) && slot::is_blank(parts.slot, 1);
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
    #[inline(never)]
    pub fn prove_clean(&mut self, nonce: [u8; 32], out: &mut [u8]) -> Result<usize, Error> {
        if !matches!(self.state(), State::Clean | State::WipeFailed) {
            return Err(Error::WrongState);
        }
        self.write_proof(Subject::Clean { nonce }, out)
    }

    /// Looks at slots and vault now, and signs what is seen.
    pub(super) fn write_proof(&mut self, subject: Subject, out: &mut [u8]) -> Result<usize, Error> {
        let (counts, slots_blank) = self.look();
        let epoch = self.snapshot.epoch;
        let worn_out = self.snapshot.worn_out;
        let n = self.write_facts(subject, epoch, counts, slots_blank, (worn_out, false), out)?;
        self.sign_frame(out, n)
    }
}
