//! The flags of `device-sim phone`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use countersign_proto::v1::{Gateway, KeyAlgorithm, Platform, PushEnvironment};

/// One phone in the terminal, answered by a person.
#[derive(Args, Clone, Debug)]
pub struct PhoneArgs {
    /// Registers the phone: the text of the QR code
    /// (countersign://enroll?…), or the code typed instead, which needs
    /// --broker
    #[arg(long, value_name = "URI|CODE")]
    pub enroll: Option<String>,
    /// Address of the broker, when --enroll is a typed code, e.g.
    /// http://127.0.0.1:7700
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// Certificates (PEM) to trust for a broker on https, in place of the
    /// machine's own
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// File that keeps the registration, private key included, with mode 0600;
    /// without --enroll the phone in it is taken up again. Unset: the phone is
    /// forgotten at the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Language of the phone, a BCP 47 tag: nl, fr, en or de, with or without
    /// a region. Unset: from LC_ALL, LC_MESSAGES or LANG
    #[arg(long, value_name = "TAG")]
    pub language: Option<String>,
    /// Kind of the phone's key
    #[arg(long, value_enum, default_value_t = Algorithm::Ed25519)]
    pub algorithm: Algorithm,
    /// Name of the phone in the user's list
    #[arg(long, value_name = "NAME", default_value = "Phone in the terminal")]
    pub name: String,
    /// Control page of `device-sim gateways`: the phone gets a push token there
    /// and is woken by pushes. Unset: it keeps a stream to the broker open
    #[arg(long, value_name = "URL")]
    pub gateways: Option<String>,
    /// Whose push service wakes the phone (with --gateways)
    #[arg(long, value_enum, default_value_t = PushGateway::Apns)]
    pub gateway: PushGateway,
    /// The app's id there: the bundle id for apns, the Firebase project for fcm
    /// [default: be.example.countersign, countersign-example]
    #[arg(long, value_name = "ID")]
    pub app_id: Option<String>,
    /// Which of APNs' two worlds the app is from (apns only)
    #[arg(long, value_enum, default_value_t = PushEnvironmentArg::Production)]
    pub environment: PushEnvironmentArg,
}

/// Kind of a device key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032)
    Ed25519,
    /// ECDSA on P-256, as in an iPhone's Secure Enclave
    P256,
}

impl From<Algorithm> for KeyAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::P256 => Self::P256,
        }
    }
}

/// A push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PushGateway {
    /// Apple Push Notification service
    Apns,
    /// Firebase Cloud Messaging
    Fcm,
}

impl PushGateway {
    /// The id of the emulators' own example app.
    #[must_use]
    pub fn example_app(self) -> &'static str {
        match self {
            Self::Apns => "be.example.countersign",
            Self::Fcm => "countersign-example",
        }
    }

    /// The operating system of its phones.
    #[must_use]
    pub fn platform(self) -> Platform {
        match self {
            Self::Apns => Platform::Ios,
            Self::Fcm => Platform::Android,
        }
    }
}

impl From<PushGateway> for Gateway {
    fn from(gateway: PushGateway) -> Self {
        match gateway {
            PushGateway::Apns => Self::Apns,
            PushGateway::Fcm => Self::Fcm,
        }
    }
}

/// APNs keeps two worlds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PushEnvironmentArg {
    /// Apps from the store
    Production,
    /// Development builds
    Sandbox,
}

impl From<PushEnvironmentArg> for PushEnvironment {
    fn from(environment: PushEnvironmentArg) -> Self {
        match environment {
            PushEnvironmentArg::Production => Self::Production,
            PushEnvironmentArg::Sandbox => Self::Sandbox,
        }
    }
}
