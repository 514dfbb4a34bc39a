//! Missing, wrong and foreign credentials on every rpc that the broker serves,
//! as it tells them itself by reflection: a new rpc can't be forgotten.

mod api_keys;
mod foreign;
mod proofs;

use countersign_proto::v1;
use countersign_tests::{
    contract::Contract,
    reason,
    rpcs::{Caller, allowed, known},
    two_tenants::TwoTenants,
    wire::{Answer, Wire, bearer, frame},
};
use std::collections::BTreeSet;
use tonic::{Code, Status};

/// Services of others that every gRPC server offers to anybody.
const OPEN: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The rpcs of the contract with what each asks of its caller.
async fn rpcs(world: &TwoTenants) -> Vec<(String, Caller)> {
    let contract = Contract::ask(world.broker.channel()).await;
    let mut known_services: BTreeSet<_> = OPEN.map(str::to_owned).into();
    for service in ["Approval", "Enrollment", "Device", "Admin"] {
        known_services.insert(format!("countersign.v1.{service}Service"));
    }
    for service in &contract.services {
        assert!(
            known_services.contains(service),
            "{service} is new: who may call it?"
        );
    }
    let mut rpcs = Vec::new();
    for rpc in contract.rpcs {
        if OPEN
            .iter()
            .any(|open| rpc.path.starts_with(&format!("/{open}/")))
        {
            continue;
        }
        let (caller, _) = known(world, &rpc.path)
            .unwrap_or_else(|| panic!("{} is new: add it to tests/src/rpcs.rs", rpc.path));
        rpcs.push((rpc.path, caller));
    }
    assert!(rpcs.len() >= 24, "{rpcs:?}");
    rpcs
}

/// What a refusal tells its caller: all of it.
fn told(status: &Status) -> (Code, String, String) {
    (status.code(), reason(status), status.message().to_owned())
}

#[track_caller]
fn refused(answer: Answer, what: &str, wanted: (Code, &str)) {
    let status = match answer {
        Answer::Ended(status) if status.code() != Code::Ok => status,
        other => panic!("{what}: not refused: {other:?}"),
    };
    assert_eq!((status.code(), reason(&status).as_str()), wanted, "{what}");
}

const BAD: (Code, &str) = (Code::Unauthenticated, "BAD_CREDENTIALS");
const NOT_ALLOWED: (Code, &str) = (Code::PermissionDenied, "NOT_ALLOWED");

/// The other side of every refusal: with the right credentials each of these
/// requests is carried out, unknown fields of a later version or not.
#[tokio::test]
async fn the_right_credentials() {
    let mut world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let mut calls = rpcs(&world).await;
    // These take away what the others need.
    let last = ["RemoveAuthenticator", "Unenroll", "RevokeApiKey"];
    calls.sort_by_key(|(path, _)| last.iter().position(|name| path.ends_with(name)));
    for (path, caller) in calls {
        world.own.renew(&world.broker).await;
        let (_, mut message) = known(&world, &path).unwrap();
        // Field 127, a varint.
        message.extend_from_slice(&[0xf8, 0x07, 0x01]);
        let headers = allowed(&world, caller, &path, &message);
        match wire.call(&path, &headers, frame(&message)).await {
            Answer::Message(_) => {}
            Answer::Ended(status) => panic!("{path}: {status:?}"),
        }
    }
}

/// A revoked key is useless from that moment on, a method that does not exist
/// does not exist for anybody.
#[tokio::test]
async fn revoked_at_once_and_unknown_methods() {
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let idp = bearer(&world.own.tenant.api_key);
    let path = "/countersign.v1.ApprovalService/GetChallenge";
    let (_, message) = known(&world, path).unwrap();
    wire.call(path, &idp, frame(&message)).await.message();
    let request = v1::RevokeApiKeyRequest {
        api_key_id: world.own.tenant.api_key_id.clone(),
    };
    world.broker.admin().revoke_api_key(request).await.unwrap();
    refused(wire.call(path, &idp, frame(&message)).await, "revoked", BAD);

    let unknown = (Code::Unimplemented, "UNKNOWN_METHOD");
    let admin = bearer(&world.broker.admin_key);
    for path in [
        "/countersign.v1.AdminService/Nothing",
        "/countersign.v1.AdminService/",
    ] {
        refused(wire.call(path, &admin, frame(&[])).await, path, unknown);
        refused(wire.call(path, &Vec::new(), frame(&[])).await, path, BAD);
    }
    for path in [
        "/",
        "/x",
        "/x/y",
        "/countersign.v2.AdminService/ListTenants",
        "//",
        "/countersign.v1.AdminService",
        "/grpc.health.v1.Health/Nothing",
    ] {
        refused(wire.call(path, &admin, frame(&[])).await, path, unknown);
    }
}
