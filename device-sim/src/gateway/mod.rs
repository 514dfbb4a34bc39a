//! Stand-ins for Apple's, Google's and an SMS provider's gateways, as strict as the real ones, and
//! the phones' side of them: a phone gets its device token here and receives what was pushed to it.
//!
//! Everything listens on loopback and is reached by real sockets; keys and certificates are made at
//! the start and written to a directory for a broker to use.

pub mod apns;
mod clock;
mod config;
mod control;
mod credentials;
mod device;
pub mod fcm;
mod http;
mod journal;
mod jws;
mod listener;
pub mod sms;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

pub use self::apns::Apns;
pub use self::clock::GatewayClock;
pub use self::config::{ApnsTeam, GatewaysConfig};
pub(crate) use self::control::BROKER_HTTP;
pub use self::credentials::{ApnsKey, Credentials, CredentialsError, FcmAccount};
pub use self::device::{
    ApnsPush, Devices, Environment, FcmPush, Push, Pushes, Registration, Vendor,
};
pub use self::fcm::Fcm;
pub use self::journal::{Arrival, Counters, Fate};
pub use self::jws::Encoding;
pub use self::sms::{
    Alphabet, Delivery, Inbox, MessageStatus, Receipt, Smpp, Sms, SmsGateway, TextMessage, Twilio,
    Webhook,
};
use crate::fault::Faults;

/// Why the emulators could not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewaysError {
    /// A port.
    #[error("{gateway}: can't listen on {addr}: {cause}")]
    Listen {
        /// Which emulator.
        gateway: &'static str,
        /// Where.
        addr: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// A temporary directory.
    #[error("can't make a temporary directory: {0}")]
    TempDir(io::Error),
    /// Keys, certificates, their files.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The TLS configuration.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificates to trust for delivery receipts.
    #[error("certificates for delivery receipts: {0}")]
    CallbackRoots(String),
}

impl From<sms::StartError> for GatewaysError {
    fn from(error: sms::StartError) -> Self {
        match error {
            sms::StartError::Listen(gateway, addr, cause) => Self::Listen {
                gateway,
                addr,
                cause,
            },
            sms::StartError::Credentials(error) => Self::Credentials(error),
            sms::StartError::Callback(error) => Self::CallbackRoots(error.to_string()),
        }
    }
}

/// A token was asked for an app that no team or project has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown app {0:?}")]
pub struct UnknownApp(pub String);

/// Not one of `apns`, `apns-sandbox`, `fcm`, `fcm-token`, `twilio`, `webhook`, `smpp`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown gateway {0:?}")]
pub struct UnknownGateway(pub String);

/// The running emulators. Dropping it stops them.
pub struct Gateways {
    core: Core,
    control_addr: SocketAddr,
    seed: u64,
    stop: CancellationToken,
    _directory: Option<TempDir>,
}

/// What the control page shares with [`Gateways`].
#[derive(Clone)]
struct Core {
    apns: Apns,
    apns_sandbox: Apns,
    fcm: Fcm,
    sms: Sms,
    devices: Devices,
    journal: journal::Journal,
    credentials: Credentials,
    topics: Arc<BTreeSet<String>>,
    projects: Arc<BTreeSet<String>>,
    clock: GatewayClock,
}

