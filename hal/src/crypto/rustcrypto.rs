//! The RustCrypto provider.

use super::{AeadError, Crypto, Digest256, SignatureError};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Cryptography by the RustCrypto and dalek crates, in pure Rust, with no
/// allocator.
///
/// ```
/// use nrd_hal::Crypto;
/// use nrd_hal::crypto::{RingCrypto, RustCrypto};
///
/// // Providers can be changed in the field: they give identical bytes.
/// let parts: [&[u8]; 2] = [b"nrd/1/", b"label"];
/// assert_eq!(RustCrypto::hmac(&[7; 32], &parts), RingCrypto::hmac(&[7; 32], &parts));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RustCrypto;

/// Incremental SHA-256 by RustCrypto.
#[derive(Clone, Default)]
pub struct RustSha256(Sha256);

impl Digest256 for RustSha256 {
    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }
    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl Crypto for RustCrypto {
    type Sha256 = RustSha256;

    fn seal(
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; 16], AeadError> {
        Aes256Gcm::new(&(*key).into())
            .encrypt_inout_detached(&Nonce::from(*nonce), aad, in_out.into())
            .map(Into::into)
            .map_err(|_| AeadError)
    }

    fn open(
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), AeadError> {
        Aes256Gcm::new(&(*key).into())
            .decrypt_inout_detached(&Nonce::from(*nonce), aad, in_out.into(), &Tag::from(*tag))
            .map_err(|_| AeadError)
    }

    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes keys of any length (RFC 2104): this cannot fail.
        let Ok(mut mac) = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(key) else {
            return [0; 32];
        };
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        // 32 bytes is far below HKDF's limit of 255 blocks: this cannot fail.
        let _ = hkdf::Hkdf::<Sha256>::new(Some(salt), ikm).expand_multi_info(info, &mut out);
        out
    }

    fn verify(pk: &[u8; 32], message: &[u8], sig: &[u8; 64]) -> Result<(), SignatureError> {
        ed25519_dalek::VerifyingKey::from_bytes(pk)
            .and_then(|k| k.verify_strict(message, &ed25519_dalek::Signature::from_bytes(sig)))
            .map_err(|_| SignatureError)
    }
}
