//! `EnrollmentService`.

use std::sync::Arc;

use countersign_proto::v1;
use qrcode::{EcLevel, QrCode, render::svg};
use tonic::{Request, Response, Status};

use super::{
    approval::{caller, invalid},
    convert,
    status::status,
};
use crate::{
    broker::{Broker, error::BrokerError},
    domain::{
        body::timestamp,
        ids::{AuthenticatorId, EnrollmentId, UserId},
        ticket::TicketState,
    },
};

pub(super) struct Enrollment {
    broker: Arc<Broker>,
}

impl Enrollment {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

fn user_id(text: &str) -> Result<UserId, Status> {
    UserId::parse("user_id", text).map_err(invalid)
}

fn authenticator_id(text: &str) -> Result<AuthenticatorId, Status> {
    AuthenticatorId::parse("authenticator_id", text).map_err(invalid)
}

/// A self-contained SVG image with the quiet zone that scanners need.
fn qr_svg(text: &str) -> Result<String, BrokerError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .map_err(|error| BrokerError::Internal(format!("no QR code: {error}")))?;
    Ok(code
        .render::<svg::Color<'_>>()
        .min_dimensions(240, 240)
        .quiet_zone(true)
        .build())
}

#[tonic::async_trait]
impl v1::enrollment_service_server::EnrollmentService for Enrollment {
    async fn create_enrollment(
        &self,
        request: Request<v1::CreateEnrollmentRequest>,
    ) -> Result<Response<v1::CreateEnrollmentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let ttl = convert::duration("ttl", request.ttl).map_err(invalid)?;
        let ticket = self
            .broker
            .create_ticket(&caller, user, ttl)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::CreateEnrollmentResponse {
            enrollment_id: ticket.id.to_string(),
            qr_svg: qr_svg(&ticket.uri).map_err(status)?,
            enrollment_uri: ticket.uri,
            manual_code: ticket.manual_code,
            expire_time: Some(timestamp(ticket.expire_time)),
        }))
    }

    async fn wait_enrollment(
        &self,
        request: Request<v1::WaitEnrollmentRequest>,
    ) -> Result<Response<v1::WaitEnrollmentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = EnrollmentId::parse("enrollment_id", &request.enrollment_id).map_err(invalid)?;
        let timeout = convert::duration("timeout", request.timeout).map_err(invalid)?;
        let (state, device) = self
            .broker
            .wait_ticket(&caller, id, timeout)
            .await
            .map_err(status)?;
        let state = match state {
            TicketState::Open => v1::EnrollmentState::Open,
            TicketState::Redeemed(_) => v1::EnrollmentState::Redeemed,
            TicketState::Expired => v1::EnrollmentState::Expired,
            TicketState::Replaced => v1::EnrollmentState::Replaced,
            TicketState::Locked => v1::EnrollmentState::Locked,
        };
        Ok(Response::new(v1::WaitEnrollmentResponse {
            state: state.into(),
            authenticator: device.as_ref().map(convert::authenticator),
        }))
    }

    async fn add_phone(
        &self,
        request: Request<v1::AddPhoneRequest>,
    ) -> Result<Response<v1::AddPhoneResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let phone = self
            .broker
            .add_phone(&caller, user, &request.phone_number, &request.language)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::AddPhoneResponse {
            code_delivery: phone.confirming.as_ref().map(convert::code_delivery),
            authenticator: Some(convert::phone(&phone)),
        }))
    }

    async fn confirm_phone(
        &self,
        request: Request<v1::ConfirmPhoneRequest>,
    ) -> Result<Response<v1::ConfirmPhoneResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let id = authenticator_id(&request.authenticator_id)?;
        let phone = self
            .broker
            .confirm_phone(&caller, user, id, &request.code)
            .await
            .map_err(status)?;
        let authenticator = Some(convert::phone(&phone));
        Ok(Response::new(v1::ConfirmPhoneResponse { authenticator }))
    }

    async fn add_totp(
        &self,
        request: Request<v1::AddTotpRequest>,
    ) -> Result<Response<v1::AddTotpResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let new = self
            .broker
            .add_totp(&caller, user, &request.account_name)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::AddTotpResponse {
            authenticator: Some(convert::totp(&new.totp)),
            qr_svg: qr_svg(&new.otpauth_uri).map_err(status)?,
            otpauth_uri: new.otpauth_uri.to_string(),
            secret: new.secret.to_string(),
        }))
    }

    async fn confirm_totp(
        &self,
        request: Request<v1::ConfirmTotpRequest>,
    ) -> Result<Response<v1::ConfirmTotpResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let id = authenticator_id(&request.authenticator_id)?;
        let totp = self
            .broker
            .confirm_totp(&caller, user, id, &request.code)
            .await
            .map_err(status)?;
        let authenticator = Some(convert::totp(&totp));
        Ok(Response::new(v1::ConfirmTotpResponse { authenticator }))
    }

    async fn create_recovery_codes(
        &self,
        request: Request<v1::CreateRecoveryCodesRequest>,
    ) -> Result<Response<v1::CreateRecoveryCodesResponse>, Status> {
        let caller = caller(&request)?;
        let user = user_id(&request.get_ref().user_id)?;
        let new = self
            .broker
            .create_recovery_codes(&caller, user)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::CreateRecoveryCodesResponse {
            authenticator: Some(convert::recovery_codes(&new.set)),
            codes: new.codes.iter().map(|code| code.to_string()).collect(),
        }))
    }

    async fn list_authenticators(
        &self,
        request: Request<v1::ListAuthenticatorsRequest>,
    ) -> Result<Response<v1::ListAuthenticatorsResponse>, Status> {
        let caller = caller(&request)?;
        let user = user_id(&request.get_ref().user_id)?;
        let known = self
            .broker
            .list_authenticators(caller.tenant, &user)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::ListAuthenticatorsResponse {
            authenticators: convert::authenticators(&known),
        }))
    }

    async fn remove_authenticator(
        &self,
        request: Request<v1::RemoveAuthenticatorRequest>,
    ) -> Result<Response<v1::RemoveAuthenticatorResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let id = authenticator_id(&request.authenticator_id)?;
        self.broker
            .remove_authenticator(caller.tenant, user, id, &caller.by)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::RemoveAuthenticatorResponse {}))
    }

    async fn forget_browsers(
        &self,
        request: Request<v1::ForgetBrowsersRequest>,
    ) -> Result<Response<v1::ForgetBrowsersResponse>, Status> {
        let caller = caller(&request)?;
        let user = user_id(&request.get_ref().user_id)?;
        let forgotten = self
            .broker
            .forget_browsers(&caller, user)
            .await
            .map_err(status)?;
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        Ok(Response::new(v1::ForgetBrowsersResponse { forgotten }))
    }

    async fn snooze_enrollment(
        &self,
        request: Request<v1::SnoozeEnrollmentRequest>,
    ) -> Result<Response<v1::SnoozeEnrollmentResponse>, Status> {
        let caller = caller(&request)?;
        let user = user_id(&request.get_ref().user_id)?;
        let snoozes_left = self.broker.snooze(&caller, user).await.map_err(status)?;
        Ok(Response::new(v1::SnoozeEnrollmentResponse { snoozes_left }))
    }
}
