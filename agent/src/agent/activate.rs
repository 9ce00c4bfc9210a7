//! Activation: a short code on screen, typed on the website; then the grant is
//! stored in an order that any cut leaves resumable.
//!
//! attempt id in the journal → code → grant → slot, read back → session record,
//! read back → journal says `Active` → first check-in acknowledges.

use super::boot::SESSION;
use super::logs::Which;
use super::{Agent, Phase, Session};
use crate::class::Class;
use crate::error::Error;
use crate::lease::StoredLease;
use crate::log::{Progress, RecordId};
use crate::slot::{self, SlotContent};
use crate::state::{Activation, State, Stored};
use crate::trace::event;
use crate::wire::{ActivationId, Body, Generation, Grant, WipeReason, codec::Blank};
use nrd_hal::Platform;
use rand_core::TryCryptoRng;

/// A grant being stored.
pub(super) struct Install {
    grant: Grant,
    slot_written: bool,
}

/// The display name's record.
pub(super) const DISPLAY_NAME: RecordId = RecordId {
    class: Class::Name as u8,
    id: 0,
};

impl<P: Platform> Agent<'_, P> {
    /// Begins an activation attempt: persists its id before the first request.
    /// Then exchange requests until [`State::Active`].
    #[inline(never)]
    pub fn start_activation(&mut self) -> Result<(), Error> {
        let state = self.state();
        let (signed_out, epoch) = match &self.snapshot.stored {
            Stored::Clean if state == State::Clean => (None, self.snapshot.epoch),
            Stored::SignedOut { id, epoch, .. } if state == State::SignedOut => (Some(*id), *epoch),
            _ => return Err(Error::WrongState),
        };
        if self.snapshot.worn_out {
            return Err(Error::WornOut);
        }
        self.fill = None;
        let mut id = ActivationId::default();
        healthy_random(self.platform.parts().rng, &mut id.0)?;
        let mut next = self.snapshot;
        next.stored = Stored::Activating {
            id,
            epoch,
            signed_out,
        };
        self.commit(next)?;
        self.exchange.restart();
        Ok(())
    }

    /// Gives up the attempt. What it may have left in the slot is wiped, with
    /// a receipt, since a grant may have reached the device.
    pub fn cancel_activation(&mut self) -> Result<(), Error> {
        if self.state() != State::Activating {
            return Err(Error::WrongState);
        }
        self.begin_wipe(WipeReason::Abandoned, None);
        Ok(())
    }

    /// The service ended the attempt before any grant: nothing was stored, so
    /// the device is as it was before.
    pub(super) fn activation_ended(&mut self) -> Result<(), Error> {
        let Stored::Activating {
            epoch, signed_out, ..
        } = self.snapshot.stored
        else {
            return Ok(());
        };
        if !self.efface_slots() {
            self.begin_wipe(WipeReason::Abandoned, None);
            return Ok(());
        }
        let mut next = self.snapshot;
        next.stored = match signed_out {
            Some(id) => Stored::SignedOut {
                id,
                epoch,
                told: true,
                seen: Default::default(),
            },
            None => Stored::Clean,
        };
        self.commit(next)?;
        self.exchange.restart();
        Ok(())
    }

    /// A grant arrived: checks it and begins to store it.
    pub(super) fn accept_grant(&mut self, frame: &[u8]) -> Result<(), Error> {
        let mut grant = Grant::BLANK;
        self.read_session_signed(frame, Grant::KIND, &mut grant)?;
        let Stored::Activating { id, epoch, .. } = &self.snapshot.stored else {
            return Err(Error::NotForUs);
        };
        if grant.epoch != *epoch || !self.is_ours(&grant.device_id, &grant.activation_id, id) {
            return Err(Error::NotForUs);
        }
        self.install = Some(Install {
            grant,
            slot_written: false,
        });
        Ok(())
    }

    pub(super) fn install_step(&mut self) -> Result<(), Error> {
        let written = self.install.as_ref().is_some_and(|i| i.slot_written);
        let done = match written {
            false => self.install_keys(),
            true => self.install_session(),
        };
        if done == Err(Error::Busy) {
            return Ok(());
        }
        // Whatever fails, the service gives the same grant again: after a
        // pause, for it may fail for ever.
        self.install = None;
        match done {
            Ok(()) => self.exchange.progressed(),
            Err(_) => self.exchange_failed(),
        }
        done
    }

    /// Draws the secret and the salts, and writes the slot. `Busy`: the session
    /// is next.
    fn install_keys(&mut self) -> Result<(), Error> {
        let Some(Install {
            grant,
            slot_written,
        }) = &mut self.install
        else {
            return Ok(());
        };
        let parts = self.platform.parts();
        let mut content = SlotContent::BLANK;
        content.generation = 1;
        content.epoch = grant.epoch;
        content.activation_id = grant.activation_id.0;
        healthy_random(parts.rng, &mut content.secret)?;
        for s in &mut content.salts {
            healthy_random(parts.rng, &mut s.salt)?;
        }
        if grant.remember {
            let stored = slot::efface(parts.slot, 1)
                && slot::write::<_, P::Crypto>(parts.slot, 0, &mut content, &self.keys.slot);
            if !stored {
                return Err(Error::WornOut);
            }
        }
        *slot_written = true;
        self.open_vault(&content)?;
        self.vault.unmount();
        self.vault.want_writable();
        Err(Error::Busy)
    }

    /// Stores the session; then the journal says that it is active. `Busy` while
    /// the vault is made ready.
    fn install_session(&mut self) -> Result<(), Error> {
        if self.log_step(Which::Vault)? == Progress::More {
            return Err(Error::Busy);
        }
        let Some(Install { grant, .. }) = self.install.take() else {
            return Ok(());
        };
        let mut session = Session {
            series: grant.series,
            generation: Generation(1),
            token: grant.token.clone(),
        };
        self.put_session(&mut session)?;
        if !grant.display_name.is_empty() {
            let stamp = self.stamp();
            let value: [&[u8]; 2] = [&stamp, grant.display_name.as_bytes()];
            self.log_write(Which::Vault, DISPLAY_NAME, Some(&value))?;
        }
        let now = self.now();
        let mut next = self.snapshot;
        next.stored = Stored::Active(Activation {
            id: grant.activation_id,
            epoch: grant.epoch,
            slot_generation: u32::from(grant.remember),
            remember: grant.remember,
            lease: StoredLease {
                terms: grant.terms,
                stored_at_s: now.powered_s,
                stored_in_boot: now.boot,
                issued_at: 0,
            },
            policy: grant.policy,
            lock: None,
            seen: Default::default(),
        });
        self.commit(next)?;
        self.keys.session = Some(session);
        self.exchange.restart();
        event!("activated in epoch {}", grant.epoch);
        debug_assert!(self.phase == Phase::Ready);
        Ok(())
    }

    /// Persists the session record: read back before it is used. A computer
    /// with "remember me" unticked keeps its token in RAM alone.
    pub(super) fn put_session(&mut self, s: &mut Session) -> Result<(), Error> {
        self.store(Which::Vault, SESSION, s)
    }
}

