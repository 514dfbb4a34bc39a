//! Missing, wrong and foreign credentials on every rpc that the broker serves,
//! as it tells them itself by reflection: a new rpc can't be forgotten.

use countersign_proto::{signing::Purpose, v1};
use countersign_tests::{
    contract::Contract,
    reason,
    rpcs::{Caller, allowed, foreign, key_id, known, proof_header},
    two_tenants::{TwoTenants, unknown_id},
    wire::{Answer, Headers, Wire, bearer, frame, header},
};
use device_sim::phone::{Phone, enroll_request, timestamp};
use prost::Message as _;
use std::{collections::BTreeSet, time::Duration};
use tonic::{Code, Status, metadata::MetadataValue};

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

/// What belongs to others can't be told from what does not exist.
#[tokio::test]
async fn foreign_objects_do_not_exist() {
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let before = world.everything().await;
    let mut compared = 0;
    for (path, caller) in rpcs(&world).await {
        let mut first: Option<Status> = None;
        for message in foreign(&world, &path) {
            let headers = allowed(&world, caller, &path, &message);
            let status = wire.call(&path, &headers, frame(&message)).await.refused();
            assert_eq!(status.code(), Code::NotFound, "{path}: {status:?}");
            assert_eq!(reason(&status), "NOT_FOUND", "{path}");
            match &first {
                None => first = Some(status),
                Some(missing) => {
                    compared += 1;
                    assert_eq!(told(&status), told(missing), "{path}");
                    assert_eq!(status.details(), missing.details(), "{path}");
                }
            }
        }
        assert_eq!(world.everything().await, before, "{path}");
    }
    assert!(compared >= 20, "{compared}");

    // Users of the same name are different people, and a list of nobody's
    // devices is like that of a user who has none.
    let own = world.broker.authenticators(&world.own.tenant, "tom").await;
    let ids: Vec<_> = own
        .iter()
        .map(|one| one.authenticator_id.as_str())
        .collect();
    assert_eq!(
        ids,
        [world.own.phone.device_id(), world.own.second.device_id()]
    );
    // A tenant's admin sees one tenant.
    let wire_answer = wire
        .call(
            "/countersign.v1.AdminService/ListTenants",
            &bearer(&world.own.admin.0),
            frame(&[]),
        )
        .await;
    let list = v1::ListTenantsResponse::decode(wire_answer.message()).unwrap();
    let ids: Vec<_> = list.tenants.iter().map(|one| &one.tenant_id).collect();
    assert_eq!(ids, [&world.own.tenant.id]);
    // The same request_id in two tenants is two requests.
    let request = countersign_tests::sign_in("ann");
    let mut made = Vec::new();
    for org in [&world.own, &world.foreign] {
        let mut approvals = world.broker.approvals(&org.tenant);
        let answer = approvals.create_challenge(request.clone()).await.unwrap();
        made.push(answer.into_inner().challenge.unwrap().challenge_id);
    }
    assert_ne!(made[0], made[1]);
}

/// Proofs on the rpcs of phones.
#[tokio::test]
async fn device_proofs() {
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let before = world.everything().await;
    let phone = &world.own.phone;
    let calls: Vec<_> = rpcs(&world)
        .await
        .into_iter()
        .filter(|rpc| rpc.1 == Caller::Device)
        .collect();
    assert!(calls.len() >= 5);
    for (path, _) in &calls {
        let (_, message) = known(&world, path).unwrap();
        let body = frame(&message);
        for (what, headers, wanted) in bad_proofs(&world, path, &message) {
            let answer = wire.call(path, &headers, body.clone()).await;
            refused(answer, &format!("{path}, {what}"), wanted);
        }
        // A proof covers the bytes sent, not what they mean.
        let proof = phone.prove(path, &message).unwrap();
        let unknown_field = [message.as_slice(), &[0xf8, 0x07, 0x01]].concat();
        let answer = wire
            .call(path, &vec![proof_header(&proof)], frame(&unknown_field))
            .await;
        refused(answer, &format!("{path}, over another request"), BAD);
        assert_eq!(world.everything().await, before, "{path}");
    }
    // A proof is good once: here, and for nothing else after.
    let path = "/countersign.v1.DeviceService/AcknowledgeChallenge";
    let (_, message) = known(&world, path).unwrap();
    let headers = vec![proof_header(&phone.prove(path, &message).unwrap())];
    wire.call(path, &headers, frame(&message)).await.message();
    let shown = world.everything().await;
    assert_ne!(shown, before, "nothing that changes is looked at");
    let again = wire.call(path, &headers, frame(&message)).await;
    refused(
        again,
        "the same proof twice",
        (Code::Unauthenticated, "PROOF_REPLAYED"),
    );
    world.broker.pass(Duration::from_secs(59));
    let again = wire.call(path, &headers, frame(&message)).await;
    refused(
        again,
        "the same proof later",
        (Code::Unauthenticated, "PROOF_REPLAYED"),
    );
    assert_eq!(world.everything().await, shown);
}

