//! A stretch of NOR flash with run-time geometry.
//!
//! `embedded-storage` fixes sizes at compile time, which neither a C port nor
//! a simulator's options can supply, so the agent works on [`Region`];
//! [`Nor`] adapts any `NorFlash`, and [`Partition`] lends part of one chip.

use crate::error::{Error, ErrorKind, ErrorType};
use core::cell::RefCell;
use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};

/// Sizes of a region, in bytes.
///
/// ```
/// use nrd_hal::{Geometry, layout};
///
/// // A Winbond W25Q128JV, 16 MiB of SPI NOR.
/// let w25q128 = Geometry {
///     size: 16 << 20,
///     write_size: 1,
///     erase_size: 4096,
///     best_erase: 65536,
/// };
/// assert_eq!(layout::check(&w25q128), Ok(()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Total size; a multiple of `erase_size`.
    pub size: u32,
    /// Smallest programmable unit, 1 to 256, a power of two. A unit is
    /// programmed at most once between two erases.
    pub write_size: u32,
    /// Smallest erasable unit, 256 B to 64 KiB, a power of two.
    pub erase_size: u32,
    /// The part's most efficient erase unit (64 KiB on most SPI NOR), a
    /// multiple of `erase_size`. The wipe uses it; `erase_size` if unknown.
    pub best_erase: u32,
}

/// A stretch of NOR flash.
///
/// Contract, checked by the conformance suite:
/// - after `erase` returns `Ok` every byte of the range reads `0xFF`;
/// - after `program` returns `Ok` the range reads what was programmed;
/// - an operation touches no byte outside its range;
/// - a power cut during an operation may leave any bit that the operation
///   would have changed in its old state, its new state, or unstable until the
///   next completed erase, and changes no other bit.
///
/// The agent reads back everything it writes and never programs a unit twice
/// between erases, so parts with per-word ECC work.
///
/// ```
/// use nrd_hal::{ErrorKind, ErrorType, Geometry, Region, conformance};
///
/// /// Four blocks of 1 KiB, in RAM.
/// struct RamFlash([u8; 4096]);
///
/// impl RamFlash {
///     fn cells(&mut self, from: u32, to: u32, unit: u32) -> Result<&mut [u8], ErrorKind> {
///         if from % unit != 0 || to % unit != 0 {
///             return Err(ErrorKind::NotAligned); // refuse, do not round
///         }
///         let range = from as usize..to as usize;
///         self.0.get_mut(range).ok_or(ErrorKind::OutOfBounds)
///     }
/// }
///
/// impl ErrorType for RamFlash {
///     type Error = ErrorKind;
/// }
///
/// impl Region for RamFlash {
///     fn geometry(&self) -> Geometry {
///         Geometry { size: 4096, write_size: 4, erase_size: 1024, best_erase: 1024 }
///     }
///     fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
///         let end = offset.saturating_add(bytes.len() as u32);
///         bytes.copy_from_slice(self.cells(offset, end, 1)?);
///         Ok(())
///     }
///     fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
///         let end = offset.saturating_add(bytes.len() as u32);
///         for (cell, byte) in self.cells(offset, end, 4)?.iter_mut().zip(bytes) {
///             *cell &= byte; // programming only clears bits
///         }
///         Ok(())
///     }
///     fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
///         self.cells(from, to, 1024)?.fill(0xFF);
///         Ok(())
///     }
/// }
///
/// assert_eq!(conformance::region(&mut RamFlash([0; 4096])), Ok(()));
/// ```
pub trait Region: ErrorType {
    /// The sizes. Constant for the life of the object.
    fn geometry(&self) -> Geometry;

    /// Reads `bytes.len()` bytes at `offset`; any alignment.
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Programs `bytes` at `offset`, both multiples of the write size.
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Erases `from..to`, both multiples of the erase size.
    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error>;

    /// True when an already programmed unit may be programmed again to clear
    /// further bits (`MultiwriteNorFlash`). Then a sector that will not erase
    /// can at least be programmed to zero.
    fn can_overwrite(&self) -> bool {
        false
    }
}

impl<T: Region + ?Sized> Region for &mut T {
    fn geometry(&self) -> Geometry {
        T::geometry(self)
    }
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        T::read(self, offset, bytes)
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        T::program(self, offset, bytes)
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        T::erase(self, from, to)
    }
    fn can_overwrite(&self) -> bool {
        T::can_overwrite(self)
    }
}

