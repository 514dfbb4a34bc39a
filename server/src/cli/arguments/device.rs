//! `countersign device`: flags.

use clap::{Args, Subcommand};

use super::AdminArgs;

#[derive(Debug, Args)]
pub(crate) struct DeviceCommand {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The organisation; without it, the only one that the key may see
    #[arg(long, global = true, value_name = "TENANT_ID")]
    pub(crate) tenant: Option<String>,
    #[command(subcommand)]
    pub(crate) action: DeviceAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceAction {
    /// List a user's devices, oldest first
    List {
        /// The user, as the identity provider calls them
        user: String,
    },
    /// Take a device away at once; what only it could have answered ends
    Remove {
        /// Its id
        device_id: String,
        /// Don't ask whether it is meant
        #[arg(long, short)]
        yes: bool,
    },
}
