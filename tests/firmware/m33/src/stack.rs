//! How much of the stack was ever used: cortex-m-rt painted it at reset.

/// The paint (cortex-m-rt's feature `paint-stack`).
const PAINT: u32 = 0xCCCC_CCCC;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes of stack used since the last reset.
pub fn used() -> u32 {
    let top = core::ptr::addr_of!(_stack_start) as usize;
    let mut at = core::ptr::addr_of!(_stack_end) as usize;
    // SAFETY: both symbols bound the stack's RAM, which nothing else uses; only
    // whole words inside it are read.
    while at < top && unsafe { core::ptr::read_volatile(at as *const u32) } == PAINT {
        at += 4;
    }
    (top - at) as u32
}

/// Runs `call` and tells how much stack it used below its caller's frame.
///
/// Repaints [`WINDOW`] bytes under the stack pointer first.
#[inline(never)]
pub fn measure<T>(call: impl FnOnce() -> T) -> (T, u32) {
    let sp = cortex_m::register::msp::read() as usize;
    let floor = sp - WINDOW;
    // Below the frame that paints: 256 bytes are left for it.
    for at in (floor..sp - 256).step_by(4) {
        // SAFETY: stack that nothing uses now, inside the RAM that the linker
        // gave to it (256 KiB); no interrupt runs.
        unsafe { core::ptr::write_volatile(at as *mut u32, PAINT) };
    }
    let result = call();
    let mut at = floor;
    // SAFETY: as above; only read.
    while at < sp && unsafe { core::ptr::read_volatile(at as *const u32) } == PAINT {
        at += 4;
    }
    (result, (sp - at) as u32)
}

/// How far down a call may reach and still be measured.
pub const WINDOW: usize = 48 * 1024;
