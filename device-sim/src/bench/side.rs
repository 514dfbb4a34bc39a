//! One side of a comparison: a server, the people it knows, and the way on
//! which a challenge reaches a phone.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use countersign_proto::v1::device_service_client::DeviceServiceClient;
use countersign_proto::v1::subscribe_response::Event;
use countersign_proto::v1::{
    Challenge, ChallengeState, Decision, ListPendingChallengesRequest, RespondRequest,
    SignedChallenge, SignedResponse, SubscribeRequest, SubscribeResponse, WatchChallengeRequest,
};
use futures_util::StreamExt as _;
use tonic::Streaming;
use tonic::transport::Channel;
use uuid::Uuid;

use super::BenchError;
use super::people::Person;
use super::process::Served;
use crate::fetch::get_text;
use crate::fleet::{Connections, Idp, Target};
use crate::gateway::{Gateways, Pushes};
use crate::phone::method::{LIST_PENDING_CHALLENGES, SUBSCRIBE};
use crate::receipt::ReceiptCheck;

/// A flow that takes longer has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How a challenge comes to the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    /// The phone asks at once: `ListPendingChallenges`.
    Fetch,
    /// On the stream that the open app holds.
    Subscribe,
    /// A push wakes it, then it asks.
    Push,
}

/// How the caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// `WaitChallenge`.
    Poll,
    /// `WatchChallenge`.
    Stream,
}

/// A server's process, shared by the sides that use it.
pub(super) struct Side {
    /// As shown.
    pub(super) name: &'static str,
    /// The process.
    pub(super) served: Arc<Served>,
    /// Its address.
    pub(super) target: Target,
    /// The identity provider.
    pub(super) idp: Idp,
    /// Its API key.
    pub(super) api_key: String,
    /// That key's id: the `aud` of receipts.
    pub(super) audience: String,
    /// Shared connections.
    pub(super) connections: Connections,
    /// How a challenge comes to the phone.
    pub(super) road: Road,
    /// How the caller waits.
    pub(super) waiting: Waiting,
    /// A new connection for each call.
    pub(super) fresh: bool,
    /// Whether phones sign.
    pub(super) signatures: bool,
    /// Where pushes arrive.
    pub(super) gateways: Option<Arc<Gateways>>,
}

/// How long the parts of a flow took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When the flow began.
    pub(super) begun: Instant,
    /// When the caller was answered.
    pub(super) answered: Instant,
}

/// A phone as a flow needs it: with its stream open.
pub(super) struct Handset {
    pub(super) person: Person,
    stream: Option<Streaming<SubscribeResponse>>,
    pushes: Option<Pushes>,
}

impl Side {
    async fn way(&self, index: u64) -> Result<Channel, BenchError> {
        if self.fresh {
            Ok(self.target.connect().await?)
        } else {
            Ok(self.connections.pick(index))
        }
    }

    async fn idp(&self) -> Result<Idp, BenchError> {
        if self.fresh {
            let connections = Connections::open(&self.target, 1).await?;
            Ok(Idp::new(connections, &self.api_key)?)
        } else {
            Ok(self.idp.clone())
        }
    }

    /// Opens what the phone holds open.
    pub(super) async fn open(&self, person: Person) -> Result<Handset, BenchError> {
        let mut handset = Handset {
            person,
            stream: None,
            pushes: None,
        };
        match self.road {
            Road::Fetch => {}
            Road::Subscribe => {
                let message = SubscribeRequest::default();
                let phone = &handset.person.phone;
                let request = phone.proven(SUBSCRIBE, message, SystemTime::now())?;
                let stream = DeviceServiceClient::new(self.connections.pick(handset.person.index))
                    .subscribe(request)
                    .await
                    .map_err(BenchError::call("Subscribe"))?;
                let mut stream = stream.into_inner();
                loop {
                    let item = stream.next().await;
                    let item = item.ok_or_else(|| wrong("the stream ended"))?;
                    let item = item.map_err(BenchError::call("Subscribe"))?;
                    if matches!(item.event, Some(Event::CaughtUp(_))) {
                        break;
                    }
                }
                handset.stream = Some(stream);
            }
            Road::Push => {
                let devices = self.gateways.as_ref().map(|gateways| gateways.devices());
                handset.pushes = devices.and_then(|all| all.connect(&handset.person.token));
            }
        }
        Ok(handset)
    }

    /// Asks for an approval of a sign-in.
    pub(super) async fn create(&self, person: &Person) -> Result<Challenge, BenchError> {
        let request_id = Uuid::new_v4().hyphenated().to_string();
        let message = Idp::typical_request(request_id, person.phone.user_id().to_owned());
        self.idp()
            .await?
            .create(person.index, message)
            .await
            .map_err(BenchError::call("CreateChallenge"))
    }

    /// Waits for the decision.
    pub(super) async fn decided(&self, index: u64, id: &str) -> Result<Challenge, BenchError> {
        let idp = self.idp().await?;
        match self.waiting {
            Waiting::Poll => loop {
                let challenge = idp.wait(index, id.to_owned()).await;
                let challenge = challenge.map_err(BenchError::call("WaitChallenge"))?;
                if challenge.state() != ChallengeState::Pending {
                    return Ok(challenge);
                }
            },
            Waiting::Stream => {
                let message = WatchChallengeRequest {
                    challenge_id: id.to_owned(),
                };
                let changes = idp
                    .client(index)
                    .watch_challenge(idp.authorized(message))
                    .await;
                let mut changes = changes
                    .map_err(BenchError::call("WatchChallenge"))?
                    .into_inner();
                loop {
                    let change = changes.next().await;
                    let change = change.ok_or_else(|| wrong("the stream ended"))?;
                    let change = change.map_err(BenchError::call("WatchChallenge"))?;
                    let challenge = change.challenge.unwrap_or_default();
                    if challenge.state() != ChallengeState::Pending {
                        return Ok(challenge);
                    }
                }
            }
        }
    }

