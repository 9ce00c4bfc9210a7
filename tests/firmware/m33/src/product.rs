//! What a product links and no more: the agent in a security processor, behind
//! a mailbox in RAM that the application processor shares. The application
//! processor carries the frames to the service over HTTPS of its own.
//!
//! This image is measured (`docs/reports/FOOTPRINT.md`), not run.
#![no_std]
#![no_main]

#[allow(dead_code)]
mod board;

use board::Board;
use core::cell::UnsafeCell;
use cortex_m_rt::entry;
use nrd_agent::agent::CheckStep;
use nrd_agent::keypad::{MenuSequence, RemoteKey};
use nrd_agent::log::Entry;
use nrd_agent::wire::MAX_FRAME;
use nrd_agent::wire::storage::CHUNK;
use nrd_agent::{Agent, Class, Config, Error, Memory, Next};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // For the agent a power cut, which it survives at any instant.
    cortex_m::peripheral::SCB::sys_reset()
}

/// The factory's.
#[unsafe(no_mangle)]
static CERTIFICATE: [u8; 160] = [0xC5; 160];
/// Where the pinned root lies.
#[unsafe(no_mangle)]
static SERVICE_ROOT: &[u8; 32] = &[0x50; 32];

/// Written by the application processor, answered here.
#[repr(C)]
struct Mailbox {
    /// 0 when answered.
    command: u32,
    class: u8,
    key: u8,
    id: u16,
    /// Bytes of `data` that count.
    len: u32,
    /// Length of the answer, or the error's number below 0.
    result: i32,
    data: [u8; MAX_FRAME],
}

#[repr(transparent)]
struct Shared(UnsafeCell<Mailbox>);

// SAFETY: one processor at a time owns the mailbox, as `command` says.
unsafe impl Sync for Shared {}

#[unsafe(no_mangle)]
static MAILBOX: Shared = Shared(UnsafeCell::new(Mailbox {
    command: 0,
    class: 0,
    key: 0,
    id: 0,
    len: 0,
    result: 0,
    data: [0; MAX_FRAME],
}));

#[entry]
fn main() -> ! {
    let Some(board) = Board::new(&CERTIFICATE) else {
        cortex_m::peripheral::SCB::sys_reset()
    };
    let (mut journal_table, mut vault_table) = ([0; 4], [0; 4]);
    let mut journal_index = [Entry::default(); nrd_agent::agent::JOURNAL_RECORDS];
    let mut vault_index = [Entry::default(); 8];
    let mut scratch = [0; 1280];
    let memory = Memory {
        journal_table: &mut journal_table,
        journal_index: &mut journal_index,
        vault_table: &mut vault_table,
        vault_index: &mut vault_index,
        scratch: &mut scratch,
    };
    // SAFETY: a static; volatile, so that it is read and not assumed: where it lies,
    // not byte by byte.
    let service_root = *unsafe { core::ptr::read_volatile(&raw const SERVICE_ROOT) };
    let config = Config {
        service_root,
        root_version: 0,
        factory_epoch: 0,
        wait_s: 30,
    };
    let Ok(mut agent) = Agent::new(board, config, memory) else {
        cortex_m::peripheral::SCB::sys_reset()
    };
    serve(&mut agent)
}

