//! The port behind C callbacks.

use crate::types::*;
use core::ffi::c_void;
use nrd_hal::layout::{Layout, LayoutError};
use nrd_hal::rand_core::{TryCryptoRng, TryRng};
use nrd_hal::slot::NorSlots;
use nrd_hal::{
    Clock, DeviceIdentity, Effaceable, Epoch, ErrorKind, ErrorType, Geometry, Guarantee,
    MonotonicCounter, Parts, Platform, Region, RootKey,
};
use zeroize::Zeroizing;

#[cfg(feature = "tls")]
pub(crate) type Provider = nrd_hal::crypto::RingCrypto;
#[cfg(not(feature = "tls"))]
pub(crate) type Provider = nrd_hal::crypto::RustCrypto;

/// A callback's answer as an error. Every number means something.
fn outcome(answer: i32) -> Result<(), ErrorKind> {
    Err(match answer {
        0 => return Ok(()),
        NRD_P_OUT_OF_BOUNDS => ErrorKind::OutOfBounds,
        NRD_P_NOT_ALIGNED => ErrorKind::NotAligned,
        NRD_P_ECC => ErrorKind::Ecc,
        NRD_P_OPERATION_FAILED => ErrorKind::OperationFailed,
        NRD_P_WORN_OUT => ErrorKind::WornOut,
        NRD_P_REFUSED => ErrorKind::Refused,
        NRD_P_UNAVAILABLE => ErrorKind::Unavailable,
        _ => ErrorKind::Other,
    })
}

/// A callback with its context. The callbacks' own contract (`NrdPlatform`)
/// is all that makes calling them sound, so they are `extern "C" fn`, not
/// `unsafe`: a port is trusted code.
type Context = *mut c_void;

/// Part of the flash.
#[derive(Clone, Copy)]
pub(crate) struct Flash {
    context: Context,
    read: extern "C" fn(Context, u32, *mut u8, u32) -> i32,
    program: extern "C" fn(Context, u32, *const u8, u32) -> i32,
    erase: extern "C" fn(Context, u32, u32) -> i32,
    geometry: Geometry,
    can_overwrite: bool,
    start: u32,
}

impl Flash {
    fn part(self, start: u32, size: u32) -> Flash {
        Flash {
            start,
            geometry: Geometry {
                size,
                ..self.geometry
            },
            ..self
        }
    }

    fn at(&self, offset: u32, len: usize) -> Result<(u32, u32), ErrorKind> {
        let len = u32::try_from(len).map_err(|_| ErrorKind::OutOfBounds)?;
        match offset.checked_add(len) {
            Some(end) if end <= self.geometry.size => Ok((self.start + offset, len)),
            _ => Err(ErrorKind::OutOfBounds),
        }
    }
}

impl ErrorType for Flash {
    type Error = ErrorKind;
}

impl Region for Flash {
    fn geometry(&self) -> Geometry {
        self.geometry
    }
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        let (at, len) = self.at(offset, bytes.len())?;
        outcome((self.read)(self.context, at, bytes.as_mut_ptr(), len))
    }
    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ErrorKind> {
        let (at, len) = self.at(offset, bytes.len())?;
        outcome((self.program)(self.context, at, bytes.as_ptr(), len))
    }
    fn erase(&mut self, from: u32, to: u32) -> Result<(), ErrorKind> {
        let len = to.checked_sub(from).ok_or(ErrorKind::OutOfBounds)?;
        let (at, len) = self.at(from, len as usize)?;
        outcome((self.erase)(self.context, at, at + len))
    }
    fn can_overwrite(&self) -> bool {
        self.can_overwrite
    }
}

/// The key slots: on the flash, or in a part of their own.
#[derive(Clone)]
pub(crate) enum Slots {
    Flash(NorSlots<Flash>, bool),
    Outside(OutsideSlots),
}

#[derive(Clone, Copy)]
pub(crate) struct OutsideSlots {
    context: Context,
    read: extern "C" fn(Context, u8, *mut u8, u32) -> i32,
    write: extern "C" fn(Context, u8, *const u8, u32) -> i32,
    erase: extern "C" fn(Context, u8) -> i32,
    logical_only: bool,
}