impl Gateways {
    /// Makes the credentials and starts to listen.
    ///
    /// # Errors
    /// A port is taken, or a file can't be written.
    pub async fn start(config: GatewaysConfig) -> Result<Self, GatewaysError> {
        let (path, directory) = match config.credentials {
            Some(path) => (path, None),
            None => {
                let directory = TempDir::new().map_err(GatewaysError::TempDir)?;
                (directory.path().to_owned(), Some(directory))
            }
        };
        let credentials = Credentials::open(&path)?;
        let mut topics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for team in &config.teams {
            credentials.issue_apns_key(&team.team_id, &team.key_id)?;
            topics
                .entry(team.team_id.clone())
                .or_default()
                .extend(team.topics.iter().cloned());
        }
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        names.extend([config.host.clone()].into_iter().chain(config.hostnames));
        names.sort();
        names.dedup();
        let identity = credentials.server_identity(&names)?;
        let h2 = listener::tls_config(&identity, &[b"h2"])?;
        let any = listener::tls_config(&identity, &[b"h2", b"http/1.1"])?;

        let seed = config.seed.unwrap_or_else(rand::random);
        let clock = config.clock;
        let devices = Devices::new(clock.clone());
        let journal = journal::Journal::new("apns", config.keep_received);
        let stop = CancellationToken::new();
        let projects: BTreeSet<String> = config.projects.into_iter().collect();
        let listen = |gateway, addr| {
            move |cause| GatewaysError::Listen {
                gateway,
                addr,
                cause,
            }
        };

        let apns_settings = |listen, environment, journal, faults| apns::Settings {
            listen,
            host: config.host.clone(),
            environment,
            topics: topics.clone(),
            encoding: config.jwt_encoding,
            token_change_limit: config.token_change_limit,
            credentials: credentials.clone(),
            tls: Arc::clone(&h2),
            clock: clock.clone(),
            devices: devices.clone(),
            journal,
            faults,
            stop: stop.clone(),
        };
        let apns = apns::start(apns_settings(
            config.apns,
            Environment::Production,
            journal.clone(),
            Faults::new(seed),
        ))
        .await
        .map_err(listen("apns", config.apns))?;
        let apns_sandbox = apns::start(apns_settings(
            config.apns_sandbox,
            Environment::Sandbox,
            journal.of("apns-sandbox"),
            Faults::new(seed.wrapping_add(1)),
        ))
        .await
        .map_err(listen("apns-sandbox", config.apns_sandbox))?;
        let fcm = fcm::start(fcm::Settings {
            listen: config.fcm,
            host: config.host.clone(),
            projects: projects.clone(),
            access_token_lifetime_s: config.access_token_lifetime.as_secs(),
            credentials: credentials.clone(),
            tls: Arc::clone(&any),
            clock: clock.clone(),
            devices: devices.clone(),
            journal: journal.of("fcm"),
            token_journal: journal.of("fcm-token"),
            faults: Faults::new(seed.wrapping_add(2)),
            token_faults: Faults::new(seed.wrapping_add(3)),
            stop: stop.clone(),
        })
        .await
        .map_err(listen("fcm", config.fcm))?;
        for project in &projects {
            credentials.issue_fcm_account(project, &fcm.token_uri(), false)?;
        }
        let sms = sms::start(sms::Settings {
            twilio: config.twilio,
            webhook: config.webhook,
            smpp: config.smpp,
            host: config.host.clone(),
            secret_demanded: config.webhook_secret_demanded,
            callback_root_ca: config.callback_root_ca,
            credentials: credentials.clone(),
            tls: any,
            clock: clock.clone(),
            journal: journal.clone(),
            seed: seed.wrapping_add(4),
            stop: stop.clone(),
        })
        .await?;

        let core = Core {
            apns,
            apns_sandbox,
            fcm,
            sms,
            devices,
            journal,
            credentials,
            topics: Arc::new(topics.into_values().flatten().collect()),
            projects: Arc::new(projects),
            clock,
        };
        let control_addr = control::start(config.control, core.clone(), stop.clone())
            .await
            .map_err(listen("control", config.control))?;
        Ok(Self {
            core,
            control_addr,
            seed,
            stop,
            _directory: directory,
        })
    }

    /// APNs, production.
    pub fn apns(&self) -> &Apns {
        &self.core.apns
    }

    /// APNs, sandbox.
    pub fn apns_sandbox(&self) -> &Apns {
        &self.core.apns_sandbox
    }

    /// FCM.
    pub fn fcm(&self) -> &Fcm {
        &self.core.fcm
    }

    /// Text messages.
    pub fn sms(&self) -> &Sms {
        &self.core.sms
    }

    /// Keys, service accounts and the root certificate.
    pub fn credentials(&self) -> &Credentials {
        &self.core.credentials
    }

    /// The phones' side.
    pub fn devices(&self) -> &Devices {
        &self.core.devices
    }

    /// An app's request for a token, as a phone makes it of its vendor.
    ///
    /// # Errors
    /// No team has such an app, or there is no such project.
    pub fn issue_token(&self, registration: &Registration) -> Result<String, UnknownApp> {
        self.core.issue_token(registration)
    }

    /// The faults of a gateway by its name: `apns`, `apns-sandbox`, `fcm`, `fcm-token`, `twilio`,
    /// `webhook`, `smpp`.
    ///
    /// # Errors
    /// There is no such gateway.
    pub fn faults(&self, gateway: &str) -> Result<&Faults, UnknownGateway> {
        self.core.faults(gateway)
    }