/// Adapts an `embedded-storage` NOR flash.
///
/// ```
/// # use nrd_hal::embedded_storage::nor_flash::{self, NorFlashErrorKind, ReadNorFlash};
/// # struct SpiNor([u8; 8192]);
/// # impl nor_flash::ErrorType for SpiNor { type Error = NorFlashErrorKind; }
/// # impl ReadNorFlash for SpiNor {
/// #     const READ_SIZE: usize = 4;
/// #     fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), NorFlashErrorKind> {
/// #         nor_flash::check_read(self, at, out.len())?;
/// #         out.copy_from_slice(&self.0[at as usize..][..out.len()]);
/// #         Ok(())
/// #     }
/// #     fn capacity(&self) -> usize { self.0.len() }
/// # }
/// # impl NorFlash for SpiNor {
/// #     const WRITE_SIZE: usize = 8;
/// #     const ERASE_SIZE: usize = 2048;
/// #     fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
/// #         nor_flash::check_erase(self, from, to)?;
/// #         self.0[from as usize..to as usize].fill(0xFF);
/// #         Ok(())
/// #     }
/// #     fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
/// #         nor_flash::check_write(self, at, bytes.len())?;
/// #         for (cell, byte) in self.0[at as usize..].iter_mut().zip(bytes) {
/// #             *cell &= byte;
/// #         }
/// #         Ok(())
/// #     }
/// # }
/// use nrd_hal::embedded_storage::nor_flash::NorFlash;
/// use nrd_hal::{Nor, Region, conformance};
///
/// /// `flash` is the driver of a microcontroller's support crate.
/// fn adapt<F: NorFlash>(flash: F) -> Nor<F> {
///     Nor::new(flash).with_best_erase(4096)
/// }
///
/// let mut region = adapt(SpiNor([0; 8192]));
/// assert_eq!(region.geometry().best_erase, 4096);
/// // The driver reads four aligned bytes at a time; `Nor` reads any.
/// region.read(5, &mut [0; 3]).unwrap();
/// assert_eq!(conformance::region(&mut region), Ok(()));
/// ```
#[derive(Debug)]
pub struct Nor<F> {
    flash: F,
    best_erase: u32,
    can_overwrite: bool,
}

impl<F: NorFlash> Nor<F> {
    /// Adapts `flash`; the wipe erases `F::ERASE_SIZE` at a time.
    pub fn new(flash: F) -> Self {
        Nor {
            flash,
            best_erase: F::ERASE_SIZE as u32,
            can_overwrite: false,
        }
    }

    /// Sets the most efficient erase unit in bytes, for example 65536.
    pub fn with_best_erase(mut self, bytes: u32) -> Self {
        self.best_erase = bytes.max(F::ERASE_SIZE as u32);
        self
    }

    /// Gives the flash back.
    pub fn into_inner(self) -> F {
        self.flash
    }
}

impl<F: embedded_storage::nor_flash::MultiwriteNorFlash> Nor<F> {
    /// Adapts a flash whose units may be programmed more than once.
    pub fn multiwrite(flash: F) -> Self {
        Nor {
            can_overwrite: true,
            ..Nor::new(flash)
        }
    }
}

/// The error of an adapted `embedded-storage` flash.
#[derive(Debug)]
pub struct NorError<E>(pub E);

impl<E: NorFlashError> Error for NorError<E> {
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            NorFlashErrorKind::NotAligned => ErrorKind::NotAligned,
            NorFlashErrorKind::OutOfBounds => ErrorKind::OutOfBounds,
            _ => ErrorKind::OperationFailed,
        }
    }
}

impl<F: NorFlash> ErrorType for Nor<F> {
    type Error = NorError<F::Error>;
}

/// Largest `READ_SIZE` that [`Nor`] bridges, in bytes.
const MAX_READ_SIZE: usize = 32;

impl<F: NorFlash> Region for Nor<F> {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.flash.capacity() as u32,
            write_size: F::WRITE_SIZE as u32,
            erase_size: F::ERASE_SIZE as u32,
            best_erase: self.best_erase,
        }
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        const {
            assert!(
                F::READ_SIZE <= MAX_READ_SIZE && F::READ_SIZE.is_power_of_two(),
                "Nor bridges read sizes up to 32 bytes"
            )
        };
        if F::READ_SIZE == 1 {
            return self.flash.read(offset, bytes).map_err(NorError);
        }
        // Bridge unaligned reads one read unit at a time.
        let unit = F::READ_SIZE as u32;
        let mut at = offset;
        let mut out = bytes;
        let mut word = [0u8; MAX_READ_SIZE];
        while !out.is_empty() {
            let skip = (at % unit) as usize;
            let start = at.saturating_sub(skip as u32);
            let Some(word) = word.get_mut(..F::READ_SIZE) else {
                break;
            };
            self.flash.read(start, word).map_err(NorError)?;
            let Some(fresh) = word.get(skip..) else { break };
            let n = fresh.len().min(out.len());
            let (now, rest) = out.split_at_mut(n);
            if let Some(fresh) = fresh.get(..n) {
                now.copy_from_slice(fresh);
            }
            out = rest;
            at = at.saturating_add(n as u32);
        }
        Ok(())
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.flash.write(offset, bytes).map_err(NorError)
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.flash.erase(from, to).map_err(NorError)
    }

    fn can_overwrite(&self) -> bool {
        self.can_overwrite
    }
}

