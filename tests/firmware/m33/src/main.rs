//! The agent core on a bare-metal Cortex-M33, without any allocator: the
//! conformance suite, then whole lives with a reset in the middle of an
//! operation, at every STRIDE-th operation in turn.
//!
//! The result is one JSON line over semihosting; `tests/tests/firmware.rs`
//! reads it.
#![no_std]
#![no_main]

mod board;
mod service;
mod stack;

use board::{Board, GEOMETRY, World, world};
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use nrd_agent::agent::CheckStep;
use nrd_agent::log::Entry;
use nrd_agent::wire::storage::{CHUNK, MAX_MESSAGE, VERSION};
use nrd_agent::wire::{MAX_FRAME, OrderResult};
use nrd_agent::{Agent, Class, Config, Memory, Next, State};
use nrd_hal::conformance;
use service::Service;

/// Which operations are cut: every 3rd.
const STRIDE: u32 = 3;
const VALUE: &[u8] = b"alexandra@example.com";

/// The story's stages, kept over resets.
const CONFORM: u32 = 0;
const ACTIVATE: u32 = 1;
const REMEMBER: u32 = 2;
const WIPE: u32 = 3;
const PROVE: u32 = 4;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{{\"ok\":false,\"panic\":\"{}\"}}", info.message());
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::nop();
    }
}

fn fail(why: &str) -> ! {
    let w = world();
    hprintln!(
        "{{\"ok\":false,\"why\":\"{}\",\"stage\":{},\"cut_at\":{},\"life\":{}}}",
        why,
        w.stage,
        w.cut_at,
        w.lives
    );
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::nop();
    }
}

fn reset(stage: u32) -> ! {
    world().stage = stage;
    cortex_m::peripheral::SCB::sys_reset()
}

#[entry]
fn main() -> ! {
    world().boots += 1;
    let service = Service::new();
    let mut certificate = [0; 256];
    let n = service.certificate(&mut certificate).unwrap_or_default();
    let Some(board) = Board::new(certificate.get(..n).unwrap_or_default()) else {
        fail("the board cannot be built");
    };
    if world().stage == CONFORM {
        conform(board);
    }
    live(board, &service)
}

fn conform(mut board: Board) -> ! {
    if let Err(f) = conformance::platform(&mut board) {
        hprintln!("{}", f);
        fail("conformance");
    }
    hprintln!("conformance: every part keeps its promises");
    world().begin_life(0);
    reset(ACTIVATE)
}

fn live(board: Board, service: &Service) -> ! {
    let layout = board.layout;
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
    let config = Config {
        service_root: service.root_key(),
        root_version: 0,
        factory_epoch: 0,
        wait_s: 0,
    };
    let Ok(mut agent) = Agent::new(board, config, memory) else {
        fail("the agent cannot be built");
    };
    // The wipe's order comes over another channel: its life has no network, so
    // that the receipt must outlive the reset.
    let network = (world().stage != WIPE).then_some(service);
    rest(&mut agent, network);
    match world().stage {
        ACTIVATE => {
            if agent.state() == State::Clean && agent.start_activation().is_err() {
                fail("activation is refused");
            }
            rest(&mut agent, network);
            if agent.state() != State::Active {
                fail("not active");
            }
            if call(|| agent.put(Class::Email, 1, VALUE)).is_err() {
                fail("the value is refused");
            }
            reset(REMEMBER)
        }
        REMEMBER => {
            remembered(&mut agent);
            agent.platform().time.0 += 25 * 3_600_000;
            rest(&mut agent, network);
            remembered(&mut agent);
            if call(|| agent.forget(Class::Payment)).is_err() {
                fail("forget is refused");
            }
            remembered(&mut agent);
            reset(WIPE)
        }
        WIPE => {
            if agent.state() == State::Active {
                let mut order = [0; 256];
                let Some(n) = service.order(0, &mut order) else {
                    fail("no order");
                };
                let frame = order.get(..n).unwrap_or_default();
                let mut outcome = [0; 192];
                match call(|| agent.apply_order(frame, &mut outcome)) {
                    Ok((OrderResult::Applied, _)) => {}
                    _ => fail("the order is refused"),
                }
            }
            rest(&mut agent, network);
            reset(PROVE)
        }
        _ => {
            judge(&mut agent, &layout);
            next_life()
        }
    }
}

fn remembered(agent: &mut Agent<'_, Board>) {
    let mut out = [0; 64];
    let n = match agent.get(Class::Email, 1, &mut out) {
        Ok(n) => n,
        Err(_) => fail("a stored value is lost"),
    };
    if agent.state() != State::Active || out.get(..n) != Some(VALUE) {
        fail("the session is lost");
    }
}

