//! All gateways that are configured, in order, and the way past those that
//! don't take a text.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::callback::{CallbackRefused, CallbackRequest};
use super::config::KeyFault;
use super::lane::Lane;
use super::reply::{Gateway, Reply};
use super::secret::SecretFile;
use super::smpp::Smpp;
use super::twilio::Twilio;
use super::webhook::Webhook;
use super::{
    ReceiptSink, SmsConfig, SmsGatewayConfig, SmsGatewayKind, Text, TextOutcome, TextReceipt,
    TextState, is_e164, is_reference,
};
use crate::delivery::alarm::{AlarmBoard, Bell};
use crate::delivery::{CredentialAlarm, DeliveryError, GatewayName, NowMs, fcm, tls};

/// Where receipts go, once somebody listens.
#[derive(Default)]
pub(super) struct Receipts {
    sink: OnceLock<ReceiptSink>,
}

impl Receipts {
    pub(super) fn tell(&self, gateway: &str, reference: String, state: TextState) {
        tracing::debug!(gateway, reference, ?state, "text receipt");
        if let Some(sink) = self.sink.get() {
            sink(TextReceipt {
                reference,
                gateway: gateway.to_owned(),
                state,
            });
        }
    }
}

/// The SMS gateways, in the order they are tried.
pub struct SmsGateways {
    lanes: Vec<Lane>,
    receipts: Arc<Receipts>,
    alarms: Arc<AlarmBoard>,
    now: NowMs,
}

impl std::fmt::Debug for SmsGateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.lanes.iter().map(|lane| &lane.name).collect();
        f.debug_tuple("SmsGateways").field(&names).finish()
    }
}

impl SmsGateways {
    /// Reads every secret and certificate file that `config` names. Connections
    /// over HTTP are made at the first text, those of SMPP by
    /// [`SmsGateways::run`].
    ///
    /// # Errors
    /// All faults together: of the configuration, and of the files.
    pub fn new(config: &SmsConfig, now: NowMs) -> Result<Self, DeliveryError> {
        let mut faults = config.faults();
        let setup = Setup {
            callback_url: config.callback_url.as_deref(),
            receipts: Arc::default(),
            alarms: Arc::default(),
            now: Arc::clone(&now),
        };
        let mut lanes = Vec::new();
        for (i, gateway) in config.gateways.iter().enumerate() {
            match setup.lane(gateway) {
                Ok(lane) => lanes.push(lane),
                Err((key, fault)) => {
                    let fault = format!("gateways[{i}].{key}: {fault}");
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
            }
        }
        if !faults.is_empty() {
            let part = "sms";
            return Err(DeliveryError { part, faults });
        }
        Ok(Self {
            lanes,
            receipts: setup.receipts,
            alarms: setup.alarms,
            now,
        })
    }

    /// From now on receipts are told to `sink`. Only the first call counts;
    /// receipts before it are lost.
    pub fn on_receipt(&self, sink: ReceiptSink) {
        if self.receipts.sink.set(sink).is_err() {
            tracing::warn!("text receipts already have a receiver");
        }
    }

    /// Whether there is a gateway at all.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// Hands `text` to the first gateway that takes it. Passes over those that
    /// don't; stops at one that perhaps did, and at one that refuses the number.
    pub async fn send(&self, text: &Text) -> TextOutcome {
        if self.lanes.is_empty() {
            return TextOutcome::NoGateway;
        }
        if let Err(reason) = self.check(text) {
            let reason = reason.to_owned();
            return TextOutcome::Rejected { reason };
        }
        let mut passed_over = PassedOver::default();
        for lane in &self.lanes {
            let gateway = lane.name.clone();
            match lane.send(text).await {
                Reply::Accepted => return TextOutcome::Accepted { gateway },
                Reply::Rejected { reason } => {
                    let reason = format!("{gateway}: {reason}");
                    return TextOutcome::Rejected { reason };
                }
                Reply::Unknown { reason } => return TextOutcome::Unknown { gateway, reason },
                Reply::NotTaken { reason, after } => {
                    passed_over.not_taken(format!("{gateway}: {reason}"), after);
                }
                Reply::CredentialRejected { reason } => {
                    passed_over.refused(format!("{gateway}: {reason}"));
                }
            }
        }
        passed_over.outcome()
    }

    /// What no gateway could make good.
    fn check(&self, text: &Text) -> Result<(), &'static str> {
        if !is_e164(&text.to) {
            return Err("not an E.164 number");
        }
        if text.body.is_empty() {
            return Err("empty text");
        }
        if !text.reference.is_empty() && !is_reference(&text.reference) {
            return Err("malformed reference");
        }
        if text.expire_at_ms <= (self.now)() {
            return Err("expired before it was sent");
        }
        Ok(())
    }

    /// The credentials that do not work at present.
    #[must_use]
    pub fn alarms(&self) -> Vec<CredentialAlarm> {
        self.alarms.active()
    }

