//! The phone against a broker that follows the protos and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_proto::signing::{
    DEVICE_PROOF_METADATA, PrivateKey, PublicKey, Purpose, key_id, sha256,
};
use countersign_proto::v1::device_service_server::{DeviceService, DeviceServiceServer};
use countersign_proto::v1::{subscribe_response::Event, *};
use futures_util::Stream;
use parking_lot::Mutex;
use prost::Message;
use tonic::{Request, Response, Status};

use super::*;

const TENANT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const USER: &str = "tom.cool@example.be";
const DEVICE: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

/// Keeps what it was sent, answers what it was told to.
struct FakeBroker {
    signer: PrivateKey,
    phone: Mutex<Option<PublicKey>>,
    challenges: Mutex<Vec<SignedChallenge>>,
    successions: Mutex<Vec<SignedKeySuccession>>,
    broker_keys: Mutex<Vec<BrokerKey>>,
    responses: Mutex<Vec<ResponseBody>>,
    nonces: Mutex<Vec<Bytes>>,
    push: Mutex<Option<PushRegistration>>,
}

#[derive(Clone)]
struct Served(Arc<FakeBroker>);

fn broker_key(key: &PrivateKey) -> BrokerKey {
    let public: [u8; 32] = key.public_bytes().try_into().unwrap();
    BrokerKey {
        key_id: key_id(&public),
        public_key: public.to_vec().into(),
        activate_time: None,
    }
}

impl FakeBroker {
    fn new() -> Arc<Self> {
        let signer = PrivateKey::from_ed25519_seed(&[7; 32]);
        Arc::new(Self {
            broker_keys: Mutex::new(vec![broker_key(&signer)]),
            signer,
            phone: Mutex::default(),
            challenges: Mutex::default(),
            successions: Mutex::default(),
            responses: Mutex::default(),
            nonces: Mutex::default(),
            push: Mutex::default(),
        })
    }

    async fn serve(self: &Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = DeviceServiceServer::new(Served(Arc::clone(self)));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
        );
        address
    }

    fn pin(&self) -> [u8; 32] {
        sha256(&self.signer.public_bytes())
    }

    fn challenge_body(seconds_left: i64) -> ChallengeBody {
        let now = timestamp(system_clock()());
        let expire = prost_types::Timestamp {
            seconds: now.seconds + seconds_left,
            nanos: 0,
        };
        ChallengeBody {
            challenge_id: "c-1".to_owned(),
            tenant_id: TENANT.to_owned(),
            user_id: USER.to_owned(),
            number_digits: 2,
            create_time: Some(now),
            expire_time: Some(expire),
            ..Default::default()
        }
    }

    fn sign_with(key: &PrivateKey, body: &ChallengeBody) -> SignedChallenge {
        let body = Bytes::from(body.encode_to_vec());
        SignedChallenge {
            key_id: broker_key(key).key_id,
            signature: key.sign(Purpose::Challenge, &body).unwrap().into(),
            body,
        }
    }

    fn sign(&self, body: &ChallengeBody) -> SignedChallenge {
        Self::sign_with(&self.signer, body)
    }

    fn check_proof<M: Message>(&self, request: &Request<M>, method: &str) -> Result<(), Status> {
        let refuse = || Status::unauthenticated("proof");
        let proof = request
            .metadata()
            .get_bin(DEVICE_PROOF_METADATA)
            .and_then(|value| value.to_bytes().ok())
            .ok_or_else(refuse)?;
        let proof = SignedDeviceProof::decode(proof).map_err(|_| refuse())?;
        let phone = self.phone.lock().clone().ok_or_else(refuse)?;
        phone
            .verify(Purpose::DeviceProof, &proof.body, &proof.signature)
            .map_err(|_| refuse())?;
        let proof = DeviceProof::decode(proof.body).map_err(|_| refuse())?;
        let mut nonces = self.nonces.lock();
        let now = timestamp(system_clock()()).seconds;
        if proof.device_id != DEVICE
            || proof.method != method
            || proof.request_digest != sha256(&request.get_ref().encode_to_vec()).to_vec()
            || (proof.issue_time.unwrap().seconds - now).abs() > 60
            || !(16..=32).contains(&proof.nonce.len())
            || nonces.contains(&proof.nonce)
        {
            return Err(refuse());
        }
        nonces.push(proof.nonce);
        Ok(())
    }
}

