//! `DeviceService`.

use std::sync::Arc;

use countersign_proto::v1;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    admission::ticket,
    approval::invalid,
    auth::PeerAddress,
    convert, phone_stream,
    status::{status, unauthenticated},
};
use crate::{
    broker::{
        Broker,
        enroll::{Registration, check_push},
        to_its_end,
    },
    domain::{Invalid, body::timestamp, device::Device, ids::ChallengeId, time::Timestamp},
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
    let app = convert::app(
        body.key_algorithm(),
        &body.public_key,
        body.key_protection,
        body.platform(),
        body.push.clone(),
        &body.encryption_key,
        now,
    )
    .map_err(|invalid| invalid.within("body"))?;
    Ok(Registration {
        public_key: app.public_key,
        key_protection: app.key_protection,
        platform: app.platform,
        push: app.push,
        encryption_key: app.encryption_key,
        enroll_time: body.enroll_time,
        ticket: body.ticket,
        display_name: body.display_name,
        language: body.language,
        app_version: body.app_version,
    })
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

    type SubscribeStream = phone_stream::Answers;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let device = device(&request)?;
        let last_notice = request.get_ref().last_notice;
        let answers = phone_stream::open(&self.broker, device, last_notice).await?;
        Ok(Response::new(answers))
    }

    async fn list_pending_challenges(
        &self,
        request: Request<v1::ListPendingChallengesRequest>,
    ) -> Result<Response<v1::ListPendingChallengesResponse>, Status> {
        let device = device(&request)?;
        let pending = self.broker.list_pending(&device).await.map_err(status)?;
        let recent = self.broker.recent_approvals(&device).await;
        let recent = recent.map_err(status)?;
        let last = request.get_ref().last_notice;
        let notices = self.broker.notices(&device, last).await.map_err(status)?;
        Ok(Response::new(v1::ListPendingChallengesResponse {
            challenges: pending.iter().map(convert::signed_challenge).collect(),
            key_successions: convert::successions(&self.broker.successions()),
            server_time: Some(timestamp(self.broker.now())),
            recent_approvals: recent.iter().map(phone_stream::recent_approval).collect(),
            notices: notices.iter().map(phone_stream::notice).collect(),
        }))
    }

    async fn respond(
        &self,
        request: Request<v1::RespondRequest>,
    ) -> Result<Response<v1::RespondResponse>, Status> {
        let address = address(&request);
        let held = ticket(&request);
        let response = request
            .into_inner()
            .response
            .ok_or_else(|| invalid(Invalid::new("response", "is required")))?;
        let broker = self.broker.clone();
        let step = async move {
            let (body, signature) = (&response.body, &response.signature);
            broker.respond(body, signature, address).await
        };
        let responded = to_its_end(held, step).await.map_err(status)?;
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
