//! Ed25519 keys, and frames signed with them: for tests that forge an order,
//! a certificate or a delegation of their own.

use nrd_agent::Error;
use nrd_agent::wire::{self, Body, DeviceId, DeviceKind, MakerCertificate, SIGNATURE_LEN};
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

/// The signature of `message`, 64 bytes.
pub fn signature(key: &Ed25519KeyPair, message: &[u8]) -> [u8; SIGNATURE_LEN] {
    let mut out = [0; SIGNATURE_LEN];
    out.copy_from_slice(key.sign(message).as_ref());
    out
}

/// A signed frame of `body`.
///
/// # Panics
/// When the body is larger than any frame may be.
pub fn signed<'a, B: Body<'a>>(key: &Ed25519KeyPair, body: &B) -> Vec<u8> {
    let mut out = [0u8; wire::MAX_FRAME];
    let n = wire::encode_signed::<_, Error>(body, &mut out, |message| Ok(signature(key, message)))
        .expect("every object fits into MAX_FRAME");
    out[..n].to_vec()
}

/// A maker certificate: `maker` says that this device has this key.
///
/// # Panics
/// When `device_id` is not 1 to 32 printable ASCII characters, or `model` has
/// more than 32 bytes.
pub fn certificate(
    maker: &Ed25519KeyPair,
    device_id: &str,
    public_key: [u8; 32],
    model: &str,
    kind: DeviceKind,
) -> Vec<u8> {
    let body = MakerCertificate {
        device_id: DeviceId::new(device_id).expect("device id: 1 to 32 printable ASCII characters"),
        public_key,
        model: model.try_into().expect("model: at most 32 bytes"),
        kind,
    };
    signed(maker, &body)
}
