//! The ring provider.

use super::{AeadError, Crypto, Digest256, SignatureError};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::{digest, hkdf, hmac, signature};

/// Cryptography by [ring](https://docs.rs/ring). Links `alloc` (ring does)
/// though nothing here allocates. ring does not zeroize its expanded keys;
/// the agent asks for a platform reset at the end of a wipe for that reason.
///
/// ```
/// use nrd_hal::conformance;
/// use nrd_hal::crypto::RingCrypto;
///
/// assert_eq!(conformance::crypto::<RingCrypto>(), Ok(()));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RingCrypto;

/// Incremental SHA-256 by ring.
#[derive(Clone)]
pub struct RingSha256(digest::Context);

impl Default for RingSha256 {
    fn default() -> Self {
        RingSha256(digest::Context::new(&digest::SHA256))
    }
}

impl Digest256 for RingSha256 {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn finish(self) -> [u8; 32] {
        to_32(self.0.finish().as_ref())
    }
}

fn to_32(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    if let Some(bytes) = bytes.get(..32) {
        out.copy_from_slice(bytes);
    }
    out
}

fn key(bytes: &[u8; 32]) -> Result<LessSafeKey, AeadError> {
    UnboundKey::new(&AES_256_GCM, bytes)
        .map(LessSafeKey::new)
        .map_err(|_| AeadError)
}

/// The y coordinates of the points whose order divides 8, canonical or not
/// (RFC 8032 §5.1.2 encoding, without the sign bit). A key among them verifies
/// anything.
const SMALL_ORDER: [[u8; 32]; 7] = {
    let zero = [0; 32];
    let mut one = [0; 32];
    one[0] = 1;
    let mut edge = [[0xFF; 32]; 3];
    edge[0][0] = 0xEC;
    edge[1][0] = 0xED;
    edge[2][0] = 0xEE;
    edge[0][31] = 0x7F;
    edge[1][31] = 0x7F;
    edge[2][31] = 0x7F;
    [
        zero,
        one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
        edge[0],
        edge[1],
        edge[2],
    ]
};

fn small_order(point: &[u8; 32]) -> bool {
    let mut y = *point;
    if let Some(last) = y.last_mut() {
        *last &= 0x7F;
    }
    SMALL_ORDER.contains(&y)
}

struct Len32;
impl hkdf::KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

impl Crypto for RingCrypto {
    type Sha256 = RingSha256;

    fn seal(
        k: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; 16], AeadError> {
        let tag = key(k)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(aad),
                in_out,
            )
            .map_err(|_| AeadError)?;
        tag.as_ref().try_into().map_err(|_| AeadError)
    }

    fn open(
        k: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), AeadError> {
        key(k)?
            .open_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(aad),
                Tag::from(*tag),
                in_out,
                0..,
            )
            .map(|_| ())
            .map_err(|_| AeadError)
    }

    fn hmac(k: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut ctx = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, k));
        for part in parts {
            ctx.update(part);
        }
        to_32(ctx.sign().as_ref())
    }

    fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 32] {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
        let mut out = [0; 32];
        // 32 bytes is far below HKDF's limit of 255 blocks: this cannot fail.
        if let Ok(okm) = prk.expand(info, Len32) {
            let _ = okm.fill(&mut out);
        }
        out
    }

    fn verify(pk: &[u8; 32], message: &[u8], sig: &[u8; 64]) -> Result<(), SignatureError> {
        // ring takes points of small order; the other provider does not.
        let r = sig.first_chunk::<32>().ok_or(SignatureError)?;
        if small_order(pk) || small_order(r) {
            return Err(SignatureError);
        }
        signature::UnparsedPublicKey::new(&signature::ED25519, pk)
            .verify(message, sig)
            .map_err(|_| SignatureError)
    }
}
