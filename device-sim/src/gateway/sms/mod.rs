//! Text messages: an endpoint shaped like Twilio's, a webhook, and an SMPP message centre, with one
//! inbox for all the phones behind them.

mod alphabet;
mod callback;
mod endpoint;
mod inbox;
mod number;
mod smpp;
mod twilio;
mod webhook;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

pub use self::alphabet::Alphabet;
pub(crate) use self::callback::CallbackError;
use self::callback::Callbacks;
use self::endpoint::Desk;
pub use self::inbox::{Delivery, Inbox, MessageStatus, Receipt, SmsGateway, TextMessage};
pub use self::smpp::Smpp;
pub use self::twilio::Twilio;
pub use self::webhook::Webhook;
use super::clock::GatewayClock;
use super::credentials::{Credentials, CredentialsError, Secret};
use super::device::hex;
use super::journal::Journal;
use super::quoted;
use crate::fault::Faults;

/// The `system_id` of the message centre's one account.
const SYSTEM_ID: &str = "countersign";
/// Sender of messages in a broker's configuration for these gateways.
const SENDER: &str = "Countersign";

/// The running SMS gateways. Clones share them.
#[derive(Clone)]
pub struct Sms {
    inbox: Inbox,
    twilio: Twilio,
    webhook: Webhook,
    smpp: Smpp,
    files: Arc<Files>,
}

/// Where a broker finds what it needs.
struct Files {
    root_ca: PathBuf,
    auth_token: PathBuf,
    webhook_secret: PathBuf,
    smpp_password: PathBuf,
}

/// What the gateways need to start.
pub(super) struct Settings {
    pub(super) twilio: SocketAddr,
    pub(super) webhook: SocketAddr,
    pub(super) smpp: SocketAddr,
    /// Name or address under which clients reach them.
    pub(super) host: String,
    pub(super) secret_demanded: bool,
    /// Further roots for callbacks over HTTPS.
    pub(super) callback_root_ca: Option<PathBuf>,
    pub(super) credentials: Credentials,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) clock: GatewayClock,
    pub(super) journal: Journal,
    /// Seed of the fault generators.
    pub(super) seed: u64,
    pub(super) stop: CancellationToken,
}

/// Why the gateways could not start.
pub(super) enum StartError {
    Listen(&'static str, SocketAddr, io::Error),
    Credentials(CredentialsError),
    Callback(CallbackError),
}

pub(super) async fn start(settings: Settings) -> Result<Sms, StartError> {
    let inbox = Inbox::new();
    let desk = |gateway: SmsGateway, seed: u64| Desk {
        gateway,
        clock: settings.clock.clone(),
        inbox: inbox.clone(),
        journal: settings.journal.of(gateway.name()),
        faults: Faults::new(settings.seed.wrapping_add(seed)),
        stop: settings.stop.clone(),
    };
    let secret = |name: &str, made: String| -> Result<Secret, StartError> {
        let secret = settings.credentials.issue_secret(name, &made);
        secret.map_err(StartError::Credentials)
    };
    let random = || hex(&rand::random::<[u8; 16]>());
    let account = secret("twilio-account-sid", format!("AC{}", random()))?;
    let auth_token = secret("twilio-auth-token", random())?;
    let service = secret("twilio-messaging-service-sid", format!("MG{}", random()))?;
    let webhook_secret = secret("webhook-secret", random())?;
    // At most eight characters (SMPP v3.4, section 5.2.2).
    let password = secret("smpp-password", hex(&rand::random::<[u8; 4]>()))?;
    let root_ca = settings.credentials.root_ca_file();
    let mut roots = vec![root_ca.as_path()];
    roots.extend(settings.callback_root_ca.as_deref());
    let callbacks = Callbacks::new(&roots).map_err(StartError::Callback)?;

    let failed = |gateway, addr| move |error| StartError::Listen(gateway, addr, error);
    let twilio = endpoint::start(
        settings.twilio,
        Arc::clone(&settings.tls),
        desk(SmsGateway::Twilio, 0),
        |desk, addr| twilio::Service {
            addr,
            url: super::url("https", &settings.host, addr),
            account_sid: account.text,
            auth_token: auth_token.text,
            messaging_service_sid: service.text,
            desk,
            callbacks: callbacks.clone(),
        },
    )
    .await
    .map_err(failed("twilio", settings.twilio))?;
    let webhook = endpoint::start(
        settings.webhook,
        settings.tls.clone(),
        desk(SmsGateway::Webhook, 1),
        |desk, addr| webhook::Service {
            addr,
            url: super::url("https", &settings.host, addr),
            secret: webhook_secret.text,
            secret_demanded: settings.secret_demanded,
            desk,
            callbacks,
        },
    )
    .await
    .map_err(failed("webhook", settings.webhook))?;
    let smpp = smpp::start(
        settings.smpp,
        desk(SmsGateway::Smpp, 2),
        SYSTEM_ID.to_owned(),
        password.text,
    )
    .await
    .map_err(failed("smpp", settings.smpp))?;
    Ok(Sms {
        inbox,
        twilio: Twilio(twilio),
        webhook: Webhook(webhook),
        smpp,
        files: Arc::new(Files {
            root_ca,
            auth_token: auth_token.path,
            webhook_secret: webhook_secret.path,
            smpp_password: password.path,
        }),
    })
}

impl Sms {
    /// The phones' inbox.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// The endpoint shaped like Twilio's.
    #[must_use]
    pub fn twilio(&self) -> &Twilio {
        &self.twilio
    }

