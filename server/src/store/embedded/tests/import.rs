//! What one commit of this engine holds of an import.

use std::sync::Arc;

use super::Directory;
use crate::{
    domain::{
        device::{Device, PushGateway},
        ids::{DeviceId, TenantId, UserId},
        policy::MAX_DEVICES_PER_USER,
    },
    store::{Imported, Newcomer, Store, suite::fixture::*},
};

/// A device with everything as long as it may be.
fn longest(tenant: TenantId, user: &UserId) -> Device {
    let mut device = stranger(Some(PushGateway::Fcm));
    let n = number();
    let push = device.push.as_mut().unwrap();
    push.token = format!("{n:0>1024}");
    push.app_id = "x".repeat(255);
    Device {
        id: DeviceId::imported(tenant, user, &device.public_key),
        tenant,
        user: user.clone(),
        display_name: "x".repeat(128),
        language: "x".repeat(35),
        app_version: "x".repeat(64),
        encryption_key: Some([7; 32]),
        ..device
    }
}

/// What is refused as too much can be halved until it fits: in the end one device
/// is left, of a user with as many others to tell as there may be.
#[tokio::test]
async fn one_alone_always_fits_and_all_at_once_need_not() {
    let dir = Directory::new();
    let store: Arc<dyn Store> = Arc::new(dir.store());
    let tenant = organisation(&store, texting()).await;
    let tom = user(&"t".repeat(256));
    for at in 0..3 {
        confirmed(&store, tenant, &tom, second(at)).await;
    }
    for _ in 0..MAX_DEVICES_PER_USER {
        let one = vec![longest(tenant, &tom)];
        let done = store.import_devices(one, second(9), by()).await.unwrap();
        assert_eq!(done, Imported::Done(vec![Newcomer::Registered]));
    }
    // By bytes, and by rows.
    let all: Vec<_> = (0..countersign_proto::imported::MAX_IMPORTED_DEVICES)
        .map(|n| longest(tenant, &user(&format!("{n:x>256}"))))
        .collect();
    let done = store.import_devices(all, second(9), by()).await.unwrap();
    assert_eq!(done, Imported::TooMuch);
    let crowds: Vec<_> = (0..countersign_proto::imported::MAX_IMPORTED_DEVICES)
        .map(|n| {
            let user = user(&(n / MAX_DEVICES_PER_USER).to_string());
            let long = longest(tenant, &user);
            Device {
                push: Some(registration(PushGateway::Fcm, &n.to_string(), second(9))),
                ..long
            }
        })
        .collect();
    let done = store.import_devices(crowds, second(9), by()).await.unwrap();
    assert_eq!(done, Imported::TooMuch);
    assert_eq!(
        store.devices_of(tenant, &user("3")).await.unwrap(),
        Vec::new()
    );
}
