//! All gateways that are configured, and the way from a target to its lane.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::alarm::{AlarmBoard, Bell};
use super::apns::{self, Apns};
use super::fcm::{self, Fcm};
use super::lane::Lane;
use super::{
    ApnsApp, CredentialAlarm, FcmApp, NowMs, Outcome, Push, PushConfig, PushEnvironment,
    PushGateway, Sender, tls,
};

/// Gateways can't be set up.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {}", faults.join("; "))]
pub struct DeliveryError {
    /// `push` or `sms`.
    pub part: &'static str,
    /// Everything that is wrong, each with the key it stands under.
    pub faults: Vec<String>,
}

/// APNs and FCM, with every app that is configured. Needs no thread of its own;
/// connections are made at the first push.
pub struct Gateways {
    apns: HashMap<(String, PushEnvironment), Arc<Lane<Apns>>>,
    fcm: HashMap<String, Lane<Fcm>>,
    alarms: Arc<AlarmBoard>,
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateways")
            .field("apns", &self.apns.keys().collect::<Vec<_>>())
            .field("fcm", &self.fcm.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Gateways {
    /// Reads every credential and certificate file that `config` names.
    ///
    /// # Errors
    /// All faults together: of the configuration, and of the files.
    pub fn new(config: &PushConfig, now: NowMs) -> Result<Self, DeliveryError> {
        let mut faults = config.faults();
        let alarms = Arc::new(AlarmBoard::default());
        let mut setup = Setup {
            now,
            alarms: Arc::clone(&alarms),
            apns_tokens: BTreeMap::new(),
            apns_lanes: BTreeMap::new(),
        };
        let mut apns = HashMap::new();
        for (i, app) in config.apns.iter().enumerate() {
            match setup.apns(app, config) {
                Ok(lane) => {
                    apns.insert((app.app_id.clone(), app.environment), lane);
                }
                Err((key, fault)) => faults.push(format!("apns[{i}].{key}: {fault}")),
            }
        }
        let mut fcm = HashMap::new();
        for (i, app) in config.fcm.iter().enumerate() {
            match setup.fcm(app) {
                Ok(lane) => {
                    fcm.insert(app.project_id.clone(), lane);
                }
                Err((key, fault)) => faults.push(format!("fcm[{i}].{key}: {fault}")),
            }
        }
        if faults.is_empty() {
            Ok(Self { apns, fcm, alarms })
        } else {
            let part = "push";
            Err(DeliveryError { part, faults })
        }
    }

    /// Tries to hand `push` to its gateway: see [`Sender::send`].
    pub async fn send(&self, push: &Push) -> Outcome {
        let target = &push.target;
        match target.gateway {
            PushGateway::Apns => {
                let key = (target.app_id.clone(), target.environment);
                match self.apns.get(&key) {
                    Some(lane) => lane.send(push).await,
                    None => Outcome::NoGateway,
                }
            }
            PushGateway::Fcm => match self.fcm.get(&target.app_id) {
                Some(lane) => lane.send(push).await,
                None => Outcome::NoGateway,
            },
        }
    }

    /// The credentials that do not work at present.
    #[must_use]
    pub fn alarms(&self) -> Vec<CredentialAlarm> {
        self.alarms.active()
    }
}

#[async_trait]
impl Sender for Gateways {
    async fn send(&self, push: &Push) -> Outcome {
        Gateways::send(self, push).await
    }
}

type ApnsKey = (String, String, PathBuf);

struct Setup {
    now: NowMs,
    alarms: Arc<AlarmBoard>,
    /// One token per team and key, for production and sandbox alike.
    apns_tokens: BTreeMap<ApnsKey, Arc<apns::TokenSource>>,
    /// One connection per host, team and key, for all topics.
    apns_lanes: BTreeMap<(String, Option<PathBuf>, ApnsKey), Arc<Lane<Apns>>>,
}

/// What is wrong, and under which key.
type Fault = (&'static str, String);

impl Setup {
    fn bell(&self, gateway: PushGateway, credential: String) -> Bell {
        Bell {
            board: Arc::clone(&self.alarms),
            gateway: gateway.into(),
            credential,
            now: Arc::clone(&self.now),
        }
    }

    fn apns(&mut self, app: &ApnsApp, config: &PushConfig) -> Result<Arc<Lane<Apns>>, Fault> {
        let key = apns_key(app);
        let lane_key = (
            app.base_url().to_owned(),
            app.root_ca_file.clone(),
            key.clone(),
        );
        if let Some(lane) = self.apns_lanes.get(&lane_key) {
            return Ok(Arc::clone(lane));
        }
        let tokens = match self.apns_tokens.get(&key) {
            Some(tokens) => Arc::clone(tokens),
            None => {
                let credential = if app.key_id.is_empty() {
                    app.team_id.clone()
                } else {
                    format!("{}/{}", app.team_id, app.key_id)
                };
                let bell = self.bell(PushGateway::Apns, credential);
                let tokens = apns::TokenSource::new(&app.team_id, &app.key_id, &app.key_file, bell)
                    .map_err(|fault| ("key_file", at(&app.key_file, &fault)))?;
                let tokens = Arc::new(tokens);
                self.apns_tokens.insert(key.clone(), Arc::clone(&tokens));
                tokens
            }
        };
        let tls = tls::client_config(app.root_ca_file.as_deref())
            .map_err(|fault| ("root_ca_file", fault))?;
        let client = Apns::new(app.base_url(), tls, tokens, Arc::clone(&self.now));
        let max_in_flight = config
            .apns
            .iter()
            .filter(|other| apns_key(other) == key && other.base_url() == app.base_url())
            .map(|other| other.max_in_flight)
            .max()
            .unwrap_or(app.max_in_flight);
        let lane = Arc::new(Lane::new(client, max_in_flight, Arc::clone(&self.now)));
        self.apns_lanes.insert(lane_key, Arc::clone(&lane));
        Ok(lane)
    }

    fn fcm(&self, app: &FcmApp) -> Result<Lane<Fcm>, Fault> {
        let tls = tls::client_config(app.root_ca_file.as_deref())
            .map_err(|fault| ("root_ca_file", fault))?;
        let http = fcm::http_client(tls).map_err(|fault| ("root_ca_file", fault))?;
        let bell = self.bell(PushGateway::Fcm, app.project_id.clone());
        let tokens = fcm::TokenSource::new(&app.service_account_file, http.clone(), bell).map_err(
            |fault| {
                (
                    "service_account_file",
                    at(&app.service_account_file, &fault),
                )
            },
        )?;
        let client = Fcm::new(
            app.base_url(),
            &app.project_id,
            http,
            Arc::new(tokens),
            Arc::clone(&self.now),
        );
        Ok(Lane::new(client, app.max_in_flight, Arc::clone(&self.now)))
    }
}

fn apns_key(app: &ApnsApp) -> ApnsKey {
    (
        app.team_id.clone(),
        app.key_id.clone(),
        app.key_file.clone(),
    )
}

fn at(path: &Path, fault: &str) -> String {
    format!("{}: {fault}", path.display())
}
