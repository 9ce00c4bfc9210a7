//! [`Region`]: erase, program, read, neighbours, addresses, bounds.

use super::{Failure, keep, must};
use crate::layout;
use crate::region::Region;

const PART: &str = "Region";
const READS: &str = "read answers";
const ERASES: &str = "erase answers";
const PROGRAMS: &str = "program answers";

/// Checks a region. Needs two erase units; tries every one of them. Programs
/// at most 256 bytes at a time.
pub fn region<R: Region>(flash: &mut R) -> Result<(), Failure> {
    let g = flash.geometry();
    keep(
        PART,
        "sizes are powers of two in range",
        None,
        layout::check(&g).is_ok(),
    )?;
    let whole = g.best_erase >= g.erase_size && g.best_erase.is_multiple_of(g.erase_size.max(1));
    keep(PART, "best_erase is a multiple of erase_size", None, whole)?;
    let units = g.size / g.erase_size;
    keep(PART, "there are at least two erase units", None, units >= 2)?;
    erased(flash)?;
    programmed(flash)?;
    addresses(flash)?;
    bounds(flash)?;
    overwritten(flash)?;
    must(PART, ERASES, flash.erase(0, g.size))
}

/// One write of a size that every part allows.
fn chunk<R: Region>(flash: &R) -> usize {
    (flash.geometry().write_size as usize).clamp(16, 256)
}

fn all_is<R: Region>(
    flash: &mut R,
    from: u32,
    to: u32,
    value: u8,
    promise: &'static str,
) -> Result<(), Failure> {
    let mut buf = [0u8; 64];
    let mut at = from;
    while at < to {
        let n = ((to - at) as usize).min(buf.len());
        let Some(part) = buf.get_mut(..n) else { break };
        // A port that forgets to fill the buffer must not pass.
        part.fill(!value);
        must(PART, READS, flash.read(at, part))?;
        if let Some(bad) = part.iter().position(|&b| b != value) {
            return keep(PART, promise, Some(at + bad as u32), false);
        }
        at += n as u32;
    }
    Ok(())
}

/// Bytes that differ between neighbours and between units.
fn pattern(at: u32, out: &mut [u8]) {
    for (i, b) in out.iter_mut().enumerate() {
        let x = (at + i as u32).wrapping_mul(0x9E37_79B1);
        *b = (x >> 24) as u8 ^ (x >> 9) as u8;
    }
}

fn is_pattern<R: Region>(
    flash: &mut R,
    at: u32,
    len: usize,
    promise: &'static str,
) -> Result<(), Failure> {
    let (mut want, mut got) = ([0u8; 256], [0u8; 256]);
    let (Some(want), Some(got)) = (want.get_mut(..len), got.get_mut(..len)) else {
        return Ok(());
    };
    pattern(at, want);
    for (g, w) in got.iter_mut().zip(want.iter()) {
        *g = !w;
    }
    must(PART, READS, flash.read(at, got))?;
    keep(PART, promise, Some(at), got == want)
}

fn write_pattern<R: Region>(flash: &mut R, at: u32, len: usize) -> Result<(), Failure> {
    let mut buf = [0u8; 256];
    let Some(bytes) = buf.get_mut(..len) else {
        return Ok(());
    };
    pattern(at, bytes);
    must(PART, PROGRAMS, flash.program(at, bytes))
}

fn erased<R: Region>(flash: &mut R) -> Result<(), Failure> {
    let g = flash.geometry();
    must(PART, ERASES, flash.erase(0, g.size))?;
    all_is(flash, 0, g.size, 0xFF, "after erase every byte reads 0xFF")
}

