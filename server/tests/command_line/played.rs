//! A broker that is played: it answers with fixed data, and remembers what it was
//! asked. It knows only the rpcs that are tried with it.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Body, extract::State};
use bytes::{BufMut as _, Bytes, BytesMut};
use countersign_proto::v1::*;
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Code, Status, service::Routes, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

pub(super) const ADMIN_KEY: &str = "csk_admin_secret";
pub(super) const IDP_KEY: &str = "csk_idp_secret";

/// Answers with fixed data, and remembers what was asked.
#[derive(Clone, Default)]
pub(super) struct Played {
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

/// A call: what it says and the key it came with.
struct Call<'c> {
    played: &'c Played,
    bearer: Option<&'c [u8]>,
    message: Bytes,
}

impl Call<'_> {
    /// The request, noted, if it came with this key.
    fn read<T: Message + Default + std::fmt::Debug>(self, key: &str) -> Result<T, Status> {
        if self.bearer != Some(format!("Bearer {key}").as_bytes()) {
            return Err(Status::with_error_details(
                Code::Unauthenticated,
                "the api key is not valid",
                ErrorDetails::with_error_info("API_KEY_INVALID", "countersign", []),
            ));
        }
        let request = T::decode(self.message).unwrap();
        let mut asked = self.played.asked.lock().unwrap();
        asked.push(format!("{request:?}"));
        Ok(request)
    }
}

impl Played {
    pub(super) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(self.clone());
        tokio::spawn(
            Server::builder()
                .add_routes(Routes::from(router))
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
        );
        format!("http://{address}")
    }

    fn answer(&self, path: &str, call: Call<'_>) -> Result<Vec<u8>, Status> {
        let answer = match path.rsplit('/').next().unwrap() {
            "CreateTenant" => create_tenant(call.read(ADMIN_KEY)?)?.encode_to_vec(),
            "ListTenants" => list_tenants(&call.read(ADMIN_KEY)?).encode_to_vec(),
            "CreateApiKey" => {
                let request: CreateApiKeyRequest = call.read(ADMIN_KEY)?;
                let api_key = Some(api_key(&request.tenant_id, request.role()));
                CreateApiKeyResponse {
                    api_key: "csk_k1_s".to_owned(),
                    key: api_key,
                }
                .encode_to_vec()
            }
            "ListApiKeys" => {
                call.read::<ListApiKeysRequest>(ADMIN_KEY)?;
                let keys = vec![api_key("", Role::Admin)];
                ListApiKeysResponse { keys }.encode_to_vec()
            }
            "RevokeApiKey" => {
                call.read::<RevokeApiKeyRequest>(ADMIN_KEY)?;
                let key = Some(ApiKey {
                    revoke_time: moment(1),
                    ..api_key("t1", Role::Idp)
                });
                RevokeApiKeyResponse { key }.encode_to_vec()
            }
            "RotateSigningKey" => {
                call.read::<RotateSigningKeyRequest>(ADMIN_KEY)?;
                let key = Some(signing_key());
                RotateSigningKeyResponse { key }.encode_to_vec()
            }
            "ListAuditEntries" => {
                let request: ListAuditEntriesRequest = call.read(ADMIN_KEY)?;
                let first = request.page_token.is_empty();
                ListAuditEntriesResponse {
                    entries: vec![audit_entry(if first { 1 } else { 2 })],
                    next_page_token: if first { "1.1" } else { "" }.to_owned(),
                    resume_token: "1.2".to_owned(),
                }
                .encode_to_vec()
            }
            "WatchAudit" => {
                call.read::<WatchAuditRequest>(ADMIN_KEY)?;
                WatchAuditResponse {
                    entries: vec![audit_entry(3)],
                    resume_token: "1.3".to_owned(),
                }
                .encode_to_vec()
            }
            // Ends without a seal.
            "ExportAudit" => {
                call.read::<ExportAuditRequest>(ADMIN_KEY)?;
                ExportAuditResponse::default().encode_to_vec()
            }
            "CreateEnrollment" => create_enrollment(call.read(IDP_KEY)?).encode_to_vec(),
            "WaitEnrollment" => {
                let request = call.read(IDP_KEY)?;
                let waits = self.asked.lock().unwrap().len() - 1;
                wait_enrollment(request, waits)?.encode_to_vec()
            }
            other => panic!("{other} is not played"),
        };
        Ok(answer)
    }
}

