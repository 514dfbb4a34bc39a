//! The sign-in page's side: an identity provider with its API key.

use std::time::Duration;

use countersign_proto::v1::admin_service_client::AdminServiceClient;
use countersign_proto::v1::approval_service_client::ApprovalServiceClient;
use countersign_proto::v1::enrollment_service_client::EnrollmentServiceClient;
use countersign_proto::v1::{
    AddPhoneRequest, AddTotpRequest, Authenticator, CancelChallengeRequest, Challenge,
    ChallengeState, ConfirmPhoneRequest, ConfirmTotpRequest, CreateApiKeyRequest,
    CreateChallengeRequest, CreateEnrollmentRequest, CreateEnrollmentResponse,
    CreateRecoveryCodesRequest, CreateTenantRequest, EnrollmentState, Method, Role,
    SendCodeRequest, SignInContext, Tenant, TenantPolicy, VerifyCodeRequest, WaitChallengeRequest,
    WaitEnrollmentRequest, WatchChallengeRequest, WatchChallengeResponse,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::error::{DemoError, expect};
use super::installation::Installation;
use crate::fetch::get_text;
use crate::phone::{connect, system_clock};
use crate::receipt::{Receipt, ReceiptCheck};

/// How long one long poll lasts.
const POLL: Duration = Duration::from_secs(30);
/// Where the organisation is, and its people's numbers are.
const COUNTRY: &str = "BE";

/// `authorization: Bearer …` on every call.
#[derive(Clone)]
struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    fn new(api_key: &str) -> Result<Self, DemoError> {
        format!("Bearer {api_key}")
            .parse()
            .map(Self)
            .map_err(|_| DemoError::missing("api key"))
    }
}

impl Interceptor for Bearer {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authenticated = InterceptedService<Channel, Bearer>;

/// An identity provider of one organisation.
#[derive(Clone)]
pub struct IdentityProvider {
    approvals: ApprovalServiceClient<Authenticated>,
    enrollments: EnrollmentServiceClient<Authenticated>,
    /// The organisation.
    pub tenant: Tenant,
    api_key_id: String,
    http: String,
}

impl std::fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityProvider({})", self.api_key_id)
    }
}

/// A sign-in that waits for an approval.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// As issued.
    pub challenge: Challenge,
}

impl IdentityProvider {
    /// Adds an organisation and makes an API key for it, as an operator would.
    ///
    /// # Errors
    /// [`DemoError::Call`], [`DemoError::Phone`] without a connection.
    pub async fn new(installation: &Installation, organisation: &str) -> Result<Self, DemoError> {
        let channel = connect(&installation.grpc, None).await?;
        let operator = Bearer::new(&installation.admin_key)?;
        let mut admin = AdminServiceClient::with_interceptor(channel.clone(), operator);
        let request = CreateTenantRequest {
            display_name: organisation.to_owned(),
            policy: Some(TenantPolicy {
                encrypted_prompts: Some(true),
                ..TenantPolicy::default()
            }),
            country: COUNTRY.to_owned(),
            ..CreateTenantRequest::default()
        };
        let tenant = admin
            .create_tenant(request)
            .await
            .map_err(DemoError::call("CreateTenant"))?
            .into_inner()
            .tenant
            .ok_or_else(|| DemoError::missing("tenant"))?;
        let request = CreateApiKeyRequest {
            tenant_id: tenant.tenant_id.clone(),
            role: Role::Idp.into(),
            display_name: "demo sign-in page".to_owned(),
        };
        let made = admin
            .create_api_key(request)
            .await
            .map_err(DemoError::call("CreateApiKey"))?
            .into_inner();
        let bearer = Bearer::new(&made.api_key)?;
        Ok(Self {
            approvals: ApprovalServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            enrollments: EnrollmentServiceClient::with_interceptor(channel, bearer),
            tenant,
            api_key_id: made.key.unwrap_or_default().api_key_id,
            http: installation.http.clone(),
        })
    }

