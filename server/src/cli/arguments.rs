//! Every command and flag.

pub(super) mod device;
pub(super) mod policy;
pub(super) mod user;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::failure::EXIT_CODES;
use device::DeviceCommand;
use policy::{PolicyCommand, Preset};
use user::UserCommand;

const ABOUT: &str = "Push-notification approval broker: asks a person's phone \
    whether a sign-in is theirs and keeps the signed answer";

const AFTER_HELP: &str = "Configuration keys can also be set by environment variables: \
    COUNTERSIGN_, the key in capitals, two underscores between levels, such as \
    COUNTERSIGN_GRPC__LISTEN for grpc.listen.";

const COMPACT: &str = "Write a stopped broker's store anew, without what has left it, \
    so that its room on disk goes back to the system. A running broker only uses such room \
    again. For when much has left at once, e.g. after retention was shortened: a store that \
    is as full as ever gains nothing and is left as it is. Takes up to as much room again \
    meanwhile, in the data directory; interrupted at any moment, nothing is lost.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    about = ABOUT,
    after_help = EXIT_CODES,
    after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"),
    propagate_version = true,
    max_term_width = 100,
)]
pub struct Arguments {
    /// Print JSON, one object per line, instead of text for people
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the broker until SIGTERM or SIGINT, then let running calls end
    Serve(ConfigArgs),
    /// Make an empty data directory, its keys and the first admin key, shown this once
    Init(ConfigArgs),
    /// Make another admin key with the files of a stopped broker, for when all keys are lost
    Recover(ConfigArgs),
    /// Write a stopped broker's store anew, which gives room on disk back
    #[command(long_about = COMPACT)]
    Compact(ConfigArgs),
    /// Check the configuration and print what is in force and where it was set
    CheckConfig(ConfigArgs),
    /// Add and list organisations
    Tenant(TenantCommand),
    /// Make, list and revoke API keys
    Key(KeyCommand),
    /// Show and change the rules of an organisation
    Policy(PolicyCommand),
    /// Show, lock, unlock and reset people
    User(UserCommand),
    /// List, import and remove people's devices
    Device(DeviceCommand),
    /// Rotate and list the keys with which the broker signs
    SigningKey(SigningKeyCommand),
    /// List, follow and export the audit trail, and verify an export without the broker
    Audit(super::audit::AuditCommand),
    /// Register a phone for a user: shows the QR code and waits for the phone
    Enroll(EnrollCommand),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man {
        /// Write this page and one per command into a directory instead
        #[arg(long, value_name = "DIR")]
        out_dir: Option<PathBuf>,
    },
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Configuration file (TOML); without it, environment variables and defaults only
    #[arg(long, short, value_name = "FILE", env = "COUNTERSIGN_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

/// How to reach a running broker.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    /// The broker's gRPC address
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "COUNTERSIGN_ADDRESS",
        default_value = "http://127.0.0.1:7700"
    )]
    pub(super) address: String,
    /// Trust these certificates (PEM) instead of the system's
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERSIGN_CA_FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// Present this certificate (PEM) to a broker that asks for one
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "COUNTERSIGN_CLIENT_CERTIFICATE_FILE"
    )]
    pub(super) client_certificate_file: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "COUNTERSIGN_CLIENT_KEY_FILE"
    )]
    pub(super) client_key_file: Option<PathBuf>,
    /// Send the API key over http:// to another machine, where anyone on the way can read it
    #[arg(long, global = true)]
    pub(super) allow_plaintext_beyond_loopback: bool,
}