    /// The challenge as it comes to the phone.
    pub(super) async fn reach(
        &self,
        handset: &mut Handset,
        created: &Challenge,
    ) -> Result<SignedChallenge, BenchError> {
        let wanted = created.signed_challenge.as_ref();
        let wanted = wanted.map(|signed| signed.body.clone()).unwrap_or_default();
        match self.road {
            Road::Subscribe => {
                let stream = handset.stream.as_mut();
                let stream = stream.ok_or_else(|| wrong("no stream is open"))?;
                loop {
                    let item = stream.next().await;
                    let item = item.ok_or_else(|| wrong("the stream ended"))?;
                    let item = item.map_err(BenchError::call("Subscribe"))?;
                    if let Some(Event::Challenge(signed)) = item.event
                        && signed.body == wanted
                    {
                        return Ok(signed);
                    }
                }
            }
            Road::Push => {
                let pushes = handset.pushes.as_mut();
                let pushes = pushes.ok_or_else(|| wrong("the phone has no token"))?;
                pushes
                    .recv()
                    .await
                    .ok_or_else(|| wrong("the push gateway has gone"))?;
            }
            Road::Fetch => {}
        }
        let person = &handset.person;
        let request = person.phone.proven(
            LIST_PENDING_CHALLENGES,
            ListPendingChallengesRequest::default(),
            SystemTime::now(),
        )?;
        let pending = DeviceServiceClient::new(self.way(person.index).await?)
            .list_pending_challenges(request)
            .await
            .map_err(BenchError::call("ListPendingChallenges"))?;
        let mut pending = pending.into_inner().challenges.into_iter();
        pending
            .find(|signed| signed.body == wanted)
            .ok_or_else(|| wrong("the challenge is not pending"))
    }

    /// The phone's signed approval.
    pub(super) fn approval(
        &self,
        person: &Person,
        created: &Challenge,
        signed: &SignedChallenge,
    ) -> Result<SignedResponse, BenchError> {
        Ok(person.phone.answer(
            &created.challenge_id,
            signed,
            Decision::Approve,
            &created.number_to_match,
            SystemTime::now(),
        )?)
    }

    /// Sends the answer.
    pub(super) async fn respond(
        &self,
        index: u64,
        response: SignedResponse,
    ) -> Result<(), BenchError> {
        let request = RespondRequest {
            response: Some(response),
        };
        let answer = DeviceServiceClient::new(self.way(index).await?)
            .respond(request)
            .await
            .map_err(BenchError::call("Respond"))?;
        approved(answer.into_inner().state())
    }

    /// One whole flow whose receipt is checked offline, as an identity provider
    /// would; what the caller was answered to both its calls.
    pub(super) async fn proven_flow(
        &self,
        handset: &mut Handset,
    ) -> Result<(Challenge, Challenge), BenchError> {
        let hello = &self.served.hello;
        let jwks = if hello.jwks.is_empty() {
            let address = format!("{}/.well-known/jwks.json", hello.http);
            get_text(&address).await.map_err(BenchError::part("jwks"))?
        } else {
            hello.jwks.clone()
        };
        let created = self.create(&handset.person).await?;
        let signed = self.reach(handset, &created).await?;
        let response = self.approval(&handset.person, &created, &signed)?;
        let index = handset.person.index;
        self.respond(index, response).await?;
        let decided = self.decided(index, &created.challenge_id).await?;
        if self.signatures {
            let check = ReceiptCheck::new(&jwks, &self.audience, SystemTime::now());
            let receipt = check.and_then(|check| check.check(&decided.receipt));
            let receipt = receipt.map_err(BenchError::part("receipt"))?;
            if receipt.claims.jti != created.challenge_id || receipt.claims.decision != "APPROVED" {
                return Err(wrong("the receipt is about something else"));
            }
        }
        Ok((created, decided))
    }

    /// One whole flow.
    pub(super) async fn flow(&self, handset: &mut Handset) -> Result<Times, BenchError> {
        let begun = Instant::now();
        let created = self.create(&handset.person).await?;
        let index = handset.person.index;
        let told = async {
            let challenge = self.decided(index, &created.challenge_id).await?;
            let answered = Instant::now();
            approved(challenge.state())?;
            if challenge.receipt.is_empty() {
                return Err(wrong("an approval without a receipt"));
            }
            Ok(answered)
        };
        let answer = async {
            let signed = self.reach(handset, &created).await?;
            let response = self.approval(&handset.person, &created, &signed)?;
            self.respond(index, response).await
        };
        let both = futures_util::future::try_join(told, answer);
        let (answered, ()) = tokio::time::timeout(PATIENCE, both)
            .await
            .map_err(|_| wrong("a flow took too long"))??;
        Ok(Times { begun, answered })
    }
}

pub(super) fn wrong(what: &str) -> BenchError {
    BenchError::Wrong(what.to_owned())
}

fn approved(state: ChallengeState) -> Result<(), BenchError> {
    if state == ChallengeState::Approved {
        Ok(())
    } else {
        Err(BenchError::Wrong(format!(
            "not approved, but {}",
            state.as_str_name()
        )))
    }
}
