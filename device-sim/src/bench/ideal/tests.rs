//! The ideal flow is a flow: what must be refused is, and its receipts hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::time::SystemTime;

use countersign_proto::signing::PublicKey;
use countersign_proto::v1::device_service_client::DeviceServiceClient;
use countersign_proto::v1::{
    Challenge, ChallengeState, Decision, KeyAlgorithm, ListPendingChallengesRequest,
    RespondRequest, SignedChallenge, SignedResponse, WatchChallengeRequest,
};
use futures_util::StreamExt as _;
use tonic::{Code, Request};

use super::super::people::{self, Person};
use super::{AUDIENCE, Ideal, IdealOptions, serve};
use crate::fleet::{Connections, Idp, Population, Target};
use crate::phone::method::{LIST_PENDING_CHALLENGES, SUBSCRIBE};
use crate::receipt::{Receipt, ReceiptCheck};

struct Scene {
    idp: Idp,
    phones: DeviceServiceClient<tonic::transport::Channel>,
    people: Vec<Person>,
    jwks: String,
}

impl Scene {
    async fn new() -> Self {
        let population = Population { seed: 1 };
        let phones = (0..2).map(|index| {
            let key = population.key(index).public_bytes();
            (
                people::ideal_device_id(&population, index),
                population.user_id(index),
                PublicKey::from_bytes(KeyAlgorithm::Ed25519, &key).unwrap(),
            )
        });
        let ideal = Ideal::new(IdealOptions { signatures: true }, phones);
        let jwks = ideal.jwks();
        let (address, _) = serve(ideal).await.unwrap();
        let target = Target::new(format!("http://{address}"));
        let connections = Connections::open(&target, 1).await.unwrap();
        Self {
            phones: DeviceServiceClient::new(connections.pick(0)),
            idp: Idp::new(connections, "csk_a_b").unwrap(),
            people: people::of_the_ideal(&population, 2),
            jwks,
        }
    }

    async fn create(&self) -> Challenge {
        let user = self.people[0].phone.user_id().to_owned();
        let message = Idp::typical_request(String::new(), user);
        self.idp.create(0, message).await.unwrap()
    }

    fn fetch(&self, method: &str) -> Request<ListPendingChallengesRequest> {
        let message = ListPendingChallengesRequest::default();
        let phone = &self.people[0].phone;
        phone.proven(method, message, SystemTime::now()).unwrap()
    }

    async fn fetched(&self) -> Vec<SignedChallenge> {
        let answer = self
            .phones
            .clone()
            .list_pending_challenges(self.fetch(LIST_PENDING_CHALLENGES))
            .await;
        answer.unwrap().into_inner().challenges
    }

    fn answer(&self, created: &Challenge, decision: Decision, number: &str) -> SignedResponse {
        let signed = created.signed_challenge.as_ref().unwrap();
        self.people[0]
            .phone
            .answer(
                &created.challenge_id,
                signed,
                decision,
                number,
                SystemTime::now(),
            )
            .unwrap()
    }

    async fn respond(&self, response: SignedResponse) -> Result<ChallengeState, Code> {
        let response = Some(response);
        let mut phones = self.phones.clone();
        let answer = phones.respond(RespondRequest { response }).await;
        answer
            .map(|answer| answer.into_inner().state())
            .map_err(|status| status.code())
    }

    fn receipt(&self, decided: &Challenge) -> Receipt {
        ReceiptCheck::new(&self.jwks, AUDIENCE, SystemTime::now())
            .unwrap()
            .check(&decided.receipt)
            .unwrap()
    }
}

#[tokio::test]
async fn an_approval_has_a_receipt_that_holds() {
    let scene = Scene::new().await;
    let created = scene.create().await;
    assert_eq!(
        scene.fetched().await,
        [created.signed_challenge.clone().unwrap()]
    );
    let wait = tokio::spawn({
        let (idp, id) = (scene.idp.clone(), created.challenge_id.clone());
        async move { idp.wait(0, id).await.unwrap() }
    });
    let answer = scene.answer(&created, Decision::Approve, &created.number_to_match);
    assert_eq!(scene.respond(answer).await, Ok(ChallengeState::Approved));
    let decided = wait.await.unwrap();
    assert_eq!(decided.state(), ChallengeState::Approved);
    let receipt = scene.receipt(&decided);
    assert_eq!(receipt.claims.decision, "APPROVED");
    assert_eq!(receipt.claims.jti, created.challenge_id);
    assert!(scene.fetched().await.is_empty());
}

