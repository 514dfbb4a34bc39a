//! What each rpc asks of its caller, and a request for each that is fit to be
//! carried out.

use countersign_proto::v1;
use device_sim::phone::enroll_request;
use prost::Message as _;

use crate::{
    sign_in,
    two_tenants::{TwoTenants, push, unknown_id},
    wire::{Headers, bearer, header},
};

/// What an rpc asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// An API key of role idp.
    Idp,
    /// An API key of role admin, of the tenant in question or the installation.
    Admin,
    /// An API key of role admin of the installation.
    Installation,
    /// A device's proof.
    Device,
    /// The message proves itself.
    Itself,
}

const NO_WAIT: Option<prost_types::Duration> = Some(prost_types::Duration {
    seconds: 0,
    nanos: 0,
});

/// What `path` asks of its caller, and a request that Tom's organisation may
/// make. `None` for an rpc that this table does not know.
pub fn known(world: &TwoTenants, path: &str) -> Option<(Caller, Vec<u8>)> {
    let own = &world.own;
    let (service, method) = path.trim_start_matches('/').split_once('/')?;
    let challenge_id = own.challenge.challenge_id.clone();
    let tenant_id = own.tenant.id.clone();
    let user_id = "tom".to_owned();
    Some(match (service.strip_prefix("countersign.v1.")?, method) {
        ("ApprovalService", "GetSignInOptions") => {
            let browser_token = "csb_".to_owned();
            let request = v1::GetSignInOptionsRequest {
                user_id,
                browser_token,
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "ForgetBrowsers") => {
            let request = v1::ForgetBrowsersRequest { user_id };
            (Caller::Idp, request.encode_to_vec())
        }
        // Pia has registered nothing.
        ("EnrollmentService", "SnoozeEnrollment") => {
            let user_id = "pia".to_owned();
            let request = v1::SnoozeEnrollmentRequest { user_id };
            (Caller::Idp, request.encode_to_vec())
        }
        ("AdminService", "SetUserEnrollment") => {
            let request = v1::SetUserEnrollmentRequest {
                tenant_id,
                user_id,
                listed: true,
            };
            (Caller::Admin, request.encode_to_vec())
        }
        ("ApprovalService", "CreateChallenge") => {
            let mut request = sign_in("tom");
            request.request_id.clear();
            (Caller::Idp, request.encode_to_vec())
        }
        ("ApprovalService", "GetChallenge") => {
            let request = v1::GetChallengeRequest { challenge_id };
            (Caller::Idp, request.encode_to_vec())
        }
        ("ApprovalService", "WaitChallenge") => {
            let request = v1::WaitChallengeRequest {
                challenge_id,
                timeout: NO_WAIT,
                ..v1::WaitChallengeRequest::default()
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("ApprovalService", "WatchChallenge") => {
            let request = v1::WatchChallengeRequest { challenge_id };
            (Caller::Idp, request.encode_to_vec())
        }
        ("ApprovalService", "WatchEvents") => {
            let request = v1::WatchEventsRequest::default();
            (Caller::Idp, request.encode_to_vec())
        }
        ("ApprovalService", "CancelChallenge") => {
            let request = v1::CancelChallengeRequest { challenge_id };
            (Caller::Idp, request.encode_to_vec())
        }
        ("ApprovalService", "SendCode") => {
            let request = v1::SendCodeRequest {
                challenge_id: own.typed.challenge_id.clone(),
                method: v1::Method::RecoveryCode.into(),
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("ApprovalService", "VerifyCode") => {
            let request = v1::VerifyCodeRequest {
                challenge_id: own.typed.challenge_id.clone(),
                code: own.sheet[0].clone(),
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "AddPhone") => {
            let request = v1::AddPhoneRequest {
                user_id: "lea".into(),
                phone_number: "+32470990042".into(),
                language: "nl-BE".into(),
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "ConfirmPhone") => {
            let request = v1::ConfirmPhoneRequest {
                user_id: "kim".into(),
                authenticator_id: own.number.0.clone(),
                code: own.number.1.clone(),
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "AddTotp") => {
            let request = v1::AddTotpRequest {
                user_id: "lea".into(),
                account_name: "bob@example.be".into(),
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "ConfirmTotp") => {
            let request = v1::ConfirmTotpRequest {
                user_id: "kim".into(),
                authenticator_id: own.app.id.clone(),
                code: own.app.code(world.broker.now_ms()),
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "CreateRecoveryCodes") => {
            let user_id = "lea".to_owned();
            let request = v1::CreateRecoveryCodesRequest { user_id };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "CreateEnrollment") => {
            let user_id = "bob".to_owned();
            let request = v1::CreateEnrollmentRequest { user_id, ttl: None };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "WaitEnrollment") => {
            let request = v1::WaitEnrollmentRequest {
                enrollment_id: own.ticket.enrollment_id.clone(),
                timeout: NO_WAIT,
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "ListAuthenticators") => {
            let request = v1::ListAuthenticatorsRequest { user_id };
            (Caller::Idp, request.encode_to_vec())
        }
        ("EnrollmentService", "RemoveAuthenticator") => {
            let request = v1::RemoveAuthenticatorRequest {
                user_id,
                authenticator_id: own.second.device_id().into(),
            };
            (Caller::Idp, request.encode_to_vec())
        }
        ("DeviceService", "Enroll") => {
            let (body, key) = own.registration(&world.broker);
            let request = enroll_request(&body, &key).unwrap();
            (Caller::Itself, request.encode_to_vec())
        }
        ("DeviceService", "Respond") => {
            let response = Some(own.phone.sign_response(&own.approval()).unwrap());
            let request = v1::RespondRequest { response };
            (Caller::Itself, request.encode_to_vec())
        }
        ("DeviceService", "Subscribe" | "ListPendingChallenges" | "Unenroll") => {
            (Caller::Device, Vec::new())
        }
        ("DeviceService", "AcknowledgeChallenge") => {
            let request = v1::AcknowledgeChallengeRequest { challenge_id };
            (Caller::Device, request.encode_to_vec())
        }
        ("DeviceService", "UpdatePushToken") => {
            let request = v1::UpdatePushTokenRequest { push: Some(push()) };
            (Caller::Device, request.encode_to_vec())
        }
        ("AdminService", "CreateTenant") => {
            let request = v1::CreateTenantRequest {
                display_name: "Another".into(),
                ..v1::CreateTenantRequest::default()
            };
            (Caller::Installation, request.encode_to_vec())
        }
        ("AdminService", "GetTenant") => {
            let request = v1::GetTenantRequest { tenant_id };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "ListTenants") => (Caller::Admin, Vec::new()),
        ("AdminService", "GetPolicy") => {
            let request = v1::GetPolicyRequest { tenant_id };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "UpdatePolicy") => {
            let request = v1::UpdatePolicyRequest {
                tenant_id,
                policy: Some(v1::TenantPolicy {
                    browser_days: Some(7),
                    ..v1::TenantPolicy::default()
                }),
                ..v1::UpdatePolicyRequest::default()
            };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "ListPolicyVersions") => {
            let request = v1::ListPolicyVersionsRequest {
                tenant_id,
                ..v1::ListPolicyVersionsRequest::default()
            };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "ListPolicyPresets") => (Caller::Admin, Vec::new()),
        // These have the same fields. Of Eve nothing is known, and nothing needed.
        ("AdminService", "GetUser" | "UnlockUser") => {
            let request = v1::GetUserRequest { tenant_id, user_id };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "LockUser" | "ResetUser") => {
            let user_id = "eve".to_owned();
            let request = v1::LockUserRequest { tenant_id, user_id };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "ListDevices") => {
            let request = v1::ListDevicesRequest { tenant_id, user_id };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "RemoveDevice") => {
            let request = v1::RemoveDeviceRequest {
                tenant_id,
                device_id: own.neighbour.device_id().into(),
            };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "ImportDevices") => {
            let devices = vec![imported(&own.imported)];
            let request = v1::ImportDevicesRequest { tenant_id, devices };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "CreateApiKey") => {
            let request = v1::CreateApiKeyRequest {
                tenant_id,
                role: v1::Role::Idp.into(),
                display_name: "another".into(),
            };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "ListApiKeys") => {
            let request = v1::ListApiKeysRequest { tenant_id };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "RevokeApiKey") => {
            let request = v1::RevokeApiKeyRequest {
                api_key_id: own.tenant.api_key_id.clone(),
            };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "ListAuditEntries" | "WatchAudit" | "ExportAudit") => {
            // All three have it in the same field.
            let request = v1::ExportAuditRequest { tenant_id };
            (Caller::Admin, request.encode_to_vec())
        }
        ("AdminService", "RotateSigningKey" | "ListSigningKeys") => {
            (Caller::Installation, Vec::new())
        }
        _ => return None,
    })
}

/// A phone of Lea's that has its key from elsewhere.
pub fn imported(public_key: &[u8; 32]) -> v1::ImportedDevice {
    v1::ImportedDevice {
        user_id: "lea".into(),
        key_algorithm: v1::KeyAlgorithm::Ed25519.into(),
        public_key: public_key.to_vec().into(),
        key_protection: v1::KeyProtection::Hardware.into(),
        platform: v1::Platform::Ios.into(),
        display_name: "Lea's phone".into(),
        language: "nl-BE".into(),
        app_version: "1.0".into(),
        push: Some(push()),
        encryption_key: vec![7; 32].into(),
    }
}

/// Metadata with which the call is allowed. A device's proof is made anew for
/// each call.
pub fn allowed(world: &TwoTenants, caller: Caller, path: &str, message: &[u8]) -> Headers {
    match caller {
        Caller::Idp => bearer(&world.own.tenant.api_key),
        Caller::Admin => bearer(&world.own.admin.0),
        Caller::Installation => bearer(&world.broker.admin_key),
        Caller::Itself => Vec::new(),
        Caller::Device => {
            let proof = world.own.phone.prove(path, message).unwrap();
            vec![proof_header(&proof)]
        }
    }
}

/// A device's proof as metadata.
pub fn proof_header(
    proof: &tonic::metadata::BinaryMetadataValue,
) -> (&'static str, http::HeaderValue) {
    header("countersign-device-proof-bin", proof.as_encoded_bytes())
}

/// Requests that name something which the caller must not know to exist. The
/// first of each list names something that does not.
pub fn foreign(world: &TwoTenants, path: &str) -> Vec<Vec<u8>> {
    let (own, other) = (&world.own, &world.foreign);
    let method = path.rsplit('/').next().unwrap();
    let challenges = [unknown_id(), other.challenge.challenge_id.clone()];
    let tenants = [unknown_id(), other.tenant.id.clone()];
    match method {
        "CreateChallenge" => [
            unknown_id().as_str(),
            other.phone.device_id(),
            own.neighbour.device_id(),
            own.removed.device_id(),
        ]
        .into_iter()
        .map(|device_id| {
            let mut request = sign_in("tom");
            request.device_id = device_id.to_owned();
            request.encode_to_vec()
        })
        .collect(),
        // These five messages have the id in the same field.
        "GetChallenge" | "WaitChallenge" | "WatchChallenge" | "CancelChallenge" => challenges
            .into_iter()
            .map(|challenge_id| v1::GetChallengeRequest { challenge_id }.encode_to_vec())
            .collect(),
        "AcknowledgeChallenge" => challenges
            .into_iter()
            .chain([own.neighbours_challenge.challenge_id.clone()])
            .map(|challenge_id| v1::AcknowledgeChallengeRequest { challenge_id }.encode_to_vec())
            .collect(),
        "WaitEnrollment" => [unknown_id(), other.ticket.enrollment_id.clone()]
            .into_iter()
            .map(|enrollment_id| {
                let request = v1::WaitEnrollmentRequest {
                    enrollment_id,
                    timeout: None,
                };
                request.encode_to_vec()
            })
            .collect(),
        "RemoveAuthenticator" => [
            unknown_id().as_str(),
            other.phone.device_id(),
            own.neighbour.device_id(),
            own.removed.device_id(),
            own.number.0.as_str(),
            own.app.id.as_str(),
            other.number.0.as_str(),
            other.app.id.as_str(),
        ]
        .into_iter()
        .map(|authenticator_id| {
            let request = v1::RemoveAuthenticatorRequest {
                user_id: "tom".into(),
                authenticator_id: authenticator_id.into(),
            };
            request.encode_to_vec()
        })
        .collect(),
        "ConfirmPhone" => [
            unknown_id().as_str(),
            own.phone.device_id(),
            own.app.id.as_str(),
            other.number.0.as_str(),
        ]
        .into_iter()
        .map(|authenticator_id| {
            let request = v1::ConfirmPhoneRequest {
                user_id: "kim".into(),
                authenticator_id: authenticator_id.into(),
                code: other.number.1.clone(),
            };
            request.encode_to_vec()
        })
        .collect(),
        "ConfirmTotp" => [
            unknown_id().as_str(),
            own.phone.device_id(),
            own.number.0.as_str(),
            other.app.id.as_str(),
        ]
        .into_iter()
        .map(|authenticator_id| {
            let request = v1::ConfirmTotpRequest {
                user_id: "kim".into(),
                authenticator_id: authenticator_id.into(),
                code: other.app.code(world.broker.now_ms()),
            };
            request.encode_to_vec()
        })
        .collect(),
        "SendCode" => [unknown_id(), other.typed.challenge_id.clone()]
            .into_iter()
            .map(|challenge_id| {
                let method = v1::Method::RecoveryCode.into();
                v1::SendCodeRequest {
                    challenge_id,
                    method,
                }
                .encode_to_vec()
            })
            .collect(),
        "VerifyCode" => [unknown_id(), other.typed.challenge_id.clone()]
            .into_iter()
            .map(|challenge_id| {
                let code = other.sheet[0].clone();
                v1::VerifyCodeRequest { challenge_id, code }.encode_to_vec()
            })
            .collect(),
        "Respond" => challenges
            .into_iter()
            .chain([own.neighbours_challenge.challenge_id.clone()])
            .map(|challenge_id| {
                let body = v1::ResponseBody {
                    challenge_id,
                    ..own.approval()
                };
                let response = Some(own.phone.sign_response(&body).unwrap());
                v1::RespondRequest { response }.encode_to_vec()
            })
            .collect(),
        // These have it in the same field.
        "GetTenant" | "ListApiKeys" | "GetPolicy" | "UpdatePolicy" | "ListPolicyVersions"
        | "ListAuditEntries" | "WatchAudit" | "ExportAudit" => tenants
            .into_iter()
            .map(|tenant_id| v1::GetTenantRequest { tenant_id }.encode_to_vec())
            .collect(),
        "SetUserEnrollment" => tenants
            .into_iter()
            .map(|tenant_id| {
                let request = v1::SetUserEnrollmentRequest {
                    tenant_id,
                    user_id: "tom".into(),
                    listed: true,
                };
                request.encode_to_vec()
            })
            .collect(),
        "ListDevices" | "GetUser" | "LockUser" | "UnlockUser" | "ResetUser" => tenants
            .into_iter()
            .map(|tenant_id| {
                let user_id = "tom".into();
                v1::ListDevicesRequest { tenant_id, user_id }.encode_to_vec()
            })
            .collect(),
        "ImportDevices" => tenants
            .into_iter()
            .map(|tenant_id| {
                let devices = vec![imported(&own.imported)];
                v1::ImportDevicesRequest { tenant_id, devices }.encode_to_vec()
            })
            .collect(),
        "RemoveDevice" => {
            let mine = own.tenant.id.as_str();
            [
                (mine, unknown_id().as_str()),
                (mine, other.phone.device_id()),
                (mine, own.removed.device_id()),
            ]
            .into_iter()
            .map(|(tenant_id, device_id)| {
                let (tenant_id, device_id) = (tenant_id.into(), device_id.into());
                v1::RemoveDeviceRequest {
                    tenant_id,
                    device_id,
                }
                .encode_to_vec()
            })
            .collect()
        }
        "CreateApiKey" => tenants
            .into_iter()
            .map(|tenant_id| {
                let request = v1::CreateApiKeyRequest {
                    tenant_id,
                    role: v1::Role::Idp.into(),
                    display_name: String::new(),
                };
                request.encode_to_vec()
            })
            .collect(),
        "RevokeApiKey" => [
            "0123456789abcdef",
            &other.tenant.api_key_id,
            &other.admin.1,
            key_id(&world.broker.admin_key),
        ]
        .into_iter()
        .map(|api_key_id| {
            let api_key_id = api_key_id.to_owned();
            v1::RevokeApiKeyRequest { api_key_id }.encode_to_vec()
        })
        .collect(),
        // They name nothing, or what they name is their own proof.
        "GetSignInOptions"
        | "ForgetBrowsers"
        | "SnoozeEnrollment"
        | "CreateEnrollment"
        | "ListAuthenticators"
        | "AddPhone"
        | "AddTotp"
        | "CreateRecoveryCodes"
        | "Enroll"
        | "WatchEvents"
        | "Subscribe"
        | "ListPendingChallenges"
        | "UpdatePushToken"
        | "Unenroll"
        | "CreateTenant"
        | "ListTenants"
        | "ListPolicyPresets"
        | "RotateSigningKey"
        | "ListSigningKeys" => Vec::new(),
        other => panic!("{other} is not in the table of foreign objects"),
    }
}

/// The part of an API key that may be shown.
pub fn key_id(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}
