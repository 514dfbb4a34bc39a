//! Frames and bytes that are no message.

use countersign_proto::v1;
use countersign_tests::{
    TestBroker, field,
    rpcs::{allowed, known},
    sign_in,
    two_tenants::TwoTenants,
    wire::{Answer, Wire, bearer, frame, framed, header},
};
use prost::Message as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use tonic::{Code, Status};

use super::{complete, rpcs};

/// The default of `limits.max_message_bytes`.
const LONGEST: usize = 65_536;

#[track_caller]
fn malformed(path: &str, what: &str, answer: Answer) {
    let Answer::Ended(status) = answer else {
        panic!("{path}, {what}: not refused: {answer:?}");
    };
    assert_eq!(
        status.code(),
        Code::InvalidArgument,
        "{path}, {what}: {status:?}"
    );
    assert_eq!(complete(&status), "MALFORMED_REQUEST", "{path}, {what}");
    // It is the message as a whole.
    assert_eq!(field(&status), "", "{path}, {what}");
}

#[tokio::test]
async fn frames() {
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let before = world.everything().await;
    for rpc in rpcs(&world).await.1 {
        let path = &rpc.path;
        let (caller, message) = known(&world, path).unwrap();
        let length = u32::try_from(message.len()).unwrap();
        let good = frame(&message);
        let bodies = [
            ("nothing", Vec::new()),
            ("half a header", vec![0, 0, 0]),
            ("a header only", framed(0, length + 1, &[])),
            ("a truncated message", framed(0, length + 7, &message)),
            (
                "more than its length says",
                framed(0, length, &[message.as_slice(), b"\0\0"].concat()),
            ),
            ("a length without end", framed(0, u32::MAX, &message)),
            (
                "one byte too many for the limit",
                frame(&vec![0; LONGEST + 1]),
            ),
            ("far too many", frame(&vec![0; 4 << 20])),
            ("a compressed flag", framed(1, length, &message)),
            ("a flag that is none", framed(2, length, &message)),
            ("a flag for a trailer", framed(0x80, length, &message)),
            ("two messages", [good.as_slice(), &good].concat()),
            (
                "a message and half another",
                [good.as_slice(), &[0, 0]].concat(),
            ),
            (
                "a field cut short",
                frame(&[message.as_slice(), &[0x0a, 0x7f]].concat()),
            ),
            (
                "a field number of zero",
                frame(&[message.as_slice(), &[0x00, 0x01]].concat()),
            ),
            (
                "a wire type that is none",
                frame(&[message.as_slice(), &[0x0f]].concat()),
            ),
        ];
        for (what, body) in bodies {
            // The proof is right for what stands in the frame.
            let inside = body.get(5..).unwrap_or_default();
            let headers = allowed(&world, caller, path, inside);
            malformed(path, what, wire.call(path, &headers, body).await);
        }
        // gRPC's own answer to an encoding that is not supported.
        let mut headers = allowed(&world, caller, path, &message);
        headers.push(header("grpc-encoding", "gzip"));
        for flag in [0, 1] {
            let answer = wire
                .call(path, &headers, framed(flag, length, &message))
                .await;
            let status = answer.refused();
            assert_eq!(status.code(), Code::Unimplemented, "{path}");
            assert_eq!(complete(&status), "UNSUPPORTED_ENCODING", "{path}");
            let accepted = status.metadata().get("grpc-accept-encoding");
            assert_eq!(accepted.unwrap(), "identity", "{path}");
        }
        assert_eq!(world.everything().await, before, "{path}");
    }
}

