//! API keys on the rpcs of identity providers and operators.

use countersign_proto::v1;
use countersign_tests::{
    rpcs::{Caller, key_id, known, proof_header},
    two_tenants::TwoTenants,
    wire::{Headers, Wire, bearer, frame, header},
};
use prost::Message as _;

use super::{BAD, NOT_ALLOWED, refused, rpcs};

/// Credentials that open nothing anywhere, by name.
fn no_keys(world: &TwoTenants, good: &str) -> Vec<(&'static str, Headers)> {
    let id = key_id(good);
    let secret = good.rsplit('_').next().unwrap();
    let last = if secret.ends_with('0') { "1" } else { "0" };
    let altered = format!("{}{last}", &good[..good.len() - 1]);
    let one = |value: String| vec![header("authorization", value)];
    vec![
        ("no credentials", Vec::new()),
        ("an empty header", one(String::new())),
        ("no scheme", one(good.to_owned())),
        ("the wrong scheme", one(format!("Basic {good}"))),
        ("a scheme only", one("Bearer ".into())),
        ("no key at all", one("Bearer csk".into())),
        ("no secret", one(format!("Bearer csk_{id}_"))),
        ("no id", one(format!("Bearer csk__{secret}"))),
        ("another prefix", one(format!("Bearer x{good}"))),
        (
            "bytes that are no text",
            vec![header("authorization", b"Bearer \xff\xfe")],
        ),
        (
            "an unknown id",
            one(format!("Bearer csk_0123456789abcdef_{secret}")),
        ),
        (
            "an upper-case id",
            one(format!("Bearer csk_{}_{secret}", id.to_uppercase() + "A")),
        ),
        ("an altered secret", one(format!("Bearer {altered}"))),
        (
            "a cut secret",
            one(format!("Bearer {}", &good[..good.len() - 1])),
        ),
        ("a longer secret", one(format!("Bearer {good}0"))),
        (
            "an endless secret",
            one(format!("Bearer {good}{}", "0".repeat(4096))),
        ),
        (
            "another key's secret",
            one(format!(
                "Bearer csk_{id}_{}",
                world.foreign.tenant.api_key.rsplit('_').next().unwrap()
            )),
        ),
        ("two headers", [bearer(good), bearer(good)].concat()),
        (
            "two headers, one of them good",
            [bearer(good), one("Bearer x".into())].concat(),
        ),
        ("a revoked idp key", bearer(&world.own.revoked_idp)),
        ("a revoked admin key", bearer(&world.own.revoked_admin)),
        ("the key in another header", vec![header("x-api-key", good)]),
    ]
}

/// API keys on the rpcs of identity providers and operators.
#[tokio::test]
async fn api_keys() {
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let before = world.everything().await;
    let idp = bearer(&world.own.tenant.api_key);
    for (path, caller) in rpcs(&world).await {
        let (_, message) = known(&world, &path).unwrap();
        let (good, wrong_role) = match caller {
            Caller::Idp => (&world.own.tenant.api_key, bearer(&world.own.admin.0)),
            Caller::Admin | Caller::Installation => (&world.broker.admin_key, idp.clone()),
            Caller::Device | Caller::Itself => continue,
        };
        let body = frame(&message);
        for (what, headers) in no_keys(&world, good) {
            let answer = wire.call(&path, &headers, body.clone()).await;
            refused(answer, &format!("{path}, {what}"), BAD);
        }
        let proof = world.own.phone.prove(&path, &message).unwrap();
        let answer = wire
            .call(&path, &vec![proof_header(&proof)], body.clone())
            .await;
        refused(answer, &format!("{path}, a device's proof"), BAD);
        let answer = wire.call(&path, &wrong_role, body.clone()).await;
        refused(answer, &format!("{path}, the wrong role"), NOT_ALLOWED);
        if caller == Caller::Installation {
            let answer = wire.call(&path, &bearer(&world.own.admin.0), body).await;
            refused(answer, &format!("{path}, one tenant's admin"), NOT_ALLOWED);
        }
        assert_eq!(world.everything().await, before, "{path}");
    }
    // Without a tenant these two speak of the installation.
    let admin = bearer(&world.own.admin.0);
    let path = "/countersign.v1.AdminService/ListApiKeys";
    refused(wire.call(path, &admin, frame(&[])).await, path, NOT_ALLOWED);
    let path = "/countersign.v1.AdminService/CreateApiKey";
    let request = v1::CreateApiKeyRequest {
        role: v1::Role::Admin.into(),
        ..v1::CreateApiKeyRequest::default()
    };
    let body = frame(&request.encode_to_vec());
    refused(wire.call(path, &admin, body).await, path, NOT_ALLOWED);
    assert_eq!(world.everything().await, before);
}
