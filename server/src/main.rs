//! The binary `countersign`: see [`countersign_server::cli`].

use std::process::ExitCode;

/// A flow takes and gives back some nine hundred pieces of memory, many of them
/// on another thread: a fifth of its cost with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    countersign_server::cli::main()
}
