//! Project Wycheproof's vectors over both providers, and the providers against
//! each other.

use nrd_hal::crypto::{Crypto, RingCrypto, RustCrypto};
use wycheproof::TestResult;
use wycheproof::{aead, eddsa, hkdf, mac};

fn aes_gcm<C: Crypto>() -> u32 {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut tried = 0;
    for group in set.test_groups {
        if group.key_size != 256 || group.nonce_size != 96 || group.tag_size != 128 {
            continue;
        }
        for t in group.tests {
            let key: [u8; 32] = t.key.as_slice().try_into().unwrap();
            let nonce: [u8; 12] = t.nonce.as_slice().try_into().unwrap();
            let tag: [u8; 16] = t.tag.as_slice().try_into().unwrap();
            let good = t.result != TestResult::Invalid;
            let mut text = t.ct.to_vec();
            let opened = C::open(&key, &nonce, &t.aad, &mut text, &tag).is_ok();
            assert_eq!(opened, good, "AES-GCM {}: {}", t.tc_id, t.comment);
            if good {
                assert_eq!(text, t.pt.to_vec(), "AES-GCM {}", t.tc_id);
                let sealed = C::seal(&key, &nonce, &t.aad, &mut text).unwrap();
                assert_eq!((text, sealed), (t.ct.to_vec(), tag), "AES-GCM {}", t.tc_id);
            }
            tried += 1;
        }
    }
    tried
}

fn hmac_sha256<C: Crypto>() -> u32 {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let mut tried = 0;
    for group in set.test_groups.into_iter().filter(|g| g.tag_size == 256) {
        for t in group.tests {
            let (a, b) = t.msg.split_at(t.msg.len() / 3);
            let good = C::hmac(&t.key, &[a, b])[..] == t.tag[..];
            assert_eq!(good, t.result != TestResult::Invalid, "HMAC {}", t.tc_id);
            tried += 1;
        }
    }
    tried
}

fn hkdf_sha256<C: Crypto>() -> u32 {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let mut tried = 0;
    for t in set.test_groups.into_iter().flat_map(|g| g.tests) {
        // The first 32 bytes of output are the same for every length above.
        if t.size < 32 || t.result == TestResult::Invalid {
            continue;
        }
        let (a, b) = t.info.split_at(t.info.len() / 2);
        let out = C::hkdf(&t.salt, &t.ikm, &[a, b]);
        assert_eq!(out[..], t.okm[..32], "HKDF {}", t.tc_id);
        tried += 1;
    }
    tried
}

fn ed25519<C: Crypto>() -> u32 {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut tried = 0;
    for group in set.test_groups {
        let key: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        for t in group.tests {
            // A frame always carries 64 bytes.
            let Ok(signature) = <[u8; 64]>::try_from(t.sig.as_slice()) else {
                continue;
            };
            let good = C::verify(&key, &t.msg, &signature).is_ok();
            let expected = t.result != TestResult::Invalid;
            assert_eq!(good, expected, "Ed25519 {}: {}", t.tc_id, t.comment);
            tried += 1;
        }
    }
    tried
}

fn all<C: Crypto>() {
    let tried = [
        aes_gcm::<C>(),
        hmac_sha256::<C>(),
        hkdf_sha256::<C>(),
        ed25519::<C>(),
    ];
    println!("AES-256-GCM, HMAC, HKDF, Ed25519: {tried:?} vectors");
    assert!(tried.iter().all(|&n| n > 40), "{tried:?}");
}

#[test]
fn ring_passes_wycheproof() {
    all::<RingCrypto>();
}

#[test]
fn rustcrypto_passes_wycheproof() {
    all::<RustCrypto>();
}

/// SplitMix64.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 13
}

#[test]
fn both_providers_give_identical_bytes() {
    let seed = std::env::var("NRD_SEED").ok().and_then(|s| s.parse().ok());
    let mut state = seed.unwrap_or(1);
    println!("seed {state}");
    let bytes = |state: &mut u64, max: u64| -> Vec<u8> {
        let n = draw(state) % (max + 1);
        (0..n).map(|_| draw(state) as u8).collect()
    };
    for _ in 0..400 {
        let s = &mut state;
        let mut key = [0; 32];
        key.fill_with(|| draw(s) as u8);
        let mut nonce = [0; 12];
        nonce.fill_with(|| draw(s) as u8);
        let (aad, text) = (bytes(s, 40), bytes(s, 300));
        let (mut a, mut b) = (text.clone(), text.clone());
        let tags = (
            RingCrypto::seal(&key, &nonce, &aad, &mut a).unwrap(),
            RustCrypto::seal(&key, &nonce, &aad, &mut b).unwrap(),
        );
        assert_eq!((&a, tags.0), (&b, tags.1));
        RustCrypto::open(&key, &nonce, &aad, &mut a, &tags.0).unwrap();
        RingCrypto::open(&key, &nonce, &aad, &mut b, &tags.0).unwrap();
        assert_eq!((&a, &b), (&text, &text));
        assert_eq!(RingCrypto::sha256(&text), RustCrypto::sha256(&text));
        let parts: [&[u8]; 2] = [&aad, &text];
        assert_eq!(
            RingCrypto::hmac(&aad, &parts),
            RustCrypto::hmac(&aad, &parts)
        );
        assert_eq!(
            RingCrypto::hkdf(&aad, &text, &[&key, &aad]),
            RustCrypto::hkdf(&aad, &text, &[&key, &aad])
        );
        // Points and scalars at random, and the ones on the edge.
        let mut point = key;
        match draw(s) % 4 {
            0 => point = [0; 32],
            1 => {
                point = [0xFF; 32];
                point[0] = 0xEC_u8.wrapping_add((draw(s) % 20) as u8);
                point[31] = 0x7F | (draw(s) as u8 & 0x80);
            }
            _ => {}
        }
        let mut signature = [0; 64];
        signature.fill_with(|| draw(s) as u8);
        if draw(s).is_multiple_of(2) {
            signature[32..].fill(0);
        }
        assert_eq!(
            RingCrypto::verify(&point, &text, &signature).is_ok(),
            RustCrypto::verify(&point, &text, &signature).is_ok(),
        );
    }
}