    /// The webhook.
    #[must_use]
    pub fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// The SMPP message centre.
    #[must_use]
    pub fn smpp(&self) -> &Smpp {
        &self.smpp
    }

    /// The `[sms]` part that makes a broker use these gateways, in the given order, first one first.
    /// Receipts over HTTP come to the broker under `callback_url`.
    #[must_use]
    pub fn broker_toml(&self, callback_url: &str, order: &[SmsGateway]) -> String {
        let mut text = format!("[sms]\ncallback_url = {}\n\n", quoted(callback_url));
        for gateway in order {
            text += &match gateway {
                SmsGateway::Twilio => self.twilio_toml(),
                SmsGateway::Webhook => self.webhook_toml(),
                SmsGateway::Smpp => self.smpp_toml(),
            };
        }
        text
    }

    fn twilio_toml(&self) -> String {
        format!(
            "[[sms.gateways]]\nname = \"twilio\"\nkind = \"twilio\"\naccount_sid = {}\n\
             auth_token_file = {}\nfrom = \"{SENDER}\"\nurl = {}\nroot_ca_file = {}\n\n",
            quoted(self.twilio.account_sid()),
            quoted(&self.files.auth_token.display().to_string()),
            quoted(self.twilio.url()),
            quoted(&self.files.root_ca.display().to_string()),
        )
    }

    fn webhook_toml(&self) -> String {
        format!(
            "[[sms.gateways]]\nname = \"webhook\"\nkind = \"webhook\"\nmethod = \"POST\"\n\
             url = {}\nheaders = {{ content-type = \"application/json\", \
             authorization = \"Bearer {{secret}}\" }}\n\
             body = '{{\"to\":\"{{to}}\",\"text\":\"{{text}}\",\"from\":\"{SENDER}\",\
             \"status_url\":\"{{status_url}}\"}}'\nstatus_sent = \"sent\"\n\
             status_delivered = \"delivered\"\nstatus_failed = \"undelivered,failed\"\n\
             secret_file = {}\nroot_ca_file = {}\n\n",
            quoted(&format!("{}/messages", self.webhook.url())),
            quoted(&self.files.webhook_secret.display().to_string()),
            quoted(&self.files.root_ca.display().to_string()),
        )
    }

    fn smpp_toml(&self) -> String {
        format!(
            "[[sms.gateways]]\nname = \"smpp\"\nkind = \"smpp\"\naddress = \"{}\"\n\
             system_id = \"{SYSTEM_ID}\"\npassword_file = {}\nsource_addr = \"{SENDER}\"\n\n",
            self.smpp.addr(),
            quoted(&self.files.smpp_password.display().to_string()),
        )
    }
}

/// What stays as it is in a query or form (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Text for a query or form.
fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}
