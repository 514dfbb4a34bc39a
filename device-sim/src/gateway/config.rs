//! How to start the emulators.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::clock::GatewayClock;
use super::jws::Encoding;

/// An Apple developer team with one signing key.
#[derive(Clone, Debug)]
pub struct ApnsTeam {
    /// Ten characters.
    pub team_id: String,
    /// Ten characters.
    pub key_id: String,
    /// Bundle ids of its apps.
    pub topics: Vec<String>,
}

/// How to start the emulators. The default listens on free ports of 127.0.0.1.
#[derive(Clone, Debug)]
pub struct GatewaysConfig {
    /// APNs, production.
    pub apns: SocketAddr,
    /// APNs, sandbox.
    pub apns_sandbox: SocketAddr,
    /// FCM and its token endpoint.
    pub fcm: SocketAddr,
    /// Text messages by REST, as Twilio has it.
    pub twilio: SocketAddr,
    /// Text messages by webhook.
    pub webhook: SocketAddr,
    /// Text messages by SMPP, without TLS.
    pub smpp: SocketAddr,
    /// Whether the webhook demands its secret.
    pub webhook_secret_demanded: bool,
    /// Certificates (PEM) to trust for delivery receipts over HTTPS, besides the emulators' own
    /// root.
    pub callback_root_ca: Option<PathBuf>,
    /// The control page (plain HTTP, no authentication: keep it on loopback).
    pub control: SocketAddr,
    /// Name or address under which clients reach the emulators; it stands in every URL.
    pub host: String,
    /// Further names in the certificate.
    pub hostnames: Vec<String>,
    /// Where keys and certificates go; those found there are used again. Unset: a temporary
    /// directory, removed at the end.
    pub credentials: Option<PathBuf>,
    /// Apple developer teams.
    pub teams: Vec<ApnsTeam>,
    /// Firebase project ids.
    pub projects: Vec<String>,
    /// Which JWTs APNs takes. [`Encoding::Lenient`] also lets `apns-push-type` be missing
    /// and background pushes hold more than `content-available`.
    pub jwt_encoding: Encoding,
    /// Changes of provider token allowed per team in 20 minutes; unset: any number, for tests that
    /// restart a broker more often than Apple would like.
    pub token_change_limit: Option<usize>,
    /// Lifetime of FCM access tokens. Google's: 3599 s.
    pub access_token_lifetime: Duration,
    /// Seed of the fault generators; random if unset.
    pub seed: Option<u64>,
    /// Requests kept for [`Gateways::received`](super::Gateways::received).
    pub keep_received: usize,
    /// The emulators' time.
    pub clock: GatewayClock,
}

impl Default for GatewaysConfig {
    fn default() -> Self {
        let free = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            apns: free,
            apns_sandbox: free,
            fcm: free,
            twilio: free,
            webhook: free,
            smpp: free,
            webhook_secret_demanded: true,
            callback_root_ca: None,
            control: free,
            host: "127.0.0.1".to_owned(),
            hostnames: Vec::new(),
            credentials: None,
            teams: vec![ApnsTeam {
                team_id: "EXAMPLETM1".to_owned(),
                key_id: "EXAMPLEKY1".to_owned(),
                topics: vec!["be.example.countersign".to_owned()],
            }],
            projects: vec!["countersign-example".to_owned()],
            jwt_encoding: Encoding::Strict,
            token_change_limit: Some(1),
            access_token_lifetime: Duration::from_secs(3599),
            seed: None,
            keep_received: 10_000,
            clock: GatewayClock::system(),
        }
    }
}