impl ErrorType for Slots {
    type Error = ErrorKind;
}

impl Effaceable for Slots {
    fn read(&mut self, slot: u8, bytes: &mut [u8]) -> Result<(), ErrorKind> {
        match self {
            Slots::Flash(nor, _) => nor.read(slot, bytes),
            Slots::Outside(o) => outcome((o.read)(
                o.context,
                slot,
                bytes.as_mut_ptr(),
                bytes.len() as u32,
            )),
        }
    }
    fn write(&mut self, slot: u8, bytes: &[u8]) -> Result<(), ErrorKind> {
        match self {
            Slots::Flash(nor, _) => nor.write(slot, bytes),
            Slots::Outside(o) => outcome((o.write)(
                o.context,
                slot,
                bytes.as_ptr(),
                bytes.len() as u32,
            )),
        }
    }
    fn zero(&mut self, slot: u8) -> Result<bool, ErrorKind> {
        match self {
            Slots::Flash(nor, _) => nor.zero(slot),
            Slots::Outside(_) => Ok(false),
        }
    }
    fn erase(&mut self, slot: u8) -> Result<(), ErrorKind> {
        match self {
            Slots::Flash(nor, _) => nor.erase(slot),
            Slots::Outside(o) => outcome((o.erase)(o.context, slot)),
        }
    }
    fn guarantee(&self) -> Guarantee {
        let (Slots::Flash(_, logical)
        | Slots::Outside(OutsideSlots {
            logical_only: logical,
            ..
        })) = self;
        if *logical {
            Guarantee::Logical
        } else {
            Guarantee::Physical
        }
    }
    fn outside_image(&self) -> bool {
        matches!(self, Slots::Outside(_))
    }
}

pub(crate) struct Counter {
    context: Context,
    read: extern "C" fn(Context, *mut u64) -> i32,
    increment: extern "C" fn(Context) -> i32,
    endurance: u64,
}

impl ErrorType for Counter {
    type Error = ErrorKind;
}

impl MonotonicCounter for Counter {
    fn read(&mut self) -> Result<Epoch, ErrorKind> {
        let mut value = 0;
        outcome((self.read)(self.context, &raw mut value))?;
        Ok(Epoch(value))
    }
    fn increment(&mut self) -> Result<(), ErrorKind> {
        outcome((self.increment)(self.context))
    }
    fn endurance(&self) -> u64 {
        self.endurance
    }
}

pub(crate) struct Root {
    context: Context,
    derive: extern "C" fn(Context, *const u8, u32, *const u64, *mut u8) -> i32,
    refuses: bool,
}

impl Root {
    fn ask(&self, label: &[u8], epoch: *const u64) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        let mut out = Zeroizing::new([0u8; 32]);
        outcome((self.derive)(
            self.context,
            label.as_ptr(),
            label.len() as u32,
            epoch,
            out.as_mut_ptr(),
        ))?;
        Ok(out)
    }
}

impl ErrorType for Root {
    type Error = ErrorKind;
}

impl RootKey for Root {
    fn derive_fixed(&mut self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        self.ask(label, core::ptr::null())
    }
    fn derive_epoch(
        &mut self,
        label: &[u8],
        epoch: Epoch,
    ) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
        self.ask(label, &raw const epoch.0)
    }
    fn refuses_past_epochs(&self) -> bool {
        self.refuses
    }
}

pub(crate) struct Random {
    context: Context,
    fill: extern "C" fn(Context, *mut u8, u32) -> i32,
}

/// The random callback failed.
#[derive(Debug)]
pub(crate) struct NoRandom;

impl core::fmt::Display for NoRandom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the random generator did not answer")
    }
}

impl core::error::Error for NoRandom {}

impl Random {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), NoRandom> {
        let len = u32::try_from(out.len()).map_err(|_| NoRandom)?;
        outcome((self.fill)(self.context, out.as_mut_ptr(), len)).map_err(|_| NoRandom)
    }
}

impl TryRng for Random {
    type Error = NoRandom;
    fn try_next_u32(&mut self) -> Result<u32, NoRandom> {
        let mut b = [0; 4];
        self.fill(&mut b)?;
        Ok(u32::from_le_bytes(b))
    }
    fn try_next_u64(&mut self) -> Result<u64, NoRandom> {
        let mut b = [0; 8];
        self.fill(&mut b)?;
        Ok(u64::from_le_bytes(b))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), NoRandom> {
        self.fill(out)
    }
}

