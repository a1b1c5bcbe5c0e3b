//! The `pointsman` program.

use std::process::ExitCode;

/// Faster than the system's by a tenth under HTTP/2, and it gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pointsman::cli::main()
}