/// A call into the agent; in the uncut life its stack is measured.
fn call<T>(work: impl FnOnce() -> T) -> T {
    if world().cut_at != 0 {
        return work();
    }
    let (result, bytes) = stack::measure(work);
    let deepest = &mut world().agent_stack;
    *deepest = bytes.max(*deepest);
    result
}

/// Does what the agent says until it wants to sleep; with no service, no
/// request is ever answered.
fn rest(agent: &mut Agent<'_, Board>, service: Option<&Service>) {
    // Not a count of errors: this story is short, and an agent that never
    // sleeps must end the test.
    for _ in 0..5000 {
        let (mut request, mut reply) = ([0; MAX_FRAME], [0; MAX_FRAME]);
        match (call(|| agent.poll(&mut request)), service) {
            // This board's reset is the story's own, after each stage.
            (Next::Again | Next::Reset, _) => {}
            (Next::Post(_), None) => agent.exchange_failed(),
            (Next::Post(n), Some(service)) => {
                let Some(m) = service.answer(request.get(..n).unwrap_or_default(), &mut reply)
                else {
                    fail("the service refuses an honest device");
                };
                let reply = reply.get(..m).unwrap_or_default();
                if call(|| agent.handle_reply(reply)).is_err() {
                    fail("a good reply is refused");
                }
            }
            (Next::WaitUntil(_), _) => match agent.status().fault {
                None => return,
                Some(_) => fail("the agent cannot go on"),
            },
        }
    }
    fail("the agent does not come to rest")
}

/// Hands in a desk's message, and works until the device waits; `said` holds its
/// last answer.
fn tell(agent: &mut Agent<'_, Board>, message: &[u8], said: &mut [u8; MAX_MESSAGE]) {
    let mut message = message;
    loop {
        match call(|| agent.storage_check(message, said)) {
            CheckStep::Send(_) => {}
            CheckStep::Again => rest(agent, None),
            CheckStep::Wait => return,
        }
        message = &[];
    }
}

/// Looks at the cells themselves.
fn judge(agent: &mut Agent<'_, Board>, layout: &nrd_hal::layout::Layout) {
    // A check that a cut ended is mended by asking again.
    let mut said = [0; MAX_MESSAGE];
    tell(agent, &[0, VERSION], &mut said);
    let mut chunk = [0x5A; 3 + CHUNK];
    for (to, from) in chunk.iter_mut().zip([1, 0x80, 0x02]) {
        *to = from;
    }
    for _ in 0..layout.vault_size / CHUNK as u32 {
        tell(agent, &chunk, &mut said);
    }
    let mut key = [7; 1 + 32];
    key[0] = 2;
    tell(agent, &key, &mut said);
    // The kind of a receipt.
    if said.first() != Some(&3) {
        fail("no receipt of a storage check");
    }
    if agent.state() != State::Clean || !call(|| agent.is_clean()) {
        fail("not clean");
    }
    let World {
        cells, receipts, ..
    } = world();
    let blank = |from: u32, size: u32| {
        let range = from as usize..(from + size) as usize;
        cells
            .get(range)
            .is_some_and(|c| c.iter().all(|&b| b == 0xFF))
    };
    if !blank(layout.slot_start, 2 * layout.slot_size)
        || !blank(layout.vault_start, layout.vault_size)
    {
        fail("clean, but cells are not erased");
    }
    if *receipts == 0 {
        fail("no receipt");
    }
}

fn next_life() -> ! {
    let w = world();
    w.lives += 1;
    if w.total == 0 {
        w.total = w.ops;
    }
    let next = match w.cut_at {
        0 => 1,
        at => at + STRIDE,
    };
    if next <= w.total {
        w.begin_life(next);
        reset(ACTIVATE);
    }
    hprintln!(
        "{{\"ok\":true,\"lives\":{},\"cuts\":{},\"operations\":{},\"boots\":{},\"flash_bytes\":{},\"stack_bytes\":{},\"agent_stack_bytes\":{},\"agent_bytes\":{}}}",
        w.lives,
        w.cuts,
        w.total,
        w.boots,
        GEOMETRY.size,
        stack::used(),
        w.agent_stack,
        core::mem::size_of::<Agent<'_, Board>>()
    );
    debug::exit(debug::EXIT_SUCCESS);
    loop {
        cortex_m::asm::nop();
    }
}
