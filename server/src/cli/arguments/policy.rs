//! `countersign policy`: flags.

use clap::{Args, Subcommand, ValueEnum};

use super::AdminArgs;

/// What `policy set` takes.
const FIELDS: &str = "Fields, with the values they can have:
  number_matching              off, when-risky, always
  number_digits                2 to 6
  challenge_ttl                15s to 10m
  pending_limit                supersede, reject
  encrypted_prompts            yes, no
  methods.push, .sms, .totp, .recovery_code
                               yes, no
  methods.recommended          push, sms, totp
  enrollment.enforcement       off, encouraged, required
  enrollment.start_time, .snooze_until
                               a time such as 2026-01-31T08:00:00Z
  enrollment.listed_users_only yes, no
  enrollment.max_snoozes       0 to 100
  codes.digits                 4 to 10
  codes.ttl                    1m to 10m
  codes.max_wrong, .max_sends  1 to 5
  codes.fallback_after         5s to 10m, never
  sms.countries                ISO 3166-1 codes such as BE,NL
  sms.per_number_hour          1 to 60
  sms.per_number_day           1 to 200
  sms.per_range_hour           1 to 200
  sms.per_tenant_day           0 to 10000000
  sms.range_alarm              2 to 200
  sms.origin_host              a host such as login.example.com
  fatigue.budget               1 to 5
  fatigue.window               10m to 24h
  fatigue.first_wait           10s to 1h
  fatigue.longest_wait         10s to 24h
  fatigue.denial_cool_off      60s to 1h
  fatigue.on_report            alarm, lock
  lockout.free_failures        1 to 5
  lockout.first_wait           30s to 1h
  lockout.longest_wait         30s to 24h
  lockout.lock_after           10 to 100
  browser_days                 0 to 90
  language                     nl, fr, en, de

FIELD= with nothing behind it goes back to the default.";

#[derive(Debug, Args)]
pub(crate) struct PolicyCommand {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// The organisation; without it, the only one that the key may see
    #[arg(long, global = true, value_name = "TENANT_ID")]
    pub(crate) tenant: Option<String>,
    #[command(subcommand)]
    pub(crate) action: PolicyAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyAction {
    /// Show the rules as they are now
    Get {
        /// Only these fields, such as codes.digits, or groups, such as codes (JSON has all)
        #[arg(value_name = "FIELD")]
        fields: Vec<String>,
    },
    /// Change some rules; they count from the next sign-in on
    #[command(after_help = FIELDS)]
    Set {
        /// What to change, such as browser_days=7 or sms.countries=BE,NL
        #[arg(value_name = "FIELD=VALUE", required = true)]
        assignments: Vec<String>,
        /// Change nothing if the rules are not at this version any more
        #[arg(long, value_name = "VERSION")]
        expected_version: Option<u64>,
    },
    /// List the presets with what is different in them from the defaults
    Presets,
    /// Take over a preset: all but what is the organisation's own (enrollment, sms.countries,
    /// sms.origin_host, language, encrypted_prompts)
    Apply {
        /// Which preset
        #[arg(value_enum)]
        preset: Preset,
        /// Change nothing if the rules are not at this version any more
        #[arg(long, value_name = "VERSION")]
        expected_version: Option<u64>,
    },
    /// List all versions of the rules: when, by whom, and what changed
    History,
}

/// Rules to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// Two digits to type with every push; codes as the other way; browsers remembered for 30 days
    Standard,
    /// NIST SP 800-63B-4 at AAL2: six digits, no text messages, no remembered browsers
    Nist,
    /// Pushes only, six digits, nothing that can be read out over the telephone
    PhishingHardened,
    /// A number only for sign-ins out of the ordinary, browsers remembered for 90 days
    LowFriction,
}
