//! The identity provider's side: create, wait, and wait as a stream.

use std::pin::Pin;
use std::time::Duration;

use countersign_proto::v1::{
    self, CreateChallengeRequest, CreateChallengeResponse, WaitChallengeRequest,
    WaitChallengeResponse, WatchChallengeRequest, WatchChallengeResponse,
};
use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};

use super::state::Ideal;

/// As the broker's, where none is given.
const WAIT: Duration = Duration::from_secs(30);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not part of the flow"))
}

#[tonic::async_trait]
impl v1::approval_service_server::ApprovalService for Ideal {
    async fn create_challenge(
        &self,
        request: Request<CreateChallengeRequest>,
    ) -> Result<Response<CreateChallengeResponse>, Status> {
        let challenge = Some(self.create(request.into_inner())?);
        Ok(Response::new(CreateChallengeResponse { challenge }))
    }

    async fn wait_challenge(
        &self,
        request: Request<WaitChallengeRequest>,
    ) -> Result<Response<WaitChallengeResponse>, Status> {
        let request = request.into_inner();
        let entry = self.entry(&request.challenge_id)?;
        let timeout = request
            .timeout
            .and_then(|timeout| Duration::try_from(timeout).ok())
            .unwrap_or(WAIT);
        let challenge = match tokio::time::timeout(timeout, entry.outcome()).await {
            Ok(decided) => {
                self.challenges.remove(&request.challenge_id);
                decided
            }
            Err(_) => entry.pending.clone(),
        };
        let challenge = Some(challenge);
        Ok(Response::new(WaitChallengeResponse { challenge }))
    }

    type WatchChallengeStream = Answers<WatchChallengeResponse>;

    async fn watch_challenge(
        &self,
        request: Request<WatchChallengeRequest>,
    ) -> Result<Response<Self::WatchChallengeStream>, Status> {
        let id = request.into_inner().challenge_id;
        let entry = self.entry(&id)?;
        let first = entry.pending.clone();
        let then = {
            let challenges = self.challenges.clone();
            stream::once(async move {
                let decided = entry.outcome().await;
                challenges.remove(&id);
                decided
            })
        };
        let changes = stream::once(async move { first })
            .chain(then)
            .map(|challenge| {
                let challenge = Some(challenge);
                Ok(WatchChallengeResponse { challenge })
            });
        Ok(Response::new(Box::pin(changes)))
    }

    async fn get_sign_in_options(
        &self,
        _: Request<v1::GetSignInOptionsRequest>,
    ) -> Result<Response<v1::GetSignInOptionsResponse>, Status> {
        absent()
    }

    async fn get_challenge(
        &self,
        _: Request<v1::GetChallengeRequest>,
    ) -> Result<Response<v1::GetChallengeResponse>, Status> {
        absent()
    }

    type WatchEventsStream = Answers<v1::WatchEventsResponse>;

    async fn watch_events(
        &self,
        _: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        absent()
    }

    async fn cancel_challenge(
        &self,
        _: Request<v1::CancelChallengeRequest>,
    ) -> Result<Response<v1::CancelChallengeResponse>, Status> {
        absent()
    }

    async fn send_code(
        &self,
        _: Request<v1::SendCodeRequest>,
    ) -> Result<Response<v1::SendCodeResponse>, Status> {
        absent()
    }

    async fn verify_code(
        &self,
        _: Request<v1::VerifyCodeRequest>,
    ) -> Result<Response<v1::VerifyCodeResponse>, Status> {
        absent()
    }
}
