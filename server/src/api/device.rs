//! `DeviceService`.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use countersign_proto::{signing::PublicKey, v1};
use futures_util::Stream;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    approval::invalid,
    auth::PeerAddress,
    convert,
    status::{status, unauthenticated},
};
use crate::{
    broker::{
        Broker,
        enroll::{Registration, check_push},
        error::BrokerError,
        hub::{DeviceEvent, Subscription},
    },
    domain::{
        Invalid,
        body::timestamp,
        challenge::{Final, Reason, SignedBody},
        device::{Device, KeyProtection},
        ids::ChallengeId,
        time::Timestamp,
    },
};

pub(super) struct Phones {
    broker: Arc<Broker>,
}

impl Phones {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

fn device<T>(request: &Request<T>) -> Result<Device, Status> {
    request
        .extensions()
        .get::<Device>()
        .cloned()
        .ok_or_else(unauthenticated)
}

fn address<T>(request: &Request<T>) -> String {
    request
        .extensions()
        .get::<PeerAddress>()
        .cloned()
        .unwrap_or_default()
        .0
}

fn registration(body: &[u8], now: Timestamp) -> Result<Registration, Invalid> {
    if body.is_empty() {
        return Err(Invalid::new("body", "is required"));
    }
    if body.len() > 8192 {
        return Err(Invalid::new("body", "must have at most 8192 bytes"));
    }
    let body = v1::EnrollmentBody::decode(body)
        .map_err(|_| Invalid::new("body", "must be a serialized EnrollmentBody"))?;
    let algorithm = body.key_algorithm();
    if algorithm == v1::KeyAlgorithm::Unspecified {
        return Err(Invalid::new(
            "body.key_algorithm",
            "must be ED25519 or P256",
        ));
    }
    let protection = v1::KeyProtection::try_from(body.key_protection)
        .map_err(|_| Invalid::new("body.key_protection", "is not known"))?;
    let encryption_key =
        match body.encryption_key.as_ref() {
            [] => None,
            key => Some(<[u8; 32]>::try_from(key).map_err(|_| {
                Invalid::new("body.encryption_key", "must be empty or have 32 bytes")
            })?),
        };
    Ok(Registration {
        public_key: PublicKey::from_bytes(algorithm, &body.public_key)
            .map_err(|_| Invalid::new("body.public_key", "is no key of that algorithm"))?,
        key_protection: match protection {
            v1::KeyProtection::Hardware => KeyProtection::Hardware,
            v1::KeyProtection::Unspecified | v1::KeyProtection::Software => KeyProtection::Software,
        },
        platform: convert::platform("body.platform", body.platform())?,
        push: body
            .push
            .clone()
            .map(|push| convert::push("body.push", push, now))
            .transpose()?,
        encryption_key,
        enroll_time: body.enroll_time,
        ticket: body.ticket,
        display_name: body.display_name,
        language: body.language,
        app_version: body.app_version,
    })
}

fn withdrawal(challenge: ChallengeId, end: Option<(Final, Reason)>) -> v1::Withdrawal {
    v1::Withdrawal {
        challenge_id: challenge.to_string(),
        state: end
            .map_or(v1::ChallengeState::Unspecified, |(end, _)| {
                convert::state(end)
            })
            .into(),
        reason: end
            .map_or(v1::DecisionReason::Unspecified, |(_, reason)| {
                convert::reason(reason)
            })
            .into(),
    }
}

fn recent_approval((signed, decided): &(SignedBody, Timestamp)) -> v1::RecentApproval {
    v1::RecentApproval {
        challenge: Some(convert::signed_challenge(signed)),
        decide_time: Some(timestamp(*decided)),
    }
}

fn event(event: DeviceEvent) -> v1::subscribe_response::Event {
    use v1::subscribe_response::Event;
    match event {
        DeviceEvent::Challenge(signed) => Event::Challenge(convert::signed_challenge(&signed)),
        DeviceEvent::Withdrawal { challenge, end } => Event::Withdrawal(withdrawal(challenge, end)),
        DeviceEvent::KeySuccession(successions) => Event::KeyUpdate(v1::KeyUpdate {
            key_successions: convert::successions(&successions),
        }),
    }
}

/// Takes care that the gauge comes down whichever way a stream ends.
struct Counted {
    broker: Arc<Broker>,
    subscription: Subscription,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.broker.metrics.subscribed(-1);
    }
}

