//! Devices in bulk: that part of `AdminService`.

use std::sync::Arc;

use countersign_proto::v1;
use tonic::{Request, Response, Status};

use super::{
    admin::{caller, tenant_id},
    convert,
    status::status,
};
use crate::{
    broker::{Broker, error::BrokerError, import::Import},
    domain::{
        Invalid,
        ids::{DeviceId, UserId},
        time::Timestamp,
    },
};

/// Faults that are named at once: a status has to fit into headers.
const MAX_FAULTS: usize = 10;

/// Keys that are looked at before other calls get their turn: some 20 µs each.
const AT_A_TIME: usize = 16;

pub(super) async fn import(
    broker: &Arc<Broker>,
    request: Request<v1::ImportDevicesRequest>,
) -> Result<Response<v1::ImportDevicesResponse>, Status> {
    let caller = caller(&request)?;
    let request = request.into_inner();
    let tenant = tenant_id(&request.tenant_id)?;
    broker
        .may_import(&caller, tenant, request.devices.len())
        .await
        .map_err(status)?;
    let now = broker.now();
    let (mut devices, mut faults) = (Vec::with_capacity(request.devices.len()), Vec::new());
    for (at, device) in request.devices.into_iter().enumerate() {
        if at % AT_A_TIME == AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
        match read(device, now) {
            Ok(device) => devices.push(device),
            Err(invalid) => faults.push(invalid.within(&format!("devices[{at}]"))),
        }
        if faults.len() == MAX_FAULTS {
            break;
        }
    }
    if !faults.is_empty() {
        return Err(status(BrokerError::InvalidFields(faults)));
    }
    let report = broker
        .import_devices(&caller, tenant, devices)
        .await
        .map_err(status)?;
    // At most a few hundred.
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Response::new(v1::ImportDevicesResponse {
        imported: count(report.registered),
        already_present: count(report.present),
        device_ids: report.ids.iter().map(DeviceId::to_string).collect(),
        removed_device_ids: report.removed.iter().map(DeviceId::to_string).collect(),
    }))
}

fn read(device: v1::ImportedDevice, now: Timestamp) -> Result<Import, Invalid> {
    let user = UserId::parse("user_id", &device.user_id)?;
    let app = convert::app(
        device.key_algorithm(),
        &device.public_key,
        device.key_protection,
        device.platform(),
        device.push,
        &device.encryption_key,
        now,
    )?;
    let import = Import {
        user,
        public_key: app.public_key,
        key_protection: app.key_protection,
        platform: app.platform,
        display_name: device.display_name,
        language: device.language,
        app_version: device.app_version,
        push: app.push,
        encryption_key: app.encryption_key,
    };
    import.check()?;
    Ok(import)
}
