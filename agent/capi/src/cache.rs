//! Account data.

use crate::ffi::{Range, enter, input, output, put, refused};
use crate::types::*;
use nrd_agent::Class;

fn class_of(number: u8) -> Result<Class, i32> {
    Class::from_number(number)
        .filter(|&c| c != Class::Session)
        .ok_or(NRD_E_ARGUMENT)
}

/// Stores a value under `class_number` (`NRD_CLASS_…`) and `id`. `NRD_OK`
/// means sealed, on flash, and read back.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_put(
    agent: *mut NrdAgent,
    class_number: u8,
    id: u16,
    value: *const u8,
    value_len: usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[Range::of(value, value_len)], |inner| {
            let class = class_of(class_number)?;
            let value = input(value, value_len)?;
            inner.agent.put(class, id, value).map_err(refused)
        })
    }
}

/// Reads a value into `out` and its length into `*out_len`.
/// `NRD_E_NOT_FOUND` when there is none, or its retention has run out.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_get(
    agent: *mut NrdAgent,
    class_number: u8,
    id: u16,
    out: *mut u8,
    out_size: usize,
    out_len: *mut usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(
            agent,
            &[
                Range::of(out, out_size),
                Range::of(out_len, size_of::<usize>()),
            ],
            |inner| {
                let class = class_of(class_number)?;
                put(out_len, 0)?;
                let out = output(out, out_size)?;
                let n = inner.agent.get(class, id, out).map_err(refused)?;
                put(out_len, n)
            },
        )
    }
}

/// Removes a value: it is never served again.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_remove(agent: *mut NrdAgent, class_number: u8, id: u16) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[], |inner| {
            let class = class_of(class_number)?;
            inner.agent.remove(class, id).map_err(refused)
        })
    }
}

/// Destroys every value of a class at once, by destroying its key.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_forget(agent: *mut NrdAgent, class_number: u8) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[], |inner| {
            let class = class_of(class_number)?;
            inner.agent.forget(class).map_err(refused)
        })
    }
}

/// The account holder's name for "Welcome back, …", UTF-8 without a NUL; at
/// most 32 bytes.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_display_name(
    agent: *mut NrdAgent,
    out: *mut u8,
    out_size: usize,
    out_len: *mut usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        crate::wire_api::write(agent, Range::NONE, out, out_size, out_len, |agent, out| {
            agent.display_name(out).map_err(refused)
        })
    }
}
