//! `countersign user`: flags.

use clap::{Args, Subcommand};

use super::AdminArgs;

#[derive(Debug, Args)]
pub(crate) struct UserCommand {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The organisation; without it, the only one that the key may see
    #[arg(long, global = true, value_name = "TENANT_ID")]
    pub(crate) tenant: Option<String>,
    #[command(subcommand)]
    pub(crate) action: UserAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserAction {
    /// Show whether a user is locked, what they failed at, and what they can answer with
    Show {
        /// The user, as the identity provider calls them
        user: String,
    },
    /// Lock a user: what is pending ends, and nobody signs in until they are unlocked
    Lock {
        /// The user, as the identity provider calls them
        user: String,
    },
    /// Unlock a user
    Unlock {
        /// The user, as the identity provider calls them
        user: String,
    },
    /// Put a user on the list of those for whom an authenticator is asked
    Enlist {
        /// The user, as the identity provider calls them
        user: String,
    },
    /// Take a user off that list
    Delist {
        /// The user, as the identity provider calls them
        user: String,
    },
    /// Take everything away that a user can answer with: phones, numbers, apps, recovery codes
    Reset {
        /// The user, as the identity provider calls them
        user: String,
        /// Don't ask whether it is meant
        #[arg(long, short)]
        yes: bool,
    },
}
