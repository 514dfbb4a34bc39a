//! `countersign device`

use countersign_proto::v1::{
    Authenticator, Device, KeyProtection, ListDevicesRequest, Platform, RemoveDeviceRequest,
    authenticator::Kind,
};
use serde_json::{Value, json};

use super::{
    arguments::device::{DeviceAction, DeviceCommand},
    confirm::confirm,
    failure::Failure,
    import,
    output::{Output, printable, table},
    policy::tenant_id,
    remote,
    tenant::time,
};

pub(super) async fn run(command: DeviceCommand, out: &Output) -> Result<(), Failure> {
    let mut client = remote::admin(&command.admin).await?;
    let tenant_id = tenant_id(&mut client, command.tenant).await?;
    match command.action {
        DeviceAction::List { user } => {
            let request = ListDevicesRequest {
                tenant_id,
                user_id: user,
            };
            let found = client.list_devices(request).await?.into_inner().devices;
            if out.is_json() {
                for one in &found {
                    out.show(&to_json(one), String::new)?;
                }
            } else {
                let rows: Vec<_> = found.iter().map(row).collect();
                let heading = [
                    "DEVICE ID",
                    "NAME",
                    "PLATFORM",
                    "KEY",
                    "REGISTERED",
                    "LAST USED",
                ];
                out.raw(table(heading, &rows).as_bytes())?;
            }
        }
        DeviceAction::Import { file } => import::run(client, tenant_id, &file, out).await?,
        DeviceAction::Remove { device_id, yes } => {
            confirm(
                yes,
                &format!(
                    "Take device {device_id} away? It must be registered anew to be used again."
                ),
            )?;
            let request = RemoveDeviceRequest {
                tenant_id,
                device_id: device_id.clone(),
            };
            let answer = client.remove_device(request).await?.into_inner();
            let value = json!({ "device_id": device_id, "user_id": answer.user_id });
            out.show(&value, || {
                format!("Took {device_id} away from {}", printable(&answer.user_id))
            })?;
        }
    }
    Ok(())
}

fn of(authenticator: &Authenticator) -> Option<&Device> {
    match authenticator.kind.as_ref()? {
        Kind::Device(device) => Some(device),
        Kind::PhoneNumber(_) | Kind::TotpApp(_) | Kind::RecoveryCodes(_) => None,
    }
}

/// The words for what a phone is.
pub(super) fn platform(device: &Device) -> &'static str {
    match device.platform() {
        Platform::Ios => "iOS",
        Platform::Android => "Android",
        Platform::Unspecified => "unknown platform",
    }
}

fn protection(device: &Device) -> &'static str {
    match device.key_protection() {
        KeyProtection::Software => "software",
        KeyProtection::Hardware => "hardware",
        KeyProtection::Unspecified => "unspecified",
    }
}

fn to_json(authenticator: &Authenticator) -> Value {
    json!({
        "device_id": authenticator.authenticator_id,
        "create_time": authenticator.create_time.map(|time| time.to_string()),
        "last_used_time": authenticator.last_used_time.map(|time| time.to_string()),
        "device": of(authenticator).map(|device| json!({
            "display_name": device.display_name,
            "platform": platform(device),
            "key_protection": protection(device),
            "language": device.language,
            "app_version": device.app_version,
            "has_push_token": device.has_push_token,
        })),
    })
}

fn row(authenticator: &Authenticator) -> [String; 6] {
    let device = of(authenticator);
    let word = |word: fn(&Device) -> &'static str| device.map(word).unwrap_or("-").to_owned();
    [
        authenticator.authenticator_id.clone(),
        device
            .map(|device| device.display_name.clone())
            .unwrap_or_default(),
        word(platform),
        word(protection),
        time(authenticator.create_time),
        time(authenticator.last_used_time),
    ]
}
