//! Making an agent, driving it, and what a person does.

use crate::ffi::{ALIGN, Handle, Outcome, Plan, Range, abandon, apart, close, enter, lend};
use crate::ffi::{number, output, put, refused, sized_struct};
use crate::platform::{Port, sectors};
use crate::types::*;
use core::ffi::{c_char, c_void};
use nrd_agent::keypad::RemoteKey;
use nrd_agent::lease::LeaseStatus;
use nrd_agent::log::Entry;
use nrd_agent::wire::{LockReason, Losses};
use nrd_agent::{Agent, BuildError, Config, Memory, Next, State, Step};
use nrd_hal::{Clock as _, Platform as _};

/// The interface version of this library: compare it with `NRD_ABI_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn nrd_abi_version() -> u32 {
    NRD_ABI_VERSION
}

/// # Safety
/// As `NrdPlatform` and `NrdConfig` say.
unsafe fn read_both(
    platform: *const NrdPlatform,
    config: *const NrdConfig,
) -> Result<(NrdPlatform, NrdConfig), i32> {
    // SAFETY: passed on.
    let (platform, config) = unsafe { (sized_struct(platform)?, sized_struct(config)?) };
    if platform.abi != NRD_ABI_VERSION {
        return Err(NRD_E_VERSION);
    }
    Ok((platform, config))
}

/// Writes into `*bytes` how much memory an agent needs.
///
/// Errors: `NRD_E_NULL`, `NRD_E_VERSION`, `NRD_E_FLASH` (the flash is too small
/// or its sizes make no sense).
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_memory(
    platform: *const NrdPlatform,
    config: *const NrdConfig,
    bytes: *mut usize,
) -> i32 {
    let work = || {
        // SAFETY: passed on.
        let (platform, config) = unsafe { read_both(platform, config)? };
        let (journal, vault) = sectors(&platform.flash)?;
        let plan = Plan::new(journal, vault, &config).ok_or(NRD_E_FLASH)?;
        // SAFETY: passed on.
        unsafe { put(bytes, plan.total) }
    };
    number(work())
}

/// Builds an agent in `memory` (`memory_len` bytes, aligned to 16, as from
/// `malloc`) and writes it to `*agent`. Reads nothing from the flash yet: call
/// `nrd_agent_poll`. The memory belongs to the agent until `nrd_agent_close`.
///
/// Errors: `NRD_E_NULL` (a pointer or a required callback), `NRD_E_VERSION`,
/// `NRD_E_FLASH`, `NRD_E_MEMORY`, `NRD_E_DEVICE_ID`, `NRD_E_ARGUMENT`.
///
/// # Safety
/// The pointers are NULL or valid, and `memory` is used by nothing else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_init(
    memory: *mut c_void,
    memory_len: usize,
    platform: *const NrdPlatform,
    config: *const NrdConfig,
    agent: *mut *mut NrdAgent,
) -> i32 {
    let work = || {
        if memory.is_null() || agent.is_null() {
            return Err(NRD_E_NULL);
        }
        // Copied before the block is written: they may lie anywhere.
        // SAFETY: passed on.
        let (platform, config) = unsafe { read_both(platform, config)? };
        let (journal, vault) = sectors(&platform.flash)?;
        let plan = Plan::new(journal, vault, &config).ok_or(NRD_E_FLASH)?;
        if !(memory as usize).is_multiple_of(ALIGN) || memory_len < plan.total {
            return Err(NRD_E_MEMORY);
        }
        apart(&[
            Range::of(memory, plan.total),
            Range::of(agent, size_of::<*mut NrdAgent>()),
        ])?;
        // SAFETY: passed on.
        let port = unsafe { Port::new(&platform)? };
        let block = memory.cast::<u8>();
        // SAFETY: `plan` keeps the parts apart, aligned, and in the block, whose
        // size was just checked.
        let lent = unsafe {
            Memory {
                journal_table: lend(block, plan.journal_table, &0),
                vault_table: lend(block, plan.vault_table, &0),
                journal_index: lend(block, plan.journal_index, &Entry::default()),
                vault_index: lend(block, plan.vault_index, &Entry::default()),
                scratch: lend(block, plan.scratch, &0),
            }
        };
        let built = Agent::new(
            port,
            Config {
                service_root: config.service_root,
                root_version: config.root_version,
                factory_epoch: config.factory_epoch,
                wait_s: config.wait_s,
            },
            lent,
        )
        .map_err(|e| match e {
            BuildError::DeviceId => NRD_E_DEVICE_ID,
            BuildError::Memory => NRD_E_MEMORY,
            BuildError::Journal(_) | BuildError::Vault(_) => NRD_E_FLASH,
        })?;
        let handle = Handle::new(plan.total, built);
        // SAFETY: the head of the block is aligned, large enough, and lent to
        // nobody; `agent` is writable says the caller.
        unsafe {
            memory.cast::<Handle>().write(handle);
            put(agent, memory.cast())
        }
    };
    number(work())
}

