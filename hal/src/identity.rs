//! Who the device is, and the key that proves it.

use crate::error::ErrorType;

/// Device id, maker certificate and the device's Ed25519 signing key
/// (RFC 8032). The private key never leaves the part.
///
/// A software key, for a development board:
///
/// ```
/// use nrd_hal::crypto::RingCrypto;
/// use nrd_hal::{DeviceIdentity, ErrorKind, ErrorType, conformance};
/// use ring::signature::{Ed25519KeyPair, KeyPair};
///
/// struct SoftIdentity {
///     key: Ed25519KeyPair,
///     certificate: Vec<u8>,
/// }
///
/// impl ErrorType for SoftIdentity {
///     type Error = ErrorKind;
/// }
///
/// impl DeviceIdentity for SoftIdentity {
///     fn device_id(&self) -> &str {
///         "NRD-DEV-0001"
///     }
///     fn public_key(&self) -> [u8; 32] {
///         let mut key = [0; 32];
///         key.copy_from_slice(self.key.public_key().as_ref());
///         key
///     }
///     fn certificate(&self) -> &[u8] {
///         &self.certificate
///     }
///     fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], ErrorKind> {
///         let mut signature = [0; 64];
///         signature.copy_from_slice(self.key.sign(message).as_ref());
///         Ok(signature)
///     }
/// }
///
/// let key = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
/// // The maker's signed frame; here only what the suite looks for in it.
/// let certificate = key.public_key().as_ref().to_vec();
/// let mut identity = SoftIdentity { key, certificate };
/// assert_eq!(conformance::identity::<_, RingCrypto>(&mut identity), Ok(()));
/// ```
pub trait DeviceIdentity: ErrorType {
    /// The device id (ESN-like): 1 to 32 bytes of printable ASCII.
    fn device_id(&self) -> &str;

    /// The Ed25519 public key, 32 bytes.
    fn public_key(&self) -> [u8; 32];

    /// The maker certificate as installed in the factory: at most 256 bytes,
    /// in the format of `docs/SPEC.md`, naming this device id and public key.
    fn certificate(&self) -> &[u8];

    /// Ed25519 signature of `message`, 64 bytes. May fail and be retried; the
    /// agent never loses a fact because signing failed.
    fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], Self::Error>;
}

impl<T: DeviceIdentity + ?Sized> DeviceIdentity for &mut T {
    fn device_id(&self) -> &str {
        T::device_id(self)
    }
    fn public_key(&self) -> [u8; 32] {
        T::public_key(self)
    }
    fn certificate(&self) -> &[u8] {
        T::certificate(self)
    }
    fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], Self::Error> {
        T::sign(self, message)
    }
}
