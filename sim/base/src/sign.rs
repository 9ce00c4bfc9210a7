//! Ed25519 keys of the service and the maker, and frames signed with them.

use nrd_agent::wire::{self, Body};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// The key pair of a 32-byte seed (RFC 8032 §5.1.5).
///
/// # Panics
/// Never: every 32 bytes are a seed.
pub fn keypair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed")
}

/// The public half, 32 bytes.
pub fn public(key: &Ed25519KeyPair) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(key.public_key().as_ref());
    out
}

/// A signed frame of `body`.
///
/// # Panics
/// When the body is larger than any frame may be.
pub fn signed<'a, B: Body<'a>>(key: &Ed25519KeyPair, body: &B) -> Vec<u8> {
    let mut out = [0u8; wire::MAX_FRAME];
    let n = wire::encode_signed::<_, nrd_agent::Error>(body, &mut out, |m| {
        let mut s = [0; 64];
        s.copy_from_slice(key.sign(m).as_ref());
        Ok(s)
    })
    .expect("every object fits into MAX_FRAME");
    out[..n].to_vec()
}
