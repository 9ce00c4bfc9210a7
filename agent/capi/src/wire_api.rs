//! Requests, replies, orders, receipts, proofs: signed bytes in and out.

use crate::ffi::{Range, enter, input, output, put, refused};
use crate::platform::Port;
use crate::types::*;
use nrd_agent::Agent;
use nrd_agent::agent::CheckStep;
use nrd_agent::wire::OrderResult;

const _: () = assert!(NRD_MAX_FRAME == nrd_agent::wire::MAX_FRAME);
const _: () = assert!(NRD_MAX_MESSAGE == nrd_agent::wire::storage::MAX_MESSAGE);

/// A call that writes bytes, and reads `read`.
///
/// # Safety
/// The pointers are NULL or valid.
pub(crate) unsafe fn write(
    agent: *mut NrdAgent,
    read: Range,
    out: *mut u8,
    out_size: usize,
    out_len: *mut usize,
    make: impl FnOnce(&mut Agent<'static, Port>, &mut [u8]) -> Result<usize, i32>,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(
            agent,
            &[
                read,
                Range::of(out, out_size),
                Range::of(out_len, size_of::<usize>()),
            ],
            |inner| {
                put(out_len, 0)?;
                let out = output(out, out_size)?;
                let n = make(&mut inner.agent, out)?;
                put(out_len, n)
            },
        )
    }
}

/// Writes to `*ms` the milliseconds until the next request is due: 0 for now,
/// `UINT64_MAX` when there is nothing to say. The layer below `nrd_agent_poll`.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_next_due_ms(agent: *mut NrdAgent, ms: *mut u64) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[Range::of(ms, size_of::<u64>())], |inner| {
            put(ms, inner.agent.next_due_ms().unwrap_or(u64::MAX))
        })
    }
}

/// Writes the next request into `out` (`NRD_MAX_FRAME` bytes are always
/// enough) and its length to `*out_len`; 0 when none is due. Post it, then call
/// `nrd_agent_handle_reply` or `nrd_agent_exchange_failed`. After an error the
/// agent backs off. The layer below `nrd_agent_poll`.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_poll_request(
    agent: *mut NrdAgent,
    out: *mut u8,
    out_size: usize,
    out_len: *mut usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        write(agent, Range::NONE, out, out_size, out_len, |agent, out| {
            Ok(agent.poll_request(out).map_err(refused)?.unwrap_or(0))
        })
    }
}

/// Takes the reply to the request last polled. After an error nothing changed,
/// and the agent backs off.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_handle_reply(
    agent: *mut NrdAgent,
    reply: *const u8,
    reply_len: usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[Range::of(reply, reply_len)], |inner| {
            let reply = input(reply, reply_len)?;
            inner.agent.handle_reply(reply).map_err(refused)
        })
    }
}

/// The exchange failed on its way: the agent backs off.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_exchange_failed(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[], |inner| {
            inner.agent.exchange_failed();
            Ok(())
        })
    }
}

/// Applies a signed order, however it came. Writes an `NRD_ORDER_…` to
/// `*result`, the signed outcome into `out` (at least 192 bytes) and its length
/// to `*out_len`. An order that does not verify is an error and changes
/// nothing. Applied means durable.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_apply_order(
    agent: *mut NrdAgent,
    order: *const u8,
    order_len: usize,
    result: *mut u8,
    out: *mut u8,
    out_size: usize,
    out_len: *mut usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(
            agent,
            &[
                Range::of(order, order_len),
                Range::of(result, 1),
                Range::of(out, out_size),
                Range::of(out_len, size_of::<usize>()),
            ],
            |inner| {
                let order = input(order, order_len)?;
                if result.is_null() {
                    return Err(NRD_E_NULL);
                }
                put(out_len, 0)?;
                let out = output(out, out_size)?;
                let (what, n) = inner.agent.apply_order(order, out).map_err(refused)?;
                put(
                    result,
                    match what {
                        OrderResult::Applied => NRD_ORDER_APPLIED,
                        OrderResult::AlreadyApplied => NRD_ORDER_ALREADY_APPLIED,
                        OrderResult::NotApplicable => NRD_ORDER_NOT_APPLICABLE,
                        OrderResult::Stale => NRD_ORDER_STALE,
                    },
                )?;
                put(out_len, n)
            },
        )
    }
}

/// The newest wipe receipt that is not yet delivered, signed.
/// `NRD_E_NOT_FOUND` when all are.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_newest_receipt(
    agent: *mut NrdAgent,
    out: *mut u8,
    out_size: usize,
    out_len: *mut usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        write(agent, Range::NONE, out, out_size, out_len, |a, out| {
            a.newest_receipt(out).map_err(refused)
        })
    }
}

/// Writes 1 to `*clean` when the device is clean and its slots and vault read
/// blank now. Reads the whole vault.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_is_clean(agent: *mut NrdAgent, clean: *mut u8) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[Range::of(clean, 1)], |inner| {
            put(clean, u8::from(inner.agent.is_clean()))
        })
    }
}

/// A signed answer to a returns desk's nonce (32 bytes), after reading the
/// flash again. `NRD_E_WRONG_STATE` unless the device is clean or a wipe failed.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_prove_clean(
    agent: *mut NrdAgent,
    nonce: *const u8,
    out: *mut u8,
    out_size: usize,
    out_len: *mut usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        let read = Range::of(nonce, 32);
        write(agent, read, out, out_size, out_len, |a, out| {
            let nonce = <[u8; 32]>::try_from(input(nonce, 32)?).map_err(|_| NRD_E_ARGUMENT)?;
            a.prove_clean(nonce, out).map_err(refused)
        })
    }
}

/// A returns desk's storage check, over any cable: takes the desk's next message,
/// without the two bytes of its length; `message_len` 0 to go on. Writes what the
/// device answers into `out` (`NRD_MAX_MESSAGE` bytes are always enough) and its
/// length to `*out_len`: send its length, 2 bytes, the lowest first, then the
/// answer, and call again with `message_len` 0. `NRD_OK` with a length of 0: wait
/// for the desk's next message. `NRD_E_BUSY`: call `nrd_agent_poll`, then this again
/// with `message_len` 0.
///
/// ```c
/// int32_t r = nrd_agent_storage_check(agent, in, in_len, out, sizeof out, &n);
/// while (r == NRD_E_BUSY || n > 0) {
///   if (n > 0) send_message(out, n); else poll_the_agent();
///   r = nrd_agent_storage_check(agent, NULL, 0, out, sizeof out, &n);
/// }
/// ```
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_storage_check(
    agent: *mut NrdAgent,
    message: *const u8,
    message_len: usize,
    out: *mut u8,
    out_size: usize,
    out_len: *mut usize,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        let read = Range::of(message, message_len);
        write(agent, read, out, out_size, out_len, |a, out| {
            let message = input(message, message_len)?;
            let out = out.first_chunk_mut().ok_or(NRD_E_BUFFER_TOO_SMALL)?;
            match a.storage_check(message, out) {
                CheckStep::Send(n) => Ok(n),
                CheckStep::Again => Err(NRD_E_BUSY),
                CheckStep::Wait => Ok(0),
            }
        })
    }
}

/// The desk or its cable is gone: what a storage check has stored is erased, step by
/// step. Does nothing where none is under way.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_end_storage_check(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[], |inner| {
            inner.agent.end_storage_check();
            Ok(())
        })
    }
}
