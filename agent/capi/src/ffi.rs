//! The boundary that every call passes: pointers checked, one call at a time, errors as
//! numbers.
//!
//! ```text
//!             nrd_agent_…                 returns
//!   FREE ──────────────────▶ IN_CALL ─────────────────▶ FREE
//!    │                          │ nrd_agent_abandon: a callback left by a jump
//!    │ nrd_agent_close          ▼
//!    └───────────▶ zeros ◀── ABANDONED     (nrd_agent_close, and nothing else)
//! ```

use crate::platform::Port;
use crate::types::*;
use core::cell::UnsafeCell;
use core::mem::{align_of, size_of};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use nrd_agent::keypad::MenuSequence;
use nrd_agent::log::Entry;
use nrd_agent::{Agent, Error};

const MAGIC: usize = 0x4E52_4441;

/// No call is under way.
const FREE: u8 = 0;
/// A call is under way.
const IN_CALL: u8 = 1;
/// A call was under way and will never return.
const ABANDONED: u8 = 2;

/// The memory behind an `NrdAgent`: the head of the lent block. Its tables
/// follow.
pub(crate) struct Handle {
    magic: AtomicUsize,
    /// [`FREE`], [`IN_CALL`] or [`ABANDONED`].
    calls: AtomicU8,
    /// The whole block, in bytes.
    len: usize,
    inner: UnsafeCell<Inner>,
}

pub(crate) struct Inner {
    pub(crate) agent: Agent<'static, Port>,
    pub(crate) menu: MenuSequence,
}

/// A call's result: `Err` holds the number.
pub(crate) type Outcome = Result<(), i32>;

pub(crate) fn number(outcome: Outcome) -> i32 {
    match outcome {
        Ok(()) => NRD_OK,
        Err(code) => code,
    }
}

/// The number of an error of the agent. Each is named, so that a new one does
/// not compile before C has a name and words for it.
pub(crate) const fn refused(e: Error) -> i32 {
    match e {
        Error::Busy => NRD_E_BUSY,
        Error::WrongState => NRD_E_WRONG_STATE,
        Error::NotFound => NRD_E_NOT_FOUND,
        Error::Corrupt => NRD_E_CORRUPT,
        Error::Full => NRD_E_FULL,
        Error::TooLong => NRD_E_TOO_LONG,
        Error::BufferTooSmall => NRD_E_BUFFER_TOO_SMALL,
        Error::WornOut => NRD_E_WORN_OUT,
        Error::Hardware => NRD_E_HARDWARE,
        Error::RandomGenerator => NRD_E_RANDOM,
        Error::Crypto => NRD_E_CRYPTO,
        Error::Malformed => NRD_E_FRAME,
        Error::NotForUs => NRD_E_NOT_FOR_US,
        Error::Signing => NRD_E_SIGNING,
        Error::WrongType => NRD_E_FRAME_TYPE,
        Error::BadSignature => NRD_E_SIGNATURE,
        Error::KeyRetired => NRD_E_KEY_RETIRED,
    }
}

/// The block's alignment.
pub(crate) const ALIGN: usize = 16;

/// Where the parts of a block lie: offsets from its start.
pub(crate) struct Plan {
    pub(crate) journal_table: (usize, usize),
    pub(crate) vault_table: (usize, usize),
    pub(crate) journal_index: (usize, usize),
    pub(crate) vault_index: (usize, usize),
    pub(crate) scratch: (usize, usize),
    pub(crate) total: usize,
}

impl Plan {
    /// `None` when the sizes leave the address space.
    pub(crate) fn new(journal: usize, vault: usize, config: &NrdConfig) -> Option<Plan> {
        const { assert!(align_of::<Handle>() <= ALIGN) };
        let mut at = size_of::<Handle>();
        let mut take = |n: usize, size: usize, align: usize| {
            at = at.checked_next_multiple_of(align)?;
            let start = at;
            at = at.checked_add(n.checked_mul(size)?)?;
            Some((start, n))
        };
        // Two records of the session's own; a scratch of the least size and
        // the longest value with its stamp.
        let records = usize::from(config.max_records).checked_add(2)?;
        let scratch = nrd_agent::agent::MIN_SCRATCH
            .checked_add(usize::from(config.max_value))?
            .checked_add(16)?;
        let (word, entry) = (size_of::<u32>(), size_of::<Entry>());
        let index = nrd_agent::agent::JOURNAL_RECORDS;
        Some(Plan {
            journal_table: take(journal, word, align_of::<u32>())?,
            vault_table: take(vault, word, align_of::<u32>())?,
            journal_index: take(index, entry, align_of::<Entry>())?,
            vault_index: take(records, entry, align_of::<Entry>())?,
            scratch: take(scratch, 1, 1)?,
            total: at,
        })
    }
}

