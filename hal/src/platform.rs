//! One type that names a port's choice of every part.

use crate::{Clock, Crypto, DeviceIdentity, Effaceable, MonotonicCounter, Region, RootKey};
use rand_core::TryCryptoRng;

/// A port. The agent owns one and borrows its parts for each operation.
///
/// `RamPort` below is the port of `hal/examples/ram_port/port.rs`, where every
/// part is implemented over RAM:
///
/// ```
/// # mod port { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ram_port/port.rs")); }
/// # use port::{Board, RamPort};
/// use nrd_hal::{Epoch, MonotonicCounter, Platform, Region, layout};
///
/// /// Works on any port: what a service menu shows of the device.
/// fn describe<P: Platform>(port: &mut P) -> Option<(u64, u32)> {
///     let parts = port.parts();
///     let Epoch(epoch) = parts.counter.read().ok()?;
///     let vault = parts.vault.geometry();
///     Some((epoch, vault.size / layout::logical_sector(&vault)))
/// }
///
/// let board = Board::new();
/// let mut port = RamPort::power_on(&board).unwrap();
/// assert_eq!(describe(&mut port), Some((0, 26)));
/// ```
pub trait Platform {
    /// AES-256-GCM, HMAC/HKDF, SHA-256 and Ed25519 verification.
    type Crypto: Crypto;
    /// The journal's flash: survives a deactivation. At least three logical
    /// sectors, see [`crate::layout`].
    type Journal: Region;
    /// The vault's flash: dies with the activation. At least three logical
    /// sectors.
    type Vault: Region;
    /// The two key slots.
    type Slot: Effaceable;
    /// The epoch counter.
    type Counter: MonotonicCounter;
    /// The root key.
    type RootKey: RootKey;
    /// The random generator.
    type Rng: TryCryptoRng;
    /// Device id and signing key.
    type Identity: DeviceIdentity;
    /// Uptime and wall time.
    type Clock: Clock;

    /// Borrows every part at once.
    fn parts(&mut self) -> Parts<'_, Self>;
}

/// The parts of a [`Platform`], borrowed together, so that a caller may hold
/// several at once.
///
/// ```
/// # mod port { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ram_port/port.rs")); }
/// # use port::{Board, RamPort};
/// use nrd_hal::{MonotonicCounter, Parts, Platform, RootKey};
///
/// let board = Board::new();
/// let mut port = RamPort::power_on(&board).unwrap();
/// let Parts { counter, root_key, .. } = port.parts();
/// let epoch = counter.read().unwrap();
/// let key = root_key.derive_epoch(b"a label", epoch).unwrap();
/// assert_ne!(*key, *root_key.derive_fixed(b"a label").unwrap());
/// ```
pub struct Parts<'a, P: Platform + ?Sized> {
    /// The journal's flash.
    pub journal: &'a mut P::Journal,
    /// The vault's flash.
    pub vault: &'a mut P::Vault,
    /// The key slots.
    pub slot: &'a mut P::Slot,
    /// The epoch counter.
    pub counter: &'a mut P::Counter,
    /// The root key.
    pub root_key: &'a mut P::RootKey,
    /// The random generator.
    pub rng: &'a mut P::Rng,
    /// Device id and signing key.
    pub identity: &'a mut P::Identity,
    /// Uptime and wall time.
    pub clock: &'a mut P::Clock,
}

impl<P: Platform + ?Sized> Platform for &mut P {
    type Crypto = P::Crypto;
    type Journal = P::Journal;
    type Vault = P::Vault;
    type Slot = P::Slot;
    type Counter = P::Counter;
    type RootKey = P::RootKey;
    type Rng = P::Rng;
    type Identity = P::Identity;
    type Clock = P::Clock;

    fn parts(&mut self) -> Parts<'_, Self> {
        let Parts {
            journal,
            vault,
            slot,
            counter,
            root_key,
            rng,
            identity,
            clock,
        } = P::parts(self);
        Parts {
            journal,
            vault,
            slot,
            counter,
            root_key,
            rng,
            identity,
            clock,
        }
    }
}
