//! What a finished image needs from C: `abort`, and for HTTPS an allocator.

unsafe extern "C" {
    fn abort() -> !;
}

/// A panic ends the process: for the agent a power cut, which it survives at
/// any instant.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: C's `abort` may be called at any time.
    unsafe { abort() }
}

/// Named by the unwinding tables of a standard library that was built to
/// unwind. Nothing here does, so nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[cfg(feature = "tls")]
mod heap {
    use core::alloc::{GlobalAlloc, Layout};
    use core::ffi::c_void;
    use core::sync::atomic::{AtomicUsize, Ordering};

    unsafe extern "C" {
        fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
        fn free(block: *mut c_void);
    }

    /// C's heap. What is freed is overwritten first: TLS buffers have held
    /// tokens and names.
    struct Heap;

    static NOW: AtomicUsize = AtomicUsize::new(0);
    static PEAK: AtomicUsize = AtomicUsize::new(0);

    // SAFETY: `aligned_alloc` gives blocks of the size and alignment asked for,
    // or NULL, and `free` takes them back.
    unsafe impl GlobalAlloc for Heap {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let align = layout.align().max(16);
            // C11 wants the size to be a multiple of the alignment.
            let Some(size) = layout.size().checked_next_multiple_of(align) else {
                return core::ptr::null_mut();
            };
            // SAFETY: a power of two, and a multiple of it.
            let block = unsafe { aligned_alloc(align, size) };
            if !block.is_null() {
                let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
                PEAK.fetch_max(now, Ordering::Relaxed);
            }
            block.cast()
        }
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            NOW.fetch_sub(layout.size(), Ordering::Relaxed);
            for i in 0..layout.size() {
                // SAFETY: the block has that many bytes, and is still ours.
                unsafe { block.add(i).write_volatile(0) };
            }
            // SAFETY: it came from `aligned_alloc`.
            unsafe { free(block.cast()) }
        }
    }

    #[global_allocator]
    static HEAP: Heap = Heap;

    /// The most bytes that HTTPS ever held at once, since the program began.
    #[unsafe(no_mangle)]
    pub extern "C" fn nrd_heap_peak() -> usize {
        PEAK.load(Ordering::Relaxed)
    }
}
