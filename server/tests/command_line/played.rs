//! A broker that is played: it answers with fixed data, and remembers what it was
//! asked.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use countersign_proto::v1::{
    admin_service_server::{AdminService, AdminServiceServer},
    enrollment_service_server::{EnrollmentService, EnrollmentServiceServer},
    *,
};
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

pub(super) const ADMIN_KEY: &str = "csk_admin_secret";
pub(super) const IDP_KEY: &str = "csk_idp_secret";

/// Answers with fixed data, and remembers what was asked.
#[derive(Clone, Default)]
pub(super) struct Played {
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Played {
    fn note<T: std::fmt::Debug>(&self, key: &str, request: &Request<T>) -> Result<(), Status> {
        let bearer = request.metadata().get("authorization");
        if bearer.map(|value| value.as_bytes()) != Some(format!("Bearer {key}").as_bytes()) {
            return Err(Status::with_error_details(
                Code::Unauthenticated,
                "the api key is not valid",
                ErrorDetails::with_error_info("API_KEY_INVALID", "countersign", []),
            ));
        }
        let mut asked = self.asked.lock().unwrap();
        asked.push(format!("{:?}", request.get_ref()));
        Ok(())
    }

    pub(super) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let played = self.clone();
        tokio::spawn(
            Server::builder()
                .add_service(AdminServiceServer::new(played.clone()))
                .add_service(EnrollmentServiceServer::new(played))
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
        );
        format!("http://{address}")
    }
}

fn moment(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn tenant(tenant_id: &str, display_name: &str) -> Tenant {
    Tenant {
        tenant_id: tenant_id.to_owned(),
        display_name: display_name.to_owned(),
        policy: None,
        create_time: moment(0),
    }
}

fn api_key(tenant_id: &str, role: Role) -> ApiKey {
    ApiKey {
        api_key_id: "k1".to_owned(),
        tenant_id: tenant_id.to_owned(),
        role: role.into(),
        display_name: "sign-in page".to_owned(),
        create_time: moment(0),
        revoke_time: None,
    }
}

fn signing_key(state: SigningKeyState) -> SigningKey {
    SigningKey {
        key_id: "thumb".to_owned(),
        public_key: vec![0xfb; 32].into(),
        state: state.into(),
        create_time: moment(0),
        activate_time: moment(86_400),
    }
}

/// Rpcs whose commands are tried against a real broker.
macro_rules! not_played {
    ($($name:ident: $request:ty => $response:ty,)*) => {
        $(fn $name<'s, 'f>(
            &'s self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'f>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async { Err(Status::unimplemented("")) })
        })*
    };
}

#[tonic::async_trait]
impl AdminService for Played {
    not_played! {
        get_policy: GetPolicyRequest => GetPolicyResponse,
        update_policy: UpdatePolicyRequest => UpdatePolicyResponse,
        list_policy_versions: ListPolicyVersionsRequest => ListPolicyVersionsResponse,
        list_policy_presets: ListPolicyPresetsRequest => ListPolicyPresetsResponse,
        get_user: GetUserRequest => GetUserResponse,
        lock_user: LockUserRequest => LockUserResponse,
        unlock_user: UnlockUserRequest => UnlockUserResponse,
        reset_user: ResetUserRequest => ResetUserResponse,
        list_devices: ListDevicesRequest => ListDevicesResponse,
        remove_device: RemoveDeviceRequest => RemoveDeviceResponse,
    }

    async fn create_tenant(
        &self,
        request: Request<CreateTenantRequest>,
    ) -> Result<Response<CreateTenantResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        let name = request.into_inner().display_name;
        if name.is_empty() {
            let mut details = ErrorDetails::with_error_info("FIELD_INVALID", "countersign", []);
            details.add_bad_request_violation("display_name", "must be 1 to 128 bytes");
            let message = "the request is not valid";
            return Err(Status::with_error_details(
                Code::InvalidArgument,
                message,
                details,
            ));
        }
        Ok(Response::new(CreateTenantResponse {
            tenant: Some(tenant("t1", &name)),
        }))
    }

    async fn get_tenant(
        &self,
        request: Request<GetTenantRequest>,
    ) -> Result<Response<GetTenantResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(GetTenantResponse {
            tenant: Some(tenant(&request.into_inner().tenant_id, "Eagle")),
        }))
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        let (id, next) = match request.into_inner().page_token.as_str() {
            "" => ("t1", "more"),
            _ => ("t2", ""),
        };
        Ok(Response::new(ListTenantsResponse {
            tenants: vec![tenant(id, "Eagle\u{7}")],
            next_page_token: next.to_owned(),
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<CreateApiKeyRequest>,
    ) -> Result<Response<CreateApiKeyResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        let request = request.into_inner();
        Ok(Response::new(CreateApiKeyResponse {
            api_key: "csk_k1_s".to_owned(),
            key: Some(api_key(&request.tenant_id, request.role())),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(ListApiKeysResponse {
            keys: vec![api_key("", Role::Admin)],
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<RevokeApiKeyRequest>,
    ) -> Result<Response<RevokeApiKeyResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(RevokeApiKeyResponse {
            key: Some(ApiKey {
                revoke_time: moment(1),
                ..api_key("t1", Role::Idp)
            }),
        }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(RotateSigningKeyResponse {
            key: Some(signing_key(SigningKeyState::Next)),
        }))
    }

    async fn list_signing_keys(
        &self,
        request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        self.note(ADMIN_KEY, &request)?;
        Ok(Response::new(ListSigningKeysResponse {
            keys: vec![signing_key(SigningKeyState::Current)],
        }))
    }
}

#[tonic::async_trait]
impl EnrollmentService for Played {
    async fn create_enrollment(
        &self,
        request: Request<CreateEnrollmentRequest>,
    ) -> Result<Response<CreateEnrollmentResponse>, Status> {
        self.note(IDP_KEY, &request)?;
        Ok(Response::new(CreateEnrollmentResponse {
            enrollment_id: request.into_inner().user_id,
            enrollment_uri: "countersign://enroll?t=1".to_owned(),
            manual_code: "AAAA-BBBB-CCCC-DDDD".to_owned(),
            qr_svg: String::new(),
            expire_time: moment(600),
        }))
    }

    /// First open, then the end that the user's name asks for.
    async fn wait_enrollment(
        &self,
        request: Request<WaitEnrollmentRequest>,
    ) -> Result<Response<WaitEnrollmentResponse>, Status> {
        self.note(IDP_KEY, &request)?;
        let name = request.into_inner().enrollment_id;
        let waits = self.asked.lock().unwrap().len() - 1;
        if waits == 2 {
            return Err(Status::unavailable("restarting"));
        }
        let state = match (waits, name.as_str()) {
            (1, _) => EnrollmentState::Open,
            (_, "late") => EnrollmentState::Expired,
            _ => EnrollmentState::Redeemed,
        };
        Ok(Response::new(WaitEnrollmentResponse {
            state: state.into(),
            authenticator: (state == EnrollmentState::Redeemed).then(|| Authenticator {
                authenticator_id: "d1".to_owned(),
                create_time: moment(0),
                last_used_time: None,
                kind: Some(authenticator::Kind::Device(Device {
                    display_name: "Tom's iPhone".to_owned(),
                    platform: Platform::Ios.into(),
                    ..Device::default()
                })),
            }),
        }))
    }

    not_played! {
        list_authenticators: ListAuthenticatorsRequest => ListAuthenticatorsResponse,
        remove_authenticator: RemoveAuthenticatorRequest => RemoveAuthenticatorResponse,
    }
}
