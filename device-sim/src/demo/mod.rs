//! `device-sim demo`: a broker, push and SMS gateways, a phone and a sign-in page in
//! one process, over real sockets.
//!
//! The sign-in page is an identity provider like any other: it has an API key
//! and speaks gRPC. Only `installation` knows the broker as a library.

mod another_way;
pub(crate) mod authenticator_app;
mod error;
mod identity_provider;
mod installation;
mod interactive;
mod other_ways;
mod page;
mod qr;
mod road;
mod sentences;
mod unattended;

use std::path::PathBuf;

use clap::Args;

pub use error::DemoError;
pub use identity_provider::{IdentityProvider, SignIn};
pub use installation::Installation;

use crate::terminal::Screen;

/// Everything in one process
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Runs unattended: one enrolment, one approved and one denied sign-in over
    /// APNs and the same over FCM, then sign-ins by a code from an authenticator
    /// app, a recovery code and an SMS, every receipt checked offline; the exit
    /// code is 0 when all of it went as it should
    #[arg(long)]
    pub once: bool,
    /// Directory for the broker's data and the gateways' keys, used again by
    /// the next run. Unset: a temporary one, removed at the end
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Language of the phone and its texts: nl, fr, en or de, with or without a region
    #[arg(long, value_name = "TAG", default_value = "nl-BE")]
    pub language: String,
}

/// Runs the demo.
///
/// # Errors
/// [`DemoError`]: something did not go as it should.
pub async fn run(args: DemoArgs) -> Result<(), DemoError> {
    let mut screen = Screen::stdout(false);
    let installation = Installation::start(args.data_dir.as_deref()).await?;
    let result = if args.once {
        unattended::run(&installation, &args.language, &mut screen).await
    } else {
        interactive::run(&installation, &args.language).await
    };
    let stopped = installation.stop().await;
    result.and(stopped)
}