/// Ends the agent: its keys and its memory are overwritten with zeros, then
/// the memory is the caller's again. Nothing on the flash changes.
///
/// # Safety
/// `agent` is NULL or readable, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_close(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe { close(agent) }
}

/// Tells that the call under way was left by a jump out of a callback (`longjmp`,
/// a C++ exception, a thread that was ended) and will never return. No callback
/// may do so; where it happened all the same, nothing is left to do with the agent
/// but to end it: from then on every call but `nrd_agent_close` answers
/// `NRD_E_ABANDONED`. Nothing changes when no call is under way, or on the flash.
/// Never call it while the call may still return, as from a callback.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_abandon(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe { abandon(agent) }
}

/// The run loop of every host: does at most one bounded piece of pending work
/// (one erase block, one sector's copy or a few programs), or else writes the
/// next request into `request` (`NRD_MAX_FRAME` bytes are always enough), and
/// says in `*next`, whose `size` the caller has set, what the host does next.
///
/// What fails inside is tried again: at once a few times, then with pauses,
/// until it succeeds; `NrdStatus.fault` says what it is. So a host needs no
/// count of errors of its own. An error of this call is one of the arguments,
/// and `*next` is then not written.
///
/// ```c
/// uint8_t request[NRD_MAX_FRAME];
/// NrdNext next = {0};
/// next.size = sizeof next;
/// for (;;) {
///   if (nrd_agent_poll(agent, request, sizeof request, &next) != NRD_OK) abort();
///   switch (next.what) {
///   case NRD_NEXT_AGAIN: break;
///   case NRD_NEXT_POST: nrd_agent_post(agent, https, &link, request, next.request_len); break;
///   case NRD_NEXT_WAIT: sleep_until(next.until_ms); break;
///   case NRD_NEXT_RESET: reset(); break;
///   }
/// }
/// ```
///
/// Errors: `NRD_E_NULL`, `NRD_E_HANDLE`, `NRD_E_VERSION`, `NRD_E_OVERLAP`,
/// `NRD_E_REENTERED`, `NRD_E_ARGUMENT`.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_poll(
    agent: *mut NrdAgent,
    request: *mut u8,
    request_size: usize,
    next: *mut NrdNext,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(
            agent,
            &[
                Range::of(request, request_size),
                Range::of(next, size_of::<NrdNext>()),
            ],
            |inner| {
                let mut out = NrdNext {
                    size: sized_struct(next)?.size,
                    ..NrdNext::default()
                };
                let request = output(request, request_size)?;
                match inner.agent.poll(request) {
                    Next::Again => out.what = NRD_NEXT_AGAIN,
                    Next::Post(n) => {
                        out.what = NRD_NEXT_POST;
                        out.request_len = u32::try_from(n).map_err(|_| NRD_E_ARGUMENT)?;
                    }
                    Next::WaitUntil(uptime_ms) => {
                        out.what = NRD_NEXT_WAIT;
                        out.until_ms = uptime_ms.unwrap_or(u64::MAX);
                    }
                    Next::Reset => out.what = NRD_NEXT_RESET,
                }
                put(next, out)
            },
        )
    }
}