/// Writes `n` copies of `value` at `offset` of the block and lends them.
///
/// # Safety
/// The range lies in the block, is aligned for `T`, and is lent only once.
pub(crate) unsafe fn lend<T: Clone>(
    block: *mut u8,
    (offset, n): (usize, usize),
    value: &T,
) -> &'static mut [T] {
    // SAFETY: in the block and aligned, says the caller.
    let at = unsafe { block.add(offset) }.cast::<T>();
    for i in 0..n {
        // SAFETY: as above; `write` reads nothing that was there.
        unsafe { at.add(i).write(value.clone()) };
    }
    // SAFETY: `n` initialised values that nobody else has.
    unsafe { core::slice::from_raw_parts_mut(at, n) }
}

impl Handle {
    pub(crate) fn new(len: usize, agent: Agent<'static, Port>) -> Handle {
        Handle {
            magic: AtomicUsize::new(MAGIC),
            calls: AtomicU8::new(FREE),
            len,
            inner: UnsafeCell::new(Inner {
                agent,
                menu: MenuSequence::default(),
            }),
        }
    }
}

/// The handle behind a pointer, if it is one.
///
/// # Safety
/// `agent` is NULL, or points to memory that can be read.
unsafe fn handle<'h>(agent: *mut NrdAgent) -> Result<&'h Handle, i32> {
    if agent.is_null() {
        return Err(NRD_E_NULL);
    }
    if !(agent as usize).is_multiple_of(ALIGN) {
        return Err(NRD_E_HANDLE);
    }
    // SAFETY: aligned, and readable as the caller says. What is shared is
    // atomic or in the cell.
    let handle = unsafe { &*agent.cast::<Handle>() };
    match handle.magic.load(Ordering::Acquire) {
        MAGIC => Ok(handle),
        _ => Err(NRD_E_HANDLE),
    }
}

impl Handle {
    /// Begins a call.
    fn begin(&self) -> Outcome {
        match self
            .calls
            .compare_exchange(FREE, IN_CALL, Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => Ok(()),
            Err(ABANDONED) => Err(NRD_E_ABANDONED),
            Err(_) => Err(NRD_E_REENTERED),
        }
    }

    /// Ends the call; an agent that was abandoned meanwhile stays so.
    fn end(&self) {
        match self
            .calls
            .compare_exchange(IN_CALL, FREE, Ordering::Release, Ordering::Relaxed)
        {
            Ok(_) | Err(_) => {}
        }
    }
}

/// Runs `work` as the agent's only call. `lent` names every range that the caller's
/// pointers lead to: it is an argument so that no call forgets one. Refused when
/// one leaves the address space, lies in the agent's own memory, or overlaps
/// another.
///
/// # Safety
/// As [`handle`]; the agent is not closed meanwhile by another thread.
pub(crate) unsafe fn enter(
    agent: *mut NrdAgent,
    lent: &[Range],
    work: impl FnOnce(&mut Inner) -> Outcome,
) -> i32 {
    let call = || -> Outcome {
        // SAFETY: passed on.
        let handle = unsafe { handle(agent)? };
        apart(lent)?;
        let block = Range::of(agent.cast::<u8>(), handle.len);
        if lent.iter().any(|range| range.meets(&block)) {
            return Err(NRD_E_OVERLAP);
        }
        handle.begin()?;
        // SAFETY: the call was ours to begin, so no other holds this.
        let outcome = work(unsafe { &mut *handle.inner.get() });
        handle.end();
        outcome
    };
    number(call())
}

/// Marks an agent of which a call was left and will not return.
///
/// # Safety
/// As [`handle`].
pub(crate) unsafe fn abandon(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    match unsafe { handle(agent) } {
        Err(code) => code,
        Ok(handle) => {
            // Without a call under way nothing was left.
            match handle.calls.compare_exchange(
                IN_CALL,
                ABANDONED,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) | Err(_) => NRD_OK,
            }
        }
    }
}

