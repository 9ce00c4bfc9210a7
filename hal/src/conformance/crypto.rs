//! [`Crypto`]: published vectors, and what must be refused.

use super::{Failure, keep};
use crate::crypto::{Crypto, Digest256 as _};

const PART: &str = "Crypto";

/// Checks a provider against published vectors. The Wycheproof suite goes
/// further; this is what fits on a target.
pub fn crypto<C: Crypto>() -> Result<(), Failure> {
    hashes::<C>()?;
    aead::<C>()?;
    ed25519::<C>()
}

const fn digit(c: u8) -> u8 {
    match c {
        b'0'..=b'9' => c - b'0',
        _ => c - b'a' + 10,
    }
}

/// Bytes of hexadecimal digits, at compile time.
const fn hex<const N: usize>(text: &str) -> [u8; N] {
    let t = text.as_bytes();
    assert!(t.len() == 2 * N);
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            out[i] = digit(t[2 * i]) << 4 | digit(t[2 * i + 1]);
        }
        i += 1;
    }
    out
}

fn hashes<C: Crypto>() -> Result<(), Failure> {
    // FIPS 180-4, "abc".
    const ABC: [u8; 32] = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    keep(PART, "SHA-256 (FIPS 180-4)", None, C::sha256(b"abc") == ABC)?;
    let mut parts = C::Sha256::default();
    for b in b"abc" {
        parts.update(&[*b]);
    }
    keep(
        PART,
        "SHA-256 in parts is SHA-256",
        None,
        parts.finish() == ABC,
    )?;
    // RFC 4231 §4.3.
    const JEFE: [u8; 32] = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let mac = C::hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
    keep(PART, "HMAC-SHA-256 (RFC 4231)", None, mac == JEFE)?;
    // RFC 5869 A.1, the first 32 bytes of output.
    const OKM: [u8; 32] = hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    let salt: [u8; 13] = hex("000102030405060708090a0b0c");
    let info: [u8; 10] = hex("f0f1f2f3f4f5f6f7f8f9");
    let (a, b) = info.split_at(4);
    keep(
        PART,
        "HKDF-SHA-256 (RFC 5869)",
        None,
        C::hkdf(&salt, &[0x0B; 22], &[a, b]) == OKM,
    )
}

fn aead<C: Crypto>() -> Result<(), Failure> {
    // The GCM specification's test case 16 (AES-256, 20 bytes of AAD).
    const KEY: [u8; 32] = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    const NONCE: [u8; 12] = hex("cafebabefacedbaddecaf888");
    const AAD: [u8; 20] = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    const TEXT: [u8; 60] = hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    const SEALED: [u8; 60] = hex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
    );
    const TAG: [u8; 16] = hex("76fc6ece0f4e1768cddf8853bb2d551b");
    let mut buf = TEXT;
    let tag = C::seal(&KEY, &NONCE, &AAD, &mut buf);
    keep(
        PART,
        "AES-256-GCM seals (SP 800-38D)",
        None,
        tag == Ok(TAG) && buf == SEALED,
    )?;
    let opened = C::open(&KEY, &NONCE, &AAD, &mut buf, &TAG);
    keep(
        PART,
        "AES-256-GCM opens (SP 800-38D)",
        None,
        opened.is_ok() && buf == TEXT,
    )?;
    for bit in [0u8, 63, 127] {
        let mut tag = TAG;
        if let Some(b) = tag.get_mut(usize::from(bit / 8)) {
            *b ^= 1 << (bit % 8);
        }
        let mut buf = SEALED;
        let refused = C::open(&KEY, &NONCE, &AAD, &mut buf, &tag).is_err();
        keep(PART, "a wrong tag is refused", Some(bit.into()), refused)?;
        keep(PART, "a refused text is not given away", None, buf != TEXT)?;
    }
    let mut buf = SEALED;
    let refused = C::open(&KEY, &NONCE, b"other", &mut buf, &TAG).is_err();
    keep(PART, "wrong associated data is refused", None, refused)
}

fn ed25519<C: Crypto>() -> Result<(), Failure> {
    // RFC 8032 §7.1, test 3.
    const KEY: [u8; 32] = hex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
    const SIGNATURE: [u8; 64] = hex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    );
    let message = [0xAF, 0x82];
    let good = C::verify(&KEY, &message, &SIGNATURE).is_ok();
    keep(PART, "Ed25519 verifies (RFC 8032)", None, good)?;
    let refused = C::verify(&KEY, &[0xAF, 0x83], &SIGNATURE).is_err();
    keep(
        PART,
        "a signature of another message is refused",
        None,
        refused,
    )?;
    for at in [0usize, 31, 32, 63] {
        let mut altered = SIGNATURE;
        if let Some(b) = altered.get_mut(at) {
            *b ^= 1;
        }
        let refused = C::verify(&KEY, &message, &altered).is_err();
        keep(
            PART,
            "an altered signature is refused",
            Some(at as u32),
            refused,
        )?;
    }
    // S + L: the same signature to a verifier that does not reduce.
    const L: [u8; 32] = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut twin = SIGNATURE;
    let mut carry = 0u16;
    for (s, l) in twin.iter_mut().skip(32).zip(L) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        *s = sum as u8;
        carry = sum >> 8;
    }
    let refused = C::verify(&KEY, &message, &twin).is_err();
    keep(
        PART,
        "a signature has no twin (non-canonical S)",
        None,
        refused,
    )?;
    // The neutral element as key: everything would verify.
    let mut low = [0u8; 64];
    low[0] = 1;
    let mut one = [0u8; 32];
    one[0] = 1;
    let refused = C::verify(&one, &message, &low).is_err();
    keep(PART, "a key of small order is refused", None, refused)
}