impl TryCryptoRng for Random {}

/// Longest maker certificate, in bytes.
const MAX_CERTIFICATE: usize = 256;
/// Longest device id, in bytes.
const MAX_ID: usize = 32;

pub(crate) struct Identity {
    context: Context,
    sign: extern "C" fn(Context, *const u8, u32, *mut u8) -> i32,
    id: [u8; MAX_ID],
    id_len: usize,
    public_key: [u8; 32],
    certificate: [u8; MAX_CERTIFICATE],
    certificate_len: usize,
}

impl ErrorType for Identity {
    type Error = ErrorKind;
}

impl DeviceIdentity for Identity {
    fn device_id(&self) -> &str {
        let id = self.id.get(..self.id_len).unwrap_or_default();
        core::str::from_utf8(id).unwrap_or_default()
    }
    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }
    fn certificate(&self) -> &[u8] {
        self.certificate
            .get(..self.certificate_len)
            .unwrap_or_default()
    }
    fn sign(&mut self, message: &[u8]) -> Result<[u8; 64], ErrorKind> {
        let mut out = [0; 64];
        let len = u32::try_from(message.len()).map_err(|_| ErrorKind::OutOfBounds)?;
        outcome((self.sign)(
            self.context,
            message.as_ptr(),
            len,
            out.as_mut_ptr(),
        ))?;
        Ok(out)
    }
}

pub(crate) struct Time {
    context: Context,
    uptime: extern "C" fn(Context) -> u64,
    wall: NrdWall,
}

impl Clock for Time {
    fn uptime_ms(&mut self) -> u64 {
        (self.uptime)(self.context)
    }
    fn wall_s(&mut self) -> Option<u64> {
        self.wall.map(|wall| wall(self.context)).filter(|&s| s > 0)
    }
}

/// The port.
pub(crate) struct Port {
    journal: Flash,
    vault: Flash,
    slots: Slots,
    counter: Counter,
    root: Root,
    random: Random,
    identity: Identity,
    time: Time,
}

/// Logical sectors of journal and vault.
pub(crate) fn sectors(g: &NrdGeometry) -> Result<(usize, usize), i32> {
    let geometry = geometry(g);
    let layout = Layout::plan(&geometry).map_err(|_: LayoutError| NRD_E_FLASH)?;
    let sector = nrd_hal::layout::logical_sector;
    let n = |size| {
        let region = Geometry { size, ..geometry };
        (size / sector(&region).max(1)) as usize
    };
    Ok((n(layout.journal_size), n(layout.vault_size)))
}

fn geometry(g: &NrdGeometry) -> Geometry {
    Geometry {
        size: g.size,
        write_size: g.write_size,
        erase_size: g.erase_size,
        best_erase: g.best_erase,
    }
}

impl Port {
    /// Checks the callbacks and copies what they do not own.
    ///
    /// # Safety
    /// The pointers of `p` are valid as `NrdPlatform` says.
    pub(crate) unsafe fn new(p: &NrdPlatform) -> Result<Port, i32> {
        let missing = NRD_E_NULL;
        let context = p.context;
        let layout = Layout::plan(&geometry(&p.flash)).map_err(|_| NRD_E_FLASH)?;
        let best = p.flash.best_erase;
        if best < p.flash.erase_size || !best.is_power_of_two() {
            return Err(NRD_E_FLASH);
        }
        let flash = Flash {
            context,
            read: p.flash_read.ok_or(missing)?,
            program: p.flash_program.ok_or(missing)?,
            erase: p.flash_erase.ok_or(missing)?,
            geometry: geometry(&p.flash),
            can_overwrite: p.flash.can_overwrite != 0,
            start: 0,
        };
        Ok(Port {
            journal: flash.part(layout.journal_start, layout.journal_size),
            vault: flash.part(layout.vault_start, layout.vault_size),
            slots: slots(p, &flash, &layout)?,
            counter: Counter {
                context,
                read: p.counter_read.ok_or(missing)?,
                increment: p.counter_increment.ok_or(missing)?,
                endurance: p.counter_endurance,
            },
            root: Root {
                context,
                derive: p.derive.ok_or(missing)?,
                refuses: p.refuses_past_epochs != 0,
            },
            random: Random {
                context,
                fill: p.random.ok_or(missing)?,
            },
            // SAFETY: passed on.
            identity: unsafe { identity(p)? },
            time: Time {
                context,
                uptime: p.uptime_ms.ok_or(missing)?,
                wall: p.wall_s,
            },
        })
    }
}

