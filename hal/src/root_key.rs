//! Derivation from a root secret that never leaves the part.

use crate::counter::Epoch;
use crate::error::ErrorType;
use zeroize::Zeroizing;

/// A device-unique root secret (fuses behind a crypto engine, a TEE's
/// hardware-unique key, a secure element).
///
/// The root itself is never readable. Two kinds of derivation:
/// - [`derive_fixed`](Self::derive_fixed) for what must survive every wipe
///   (the journal, the key slot's own check);
/// - [`derive_epoch`](Self::derive_epoch) for what must die with its epoch
///   (the vault).
///
/// Contract: the answer depends on every byte of the label and on the epoch,
/// is the same at every call and every boot, and differs between devices.
///
/// A part that derives by HKDF (RFC 5869) and is wired to the epoch counter:
///
/// ```
/// use nrd_hal::crypto::RingCrypto;
/// use nrd_hal::{Crypto, Epoch, ErrorKind, ErrorType, RootKey};
/// use zeroize::Zeroizing;
///
/// struct Engine {
///     fused: [u8; 32],
///     counter: fn() -> u64,
/// }
///
/// impl ErrorType for Engine {
///     type Error = ErrorKind;
/// }
///
/// impl RootKey for Engine {
///     fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
///         Ok(Zeroizing::new(RingCrypto::hkdf(b"fixed", &self.fused, &[label])))
///     }
///     fn derive_epoch(&mut self, label: &[u8], e: Epoch) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
///         if e.0 < (self.counter)() {
///             return Err(ErrorKind::Refused);
///         }
///         // The epoch has a fixed length and comes first, so that no other
///         // pair of epoch and label reads the same.
///         let info: [&[u8]; 2] = [&e.0.to_le_bytes(), label];
///         Ok(Zeroizing::new(RingCrypto::hkdf(b"epoch", &self.fused, &info)))
///     }
///     fn refuses_past_epochs(&self) -> bool {
///         true
///     }
/// }
///
/// let mut root = Engine { fused: [7; 32], counter: || 3 };
/// let now = root.derive_epoch(b"vault", Epoch(3)).unwrap();
/// assert_ne!(*now, *root.derive_epoch(b"vault", Epoch(4)).unwrap());
/// assert_eq!(root.derive_epoch(b"vault", Epoch(2)), Err(ErrorKind::Refused));
/// ```
pub trait RootKey: ErrorType {
    /// 32 bytes bound to `label` alone. `label` is at most 32 bytes.
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, Self::Error>;

    /// 32 bytes bound to `label` and `epoch`. A part that enforces epochs
    /// answers [`crate::ErrorKind::Refused`] for any epoch below the counter.
    fn derive_epoch(
        &mut self,
        label: &[u8],
        epoch: Epoch,
    ) -> Result<Zeroizing<[u8; 32]>, Self::Error>;

    /// True when the part itself refuses past epochs, so that an old flash
    /// image opens nothing on this device even for code that runs instead of
    /// the agent. The receipt repeats this claim; claim it only when it holds.
    fn refuses_past_epochs(&self) -> bool;
}

impl<T: RootKey + ?Sized> RootKey for &mut T {
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, Self::Error> {
        T::derive_fixed(self, label)
    }
    fn derive_epoch(
        &mut self,
        label: &[u8],
        epoch: Epoch,
    ) -> Result<Zeroizing<[u8; 32]>, Self::Error> {
        T::derive_epoch(self, label, epoch)
    }
    fn refuses_past_epochs(&self) -> bool {
        T::refuses_past_epochs(self)
    }
}