/// Ends an agent and overwrites its block.
///
/// # Safety
/// As [`enter`].
pub(crate) unsafe fn close(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    let (len, inner) = match unsafe { handle(agent) } {
        Err(code) => return code,
        Ok(handle) => match handle.begin() {
            Ok(()) => (handle.len, Some(handle.inner.get())),
            // What a call left half done is not run again, not even to drop it:
            // the zeros below take its keys.
            Err(NRD_E_ABANDONED) => (handle.len, None),
            Err(code) => return code,
        },
    };
    if let Some(inner) = inner {
        // SAFETY: no other call runs, and after `magic` is gone none begins.
        unsafe { core::ptr::drop_in_place(inner) };
    }
    let block = agent.cast::<u8>();
    for i in 0..len {
        // SAFETY: the block is ours until it is overwritten. Volatile, so that
        // it is not left out as useless.
        unsafe { block.add(i).write_volatile(0) };
    }
    NRD_OK
}

/// Bytes that a caller lends.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    start: usize,
    len: usize,
}

impl Range {
    /// No bytes.
    pub(crate) const NONE: Range = Range { start: 0, len: 0 };

    pub(crate) fn of<T>(start: *const T, len: usize) -> Range {
        Range {
            start: start as usize,
            len,
        }
    }

    fn end(&self) -> Option<usize> {
        self.start.checked_add(self.len)
    }

    /// True when a byte is in both. Neither leaves the address space: `apart`
    /// looked first.
    fn meets(&self, other: &Range) -> bool {
        let end = |r: &Range| r.end().unwrap_or(usize::MAX);
        // NULL is no place: it is refused, or fine, by its own rule.
        let both = |r: &Range| r.len > 0 && r.start != 0;
        both(self) && both(other) && self.start < end(other) && other.start < end(self)
    }
}

/// Refuses buffers that leave the address space or overlap each other.
pub(crate) fn apart(ranges: &[Range]) -> Outcome {
    if ranges.iter().any(|r| r.end().is_none()) {
        return Err(NRD_E_ARGUMENT);
    }
    for (i, a) in ranges.iter().enumerate() {
        if ranges.iter().skip(i + 1).any(|b| a.meets(b)) {
            return Err(NRD_E_OVERLAP);
        }
    }
    Ok(())
}

fn sized<T>(at: *const T, len: usize) -> Outcome {
    if at.is_null() && len > 0 {
        return Err(NRD_E_NULL);
    }
    match isize::try_from(len) {
        Ok(_) if (at as usize).checked_add(len).is_some() => Ok(()),
        _ => Err(NRD_E_ARGUMENT),
    }
}

/// Bytes to read.
///
/// # Safety
/// `len` bytes at `at` are readable and do not change during the call.
pub(crate) unsafe fn input<'b>(at: *const u8, len: usize) -> Result<&'b [u8], i32> {
    sized(at, len)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL, of a possible length, and readable says the caller.
    Ok(unsafe { core::slice::from_raw_parts(at, len) })
}

/// Bytes to write.
///
/// # Safety
/// `len` bytes at `at` are writable, and no other borrow of them lives.
pub(crate) unsafe fn output<'b>(at: *mut u8, len: usize) -> Result<&'b mut [u8], i32> {
    sized(at, len)?;
    if len == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as above. A caller's buffer may be uninitialised; it is filled
    // byte by byte first, so that nothing uninitialised is ever read.
    unsafe {
        core::ptr::write_bytes(at, 0, len);
        Ok(core::slice::from_raw_parts_mut(at, len))
    }
}

/// Writes a result through a pointer that may be NULL only by mistake.
///
/// # Safety
/// `at` is NULL or points to a writable `T`, of any alignment.
pub(crate) unsafe fn put<T>(at: *mut T, value: T) -> Outcome {
    if at.is_null() {
        return Err(NRD_E_NULL);
    }
    // SAFETY: writable says the caller.
    unsafe { at.write_unaligned(value) };
    Ok(())
}

/// Reads a structure whose first field is its size in bytes.
///
/// # Safety
/// `at` is NULL or points to readable memory of the size it says.
pub(crate) unsafe fn sized_struct<T: Copy>(at: *const T) -> Result<T, i32> {
    if at.is_null() {
        return Err(NRD_E_NULL);
    }
    // SAFETY: at least the size is readable.
    let size = unsafe { at.cast::<u32>().read_unaligned() };
    if size as usize != size_of::<T>() {
        return Err(NRD_E_VERSION);
    }
    // SAFETY: of the size it says, which is ours.
    Ok(unsafe { at.read_unaligned() })
}