/// Fills `out` (at most 32 bytes), and refuses a generator that repeats or is
/// stuck.
#[inline(never)]
fn healthy_random<G: TryCryptoRng>(rng: &mut G, out: &mut [u8]) -> Result<(), Error> {
    let mut again = [0u8; 32];
    let again = again.get_mut(..out.len()).ok_or(Error::TooLong)?;
    rng.try_fill_bytes(out)
        .and_then(|()| rng.try_fill_bytes(again))
        .map_err(|_| Error::RandomGenerator)?;
    if out == again || is_stuck(out) || is_stuck(again) {
        return Err(Error::RandomGenerator);
    }
    zeroize::Zeroize::zeroize(again);
    Ok(())
}

/// NIST SP 800-90B §4.4.1 with one byte per sample: 2⁻²⁰ false alarms for a
/// full-entropy source need four equal samples in a row; five are refused.
#[inline(never)]
fn is_stuck(samples: &[u8]) -> bool {
    let (mut last, mut run) = (None, 0);
    for sample in samples {
        run = if last == Some(sample) { run + 1 } else { 1 };
        last = Some(sample);
        if run >= 5 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use rand_core::TryRng;

    /// Gives these bytes, one after the other.
    struct Bytes<'b>(&'b [u8]);

    impl TryRng for Bytes<'_> {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            rand_core::utils::next_word_via_fill(self)
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            rand_core::utils::next_word_via_fill(self)
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
            let (now, later) = self.0.split_at(out.len());
            out.copy_from_slice(now);
            self.0 = later;
            Ok(())
        }
    }
    impl TryCryptoRng for Bytes<'_> {}

    #[test]
    fn a_generator_that_repeats_or_is_stuck_for_five_bytes_is_refused() {
        let draw = |bytes: &[u8; 16]| {
            let mut out = [0; 8];
            healthy_random(&mut Bytes(bytes), &mut out).map(|()| out)
        };
        let refused = Err(Error::RandomGenerator);
        assert_eq!(draw(b"abcdefghijklmnop"), Ok(*b"abcdefgh"));
        assert_eq!(draw(b"aaaabbbbccccdddd"), Ok(*b"aaaabbbb"));
        assert_eq!(draw(b"abcdefghabcdefgh"), refused, "twice the same");
        assert_eq!(draw(b"abaaaaabijklmnop"), refused, "five in the first");
        assert_eq!(draw(b"abcdefghijkkkkkp"), refused, "five in the second");
    }
}