/// One unary call of gRPC over HTTP/2.
async fn handle(
    State(played): State<Played>,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let (head, body) = request.into_parts();
    let mut message = body.collect().await.unwrap().to_bytes();
    // The frame's flag and length.
    let message = message.split_off(5);
    let bearer = head.headers.get("authorization");
    let call = Call {
        played: &played,
        bearer: bearer.map(|value| value.as_bytes()),
        message,
    };
    match played.answer(head.uri.path(), call) {
        Err(status) => status.into_http(),
        Ok(answer) => {
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(answer.len().try_into().unwrap());
            frame.extend_from_slice(&answer);
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            let body = Full::new(frame.freeze()).with_trailers(async { Some(Ok(trailers)) });
            http::Response::builder()
                .header("content-type", "application/grpc")
                .body(Body::new(body))
                .unwrap()
        }
    }
}

fn moment(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn audit_entry(sequence: u64) -> AuditEntry {
    AuditEntry {
        writer: 1,
        sequence,
        time: moment(i64::try_from(sequence).unwrap()),
        actor: "broker".to_owned(),
        action: "challenge.decided".to_owned(),
        object: format!("object {sequence}"),
        user_id: "tom\u{1b}[31m".to_owned(),
        ..AuditEntry::default()
    }
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

fn signing_key() -> SigningKey {
    SigningKey {
        key_id: "thumb".to_owned(),
        public_key: vec![0xfb; 32].into(),
        state: SigningKeyState::Next.into(),
        create_time: moment(0),
        activate_time: moment(86_400),
    }
}

fn create_tenant(request: CreateTenantRequest) -> Result<CreateTenantResponse, Status> {
    if request.display_name.is_empty() {
        let mut details = ErrorDetails::with_error_info("FIELD_INVALID", "countersign", []);
        details.add_bad_request_violation("display_name", "must be 1 to 128 bytes");
        let message = "the request is not valid";
        return Err(Status::with_error_details(
            Code::InvalidArgument,
            message,
            details,
        ));
    }
    Ok(CreateTenantResponse {
        tenant: Some(tenant("t1", &request.display_name)),
    })
}

/// Two pages.
fn list_tenants(request: &ListTenantsRequest) -> ListTenantsResponse {
    let (id, next) = match request.page_token.as_str() {
        "" => ("t1", "more"),
        _ => ("t2", ""),
    };
    ListTenantsResponse {
        tenants: vec![tenant(id, "Eagle\u{7}")],
        next_page_token: next.to_owned(),
    }
}

fn create_enrollment(request: CreateEnrollmentRequest) -> CreateEnrollmentResponse {
    CreateEnrollmentResponse {
        enrollment_id: request.user_id,
        enrollment_uri: "countersign://enroll?t=1".to_owned(),
        manual_code: "AAAA-BBBB-CCCC-DDDD".to_owned(),
        qr_svg: String::new(),
        expire_time: moment(600),
    }
}

/// First open, then away, then the end that the user's name asks for.
fn wait_enrollment(
    request: WaitEnrollmentRequest,
    waits: usize,
) -> Result<WaitEnrollmentResponse, Status> {
    if waits == 2 {
        return Err(Status::unavailable("restarting"));
    }
    let state = match (waits, request.enrollment_id.as_str()) {
        (1, _) => EnrollmentState::Open,
        (_, "late") => EnrollmentState::Expired,
        _ => EnrollmentState::Redeemed,
    };
    Ok(WaitEnrollmentResponse {
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
    })
}
