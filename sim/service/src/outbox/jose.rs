//! Signs security event tokens: `jsonwebtoken` builds them, ring signs
//! (EdDSA with Ed25519, RFC 8037), so that no second crypto library is linked.

use crate::Keys;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use nrd_hal::Crypto as _;
use nrd_hal::crypto::RingCrypto;
use nrd_sim_base::hex;
use nrd_sim_base::sign;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

struct Signer(Ed25519KeyPair);

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    match (algorithm, key.as_bytes().try_into()) {
        (Algorithm::EdDSA, Ok(seed)) => Ok(Box::new(Signer(sign::keypair(seed)))),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// Nothing is verified here: that is the receiver's part.
fn verifier(_: &Algorithm, _: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

impl signature::Signer<Vec<u8>> for Signer {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

/// A signed token of `claims`, with its issuer and audience.
pub fn token(keys: &Keys, claims: &[u8], issuer: &str, audience: &str) -> Result<String, String> {
    // Every call but the first is refused, because it is installed already.
    #[expect(
        clippy::let_underscore_must_use,
        reason = "another thread installed the same one first"
    )]
    let _ = PROVIDER.install_default();
    let mut claims: Value = serde_json::from_slice(claims).map_err(|e| e.to_string())?;
    claims["iss"] = issuer.into();
    claims["aud"] = audience.into();
    let header = Header {
        // RFC 8417 §2.3.
        typ: Some("secevent+jwt".to_owned()),
        kid: Some(key_id(keys)),
        ..Header::new(Algorithm::EdDSA)
    };
    let key = EncodingKey::from_ed_der(keys.events_seed().as_ref());
    jsonwebtoken::encode(&header, &claims, &key).map_err(|e| e.to_string())
}

fn public(keys: &Keys) -> [u8; 32] {
    sign::public(&sign::keypair(&keys.events_seed()))
}

/// Names the key in token headers and in the key set.
fn key_id(keys: &Keys) -> String {
    hex(&RingCrypto::sha256(&public(keys))[..8])
}

/// The key set (RFC 7517) that receivers fetch.
pub fn key_set(keys: &Keys) -> Value {
    json!({
        "keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": key_id(keys),
            "x": base64url(&public(keys)),
        }]
    })
}

/// Base64 for URLs, without padding (RFC 4648 §5).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let n = group.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for i in 0..=group.len() {
            let digit = n >> (18 - 6 * i) & 63;
            out.push(char::from(DIGITS[digit as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_that_of_the_rfc() {
        // RFC 8037, appendix A.2.
        let x = nrd_sim_base::unhex::<32>(
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        );
        let text = base64url(&x.unwrap());
        assert_eq!(text, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(base64url(b"f"), "Zg");
        assert_eq!(base64url(b"fo"), "Zm8");
    }
}