/// Does one bounded piece of pending work (at most one erase block, one
/// sector's copy or a few programs) and writes an `NRD_STEP_…` to `*did`. The
/// layer below `nrd_agent_poll`, for hosts that must split the work: after an
/// error `*did` is not written.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_step(agent: *mut NrdAgent, did: *mut u8) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[Range::of(did, 1)], |inner| {
            let step = inner.agent.step().map_err(refused)?;
            let step = match step {
                Step::Idle => NRD_STEP_IDLE,
                Step::Working => NRD_STEP_WORKING,
                Step::ResetAdvised => NRD_STEP_RESET_ADVISED,
            };
            put(did, step)
        })
    }
}

fn state_number(state: State) -> (u8, u8) {
    match state {
        State::Booting => (NRD_STATE_BOOTING, NRD_LOCK_NONE),
        State::Clean => (NRD_STATE_CLEAN, NRD_LOCK_NONE),
        State::Activating => (NRD_STATE_ACTIVATING, NRD_LOCK_NONE),
        State::Active => (NRD_STATE_ACTIVE, NRD_LOCK_NONE),
        State::SignedOut => (NRD_STATE_SIGNED_OUT, NRD_LOCK_NONE),
        State::Wiping => (NRD_STATE_WIPING, NRD_LOCK_NONE),
        State::WipeFailed => (NRD_STATE_WIPE_FAILED, NRD_LOCK_NONE),
        State::Filling => (NRD_STATE_FILLING, NRD_LOCK_NONE),
        State::Locked(reason) => {
            let reason = match reason {
                LockReason::LeaseExpired => NRD_LOCK_LEASE_EXPIRED,
                LockReason::Revoked => NRD_LOCK_REVOKED,
                LockReason::ConsentDue => NRD_LOCK_CONSENT_DUE,
                LockReason::TheftSuspected => NRD_LOCK_THEFT_SUSPECTED,
                LockReason::JournalLost => NRD_LOCK_JOURNAL_LOST,
                LockReason::SessionLost => NRD_LOCK_SESSION_LOST,
                LockReason::NotStored => NRD_LOCK_NOT_STORED,
                LockReason::NotAnswering => NRD_LOCK_NOT_ANSWERING,
            };
            (NRD_STATE_LOCKED, reason)
        }
    }
}

fn loss_bits(losses: Losses) -> u8 {
    let Losses {
        session,
        receipt,
        delegation,
        snapshot,
    } = losses;
    [
        (session, NRD_LOST_SESSION),
        (receipt, NRD_LOST_RECEIPT),
        (delegation, NRD_LOST_DELEGATION),
        (snapshot, NRD_LOST_SNAPSHOT),
    ]
    .into_iter()
    .map(|(lost, bit)| if lost { bit } else { 0 })
    .fold(0, |all, bit| all | bit)
}

/// Fills `*status`, whose `size` the caller has set.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_status(agent: *mut NrdAgent, status: *mut NrdStatus) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(
            agent,
            &[Range::of(status, size_of::<NrdStatus>())],
            |inner| {
                let mut out = NrdStatus {
                    size: sized_struct(status)?.size,
                    dead_man_s: u64::MAX,
                    ..NrdStatus::default()
                };
                let s = inner.agent.status();
                (out.state, out.lock_reason) = state_number(s.state);
                match s.lease {
                    Some(LeaseStatus::Open { left_s, .. }) => {
                        out.open = u8::from(s.state == State::Active);
                        out.left_s = left_s.into();
                    }
                    Some(LeaseStatus::Expired { dead_man_in_s }) => {
                        out.dead_man_s = dead_man_in_s.map_or(u64::MAX, u64::from);
                    }
                    Some(LeaseStatus::DeadMan) => out.dead_man_s = 0,
                    None => {}
                }
                out.worn_out = u8::from(s.worn_out);
                out.fault = s.fault.map_or(NRD_OK, refused);
                out.receipts = s.receipts;
                out.losses = loss_bits(s.losses);
                if let Some((code, pictogram)) = s.code {
                    out.pictogram = pictogram;
                    // One place is left for the NUL.
                    for (to, from) in out.code.iter_mut().take(12).zip(code.bytes()) {
                        *to = from as c_char;
                    }
                }
                (out.wipe_done, out.wipe_total) = s.wipe.unwrap_or_default();
                (out.proof_done, out.proof_total) = s.fill.unwrap_or_default();
                out.policy = s.policy.unwrap_or_default();
                out.generation = s.generation.unwrap_or_default();
                put(status, out)
            },
        )
    }
}