#[tonic::async_trait]
impl DeviceService for Served {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let body = EnrollmentBody::decode(request.body.clone()).unwrap();
        if body.ticket != "TICKET" {
            return Err(Status::permission_denied("no such ticket"));
        }
        let key = PublicKey::from_bytes(body.key_algorithm(), &body.public_key).unwrap();
        key.verify(Purpose::Enroll, &request.body, &request.signature)
            .map_err(|_| Status::invalid_argument("signature"))?;
        *self.0.phone.lock() = Some(key);
        *self.0.push.lock() = body.push;
        Ok(Response::new(EnrollResponse {
            device_id: DEVICE.to_owned(),
            tenant_id: TENANT.to_owned(),
            organisation: "Eagle IT BVBA".to_owned(),
            user_id: USER.to_owned(),
            broker_keys: self.0.broker_keys.lock().clone(),
            key_successions: self.0.successions.lock().clone(),
            server_time: None,
        }))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.0.check_proof(&request, method::SUBSCRIBE)?;
        let mut events = vec![Event::KeyUpdate(KeyUpdate {
            key_successions: self.0.successions.lock().clone(),
        })];
        events.extend(
            self.0
                .challenges
                .lock()
                .iter()
                .cloned()
                .map(Event::Challenge),
        );
        events.push(Event::CaughtUp(CaughtUp { server_time: None }));
        events.push(Event::Withdrawal(Withdrawal {
            challenge_id: "c-1".to_owned(),
            state: ChallengeState::Cancelled.into(),
            reason: DecisionReason::CancelledByCaller.into(),
        }));
        let events = events
            .into_iter()
            .map(|event| Ok(SubscribeResponse { event: Some(event) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }

    async fn list_pending_challenges(
        &self,
        request: Request<ListPendingChallengesRequest>,
    ) -> Result<Response<ListPendingChallengesResponse>, Status> {
        self.0
            .check_proof(&request, method::LIST_PENDING_CHALLENGES)?;
        Ok(Response::new(ListPendingChallengesResponse {
            challenges: self.0.challenges.lock().clone(),
            key_successions: self.0.successions.lock().clone(),
            server_time: None,
        }))
    }

    async fn respond(
        &self,
        request: Request<RespondRequest>,
    ) -> Result<Response<RespondResponse>, Status> {
        let response = request.into_inner().response.unwrap();
        let phone = self.0.phone.lock().clone().unwrap();
        phone
            .verify(Purpose::Response, &response.body, &response.signature)
            .map_err(|_| Status::unauthenticated("signature"))?;
        let body = ResponseBody::decode(response.body).unwrap();
        self.0.responses.lock().push(body);
        Ok(Response::new(RespondResponse {
            state: ChallengeState::Approved.into(),
            reason: DecisionReason::UserApproved.into(),
        }))
    }

    async fn acknowledge_challenge(
        &self,
        request: Request<AcknowledgeChallengeRequest>,
    ) -> Result<Response<AcknowledgeChallengeResponse>, Status> {
        self.0
            .check_proof(&request, method::ACKNOWLEDGE_CHALLENGE)?;
        Ok(Response::new(AcknowledgeChallengeResponse {}))
    }

    async fn update_push_token(
        &self,
        request: Request<UpdatePushTokenRequest>,
    ) -> Result<Response<UpdatePushTokenResponse>, Status> {
        self.0.check_proof(&request, method::UPDATE_PUSH_TOKEN)?;
        *self.0.push.lock() = request.into_inner().push;
        Ok(Response::new(UpdatePushTokenResponse {}))
    }

    async fn unenroll(
        &self,
        request: Request<UnenrollRequest>,
    ) -> Result<Response<UnenrollResponse>, Status> {
        self.0.check_proof(&request, method::UNENROLL)?;
        *self.0.phone.lock() = None;
        Ok(Response::new(UnenrollResponse {}))
    }
}

async fn options(broker: &Arc<FakeBroker>) -> EnrollOptions {
    let mut options = EnrollOptions::new(Ticket::Uri(EnrollmentUri {
        broker: broker.serve().await,
        ticket: "TICKET".to_owned(),
        key_digest: broker.pin(),
    }));
    options.language = "nl-BE".to_owned();
    options
}

fn push(token: &str) -> PushRegistration {
    PushRegistration {
        gateway: Gateway::Apns.into(),
        app_id: "be.example.approve".to_owned(),
        environment: PushEnvironment::Sandbox.into(),
        token: token.to_owned(),
    }
}

#[tokio::test]
async fn every_call_is_proven_and_every_answer_covers_what_was_shown() {
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::P256] {
        let broker = FakeBroker::new();
        let mut options = options(&broker).await;
        options.algorithm = algorithm;
        options.push = Some(push("aa11"));
        let phone = Phone::enroll(options).await.unwrap();
        assert_eq!(
            (phone.device_id(), phone.user_id(), phone.organisation()),
            (DEVICE, USER, "Eagle IT BVBA")
        );
        assert_eq!(*broker.push.lock(), Some(push("aa11")));

        let signed = broker.sign(&FakeBroker::challenge_body(60));
        broker.challenges.lock().push(signed.clone());
        let pending = phone.list_pending().await.unwrap();
        let challenge = &pending.challenges[0];
        phone.acknowledge(challenge.id()).await.unwrap();
        let answer = phone
            .respond(challenge, Decision::Approve, "42")
            .await
            .unwrap();
        assert_eq!(answer.state(), ChallengeState::Approved);
        let response = broker.responses.lock()[0].clone();
        assert_eq!(response.challenge_digest, sha256(&signed.body).to_vec());
        assert_eq!(response.challenge_id, "c-1");
        assert_eq!(response.decision(), Decision::Approve);
        assert_eq!(
            (
                response.number.as_str(),
                response.locale.as_str(),
                response.device_id.as_str()
            ),
            ("42", "nl-BE", DEVICE)
        );

        phone.update_push_token(Some(push("bb22"))).await.unwrap();
        assert_eq!(*broker.push.lock(), Some(push("bb22")));
        phone.unenroll().await.unwrap();
        let error = phone.list_pending().await.unwrap_err();
        assert_eq!(error.code(), Some(tonic::Code::Unauthenticated));
    }
}

#[tokio::test]
async fn a_saved_phone_goes_on_after_a_restart() {
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::P256] {
        let broker = FakeBroker::new();
        let mut options = options(&broker).await;
        options.algorithm = algorithm;
        options.push = Some(push("aa11"));
        let phone = Phone::enroll(options).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("phone.json");
        phone.save(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let again = Phone::load(&path, system_clock()).unwrap();
        assert_eq!(again.state().unwrap(), phone.state().unwrap());
        assert_eq!(again.push(), Some(push("aa11")));
        broker
            .challenges
            .lock()
            .push(broker.sign(&FakeBroker::challenge_body(60)));
        assert_eq!(again.list_pending().await.unwrap().challenges.len(), 1);

        let secret = match phone.state().unwrap().key {
            StoredKey::Ed25519 { seed } => seed,
            StoredKey::P256 { pkcs8 } => pkcs8,
        };
        assert!(!format!("{phone:?}{:?}", phone.state().unwrap()).contains(&secret));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert!(matches!(
            Phone::load(&path, system_clock()),
            Err(PhoneError::State(_))
        ));
    }
}

#[tokio::test]
async fn a_broker_without_the_pinned_key_gets_no_phone() {
    let broker = FakeBroker::new();
    let mut options = options(&broker).await;
    if let Ticket::Uri(uri) = &mut options.ticket {
        uri.key_digest[0] ^= 1;
    }
    assert!(matches!(
        Phone::enroll(options).await,
        Err(PhoneError::KeyNotPinned)
    ));
}

#[tokio::test]
async fn only_fit_challenges_are_shown() {
    let broker = FakeBroker::new();
    let phone = Phone::enroll(options(&broker).await).await.unwrap();
    let good = FakeBroker::challenge_body(60);
    let stranger = PrivateKey::from_ed25519_seed(&[9; 32]);
    let mut tampered = broker.sign(&good);
    tampered.body = ChallengeBody {
        number_digits: 0,
        ..good.clone()
    }
    .encode_to_vec()
    .into();
    *broker.challenges.lock() = vec![
        FakeBroker::sign_with(&stranger, &good),
        tampered,
        broker.sign(&ChallengeBody {
            user_id: "else@example.be".to_owned(),
            ..good.clone()
        }),
        broker.sign(&ChallengeBody {
            tenant_id: "t".to_owned(),
            ..good.clone()
        }),
        broker.sign(&FakeBroker::challenge_body(-1)),
        broker.sign(&ChallengeBody {
            expire_time: None,
            ..good.clone()
        }),
        broker.sign(&good),
    ];
    let pending = phone.list_pending().await.unwrap();
    assert_eq!(pending.challenges.len(), 1);
    assert_eq!(pending.challenges[0].body(), &good);
    let why: Vec<_> = pending.refused.iter().map(|(_, error)| error).collect();
    assert!(
        matches!(
            why.as_slice(),
            [
                PhoneError::UnknownKey { .. },
                PhoneError::BadSignature,
                PhoneError::WrongAccount,
                PhoneError::WrongAccount,
                PhoneError::Expired,
                PhoneError::Malformed(_),
            ]
        ),
        "{why:?}"
    );
}

#[tokio::test]
async fn an_expired_challenge_is_not_answered() {
    let broker = FakeBroker::new();
    let phone = Phone::enroll(options(&broker).await).await.unwrap();
    let challenge = phone
        .verify(broker.sign(&FakeBroker::challenge_body(60)))
        .unwrap();
    let late = phone.with_clock(fixed_offset(120)).unwrap();
    assert!(late.now().duration_since(phone.now()).unwrap() > Duration::from_secs(100));
    let result = late.respond(&challenge, Decision::Approve, "42").await;
    assert!(matches!(result, Err(PhoneError::Expired)));
    assert!(broker.responses.lock().is_empty());
    let error = late.list_pending().await.unwrap_err();
    assert_eq!(error.code(), Some(tonic::Code::Unauthenticated));
}

#[tokio::test]
async fn the_stream_brings_keys_challenges_and_withdrawals() {
    let broker = FakeBroker::new();
    let phone = Phone::enroll(options(&broker).await).await.unwrap();
    let next = PrivateKey::from_ed25519_seed(&[8; 32]);
    let body = Bytes::from(broker_key(&next).encode_to_vec());
    broker.successions.lock().push(SignedKeySuccession {
        signature: broker
            .signer
            .sign(Purpose::KeySuccession, &body)
            .unwrap()
            .into(),
        signer_key_id: broker_key(&broker.signer).key_id,
        body,
    });
    let good = FakeBroker::challenge_body(60);
    broker
        .challenges
        .lock()
        .push(FakeBroker::sign_with(&next, &good));
    broker.challenges.lock().push(FakeBroker::sign_with(
        &PrivateKey::from_ed25519_seed(&[9; 32]),
        &good,
    ));

    let mut subscription = phone.subscribe().await.unwrap();
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::KeysLearned { new: 1 })
    ));
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::Challenge(challenge)) if challenge.body() == &good
    ));
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::Refused {
            error: PhoneError::UnknownKey { .. },
            ..
        })
    ));
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::CaughtUp { .. })
    ));
    assert!(matches!(
        subscription.next().await.unwrap(),
        Some(PhoneEvent::Withdrawn(withdrawal)) if withdrawal.challenge_id == "c-1"
    ));
    assert!(subscription.next().await.unwrap().is_none());
}

#[tokio::test]
async fn refusals_and_dead_addresses_are_told_apart() {
    let broker = FakeBroker::new();
    let mut wrong = options(&broker).await;
    if let Ticket::Uri(uri) = &mut wrong.ticket {
        uri.ticket = "OTHER".to_owned();
    }
    let error = Phone::enroll(wrong).await.unwrap_err();
    assert_eq!(error.code(), Some(tonic::Code::PermissionDenied));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (broker, unreachable) in [(address.as_str(), true), ("ftp://x", false), ("", false)] {
        let ticket = Ticket::Code {
            broker: broker.to_owned(),
            code: "TICKET".to_owned(),
        };
        let error = Phone::enroll(EnrollOptions::new(ticket)).await.unwrap_err();
        assert_eq!(
            matches!(error, PhoneError::Unreachable { .. }),
            unreachable,
            "{error}"
        );
    }
}