/// The credential of an operator.
#[derive(Debug, Args)]
pub(super) struct AdminArgs {
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
    /// File with an admin API key; without it the key is taken from COUNTERSIGN_ADMIN_KEY
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) admin_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct TenantCommand {
    #[command(flatten)]
    pub(super) admin: AdminArgs,
    #[command(subcommand)]
    pub(super) action: TenantAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum TenantAction {
    /// Add an organisation
    Create(TenantCreate),
    /// List all organisations that the key may see
    List,
    /// Show one organisation and its rules
    Show {
        /// Its id
        tenant_id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct TenantCreate {
    /// Its name, shown in prompts on phones
    pub(super) name: String,
    /// Rules to start from; what is given beside it counts more [default: standard]
    #[arg(long, value_enum)]
    pub(super) preset: Option<Preset>,
    /// Its own country, such as BE (ISO 3166-1): the one whose numbers may be texted
    #[arg(long, value_name = "COUNTRY")]
    pub(super) country: Option<String>,
    /// Language of texts to people who have said nothing else: nl, fr, en or de [default: en]
    #[arg(long, value_name = "LANGUAGE")]
    pub(super) language: Option<String>,
    /// Whether the number on the sign-in page must be typed on the phone [default: always]
    #[arg(long, value_enum)]
    pub(super) number_matching: Option<NumberMatching>,
    /// How many digits that number has [default: 2]
    #[arg(long, value_name = "2-6", value_parser = clap::value_parser!(u32).range(2..=6))]
    pub(super) number_digits: Option<u32>,
    /// How long a challenge can be answered, such as 90s, from 15s to 10m [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = time_span)]
    pub(super) challenge_ttl: Option<Duration>,
    /// What a second challenge does while one is pending for the same user [default: supersede]
    #[arg(long, value_enum)]
    pub(super) pending_limit: Option<PendingLimit>,
    /// Send the prompt itself through the push gateways, encrypted to the phone, which then shows
    /// it without a fetch; without this, pushes only wake the phone
    #[arg(long)]
    pub(super) encrypted_prompts: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum NumberMatching {
    /// Never
    Off,
    /// For every approval
    Always,
    /// Where something about the sign-in is out of the ordinary
    WhenRisky,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PendingLimit {
    /// It takes the older one's place
    Supersede,
    /// It is refused
    Reject,
}

#[derive(Debug, Args)]
pub(super) struct KeyCommand {
    #[command(flatten)]
    pub(super) admin: AdminArgs,
    #[command(subcommand)]
    pub(super) action: KeyAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyAction {
    /// Make an API key; it is shown this once
    Create {
        /// The organisation it is for
        #[arg(
            long,
            value_name = "TENANT_ID",
            required_unless_present = "installation",
            required_if_eq("role", "idp")
        )]
        tenant: Option<String>,
        /// For the whole installation, with all its organisations (admin keys only)
        #[arg(long, conflicts_with = "tenant")]
        installation: bool,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// A name for your own lists
        #[arg(long, default_value = "")]
        name: String,
    },
    /// List API keys, revoked ones included
    List {
        /// The organisation whose keys to list; without it, the installation's
        #[arg(long, value_name = "TENANT_ID")]
        tenant: Option<String>,
    },
    /// Make an API key useless at once
    Revoke {
        /// The part of the key between its first two underscores; the whole key does as well, but
        /// then other users of this machine can see it while the command runs
        api_key_id: String,
        /// Don't ask whether it is meant
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Approvals and enrolments of one organisation
    Idp,
    /// Administration of one organisation or the whole installation
    Admin,
}

#[derive(Debug, Args)]
pub(super) struct SigningKeyCommand {
    #[command(flatten)]
    pub(super) admin: AdminArgs,
    #[command(subcommand)]
    pub(super) action: SigningKeyAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum SigningKeyAction {
    /// Make the next signing key, vouched for by the present one
    Rotate {
        /// How long phones and identity providers get to learn it before it signs, such as
        /// 90m or 48h, up to 720h
        #[arg(long, value_name = "SPAN", value_parser = time_span, default_value = "24h")]
        lead_time: Duration,
    },
    /// List the signing keys, oldest first
    List,
}

#[derive(Debug, Args)]
pub(super) struct EnrollCommand {
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
    /// File with an idp API key of the user's organisation; without it the key is taken from
    /// COUNTERSIGN_API_KEY
    #[arg(long, value_name = "FILE")]
    pub(super) api_key_file: Option<PathBuf>,
    /// The user, as the identity provider calls them
    pub(super) user: String,
    /// How long the code can be used, such as 30m, from 1m to 60m [default: 10m]
    #[arg(long, value_name = "SPAN", value_parser = time_span)]
    pub(super) ttl: Option<Duration>,
    /// Print the code and don't wait for the phone
    #[arg(long)]
    pub(super) no_wait: bool,
}

fn time_span(text: &str) -> Result<Duration, &'static str> {
    crate::config::time_span(text).ok_or("must be a number with ms, s, m, h or d, such as 90s")
}
