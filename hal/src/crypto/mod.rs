//! The cryptography the agent needs, behind one trait.
//!
//! Providers: `RingCrypto` (feature `ring`, which the simulator uses) and
//! `RustCrypto` (feature `rustcrypto`, for parts that ring has no assembly for
//! and for images without any allocator). Both give identical bytes.

use core::fmt::Debug;

#[cfg(feature = "ring")]
mod ring;
#[cfg(feature = "ring")]
pub use self::ring::RingCrypto;
#[cfg(feature = "rustcrypto")]
mod rustcrypto;
#[cfg(feature = "rustcrypto")]
pub use self::rustcrypto::RustCrypto;

/// Authentication failed, or an input exceeded the algorithm's limits. Says
/// nothing more, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AeadError;

/// A signature did not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureError;

/// Incremental SHA-256 (FIPS 180-4).
///
/// ```
/// use nrd_hal::Crypto;
/// use nrd_hal::crypto::{Digest256, RingCrypto};
///
/// let mut digest = <RingCrypto as Crypto>::Sha256::default();
/// digest.update(b"a");
/// digest.update(b"bc");
/// assert_eq!(digest.finish(), RingCrypto::sha256(b"abc"));
/// ```
pub trait Digest256: Default {
    /// Appends `data`.
    fn update(&mut self, data: &[u8]);
    /// The digest, 32 bytes.
    fn finish(self) -> [u8; 32];
}

/// AES-256-GCM (NIST SP 800-38D), HMAC-SHA-256 (RFC 2104), HKDF-SHA-256
/// (RFC 5869), SHA-256 (FIPS 180-4) and Ed25519 verification (RFC 8032).
///
/// Associated functions, not methods: a provider holds no state, and a
/// hardware engine guards its own access.
///
/// ```
/// use nrd_hal::Crypto;
/// use nrd_hal::crypto::RingCrypto;
///
/// /// Works with any provider.
/// fn there_and_back<C: Crypto>(text: &[u8]) -> bool {
///     let (key, nonce) = (C::hkdf(b"salt", b"input key", &[b"info"]), [1; 12]);
///     let mut bytes = text.to_vec();
///     let Ok(tag) = C::seal(&key, &nonce, b"header", &mut bytes) else {
///         return false;
///     };
///     // Other associated data does not open it, and gives nothing away.
///     let mut copy = bytes.clone();
///     let refused = C::open(&key, &nonce, b"another", &mut copy, &tag).is_err();
///     let opened = C::open(&key, &nonce, b"header", &mut bytes, &tag).is_ok();
///     refused && copy != text && opened && bytes == text
/// }
///
/// assert!(there_and_back::<RingCrypto>(b"alex@example.org"));
/// ```
pub trait Crypto: Debug {
    /// Incremental SHA-256.
    type Sha256: Digest256;

    /// Encrypts `in_out` in place; returns the 16-byte tag.
    fn seal(
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; 16], AeadError>;

    /// Checks the tag and decrypts `in_out` in place. On an error `in_out`
    /// holds no plaintext.
    fn open(
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), AeadError>;

    /// HMAC-SHA-256 over the concatenation of `parts`.
    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32];

    /// HKDF-SHA-256, extract then expand, 32 bytes of output; `info` is the
    /// concatenation of its parts.
    fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 32];

    /// SHA-256 of `data`.
    fn sha256(data: &[u8]) -> [u8; 32] {
        let mut d = Self::Sha256::default();
        d.update(data);
        d.finish()
    }

    /// Ed25519 verification of `signature` over `message`. A non-canonical
    /// scalar is refused, so signatures cannot be altered into others.
    fn verify(
        public_key: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), SignatureError>;
}
