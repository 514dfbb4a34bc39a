//! The command line of `countersign`: running the broker, and operating one
//! over gRPC.

use std::process::ExitCode;

use clap::Parser;

mod arguments;
mod audit;
mod broker;
mod confirm;
mod device;
mod enroll;
mod failure;
mod generate;
mod import;
mod key;
mod output;
mod policy;
mod policy_fields;
mod qr;
mod remote;
mod signing_key;
mod tenant;
#[cfg(test)]
mod tests;
mod user;

pub use arguments::Arguments;

use arguments::Command;
use failure::Failure;
use output::Output;

/// Runs the program with the process's own arguments; the exit codes are those
/// that `--help` tells.
pub fn main() -> ExitCode {
    // For libraries that take the process-wide provider. An error means that
    // one is set already, which can only be this one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let out = Output::new(arguments.json);
    match arguments.command {
        Command::Serve(command) => broker::serve(&command),
        Command::Init(command) => broker::init(&command, &out),
        Command::Recover(command) => broker::recover(&command, &out),
        Command::Compact(command) => broker::compact(&command, &out),
        Command::CheckConfig(command) => broker::check_config(&command, &out),
        Command::Tenant(command) => remote::block_on(tenant::run(command, &out)),
        Command::Key(command) => remote::block_on(key::run(command, &out)),
        Command::Policy(command) => remote::block_on(policy::run(command, &out)),
        Command::User(command) => remote::block_on(user::run(command, &out)),
        Command::Device(command) => remote::block_on(device::run(command, &out)),
        Command::SigningKey(command) => remote::block_on(signing_key::run(command, &out)),
        Command::Audit(command) => audit::run(command, &out),
        Command::Enroll(command) => remote::block_on(enroll::run(command, &out)),
        Command::Completions { shell } => generate::completions(shell, &out),
        Command::Man { out_dir } => generate::man(out_dir.as_deref(), &out),
    }
}
