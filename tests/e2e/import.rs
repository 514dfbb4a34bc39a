//! Devices that come from another product, in bulk.

use countersign_proto::{
    imported::{MAX_IMPORTED_DEVICES, imported_device_id},
    v1::{self, ChallengeState as S, DecisionReason as R},
};
use countersign_server::clock::Clock;
use countersign_tests::{
    Bearer, START_MS, Tenant, TestBroker, end, field, in_time, reason, two_tenants::unknown_id,
};
use device_sim::phone::{DeviceKey, Phone, PhoneEvent, PhoneState};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use v1::{admin_service_client::AdminServiceClient, watch_events_response::Item};

const ALLOWED: &str = "[limits]\nallow_device_import = true\n";

async fn broker() -> TestBroker {
    let (clock, hand) = Clock::manual(START_MS);
    TestBroker::start_with(ALLOWED, clock, Some(hand)).await
}

/// What the other product knew of a phone.
fn device(user: &str, key: &DeviceKey) -> v1::ImportedDevice {
    v1::ImportedDevice {
        user_id: user.into(),
        key_algorithm: key.algorithm().into(),
        public_key: key.public_bytes().into(),
        key_protection: v1::KeyProtection::Hardware.into(),
        platform: v1::Platform::Ios.into(),
        display_name: format!("{user}'s phone"),
        language: "nl-BE".into(),
        ..v1::ImportedDevice::default()
    }
}

fn ed25519() -> DeviceKey {
    DeviceKey::generate(v1::KeyAlgorithm::Ed25519).unwrap()
}

fn request(tenant: &Tenant, devices: &[v1::ImportedDevice]) -> v1::ImportDevicesRequest {
    v1::ImportDevicesRequest {
        tenant_id: tenant.id.clone(),
        devices: devices.to_vec(),
    }
}

async fn import(
    broker: &TestBroker,
    tenant: &Tenant,
    devices: &[v1::ImportedDevice],
) -> Result<v1::ImportDevicesResponse, Status> {
    let mut admin = broker.admin();
    let answer = admin.import_devices(request(tenant, devices)).await?;
    Ok(answer.into_inner())
}

/// The app on the user's phone: it has its key, knows its id without being told,
/// and brings the broker's key along.
fn app(broker: &TestBroker, tenant: &Tenant, pinned: &Phone, user: &str, key: &DeviceKey) -> Phone {
    let tenant_id = uuid::Uuid::parse_str(&tenant.id).unwrap();
    let id = imported_device_id(tenant_id.as_bytes(), user, &key.public_bytes());
    let state = PhoneState {
        broker: broker.address(),
        device_id: uuid::Uuid::from_bytes(id).to_string(),
        user_id: user.into(),
        key: key.to_stored().unwrap(),
        ..pinned.state().unwrap()
    };
    Phone::from_state(state, broker.phone_clock()).unwrap()
}

#[tokio::test]
async fn an_imported_phone_signs_in_and_survives_a_restart() {
    let mut broker = broker().await;
    let tenant = broker.tenant().await;
    let pinned = broker.phone(&tenant, "somebody").await;
    let keys = [
        ed25519(),
        DeviceKey::generate(v1::KeyAlgorithm::P256).unwrap(),
    ];
    let devices = [device("tom", &keys[0]), device("ann", &keys[1])];
    let done = import(&broker, &tenant, &devices).await.unwrap();
    assert_eq!((done.imported, done.already_present), (2, 0));
    assert_eq!(done.removed_device_ids, [""; 0]);

    for (user, key, id) in [
        ("tom", &keys[0], &done.device_ids[0]),
        ("ann", &keys[1], &done.device_ids[1]),
    ] {
        let phone = app(&broker, &tenant, &pinned, user, key);
        assert_eq!(phone.device_id(), id);
        let mut prompts = in_time(phone.subscribe()).await.unwrap();
        let asked = broker.ask(&tenant, user).await;
        let shown = loop {
            let event = in_time(prompts.next()).await.unwrap().unwrap();
            if let PhoneEvent::Challenge(shown) = event {
                break shown;
            }
        };
        assert_eq!(shown.id(), asked.challenge_id);
        phone
            .respond(&shown, v1::Decision::Approve, "")
            .await
            .unwrap();
        let decided = broker.decided(&tenant, &asked.challenge_id).await;
        assert_eq!(end(&decided), (S::Approved, R::UserApproved));
    }

    broker.restart().await;
    let again = import(&broker, &tenant, &devices).await.unwrap();
    assert_eq!((again.imported, again.already_present), (0, 2));
    assert_eq!(again.device_ids, done.device_ids);
    let phone = app(&broker, &tenant, &pinned, "tom", &keys[0]);
    let asked = broker.ask(&tenant, "tom").await;
    let shown = phone.list_pending().await.unwrap().challenges.remove(0);
    phone.respond(&shown, v1::Decision::Deny, "").await.unwrap();
    let decided = broker.decided(&tenant, &asked.challenge_id).await;
    assert_eq!(end(&decided), (S::Denied, R::UserDenied));

    // Another key, even of the same user, opens nothing.
    let thief = app(&broker, &tenant, &pinned, "tom", &ed25519());
    let refused = thief.list_pending().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated));
}

