//! Registering the users of a run, once: in bulk where an operator's key is
//! given, otherwise by tickets, one by one.

use std::fmt;

use bytes::Bytes;
use countersign_proto::imported::MAX_IMPORTED_DEVICES;
use countersign_proto::v1::{
    ImportDevicesRequest, ImportDevicesResponse, ImportedDevice, KeyAlgorithm, KeyProtection,
    ListAuthenticatorsRequest, Platform, admin_service_client::AdminServiceClient, authenticator,
    enrollment_service_client::EnrollmentServiceClient,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tonic::{Code, Status};

use super::error::LoadError;
use super::push::Pushed;
use super::settings::{PrepareArgs, key_id};
use super::tenant::{CALL_TIMEOUT, refused, tenant_of, timed};
use crate::fleet::{Connections, Idp, Population, enroll_by_ticket};
use crate::report::progress::{Line, Progress};

/// Connections that registering takes turns on.
const CONNECTIONS: usize = 4;
/// How long one batch may take.
const BATCH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Registered now.
    pub registered: u64,
    /// Registered before.
    pub already_present: u64,
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            registered,
            already_present,
        } = self;
        write!(f, "{registered} registered, {already_present} were there")
    }
}

/// An organisation whose users are being registered.
struct Registry {
    connections: Connections,
    idp: Idp,
    key_id: String,
    population: Population,
    pushed: Pushed,
    tenant_id: String,
}

/// Registers the users that a run needs, or what is missing of them.
///
/// # Errors
/// [`LoadError`]; what was registered until then stays, and a further call goes
/// on.
pub async fn prepare(args: PrepareArgs) -> Result<Prepared, LoadError> {
    args.target.check()?;
    let admin_key = args.admin_key()?;
    let target = args.target.target()?;
    let connections = Connections::open(&target, CONNECTIONS).await?;
    if admin_key.is_none() && args.target.devices > 10_000 {
        eprintln!(
            "without an operator's key every phone needs a ticket: this takes minutes \
             (see --admin-key-file)"
        );
    }
    let mut prepared = Prepared::default();
    for key in args.target.api_keys()? {
        let idp = Idp::new(connections.clone(), &key)?;
        let key_id = key_id(&key);
        let registry = Registry {
            tenant_id: tenant_of(&idp, key_id).await?,
            connections: connections.clone(),
            idp,
            key_id: key_id.to_owned(),
            population: Population {
                seed: args.target.population,
            },
            pushed: Pushed::new(&args.target),
        };
        let one = match &admin_key {
            Some(admin_key) => registry.import(&args, admin_key).await?,
            None => registry.enroll(&args).await?,
        };
        prepared.registered += one.registered;
        prepared.already_present += one.already_present;
    }
    Ok(prepared)
}

/// How far it is, once a second.
struct Counter {
    progress: Option<Progress>,
    since: std::time::Instant,
    shown: u64,
    all: u64,
}

impl Counter {
    fn new(all: u64) -> Self {
        Self {
            progress: Some(Progress::on_stderr()),
            since: std::time::Instant::now(),
            shown: 0,
            all,
        }
    }

    fn show(&mut self, done: u64) {
        let seconds = self.since.elapsed().as_secs();
        if seconds > self.shown
            && let Some(progress) = &mut self.progress
        {
            self.shown = seconds;
            progress.show(&Line {
                phase: format!("registered {done} of {}", self.all),
                elapsed_seconds: seconds,
                ..Line::default()
            });
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(mut progress) = self.progress.take() {
            progress.clear();
        }
    }
}

impl Registry {
    fn refused(&self, call: &'static str) -> impl Fn(Status) -> LoadError {
        move |status| refused(&self.key_id, call, status)
    }

    /// In bulk: ids follow from the keys, and what is there stays.
    async fn import(&self, args: &PrepareArgs, admin_key: &str) -> Result<Prepared, LoadError> {
        let operator = Idp::new(self.connections.clone(), admin_key)?;
        let devices = args.target.devices;
        let batch = u64::try_from(MAX_IMPORTED_DEVICES).unwrap_or(u64::MAX);
        let mut counter = Counter::new(devices);
        let mut prepared = Prepared::default();
        let mut batches = futures_util::stream::iter((0..devices.div_ceil(batch)).map(Ok))
            .map_ok(|number| {
                let range = number * batch..((number + 1) * batch).min(devices);
                self.import_batch(&operator, number, range)
            })
            .try_buffer_unordered(args.in_flight.max(1));
        while let Some(response) = batches.try_next().await? {
            prepared.registered += u64::from(response.imported);
            prepared.already_present += u64::from(response.already_present);
            if let Some(removed) = response.removed_device_ids.first() {
                let why = format!("device {removed} was removed: use another population");
                return Err(LoadError::usage("--population", &why));
            }
            counter.show(prepared.registered + prepared.already_present);
        }
        Ok(prepared)
    }

    async fn import_batch(
        &self,
        operator: &Idp,
        number: u64,
        range: std::ops::Range<u64>,
    ) -> Result<ImportDevicesResponse, LoadError> {
        let devices = range.map(|index| self.imported(index)).collect();
        let request = operator.authorized(ImportDevicesRequest {
            tenant_id: self.tenant_id.clone(),
            devices,
        });
        let mut client = AdminServiceClient::new(self.connections.pick(number));
        let response = client.import_devices(timed(request, BATCH_TIMEOUT)).await;
        let response = response.map_err(|status| match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                LoadError::usage("--admin-key-file", status.message())
            }
            _ => self.refused("ImportDevices")(status),
        })?;
        Ok(response.into_inner())
    }

    fn imported(&self, index: u64) -> ImportedDevice {
        let push = self.pushed.registration(&self.tenant_id, index);
        ImportedDevice {
            user_id: self.population.user_id(index),
            key_algorithm: KeyAlgorithm::Ed25519.into(),
            public_key: self.population.key(index).public_bytes().into(),
            key_protection: KeyProtection::Software.into(),
            platform: Platform::Android.into(),
            display_name: "Load phone".to_owned(),
            language: "en".to_owned(),
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            push,
            encryption_key: Bytes::new(),
        }
    }

    /// One by one; who has a phone already is left out.
    async fn enroll(&self, args: &PrepareArgs) -> Result<Prepared, LoadError> {
        let devices = args.target.devices;
        let mut counter = Counter::new(devices);
        let mut prepared = Prepared::default();
        let mut calls = futures_util::stream::iter(0..devices)
            .map(|index| self.enroll_one(index))
            .buffer_unordered(args.in_flight.max(1));
        while let Some(enrolled) = calls.next().await {
            if enrolled? {
                prepared.registered += 1;
            } else {
                prepared.already_present += 1;
            }
            counter.show(prepared.registered + prepared.already_present);
        }
        Ok(prepared)
    }

    async fn enroll_one(&self, index: u64) -> Result<bool, LoadError> {
        let channel = self.connections.pick(index);
        let request = self.idp.authorized(ListAuthenticatorsRequest {
            user_id: self.population.user_id(index),
        });
        let listed = EnrollmentServiceClient::new(channel.clone())
            .list_authenticators(timed(request, CALL_TIMEOUT))
            .await
            .map_err(self.refused("ListAuthenticators"))?
            .into_inner();
        let mut listed = listed.authenticators.iter();
        if listed.any(|one| matches!(one.kind, Some(authenticator::Kind::Device(_)))) {
            return Ok(false);
        }
        let push = self.pushed.registration(&self.tenant_id, index);
        enroll_by_ticket(&self.idp, channel, &self.population, index, push).await?;
        Ok(true)
    }
}
