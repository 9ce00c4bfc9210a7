//! What is measured: a store of values by 16-bit keys.

use super::flash::Tally;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::rc::Rc;

/// Why an engine did not take a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The values do not fit.
    Full,
    /// Anything else, in the engine's words.
    Failed(String),
}

/// A store under measurement.
pub trait Engine {
    /// Name and version.
    fn name(&self) -> String;
    /// Stores a value.
    fn put(&mut self, key: u16, value: &[u8]) -> Result<(), Refusal>;
    /// Reads a value; its length.
    fn get(&mut self, key: u16, out: &mut [u8]) -> Option<usize>;
    /// Removes a value.
    fn remove(&mut self, key: u16) -> Result<(), Refusal>;
    /// The first bytes of the value just put, as they stand on the flash: in
    /// plain, or sealed.
    fn stored(&self, value: &[u8]) -> Mark {
        mark(value)
    }
    /// The tally of its flash.
    fn tally(&self) -> Rc<Tally>;
    /// The cells, at the end.
    fn cells(self: Box<Self>) -> Vec<u8>;
}

/// Bytes by which a stored value is found again.
pub type Mark = [u8; 16];

/// The mark that stands at the start of `bytes`.
pub fn mark(bytes: &[u8]) -> Mark {
    bytes.first_chunk().copied().unwrap_or_default()
}

/// What sealing adds to a value: nonce and tag, in bytes.
pub const SEAL: usize = 12 + 16;

/// AES-256-GCM around a peer's values: nonce ‖ ciphertext ‖ tag, the key's
/// number as associated data. The peer's best case: its key is expanded once,
/// and its nonce is a counter.
pub struct Aead {
    key: LessSafeKey,
    counter: u64,
}

impl Aead {
    /// A key made from `seed`.
    ///
    /// # Panics
    /// Never: the key has the algorithm's length.
    pub fn new(seed: u8) -> Aead {
        let key = UnboundKey::new(&AES_256_GCM, &[seed; 32]).expect("32 bytes");
        Aead {
            key: LessSafeKey::new(key),
            counter: 0,
        }
    }

    /// Seals `value` into `out`.
    pub fn seal(&mut self, key: u16, value: &[u8], out: &mut Vec<u8>) {
        self.counter += 1;
        let mut nonce = [0u8; 12];
        nonce[..8].copy_from_slice(&self.counter.to_le_bytes());
        out.clear();
        out.extend_from_slice(&nonce);
        out.extend_from_slice(value);
        let sealed = self.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(key.to_le_bytes()),
            &mut out[12..],
        );
        out.extend_from_slice(sealed.expect("far below the limit").as_ref());
    }

    /// Opens in place; the value's place in `sealed`.
    pub fn open<'s>(&self, key: u16, sealed: &'s mut [u8]) -> Option<&'s [u8]> {
        let (nonce, body) = sealed.split_first_chunk_mut::<12>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(key.to_le_bytes()), body)
            .ok()?;
        Some(opened)
    }
}

/// An engine whose values are sealed.
pub struct Sealed<E: ?Sized> {
    aead: Aead,
    buf: Vec<u8>,
    inner: Box<E>,
}

impl<E: Engine + ?Sized> Sealed<E> {
    /// Seals what goes into `inner`.
    pub fn new(inner: Box<E>) -> Self {
        Sealed {
            aead: Aead::new(7),
            buf: Vec::with_capacity(8192),
            inner,
        }
    }
}

impl<E: Engine + ?Sized> Engine for Sealed<E> {
    fn name(&self) -> String {
        format!("{} + AEAD", self.inner.name())
    }
    fn put(&mut self, key: u16, value: &[u8]) -> Result<(), Refusal> {
        self.aead.seal(key, value, &mut self.buf);
        self.inner.put(key, &self.buf)
    }
    fn get(&mut self, key: u16, out: &mut [u8]) -> Option<usize> {
        self.buf.resize(out.len() + SEAL, 0);
        let n = self.inner.get(key, &mut self.buf)?;
        let value = self.aead.open(key, self.buf.get_mut(..n)?)?;
        out.get_mut(..value.len())?.copy_from_slice(value);
        Some(value.len())
    }
    fn remove(&mut self, key: u16) -> Result<(), Refusal> {
        self.inner.remove(key)
    }
    fn stored(&self, _: &[u8]) -> Mark {
        mark(self.buf.get(12..).unwrap_or_default())
    }
    fn tally(&self) -> Rc<Tally> {
        self.inner.tally()
    }
    fn cells(self: Box<Self>) -> Vec<u8> {
        self.inner.cells()
    }
}

impl Engine for Box<dyn Engine> {
    fn name(&self) -> String {
        (**self).name()
    }
    fn put(&mut self, key: u16, value: &[u8]) -> Result<(), Refusal> {
        (**self).put(key, value)
    }
    fn get(&mut self, key: u16, out: &mut [u8]) -> Option<usize> {
        (**self).get(key, out)
    }
    fn remove(&mut self, key: u16) -> Result<(), Refusal> {
        (**self).remove(key)
    }
    fn stored(&self, value: &[u8]) -> Mark {
        (**self).stored(value)
    }
    fn tally(&self) -> Rc<Tally> {
        (**self).tally()
    }
    fn cells(self: Box<Self>) -> Vec<u8> {
        (*self).cells()
    }
}