/// # Safety
/// `agent` is NULL or readable.
unsafe fn simply(
    agent: *mut NrdAgent,
    act: impl FnOnce(&mut Agent<'static, Port>) -> Result<(), nrd_agent::Error>,
) -> i32 {
    // SAFETY: passed on.
    unsafe { enter(agent, &[], |inner| act(&mut inner.agent).map_err(refused)) }
}

/// Begins an activation: exchange requests until the state is active.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_start_activation(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe { simply(agent, |a| a.start_activation()) }
}

/// Gives up an activation that is under way.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_cancel_activation(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe { simply(agent, |a| a.cancel_activation()) }
}

/// Signs out: the session and all personal data die at once.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_sign_out(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe { simply(agent, |a| a.sign_out()) }
}

/// Deactivates at the device, in every state and with no network. Then step.
/// Call it only for keys of a physical or paired remote, held to confirm.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_deactivate(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe { simply(agent, |a| a.deactivate()) }
}

/// The network is there again: a wait after a failed exchange is over. One that
/// the service asked for is not. Then poll.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_network_up(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe {
        simply(agent, |a| {
            a.network_up();
            Ok(())
        })
    }
}

/// Somebody asks to try again now: no wait of any kind goes on, of the
/// conversation or of work that failed. For a button, not for a loop. Then poll.
///
/// # Safety
/// `agent` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_try_again(agent: *mut NrdAgent) -> i32 {
    // SAFETY: passed on.
    unsafe {
        simply(agent, |a| {
            a.try_again();
            Ok(())
        })
    }
}

/// Writes to `*unix_s` the newest wall time that the service's keys signed, or
/// the hardware's own where it is no older, in Unix seconds; 0 when neither is
/// known. What a certificate's end is held against on a device without a clock.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_signed_time(agent: *mut NrdAgent, unix_s: *mut u64) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[Range::of(unix_s, size_of::<u64>())], |inner| {
            put(unix_s, inner.agent.signed_time())
        })
    }
}

/// Feeds one key of the remote (`NRD_KEY_…`); writes 1 to `*menu` when it
/// completes the sequence that opens the deactivation menu, else 0.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_agent_key(agent: *mut NrdAgent, key: u8, menu: *mut u8) -> i32 {
    // SAFETY: passed on.
    unsafe {
        enter(agent, &[Range::of(menu, 1)], |inner| {
            let key = match key {
                NRD_KEY_UP => RemoteKey::Up,
                NRD_KEY_DOWN => RemoteKey::Down,
                NRD_KEY_LEFT => RemoteKey::Left,
                NRD_KEY_RIGHT => RemoteKey::Right,
                NRD_KEY_OTHER => RemoteKey::Other,
                _ => return Err(NRD_E_ARGUMENT),
            };
            let now = inner.agent.platform().parts().clock.uptime_ms();
            put(menu, u8::from(inner.menu.press(key, now)))
        })
    }
}

/// Runs every check of the conformance suite on a port, before an agent is
/// first started on it: it destroys what is on the flash and uses up three
/// counter steps. `NRD_E_CONFORMANCE` when a promise is broken; the text, at
/// most `text_len` bytes with its NUL, says which.
///
/// # Safety
/// The pointers are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nrd_conformance(
    platform: *const NrdPlatform,
    text: *mut c_char,
    text_len: usize,
) -> i32 {
    let work = || -> Outcome {
        // SAFETY: passed on.
        let platform = unsafe { sized_struct(platform)? };
        if platform.abi != NRD_ABI_VERSION {
            return Err(NRD_E_VERSION);
        }
        // SAFETY: passed on.
        let mut port = unsafe { Port::new(&platform)? };
        nrd_hal::conformance::platform(&mut port).or_else(|failure| {
            // SAFETY: passed on.
            let text = unsafe { output(text.cast(), text_len)? };
            let mut text = crate::error_text::Cut::new(text);
            #[expect(
                clippy::let_underscore_must_use,
                reason = "a text that is cut short is still a text"
            )]
            let _ = core::fmt::Write::write_fmt(&mut text, format_args!("{failure}"));
            Err(NRD_E_CONFORMANCE)
        })
    };
    number(work())
}
