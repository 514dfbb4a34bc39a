//! Who is calling, decided by the path before anything else happens: a new rpc
//! of a known service can't be forgotten, and an unknown service is refused.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use countersign_proto::signing::{DEVICE_PROOF_METADATA, sha256};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::{
    sync::Semaphore,
    time::{Sleep, sleep},
};
use tonic::{
    Code, Status,
    body::Body,
    metadata::{BinaryMetadataValue, MetadataMap, MetadataValue},
};
use tonic_types::StatusExt as _;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Limits,
    admission::{Holder, Ticket},
    kept::keep_until,
    status::{build, info, status, unauthenticated},
};
use crate::{
    broker::{Broker, IdpCaller, administer::AdminCaller, error::BrokerError},
    domain::{
        api_key::{ApiKey, Role},
        audit::{Actor, By},
    },
    tls::ConnectionInfo,
};

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// The caller's network address, for the audit trail.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerAddress(pub(super) String);

/// What a path demands of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// An API key of role `idp`.
    Idp,
    /// An API key of role `admin`.
    Admin,
    /// A device's proof.
    Device,
    /// The message proves itself.
    Self_,
    /// Nothing: health and reflection.
    Open,
}

fn demand(path: &str) -> Option<Demand> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    match service {
        "countersign.v1.ApprovalService" | "countersign.v1.EnrollmentService" => Some(Demand::Idp),
        "countersign.v1.AdminService" => Some(Demand::Admin),
        "countersign.v1.DeviceService" => match method {
            "Enroll" | "Respond" => Some(Demand::Self_),
            _ => Some(Demand::Device),
        },
        "grpc.health.v1.Health"
        | "grpc.reflection.v1.ServerReflection"
        | "grpc.reflection.v1alpha.ServerReflection" => Some(Demand::Open),
        _ => None,
    }
}

/// Whether an API key is checked of calls to this path.
pub(super) fn takes_key(path: &str) -> bool {
    matches!(demand(path), Some(Demand::Idp | Demand::Admin))
}

/// Calls that wait for somebody have their own limits.
fn waits(path: &str) -> bool {
    matches!(
        path,
        "/countersign.v1.ApprovalService/WaitChallenge"
            | "/countersign.v1.EnrollmentService/WaitEnrollment"
    )
}

/// Puts authentication in front of a service.
#[derive(Clone)]
pub(crate) struct Authenticate {
    broker: Arc<Broker>,
    limits: Limits,
    strangers: Arc<Semaphore>,
}

/// Calls of nobody in particular (health, reflection) at a time. Their streams
/// live as long as the caller likes.
const MAX_STRANGERS: usize = 512;

impl Authenticate {
    pub(super) fn new(broker: Arc<Broker>, limits: Limits) -> Self {
        let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
        Self {
            broker,
            limits,
            strangers,
        }
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticated {
            inner,
            gate: self.clone(),
        }
    }
}

/// A service behind authentication.
#[derive(Clone)]
pub(crate) struct Authenticated<S> {
    inner: S,
    gate: Authenticate,
}

impl<S> Service<Request> for Authenticated<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let path = request.uri().path();
        let own = (!waits(path)).then_some(self.gate.limits.request_timeout);
        let limit = own.into_iter().chain(deadline(request.headers())).min();
        let mut place = None;
        if demand(path) == Some(Demand::Open) {
            match self.gate.strangers.clone().try_acquire_owned() {
                Ok(free) => place = Some((free, self.gate.broker.stopping())),
                Err(_) => {
                    let refusal = status(BrokerError::Overloaded).into_http();
                    return Box::pin(std::future::ready(Ok(refusal)));
                }
            }
        }
        // On its own: what is needed to let a call in is given back before the
        // call begins, which may wait for minutes.
        let admitted = Box::pin(self.gate.clone().admit(request));
        Box::pin(async move {
            let mut call = pin!(async move {
                match admitted.await {
                    Ok(request) => inner.call(request).await,
                    Err(status) => Ok(status.into_http()),
                }
            });
            let mut end = limit.map(End::Not);
            let response = poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Pending => match &mut end {
                    Some(end) => end.poll(cx).map(|()| Ok(too_long().into_http())),
                    None => Poll::Pending,
                },
                response => response,
            })
            .await?;
            Ok(match place {
                None => response,
                Some((place, stopping)) => keep_until(response, place, stopping),
            })
        })
    }
}

