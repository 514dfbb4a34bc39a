//! `countersign device`: flags.

use std::path::PathBuf;

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
    /// Register devices from a file, without tickets: for a migration
    ///
    /// The file has one JSON object per line with the fields of ImportedDevice
    /// (admin.proto): user_id, key_algorithm (ED25519 or P256), public_key
    /// (base64) and platform (IOS or ANDROID), and as wanted key_protection,
    /// display_name, language, app_version, push and encryption_key. The broker
    /// must allow it for the time being (limits.allow_device_import). It may be
    /// repeated: what is there already is passed over, and what was removed since
    /// stays removed.
    Import {
        /// The file; - for standard input
        file: PathBuf,
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
