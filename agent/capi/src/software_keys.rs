//! Software keys, for development boards and simulators. A product has a root
//! in fuses and a signing key in a secure part; these take both as bytes, which
//! any code on the device could read.

use crate::ffi::{Outcome, input, number, output};
use crate::platform::Provider;
use crate::types::*;
use nrd_hal::Crypto as _;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

/// # Safety
/// `at` is NULL or 32 readable bytes.
unsafe fn key(at: *const u8) -> Result<Zeroizing<[u8; 32]>, i32> {
    // SAFETY: passed on.
    let bytes = unsafe { input(at, 32)? };
    let bytes = bytes.try_into().map_err(|_| NRD_E_ARGUMENT)?;
    Ok(Zeroizing::new(bytes))
}

/// Does for `NrdPlatform.derive`, from a root of 32 bytes: HKDF-SHA-256.
/// `epoch` may be NULL. The caller refuses past epochs.
///
/// # Safety
/// The pointers are NULL or valid; `out` has 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_soft_derive(
    root: *const u8,
    label: *const u8,
    label_len: u32,
    epoch: *const u64,
    out: *mut u8,
) -> i32 {
    let work = || -> Outcome {
        // SAFETY: passed on; the inputs are read before `out` is written.
        let derived = unsafe {
            let root = key(root)?;
            let label = input(label, label_len as usize)?;
            Zeroizing::new(if epoch.is_null() {
                Provider::hkdf(b"nrd/1/fixed", root.as_ref(), &[label])
            } else {
                let epoch = epoch.read_unaligned().to_le_bytes();
                Provider::hkdf(b"nrd/1/epoch", root.as_ref(), &[label, &epoch])
            })
        };
        // SAFETY: passed on.
        unsafe { output(out, 32)? }.copy_from_slice(derived.as_ref());
        Ok(())
    };
    number(work())
}

/// The Ed25519 public key of a seed.
///
/// # Safety
/// The pointers are NULL or valid; both have 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_soft_public_key(seed: *const u8, out: *mut u8) -> i32 {
    let work = || -> Outcome {
        // SAFETY: passed on.
        let pair = Ed25519KeyPair::from_seed_unchecked(unsafe { key(seed)? }.as_ref())
            .map_err(|_| NRD_E_CRYPTO)?;
        // SAFETY: passed on.
        unsafe { output(out, 32)? }.copy_from_slice(pair.public_key().as_ref());
        Ok(())
    };
    number(work())
}

/// Does for `NrdPlatform.sign`, with a seed of 32 bytes.
///
/// # Safety
/// The pointers are NULL or valid; `out` has 64 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_soft_sign(
    seed: *const u8,
    message: *const u8,
    message_len: u32,
    out: *mut u8,
) -> i32 {
    let work = || -> Outcome {
        // SAFETY: passed on.
        let (seed, message) = unsafe { (key(seed)?, input(message, message_len as usize)?) };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| NRD_E_CRYPTO)?;
        let signature = pair.sign(message);
        // SAFETY: passed on.
        unsafe { output(out, 64)? }.copy_from_slice(signature.as_ref());
        Ok(())
    };
    number(work())
}