/// The end of a call that takes too long.
enum End {
    /// Not to be waited for yet; then after this time.
    Not(Duration),
    /// Being waited for.
    Near(Pin<Box<Sleep>>),
}

impl End {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Not(after) = self {
            *self = Self::Near(Box::pin(sleep(*after)));
        }
        match self {
            Self::Not(_) => Poll::Pending,
            Self::Near(end) => end.as_mut().poll(cx),
        }
    }
}

/// The caller's own deadline (gRPC over HTTP/2, `grpc-timeout`), a moment
/// early: the library's own timer ends the call without saying why.
pub(super) fn deadline(headers: &http::HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(amount.saturating_mul(3600)),
        "M" => Duration::from_secs(amount.saturating_mul(60)),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    };
    Some(timeout.saturating_sub(Duration::from_millis(2)))
}

pub(super) fn too_long() -> Status {
    let message = "the call took too long".to_owned();
    build(Code::DeadlineExceeded, message, info("TIMED_OUT", []))
}

impl Authenticate {
    async fn admit(self, mut request: Request) -> Result<Request, Status> {
        let address = |request: &Request| {
            let info = request.extensions().get::<ConnectionInfo>();
            info.map(|info| info.peer_address.ip().to_string())
                .unwrap_or_default()
        };
        match demand(request.uri().path()) {
            None => {
                let message = "there is no such method".to_owned();
                return Err(build(
                    Code::Unimplemented,
                    message,
                    info("UNKNOWN_METHOD", []),
                ));
            }
            Some(Demand::Open) => return Ok(request),
            Some(Demand::Self_) => {
                let address = PeerAddress(address(&request));
                request.extensions_mut().insert(address);
            }
            Some(Demand::Idp) => {
                let key = self
                    .key(request.headers(), request.extensions(), Role::Idp)
                    .await?;
                let tenant = key.tenant.ok_or_else(unauthenticated)?;
                prove(&request, Holder::Idp(tenant))?;
                let by = By {
                    actor: Actor::ApiKey(key.id.clone()),
                    address: address(&request),
                };
                request.extensions_mut().insert(IdpCaller {
                    tenant,
                    api_key: key.id,
                    by,
                });
            }
            Some(Demand::Admin) => {
                let key = self
                    .key(request.headers(), request.extensions(), Role::Admin)
                    .await?;
                prove(&request, Holder::Admin(key.tenant))?;
                let by = By {
                    actor: Actor::ApiKey(key.id),
                    address: address(&request),
                };
                request.extensions_mut().insert(AdminCaller {
                    scope: key.tenant,
                    by,
                });
            }
            Some(Demand::Device) => {
                let address = PeerAddress(address(&request));
                request.extensions_mut().insert(address);
                return self.admit_device(request).await;
            }
        }
        let (request, _) = whole(request, &self.limits).await?;
        Ok(request)
    }

    async fn key(
        &self,
        headers: &http::HeaderMap,
        extensions: &http::Extensions,
        role: Role,
    ) -> Result<ApiKey, Status> {
        let key = self.good_key(headers).await;
        if let (Err(refused), Some(ticket)) = (&key, extensions.get::<Ticket>())
            && refused.code() == Code::Unauthenticated
        {
            ticket.disprove();
        }
        let key = key?;
        if key.role != role {
            return Err(status(BrokerError::NotAllowed));
        }
        Ok(key)
    }

    async fn good_key(&self, headers: &http::HeaderMap) -> Result<ApiKey, Status> {
        let mut headers = headers.get_all(http::header::AUTHORIZATION).iter();
        let authorization = headers
            .next()
            .filter(|_| headers.next().is_none())
            .and_then(|value| value.to_str().ok())
            .ok_or_else(unauthenticated)?;
        self.broker
            .authenticate_key(authorization)
            .await
            .map_err(status)
    }