/// The nonce counts for its device, whatever the call.
#[tokio::test]
async fn a_nonce_is_used_once() {
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let acknowledge = "/countersign.v1.DeviceService/AcknowledgeChallenge";
    let update = "/countersign.v1.DeviceService/UpdatePushToken";
    let call = async |phone: &Phone, path: &str| {
        let (_, message) = known(&world, path).unwrap();
        let mut proof = phone.proof_body(path, &message).unwrap();
        proof.nonce = vec![7; 16].into();
        let headers = vec![proof_header(&phone.sign_proof(&proof).unwrap())];
        wire.call(path, &headers, frame(&message)).await
    };
    call(&world.own.phone, acknowledge).await.message();
    let before = world.everything().await;
    let again = call(&world.own.phone, update).await;
    refused(
        again,
        "a nonce again",
        (Code::Unauthenticated, "PROOF_REPLAYED"),
    );
    assert_eq!(world.everything().await, before);
    call(&world.own.second, update).await.message();
}

fn bad_proofs(
    world: &TwoTenants,
    path: &str,
    message: &[u8],
) -> Vec<(&'static str, Headers, (Code, &'static str))> {
    let phone = &world.own.phone;
    let sign =
        |by: &Phone, proof: &v1::DeviceProof| vec![proof_header(&by.sign_proof(proof).unwrap())];
    let honest = || phone.proof_body(path, message).unwrap();
    let with = |change: &dyn Fn(&mut v1::DeviceProof)| {
        let mut proof = honest();
        change(&mut proof);
        sign(phone, &proof)
    };
    let labelled = |purpose| {
        let body: bytes::Bytes = honest().encode_to_vec().into();
        let signature = phone.key().sign(purpose, &body).unwrap();
        let signed = v1::SignedDeviceProof { body, signature }.encode_to_vec();
        vec![proof_header(&MetadataValue::from_bytes(&signed))]
    };
    let raw = |bytes: &[u8]| vec![proof_header(&MetadataValue::from_bytes(bytes))];
    let unsigned = v1::SignedDeviceProof {
        body: honest().encode_to_vec().into(),
        signature: bytes::Bytes::new(),
    };
    let shifted = |seconds: i64| {
        with(&|proof| {
            let mut time = timestamp(phone.now());
            time.seconds += seconds;
            proof.issue_time = Some(time);
        })
    };
    let other_method = if path.ends_with("/Unenroll") {
        "Subscribe"
    } else {
        "Unenroll"
    };
    let other_method = format!("/countersign.v1.DeviceService/{other_method}");
    let skew = (Code::FailedPrecondition, "CLOCK_SKEW");
    vec![
        ("no proof", Vec::new(), BAD),
        ("an idp key", bearer(&world.own.tenant.api_key), BAD),
        ("an admin key", bearer(&world.broker.admin_key), BAD),
        ("an empty proof", raw(&[]), BAD),
        ("bytes that are no message", raw(&[0xff; 40]), BAD),
        (
            "no base64",
            vec![header("countersign-device-proof-bin", "%%%")],
            BAD,
        ),
        ("an endless proof", raw(&[0; 4000]), BAD),
        ("no signature", raw(&unsigned.encode_to_vec()), BAD),
        ("two proofs", [with(&|_| {}), with(&|_| {})].concat(), BAD),
        (
            "signed by another device of the user",
            sign(&world.own.second, &honest()),
            BAD,
        ),
        (
            "signed by another user's device",
            sign(&world.own.neighbour, &honest()),
            BAD,
        ),
        (
            "signed by a foreign device",
            sign(&world.foreign.phone, &honest()),
            BAD,
        ),
        (
            "of a removed device",
            sign(
                &world.own.removed,
                &world.own.removed.proof_body(path, message).unwrap(),
            ),
            BAD,
        ),
        (
            "of an unknown device",
            with(&|proof| proof.device_id = unknown_id()),
            BAD,
        ),
        ("of no device", with(&|proof| proof.device_id.clear()), BAD),
        (
            "in the name of another device",
            with(&|proof| proof.device_id = world.own.second.device_id().into()),
            BAD,
        ),
        (
            "for another method",
            with(&|proof| proof.method.clone_from(&other_method)),
            BAD,
        ),
        ("for no method", with(&|proof| proof.method.clear()), BAD),
        (
            "for the method without its service",
            with(&|proof| proof.method = path.rsplit('/').next().unwrap().into()),
            BAD,
        ),
        (
            "over another request",
            with(&|proof| proof.request_digest = vec![0; 32].into()),
            BAD,
        ),
        (
            "over half a digest",
            with(&|proof| proof.request_digest = proof.request_digest.slice(..16)),
            BAD,
        ),
        (
            "over no digest",
            with(&|proof| proof.request_digest.clear()),
            BAD,
        ),
        (
            "without a time",
            with(&|proof| proof.issue_time = None),
            BAD,
        ),
        (
            "with a short nonce",
            with(&|proof| proof.nonce = vec![1; 15].into()),
            BAD,
        ),
        (
            "with a long nonce",
            with(&|proof| proof.nonce = vec![1; 33].into()),
            BAD,
        ),
        ("without a nonce", with(&|proof| proof.nonce.clear()), BAD),
        (
            "with the label of a response",
            labelled(Purpose::Response),
            BAD,
        ),
        (
            "with the label of an enrolment",
            labelled(Purpose::Enroll),
            BAD,
        ),
        (
            "with the label of a challenge",
            labelled(Purpose::Challenge),
            BAD,
        ),
        ("expired", shifted(-61), skew),
        ("from the future", shifted(61), skew),
    ]
}