#[tokio::test]
async fn all_or_nothing_and_the_fault_is_named() {
    let broker = broker().await;
    let tenant = broker.tenant().await;
    let good = || device("tom", &ed25519());
    let at_two = |change: fn(&mut v1::ImportedDevice)| {
        let mut devices = vec![good(), good(), good()];
        change(&mut devices[2]);
        devices
    };
    let many = |count: usize| -> Vec<_> {
        (0..count)
            .map(|n| device(&format!("u{n}"), &ed25519()))
            .collect()
    };
    let mut several = vec![good(), good(), good()];
    several[0].platform = 0;
    several[2].user_id.clear();
    for (devices, named) in [
        (Vec::new(), vec!["devices"]),
        (many(MAX_IMPORTED_DEVICES + 1), vec!["devices"]),
        // A point of small order: anybody could sign for it.
        (
            at_two(|device| device.public_key = [0; 32].to_vec().into()),
            vec!["devices[2].public_key"],
        ),
        // P-256, not on the curve.
        (
            at_two(|device| {
                device.key_algorithm = v1::KeyAlgorithm::P256.into();
                device.public_key = [&[4][..], &[7; 64]].concat().into();
            }),
            vec!["devices[2].public_key"],
        ),
        (
            at_two(|device| device.language = "no language".into()),
            vec!["devices[2].language"],
        ),
        (
            at_two(|device| {
                device.push = Some(v1::PushRegistration {
                    gateway: v1::Gateway::Apns.into(),
                    app_id: "app".into(),
                    token: "no hex".into(),
                    ..v1::PushRegistration::default()
                });
            }),
            vec!["devices[2].push.token"],
        ),
        (several, vec!["devices[0].platform", "devices[2].user_id"]),
    ] {
        let refused = import(&broker, &tenant, &devices).await.unwrap_err();
        assert_eq!(field(&refused), named[0], "{refused:?}");
        let details = refused.get_error_details();
        let faults = &details.bad_request().unwrap().field_violations;
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, named);
    }

    let user_id = "locked".to_owned();
    let lock = v1::LockUserRequest {
        tenant_id: tenant.id.clone(),
        user_id,
    };
    broker.admin().lock_user(lock).await.unwrap();
    let crowd: Vec<_> = (0..11).map(|_| device("many", &ed25519())).collect();
    for (devices, why, at) in [
        (
            vec![good(), device("locked", &ed25519())],
            "ACCOUNT_LOCKED",
            1,
        ),
        (crowd, "TOO_MANY_DEVICES", 10),
    ] {
        let refused = import(&broker, &tenant, &devices).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), why);
        let details = refused.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(info.metadata["field"], format!("devices[{at}]"));
    }
    for user in ["tom", "many", "locked", "u0"] {
        assert_eq!(broker.authenticators(&tenant, user).await, [], "{user}");
    }
    let most = many(MAX_IMPORTED_DEVICES);
    let done = import(&broker, &tenant, &most).await.unwrap();
    assert_eq!(done.imported as usize, MAX_IMPORTED_DEVICES);
}

#[tokio::test]
async fn not_unless_the_configuration_says_so() {
    let broker = TestBroker::start().await;
    let tenant = broker.tenant().await;
    let refused = import(&broker, &tenant, &[device("tom", &ed25519())]).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "IMPORT_NOT_ALLOWED");
    assert_eq!(broker.authenticators(&tenant, "tom").await, []);
}