    async fn admit_device(&self, mut request: Request) -> Result<Request, Status> {
        let metadata = MetadataMap::from_headers(std::mem::take(request.headers_mut()));
        let mut proofs = metadata.get_all_bin(DEVICE_PROOF_METADATA).iter();
        let proof = proofs
            .next()
            .filter(|_| proofs.next().is_none())
            .and_then(|value: &BinaryMetadataValue| value.to_bytes().ok())
            .ok_or_else(unauthenticated)?;
        *request.headers_mut() = metadata.into_headers();
        let (mut request, bytes) = whole(request, &self.limits).await?;
        // The proof covers the message's bytes as sent.
        let digest = sha256(single_message(&bytes)?);
        let device = self
            .broker
            .authenticate_device(&proof, request.uri().path(), &digest)
            .await
            .map_err(status)?;
        prove(&request, Holder::Device(device.tenant, device.id))?;
        request.extensions_mut().insert(device);
        Ok(request)
    }
}

/// Its credentials are good; refused where there is no place left for it.
fn prove(request: &Request, holder: Holder) -> Result<(), Status> {
    match request.extensions().get::<Ticket>() {
        Some(ticket) => ticket.prove(holder),
        None => Ok(()),
    }
}

/// Reads the body, one frame, and hands it on unchanged: no call of ours has
/// more than one message (the library would pass over the others), and no
/// caller may take longer to send it than a call may take.
pub(super) async fn whole(request: Request, limits: &Limits) -> Result<(Request, Bytes), Status> {
    let (parts, body) = request.into_parts();
    let plain = |encoding: &http::HeaderValue| encoding.as_bytes() == b"identity";
    if !parts.headers.get_all("grpc-encoding").iter().all(plain) {
        return Err(unsupported_encoding());
    }
    let limit = limits.max_message_bytes.saturating_add(FRAME_HEADER);
    let read = Limited::new(body, limit).collect();
    let read = tokio::time::timeout(limits.request_timeout, read);
    let read = match parts.extensions.get::<Ticket>() {
        None => read.await,
        Some(ticket) => {
            let read = ticket.read(read).await;
            read.ok_or_else(|| status(BrokerError::Overloaded))?
        }
    };
    let bytes = read
        .map_err(|_| too_long())?
        .map_err(|_| malformed("the request can't be read, or is too long"))?
        .to_bytes();
    single_message(&bytes)?;
    let body = Body::new(Full::new(bytes.clone()));
    Ok((Request::from_parts(parts, body), bytes))
}

/// As gRPC has it (compression in gRPC): with what could be decoded.
fn unsupported_encoding() -> Status {
    let message = "compressed messages are not accepted".to_owned();
    let details = info("UNSUPPORTED_ENCODING", []);
    let mut metadata = MetadataMap::new();
    metadata.insert(
        "grpc-accept-encoding",
        MetadataValue::from_static("identity"),
    );
    Status::with_error_details_and_metadata(Code::Unimplemented, message, details, metadata)
}

/// Compressed flag and length, as gRPC frames messages.
const FRAME_HEADER: usize = 5;

/// The one uncompressed message of a call.
fn single_message(bytes: &Bytes) -> Result<&[u8], Status> {
    let mut header = bytes
        .get(..FRAME_HEADER)
        .ok_or_else(|| malformed("the request has no complete message"))?;
    if header.get_u8() != 0 {
        return Err(malformed("compressed messages are not accepted"));
    }
    let length = usize::try_from(header.get_u32()).unwrap_or(usize::MAX);
    let message = bytes.get(FRAME_HEADER..).unwrap_or_default();
    if message.len() != length {
        return Err(malformed(
            "the request must have exactly one complete message",
        ));
    }
    Ok(message)
}

/// The request is no message at all.
fn malformed(problem: &str) -> Status {
    let mut details = info("MALFORMED_REQUEST", []);
    details.add_bad_request_violation("", problem);
    build(Code::InvalidArgument, problem.to_owned(), details)
}