/// The two calls whose message is its own proof.
#[tokio::test]
async fn messages_that_prove_themselves() {
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let before = world.everything().await;
    let bad = (Code::Unauthenticated, "BAD_SIGNATURE");
    let itself: Vec<_> = rpcs(&world)
        .await
        .into_iter()
        .filter(|rpc| rpc.1 == Caller::Itself)
        .collect();
    assert_eq!(itself.len(), 2, "{itself:?}: test the new one here");

    let path = "/countersign.v1.DeviceService/Enroll";
    let (body, key) = world.own.registration(&world.broker);
    let honest = enroll_request(&body, &key).unwrap();
    let altered = v1::EnrollmentBody {
        display_name: "Mallory's".into(),
        ..body.clone()
    };
    let forged = [
        ("no signature", bytes::Bytes::new()),
        ("a cut signature", honest.signature.slice(..63)),
        (
            "a longer signature",
            [honest.signature.as_ref(), &[0]].concat().into(),
        ),
        (
            "another phone's signature",
            world
                .own
                .phone
                .key()
                .sign(Purpose::Enroll, &honest.body)
                .unwrap(),
        ),
        (
            "the label of a response",
            key.sign(Purpose::Response, &honest.body).unwrap(),
        ),
        (
            "the label of a proof",
            key.sign(Purpose::DeviceProof, &honest.body).unwrap(),
        ),
        (
            "a signature over another body",
            enroll_request(&altered, &key).unwrap().signature,
        ),
    ];
    for (what, signature) in forged {
        let request = v1::EnrollRequest {
            body: honest.body.clone(),
            signature,
        };
        let answer = wire
            .call(path, &Vec::new(), frame(&request.encode_to_vec()))
            .await;
        refused(answer, what, bad);
    }

    let path = "/countersign.v1.DeviceService/Respond";
    let phone = &world.own.phone;
    let body = world.own.approval();
    let honest = phone.sign_response(&body).unwrap();
    let signed = |by: &Phone, purpose| by.key().sign(purpose, &honest.body).unwrap();
    let altered = v1::ResponseBody {
        locale: "fr".into(),
        ..body.clone()
    };
    let in_the_name_of = |device: &Phone| v1::ResponseBody {
        device_id: device.device_id().into(),
        ..body.clone()
    };
    let answers = [
        (
            "another device's signature",
            v1::SignedResponse {
                signature: signed(&world.own.second, Purpose::Response),
                ..honest.clone()
            },
            bad,
        ),
        (
            "a foreign device's signature",
            v1::SignedResponse {
                signature: signed(&world.foreign.phone, Purpose::Response),
                ..honest.clone()
            },
            bad,
        ),
        (
            "the label of a proof",
            v1::SignedResponse {
                signature: signed(phone, Purpose::DeviceProof),
                ..honest.clone()
            },
            bad,
        ),
        (
            "the label of a challenge",
            v1::SignedResponse {
                signature: signed(phone, Purpose::Challenge),
                ..honest.clone()
            },
            bad,
        ),
        (
            "a signature over another body",
            v1::SignedResponse {
                signature: phone.sign_response(&altered).unwrap().signature,
                ..honest.clone()
            },
            bad,
        ),
        (
            "the name of another device",
            phone
                .sign_response(&in_the_name_of(&world.own.second))
                .unwrap(),
            bad,
        ),
        (
            "a removed device",
            world
                .own
                .removed
                .sign_response(&in_the_name_of(&world.own.removed))
                .unwrap(),
            bad,
        ),
        (
            "an unknown device",
            phone
                .sign_response(&v1::ResponseBody {
                    device_id: unknown_id(),
                    ..body.clone()
                })
                .unwrap(),
            bad,
        ),
        (
            "another user's device",
            world
                .own
                .neighbour
                .sign_response(&in_the_name_of(&world.own.neighbour))
                .unwrap(),
            (Code::NotFound, "NOT_FOUND"),
        ),
        (
            "a foreign device",
            world
                .foreign
                .phone
                .sign_response(&in_the_name_of(&world.foreign.phone))
                .unwrap(),
            (Code::NotFound, "NOT_FOUND"),
        ),
        (
            "another challenge's digest",
            phone
                .sign_response(&v1::ResponseBody {
                    challenge_digest: vec![0; 32].into(),
                    ..body.clone()
                })
                .unwrap(),
            (Code::InvalidArgument, "INVALID_FIELD"),
        ),
    ];
    for (what, response, wanted) in answers {
        let request = v1::RespondRequest {
            response: Some(response),
        };
        let answer = wire
            .call(path, &Vec::new(), frame(&request.encode_to_vec()))
            .await;
        refused(answer, what, wanted);
    }
    // An API key adds nothing to a wrong signature.
    let request = v1::RespondRequest {
        response: Some(v1::SignedResponse {
            signature: vec![0; 64].into(),
            ..honest
        }),
    };
    let answer = wire
        .call(
            path,
            &bearer(&world.broker.admin_key),
            frame(&request.encode_to_vec()),
        )
        .await;
    refused(answer, "an admin key", bad);
    assert_eq!(world.everything().await, before);
}

/// A device of the same user that was registered after the challenge was made
/// was not asked, and can't tell the challenge from one that does not exist.
#[tokio::test]
async fn a_device_that_was_not_asked() {
    let world = TwoTenants::start().await;
    let late = world.broker.phone(&world.own.tenant, "tom").await;
    let before = world.everything().await;
    let mut told_of_it = Vec::new();
    for challenge_id in [unknown_id(), world.own.challenge.challenge_id.clone()] {
        let seen = late.acknowledge(&challenge_id).await.unwrap_err();
        let body = v1::ResponseBody {
            challenge_id,
            device_id: late.device_id().into(),
            ..world.own.approval()
        };
        let response = late.sign_response(&body).unwrap();
        let answered = late.send_response(response).await.unwrap_err();
        for error in [seen, answered] {
            told_of_it.push(told(error.status().unwrap()));
        }
    }
    for one in &told_of_it {
        assert_eq!((one.0, one.1.as_str()), (Code::NotFound, "NOT_FOUND"));
        assert_eq!(one, &told_of_it[0]);
    }
    assert!(late.list_pending().await.unwrap().challenges.is_empty());
    assert_eq!(world.everything().await, before);
}

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