    /// What arrived at all gateways, oldest first, as far as it is kept.
    pub fn received(&self) -> Vec<Arc<Arrival>> {
        self.core.journal.list()
    }

    /// What arrives at all gateways from now on.
    pub fn arrivals(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.core.journal.subscribe()
    }

    /// Where the control page listens.
    pub fn control_addr(&self) -> SocketAddr {
        self.control_addr
    }

    /// The seed behind all faults by share.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The `[[push.apns]]` and `[[push.fcm]]` tables that make a broker use these gateways.
    pub fn broker_toml(&self) -> String {
        self.core.broker_toml()
    }

    /// The `[sms]` part that makes a broker use the SMS gateways: SMPP first, then the webhook, then
    /// Twilio. Receipts over HTTP come to the broker under `callback_url`.
    pub fn sms_toml(&self, callback_url: &str) -> String {
        self.core.sms_toml(callback_url)
    }

    /// Stops listening and cuts all connections.
    pub fn stop(&self) {
        self.stop.cancel();
        self.core.devices.disconnect_all();
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Core {
    fn issue_token(&self, registration: &Registration) -> Result<String, UnknownApp> {
        self.check_app(registration)?;
        Ok(self.devices.issue(registration))
    }

    fn check_app(&self, registration: &Registration) -> Result<(), UnknownApp> {
        let apps = match registration.gateway {
            Vendor::Apns => &self.topics,
            Vendor::Fcm => &self.projects,
        };
        if apps.contains(&registration.app_id) {
            Ok(())
        } else {
            Err(UnknownApp(registration.app_id.clone()))
        }
    }

    fn faults(&self, gateway: &str) -> Result<&Faults, UnknownGateway> {
        match gateway {
            "apns" => Ok(self.apns.faults()),
            "apns-sandbox" => Ok(self.apns_sandbox.faults()),
            "fcm" => Ok(self.fcm.faults()),
            "fcm-token" => Ok(self.fcm.token_faults()),
            "twilio" => Ok(self.sms.twilio().faults()),
            "webhook" => Ok(self.sms.webhook().faults()),
            "smpp" => Ok(self.sms.smpp().faults()),
            _ => Err(UnknownGateway(gateway.to_owned())),
        }
    }

    fn broker_toml(&self) -> String {
        let mut text = String::new();
        let root = quoted(&self.credentials.root_ca_file().display().to_string());
        for (topic, key) in self.apps() {
            for (environment, apns) in [("production", &self.apns), ("sandbox", &self.apns_sandbox)]
            {
                text += &format!(
                    "[[push.apns]]\napp_id = {}\nenvironment = \"{environment}\"\nteam_id = {}\n\
                     key_id = {}\nkey_file = {}\nurl = {}\nroot_ca_file = {root}\n\n",
                    quoted(&topic),
                    quoted(&key.team_id),
                    quoted(&key.key_id),
                    quoted(&key.path.display().to_string()),
                    quoted(apns.url()),
                );
            }
        }
        for account in self.credentials.fcm_accounts() {
            text += &format!(
                "[[push.fcm]]\nproject_id = {}\nservice_account_file = {}\nurl = {}\n\
                 root_ca_file = {root}\n\n",
                quoted(&account.project_id),
                quoted(&account.path.display().to_string()),
                quoted(self.fcm.url()),
            );
        }
        text
    }

    fn sms_toml(&self, callback_url: &str) -> String {
        let order = [SmsGateway::Smpp, SmsGateway::Webhook, SmsGateway::Twilio];
        self.sms.broker_toml(callback_url, &order)
    }

    /// Every topic with the newest key of its team.
    fn apps(&self) -> Vec<(String, ApnsKey)> {
        let keys = self.credentials.apns_keys();
        let team_of = |topic: &str| self.apns.team_of(topic);
        self.topics
            .iter()
            .filter_map(|topic| {
                let team = team_of(topic)?;
                let key = keys.iter().rev().find(|key| key.team_id == team)?;
                Some((topic.clone(), key.clone()))
            })
            .collect()
    }
}

fn url(scheme: &str, host: &str, addr: SocketAddr) -> String {
    let port = addr.port();
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

/// A TOML basic string. Rust's escapes of printable text are TOML's as well.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}