/// Part of a flash that several owners share, `start..start + size`.
///
/// One chip usually holds the key slots, the journal and the vault; each gets
/// a `Partition` over the same `RefCell`.
///
/// ```
/// # mod port { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ram_port/port.rs")); }
/// # use port::RamFlash;
/// use nrd_hal::layout::Layout;
/// use nrd_hal::{Partition, Region};
/// use std::cell::RefCell;
///
/// // `RamFlash` stands for the driver: 32 blocks of 4 KiB.
/// let chip = RefCell::new(RamFlash::new(4096, 32));
/// let layout = Layout::plan(&chip.borrow().geometry()).unwrap();
/// let mut vault = Partition::new(&chip, layout.vault_start, layout.vault_size).unwrap();
/// let mut journal = Partition::new(&chip, layout.journal_start, layout.journal_size).unwrap();
///
/// vault.program(0, b"vault").unwrap();
/// journal.program(0, b"journal").unwrap();
/// let mut bytes = [0; 5];
/// chip.borrow_mut().read(layout.vault_start, &mut bytes).unwrap();
/// assert_eq!(&bytes, b"vault");
/// ```
#[derive(Debug)]
pub struct Partition<'a, R> {
    flash: &'a RefCell<R>,
    start: u32,
    size: u32,
}

impl<'a, R: Region> Partition<'a, R> {
    /// `start` and `size` in bytes, multiples of the erase size and inside the
    /// flash; `None` otherwise.
    pub fn new(flash: &'a RefCell<R>, start: u32, size: u32) -> Option<Self> {
        let g = flash.borrow().geometry();
        let end = start.checked_add(size)?;
        let aligned = start.checked_rem(g.erase_size)? == 0 && size.checked_rem(g.erase_size)? == 0;
        (aligned && size > 0 && end <= g.size).then_some(Partition { flash, start, size })
    }

    fn locate(&self, offset: u32, len: u32) -> Result<u32, PartitionError<R::Error>> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => self
                .start
                .checked_add(offset)
                .ok_or(PartitionError::Outside),
            _ => Err(PartitionError::Outside),
        }
    }
}

/// The error of a [`Partition`].
#[derive(Debug)]
pub enum PartitionError<E> {
    /// The range leaves the partition.
    Outside,
    /// The flash is in use further up the call stack.
    InUse,
    /// The flash's own error.
    Flash(E),
}

impl<E: Error> Error for PartitionError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            PartitionError::Outside => ErrorKind::OutOfBounds,
            PartitionError::InUse => ErrorKind::Unavailable,
            PartitionError::Flash(e) => e.kind(),
        }
    }
}

impl<R: Region> ErrorType for Partition<'_, R> {
    type Error = PartitionError<R::Error>;
}

impl<R: Region> Region for Partition<'_, R> {
    fn geometry(&self) -> Geometry {
        let g = self.flash.borrow().geometry();
        Geometry {
            size: self.size,
            ..g
        }
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let at = self.locate(offset, bytes.len() as u32)?;
        let mut flash = self
            .flash
            .try_borrow_mut()
            .map_err(|_| PartitionError::InUse)?;
        flash.read(at, bytes).map_err(PartitionError::Flash)
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let at = self.locate(offset, bytes.len() as u32)?;
        let mut flash = self
            .flash
            .try_borrow_mut()
            .map_err(|_| PartitionError::InUse)?;
        flash.program(at, bytes).map_err(PartitionError::Flash)
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let len = to.checked_sub(from).ok_or(PartitionError::Outside)?;
        let at = self.locate(from, len)?;
        let mut flash = self
            .flash
            .try_borrow_mut()
            .map_err(|_| PartitionError::InUse)?;
        flash
            .erase(at, at.saturating_add(len))
            .map_err(PartitionError::Flash)
    }

    fn can_overwrite(&self) -> bool {
        self.flash.borrow().can_overwrite()
    }
}
