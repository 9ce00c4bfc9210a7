//! Receipts and proofs.
//!
//! A receipt's *facts* are stored in the journal before anything is signed;
//! the signature is made whenever the receipt is shown (Ed25519 signatures are
//! deterministic, so it is the same each time). So a signing failure delays
//! neither `Clean` nor the next owner.

use super::logs::journal_key;
use super::{AGENT_VERSION, Agent, id};
use crate::core::{Found, SPARE_PLACE};
use crate::error::Error;
use crate::log::value;
use crate::slot;
use crate::state::State;
use crate::wire::{
    Body, Digest, Method, Receipt, ReceiptFlags, SIGNATURE_LEN, SectorCounts, Subject, codec,
    codec::copy,
};
use nrd_hal::{Crypto, DeviceIdentity, Effaceable, Guarantee, Platform, Region, RootKey};

/// Largest unsigned receipt, in bytes.
const FACTS: usize = Receipt::MAX - SIGNATURE_LEN;
/// What a wipe or a proof found, before the parts are asked for the rest of its
/// receipt.
struct Findings {
    subject: Subject,
    epoch: u64,
    sectors: SectorCounts,
    slots_blank: bool,
    counter_worn_out: bool,
    tombstone_failed: bool,
}

impl<P: Platform> Agent<'_, P> {
    /// Stores the facts of a finished wipe at this place; finds their digest.
    pub(super) fn store_receipt(
        &mut self,
        slots_blank: bool,
        place: u8,
    ) -> Result<Found<'static>, Error> {
        let t = self.core.tombstone().ok_or(Error::NotFound)?;
        let findings = Findings {
            subject: Subject::Wipe {
                reason: t.reason,
                order: t.order,
                activation_id: t.activation_id,
                previous: self.core.held().last_receipt,
            },
            epoch: t.epoch,
            sectors: t.sectors,
            slots_blank,
            counter_worn_out: t.counter_worn_out,
            tombstone_failed: t.tombstone_failed,
        };
        let mut facts = [0u8; FACTS];
        let n = self.write_facts(findings, &mut facts)?;
        let facts = facts.get(..n).unwrap_or_default();
        self.put_journal(id::RECEIPT + u16::from(place), facts)?;
        Ok(Found::Receipt {
            digest: P::Crypto::sha256(facts),
        })
    }

    /// The places of the journal that hold an undelivered receipt, a bit each.
    pub(super) fn count_receipts(&self) -> u8 {
        let mut places = 0;
        for place in 0..=SPARE_PLACE {
            let id = id::RECEIPT + u16::from(place);
            places |= u8::from(self.journal.holds(journal_key(id))) << place;
        }
        places
    }

    /// Writes a receipt of these findings and of what the parts say now, not
    /// signed. Every field stands here: one that is added and forgotten does not
    /// compile.
    fn write_facts(&mut self, findings: Findings, out: &mut [u8]) -> Result<usize, Error> {
        let powered_s = self.core.powered_s();
        let dropped = self.core.held().receipts_dropped;
        // A wipe goes on without a counter that does not answer: its receipt has the
        // value that was read last.
        let counter = self.counter().unwrap_or(self.core.counter());
        let parts = self.platform.parts();
        let sectors = findings.sectors;
        let clean = findings.slots_blank && sectors.failed == 0 && sectors.erased == sectors.total;
        let method = match parts.slot.guarantee() {
            _ if !clean => Method::Failed,
            Guarantee::Physical => Method::Purge,
            Guarantee::Logical => Method::Clear,
        };
        let identity: &P::Identity = parts.identity;
        let receipt = Receipt {
            certificate: identity.certificate(),
            subject: findings.subject,
            epoch: findings.epoch,
            counter,
            method,
            sectors,
            flags: ReceiptFlags {
                slots_blank: findings.slots_blank,
                slots_outside_image: parts.slot.outside_image(),
                root_refuses_past: parts.root_key.refuses_past_epochs(),
                counter_worn_out: findings.counter_worn_out,
                tombstone_failed: findings.tombstone_failed,
                dropped,
            },
            agent_version: AGENT_VERSION,
            powered_s,
            wall_s: nrd_hal::Clock::wall_s(parts.clock),
        };
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

    /// Writes the newest kept wipe receipt, signed, into `out`; returns its
    /// length. `NotFound` when none is kept (it was delivered), `Busy` during the
    /// boot and during a wipe, whose receipt is the next.
    ///
    /// Whoever has the maker's public key can read it, offline:
    ///
    /// ```
    /// use nrd_agent::wire::{self, Body, MakerCertificate, Method, Receipt};
    /// use nrd_hal::crypto::RingCrypto;
    /// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
    /// # let mut service = StubService::new(1);
    /// # let device = TestPlatform::builder().build(&service);
    /// # let mut memory = TestMemory::default();
    /// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
    /// # service.serve(&mut agent).unwrap();
    /// # agent.start_activation().unwrap();
    /// # service.serve(&mut agent).unwrap();
    /// # let maker_key = service.maker_key();
    /// agent.deactivate().unwrap();
    /// // … the wipe ends, and nobody has fetched the receipt yet …
    /// # while agent.step().unwrap() != nrd_agent::Step::Idle {}
    /// let mut frame = [0; Receipt::MAX];
    /// let n = agent.newest_receipt(&mut frame).unwrap();
    ///
    /// // It brings the certificate that names the key which signed it.
    /// let unverified: Receipt<'_> = wire::peek(&frame[..n]).unwrap();
    /// let device: MakerCertificate =
    ///     wire::decode_signed::<_, RingCrypto>(unverified.certificate, &maker_key).unwrap();
    /// let receipt: Receipt<'_> =
    ///     wire::decode_signed::<_, RingCrypto>(&frame[..n], &device.public_key).unwrap();
    /// assert_eq!(device.device_id.as_str(), "NRD-TEST-0001");
    /// assert_eq!(receipt.method, Method::Purge);
    /// assert_eq!(receipt.sectors.erased, receipt.sectors.total);
    /// ```
    pub fn newest_receipt(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        // Which receipt is the newest stands in the snapshot. Found: a boot that
        // waited for the counter answered that there was none.
        self.core.booted()?;
        // Found: during a wipe an earlier one's receipt was called the newest.
        if self.core.tombstone().is_some() {
            return Err(Error::Busy);
        }
        self.export_receipt(self.core.held().newest_place, out)
    }

    pub(super) fn export_receipt(&mut self, place: u8, out: &mut [u8]) -> Result<usize, Error> {
        let n = self.get_journal(id::RECEIPT + u16::from(place))?;
        let facts = value(self.scratch, n);
        let text = out.get_mut(..facts.len()).ok_or(Error::BufferTooSmall)?;
        copy(text, facts);
        let n = facts.len();
        self.sign_frame(out, n)
    }

    /// The digest of the receipt at this place.
    pub(super) fn kept_digest(&mut self, place: u8) -> Result<Digest, Error> {
        let n = self.get_journal(id::RECEIPT + u16::from(place))?;
        Ok(P::Crypto::sha256(value(self.scratch, n)))
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
    /// `out`; returns its length. A returns desk asks for it. `WrongState`
    /// unless the device is clean or a wipe failed, `Busy` during the boot.
    ///
    /// ```
    /// use nrd_agent::wire::{self, Body, Receipt, Subject};
    /// # use nrd_agent_testkit::{StubService, TestMemory, TestPlatform};
    /// # let mut service = StubService::new(1);
    /// # let device = TestPlatform::builder().build(&service);
    /// # let mut memory = TestMemory::default();
    /// # let mut agent = nrd_agent::Agent::new(device.clone(), service.config(), memory.lend()).unwrap();
    /// # service.serve(&mut agent).unwrap();
    /// let nonce = [0x2A; 32]; // drawn by whoever asks
    /// let mut frame = [0; Receipt::MAX];
    /// let n = agent.prove_clean(nonce, &mut frame).unwrap();
    /// // Verify it first, as `newest_receipt` shows.
    /// let proof: Receipt<'_> = wire::peek(&frame[..n]).unwrap();
    /// assert_eq!(proof.subject, Subject::Clean { nonce });
    /// assert_eq!((proof.sectors.failed, proof.flags.slots_blank), (0, true));
    /// ```
    pub fn prove_clean(&mut self, nonce: [u8; 32], out: &mut [u8]) -> Result<usize, Error> {
        let state = self.state();
        self.core.booted()?;
        if !matches!(state, State::Clean | State::WipeFailed) {
            return Err(Error::WrongState);
        }
        self.write_proof(Subject::Clean { nonce }, out)
    }

    /// Reads slots and vault now, and signs the result.
    pub(super) fn write_proof(&mut self, subject: Subject, out: &mut [u8]) -> Result<usize, Error> {
        // Found: while the counter did not answer, a proof said that it was at 0.
        self.counter()?;
        let (sectors, slots_blank) = self.look();
        let findings = Findings {
            subject,
            epoch: self.core.held().epoch,
            sectors,
            slots_blank,
            counter_worn_out: self.core.held().worn_out,
            tombstone_failed: false,
        };
        let n = self.write_facts(findings, out)?;
        self.sign_frame(out, n)
    }
}
