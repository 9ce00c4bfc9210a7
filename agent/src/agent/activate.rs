//! Activation: a short code on screen, typed on the website; then the grant is
//! stored in an order that any cut leaves resumable.
//!
//! attempt id in the journal → code → grant → slot, read back → session record,
//! read back → journal says `Active` → first check-in acknowledges.

use super::boot::SESSION;
use super::logs::Which;
use super::{Agent, Phase, Session, Step};
use crate::class::Class;
use crate::error::Error;
use crate::keys;
use crate::lease::StoredLease;
use crate::log::{Key, Progress};
use crate::slot::{self, Salt, SlotContent};
use crate::state::{Activation, State, Stored};
use crate::trace::event;
use crate::wire::{ActivationId, Generation, Grant, WipeReason, codec, decode_signed};
use nrd_hal::Platform;
use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

/// A grant being stored.
pub(super) struct Install {
    grant: Grant,
    slot_written: bool,
}

/// The display name's record.
pub(super) const DISPLAY_NAME: Key = Key {
    class: Class::Name as u8,
    id: 0,
};

impl<P: Platform> Agent<'_, P> {
    /// Begins an activation attempt: persists its id before the first request.
    /// Then exchange requests until [`State::Active`].
    pub fn start_activation(&mut self) -> Result<(), Error> {
        let signed_out = match (self.state(), &self.snapshot.stored) {
            (State::Clean, _) => None,
            (State::SignedOut, Stored::SignedOut { id, .. }) => Some(*id),
            _ => return Err(Error::WrongState),
        };
        if self.snapshot.worn_out {
            return Err(Error::WornOut);
        }
        self.fill = None;
        let parts = self.platform.parts();
        let id = ActivationId(healthy_random(parts.rng)?);
        let mut next = self.snapshot;
        let epoch = match &next.stored {
            Stored::SignedOut { epoch, .. } => *epoch,
            _ => next.epoch,
        };
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
        self.begin_wipe(WipeReason::Abandoned, None)
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
            return self.begin_wipe(WipeReason::Abandoned, None);
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
        let key = self.trust()?.session_key;
        let grant: Grant = decode_signed::<_, P::Crypto>(frame, &key)?;
        let Stored::Activating { id, epoch, .. } = self.snapshot.stored else {
            return Err(Error::NotForUs);
        };
        if grant.device_id != self.device_id || grant.activation_id != id || grant.epoch != epoch {
            return Err(Error::NotForUs);
        }
        self.install = Some(Install {
            grant,
            slot_written: false,
        });
        Ok(())
    }

    pub(super) fn install_step(&mut self) -> Result<Step, Error> {
        let Some(install) = self.install.take() else {
            return Ok(Step::Idle);
        };
        if !install.slot_written {
            self.install_keys(&install.grant)?;
            self.vault.want_writable();
            self.install = Some(Install {
                slot_written: true,
                ..install
            });
            return Ok(Step::Working);
        }
        if self.log_step(Which::Vault)? == Progress::Working {
            self.install = Some(install);
            return Ok(Step::Working);
        }
        self.install_session(&install.grant)?;
        Ok(Step::Working)
    }

    fn install_keys(&mut self, grant: &Grant) -> Result<(), Error> {
        let parts = self.platform.parts();
        let secret = Zeroizing::new(healthy_random::<32, _>(parts.rng)?);
        let mut salts: [Salt; crate::log::CLASSES] = Default::default();
        for s in &mut salts {
            s.salt = healthy_random(parts.rng)?;
        }
        let content = SlotContent {
            generation: 1,
            epoch: grant.epoch,
            activation_id: grant.activation_id.0,
            secret: *secret,
            salts,
        };
        if grant.remember {
            let key = self.keys.slot.as_ref().ok_or(Error::Busy)?;
            let stored = slot::efface(parts.slot, 1)
                && slot::write::<_, P::Crypto>(parts.slot, 0, &content, key);
            if !stored {
                return Err(Error::WornOut);
            }
        }
        let vault =
            keys::vault::<_, P::Crypto>(parts.root_key, &content).map_err(|_| Error::Hardware)?;
        self.keys.vault = Some(vault);
        self.keys.content = Some(content);
        self.vault.unmount();
        Ok(())
    }

    fn install_session(&mut self, grant: &Grant) -> Result<(), Error> {
        let session = Session {
            series: grant.series,
            generation: Generation(1),
            token: grant.token.clone(),
        };
        self.put_session(&session)?;
        if !grant.display_name.is_empty() {
            let stamp = self.stamp();
            let value = Some([stamp.as_slice(), grant.display_name.as_bytes()]);
            self.log_write(Which::Vault, DISPLAY_NAME, value, false)?;
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
    pub(super) fn put_session(&mut self, s: &Session) -> Result<(), Error> {
        let mut buf = Zeroizing::new([0u8; 64]);
        let n = codec::write(s, buf.as_mut()).ok_or(Error::TooLong)?;
        let value = Some([&[], buf.get(..n).unwrap_or_default()]);
        self.log_write(Which::Vault, SESSION, value, false)
    }
}

/// Draws N bytes and refuses a generator that repeats or is stuck.
fn healthy_random<const N: usize, G: TryCryptoRng>(rng: &mut G) -> Result<[u8; N], Error> {
    let mut a = [0u8; N];
    let mut b = [0u8; N];
    rng.try_fill_bytes(&mut a)
        .and_then(|()| rng.try_fill_bytes(&mut b))
        .map_err(|_| Error::RandomGenerator)?;
    // NIST SP 800-90B §4.4.1 with one byte per sample: 2⁻²⁰ false alarms for a
    // full-entropy source need four equal samples in a row; five are refused.
    let stuck = |x: &[u8]| x.windows(5).any(|w| w.iter().all(|v| Some(v) == w.first()));
    if a == b || stuck(&a) || stuck(&b) {
        return Err(Error::RandomGenerator);
    }
    zeroize::Zeroize::zeroize(&mut b);
    Ok(a)
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
        let draw = |bytes: &[u8; 16]| healthy_random::<8, _>(&mut Bytes(bytes));
        let refused = Err(Error::RandomGenerator);
        assert_eq!(draw(b"abcdefghijklmnop"), Ok(*b"abcdefgh"));
        assert_eq!(draw(b"aaaabbbbccccdddd"), Ok(*b"aaaabbbb"));
        assert_eq!(draw(b"abcdefghabcdefgh"), refused, "twice the same");
        assert_eq!(draw(b"abaaaaabijklmnop"), refused, "five in the first");
        assert_eq!(draw(b"abcdefghijkkkkkp"), refused, "five in the second");
    }
}
