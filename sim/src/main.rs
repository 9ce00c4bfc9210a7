//! The command line of the simulator.

mod cli;

use std::alloc::System;
use std::process::ExitCode;
use zeroizing_alloc::ZeroAlloc;

/// Freed memory is zeroized: rustls and ring leave copies of what they decrypt
/// in buffers that they free. On a device the reset that ends a wipe does this.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    cli::main()
}
