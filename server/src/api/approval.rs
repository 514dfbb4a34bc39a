//! `ApprovalService`.

use std::{pin::Pin, sync::Arc};

use countersign_proto::{signing::sha256, v1};
use futures_util::Stream;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    admission::ticket,
    convert, sign_in,
    status::{status, unauthenticated},
};
use crate::{
    broker::{Broker, IdpCaller, challenge::NewRequest, error::BrokerError, to_its_end},
    domain::{
        Invalid,
        browser::BrowserToken,
        challenge::Method,
        ids::{ChallengeId, DeviceId, UserId, parse_uuid},
    },
};

pub(super) struct Approval {
    broker: Arc<Broker>,
}

impl Approval {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

/// Who calls, as found by authentication.
pub(super) fn caller<T>(request: &Request<T>) -> Result<IdpCaller, Status> {
    request
        .extensions()
        .get::<IdpCaller>()
        .cloned()
        .ok_or_else(unauthenticated)
}

pub(super) fn invalid(error: Invalid) -> Status {
    status(BrokerError::Invalid(error))
}

fn challenge_id(text: &str) -> Result<ChallengeId, Status> {
    ChallengeId::parse("challenge_id", text).map_err(invalid)
}

fn new_request(mut request: v1::CreateChallengeRequest) -> Result<NewRequest, Invalid> {
    let id = std::mem::take(&mut request.request_id);
    let idempotency = if id.is_empty() {
        None
    } else {
        let id = *parse_uuid("request_id", &id)?.as_bytes();
        Some((id, sha256(&request.encode_to_vec())))
    };
    let method = method(request.method)?;
    let device = if request.device_id.is_empty() {
        None
    } else {
        Some(DeviceId::parse("device_id", &request.device_id)?)
    };
    Ok(NewRequest {
        idempotency,
        method,
        user: UserId::parse("user_id", &request.user_id)?,
        context: convert::context(request.context)?,
        device,
        ttl: convert::duration("ttl", request.ttl)?,
        browser: BrowserToken::parse(&request.browser_token),
        remember: request.remember_browser,
    })
}

/// The method asked for; none: by policy, or the one in use.
fn method(number: i32) -> Result<Option<Method>, Invalid> {
    let method =
        v1::Method::try_from(number).map_err(|_| Invalid::new("method", "is not known"))?;
    match method {
        v1::Method::Unspecified => Ok(None),
        v1::Method::Push => Ok(Some(Method::Push)),
        v1::Method::Sms => Ok(Some(Method::Sms)),
        v1::Method::Totp => Ok(Some(Method::Totp)),
        v1::Method::RecoveryCode => Ok(Some(Method::RecoveryCode)),
        v1::Method::RememberedBrowser => {
            Err(Invalid::new("method", "must not be REMEMBERED_BROWSER"))
        }
    }
}

/// The method that a page shows; none: whatever it is.
fn known_method(number: i32) -> Result<Option<Method>, Invalid> {
    if number == i32::from(v1::Method::RememberedBrowser) {
        return Ok(Some(Method::RememberedBrowser));
    }
    method(number).map_err(|fault| Invalid::new("known_method", fault.problem))
}

#[tonic::async_trait]
impl v1::approval_service_server::ApprovalService for Approval {
    async fn get_sign_in_options(
        &self,
        request: Request<v1::GetSignInOptionsRequest>,
    ) -> Result<Response<v1::GetSignInOptionsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let user = UserId::parse("user_id", &request.user_id).map_err(invalid)?;
        let token = BrowserToken::parse(&request.browser_token);
        let options = self
            .broker
            .sign_in_options(&caller, &user, token.as_ref())
            .await
            .map_err(status)?;
        Ok(Response::new(sign_in::options(&options)))
    }

    async fn create_challenge(
        &self,
        request: Request<v1::CreateChallengeRequest>,
    ) -> Result<Response<v1::CreateChallengeResponse>, Status> {
        let caller = caller(&request)?;
        let held = ticket(&request);
        let new = new_request(request.into_inner()).map_err(invalid)?;
        let broker = self.broker.clone();
        let step = async move { broker.create_challenge(&caller, new).await };
        let shown = to_its_end(held, step).await.map_err(status)?;
        let challenge = Some(convert::challenge(shown));
        Ok(Response::new(v1::CreateChallengeResponse { challenge }))
    }

