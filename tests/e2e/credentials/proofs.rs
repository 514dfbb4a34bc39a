//! Proofs of devices, and the messages that prove themselves.

use std::time::Duration;

use countersign_proto::{signing::Purpose, v1};
use countersign_tests::{
    rpcs::{Caller, known, proof_header},
    two_tenants::{TwoTenants, unknown_id},
    wire::{Headers, Wire, bearer, frame, header},
};
use device_sim::phone::{Phone, enroll_request, timestamp};
use prost::Message as _;
use tonic::{Code, metadata::MetadataValue};

use super::{BAD, refused, rpcs};

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
