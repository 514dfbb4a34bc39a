//! The phone's side: fetch, respond.

use std::pin::Pin;

use countersign_proto::signing::DEVICE_PROOF_METADATA;
use countersign_proto::v1::{
    self, ListPendingChallengesRequest, ListPendingChallengesResponse, RespondRequest,
    RespondResponse,
};
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::state::Ideal;
use crate::phone::method::{LIST_PENDING_CHALLENGES, SUBSCRIBE};

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not part of the flow"))
}

fn proof<T>(request: &Request<T>) -> Result<bytes::Bytes, Status> {
    request
        .metadata()
        .get_bin(DEVICE_PROOF_METADATA)
        .and_then(|proof| proof.to_bytes().ok())
        .ok_or_else(|| Status::unauthenticated("the device is not proven"))
}

#[tonic::async_trait]
impl v1::device_service_server::DeviceService for Ideal {
    async fn list_pending_challenges(
        &self,
        request: Request<ListPendingChallengesRequest>,
    ) -> Result<Response<ListPendingChallengesResponse>, Status> {
        let proof = proof(&request)?;
        // Of a few bytes, and always the same ones: what was sent.
        let message = request.get_ref().encode_to_vec();
        let device = self.proven(&proof, LIST_PENDING_CHALLENGES, &message)?;
        Ok(Response::new(ListPendingChallengesResponse {
            challenges: self.pending_of(&device),
            server_time: Some(crate::phone::timestamp(std::time::SystemTime::now())),
            ..ListPendingChallengesResponse::default()
        }))
    }

    async fn respond(
        &self,
        request: Request<RespondRequest>,
    ) -> Result<Response<RespondResponse>, Status> {
        let response = request
            .into_inner()
            .response
            .ok_or_else(|| Status::invalid_argument("the response is required"))?;
        let (state, reason) = Ideal::respond(self, &response)?;
        Ok(Response::new(RespondResponse {
            state: state.into(),
            reason: reason.into(),
            revoked: false,
        }))
    }

    async fn enroll(
        &self,
        _: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        absent()
    }

    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let proof = proof(&request)?;
        let message = request.get_ref().encode_to_vec();
        self.proven(&proof, SUBSCRIBE, &message)?;
        // No more than a stream that is held open.
        let event = v1::subscribe_response::Event::CaughtUp(v1::CaughtUp { server_time: None });
        let caught_up = v1::SubscribeResponse { event: Some(event) };
        let held = stream::iter([Ok(caught_up)]).chain(stream::pending());
        Ok(Response::new(Box::pin(held)))
    }

    async fn acknowledge_challenge(
        &self,
        _: Request<v1::AcknowledgeChallengeRequest>,
    ) -> Result<Response<v1::AcknowledgeChallengeResponse>, Status> {
        absent()
    }

    async fn update_push_token(
        &self,
        _: Request<v1::UpdatePushTokenRequest>,
    ) -> Result<Response<v1::UpdatePushTokenResponse>, Status> {
        absent()
    }

    async fn unenroll(
        &self,
        _: Request<v1::UnenrollRequest>,
    ) -> Result<Response<v1::UnenrollResponse>, Status> {
        absent()
    }
}