/// Random bytes, framed or not. The seed is printed; `COUNTERSIGN_TEST_SEED`
/// repeats it.
#[tokio::test]
async fn random_bytes() {
    let seed = std::env::var("COUNTERSIGN_TEST_SEED")
        .ok()
        .map_or_else(rand::random, |seed| seed.parse::<u64>().unwrap());
    println!("COUNTERSIGN_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = TwoTenants::start().await;
    let wire = Wire::connect(world.broker.grpc).await;
    let before = world.everything().await;
    for rpc in rpcs(&world).await.1 {
        let path = &rpc.path;
        let (caller, _) = known(&world, path).unwrap();
        for _ in 0..24 {
            let message = nonsense(&mut random);
            let headers = allowed(&world, caller, path, &message);
            let answer = wire.call(path, &headers, frame(&message)).await;
            malformed(path, &format!("{message:02x?}"), answer);

            let mut bytes = vec![0; random.random_range(0..200)];
            random.fill_bytes(&mut bytes);
            // So that it can't be a whole frame by chance.
            if let Some(flag) = bytes.first_mut() {
                *flag |= 2;
            }
            let answer = wire.call(path, &headers, bytes.clone()).await;
            malformed(path, &format!("{bytes:02x?}"), answer);
        }
        assert_eq!(world.everything().await, before, "{path}");
    }
    // What phones sign is a message inside a message.
    for _ in 0..100 {
        let body: bytes::Bytes = nonsense(&mut random).into();
        let phone = &world.own.phone;
        let signature = phone
            .key()
            .sign(countersign_proto::signing::Purpose::Response, &body)
            .unwrap();
        let response = Some(v1::SignedResponse {
            body: body.clone(),
            signature: signature.clone(),
        });
        let request = v1::RespondRequest { response };
        let refused = world.broker.devices().respond(request).await.unwrap_err();
        assert_eq!(
            (field(&refused).as_str(), complete(&refused).as_str()),
            ("response.body", "INVALID_FIELD")
        );
        let request = v1::EnrollRequest { body, signature };
        let refused = world.broker.devices().enroll(request).await.unwrap_err();
        assert_eq!(
            (field(&refused).as_str(), complete(&refused).as_str()),
            ("body", "INVALID_FIELD")
        );
    }
    assert_eq!(world.everything().await, before);
}

/// Random bytes that are no message of any kind.
fn nonsense(random: &mut StdRng) -> Vec<u8> {
    loop {
        let mut bytes = vec![0; random.random_range(1..200)];
        random.fill_bytes(&mut bytes);
        // The empty message reads everything as unknown fields.
        if v1::ListSigningKeysRequest::decode(bytes.as_slice()).is_err() {
            return bytes;
        }
    }
}

/// A body that never ends is not waited for, neither by calls that answer at
/// once nor by those that wait for somebody.
#[tokio::test]
async fn bodies_that_never_end() {
    let (clock, hand) = countersign_server::clock::Clock::manual(countersign_tests::START_MS);
    let limits = "[limits]\nrequest_timeout = \"1s\"";
    let broker = TestBroker::start_with(limits, clock, Some(hand)).await;
    let tenant = broker.tenant().await;
    broker.phone(&tenant, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    let challenge_id = asked.challenge_id.clone();
    let message = v1::GetChallengeRequest { challenge_id }.encode_to_vec();
    let whole = frame(&message);
    let wire = Wire::connect(broker.grpc).await;
    let calls = [
        "ApprovalService/GetChallenge",
        "ApprovalService/WaitChallenge",
        "ApprovalService/WatchChallenge",
        "EnrollmentService/WaitEnrollment",
        "DeviceService/Respond",
        "DeviceService/Enroll",
    ];
    for start in [
        Vec::new(),
        whole[..4].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        whole.clone(),
    ] {
        let answers = calls.map(|call| {
            let (wire, start, headers) = (wire.clone(), start.clone(), bearer(&tenant.api_key));
            async move {
                wire.stall(&format!("/countersign.v1.{call}"), &headers, start)
                    .await
            }
        });
        for answer in futures_util::future::join_all(answers).await {
            let status = answer.refused();
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
            assert_eq!(complete(&status), "TIMED_OUT");
        }
    }
    assert_eq!(broker.get(&tenant, &asked.challenge_id).await, asked);
}

/// The statuses that the contract gives a time to come back with, and the
/// caller's own deadline.
#[tokio::test]
async fn when_to_come_back() {
    let mut broker = TestBroker::start().await;
    let tenant = broker.tenant_with(v1::TenantPolicy {
        number_matching: v1::NumberMatching::Off.into(),
        pending_limit: v1::PendingLimit::Reject.into(),
        ..v1::TenantPolicy::default()
    });
    let tenant = tenant.await;
    let phone = broker.phone(&tenant, "tom").await;
    let asked = broker.ask(&tenant, "tom").await;
    let again = broker
        .approvals(&tenant)
        .create_challenge(sign_in("tom"))
        .await;
    let again = again.unwrap_err();
    assert_eq!(again.code(), Code::ResourceExhausted);
    assert_eq!(complete(&again), "PENDING_EXISTS");
    assert_eq!(broker.get(&tenant, &asked.challenge_id).await, asked);

    let request = v1::WaitChallengeRequest {
        challenge_id: asked.challenge_id.clone(),
        ..v1::WaitChallengeRequest::default()
    };
    let mut headers = bearer(&tenant.api_key);
    headers.push(header("grpc-timeout", "100m"));
    let wire = Wire::connect(broker.grpc).await;
    let path = "/countersign.v1.ApprovalService/WaitChallenge";
    let late = wire
        .call(path, &headers, frame(&request.encode_to_vec()))
        .await
        .refused();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert_eq!(complete(&late), "TIMED_OUT");

    // Streams end when the broker stops.
    let mut stream = phone.subscribe().await.unwrap();
    let request = v1::WatchChallengeRequest {
        challenge_id: asked.challenge_id,
    };
    let mut approvals = broker.approvals(&tenant);
    let mut watch = approvals
        .watch_challenge(request)
        .await
        .unwrap()
        .into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let ended = async {
        let mut ended: Vec<Status> = Vec::new();
        while ended.is_empty() {
            ended.extend(
                stream
                    .next()
                    .await
                    .err()
                    .map(|error| error.status().unwrap().clone()),
            );
        }
        ended.push(watch.message().await.unwrap_err());
        ended
    };
    let (ended, ()) = tokio::join!(ended, broker.stop());
    for status in ended {
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(complete(&status), "UNAVAILABLE");
    }
}