/// The key slots: on the flash, or in a part of their own.
fn slots(p: &NrdPlatform, flash: &Flash, layout: &Layout) -> Result<Slots, i32> {
    let logical_only = p.slots_logical_only != 0;
    match (p.slot_read, p.slot_write, p.slot_erase) {
        (None, None, None) => Ok(Slots::Flash(
            NorSlots::new(
                flash.part(layout.slot_start, layout.slot_size),
                flash.part(layout.slot_start + layout.slot_size, layout.slot_size),
            ),
            logical_only,
        )),
        (Some(read), Some(write), Some(erase)) => Ok(Slots::Outside(OutsideSlots {
            context: p.context,
            read,
            write,
            erase,
            logical_only,
        })),
        _ => Err(NRD_E_NULL),
    }
}

/// Copies who the device is.
///
/// # Safety
/// The pointers of `p` are valid as `NrdPlatform` says.
unsafe fn identity(p: &NrdPlatform) -> Result<Identity, i32> {
    if p.device_id.is_null() || p.public_key.is_null() || p.certificate.is_null() {
        return Err(NRD_E_NULL);
    }
    let certificate_len = p.certificate_len as usize;
    if certificate_len == 0 || certificate_len > MAX_CERTIFICATE {
        return Err(NRD_E_ARGUMENT);
    }
    let mut identity = Identity {
        context: p.context,
        sign: p.sign.ok_or(NRD_E_NULL)?,
        id: [0; MAX_ID],
        id_len: 0,
        public_key: [0; 32],
        certificate: [0; MAX_CERTIFICATE],
        certificate_len,
    };
    // SAFETY: the caller vouches for 32 readable bytes.
    identity
        .public_key
        .copy_from_slice(unsafe { core::slice::from_raw_parts(p.public_key, 32) });
    for (i, b) in identity
        .certificate
        .iter_mut()
        .take(certificate_len)
        .enumerate()
    {
        // SAFETY: the caller vouches for `certificate_len` readable bytes.
        *b = unsafe { *p.certificate.add(i) };
    }
    // SAFETY: the caller vouches for a string that a NUL ends.
    identity.id_len = unsafe { copy_string(p.device_id.cast(), &mut identity.id) }
        .filter(|&n| n > 0)
        .ok_or(NRD_E_DEVICE_ID)?;
    Ok(identity)
}

/// Copies a NUL-terminated string of at most `out.len()` bytes; `None` when it
/// is longer.
///
/// # Safety
/// `from` points to a string that a NUL ends.
pub(crate) unsafe fn copy_string(from: *const u8, out: &mut [u8]) -> Option<usize> {
    for (i, slot) in out.iter_mut().enumerate() {
        // SAFETY: every byte up to the NUL is readable.
        match unsafe { *from.add(i) } {
            0 => return Some(i),
            b => *slot = b,
        }
    }
    // SAFETY: no NUL so far, so the next byte is readable as well.
    (unsafe { *from.add(out.len()) } == 0).then_some(out.len())
}

impl Platform for Port {
    type Crypto = Provider;
    type Journal = Flash;
    type Vault = Flash;
    type Slot = Slots;
    type Counter = Counter;
    type RootKey = Root;
    type Rng = Random;
    type Identity = Identity;
    type Clock = Time;

    fn parts(&mut self) -> Parts<'_, Self> {
        Parts {
            journal: &mut self.journal,
            vault: &mut self.vault,
            slot: &mut self.slots,
            counter: &mut self.counter,
            root_key: &mut self.root,
            rng: &mut self.random,
            identity: &mut self.identity,
            clock: &mut self.time,
        }
    }
}
