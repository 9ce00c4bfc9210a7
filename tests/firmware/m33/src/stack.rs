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
