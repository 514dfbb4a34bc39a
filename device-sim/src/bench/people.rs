//! The same users and phones on both sides, registered with each as it wants.

use countersign_proto::signing::sha256;
use countersign_proto::v1::admin_service_client::AdminServiceClient;
use countersign_proto::v1::{
    CreateApiKeyRequest, CreateTenantRequest, ImportDevicesRequest, ImportedDevice, KeyAlgorithm,
    KeyProtection, Platform, PushRegistration, Role, TenantPolicy,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tonic::metadata::{Ascii, MetadataValue};
use uuid::Uuid;

use super::stage::Broker;
use super::{BenchError, ORGANISATION};
use crate::fleet::{Connections, LightPhone, Population};

/// Phones per call.
const BATCH: u64 = 200;
/// Calls in flight.
const AT_ONCE: usize = 4;

/// A user with a phone.
#[derive(Debug)]
pub(super) struct Person {
    /// Its number in the population.
    pub(super) index: u64,
    /// The phone.
    pub(super) phone: LightPhone,
    /// Its APNs token; empty: none.
    pub(super) token: String,
}

/// Under which id the ideal flow knows the phone of number `index`.
pub(super) fn ideal_device_id(population: &Population, index: u64) -> String {
    let digest = sha256(population.user_id(index).as_bytes());
    let (first, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    Uuid::from_bytes(*first).hyphenated().to_string()
}

/// The people of the ideal flow.
pub(super) fn of_the_ideal(population: &Population, count: u64) -> Vec<Person> {
    let person = |index| Person {
        index,
        phone: population.phone(index, ideal_device_id(population, index)),
        token: String::new(),
    };
    (0..count).map(person).collect()
}

/// An organisation of the broker with an API key.
#[derive(Clone, Debug)]
pub(super) struct Organisation {
    /// UUID.
    pub(super) tenant_id: String,
    /// `csk_<id>_<secret>`.
    pub(super) api_key: String,
    /// The key's id: the `aud` of receipts.
    pub(super) api_key_id: String,
}

/// `message` with an admin key.
pub(super) fn authorized<M>(admin_key: &str, message: M) -> Result<tonic::Request<M>, BenchError> {
    let bearer: MetadataValue<Ascii> = format!("Bearer {admin_key}")
        .parse()
        .map_err(|_| BenchError::Wrong("the admin key".to_owned()))?;
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", bearer);
    Ok(request)
}

/// Makes an organisation with `policy`, and a key for its sign-in page.
pub(super) async fn make_organisation(
    connections: &Connections,
    admin_key: &str,
    policy: TenantPolicy,
) -> Result<Organisation, BenchError> {
    let mut admin = AdminServiceClient::new(connections.pick(0));
    let request = CreateTenantRequest {
        display_name: ORGANISATION.to_owned(),
        policy: Some(policy),
        country: "BE".to_owned(),
        ..CreateTenantRequest::default()
    };
    let tenant_id = admin
        .create_tenant(authorized(admin_key, request)?)
        .await
        .map_err(BenchError::call("CreateTenant"))?
        .into_inner()
        .tenant
        .unwrap_or_default()
        .tenant_id;
    let request = CreateApiKeyRequest {
        tenant_id: tenant_id.clone(),
        role: Role::Idp.into(),
        display_name: "benchmark".to_owned(),
    };
    let made = admin
        .create_api_key(authorized(admin_key, request)?)
        .await
        .map_err(BenchError::call("CreateApiKey"))?
        .into_inner();
    Ok(Organisation {
        tenant_id,
        api_key: made.api_key,
        api_key_id: made.key.unwrap_or_default().api_key_id,
    })
}

/// Registers the phones of `indexes` with the broker; `push` makes the push
/// registration of each.
pub(super) async fn import(
    broker: &Broker,
    organisation: &Organisation,
    population: &Population,
    indexes: std::ops::Range<u64>,
    push: impl Fn() -> Result<Option<PushRegistration>, BenchError>,
) -> Result<Vec<Person>, BenchError> {
    import_some(broker, organisation, population, indexes, push, |_| true).await
}

/// As [`import`], but hands back only those to `keep`: a million would be much to
/// hold.
pub(super) async fn import_some(
    broker: &Broker,
    organisation: &Organisation,
    population: &Population,
    indexes: std::ops::Range<u64>,
    push: impl Fn() -> Result<Option<PushRegistration>, BenchError>,
    keep: impl Fn(u64) -> bool + Copy,
) -> Result<Vec<Person>, BenchError> {
    let mut from = indexes.start;
    let batches = std::iter::from_fn(|| {
        let to = indexes.end.min(from + BATCH);
        (from < to).then(|| std::mem::replace(&mut from, to)..to)
    });
    let imports = stream::iter(batches).map(|batch| {
        let pushes: Result<Vec<_>, _> = batch.clone().map(|_| push()).collect();
        async move {
            let pushes = pushes?;
            let devices = batch
                .clone()
                .zip(&pushes)
                .map(|(index, push)| ImportedDevice {
                    user_id: population.user_id(index),
                    key_algorithm: KeyAlgorithm::Ed25519.into(),
                    public_key: population.key(index).public_bytes().into(),
                    key_protection: KeyProtection::Software.into(),
                    platform: Platform::Android.into(),
                    display_name: "Benchmark phone".to_owned(),
                    language: "en".to_owned(),
                    app_version: env!("CARGO_PKG_VERSION").to_owned(),
                    push: push.clone(),
                    ..ImportedDevice::default()
                });
            let request = ImportDevicesRequest {
                tenant_id: organisation.tenant_id.clone(),
                devices: devices.collect(),
            };
            let imported = AdminServiceClient::new(broker.connections.pick(batch.start / BATCH))
                .import_devices(authorized(&broker.admin_key, request)?)
                .await
                .map_err(BenchError::call("ImportDevices"))?
                .into_inner();
            let ids = imported.device_ids.into_iter();
            let all = batch.zip(ids).zip(pushes);
            let people = all
                .filter(|((index, _), _)| keep(*index))
                .map(|((index, id), push)| Person {
                    index,
                    phone: population.phone(index, id),
                    token: push.map(|push| push.token).unwrap_or_default(),
                });
            Ok::<_, BenchError>(people.collect::<Vec<_>>())
        }
    });
    let people: Vec<Vec<Person>> = imports.buffered(AT_ONCE).try_collect().await?;
    Ok(people.into_iter().flatten().collect())
}

/// Blocks on disk of everything below `directory`.
pub(super) fn disk_bytes(directory: &std::path::Path) -> Result<u64, BenchError> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            // In units of 512 bytes, whatever the file system has (stat(2)).
            metadata.blocks() * 512
        };
    }
    Ok(sum)
}
