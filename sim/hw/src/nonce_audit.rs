//! The simulated device's cryptography: ring's, with a audit of every nonce and
//! a memory of good signatures.
//!
//! A nonce that comes back under its key over other contents gives away both
//! (NIST SP 800-38D, section 8). Where a audit is open on a thread, every seal
//! of the agents that run there is held against all that was sealed before.

use nrd_hal::Crypto;
use nrd_hal::crypto::{AeadError, RingCrypto, SignatureError};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// By key (hashed) and nonce: what was sealed, hashed.
type Share = Mutex<HashMap<(u64, [u8; 12]), u64>>;

/// What was sealed under which key and nonce. Threads share one.
#[derive(Debug, Default)]
pub struct NonceAudit {
    /// Many, so that threads seldom wait.
    shares: [Share; 16],
    seals: AtomicU64,
    reused: AtomicU64,
}

thread_local! {
    static OPEN: RefCell<Option<Arc<NonceAudit>>> = const { RefCell::new(None) };
    /// Digests of signatures that were found good while a audit was open: the
    /// same delegation and certificate come back in every path.
    static GOOD: RefCell<HashSet<[u8; 32]>> = RefCell::new(HashSet::new());
}

/// Signatures that a thread remembers.
const MOST_GOOD: usize = 1 << 16;

/// Seals are noted on this thread until it is dropped.
#[derive(Debug)]
pub struct AuditScope(());

impl Drop for AuditScope {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| *open = None);
        GOOD.with_borrow_mut(HashSet::clear);
    }
}

impl NonceAudit {
    /// Notes what this thread seals from now on.
    pub fn note(self: &Arc<Self>) -> AuditScope {
        OPEN.with_borrow_mut(|open| *open = Some(self.clone()));
        AuditScope(())
    }

    /// How many seals were noted, repetitions of the same bytes included.
    pub fn seals(&self) -> u64 {
        self.seals.load(Ordering::Relaxed)
    }

    /// How many different pairs of key and nonce were seen.
    pub fn nonces(&self) -> u64 {
        let len = |s: &Share| s.lock().map_or(0, |s| s.len() as u64);
        self.shares.iter().map(len).sum()
    }

    /// How often a nonce came back over other contents.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    fn seal(&self, key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], plain: &[u8]) {
        let under = hash(|h| key.hash(h));
        let what = hash(|h| (aad, plain).hash(h));
        let share = &self.shares[usize::from(nonce[0] & 15)];
        let mut seen = share.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *seen.entry((under, *nonce)).or_insert(what);
        self.seals.fetch_add(1, Ordering::Relaxed);
        let again = u64::from(first != what);
        self.reused.fetch_add(again, Ordering::Relaxed);
    }
}

fn hash(feed: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut h = DefaultHasher::new();
    feed(&mut h);
    h.finish()
}

/// ring, scope_guard what it seals and remembering what it verified.
#[derive(Debug)]
pub struct AuditedCrypto;

impl Crypto for AuditedCrypto {
    type Sha256 = <RingCrypto as Crypto>::Sha256;

    fn seal(
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; 16], AeadError> {
        OPEN.with_borrow(|open| {
            if let Some(audit) = open {
                audit.seal(key, nonce, aad, in_out);
            }
        });
        RingCrypto::seal(key, nonce, aad, in_out)
    }

    fn open(
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), AeadError> {
        RingCrypto::open(key, nonce, aad, in_out, tag)
    }

    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        RingCrypto::hmac(key, parts)
    }

    fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 32] {
        RingCrypto::hkdf(salt, ikm, info)
    }

    fn verify(
        public_key: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), SignatureError> {
        if OPEN.with_borrow(Option::is_none) {
            return RingCrypto::verify(public_key, message, signature);
        }
        let digest = RingCrypto::hmac(public_key, &[signature, message]);
        if GOOD.with_borrow(|good| good.contains(&digest)) {
            return Ok(());
        }
        RingCrypto::verify(public_key, message, signature)?;
        GOOD.with_borrow_mut(|good| {
            if good.len() >= MOST_GOOD {
                good.clear();
            }
            good.insert(digest)
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_over_other_contents_is_noted_and_the_same_bytes_are_not() {
        let audit = Arc::new(NonceAudit::default());
        let seal = |key: u8, nonce: u8, aad: &[u8], text: &[u8]| {
            let mut text = text.to_vec();
            AuditedCrypto::seal(&[key; 32], &[nonce; 12], aad, &mut text).unwrap();
            audit.reused()
        };
        assert_eq!(seal(1, 1, b"a", b"x"), 0);
        assert_eq!(audit.seals(), 0, "not open yet");
        let scope_guard = audit.note();
        assert_eq!(seal(1, 1, b"a", b"x"), 0);
        assert_eq!(seal(1, 1, b"a", b"x"), 0, "the same bytes");
        assert_eq!(seal(2, 1, b"a", b"y"), 0, "another key");
        assert_eq!(seal(1, 2, b"a", b"y"), 0, "another nonce");
        assert_eq!(seal(1, 1, b"b", b"x"), 1, "other associated data");
        assert_eq!(seal(1, 1, b"a", b"y"), 2, "another text");
        assert_eq!((audit.seals(), audit.nonces()), (6, 3));
        drop(scope_guard);
        assert_eq!(seal(1, 1, b"a", b"z"), 2, "closed");
    }

    #[test]
    fn a_signature_that_was_good_is_good_for_nothing_else() {
        let scope_guard = Arc::new(NonceAudit::default()).note();
        let key = nrd_sim_base::sign::keypair(&[7; 32]);
        let (public, other) = (nrd_sim_base::sign::public(&key), [9; 32]);
        let good: [u8; 64] = key.sign(b"order").as_ref().try_into().unwrap();
        let mut bad = good;
        bad[3] ^= 1;
        for _ in 0..2 {
            assert!(AuditedCrypto::verify(&public, b"order", &bad).is_err());
            assert!(AuditedCrypto::verify(&public, b"order", &good).is_ok());
            assert!(AuditedCrypto::verify(&public, b"orders", &good).is_err());
            assert!(AuditedCrypto::verify(&other, b"order", &good).is_err());
        }
        drop(scope_guard);
        assert!(AuditedCrypto::verify(&public, b"order", &bad).is_err());
    }
}