#[tokio::test]
async fn for_ones_own_organisation_only() {
    let broker = broker().await;
    let (own, other) = (broker.tenant().await, broker.tenant().await);
    let (key, _) = broker.api_key(&own.id, v1::Role::Admin).await;
    let mut admin = AdminServiceClient::with_interceptor(broker.channel(), Bearer(key));
    let devices = [device("tom", &ed25519())];
    let nowhere = Tenant {
        id: unknown_id(),
        ..other.clone()
    };
    for tenant in [&nowhere, &other] {
        let refused = admin.import_devices(request(tenant, &devices)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        assert_eq!(refused.message(), "tenant not found");
    }
    assert_eq!(broker.authenticators(&other, "tom").await, []);
    let done = admin.import_devices(request(&own, &devices)).await.unwrap();
    assert_eq!(done.into_inner().imported, 1);
    // The same key elsewhere is another device.
    let done = import(&broker, &other, &devices).await.unwrap();
    assert_eq!((done.imported, done.already_present), (1, 0));
}

#[tokio::test]
async fn what_was_removed_stays_removed() {
    let broker = broker().await;
    let tenant = broker.tenant().await;
    let pinned = broker.phone(&tenant, "somebody").await;
    let (toms, anns) = (ed25519(), ed25519());
    let devices = [device("tom", &toms), device("ann", &anns)];
    let done = import(&broker, &tenant, &devices).await.unwrap();
    let phone = app(&broker, &tenant, &pinned, "tom", &toms);
    phone.unenroll().await.unwrap();
    let again = import(&broker, &tenant, &devices).await.unwrap();
    assert_eq!((again.imported, again.already_present), (0, 1));
    assert_eq!(again.device_ids, done.device_ids);
    assert_eq!(again.removed_device_ids, done.device_ids[..1]);
    let refused = phone.list_pending().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Unauthenticated));
    assert_eq!(broker.authenticators(&tenant, "tom").await, []);
    // With a ticket the phone may come back.
    let options = broker.options(&tenant, "tom").await;
    let phone = Phone::enroll_with_key(options, toms).await.unwrap();
    assert!(phone.list_pending().await.unwrap().challenges.is_empty());
}

#[tokio::test]
async fn it_is_written_down_and_told() {
    let broker = broker().await;
    let tenant = broker.tenant().await;
    let phone = broker.phone(&tenant, "tom").await;
    let mut events = broker
        .approvals(&tenant)
        .watch_events(v1::WatchEventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    broker.pass(std::time::Duration::from_secs(1));
    let mut later = device("tom", &ed25519());
    later.display_name = "Tom's tablet".into();
    let done = import(&broker, &tenant, &[later]).await.unwrap();
    let id = &done.device_ids[0];
    let event = loop {
        let told = in_time(events.message()).await.unwrap().unwrap();
        if let Some(Item::Event(event)) = told.item {
            break event;
        }
    };
    assert_eq!(
        (event.r#type(), event.user_id.as_str()),
        (v1::EventType::Enrolled, "tom")
    );
    assert_eq!(&event.authenticator_id, id);
    let kind = v1::AuthenticatorType::Device;
    assert_eq!(event.authenticator_type(), kind);

    let entries = broker
        .admin()
        .list_audit_entries(v1::ListAuditEntriesRequest {
            tenant_id: tenant.id.clone(),
            action: "device.imported".into(),
            ..v1::ListAuditEntriesRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .entries;
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (&entries[0].object, entries[0].user_id.as_str()),
        (id, "tom")
    );
    assert!(entries[0].actor.starts_with("api_key:"), "{entries:?}");

    // The phone that was there is told, as of any other that comes.
    let told = phone.list_pending().await.unwrap();
    assert_eq!(told.notices.len(), 1, "{:?}", told.notices);
    // Oldest first, whatever the ids.
    let ids: Vec<_> = broker.authenticators(&tenant, "tom").await;
    let ids: Vec<_> = ids
        .iter()
        .map(|one| one.authenticator_id.as_str())
        .collect();
    assert_eq!(ids, [phone.device_id(), id]);
}

/// The limit of devices counts those that came either way.
#[tokio::test]
async fn tickets_and_imports_share_the_limit() {
    let broker = broker().await;
    let tenant = broker.tenant().await;
    let crowd: Vec<_> = (0..10).map(|_| device("tom", &ed25519())).collect();
    let done = import(&broker, &tenant, &crowd).await.unwrap();
    assert_eq!(done.imported, 10);
    let options = broker.options(&tenant, "tom").await;
    let refused = Phone::enroll(options).await.unwrap_err();
    assert_eq!(refused.reason().as_deref(), Some("TOO_MANY_DEVICES"));
    let one_more = [device("tom", &ed25519())];
    let refused = import(&broker, &tenant, &one_more).await.unwrap_err();
    assert_eq!(reason(&refused), "TOO_MANY_DEVICES");
    let again = import(&broker, &tenant, &crowd).await.unwrap();
    assert_eq!(again.already_present, 10);
}