fn programmed<R: Region>(flash: &mut R) -> Result<(), Failure> {
    let g = flash.geometry();
    let n = chunk(flash);
    let last = g.erase_size - n as u32;
    // The beginning and the end of the first unit, and the beginning of the
    // second: what lies between must stay blank.
    let apart = last as usize >= n;
    for (at, there) in [(0, true), (g.erase_size, true), (last, apart)] {
        if !there {
            continue;
        }
        write_pattern(flash, at, n)?;
        is_pattern(flash, at, n, "what was programmed is read")?;
    }
    if apart {
        all_is(
            flash,
            n as u32,
            last,
            0xFF,
            "program touches nothing outside its range",
        )?;
    }
    let next = g.erase_size + n as u32;
    all_is(
        flash,
        next,
        2 * g.erase_size,
        0xFF,
        "program touches nothing outside its range",
    )?;
    // An unaligned read of one byte.
    let mut one = [0u8];
    let mut want = [0u8; 256];
    pattern(0, &mut want);
    must(
        PART,
        "reads of any alignment answer",
        flash.read(1, &mut one),
    )?;
    keep(
        PART,
        "reads of any alignment are right",
        Some(1),
        want.get(1) == one.first(),
    )?;
    must(PART, ERASES, flash.erase(0, g.erase_size))?;
    all_is(
        flash,
        0,
        g.erase_size,
        0xFF,
        "after erase every byte reads 0xFF",
    )?;
    is_pattern(
        flash,
        g.erase_size,
        n,
        "erase touches nothing outside its range",
    )
}

/// Each unit holds a mark of its own: no address stands for two places.
fn addresses<R: Region>(flash: &mut R) -> Result<(), Failure> {
    let g = flash.geometry();
    let n = chunk(flash);
    must(PART, ERASES, flash.erase(0, g.size))?;
    for unit in 0..g.size / g.erase_size {
        write_pattern(flash, unit * g.erase_size, n)?;
    }
    for unit in 0..g.size / g.erase_size {
        is_pattern(
            flash,
            unit * g.erase_size,
            n,
            "every address is a place of its own",
        )?;
    }
    Ok(())
}

fn bounds<R: Region>(flash: &mut R) -> Result<(), Failure> {
    const OUTSIDE: &str = "what lies outside is refused";
    const ODD: &str = "what is not aligned is refused";
    let g = flash.geometry();
    let n = chunk(flash);
    let zeros = [0u8; 256];
    let bytes = zeros.get(..n).unwrap_or_default();
    let mut buf = [0u8; 2];
    keep(
        PART,
        OUTSIDE,
        Some(g.size - 1),
        flash.read(g.size - 1, &mut buf).is_err(),
    )?;
    keep(
        PART,
        OUTSIDE,
        Some(g.size),
        flash.program(g.size, bytes).is_err(),
    )?;
    let beyond = g.size.saturating_add(g.erase_size);
    keep(
        PART,
        OUTSIDE,
        Some(g.size),
        flash.erase(g.size, beyond).is_err(),
    )?;
    keep(
        PART,
        OUTSIDE,
        Some(u32::MAX),
        flash.read(u32::MAX, &mut buf).is_err(),
    )?;
    keep(PART, ODD, Some(1), flash.erase(1, g.erase_size).is_err())?;
    keep(
        PART,
        ODD,
        Some(g.erase_size - 1),
        flash.erase(0, g.erase_size - 1).is_err(),
    )?;
    if g.write_size > 1 {
        keep(PART, ODD, Some(1), flash.program(1, bytes).is_err())?;
        let short = bytes.get(1..).unwrap_or_default();
        keep(PART, ODD, Some(0), flash.program(0, short).is_err())?;
    }
    // And nothing was changed by what was refused.
    for unit in 0..g.size / g.erase_size {
        is_pattern(
            flash,
            unit * g.erase_size,
            n,
            "what is refused changes nothing",
        )?;
    }
    Ok(())
}

fn overwritten<R: Region>(flash: &mut R) -> Result<(), Failure> {
    if !flash.can_overwrite() {
        return Ok(());
    }
    let n = chunk(flash);
    let zeros = [0u8; 256];
    let bytes = zeros.get(..n).unwrap_or_default();
    must(
        PART,
        "a part that can overwrite takes zeros",
        flash.program(0, bytes),
    )?;
    all_is(
        flash,
        0,
        n as u32,
        0,
        "a part that can overwrite programs to zero",
    )
}