/// The run loop. Not a part of `main`: it reaches the agent through a pointer, as
/// in a product, and not through main's frame, which holds the agent.
#[inline(never)]
fn serve(agent: &mut Agent<'_, Board>) -> ! {
    let mut menu = MenuSequence::default();
    let mut request = [0; MAX_FRAME];
    // The request to post, in bytes; 0 for none.
    let mut posted = 0;
    loop {
        let next = agent.poll(&mut request);
        match next {
            Next::Post(n) => posted = n,
            Next::Reset => cortex_m::peripheral::SCB::sys_reset(),
            Next::Again | Next::WaitUntil(_) => {}
        }
        let at = MAILBOX.0.get();
        // SAFETY: as `Shared`; volatile, for the other processor writes it.
        if unsafe { core::ptr::read_volatile(&raw const (*at).command) } == 0 {
            if let Next::WaitUntil(_) = next {
                // Until the timer's or the mailbox's event.
                cortex_m::asm::wfe();
            }
            continue;
        }
        // SAFETY: the command is set, so the mailbox is ours.
        let mailbox = unsafe { &mut *at };
        let fetched = match mailbox.command {
            9 => core::mem::take(&mut posted),
            _ => 0,
        };
        let outgoing = request.get(..fetched).unwrap_or_default();
        mailbox.result = match obey(agent, &mut menu, mailbox, outgoing) {
            Ok(n) => n as i32,
            Err(e) => -i32::from(e.code()),
        };
        // SAFETY: as above; the other processor's turn.
        unsafe { core::ptr::write_volatile(&raw mut (*at).command, 0) };
    }
}

/// Does what the application processor asks for. Not a part of the loop, which would
/// compute the addresses of all that any call touches before it begins.
#[inline(never)]
fn obey(
    agent: &mut Agent<'_, Board>,
    menu: &mut MenuSequence,
    m: &mut Mailbox,
    outgoing: &[u8],
) -> Result<usize, Error> {
    let class = Class::from_number(m.class).ok_or(Error::NotFound)?;
    let len = m.len as usize;
    let bytes = m.data.get(..len).ok_or(Error::TooLong)?;
    match m.command {
        1 => agent.start_activation()?,
        2 => agent.cancel_activation()?,
        3 => agent.sign_out()?,
        4 => agent.deactivate()?,
        5 => agent.put(class, m.id, bytes)?,
        6 => return agent.get(class, m.id, &mut m.data),
        7 => agent.remove(class, m.id)?,
        8 => agent.forget(class)?,
        // The request to post, to be answered by command 10 or 11.
        9 => {
            for (to, from) in m.data.iter_mut().zip(outgoing) {
                *to = *from;
            }
            return Ok(outgoing.len());
        }
        10 => agent.handle_reply(bytes)?,
        11 => agent.exchange_failed(),
        12 => agent.end_storage_check(),
        13 | 16 => {
            let mut copied = [0; 4 + CHUNK];
            let given = copied.get_mut(..len).ok_or(Error::TooLong)?;
            for (to, from) in given.iter_mut().zip(bytes) {
                *to = *from;
            }
            if m.command == 13 {
                return Ok(agent.apply_order(given, &mut m.data)?.1);
            }
            let out = m.data.first_chunk_mut().ok_or(Error::TooLong)?;
            return match agent.storage_check(given, out) {
                CheckStep::Send(n) => Ok(n),
                CheckStep::Again => Err(Error::Busy),
                CheckStep::Wait => Ok(0),
            };
        }
        14 => return agent.newest_receipt(&mut m.data),
        15 => {
            let nonce = *bytes.first_chunk().ok_or(Error::TooLong)?;
            return agent.prove_clean(nonce, &mut m.data);
        }
        17 => return Ok(agent.is_clean().into()),
        18 => return agent.display_name(&mut m.data),
        19 => {
            let status = agent.status();
            let (done, all) = status.wipe.unwrap_or_default();
            for (to, from) in m
                .data
                .iter_mut()
                .zip([done as u8, all as u8, status.receipts])
            {
                *to = from;
            }
            if let Some((code, pictogram)) = status.code {
                m.key = pictogram;
                for (to, from) in m.data.iter_mut().skip(3).zip(code.bytes()) {
                    *to = from;
                }
            }
            return Ok(usize::from(status.state != nrd_agent::State::Active));
        }
        20 => {
            let key = match m.key {
                0 => RemoteKey::Up,
                1 => RemoteKey::Down,
                2 => RemoteKey::Left,
                3 => RemoteKey::Right,
                _ => RemoteKey::Other,
            };
            let now = nrd_hal::Clock::uptime_ms(&mut agent.platform().time);
            return Ok(menu.press(key, now).into());
        }
        _ => return Err(Error::NotFound),
    }
    Ok(0)
}