#[tokio::test]
async fn a_bad_signature_is_refused_and_decides_nothing() {
    let scene = Scene::new().await;
    let created = scene.create().await;
    let good = scene.answer(&created, Decision::Approve, &created.number_to_match);
    for byte in [0, 31, 32, 63] {
        let mut bad = good.clone();
        let mut signature = bad.signature.to_vec();
        signature[byte] ^= 1;
        bad.signature = signature.into();
        assert_eq!(scene.respond(bad).await, Err(Code::Unauthenticated));
    }
    // Another phone's signature is none either.
    let signed = created.signed_challenge.as_ref().unwrap();
    let mut foreign = scene.people[1]
        .phone
        .answer(
            &created.challenge_id,
            signed,
            Decision::Approve,
            &created.number_to_match,
            SystemTime::now(),
        )
        .unwrap();
    assert_eq!(
        scene.respond(foreign.clone()).await,
        Err(Code::Unauthenticated)
    );
    foreign.body = good.body.clone();
    assert_eq!(scene.respond(foreign).await, Err(Code::Unauthenticated));
    // It can still be answered, once.
    assert_eq!(
        scene.respond(good.clone()).await,
        Ok(ChallengeState::Approved)
    );
    assert_eq!(scene.respond(good).await, Err(Code::FailedPrecondition));
}

#[tokio::test]
async fn only_the_phone_itself_may_fetch() {
    let scene = Scene::new().await;
    let mut phones = scene.phones.clone();
    let bare = Request::new(ListPendingChallengesRequest::default());
    let refused = phones.list_pending_challenges(bare).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // A proof for another call.
    let other = scene.fetch(SUBSCRIBE);
    let refused = phones.list_pending_challenges(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // A proof for another message.
    let mut altered = scene.fetch(LIST_PENDING_CHALLENGES);
    altered.get_mut().last_notice = 7;
    let refused = phones.list_pending_challenges(altered).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // An old proof.
    let then = SystemTime::now() - std::time::Duration::from_secs(120);
    let message = ListPendingChallengesRequest::default();
    let phone = &scene.people[0].phone;
    let old = phone
        .proven(LIST_PENDING_CHALLENGES, message, then)
        .unwrap();
    let refused = phones.list_pending_challenges(old).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_wrong_number_denies() {
    let scene = Scene::new().await;
    let created = scene.create().await;
    let wrong = if created.number_to_match == "07" {
        "08"
    } else {
        "07"
    };
    let answer = scene.answer(&created, Decision::Approve, wrong);
    assert_eq!(scene.respond(answer).await, Ok(ChallengeState::Denied));
    let decided = scene.idp.wait(0, created.challenge_id).await.unwrap();
    assert_eq!(scene.receipt(&decided).claims.reason, "WRONG_NUMBER");
}

#[tokio::test]
async fn a_stream_tells_first_what_is_then_what_becomes() {
    let scene = Scene::new().await;
    let created = scene.create().await;
    let message = WatchChallengeRequest {
        challenge_id: created.challenge_id.clone(),
    };
    let changes = scene.idp.client(0).watch_challenge(message).await;
    let mut changes = changes.unwrap().into_inner();
    let first = changes.next().await.unwrap().unwrap().challenge.unwrap();
    assert_eq!(first, created);
    let answer = scene.answer(&created, Decision::Deny, "");
    assert_eq!(scene.respond(answer).await, Ok(ChallengeState::Denied));
    let last = changes.next().await.unwrap().unwrap().challenge.unwrap();
    assert_eq!(scene.receipt(&last).claims.reason, "USER_DENIED");
    assert!(changes.next().await.is_none());
}
