//! NOR flash in RAM: bits go from 1 to 0, and come back by the erase block.

use crate::lock;
use crate::outage::Outage;
use crate::power::Power;
use nrd_hal::embedded_storage::nor_flash::{
    self, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use nrd_hal::{ErrorKind, ErrorType, Geometry, Region};
use std::sync::{Arc, Mutex};

/// NOR flash in RAM, of any [`Geometry`]. Clones are handles to the same
/// cells.
///
/// It refuses what lies outside or is not aligned, as the contract of
/// [`Region`] asks. Like most SPI NOR a programmed unit may be programmed
/// again to clear further bits, unless [`RamFlash::write_once`] says
/// otherwise.
///
/// ```
/// use nrd_agent_testkit::RamFlash;
/// use nrd_hal::Region;
///
/// let mut flash = RamFlash::sized(1, 4096, 4); // 16 KiB, all erased
/// flash.program(0, &[0b1100]).unwrap();
/// flash.program(0, &[0b1010]).unwrap();
/// assert_eq!(flash.image()[0], 0b1000); // bits only go from 1 to 0
/// flash.erase(0, 4096).unwrap();
/// assert_eq!(flash.image()[0], 0xFF);
/// ```
#[derive(Debug, Clone)]
pub struct RamFlash {
    cells: Arc<Mutex<Vec<u8>>>,
    geometry: Geometry,
    can_overwrite: bool,
    power: Power,
    /// Puts this flash out of order.
    pub outage: Outage,
}

impl RamFlash {
    /// Erased flash.
    pub fn new(geometry: Geometry) -> Self {
        RamFlash {
            cells: Arc::new(Mutex::new(vec![0xFF; geometry.size as usize])),
            geometry,
            can_overwrite: true,
            power: Power::default(),
            outage: Outage::default(),
        }
    }

    /// Erased flash of `blocks` erase blocks; sizes in bytes.
    pub fn sized(write_size: u32, erase_size: u32, blocks: u32) -> Self {
        RamFlash::new(Geometry {
            size: erase_size * blocks,
            write_size,
            erase_size,
            best_erase: erase_size,
        })
    }

    /// A unit may be programmed once between two erases, as on parts with an
    /// error-correcting code for each unit. Programming a unit that is not
    /// blank then answers [`ErrorKind::OperationFailed`].
    pub fn write_once(mut self) -> Self {
        self.can_overwrite = false;
        self
    }

    /// Puts the flash on a power supply.
    pub fn with_power(mut self, power: &Power) -> Self {
        self.power = power.clone();
        self
    }

    /// A copy of every byte, as a programmer clipped to the chip reads it: the
    /// device's power makes no difference.
    pub fn image(&self) -> Vec<u8> {
        lock(&self.cells).clone()
    }

    /// Changes cells behind the firmware's back: rot, or an attacker with a
    /// programmer.
    pub fn edit(&self, change: impl FnOnce(&mut [u8])) {
        change(&mut lock(&self.cells));
    }

    fn check(&self, from: u32, to: u32, unit: u32) -> Result<(), ErrorKind> {
        if from > to || to > self.geometry.size {
            return Err(ErrorKind::OutOfBounds);
        }
        if !from.is_multiple_of(unit) || !to.is_multiple_of(unit) {
            return Err(ErrorKind::NotAligned);
        }
        Ok(())
    }

    /// The end of `len` bytes at `offset`.
    fn end(offset: u32, len: usize) -> Result<u32, ErrorKind> {
        u32::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len))
            .ok_or(ErrorKind::OutOfBounds)
    }
}

impl ErrorType for RamFlash {
    type Error = ErrorKind;
}

impl Region for RamFlash {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        self.power.read()?;
        self.outage.read()?;
        let end = Self::end(offset, bytes.len())?;
        self.check(offset, end, 1)?;
        bytes.copy_from_slice(&lock(&self.cells)[offset as usize..end as usize]);
        Ok(())
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        let end = Self::end(offset, bytes.len())?;
        self.check(offset, end, self.geometry.write_size)?;
        if !self.outage.operation()? {
            return Ok(());
        }
        let mut cells = lock(&self.cells);
        let cells = &mut cells[offset as usize..end as usize];
        if !self.can_overwrite && cells.iter().any(|&c| c != 0xFF) {
            return Err(ErrorKind::OperationFailed);
        }
        let extent = self.power.operation()?;
        for (cell, byte) in cells.iter_mut().zip(bytes).take(extent.of(bytes.len())) {
            *cell &= byte;
        }
        extent.answer()
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        self.check(from, to, self.geometry.erase_size)?;
        if !self.outage.operation()? {
            return Ok(());
        }
        let extent = self.power.operation()?;
        let n = extent.of((to - from) as usize);
        lock(&self.cells)[from as usize..from as usize + n].fill(0xFF);
        extent.answer()
    }

    fn can_overwrite(&self) -> bool {
        self.can_overwrite
    }
}

/// [`RamFlash`] as an `embedded-storage` driver, whose sizes are constants:
/// `WRITE` bytes a unit, `ERASE` bytes a block. For firmware that reaches its
/// flash through `NorFlash` and [`nrd_hal::Nor`].
///
/// ```
/// use nrd_agent_testkit::RamNor;
/// use nrd_hal::{Nor, Region, conformance};
///
/// let mut region = Nor::multiwrite(RamNor::<4, 4096>::new(8));
/// assert_eq!(region.geometry().size, 32 * 1024);
/// assert_eq!(conformance::region(&mut region), Ok(()));
/// ```
#[derive(Debug, Clone)]
pub struct RamNor<const WRITE: usize, const ERASE: usize>(RamFlash);

impl<const WRITE: usize, const ERASE: usize> RamNor<WRITE, ERASE> {
    /// Erased flash of `blocks` erase blocks.
    pub fn new(blocks: u32) -> Self {
        RamNor(RamFlash::sized(WRITE as u32, ERASE as u32, blocks))
    }

    /// Puts the flash on a power supply.
    pub fn with_power(self, power: &Power) -> Self {
        RamNor(self.0.with_power(power))
    }

    /// The flash behind the driver, to look at its cells.
    pub fn flash(&self) -> &RamFlash {
        &self.0
    }
}

/// The error of a [`RamNor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RamNorError(pub ErrorKind);

impl NorFlashError for RamNorError {
    fn kind(&self) -> NorFlashErrorKind {
        match self.0 {
            ErrorKind::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            ErrorKind::NotAligned => NorFlashErrorKind::NotAligned,
            // `embedded-storage` has no words for the rest.
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl<const WRITE: usize, const ERASE: usize> nor_flash::ErrorType for RamNor<WRITE, ERASE> {
    type Error = RamNorError;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for RamNor<WRITE, ERASE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamNorError> {
        self.0.read(offset, bytes).map_err(RamNorError)
    }

    fn capacity(&self) -> usize {
        self.0.geometry.size as usize
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for RamNor<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), RamNorError> {
        self.0.erase(from, to).map_err(RamNorError)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamNorError> {
        self.0.program(offset, bytes).map_err(RamNorError)
    }
}

impl<const WRITE: usize, const ERASE: usize> MultiwriteNorFlash for RamNor<WRITE, ERASE> {}
