//! `device-sim`: phones and push gateways for Countersign, without Apple or
//! Google.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use device_sim::command;

/// Phones and push gateways for Countersign, without Apple or Google
#[derive(Parser)]
#[command(name = "device-sim", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One phone in the terminal, answered by a person
    Phone(command::phone::PhoneArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result: Result<(), Box<dyn std::error::Error>> = match Cli::parse().command {
        Command::Phone(args) => command::phone::run(args).await.map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device-sim: {error}");
            ExitCode::FAILURE
        }
    }
}
