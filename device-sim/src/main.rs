//! `device-sim`: phones and push gateways for Countersign, without Apple or
//! Google.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use device_sim::{bench, command, demo, load};
use tracing_subscriber::EnvFilter;

/// As the broker's own: what is measured here is what runs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Phones and push gateways for Countersign, without Apple or Google
#[derive(Parser)]
#[command(name = "device-sim", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything in one process: the broker on its embedded store, push
    /// gateways, a phone and a sign-in page
    Demo(demo::DemoArgs),
    /// One phone in the terminal, answered by a person
    Phone(command::phone::PhoneArgs),
    /// Emulators of APNs, FCM and an SMS gateway
    Gateways(command::gateways::GatewaysArgs),
    /// The broker against the ideal flow: throughput, latency, memory, growth,
    /// disk, overload, each beside its yardstick
    Bench(bench::BenchArgs),
    /// A server under measurement
    #[command(hide = true)]
    BenchChild(bench::ChildArgs),
    /// Many phones and sign-ins at a chosen rate, and a report
    Load(Box<load::LoadArgs>),
}

#[tokio::main]
async fn main() -> ExitCode {
    // Quiet unless RUST_LOG asks for more.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let result: Result<(), Box<dyn std::error::Error>> = match Cli::parse().command {
        Command::Demo(args) => demo::run(args).await.map_err(Into::into),
        Command::Phone(args) => command::phone::run(args).await.map_err(Into::into),
        Command::Gateways(args) => command::gateways::run(args).await.map_err(Into::into),
        Command::Bench(args) => bench::run(args).await.map_err(Into::into),
        Command::BenchChild(args) => bench::run_child(args).await.map_err(Into::into),
        Command::Load(args) => load::run(*args).await.map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device-sim: {error}");
            ExitCode::FAILURE
        }
    }
}
