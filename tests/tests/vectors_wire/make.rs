//! Makes vectors: bytes with their values, and bytes with the reason for their
//! refusal.

use nrd_agent::Error;
use nrd_agent::wire::codec::{self, Code};
use nrd_agent::wire::{self, Body, MAX_FRAME};
use nrd_hal::crypto::{RingCrypto, RustCrypto};
use nrd_sim::base::hex;
use nrd_sim::base::sign::{keypair, public, signed};
use ring::signature::Ed25519KeyPair;
use serde::Serialize;
use serde_json::{Value, json};

/// The one key that signs here: what signs what is the page's.
pub(crate) fn key() -> Ed25519KeyPair {
    keypair(&[9; 32])
}

/// Arrays of bytes as hexadecimal digits. Pairs are pairs.
pub(crate) fn readable(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> = items
                .iter()
                .map(|v| v.as_u64().and_then(|n| u8::try_from(n).ok()))
                .collect();
            match bytes.filter(|b| b.len() != 2) {
                Some(bytes) => json!(hex(&bytes)),
                None => items.into_iter().map(readable).collect(),
            }
        }
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, readable(v))).collect(),
        other => other,
    }
}

#[derive(Default)]
pub(crate) struct Vectors {
    pub(crate) accepted: Vec<Value>,
    pub(crate) refused: Vec<Value>,
}

impl Vectors {
    pub(crate) fn accept(&mut self, name: &str, ty: &str, bytes: &[u8], value: impl Serialize) {
        let value = readable(serde_json::to_value(value).unwrap());
        self.accepted
            .push(json!({ "name": name, "type": ty, "bytes": hex(bytes), "value": value }));
    }

    pub(crate) fn signed<'a, B: Body<'a> + Serialize>(
        &mut self,
        name: &str,
        ty: &str,
        body: &B,
    ) -> Vec<u8> {
        let frame = signed(&key(), body);
        self.accept(name, ty, &frame, body);
        frame
    }

    pub(crate) fn unsigned<'a, B: Body<'a> + Serialize>(
        &mut self,
        name: &str,
        ty: &str,
        body: &B,
    ) -> Vec<u8> {
        let mut out = [0; MAX_FRAME];
        let n = wire::encode(body, &mut out).unwrap();
        self.accept(name, ty, &out[..n], body);
        out[..n].to_vec()
    }

    /// What travels in no frame: a record of the journal.
    pub(crate) fn record<'a, T: Code<'a> + Serialize>(&mut self, name: &str, ty: &str, value: &T) {
        let mut out = [0; MAX_FRAME];
        let n = codec::write(b"", value, &mut out).unwrap();
        self.accept(name, ty, &out[..n], value);
    }

    /// Bytes that both providers refuse, for the same reason.
    pub(crate) fn refuse<'a, B: Body<'a>>(
        &mut self,
        name: &str,
        ty: &str,
        bytes: &'a [u8],
        why: Error,
    ) {
        let key = public(&key());
        let verdicts = if ty == "Reply" {
            [wire::decode::<B>(bytes).err(), Some(why)]
        } else {
            [
                wire::decode_signed::<B, RingCrypto>(bytes, &key).err(),
                wire::decode_signed::<B, RustCrypto>(bytes, &key).err(),
            ]
        };
        assert_eq!(verdicts, [Some(why); 2], "{ty}, {name}");
        let words = match why {
            Error::TooLong => "too long",
            Error::WrongType => "wrong type",
            Error::BadSignature => "bad signature",
            _ => "malformed",
        };
        self.refused
            .push(json!({ "name": name, "type": ty, "bytes": hex(bytes), "reason": words }));
    }

    /// The faults that any frame can have.
    pub(crate) fn faults<'a, B: Body<'a>>(&mut self, ty: &str, frame: &[u8]) {
        let keep = |bytes: Vec<u8>| -> &'static [u8] { bytes.leak() };
        let is_signed = ty != "Reply";
        let open = B::CONTEXT.len();
        let end = frame.len() - if is_signed { 64 } else { 0 };
        let again = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if is_signed {
                let signature = key().sign(&bytes);
                bytes.extend_from_slice(signature.as_ref());
            }
            keep(bytes)
        };
        let mut long = frame.to_vec();
        long.resize(B::MAX + 1, 0);
        self.refuse::<B>("one byte above the bound", ty, keep(long), Error::TooLong);
        let mut other = frame.to_vec();
        other[4] = b'2';
        self.refuse::<B>("of version 2", ty, keep(other), Error::WrongType);
        let mut other = frame.to_vec();
        other.remove(open - 1);
        self.refuse::<B>(
            "no zero byte behind the type",
            ty,
            keep(other),
            Error::WrongType,
        );
        self.refuse::<B>("nothing", ty, &[], Error::WrongType);
        let mut longer = frame[..end].to_vec();
        longer.push(0);
        self.refuse::<B>(
            "a byte behind the body",
            ty,
            again(&longer),
            Error::Malformed,
        );
        let short = &frame[..end - 1];
        self.refuse::<B>(
            "the body's last byte is gone",
            ty,
            again(short),
            Error::Malformed,
        );
        let none = &frame[..open];
        self.refuse::<B>("no body", ty, again(none), Error::Malformed);
        if is_signed {
            let mut other = frame.to_vec();
            other[open] ^= 1;
            self.refuse::<B>("a bit of the body", ty, keep(other), Error::BadSignature);
            let mut other = frame.to_vec();
            *other.last_mut().unwrap() ^= 1;
            self.refuse::<B>(
                "a bit of the signature",
                ty,
                keep(other),
                Error::BadSignature,
            );
            let short = keep(frame[..open + 63].to_vec());
            let name = "63 bytes behind the type";
            self.refuse::<B>(name, ty, short, Error::BadSignature);
            let short = keep(frame[..63].to_vec());
            let name = "63 bytes in all";
            self.refuse::<B>(name, ty, short, Error::WrongType);
        }
    }

    /// One byte of a body put for others, and signed anew.
    pub(crate) fn spoil<'a, B: Body<'a>>(
        &mut self,
        (name, ty): (&str, &str),
        frame: &[u8],
        at: usize,
        take: usize,
        put: &[u8],
    ) {
        let is_signed = ty != "Reply";
        let end = frame.len() - if is_signed { 64 } else { 0 };
        let mut bytes = frame[..end].to_vec();
        let at = B::CONTEXT.len() + at;
        bytes.splice(at..at + take, put.iter().copied());
        if is_signed {
            let signature = key().sign(&bytes);
            bytes.extend_from_slice(signature.as_ref());
        }
        self.refuse::<B>(name, ty, bytes.leak(), Error::Malformed);
    }
}