#[tonic::async_trait]
impl v1::device_service_server::DeviceService for Phones {
    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        let address = address(&request);
        let request = request.into_inner();
        let now = self.broker.now();
        let registration = registration(&request.body, now).map_err(invalid)?;
        let (device, tenant, broker_keys) = self
            .broker
            .redeem(registration, &request.body, &request.signature, address)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::EnrollResponse {
            device_id: device.id.to_string(),
            tenant_id: tenant.id.to_string(),
            organisation: tenant.display_name,
            user_id: device.user.as_str().to_owned(),
            broker_keys,
            key_successions: convert::successions(&self.broker.successions()),
            server_time: Some(timestamp(self.broker.now())),
        }))
    }

    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let device = device(&request)?;
        // First the stream, then the look at what is pending: nothing falls
        // between, at worst something comes twice.
        let subscription = self.broker.subscribe(&device).await.map_err(status)?;
        self.broker.metrics.subscribed(1);
        let counted = Counted {
            broker: self.broker.clone(),
            subscription,
        };
        let pending = self.broker.list_pending(&device).await.map_err(status)?;
        let mut first: VecDeque<_> = VecDeque::new();
        let successions = self.broker.successions();
        if !successions.is_empty() {
            first.push_back(event(DeviceEvent::KeySuccession(Arc::new(successions))));
        }
        for signed in pending {
            first.push_back(event(DeviceEvent::Challenge(Arc::new(signed))));
        }
        let recent = self.broker.recent_approvals(&device).await;
        for approval in &recent.map_err(status)? {
            let approval = recent_approval(approval);
            first.push_back(v1::subscribe_response::Event::RecentApproval(approval));
        }
        first.push_back(v1::subscribe_response::Event::CaughtUp(v1::CaughtUp {
            server_time: Some(timestamp(self.broker.now())),
        }));
        let stream = futures_util::stream::unfold(Some((first, counted)), |state| async {
            let (mut first, mut counted) = state?;
            let next = match first.pop_front() {
                Some(next) => next,
                None => {
                    let stopping = counted.broker.stopping();
                    let next = tokio::select! {
                        next = counted.subscription.next() => next,
                        () = stopping.cancelled() => {
                            return Some((Err(status(BrokerError::Unavailable)), None));
                        }
                    };
                    event(next?)
                }
            };
            Some((
                Ok(v1::SubscribeResponse { event: Some(next) }),
                Some((first, counted)),
            ))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_pending_challenges(
        &self,
        request: Request<v1::ListPendingChallengesRequest>,
    ) -> Result<Response<v1::ListPendingChallengesResponse>, Status> {
        let device = device(&request)?;
        let pending = self.broker.list_pending(&device).await.map_err(status)?;
        let recent = self.broker.recent_approvals(&device).await;
        let recent = recent.map_err(status)?;
        Ok(Response::new(v1::ListPendingChallengesResponse {
            challenges: pending.iter().map(convert::signed_challenge).collect(),
            key_successions: convert::successions(&self.broker.successions()),
            server_time: Some(timestamp(self.broker.now())),
            recent_approvals: recent.iter().map(recent_approval).collect(),
            notices: Vec::new(),
        }))
    }

    async fn respond(
        &self,
        request: Request<v1::RespondRequest>,
    ) -> Result<Response<v1::RespondResponse>, Status> {
        let address = address(&request);
        let response = request
            .into_inner()
            .response
            .ok_or_else(|| invalid(Invalid::new("response", "is required")))?;
        let responded = self
            .broker
            .respond(&response.body, &response.signature, address)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::RespondResponse {
            state: convert::state(responded.state).into(),
            reason: convert::reason(responded.reason).into(),
            revoked: responded.revoked,
        }))
    }

    async fn acknowledge_challenge(
        &self,
        request: Request<v1::AcknowledgeChallengeRequest>,
    ) -> Result<Response<v1::AcknowledgeChallengeResponse>, Status> {
        let device = device(&request)?;
        let id =
            ChallengeId::parse("challenge_id", &request.get_ref().challenge_id).map_err(invalid)?;
        self.broker.acknowledge(&device, id).await.map_err(status)?;
        Ok(Response::new(v1::AcknowledgeChallengeResponse {}))
    }

    async fn update_push_token(
        &self,
        request: Request<v1::UpdatePushTokenRequest>,
    ) -> Result<Response<v1::UpdatePushTokenResponse>, Status> {
        let device = device(&request)?;
        let address = address(&request);
        let push = request
            .into_inner()
            .push
            .map(|push| convert::push("push", push, self.broker.now()))
            .transpose()
            .map_err(invalid)?;
        if let Some(push) = &push {
            check_push("push", push).map_err(invalid)?;
        }
        self.broker
            .update_push(&device, push, address)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::UpdatePushTokenResponse {}))
    }

    async fn unenroll(
        &self,
        request: Request<v1::UnenrollRequest>,
    ) -> Result<Response<v1::UnenrollResponse>, Status> {
        let device = device(&request)?;
        let address = address(&request);
        self.broker
            .unenroll(&device, address)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::UnenrollResponse {}))
    }
}
