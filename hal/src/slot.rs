//! The few bytes that must truly die.

use crate::error::ErrorType;
use crate::region::Region;

/// What a completed erase of a slot guarantees about the old bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guarantee {
    /// The cells themselves were erased: no laboratory read-out short of
    /// attacking the silicon recovers them (what NIST SP 800-88 Rev. 2 asks of
    /// keys for *purge* by cryptographic erase).
    Physical,
    /// The part no longer returns the old bytes through its interface, but a
    /// copy may survive beneath it (a flash translation layer).
    Logical,
}

/// Two small slots, `A` (0) and `B` (1), that hold the activation secret.
///
/// The agent alternates between them: a new slot is written and read back
/// before the old one is destroyed. A slot is at least
/// [`Effaceable::SLOT_BYTES`] bytes.
///
/// Contract, checked by the conformance suite:
/// - operations on one slot leave the other alone;
/// - `write` is called only on an erased slot;
/// - after `erase` returns `Ok` every byte reads `0xFF`;
/// - after `zero` returns `Ok(true)` every byte reads `0x00` and stays so
///   until `erase`.
///
/// A secure element with two pages of its own:
///
/// ```
/// use nrd_hal::{Effaceable, ErrorKind, ErrorType, Guarantee, conformance};
///
/// struct SecureElement {
///     pages: [[u8; 256]; 2],
/// }
///
/// impl SecureElement {
///     fn page(&mut self, slot: u8, len: usize) -> Result<&mut [u8], ErrorKind> {
///         let page = self.pages.get_mut(usize::from(slot));
///         page.and_then(|p| p.get_mut(..len)).ok_or(ErrorKind::OutOfBounds)
///     }
/// }
///
/// impl ErrorType for SecureElement {
///     type Error = ErrorKind;
/// }
///
/// impl Effaceable for SecureElement {
///     fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), ErrorKind> {
///         bytes.copy_from_slice(self.page(slot, bytes.len())?);
///         Ok(())
///     }
///     fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), ErrorKind> {
///         self.page(slot, bytes.len())?.copy_from_slice(bytes);
///         Ok(())
///     }
///     fn zero(&mut self, slot: u8) -> Result<bool, ErrorKind> {
///         self.page(slot, 256)?.fill(0);
///         Ok(true)
///     }
///     fn erase(&mut self, slot: u8) -> Result<(), ErrorKind> {
///         self.page(slot, 256)?.fill(0xFF);
///         Ok(())
///     }
///     fn guarantee(&self) -> Guarantee {
///         Guarantee::Physical
///     }
///     fn outside_image(&self) -> bool {
///         true
///     }
/// }
///
/// let mut element = SecureElement { pages: [[0; 256]; 2] };
/// assert_eq!(conformance::slot(&mut element), Ok(()));
/// ```
pub trait Effaceable: ErrorType {
    /// How many bytes of a slot the agent uses.
    const SLOT_BYTES: usize = 256;

    /// Reads `bytes.len()` (at most 256) bytes from the start of slot `slot`.
    fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes at most 256 bytes at the start of the erased slot `slot`.
    fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Destroys the slot's bytes at once by programming them to zero, where
    /// the part can; `Ok(false)` when it cannot. This is the fastest key
    /// death: one page program.
    fn zero(&mut self, slot: u8) -> Result<bool, Self::Error> {
        let _ = slot;
        Ok(false)
    }

    /// Erases the whole slot.
    fn erase(&mut self, slot: u8) -> Result<(), Self::Error>;

    /// What a completed erase guarantees.
    fn guarantee(&self) -> Guarantee;

    /// True when the slots lie outside the flash image (a secure element, an
    /// RPMB partition), so that a copy of the image does not contain them.
    fn outside_image(&self) -> bool {
        false
    }
}

impl<T: Effaceable + ?Sized> Effaceable for &mut T {
    fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), Self::Error> {
        T::read(self, slot, bytes)
    }
    fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), Self::Error> {
        T::write(self, slot, bytes)
    }
    fn zero(&mut self, slot: u8) -> Result<bool, Self::Error> {
        T::zero(self, slot)
    }
    fn erase(&mut self, slot: u8) -> Result<(), Self::Error> {
        T::erase(self, slot)
    }
    fn guarantee(&self) -> Guarantee {
        T::guarantee(self)
    }
    fn outside_image(&self) -> bool {
        T::outside_image(self)
    }
}

/// Key slots in two NOR flash regions of one or more erase blocks each.
///
/// Where the flash allows overwriting ([`Region::can_overwrite`]) a slot dies
/// with one page program, before its erase.
///
/// ```
/// # mod port { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ram_port/port.rs")); }
/// # use port::RamFlash;
/// use nrd_hal::slot::NorSlots;
/// use nrd_hal::{Effaceable, conformance};
///
/// // `RamFlash` stands for the driver: two chips of one 4 KiB block each.
/// let mut slots = NorSlots::new(RamFlash::new(4096, 1), RamFlash::new(4096, 1));
/// assert_eq!(conformance::slot(&mut slots), Ok(()));
///
/// slots.write(0, b"a secret").unwrap();
/// slots.zero(0).unwrap();
/// let mut bytes = [0xAA; 8];
/// slots.read(0, &mut bytes).unwrap();
/// assert_eq!(bytes, [0; 8]);
/// ```
#[derive(Debug, Clone)]
pub struct NorSlots<R> {
    slots: [R; 2],
}

impl<R: Region> NorSlots<R> {
    /// `a` and `b` must not share an erase block.
    pub fn new(a: R, b: R) -> Self {
        NorSlots { slots: [a, b] }
    }

    fn slot(&mut self, slot: u8) -> &mut R {
        let [a, b] = &mut self.slots;
        if slot == 0 { a } else { b }
    }
}

impl<R: Region> ErrorType for NorSlots<R> {
    type Error = R::Error;
}

impl<R: Region> Effaceable for NorSlots<R> {
    fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.slot(slot).read(0, bytes)
    }

    fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), Self::Error> {
        self.slot(slot).program(0, bytes)
    }

    fn zero(&mut self, slot: u8) -> Result<bool, Self::Error> {
        let region = self.slot(slot);
        if !region.can_overwrite() {
            return Ok(false);
        }
        region.program(0, &[0u8; 256])?;
        Ok(true)
    }

    fn erase(&mut self, slot: u8) -> Result<(), Self::Error> {
        let region = self.slot(slot);
        let size = region.geometry().size;
        region.erase(0, size)
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Physical
    }
}