    /// Makes a ticket for a phone of `user_id`.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn enroll(&self, user_id: &str) -> Result<CreateEnrollmentResponse, DemoError> {
        let request = CreateEnrollmentRequest {
            user_id: user_id.to_owned(),
            ttl: None,
        };
        let mut enrollments = self.enrollments.clone();
        let response = enrollments.create_enrollment(request).await;
        Ok(response
            .map_err(DemoError::call("CreateEnrollment"))?
            .into_inner())
    }

    /// Waits until the ticket was redeemed; the new device.
    ///
    /// # Errors
    /// [`DemoError::Call`], or [`DemoError::Unexpected`] when the ticket died.
    pub async fn enrolled(&self, enrollment_id: &str) -> Result<Authenticator, DemoError> {
        let mut enrollments = self.enrollments.clone();
        loop {
            let request = WaitEnrollmentRequest {
                enrollment_id: enrollment_id.to_owned(),
                timeout: Some(duration(POLL)),
            };
            let response = enrollments
                .wait_enrollment(request)
                .await
                .map_err(DemoError::call("WaitEnrollment"))?
                .into_inner();
            if response.state() == EnrollmentState::Open {
                continue;
            }
            expect("enrolment", response.state(), EnrollmentState::Redeemed)?;
            return response
                .authenticator
                .ok_or_else(|| DemoError::missing("authenticator"));
        }
    }

    /// Asks for an approval of a sign-in by `user_id`, right after the password.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn sign_in(&self, user_id: &str) -> Result<SignIn, DemoError> {
        let request = CreateChallengeRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            user_id: user_id.to_owned(),
            context: Some(SignInContext {
                application_name: "Webmail".to_owned(),
                client_address: "198.51.100.7".to_owned(),
                location: "Gent, België".to_owned(),
                user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut approvals = self.approvals.clone();
        let challenge = approvals
            .create_challenge(request)
            .await
            .map_err(DemoError::call("CreateChallenge"))?
            .into_inner()
            .challenge
            .ok_or_else(|| DemoError::missing("challenge"))?;
        Ok(SignIn { challenge })
    }

    /// Waits for the decision.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn decided(&self, challenge_id: &str) -> Result<Challenge, DemoError> {
        let mut approvals = self.approvals.clone();
        loop {
            let request = WaitChallengeRequest {
                challenge_id: challenge_id.to_owned(),
                timeout: Some(duration(POLL)),
                ..WaitChallengeRequest::default()
            };
            let challenge = approvals
                .wait_challenge(request)
                .await
                .map_err(DemoError::call("WaitChallenge"))?
                .into_inner()
                .challenge
                .ok_or_else(|| DemoError::missing("challenge"))?;
            if challenge.state() != ChallengeState::Pending {
                return Ok(challenge);
            }
        }
    }

    /// Goes on by another method: "sign in another way".
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn send_code(
        &self,
        challenge_id: &str,
        method: Method,
    ) -> Result<Challenge, DemoError> {
        let request = SendCodeRequest {
            challenge_id: challenge_id.to_owned(),
            method: method.into(),
        };
        let mut approvals = self.approvals.clone();
        let response = approvals.send_code(request).await;
        let response = response.map_err(DemoError::call("SendCode"))?.into_inner();
        response
            .challenge
            .ok_or_else(|| DemoError::missing("challenge"))
    }

    /// Passes on a code that was typed; the challenge it has decided.
    ///
    /// # Errors
    /// [`DemoError::Call`], also for a wrong code.
    pub async fn verify_code(
        &self,
        challenge_id: &str,
        code: &str,
    ) -> Result<Challenge, DemoError> {
        let request = VerifyCodeRequest {
            challenge_id: challenge_id.to_owned(),
            code: code.to_owned(),
        };
        let mut approvals = self.approvals.clone();
        let response = approvals.verify_code(request).await;
        let response = response.map_err(DemoError::call("VerifyCode"))?;
        let challenge = response.into_inner().challenge;
        challenge.ok_or_else(|| DemoError::missing("challenge"))
    }

    /// The sign-in as it is, and again after every change until it is decided.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn watch(
        &self,
        challenge_id: &str,
    ) -> Result<tonic::Streaming<WatchChallengeResponse>, DemoError> {
        let request = WatchChallengeRequest {
            challenge_id: challenge_id.to_owned(),
        };
        let mut approvals = self.approvals.clone();
        let response = approvals.watch_challenge(request).await;
        let response = response.map_err(DemoError::call("WatchChallenge"))?;
        Ok(response.into_inner())
    }

    /// Adds a phone number, which is texted a code.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn add_phone(
        &self,
        user_id: &str,
        number: &str,
        language: &str,
    ) -> Result<Authenticator, DemoError> {
        let request = AddPhoneRequest {
            user_id: user_id.to_owned(),
            phone_number: number.to_owned(),
            language: language.to_owned(),
        };
        let mut enrollments = self.enrollments.clone();
        let response = enrollments.add_phone(request).await;
        let response = response.map_err(DemoError::call("AddPhone"))?.into_inner();
        response
            .authenticator
            .ok_or_else(|| DemoError::missing("phone number"))
    }

    /// Proves a phone number by the code that came.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn confirm_phone(
        &self,
        user_id: &str,
        authenticator_id: &str,
        code: &str,
    ) -> Result<Authenticator, DemoError> {
        let request = ConfirmPhoneRequest {
            user_id: user_id.to_owned(),
            authenticator_id: authenticator_id.to_owned(),
            code: code.to_owned(),
        };
        let mut enrollments = self.enrollments.clone();
        let response = enrollments.confirm_phone(request).await;
        let response = response.map_err(DemoError::call("ConfirmPhone"))?;
        let authenticator = response.into_inner().authenticator;
        authenticator.ok_or_else(|| DemoError::missing("phone number"))
    }

    /// Adds an authenticator app; its id, and what its QR code says.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn add_totp(&self, user_id: &str) -> Result<(String, String), DemoError> {
        let request = AddTotpRequest {
            user_id: user_id.to_owned(),
            account_name: String::new(),
        };
        let mut enrollments = self.enrollments.clone();
        let response = enrollments.add_totp(request).await;
        let response = response.map_err(DemoError::call("AddTotp"))?.into_inner();
        let id = response.authenticator.unwrap_or_default().authenticator_id;
        Ok((id, response.otpauth_uri))
    }

    /// Proves an authenticator app by a code that it shows.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn confirm_totp(
        &self,
        user_id: &str,
        authenticator_id: &str,
        code: &str,
    ) -> Result<(), DemoError> {
        let request = ConfirmTotpRequest {
            user_id: user_id.to_owned(),
            authenticator_id: authenticator_id.to_owned(),
            code: code.to_owned(),
        };
        let mut enrollments = self.enrollments.clone();
        let response = enrollments.confirm_totp(request).await;
        response.map_err(DemoError::call("ConfirmTotp"))?;
        Ok(())
    }

    /// Makes recovery codes: their authenticator's id, and the codes.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn create_recovery_codes(
        &self,
        user_id: &str,
    ) -> Result<(String, Vec<String>), DemoError> {
        let request = CreateRecoveryCodesRequest {
            user_id: user_id.to_owned(),
        };
        let mut enrollments = self.enrollments.clone();
        let response = enrollments.create_recovery_codes(request).await;
        let response = response.map_err(DemoError::call("CreateRecoveryCodes"))?;
        let response = response.into_inner();
        let id = response.authenticator.unwrap_or_default().authenticator_id;
        Ok((id, response.codes))
    }

    /// Gives the sign-in up.
    ///
    /// # Errors
    /// [`DemoError::Call`].
    pub async fn cancel(&self, challenge_id: &str) -> Result<(), DemoError> {
        let request = CancelChallengeRequest {
            challenge_id: challenge_id.to_owned(),
        };
        let mut approvals = self.approvals.clone();
        let response = approvals.cancel_challenge(request).await;
        response.map_err(DemoError::call("CancelChallenge"))?;
        Ok(())
    }

    /// Checks the receipt of a decision against the broker's published keys,
    /// and that it is about this challenge.
    ///
    /// # Errors
    /// [`DemoError::Fetch`], [`DemoError::Receipt`], [`DemoError::Unexpected`].
    pub async fn check_receipt(&self, challenge: &Challenge) -> Result<Receipt, DemoError> {
        let jwks = get_text(&format!("{}/.well-known/jwks.json", self.http)).await?;
        let receipt = ReceiptCheck::new(&jwks, &self.api_key_id, system_clock()())?
            .check(&challenge.receipt)?;
        let state = challenge.state().as_str_name();
        let decision = state.trim_start_matches("CHALLENGE_STATE_").to_owned();
        expect(
            "decision in the receipt",
            receipt.claims.decision.clone(),
            decision,
        )?;
        expect(
            "challenge in the receipt",
            &receipt.claims.jti,
            &challenge.challenge_id,
        )?;
        expect(
            "user in the receipt",
            &receipt.claims.sub,
            &challenge.user_id,
        )?;
        expect(
            "device in the receipt",
            &receipt.claims.device_id,
            &challenge.decided_by_device_id,
        )?;
        expect(
            "authenticator in the receipt",
            &receipt.claims.authenticator_id,
            &challenge.decided_by_authenticator_id,
        )?;
        let method = challenge.method().as_str_name();
        let method = method.trim_start_matches("METHOD_").to_owned();
        expect(
            "method in the receipt",
            receipt.claims.method.clone(),
            method,
        )?;
        Ok(receipt)
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}
