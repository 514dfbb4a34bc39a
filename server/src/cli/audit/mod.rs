//! `countersign audit`

mod check;
mod export;
mod line;
mod list;
#[cfg(test)]
mod tests;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{arguments::AdminArgs, failure::Failure, output::Output, remote};

#[derive(Debug, Args)]
pub(super) struct AuditCommand {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    action: AuditAction,
}

#[derive(Debug, Subcommand)]
enum AuditAction {
    /// Print entries of the audit trail, the newest last
    List(ListArgs),
    /// Write the whole audit trail as JSON lines, to be verified anywhere
    Export {
        /// Of this organisation, entries of others only as digests; without it, all that the key
        /// may see
        #[arg(long, value_name = "TENANT_ID")]
        tenant: Option<String>,
        /// Write to this file, which must not be there yet, instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check an export without the broker: every entry altered, dropped, added or moved is named
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Of this organisation; without it, all that the key may see
    #[arg(long, value_name = "TENANT_ID")]
    tenant: Option<String>,
    /// Not before this time, such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<prost_types::Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<prost_types::Timestamp>,
    /// With this action, or, ending in a full stop, all that start so, such as challenge.
    #[arg(long, default_value = "")]
    action: String,
    /// Of this object, such as a challenge id
    #[arg(long, value_name = "ID", default_value = "")]
    object: String,
    /// About this user
    #[arg(long, value_name = "USER", default_value = "")]
    user: String,
    /// How many of the newest
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Go on and print new entries as they come
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The export
    file: PathBuf,
    /// The broker's keys as a JSON Web Key Set, kept from its /.well-known/jwks.json; without this
    /// or fingerprints the keys in the export itself are used, which anybody could have put there
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Accept this key of those in the export: its key id, which is its fingerprint (RFC 7638); can
    /// be given more than once
    #[arg(long, value_name = "KEY_ID")]
    key_fingerprint: Vec<String>,
}

fn time(text: &str) -> Result<prost_types::Timestamp, &'static str> {
    text.parse()
        .map_err(|_| "must be a time such as 2026-01-31T08:00:00Z")
}

pub(super) fn run(command: AuditCommand, out: &Output) -> Result<(), Failure> {
    match command.action {
        AuditAction::List(arguments) => remote::block_on(list::run(&command.admin, arguments, out)),
        AuditAction::Export { tenant, output } => remote::block_on(export::run(
            &command.admin,
            tenant.unwrap_or_default(),
            output.as_deref(),
            out,
        )),
        AuditAction::Verify(arguments) => verify::run(&arguments, out),
    }
}