    /// Keeps the SMPP sessions bound: binds, asks whether the link is up, and
    /// reconnects. After `stop`, lets texts under way end, unbinds and returns.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut sessions = JoinSet::new();
        for index in 0..self.lanes.len() {
            let (gateways, stop) = (Arc::clone(&self), stop.clone());
            sessions.spawn(async move {
                if let Some(lane) = gateways.lanes.get(index) {
                    lane.gateway.run(stop).await;
                }
            });
        }
        while sessions.join_next().await.is_some() {}
    }

    /// Takes a status callback for `gateway`: verifies it, and tells the sink.
    ///
    /// # Errors
    /// Nothing was told.
    pub fn callback(
        &self,
        gateway: &str,
        request: CallbackRequest<'_>,
    ) -> Result<(), CallbackRefused> {
        let lane = self.lanes.iter().find(|lane| lane.name == gateway);
        let lane = lane.ok_or(CallbackRefused::UnknownGateway)?;
        let told = lane.gateway.callback(&request);
        if let Err(refused) = &told {
            // Anybody can send rubbish here: nothing an operator must act on.
            tracing::debug!(gateway, %refused, "status callback refused");
        }
        if let Some((reference, state)) = told? {
            self.receipts.tell(&lane.name, reference, state);
        }
        Ok(())
    }
}

/// Why gateways were passed over.
#[derive(Default)]
struct PassedOver {
    reasons: Vec<String>,
    after: Option<Duration>,
    /// One of them may take it at another try.
    is_hopeful: bool,
}

impl PassedOver {
    fn not_taken(&mut self, reason: String, after: Option<Duration>) {
        // The soonest, where every gateway so far has named a time.
        self.after = match (self.is_hopeful, self.after, after) {
            (false, _, after) => after,
            (true, Some(a), Some(b)) => Some(a.min(b)),
            (true, ..) => None,
        };
        self.is_hopeful = true;
        self.reasons.push(reason);
    }

    fn refused(&mut self, reason: String) {
        self.reasons.push(reason);
    }

    fn outcome(self) -> TextOutcome {
        let reason = self.reasons.join("; ");
        if self.is_hopeful {
            let after = self.after;
            TextOutcome::RetryAfter { reason, after }
        } else {
            TextOutcome::CredentialRejected { reason }
        }
    }
}

struct Setup<'a> {
    callback_url: Option<&'a str>,
    receipts: Arc<Receipts>,
    alarms: Arc<AlarmBoard>,
    now: NowMs,
}

impl Setup<'_> {
    fn lane(&self, config: &SmsGatewayConfig) -> Result<Lane, KeyFault> {
        let name = config.name.as_str();
        let bell = |credential: &str| Bell {
            board: Arc::clone(&self.alarms),
            gateway: GatewayName::Sms(name.into()),
            credential: credential.to_owned(),
            now: Arc::clone(&self.now),
        };
        let secret = |key, path: &std::path::Path, bell: Bell| {
            SecretFile::open(path, bell).map_err(|fault| (key, fault))
        };
        let http = |root_ca_file: Option<&std::path::Path>| {
            tls::client_config(root_ca_file)
                .and_then(fcm::http_client)
                .map_err(|fault| ("root_ca_file", fault))
        };
        let (gateway, bell): (Box<dyn Gateway>, Bell) = match &config.kind {
            SmsGatewayKind::Webhook(webhook) => {
                let open = |key, path: &Option<std::path::PathBuf>| {
                    let opened = path.as_ref().map(|path| secret(key, path, bell(key)));
                    opened.transpose().map(|secret| secret.map(Arc::new))
                };
                let gateway = Webhook::new(
                    name,
                    webhook,
                    http(webhook.root_ca_file.as_deref())?,
                    open("secret_file", &webhook.secret_file)?,
                    open("callback_secret_file", &webhook.callback_secret_file)?,
                    self.callback_url,
                    Arc::clone(&self.now),
                )?;
                (Box::new(gateway), bell("secret_file"))
            }
            SmsGatewayKind::Twilio(twilio) => {
                let bell = bell(&twilio.account_sid);
                let gateway = Twilio::new(
                    name,
                    twilio,
                    http(twilio.root_ca_file.as_deref())?,
                    secret("auth_token_file", &twilio.auth_token_file, bell.clone())?,
                    self.callback_url,
                    Arc::clone(&self.now),
                );
                (Box::new(gateway), bell)
            }
            SmsGatewayKind::Smpp(smpp) => {
                let bell = bell(&smpp.system_id);
                let tls = smpp
                    .tls
                    .then(|| tls::client_config(smpp.root_ca_file.as_deref()))
                    .transpose()
                    .map_err(|fault| ("root_ca_file", fault))?;
                let password = secret("password_file", &smpp.password_file, bell.clone())?;
                let receipts = Arc::clone(&self.receipts);
                let gateway = Smpp::new(name, smpp, tls, password, bell.clone(), receipts)?;
                (Box::new(gateway), bell)
            }
        };
        Ok(Lane::new(name, gateway, bell, config.max_in_flight))
    }
}
