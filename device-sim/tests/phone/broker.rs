//! A broker that follows the protos and nothing else: it keeps what it was
//! sent and answers what it was told to.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use countersign_proto::signing::{
    DEVICE_PROOF_METADATA, PrivateKey, PublicKey, Purpose, key_id, sha256,
};
use countersign_proto::v1::device_service_server::{DeviceService, DeviceServiceServer};
use countersign_proto::v1::{subscribe_response::Event, *};
use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use prost::Message;
use tonic::{Request, Response, Status};

use device_sim::phone::{method, system_clock, timestamp};

pub(crate) const TENANT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
pub(crate) const USER: &str = "tom.cool@example.be";
pub(crate) const DEVICE: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

pub(crate) struct FakeBroker {
    pub(crate) signer: PrivateKey,
    pub(crate) phone: Mutex<Option<PublicKey>>,
    pub(crate) challenges: Mutex<Vec<SignedChallenge>>,
    pub(crate) successions: Mutex<Vec<SignedKeySuccession>>,
    pub(crate) broker_keys: Mutex<Vec<BrokerKey>>,
    pub(crate) responses: Mutex<Vec<ResponseBody>>,
    pub(crate) nonces: Mutex<Vec<Bytes>>,
    pub(crate) push: Mutex<Option<PushRegistration>>,
    pub(crate) withdrawals: Mutex<Vec<Withdrawal>>,
    pub(crate) acknowledged: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Served(Arc<FakeBroker>);

pub(crate) fn broker_key(key: &PrivateKey) -> BrokerKey {
    let public: [u8; 32] = key.public_bytes().try_into().unwrap();
    BrokerKey {
        key_id: key_id(&public),
        public_key: public.to_vec().into(),
        activate_time: None,
    }
}

impl FakeBroker {
    pub(crate) fn new() -> Arc<Self> {
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
            withdrawals: Mutex::default(),
            acknowledged: Mutex::default(),
        })
    }

    pub(crate) async fn serve(self: &Arc<Self>) -> String {
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

    pub(crate) fn pin(&self) -> [u8; 32] {
        sha256(&self.signer.public_bytes())
    }

    pub(crate) fn challenge_body(seconds_left: i64) -> ChallengeBody {
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

    pub(crate) fn sign_with(key: &PrivateKey, body: &ChallengeBody) -> SignedChallenge {
        let body = Bytes::from(body.encode_to_vec());
        SignedChallenge {
            key_id: broker_key(key).key_id,
            signature: key.sign(Purpose::Challenge, &body).unwrap().into(),
            body,
        }
    }

    pub(crate) fn sign(&self, body: &ChallengeBody) -> SignedChallenge {
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
        events.extend(self.0.withdrawals.lock().drain(..).map(Event::Withdrawal));
        let events = events
            .into_iter()
            .map(|event| Ok(SubscribeResponse { event: Some(event) }));
        Ok(Response::new(Box::pin(
            tokio_stream::iter(events).chain(futures_util::stream::pending()),
        )))
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
            ..ListPendingChallengesResponse::default()
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
            revoked: false,
        }))
    }

    async fn acknowledge_challenge(
        &self,
        request: Request<AcknowledgeChallengeRequest>,
    ) -> Result<Response<AcknowledgeChallengeResponse>, Status> {
        self.0
            .check_proof(&request, method::ACKNOWLEDGE_CHALLENGE)?;
        self.0
            .acknowledged
            .lock()
            .push(request.into_inner().challenge_id);
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