    async fn get_challenge(
        &self,
        request: Request<v1::GetChallengeRequest>,
    ) -> Result<Response<v1::GetChallengeResponse>, Status> {
        let caller = caller(&request)?;
        let id = challenge_id(&request.get_ref().challenge_id)?;
        let shown = self
            .broker
            .get_challenge(&caller, id)
            .await
            .map_err(status)?;
        let challenge = Some(convert::challenge(shown));
        Ok(Response::new(v1::GetChallengeResponse { challenge }))
    }

    async fn wait_challenge(
        &self,
        request: Request<v1::WaitChallengeRequest>,
    ) -> Result<Response<v1::WaitChallengeResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = challenge_id(&request.challenge_id)?;
        let timeout = convert::duration("timeout", request.timeout).map_err(invalid)?;
        let known = known_method(request.known_method).map_err(invalid)?;
        let shown = self
            .broker
            .wait_challenge(&caller, id, timeout, known)
            .await
            .map_err(status)?;
        let challenge = Some(convert::challenge(shown));
        Ok(Response::new(v1::WaitChallengeResponse { challenge }))
    }

    type WatchChallengeStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchChallengeResponse, Status>> + Send>>;

    async fn watch_challenge(
        &self,
        request: Request<v1::WatchChallengeRequest>,
    ) -> Result<Response<Self::WatchChallengeStream>, Status> {
        let caller = caller(&request)?;
        let id = challenge_id(&request.get_ref().challenge_id)?;
        let watch = self
            .broker
            .watch_challenge(caller, id)
            .await
            .map_err(status)?;
        let stream = futures_util::stream::unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(shown)) => {
                    let challenge = Some(convert::challenge(shown));
                    Some((Ok(v1::WatchChallengeResponse { challenge }), Some(watch)))
                }
                Ok(None) => None,
                Err(error) => Some((Err(status(error)), None)),
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let caller = caller(&request)?;
        super::events::watch(&self.broker, caller, request.into_inner()).await
    }

    async fn cancel_challenge(
        &self,
        request: Request<v1::CancelChallengeRequest>,
    ) -> Result<Response<v1::CancelChallengeResponse>, Status> {
        let caller = caller(&request)?;
        let held = ticket(&request);
        let id = challenge_id(&request.get_ref().challenge_id)?;
        let broker = self.broker.clone();
        let step = async move { broker.cancel_challenge(&caller, id).await };
        let shown = to_its_end(held, step).await.map_err(status)?;
        let challenge = Some(convert::challenge(shown));
        Ok(Response::new(v1::CancelChallengeResponse { challenge }))
    }

    async fn send_code(
        &self,
        request: Request<v1::SendCodeRequest>,
    ) -> Result<Response<v1::SendCodeResponse>, Status> {
        let caller = caller(&request)?;
        let held = ticket(&request);
        let request = request.into_inner();
        let id = challenge_id(&request.challenge_id)?;
        let method = method(request.method).map_err(invalid)?;
        let broker = self.broker.clone();
        let step = async move { broker.send_code(&caller, id, method).await };
        let shown = to_its_end(held, step).await.map_err(status)?;
        let challenge = Some(convert::challenge(shown));
        Ok(Response::new(v1::SendCodeResponse { challenge }))
    }

    async fn verify_code(
        &self,
        request: Request<v1::VerifyCodeRequest>,
    ) -> Result<Response<v1::VerifyCodeResponse>, Status> {
        let caller = caller(&request)?;
        let held = ticket(&request);
        let request = request.into_inner();
        let id = challenge_id(&request.challenge_id)?;
        let broker = self.broker.clone();
        let step = async move { broker.verify_code(&caller, id, &request.code).await };
        let shown = to_its_end(held, step).await.map_err(status)?;
        let challenge = Some(convert::challenge(shown));
        Ok(Response::new(v1::VerifyCodeResponse { challenge }))
    }
}
