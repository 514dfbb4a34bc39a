//! The binary `countersign`: see [`countersign_server::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign_server::cli::main()
}
