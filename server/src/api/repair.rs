//! Statuses that the gRPC library makes by itself (a message that can't be
//! decoded, one that is too long, an unknown method) say the same things in the
//! same way as ours.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tower_layer::Layer;
use tower_service::Service;

use super::status::{build, info};
use crate::metrics::Metrics;

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// Looks at every answer's status.
#[derive(Clone)]
pub(crate) struct Repair {
    metrics: Arc<Metrics>,
}

impl Repair {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for Repair {
    type Service = Repaired<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Repaired {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// A service whose statuses are complete.
#[derive(Clone)]
pub(crate) struct Repaired<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Service<Request> for Repaired<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let call = self.inner.call(request);
        let metrics = self.metrics.clone();
        Box::pin(async move {
            let response = call.await?;
            Ok(match Status::from_header_map(response.headers()) {
                Some(status) if status.code() != Code::Ok => {
                    let status = repair(status);
                    let reason = status.get_error_details();
                    metrics.refused(
                        reason
                            .error_info()
                            .map_or("UNKNOWN", |info| info.reason.as_str()),
                    );
                    status.into_http()
                }
                _ => response,
            })
        })
    }
}

fn repair(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let message = status.message().to_owned();
    match status.code() {
        // What can't be decoded is the caller's fault, not ours.
        Code::Internal | Code::OutOfRange => {
            let problem = if status.code() == Code::OutOfRange {
                "the message is too long"
            } else {
                "the message can't be decoded"
            };
            let mut details = info("MALFORMED_REQUEST", []);
            details.add_bad_request_violation("", problem);
            build(Code::InvalidArgument, problem.to_owned(), details)
        }
        Code::Unimplemented => build(
            Code::Unimplemented,
            message_or(message, "not implemented"),
            info("UNKNOWN_METHOD", []),
        ),
        code => build(code, message, info("UNKNOWN", [])),
    }
}

fn message_or(message: String, other: &str) -> String {
    if message.is_empty() {
        other.to_owned()
    } else {
        message
    }
}
