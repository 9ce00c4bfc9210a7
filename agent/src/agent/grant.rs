//! Storing a grant: randomness, slot, session. The order of the steps, and what
//! a cut or a failure between them means, is the state machine's.

use super::effects::SESSION;
use super::logs::LogId;
use super::{Agent, Keys};
use crate::class::Class;
use crate::core::{Event, Granted};
use crate::error::Error;
use crate::log::RecordId;
use crate::slot;
use crate::wire::codec::Blank as _;
use crate::wire::{Body as _, Generation, Grant};
use nrd_hal::Platform;
use rand_core::TryCryptoRng;
use zeroize::Zeroize as _;

/// The display name's record.
pub(super) const DISPLAY_NAME: RecordId = RecordId {
    class: Class::Name as u8,
    id: 0,
};

impl<P: Platform> Agent<'_, P> {
    /// A grant arrived: checks it and begins to store it.
    pub(super) fn accept_grant(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.trust()?;
        let trust = self.trust.as_ref().ok_or(Error::WrongState)?;
        let grant = &mut self.keys.grant;
        *grant = Grant::BLANK;
        crate::wire::read_signed::<P::Crypto>(frame, Grant::KIND, &trust.session_key, grant)?;
        if grant.device_id != self.device_id {
            self.keys.drop_grant();
            return Err(Error::NotForUs);
        }
        let granted = Granted {
            id: grant.activation_id,
            epoch: grant.epoch,
            remember: grant.remember,
            policy: grant.policy,
            terms: grant.terms.held_between(&trust.bounds),
        };
        self.event(Event::Granted(&granted))
    }

    /// Draws the secret and the salts, and writes the slot.
    pub(super) fn make_slot(&mut self) -> Result<(), Error> {
        let parts = self.platform.parts();
        let Keys {
            grant,
            content,
            slot: key,
            ..
        } = &mut self.keys;
        content.zeroize();
        content.generation = 1;
        content.epoch = grant.epoch;
        content.activation_id = grant.activation_id.0;
        healthy_random(parts.rng, &mut content.secret)?;
        for s in &mut content.salts {
            healthy_random(parts.rng, &mut s.salt)?;
        }
        if grant.remember {
            let stored = slot::efface(parts.slot, 1)
                && slot::write::<_, P::Crypto>(parts.slot, 0, content, key);
            if !stored {
                return Err(Error::WornOut);
            }
        }
        self.open_vault()?;
        self.vault.unmount();
        self.vault.want_writable();
        Ok(())
    }

    /// Stores the grant's session, read back before it is used, and the display
    /// name. A computer with "remember me" unticked has no slot: nothing that
    /// opens the record outlives power-off.
    pub(super) fn store_grant_session(&mut self) -> Result<(), Error> {
        self.keys.next_session.series = self.keys.grant.series;
        self.keys.next_session.generation = Generation(1);
        self.keys.next_session.token.0 = self.keys.grant.token.0;
        self.store_next_session()?;
        if !self.keys.grant.display_name.is_empty() {
            let stamp = self.stamp();
            // The name stands in the agent's memory alone until it is sealed.
            let name = self.keys.grant.display_name.clone();
            let name = zeroize::Zeroizing::new(name);
            let value: [&[u8]; 2] = [&stamp, name.as_bytes()];
            self.log_write(LogId::Vault, DISPLAY_NAME, Some(&value))?;
        }
        Ok(())
    }

    /// Persists the session record, reads it back, and only then uses it.
    pub(super) fn store_next_session(&mut self) -> Result<(), Error> {
        let mut buf = zeroize::Zeroizing::new(
            [0u8; <super::Session as crate::wire::codec::Bounded>::MAX_LEN],
        );
        let n = crate::wire::codec::write(&[], &self.keys.next_session, buf.as_mut())?;
        let bytes = buf.get(..n).unwrap_or_default();
        self.log_write(LogId::Vault, SESSION, Some(&[bytes]))?;
        let Keys {
            session,
            next_session,
            ..
        } = &mut self.keys;
        session.series = next_session.series;
        session.generation = next_session.generation;
        session.token.0 = next_session.token.0;
        Ok(())
    }

    /// Stores the token that follows the one in use.
    pub(super) fn store_token(&mut self) -> Result<(), Error> {
        self.store_next_session()
    }
}

/// Fills `out` (at most 32 bytes), and refuses a generator that repeats or is
/// stuck.
pub(super) fn healthy_random<G: TryCryptoRng>(rng: &mut G, out: &mut [u8]) -> Result<(), Error> {
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
